"""Progress for people: a live table on a terminal, lines elsewhere, and a file that `status` reads."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from pipelines.folders.run_folder import RunFolder
from pipelines.graph import Unit
from pipelines.running.business import WINDOW_SECONDS, Business
from pipelines.running.events import Events
from pipelines.shards import Record, to_json, write_atomically

LINE_SECONDS = 10  # between two lines on a pass where there is no terminal
FILE_SECONDS = 0.5  # between two writings of the file
ALIVE_SECONDS = 5  # the same, where nothing changes
FILE = "progress.json"


def format_seconds(seconds: float) -> str:
    """Return a duration as 1:02:03, 2:03 or 4.5 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Rate:
    """Rows a second of late: of the last minute, or of the time of two units where units take longer."""

    def __init__(self, begun: float) -> None:
        self._points = deque([(begun, 0)])  # time, rows until then
        self._window = float(WINDOW_SECONDS)

    def add(self, now: float, rows: int, unit_seconds: float) -> None:
        """Take in how many rows there are by now, the last ones by a unit that took some seconds."""
        self._window = max(WINDOW_SECONDS, 2 * unit_seconds)
        if len(self._points) > 2 and now - self._points[-2][0] < FILE_SECONDS:
            self._points.pop()
        self._points.append((now, rows))

    def of(self, now: float) -> float:
        """Return the rows per second at a time; 0 while nothing is done."""
        while len(self._points) > 1 and self._points[1][0] <= now - self._window:
            self._points.popleft()
        (since, before), (last, rows) = self._points[0], self._points[-1]
        seconds = max(now, last) - since
        return (rows - before) / seconds if seconds > 0 else 0.0


@dataclass
class PassNow:
    """How far a pass is in this run.

    units:  of the pass, as far as they are known
    before: of them, done by an earlier run
    rows:   that the units to be done will read
    begun:  monotonic seconds; of the work on its first unit, once one is done
    """

    begun: float
    rate: Rate
    units: int = 0
    before: int = 0
    done: int = 0
    rows: int = 0
    rows_done: int = 0
    rejected: int = 0
    retries: int = 0
    quarantined: int = 0
    usage: dict[str, float] = field(default_factory=dict)
    gpu_seconds: float = 0.0  # of units that said how busy their GPU was
    gpu_busy_seconds: float = 0.0
    gpu_memory_mib: float = 0.0  # the most
    ended: float | None = None
    said: float = 0.0  # when a line was printed

    def told(self, now: float) -> dict[str, Any]:
        """Return what the file says of the pass."""
        seconds = (self.ended or now) - self.begun
        rate = self.rate.of(now) if self.ended is None else self.rows_done / seconds if seconds else 0.0
        left = max(self.rows - self.rows_done, 0) / rate if self.ended is None and self.rows and rate else None
        told: dict[str, Any] = {
            "units": self.units,
            "units_done": self.before + self.done,
            "units_before": self.before,
            "rows": self.rows,
            "rows_done": self.rows_done,
            "rejected": self.rejected,
            "retries": self.retries,
            "quarantined": self.quarantined,
            "seconds": round(seconds, 3),
            "rows_per_second": round(rate, 3),
            "seconds_left": None if left is None else round(left, 1),
            "usage": self.usage,
            "running": self.ended is None,
        }
        if self.gpu_seconds:
            busy = round(self.gpu_busy_seconds / self.gpu_seconds, 3)
            told["gpu"] = {"utilization": busy, "memory_mib": self.gpu_memory_mib}
        return told


class Progress:
    """Tells how a run goes, by the units that are done and by its events.

    A thread of its own prints and writes, so that the work never waits for a terminal or a slow file system. Nothing is
    written before the event run_started, which only the process tells that holds the run. Of a run in an object store
    the driver's copy is written, and brought there now and then (`lock`).
    """

    def __init__(self, folder: RunFolder, console: Console, events: Events) -> None:
        self._folder = folder
        self._console = console
        self._events = events
        self._lock = threading.RLock()
        self._passes: dict[str, PassNow] = {}
        self._finished_before: dict[str, int] = {}  # units of passes that had nothing to do
        self._business = Business()
        self._driver = {"pid": os.getpid(), "host": socket.gethostname()}
        self._started: float | None = None  # unix seconds
        self._code: int | None = None
        self._changed = False
        self._written = 0.0
        self._live: Live | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tell_on, name="progress", daemon=True)
        events.listen(self._hear)

    def expect(self, key: str, units: int, done: int, rows: int) -> None:
        """Take in what is known of a pass; again whenever more is known.

        Args:
            units: how many it has.
            done: of them, those that an earlier run had done.
            rows: that the others will read.
        """
        with self._lock:
            if units == done and key not in self._passes:
                self._finished_before[key] = units
                return
            self._finished_before.pop(key, None)
            new = key not in self._passes
            now = time.monotonic()
            state = self._passes.setdefault(key, PassNow(now, Rate(now), said=now))
            state.units, state.before, state.rows = units, done, rows
            self._changed = True
        if new:
            self._show(key, units - done, done)

    def advance(self, key: str, unit: Unit, record: Record) -> None:
        """Count a unit that was done in this run."""
        now, seconds = time.monotonic(), float(record.cost.get("seconds", 0.0))
        with self._lock:
            state = self._passes[key]
            if not state.done:  # it waited for workers until then
                state.begun = max(state.begun, now - seconds)
                state.rate = Rate(state.begun)
            state.done += 1
            state.rows_done += record.counts.rows_in or unit.rows
            state.rate.add(now, state.rows_done, seconds)
            state.rejected += sum(record.counts.rejected.values())
            state.quarantined += bool(record.facts.get("quarantined"))
            state.usage = sum_usage([state.usage, record.cost.get("usage", {})])
            if gpu := record.cost.get("gpu"):
                state.gpu_seconds += seconds
                state.gpu_busy_seconds += seconds * gpu["utilization"]
                state.gpu_memory_mib = max(state.gpu_memory_mib, gpu["memory_mib"])
            self._changed = True
        if said := record.facts.get("said"):
            kept = f"{record.counts.rows_kept:,} of {record.counts.rows_in:,} records kept"
            self._console.print(f"  {unit.name}: {said}; {kept}", markup=False)

    def finish(self, key: str) -> None:
        """End a pass: all of it is done."""
        with self._lock:
            if key not in self._passes:
                return  # nothing was to do
            state = self._passes[key]
            state.ended = time.monotonic()
            told = state.told(state.ended)
            self._changed = True
        self._console.print(f"{key:<18} {describe(told)}", markup=False)
        if used := describe_usage(told["usage"]):
            self._console.print(f"{'':<18} used: {used}", markup=False)

    def end(self, code: int) -> None:
        """End the run, whose command ends with this exit code: the last word, behind the event run_ended."""
        if self._started is None:
            return
        self._stop.set()
        self._thread.join()
        if self._live is not None:
            self._live.stop()
        with self._lock:
            self._code = code
        self._write()
        self._events.close()

    def told(self) -> dict[str, Any]:
        """Return what the file says."""
        now = time.monotonic()
        with self._lock:
            return {
                "updated": round(time.time(), 3),
                "started": self._started,
                "driver": self._driver,
                "code": self._code,
                "workers": self._business.shares(now),
                "passes": {key: state.told(now) for key, state in self._passes.items()},
                "finished_before": dict(self._finished_before),
            }

    def _hear(self, kind: str, fields: Mapping[str, Any]) -> None:
        with self._lock:
            self._business.hear(kind, fields, time.monotonic())
            if kind == "run_started":
                self._started = round(time.time(), 3)
                self._thread.start()
            elif kind == "shard_retried" and fields["step"] in self._passes:
                self._passes[fields["step"]].retries += 1

    def _show(self, key: str, to_do: int, done: int) -> None:
        """Begin to show a pass."""
        if not self._console.is_terminal:
            before = f", {done} done before" if done else ""
            self._console.print(f"{key:<18} {to_do} to do{before}", markup=False)
        elif self._live is None:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=2, transient=True)
            self._live.start()

    def _table(self) -> Group:
        """Return what stands on the terminal: a line for each pass at work, one for the whole."""
        told = self.told()
        lines = [f"{key:<18} {describe(now)}" for key, now in told["passes"].items() if now["running"]]
        return Group(*(Text(line, overflow="ellipsis", no_wrap=True) for line in [*lines, describe_run(told)]))

    def _tell_on(self) -> None:
        """Print and write until the run ends."""
        while not self._stop.wait(FILE_SECONDS):
            now = time.monotonic()
            if not self._console.is_terminal:
                self._say(now)
            if self._changed or now - self._written > ALIVE_SECONDS:
                self._write()

    def _say(self, now: float) -> None:
        """Print a line on each pass at work of which none was printed for a while."""
        with self._lock:
            due = [
                (key, state)
                for key, state in self._passes.items()
                if state.ended is None and now - state.said > LINE_SECONDS
            ]
            for key, state in due:
                state.said = now
                self._console.print(f"{key:<18} {describe(state.told(now))}", markup=False)

    def _write(self) -> None:
        told = self.told()
        if not self._passes:  # nothing was to do: what there was to do the last time is still of interest
            told["passes"] = read_progress(self._folder.path)
        self._changed = False
        self._written = time.monotonic()
        with suppress(OSError):  # it only tells; a full disk shows itself where it matters
            write_atomically(self._folder.path / FILE, to_json(told))


def describe(now: Mapping[str, Any]) -> str:
    """Return one line on a pass, of what the file says of it: shards, rows, rate, time left or taken."""
    words = [
        f"{now['units_done']:,}/{now['units']:,} shards",
        f"{now['rows_done']:,} rows",
        f"{now['rejected']:,} rejected",
        f"{now['rows_per_second']:,.0f} rows/s",
    ]
    if (requests := now["usage"].get("requests")) and now["seconds"]:
        words.append(f"{requests / now['seconds']:.1f} requests/s")
    if gpu := now.get("gpu"):
        words.append(f"GPU {gpu['utilization']:.0%} busy")
    words += [f"{now[what]:,} {what}" for what in ("retries", "quarantined") if now[what]]
    if not now["running"]:
        words.append(f"in {format_seconds(now['seconds'])}")
    elif now["seconds_left"] is not None:
        words.append(f"{format_seconds(now['seconds_left'])} left")
    return ", ".join(words)


def describe_run(told: Mapping[str, Any]) -> str:
    """Return one line on the whole run: workers, time, and the time left of the slowest pass at work."""
    words = [
        f"{about['workers']} {kind.upper()} workers" + (f" {about['busy']:.0%} busy" if "busy" in about else "")
        for kind, about in told["workers"].items()
    ]
    if told["started"] is not None:
        words.append(f"{format_seconds(told['updated'] - told['started'])} so far")
    left = [now["seconds_left"] for now in told["passes"].values() if now["running"]]
    if left and None not in left:
        words.append(f"{format_seconds(max(left))} left of what is at work")
    return ", ".join(words)


def sum_usage(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the sums of what units used: requests, retries, money."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)


def describe_usage(usage: Mapping[str, float]) -> str:
    """Return one line on what a pass used; "" where it used nothing.

    >>> describe_usage({"requests": 1200, "retries": 3, "cost": 0.125, "audio_seconds": 0})
    'requests 1,200, retries 3, cost 0.12'
    """
    numbers = ((name.replace("_", " "), amount, ",.2f" if name == "cost" else ",.0f") for name, amount in usage.items())
    return ", ".join(f"{name} {amount:{form}}" for name, amount, form in numbers if amount)


def read_progress(run_dir: Path) -> dict[str, dict[str, Any]]:
    """Return what the last run that had something to do said of its passes; empty where none has run."""
    try:
        return dict(json.loads((run_dir / FILE).read_text())["passes"])
    except (FileNotFoundError, ValueError):
        return {}


def make_console(stderr: bool = False) -> Console:
    """Return a console that neither wraps nor colours where there is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, highlight=False, soft_wrap=not stream.isatty())
