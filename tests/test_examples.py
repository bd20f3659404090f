"""The shipped examples: each row's verdict is the one written beside it, and the main job does it all."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.recipe import load_recipe
from pipelines.row import reason_of
from tests.conftest import ROOT, assert_done, speechmill


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder of the quick start, and what it printed."""
    run = tmp_path_factory.mktemp("quickstart") / "run"
    result = speechmill("run", "configs/quickstart.yaml", "--run-dir", run)
    assert_done(result)
    return run, result.stdout


def truth(name: str) -> dict[int, str]:
    """Return verdict by index (blank lines are no records)."""
    lines = (ROOT / "examples" / name).read_text().splitlines()
    return {index: json.loads(line)["verdict"] for index, line in enumerate(lines)}


def verdicts(run: Path, source: str) -> dict[int, str]:
    """Return what a run decided about each record of a source: keep, or the reason of its reject."""
    found = {}
    for path in (run / "filter").glob(f"{source}-*.parquet"):
        found |= dict.fromkeys(pq.read_table(path)["index"].to_pylist(), "keep")
    for step in ("read", "filter"):
        for path in (run / step / "rejects").glob(f"{source}-*.parquet"):
            for row in pq.read_table(path, columns=["index", "reject"]).to_pylist():
                found[row["index"]] = reason_of(row["reject"])
    return found


@pytest.mark.parametrize(("source", "file"), [("examples", "truth.jsonl"), ("broken", "broken_truth.jsonl")])
def test_every_verdict_is_the_true_one(source: str, file: str, quickstart: tuple[Path, str]) -> None:
    expected, found = truth(file), verdicts(quickstart[0], source)
    if source == "broken":  # its good rows must pass the reader; the filter judges them as it likes
        found = {index: verdict if verdict.startswith("read.") else "keep" for index, verdict in found.items()}
    assert {i: (v, found.get(i)) for i, v in expected.items() if found.get(i) != v} == {}
    assert found.keys() == expected.keys()


def test_the_examples_hold_what_users_have() -> None:
    counted = Counter(truth("truth.jsonl").values())
    assert counted.total() >= 500
    kinds = {kind for kind in counted if kind.startswith("filter.speakable:")}
    assert len(kinds) >= 12
    assert min(counted[kind] for kind in kinds) >= 10
    assert counted["filter.language"] >= 50
    assert counted["filter.duplicate"] >= 25
    assert counted["filter.length"] >= 25
    chats = [json.loads(line)["messages"] for line in (ROOT / "examples/instructions.jsonl").read_text().splitlines()]
    assert sum(sum(m["role"] == "user" for m in chat) > 1 for chat in chats) >= 60


def test_the_quick_start_ends_by_saying_what_it_made(quickstart: tuple[Path, str]) -> None:
    run, said = quickstart
    lock = json.loads((run / "mixture.json").read_bytes())
    manifest = json.loads((run / "filter" / "manifest.json").read_bytes())
    for reason, rows in manifest["rejected"].items():
        line = next(line for line in said.splitlines() if f"- {reason} " in line)
        assert int(line.split()[-1].replace(",", "")) == rows
    assert f"{manifest['rows_kept']:,}" in said
    for part in [p for m in lock["mixtures"].values() for p in m["parts"]]:
        assert part in said
    assert "hours" in said
    assert f"dataset: {run / 'dataset'}" in said
    assert lock["refusals"]["share"] <= 0.005
    assert lock["mixtures"]["stage2"]["total"] > 500


def test_the_line_that_loads_the_dataset_works(quickstart: tuple[Path, str]) -> None:
    import subprocess

    line = next(line for line in quickstart[1].splitlines() if line.startswith("load it: "))
    result = subprocess.run(
        line.removeprefix("load it: "), shell=True, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert "<|sound_start|>" in result.stdout


def test_verify_keeps_every_promise(quickstart: tuple[Path, str]) -> None:
    result = speechmill("verify", quickstart[0])
    assert_done(result)
    assert "all 13 promises are kept" in result.stdout


RECIPES = sorted((ROOT / "configs").glob("*.yaml"))


def test_every_shipped_recipe_is_seen() -> None:
    assert [path.stem for path in RECIPES] == [
        "ichigo_v0.3", "ichigo_v0.3_pretrain", "ichigo_v0.4", "instruct_s2s", "local_sets", "local_speech",
        "quickstart", "speechmill_v1",
    ]  # fmt: skip


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_loads(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert yaml.safe_load(path.read_text()).keys() <= type(recipe).model_fields.keys()
