"""The card and the report of a run in a store: one machine makes them, and brings what they look into, no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.folders import run_folder
from pipelines.folders.machine_copy import MachineCopy
from pipelines.folders.store import store_at
from pipelines.recipe import load_recipe
from pipelines.running.orders import Order, Tell
from pipelines.running.perform import perform
from pipelines.running.quarantine import quarantine
from pipelines.running.runner import quarantined
from pipelines.shards import Record
from pipelines.steps import PASSES
from tests.pipelines.in_process import run_quietly
from tests.running.s3_server import BUCKET, s3_server


def test_what_the_report_looks_into_is_brought_and_no_more(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished / "run"
    brought: list[str] = []
    fetch = MachineCopy.fetch

    def noted(self: MachineCopy, name: str, digest: str, pins: Path) -> Path:
        brought.append(name)
        return fetch(self, name, digest, pins)

    monkeypatch.setattr(MachineCopy, "fetch", noted)
    with s3_server() as s3:
        for name, value in {**s3.environment, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
            monkeypatch.setenv(name, value)
        url = f"s3://{BUCKET}/small"
        store = store_at(url)
        paths = [path for path in run.rglob("*") if path.is_file() and path.name not in ("lock", "README.json")]
        store.each(store.upload, paths, [str(path.relative_to(run)) for path in paths])
        run_quietly(load_recipe(finished / "recipe.yaml", run_dir=url), list(PASSES))
        for name in ("report.html", "README.md", "funnel.png"):
            assert store.read(f"dataset/{name}") == (run / "dataset" / name).read_bytes(), name
    copy = tmp_path / "cache"
    assert not [path for path in copy.rglob("*.parquet") if ".kept" not in path.parts], "nothing outside the bound"
    folders = {name.rpartition("/")[0] for name in brought}
    assert {"quantize", "filter", "filter/rejects", "dataset/stage2", "tts"} <= folders
    assert not folders & {"score", "export.render", "export.layout", "dataset/audio", "read"}
    run_folder._copied.cache_clear()
    store_at.cache_clear()


def test_rows_that_were_given_up_before_the_filter_are_shown(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `score` nothing else is brought: what it leaves usually holds no rejects."""

    def perform_or_give_up(order: Order, tell: Tell) -> Record:
        given_up = (order.key, order.unit.name) == ("score", "examples-00002")
        return quarantine(order, "its worker died") if given_up else perform(order)

    monkeypatch.setattr("pipelines.running.perform.perform_here", perform_or_give_up)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run, url = finished / "run", f"memory://{tmp_path.name}"
    store = store_at(url)
    left_out = ("lock", "README.json", "examples-00002.json")
    paths = [path for path in run.rglob("*") if path.is_file() and path.name not in left_out]
    store.each(store.upload, paths, [str(path.relative_to(run)) for path in paths])
    outputs = run_quietly(load_recipe(finished / "recipe.yaml", run_dir=url), list(PASSES))
    assert quarantined(outputs) == ["score examples-00002"]
    card = json.loads(store.read("export.card/README.json") or b"")
    assert [name for name in card["made_of"]["inputs"] if name.startswith("score/")] == [
        "score/rejects/examples-00002.parquet"
    ]
    assert b"score.quarantined" in (store.read("dataset/report.html") or b"")
    run_folder._copied.cache_clear()
    store_at.cache_clear()
