"""The index of a pass's records: with it, without it, with a torn or an old one the plan is the same."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.folders import record_index
from pipelines.folders.record_index import Records, index_path, write_index
from pipelines.graph import plan_run
from pipelines.recipe import Recipe, load_recipe
from pipelines.shards import read_record
from pipelines.steps import BY_KEY, PASSES
from tests.conftest import write_recipe
from tests.pipelines.in_process import run_quietly


@pytest.fixture
def recipe(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A finished run whose passes all have an index."""
    shutil.copytree(finished / "run", tmp_path / "run")
    monkeypatch.setattr(record_index, "WORTH", 1)
    recipe = load_recipe(write_recipe(tmp_path, report=True))
    for manifest in recipe.run_path.glob("*/manifest.json"):
        units = json.loads(manifest.read_bytes())["units"]
        write_index(recipe.run_path, manifest.parent.name, units)
    return recipe


def plan(recipe: Recipe) -> list[Any]:
    """Return all that a plan says, as plain values; of what waits nobody asks what it was made of."""
    said = []
    for of_pass in plan_run(recipe, PASSES)[0]:
        for unit in of_pass.units:
            record = unit.record
            made_of = record.made_of if record and of_pass.waits_for is None else None
            facts = (record.fingerprint, record.counts, record.files, record.facts, record.cost) if record else None
            said.append([of_pass.key, of_pass.waits_for, unit.unit, unit.state, unit.why, made_of, facts])
    return list(json.loads(json.dumps(said, default=_plain)))


def _plain(value: Any) -> Any:
    return [getattr(value, name) for name in value.__dataclass_fields__]


def without_index(recipe: Recipe) -> list[Any]:
    shutil.rmtree(recipe.run_path / record_index.FOLDER)
    return plan(recipe)


def opened(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Plan; return the records that were opened for it, of passes with an index."""
    names: list[str] = []

    def reading(path: Path | str) -> Any:
        names.append(str(path))
        return read_record(path)

    monkeypatch.setattr(record_index, "read_record", reading)
    plan_run(recipe, PASSES)
    return sorted(str(Path(name).relative_to(recipe.run_path)) for name in names)


def test_no_record_is_opened_and_the_plan_is_the_same(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(recipe, monkeypatch) == []
    said = plan(recipe)
    assert {state for _, _, _, state, _, _, _ in said} == {"done"}
    assert said == without_index(recipe)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"\0" * len(content),
        lambda content: b"[]",
        lambda content: b"[]\n[]\n",
        lambda content: content.replace(b'"format":1', b'"format":0'),
    ],
    ids=["torn", "empty", "zeros", "a list", "lists", "of another version"],
)
def test_an_index_that_cannot_be_read_only_costs_time(
    damage: Callable[[bytes], bytes], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = index_path(recipe.run_path, "score")
    path.write_bytes(damage(path.read_bytes()))
    units = json.loads((recipe.run_path / "score" / "manifest.json").read_bytes())["units"]
    assert opened(recipe, monkeypatch) == sorted(f"score/{unit}.json" for unit in units)
    assert plan(recipe) == without_index(recipe)


def edited(path: Path) -> None:
    """Change a record where it lies: as long as it was, and with the time that it had."""
    before = path.stat()
    raw = path.read_bytes()
    digest = json.loads(raw)["fingerprint"]
    path.write_bytes(raw.replace(digest.encode(), b"0" * 32, 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)


def replaced(path: Path) -> None:
    raw = json.loads(path.read_bytes())
    raw["counts"]["rows_in"] += 1
    other = path.with_name("other")
    other.write_text(json.dumps(raw))
    other.replace(path)


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def quarantined(path: Path) -> None:
    raw = json.loads(path.read_bytes())
    raw["facts"]["quarantined"] = "its worker died"
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize("change", [edited, replaced, torn, Path.unlink, quarantined])
@pytest.mark.parametrize("key", ["score", "tts", "export.render"])
def test_a_record_that_changed_is_noticed(
    key: str, change: Callable[[Path], None], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan(recipe)
    name = f"{key}/examples-00002.json"
    change(recipe.run_path / name)
    card = {"export.card/README.json"}  # it knows how many rows each step kept
    assert set(opened(recipe, monkeypatch)) - card == (set() if change is Path.unlink else {name})
    now = plan(recipe)
    assert now != before
    assert now == without_index(recipe)


def test_a_shard_that_is_gone_or_cut_is_noticed(recipe: Recipe) -> None:
    (recipe.run_path / "filter" / "examples-00001.parquet").unlink()
    os.truncate(recipe.run_path / "filter" / "rejects" / "examples-00002.parquet", 10)
    now = plan(recipe)
    stale = {unit[0] for _, _, unit, state, why, _, _ in now if state == "stale" and "is missing or of another" in why}
    assert stale == {"examples-00001", "examples-00002"}
    assert now == without_index(recipe)


@pytest.mark.parametrize("second", [True, False], ids=["whole", "with a torn second line"])
def test_changed_options_are_told_alike(
    second: bool, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts = {"pitch": [40, 60], "max_seconds": 20}
    other = load_recipe(write_recipe(tmp_path, report=True, tts=tts))
    path = index_path(recipe.run_path, "tts")
    content = path.read_bytes()
    path.write_bytes(content if second else content[:-10])
    units = json.loads((recipe.run_path / "tts" / "manifest.json").read_bytes())["units"]
    assert opened(other, monkeypatch) == ([] if second else sorted(f"tts/{unit}.json" for unit in units))
    now = plan(other)
    whys = {why for key, _, _, _, why, _, _ in now if key == "tts"}
    assert whys == {"pitch: [35, 65] -> [40, 60]; max_seconds: 30.0 -> 20.0"}
    assert now == without_index(other)


def test_a_copy_of_a_run_has_an_index_of_other_files(recipe: Recipe, tmp_path: Path) -> None:
    shutil.copytree(recipe.run_path, tmp_path / "copy", copy_function=shutil.copy2)
    (tmp_path / "copy" / "score" / "examples-00001.json").write_bytes(
        (tmp_path / "copy" / "score" / "examples-00002.json").read_bytes()
    )
    there = Records(tmp_path / "copy", "score").read("examples-00001")
    assert there == read_record(tmp_path / "copy" / "score" / "examples-00002.json")


def test_numbers_that_json_has_not_stay_in_their_record(recipe: Recipe) -> None:
    path = recipe.run_path / "score" / "examples-00001.json"
    raw = json.loads(path.read_bytes())
    raw["cost"]["seconds"] = float("nan")
    path.write_text(json.dumps(raw))
    write_index(recipe.run_path, "score", ["examples-00001", "examples-00002", "none"])
    first, _ = index_path(recipe.run_path, "score").read_bytes().splitlines()
    assert set(json.loads(first)["units"]) == {"examples-00002"}
    found = Records(recipe.run_path, "score").read("examples-00001")
    assert found is not None
    assert found.cost["seconds"] != found.cost["seconds"]


def test_a_run_writes_the_index_of_what_it_did(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(recipe.run_path / record_index.FOLDER)
    passes = [a_pass for a_pass in PASSES if a_pass.key in ("read", *BY_KEY["filter"].needs, "filter")]
    run_quietly(recipe, passes)
    paths = [index_path(recipe.run_path, key) for key in ("score", "filter")]
    assert all(path.exists() for path in paths)
    written = [path.stat().st_ino for path in paths]
    run_quietly(recipe, passes)  # nothing to do
    assert [path.stat().st_ino for path in paths] == written
    (recipe.run_path / "filter" / "examples-00001.json").unlink()
    run_quietly(recipe, passes)
    assert [path.stat().st_ino == inode for path, inode in zip(paths, written, strict=True)] == [True, False]
    assert [name for name in opened(recipe, monkeypatch) if name.startswith(("score/", "filter/"))] == []
    assert plan(recipe) == without_index(recipe)


def test_the_index_of_a_copied_run_is_written_once(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(recipe.run_path, tmp_path / "copy", copy_function=shutil.copy2)
    copy = load_recipe(tmp_path / "recipe.yaml", run_dir=str(tmp_path / "copy"))
    passes = [a_pass for a_pass in PASSES if a_pass.key in ("read", *BY_KEY["score"].needs, "score")]
    run_quietly(copy, passes)  # nothing to do
    assert not [name for name in opened(copy, monkeypatch) if name.startswith("score/")]


def test_few_records_have_none(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_index, "WORTH", 3)
    write_index(recipe.run_path, "score", ["examples-00001", "examples-00002"])
    assert not index_path(recipe.run_path, "score").exists()
