"""export.run_lengths: the same pairs, with sounds written by their runs; nothing else changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.steps.export import run_bytes
from pipelines.telling.verify import open_run, verify
from quantize.run_lengths import format_runs, parse_runs
from quantize.sound_string import MOST_CODES, find_sounds, format_sound
from tests.conftest import assert_done, speechmill, write_recipe
from tests.test_verify import change_pair

EXPORT = {"shard_bytes": 11_000, "audio": False}


def pairs(run: Path) -> list[dict[str, Any]]:
    """Return every pair of a run, in order."""
    return [pair for path in sorted(run.glob("dataset/stage*/*.parquet")) for pair in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def with_runs(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The small run, exported again with the option; and what `plan` said of that before."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(finished / "run", folder / "run")
    recipe = write_recipe(folder, export={**EXPORT, "run_lengths": True})
    plan = speechmill("plan", recipe)
    assert_done(plan)
    assert_done(speechmill("run", recipe, "--workers", "0"))
    return folder / "run", plan.stdout


def test_only_export_is_made_again(with_runs: tuple[Path, str]) -> None:
    table = with_runs[1].partition("\n\n")[0]  # behind it: how to have estimates
    states = {line.split()[0]: line for line in table.splitlines()[2:]}
    assert "run_lengths: None -> True" in states["export.layout"]
    assert not [key for key, line in states.items() if "run_lengths" in line and not key.startswith("export")]


def test_without_the_option_nothing_says_so(finished: Path) -> None:
    """A run of an older version, which knew no such option, stays done."""
    for record in (finished / "run").glob("export.[lr]*/*.json"):
        assert "run_lengths" not in json.loads(record.read_bytes()).get("made_of", {}).get("options", {})
    assert "<|duration_" not in (finished / "run" / "dataset" / "README.md").read_text()


def test_the_strings_decode_to_the_tokens(finished: Path, with_runs: tuple[Path, str]) -> None:
    plain, runs = pairs(finished / "run"), pairs(with_runs[0])
    assert len(plain) == len(runs) > 100
    for before, pair in zip(plain, runs, strict=True):
        changed = {key for key in pair if pair[key] != before[key]}
        assert changed <= {"conversations", "prompt"}
        if pair["prompt"]:
            assert parse_runs(pair["prompt"]) == pair["tokens"]
        for message, was in zip(pair["conversations"], before["conversations"], strict=True):
            expanded = message["content"]
            for sound in find_sounds(expanded):
                expanded = expanded.replace(sound, format_sound(parse_runs(sound), MOST_CODES))
            assert expanded == was["content"]
    written = [pair["prompt"] for pair in runs if pair["prompt"]]
    assert sum("<|duration_" in prompt for prompt in written) > len(written) / 2


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 120)), max_size=6), min_size=1, max_size=3))
def test_the_layout_counts_what_is_written(utterances: list[list[tuple[int, int]]]) -> None:
    tokens = [[value for value, count in runs for _ in range(count)] for runs in utterances]
    written = pl.Series(tokens, dtype=pl.List(pl.Int64)).list.eval(run_bytes()).list.sum()
    frame = len("<|sound_start|><|sound_end|>")
    assert written.to_list() == [len(format_runs(ids)) - frame for ids in tokens]


def test_files_are_cut_by_what_is_written(with_runs: tuple[Path, str]) -> None:
    files = sorted((with_runs[0] / "dataset" / "stage2").iterdir())
    assert len(files) > 2
    sizes = [pq.read_table(file).nbytes for file in files]
    assert all(35_000 < size < 85_000 for size in sizes[:-1]), sizes


def test_verify_reads_them(with_runs: tuple[Path, str], tmp_path: Path) -> None:
    assert [p.broken for p in verify(open_run(with_runs[0])) if p.broken] == []
    shutil.copytree(with_runs[0], tmp_path / "run")
    change_pair(tmp_path / "run", "speech_instruction", "prompt", lambda p: p.replace("<|duration_", "<|durations_", 1))
    broken = [line for p in verify(open_run(tmp_path / "run")) for line in p.broken]
    assert len(broken) == 1
    assert "not one of <|sound_0000|> to <|sound_9999|> or <|duration_02|> to <|duration_49|>" in broken[0]


def test_the_card_says_how_strings_are_written(with_runs: tuple[Path, str]) -> None:
    card = (with_runs[0] / "dataset" / "README.md").read_text()
    assert "`<|duration_07|>` before a sound token says that it stands 7 times" in card
    assert "run_lengths: true" in card
