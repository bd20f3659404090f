"""The generated rows of the benchmarks: the planted duplicates are what the truth says, whatever the processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from filters.duplicates import normalise

ROOT = Path(__file__).parent.parent
ROWS, FILES = 6_000, 4
WORD = re.compile(r"\w+")


def generate(out: Path, *arguments: str) -> Path:
    """Run the script on the examples; return its folder."""
    script = [sys.executable, str(ROOT / "benchmarks" / "generate_rows.py"), str(out)]
    subprocess.run([*script, "--rows", str(ROWS), "--files", str(FILES), *arguments], check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small data set, made by two processes."""
    return generate(tmp_path_factory.mktemp("made") / "rows", "--processes", "2")


def read(folder: Path) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
    """Return the rows by file, and the truth."""
    rows = {path.name: pq.read_table(path).to_pylist() for path in sorted((folder / "rows").iterdir())}
    return rows, pq.read_table(folder / "truth.parquet").to_pylist()


def pairs(folder: Path, kind: str) -> list[tuple[str, str]]:
    """Return (prompt, prompt of its original) of the duplicates of a kind."""
    rows, truth = read(folder)
    return [
        (rows[found["file"]][found["row"]]["prompt"], rows[found["of_file"]][found["of_row"]]["prompt"])
        for found in truth
        if found["kind"] == kind
    ]


def test_the_number_of_rows_and_of_duplicates_is_as_asked(made: Path) -> None:
    rows, truth = read(made)
    assert [len(part) for part in rows.values()] == [ROWS // FILES] * FILES
    counts = Counter(found["kind"] for found in truth)
    assert counts["exact"] == pytest.approx(0.08 * ROWS, abs=90)  # four standard deviations
    assert counts["near"] == pytest.approx(0.04 * ROWS, abs=65)
    assert all(row["prompt"].strip() and row["answer"] != "" for part in rows.values() for row in part)


def test_the_number_of_processes_changes_no_byte(made: Path, tmp_path: Path) -> None:
    alone = generate(tmp_path / "alone", "--processes", "1")
    names = sorted(str(path.relative_to(made)) for path in made.rglob("*.parquet"))
    assert len(names) == FILES + 1
    assert [(made / name).read_bytes() == (alone / name).read_bytes() for name in names] == [True] * len(names)


def test_a_seed_of_its_own_makes_other_rows(made: Path, tmp_path: Path) -> None:
    other = generate(tmp_path / "other", "--seed", "2")
    prompts = [{row["prompt"] for part in read(folder)[0].values() for row in part} for folder in (made, other)]
    assert len(prompts[0] & prompts[1]) < ROWS / 100


def test_an_original_is_an_earlier_row_that_is_no_duplicate(made: Path) -> None:
    _, truth = read(made)
    duplicates = {(found["file"], found["row"]) for found in truth}
    for found in truth:
        assert (found["of_file"], found["of_row"]) < (found["file"], found["row"])
        assert (found["of_file"], found["of_row"]) not in duplicates


def test_exact_duplicates_are_equal_after_normalising_and_half_of_them_before(made: Path) -> None:
    exact = pairs(made, "exact")
    assert [pair for pair in exact if normalise(pair[0]) != normalise(pair[1])] == []
    assert 0.4 < sum(prompt == original for prompt, original in exact) / len(exact) < 0.7


def test_near_duplicates_differ_in_one_word(made: Path) -> None:
    near = pairs(made, "near")
    for prompt, original in near:
        assert normalise(prompt) != normalise(original)
        ours, theirs = Counter(WORD.findall(prompt)), Counter(WORD.findall(original))
        assert len(original.split()) >= 12
        assert (ours - theirs).total() <= 1
        assert (theirs - ours).total() <= 1


def test_other_rows_are_no_exact_duplicates(made: Path) -> None:
    rows, truth = read(made)
    exact = {(found["file"], found["row"]) for found in truth if found["kind"] == "exact"}
    keys = [
        normalise(row["prompt"]) for name, part in rows.items() for k, row in enumerate(part) if (name, k) not in exact
    ]
    assert len(set(keys)) > 0.995 * len(keys)


def test_json_lines_hold_the_same_rows(made: Path, tmp_path: Path) -> None:
    lines = generate(tmp_path / "lines", "--format", "jsonl")
    rows, _ = read(made)
    for name, part in rows.items():
        written = (lines / "rows" / name.replace(".parquet", ".jsonl")).read_text(encoding="utf-8").split("\n")
        assert [json.loads(line) for line in written[:-1]] == part
