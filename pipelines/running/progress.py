"""Progress for people: bars on a terminal, lines elsewhere, and a file that `status` reads."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from pipelines.graph import PassPlan, Unit
from pipelines.shards import Record, to_json, write_atomically

LINE_SECONDS = 10  # between two lines where there is no terminal
FILE_SECONDS = 0.5  # between two writings of progress.json
FILE = "progress.json"


def format_seconds(seconds: float) -> str:
    """Return a duration as 1:02:03, 2:03 or 4.5 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Tells how a run goes: rows, rows/s and time left of each pass, by the units that are done."""

    def __init__(self, run_dir: Path, console: Console) -> None:
        self._path = run_dir / FILE
        self._console = console
        self._passes: dict[str, dict[str, Any]] = {}
        self._now: dict[str, Any] = {}
        self._started = self._said = self._written = 0.0
        self._bars: Bars | None = None
        self._bar: TaskID | None = None

    def start(self, plan: PassPlan) -> None:
        """Begin a pass; finished units of an earlier run count as done, and not for the rate."""
        todo = [u.unit for u in plan.units if u.state != "done"]
        self._now = {
            "units": len(plan.units),
            "units_done": len(plan.units) - len(todo),
            "units_before": len(plan.units) - len(todo),  # what was resumed
            "rows": sum(unit.rows for unit in todo),
            "rows_done": 0,
            "rejected": 0,
            "seconds": 0.0,
            "usage": {},
            "running": True,
        }
        self._passes[plan.key] = self._now
        self._started = self._said = time.monotonic()
        if self._console.is_terminal:
            self._bars = Bars(
                TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TextColumn("shards"),
                TextColumn("{task.fields[rate]}"), TextColumn("left"), TimeRemainingColumn(), console=self._console,
            )  # fmt: skip
            self._bars.start()
            self._bar = self._bars.add_task(plan.key, total=len(plan.units), completed=self._now["units_done"], rate="")
        else:
            again = f", {self._now['units_done']} done before" if self._now["units_done"] else ""
            self._console.print(f"{plan.key}: {len(todo)} to do{again}")
        self._write()

    def advance(self, unit: Unit, record: Record) -> None:
        """Count a unit that is done."""
        now = self._now
        now["units_done"] += 1
        if said := record.facts.get("said"):
            kept = f"{record.counts.rows_kept:,} of {record.counts.rows_in:,} records kept"
            self._console.print(f"  {unit.name}: {said}; {kept}", markup=False)
        now["rows_done"] += record.counts.rows_in or unit.rows
        now["rejected"] += sum(record.counts.rejected.values())
        now["seconds"] = time.monotonic() - self._started
        now["usage"] = sum_usage([now["usage"], record.cost.get("usage", {})])
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, completed=now["units_done"], rate=f"{rate(now):,.0f} rows/s")
        elif time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            self._console.print(f"  {describe(now)}")
        if time.monotonic() - self._written > FILE_SECONDS:
            self._write()

    def finish(self) -> None:
        """End the pass."""
        self._now["running"] = False
        self._now["seconds"] = time.monotonic() - self._started
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        else:
            self._console.print(f"  {describe(self._now)}")
        if used := describe_usage(self._now["usage"]):
            self._console.print(f"  used: {used}")
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        with suppress(OSError):  # it only tells; a full disk shows itself where it matters
            write_atomically(self._path, to_json({"updated": time.time(), "passes": self._passes}))


def rate(now: dict[str, Any]) -> float:
    """Return the rows per second of a pass, in this run."""
    return float(now["rows_done"] / now["seconds"]) if now["seconds"] else 0.0


def describe(now: dict[str, Any]) -> str:
    """Return one line on a pass: shards, rows, rate, time left."""
    words = [
        f"{now['units_done']}/{now['units']} shards",
        f"{now['rows_done']:,} rows",
        f"{now['rejected']:,} rejected",
        f"{rate(now):,.0f} rows/s",
    ]
    if requests := now.get("usage", {}).get("requests"):
        words.append(f"{requests / now['seconds']:.1f} requests/s")
    if now["running"] and now["rows"] and now["rows_done"]:
        left = max(now["rows"] - now["rows_done"], 0) / rate(now)
        words.append(f"{format_seconds(left)} left")
    else:
        words.append(f"in {format_seconds(now['seconds'])}")
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
    """Return what the last run said of its passes; empty where none has run."""
    try:
        return dict(json.loads((run_dir / FILE).read_text())["passes"])
    except (FileNotFoundError, ValueError):
        return {}


def make_console(stderr: bool = False) -> Console:
    """Return a console that neither wraps nor colours where there is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, highlight=False, soft_wrap=not stream.isatty())
