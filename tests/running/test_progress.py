"""Progress of several passes at once: what is printed, what the file holds, and that neither holds up the work."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipelines.folders.run_folder import RunFolder
from pipelines.graph import Unit
from pipelines.running import progress as module
from pipelines.running.events import Events
from pipelines.running.progress import FILE, Progress, Rate, describe, describe_run
from pipelines.shards import Counts, Record


def record(rows: int, rejected: int = 0, seconds: float = 0.1, **more: object) -> Record:
    """Return the record of a unit; `more` are facts, usage and GPU."""
    cost = {"seconds": seconds, **{key: more.pop(key) for key in ("usage", "gpu") if key in more}}
    counts = Counts(rows, rows - rejected, {"tts.silent": rejected} if rejected else {})
    return Record("", {}, counts, {}, more, cost)


class Run:
    """A progress, its events and what it printed."""

    def __init__(self, folder: Path, terminal: bool = False) -> None:
        self.text = io.StringIO()
        console = Console(file=self.text, force_terminal=terminal, width=200, highlight=False)
        self.events = Events(RunFolder(folder))
        self.progress = Progress(RunFolder(folder), console, self.events)
        self.path = folder / FILE

    def start(self) -> Progress:
        self.events.tell("run_started")
        return self.progress

    def end(self, code: int = 0) -> dict:
        """End the run; returns what the file says."""
        self.events.tell("run_ended", code=code)
        self.progress.end(code)
        return dict(json.loads(self.path.read_bytes()))


# The rate


def rate_of(seconds: float, times: list[tuple[float, int]], unit_seconds: float = 1.0) -> float:
    rate, rows = Rate(0.0), 0
    for now, more in times:
        rows += more
        rate.add(now, rows, unit_seconds)
    return rate.of(seconds)


def test_the_rate_is_that_of_the_last_minute() -> None:
    slow = [(float(second), 1) for second in range(1, 601)]
    fast = [(float(second), 10) for second in range(601, 701)]
    assert rate_of(600.0, slow) == pytest.approx(1.0)
    assert rate_of(700.0, slow + fast) == pytest.approx(10.0)  # not 2.3, the mean
    assert rate_of(630.0, slow + fast[:30]) == pytest.approx(5.5, abs=0.2)
    assert rate_of(0.0, []) == 0.0


def test_units_of_many_minutes_have_a_rate_too() -> None:
    units = [(600.0 * n, 3000) for n in range(1, 6)]
    for later in (0, 61, 300, 599):
        assert 3.3 < rate_of(3000.0 + later, units, unit_seconds=600.0) <= 5.0, later


@given(st.lists(st.tuples(st.floats(0.001, 3.0), st.integers(0, 100)), min_size=1, max_size=300))
def test_the_rate_is_rows_by_seconds_since_a_minute_ago(steps: list[tuple[float, int]]) -> None:
    """To within a pause, and half a second in which points are kept as one; of the whole time where that is less."""
    now, times = 0.0, []
    for pause, rows in steps:
        now += pause
        times.append((now, rows))
    starts = [start for start in (0.0, *(at for at, _ in times)) if now - 64 <= start <= max(now - 60, 0.0)]
    possible = [sum(rows for at, rows in times if at > start) / (now - start) for start in starts]
    assert any(rate_of(now, times) == pytest.approx(rate) for rate in possible)


# What the file holds


def test_passes_at_work_at_once_each_have_their_numbers(tmp_path: Path) -> None:
    run = Run(tmp_path)
    progress = run.start()
    progress.expect("read", 2, 2, 0)  # done by an earlier run
    progress.expect("tts", 4, 1, 60)
    progress.expect("quantize", 1, 0, 20)  # so much is known of it, so far
    progress.advance("tts", Unit("a", rows=20), record(20, 3, gpu={"utilization": 0.5, "memory_mib": 100}, seconds=1))
    progress.advance("quantize", Unit("a", rows=17), record(17, usage={"requests": 5, "cost": 0.5}))
    progress.expect("quantize", 3, 0, 60)
    progress.advance("tts", Unit("b", rows=20), record(20, gpu={"utilization": 1.0, "memory_mib": 300}, seconds=3))
    progress.advance("quantize", Unit("b", rows=20), record(20, usage={"requests": 5}, quarantined="died"))
    run.events.tell("shard_retried", step="quantize", shard="b", attempt=2)
    run.events.tell("shard_retried", step="mix", shard="b", attempt=2)  # of a pass of which nothing is known yet
    progress.finish("read")
    progress.finish("quantize")
    told = run.end(3)
    assert told["code"] == 3
    assert told["finished_before"] == {"read": 2}
    tts, quantize = told["passes"]["tts"], told["passes"]["quantize"]
    assert [tts[k] for k in ("units", "units_before", "units_done", "rows", "rows_done", "rejected")] == [
        *(4, 1, 3, 60, 40, 3)
    ]
    assert [tts["running"], quantize["running"]] == [True, False]
    assert tts["gpu"] == {"utilization": (0.5 * 1 + 1.0 * 3) / 4, "memory_mib": 300}
    assert "gpu" not in quantize
    assert [quantize[k] for k in ("units", "units_done", "retries", "quarantined")] == [3, 2, 1, 1]
    assert quantize["usage"] == {"requests": 10, "cost": 0.5}


def test_a_unit_without_rows_in_counts_those_it_read_and_zero_seconds_divide_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    progress = run.start()
    progress.expect("export.card", 1, 0, 0)
    assert progress.told()["passes"]["export.card"]["seconds_left"] is None
    progress.advance("export.card", Unit("README"), record(0, seconds=0.0))
    progress.finish("export.card")
    card = run.end()["passes"]["export.card"]
    assert [card["rows_done"], card["rows_per_second"], card["units_done"]] == [0, 0.0, 1]


def test_a_pass_that_waited_for_workers_is_timed_from_its_first_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    progress = Run(tmp_path).progress
    progress.expect("tts", 2, 0, 200)
    clock[0] += 500  # other passes had the workers
    progress.advance("tts", Unit("a", rows=100), record(100, seconds=10.0))
    tts = progress.told()["passes"]["tts"]
    assert [tts["seconds"], tts["rows_per_second"], tts["seconds_left"]] == [10.0, 10.0, 10.0]
    clock[0] += 10
    progress.advance("tts", Unit("b", rows=100), record(100, seconds=10.0))
    progress.finish("tts")
    clock[0] += 100
    assert progress.told()["passes"]["tts"]["seconds"] == 20.0


def test_a_run_with_nothing_to_do_keeps_what_the_last_one_did(tmp_path: Path) -> None:
    first = Run(tmp_path)
    first.start().expect("tts", 1, 0, 5)
    first.progress.advance("tts", Unit("a", rows=5), record(5))
    first.progress.finish("tts")
    passes = first.end(1)["passes"]
    second = Run(tmp_path)
    second.start().expect("tts", 1, 1, 0)
    told = second.end(0)
    assert told["passes"] == passes
    assert [told["code"], told["finished_before"]] == [0, {"tts": 1}]


def test_a_process_that_never_held_the_run_writes_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.progress.end(2)
    assert list(tmp_path.iterdir()) == []


# That it holds up nothing


def test_a_slow_file_system_does_not_hold_up_the_work_and_the_end_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    write = module.write_atomically

    def slowly(path: Path, content: bytes) -> None:
        time.sleep(0.3)
        writes.append(len(content))
        write(path, content)

    monkeypatch.setattr(module, "write_atomically", slowly)
    monkeypatch.setattr(module, "FILE_SECONDS", 0.01)
    run = Run(tmp_path)
    progress = run.start()
    progress.expect("score", 10_000, 0, 200_000)
    busy = time.process_time()
    for n in range(10_000):
        progress.advance("score", Unit(f"examples-{n:05d}", rows=20), record(20))
    busy = time.process_time() - busy
    progress.finish("score")
    assert run.end()["passes"]["score"]["units_done"] == 10_000
    assert len(writes) < 200  # of 10,000 shards
    assert max(writes) < 2_000  # bytes, whatever the shards
    assert busy < 2.0  # 0.3 s here


def test_a_disk_that_is_full_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_atomically", full)
    monkeypatch.setattr(module, "FILE_SECONDS", 0.01)
    run = Run(tmp_path)
    run.start().expect("tts", 1, 0, 5)
    time.sleep(0.1)
    assert run.progress._thread.is_alive()
    run.progress.end(0)
    assert not run.path.exists()


# What is printed


def test_without_a_terminal_there_are_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.05)
    monkeypatch.setattr(module, "FILE_SECONDS", 0.02)
    run = Run(tmp_path)
    progress = run.start()
    progress.expect("read", 1, 1, 0)
    progress.expect("tts", 4, 1, 60)
    progress.expect("quantize", 3, 0, 60)
    progress.advance("tts", Unit("a", rows=20), record(20, 3, said="detected [b]messages[/b]"))
    time.sleep(0.3)
    progress.advance("tts", Unit("b", rows=20), record(20, usage={"requests": 1200}))
    progress.finish("tts")
    run.end()
    lines = [" ".join(line.split()) for line in run.text.getvalue().splitlines()]
    assert lines[:3] == [
        "tts 3 to do, 1 done before",
        "quantize 3 to do",
        "a: detected [b]messages[/b]; 17 of 20 records kept",
    ]
    assert any(line.startswith("tts 2/4 shards, 20 rows, 3 rejected,") and line.endswith(" left") for line in lines)
    assert any(line.startswith("quantize 0/3 shards, 0 rows") for line in lines)  # a pass that stands still is seen
    assert any(line.startswith("tts 3/4 shards, 40 rows") and " in " in line for line in lines)
    assert lines[-1] == "used: requests 1,200"
    assert not any("read" in line for line in lines)
    assert "\x1b" not in run.text.getvalue()


def test_on_a_terminal_the_passes_at_work_stand_together_and_the_cursor_comes_back(tmp_path: Path) -> None:
    run = Run(tmp_path, terminal=True)
    progress = run.start()
    for worker in ("a", "b"):
        run.events.tell("worker_started", worker=worker, cpus=1, gpus=0)
    progress.expect("tts", 4, 0, 80)
    progress.expect("quantize", 4, 0, 80)
    progress.advance("tts", Unit("a", rows=20), record(20))
    time.sleep(1.2)  # two frames
    progress.finish("tts")
    run.end(1)  # by an error
    text = run.text.getvalue()
    frame = text[text.index("quantize") :].splitlines()
    assert any("2 CPU workers" in line and "left" not in line for line in frame)  # of quantize nothing is done yet
    assert "tts                1/4 shards, 20 rows" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_the_whole_run_takes_as_long_as_its_slowest_pass() -> None:
    passes = {
        "tts": {"running": True, "seconds_left": 600.0},
        "quantize": {"running": True, "seconds_left": 90.0},
        "read": {"running": False, "seconds_left": None},
    }
    workers = {"cpu": {"workers": 3, "busy": 0.871}, "gpu": {"workers": 1}}
    told = {"updated": 1061.0, "started": 1000.0, "workers": workers, "passes": passes}
    assert describe_run(told) == "3 CPU workers 87% busy, 1 GPU workers, 1:01 so far, 10:00 left of what is at work"


def test_a_line_names_what_went_wrong_and_only_that() -> None:
    now = {
        **{"units_done": 3, "units": 1000, "rows_done": 1200, "rejected": 4, "rows_per_second": 12.34, "usage": {}},
        **{"running": True, "seconds": 100.0, "seconds_left": 3723.0, "retries": 0, "quarantined": 0},
    }
    assert describe(now) == "3/1,000 shards, 1,200 rows, 4 rejected, 12 rows/s, 1:02:03 left"
    wrong = {**now, "retries": 2, "quarantined": 1, "gpu": {"utilization": 0.874, "memory_mib": 1}}
    assert describe(wrong).endswith("12 rows/s, GPU 87% busy, 2 retries, 1 quarantined, 1:02:03 left")
