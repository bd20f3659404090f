"""What follows a source begins while that is still read, whatever becomes of the reading."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle
from rich.console import Console

from pipelines.errors import RunError, UserError
from pipelines.folders import run_folder
from pipelines.folders.run_folder import RunFolder, open_run_folder, open_url
from pipelines.graph import Job, Unit, UnitPlan
from pipelines.parts import LOOK_SECONDS, PartsAtWork
from pipelines.recipe import Recipe, load_recipe
from pipelines.running import runner
from pipelines.running.events import Events
from pipelines.running.orders import Executor, Order, Tell
from pipelines.running.perform import InThisProcess, InThreads, perform
from pipelines.running.progress import Progress, read_progress
from pipelines.running.ray_pool import ray_pool
from pipelines.shards import Counts, Record, Staged
from pipelines.steps import passes_for
from pipelines.steps import read as read_step
from tests.conftest import content, write_recipe
from tests.running.events_of import read_events

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have our packages, and no tests

PARTS = 5
PART_ROWS = 50  # more in all than are looked at for the shape
Execute = Callable[[Tell], AbstractContextManager[Executor]]


def write_source(folder: Path, word: str = "river", torn: bool = False) -> None:
    """Write a source of so many parts; a torn one ends within its last."""
    rows = [{"prompt": f"What is {word} {n}?", "answer": f"Water {n}."} for n in range(PARTS * PART_ROWS)]
    packed = gzip.compress("\n".join(map(json.dumps, rows)).encode())
    (folder / "rows.jsonl.gz").write_bytes(packed[:-8] if torn else packed)


def recipe_in(folder: Path, run: str) -> Recipe:
    source = {"name": "rows", "path": str(folder / "rows.jsonl.gz")}
    path = write_recipe(folder, sources=[source], read={"rows_per_shard": PART_ROWS})
    return load_recipe(path, run_dir=str(folder / run))


def score(recipe: Recipe, execute: Execute) -> Path:
    """Read and score, and return the run folder."""
    folder = open_run_folder(recipe)
    events = Events(folder)
    progress = Progress(folder, Console(quiet=True), events)
    runner.run(recipe, passes_for("score"), execute(events.tell), progress, events.tell, threads=False)
    return recipe.run_path


def in_loop(tell: Tell) -> AbstractContextManager[Executor]:
    return nullcontext(InThisProcess(tell))


def in_threads(tell: Tell) -> AbstractContextManager[Executor]:
    return closing(InThreads(tell))


def told(run: Path, kind: str) -> list[tuple[str, str]]:
    """Return the step and shard of each event of a kind, in order."""
    return [(event["step"], event["shard"]) for event in read_events(run) if event["kind"] == kind]


def reading(monkeypatch: pytest.MonkeyPatch, part: int, do: Callable[[], object]) -> None:
    """Let something happen where a source's reader begins a part."""
    fill = read_step._Reader.fill

    def meanwhile(self: Any, writer: Any) -> int:
        if self.position == part * PART_ROWS:
            do()
        return fill(self, writer)

    monkeypatch.setattr(read_step._Reader, "fill", meanwhile)


def until(happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.05)


def until_scored(run: Path) -> None:
    """Wait until the first part has its scores."""
    until((run / "score" / "rows-00000.json").exists)


def stop(run: Path) -> None:
    until_scored(run)
    raise RuntimeError("killed")


def stamps(run: Path, pattern: str) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in run.glob(pattern)}


def test_scores_are_made_while_the_source_is_read_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_source(tmp_path)
    undisturbed = score(recipe_in(tmp_path, "one"), in_loop)
    run, said = tmp_path / "run", {}

    def is_told() -> bool:
        said.update(read_progress(run).get("score", {}))
        return bool(said.get("units_done"))

    reading(monkeypatch, PARTS - 1, lambda: until(is_told))
    score(recipe_in(tmp_path, "run"), in_threads)
    done = told(run, "shard_done")
    assert done.index(("score", "rows-00000")) < done.index(("read", "rows"))
    assert sorted(done) == [("read", "rows"), *(("score", f"rows-{n:05d}") for n in range(PARTS))]
    assert content(run) == content(undisturbed)
    assert said["seconds_left"] is None  # nobody knows how much is to come
    ended = read_progress(run)["score"]
    assert (ended["units"], ended["units_done"], ended["rows"]) == (PARTS, PARTS, PARTS * PART_ROWS)


def test_what_was_made_of_parts_of_a_killed_read_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_source(tmp_path)
    undisturbed, run = score(recipe_in(tmp_path, "one"), in_loop), tmp_path / "run"
    with monkeypatch.context() as patched:
        reading(patched, 3, lambda: stop(run))
        with pytest.raises(RuntimeError, match="killed"):
            score(recipe_in(tmp_path, "run"), in_threads)
    scored = stamps(run, "score/*.parquet")
    assert "rows-00000.parquet" in scored
    score(recipe_in(tmp_path, "run"), in_threads)
    assert scored.items() <= stamps(run, "score/*.parquet").items()
    assert content(run) == content(undisturbed)


def test_a_source_that_fails_at_its_end_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was made of its parts harms nothing when the file is mended."""
    write_source(tmp_path, torn=True)
    run = tmp_path / "run"
    reading(monkeypatch, PARTS - 1, lambda: until_scored(run))
    with pytest.raises(UserError, match=r"rows\.jsonl\.gz is torn"):
        score(recipe_in(tmp_path, "run"), in_threads)
    assert ("score", "rows-00000") in told(run, "shard_done")
    assert not (run / "score" / "manifest.json").exists()
    write_source(tmp_path, word="lake")
    score(recipe_in(tmp_path, "run"), in_threads)
    assert content(run) == content(score(recipe_in(tmp_path, "one"), in_loop))


def test_parts_of_the_source_as_it_was_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed read of other rows, then a reader that commits nothing for a while: nothing is scored meanwhile."""
    write_source(tmp_path, word="lake")
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        reading(patched, 3, lambda: stop(run))
        with pytest.raises(RuntimeError, match="killed"):
            score(recipe_in(tmp_path, "run"), in_threads)
    shutil.rmtree(run / "score")
    assert len(list(run.glob("read/parts/*.json"))) == 3
    write_source(tmp_path)
    (run / "events.jsonl").unlink()
    before: list[tuple[str, str]] = []

    def look_for_a_while() -> None:
        time.sleep(5 * LOOK_SECONDS)
        before.extend(told(run, "shard_given"))

    reading(monkeypatch, 0, look_for_a_while)
    reading(monkeypatch, PARTS - 1, lambda: until_scored(run))
    score(recipe_in(tmp_path, "run"), in_threads)
    assert before == [("read", "rows")]
    assert content(run) == content(score(recipe_in(tmp_path, "one"), in_loop))


MADE_OF = {"pass": "read", "unit": "rows"}
PLANNED = UnitPlan(Unit("rows"), "to do", "", MADE_OF, None)


def commit(folder: RunFolder, number: int, made_of: dict[str, Any] | None = None) -> None:
    """Commit a part, as a worker does."""
    staged = Staged(folder.path)
    name = f"rows-{number:05d}"
    staged.bytes(f"read/{name}.parquet", b"rows")
    staged.commit(f"read/parts/{name}.json", made_of or MADE_OF, Counts(1, 1), {"shards": {name: 1}}, {})


def look(parts: PartsAtWork) -> list[str]:
    parts._looked = -1e9  # its time has come
    return [name for key, unit, part in parts.look() for name in part.facts["shards"]]


@pytest.fixture(params=["folder", "store"])
def places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], RunFolder]:
    """The run folder as another machine sees it that has just listed it: in a store, with a copy of its own."""
    if request.param == "folder":
        return lambda: RunFolder(tmp_path)
    numbers = iter(range(100))

    def machine() -> RunFolder:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"machine{next(numbers)}"))
        run_folder._copied.cache_clear()
        folder = open_url(f"memory://{tmp_path.name}")
        folder.pull()
        return folder

    return machine


def test_each_part_is_found_once_when_it_is_committed(places: Callable[[], RunFolder]) -> None:
    driver = places()
    parts, worker = PartsAtWork(driver), places()
    parts.begin("read", PLANNED)
    assert look(parts) == []
    commit(worker, 0)
    commit(worker, 1)
    assert list(look(parts)) == ["rows-00000", "rows-00001"]
    assert look(parts) == []
    commit(worker, 2)
    assert list(parts.look()) == []  # too soon after the last look
    assert look(parts) == ["rows-00002"]
    assert driver.missing(Record("", {}, Counts(), {"read/rows-00002.parquet": {"bytes": 4}}, {}, {})) == []
    commit(worker, 3)
    parts.end("read", "rows")
    assert look(parts) == []


def test_parts_of_an_earlier_run_are_found_as_far_as_reading_goes_on_after_them(
    places: Callable[[], RunFolder],
) -> None:
    earlier = places()
    for number in range(4):
        commit(earlier, number)
    commit(earlier, 4, {**MADE_OF, "version": 0})
    earlier.remove(["read/rows-00002.parquet"])
    for other in ("rows-b-00000", "rows-b"):  # of other sources
        earlier.write(f"read/parts/{other}.json", b"{}\n")
    driver = places()
    parts = PartsAtWork(driver)
    parts.begin("read", PLANNED)
    assert look(parts) == ["rows-00000", "rows-00001"]
    there = sorted(Path(name).stem for name in driver.names("read/parts"))
    assert there == ["rows-00000", "rows-00001", "rows-b", "rows-b-00000"]
    worker = places()
    commit(worker, 2)
    assert look(parts) == ["rows-00002"]


def test_a_store_that_fails_for_a_while_ends_no_look(
    places: Callable[[], RunFolder], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parts, worker = PartsAtWork(places()), places()
    parts.begin("read", PLANNED)
    commit(worker, 0)

    def fail(self: RunFolder, name: str) -> None:
        raise RunError(f"cannot read {name}: no answer")

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "record", fail)
        assert look(parts) == []
    assert "cannot read read/parts/rows-00000.json: no answer" in caplog.text
    assert look(parts) == ["rows-00000"]


def killed_once(order: Order) -> Record:
    """Do an order; the worker that reads is killed once, at the third part, and waits for scores at the last."""
    run = order.recipe.run_path

    def die_once() -> None:
        if not (marker := run.with_name("killed")).exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patched:
        reading(patched, 2, die_once)
        reading(patched, PARTS - 1, lambda: until_scored(run))
        return perform(order)


@pytest.mark.long
def test_workers_score_while_one_reads_and_dies(tmp_path: Path) -> None:
    write_source(tmp_path)
    undisturbed = score(recipe_in(tmp_path, "one"), in_loop)
    run = score(recipe_in(tmp_path, "run"), lambda tell: ray_pool(2, None, tell, killed_once))
    assert told(run, "worker_died") == [("read", "rows")]
    done = told(run, "shard_done")
    assert done.index(("score", "rows-00000")) < done.index(("read", "rows"))
    assert content(run) == content(undisturbed)


def test_a_reader_whose_driver_was_taken_over_removes_no_record(tmp_path: Path) -> None:
    write_source(tmp_path)
    recipe = recipe_in(tmp_path, "run")
    run = score(recipe, in_loop)
    before = stamps(run, "read/*.json")
    unit = Unit("rows", args={"source": recipe.sources[0].model_dump(mode="json")}, notes={"files": {}})
    with pytest.raises(RunError, match=r"read/rows\.json: another process has taken over"):
        read_step.PASS.run(Job(recipe, unit, Staged(run, lambda: False), {"of": "another recipe"}))
    assert stamps(run, "read/*.json") == before
