"""What happened in a run, as it happens: one JSON line an event, in <run>/events.jsonl.

The driver alone writes. Every line is flushed, so that `tail -F` shows it; the last line of a killed driver may be
torn, and the next run begins a new one. Of a run in an object store the driver's copy grows, and is brought there as it
does (`lock`).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.errors import RunError
from pipelines.folders.run_folder import RunFolder

FILE = "events.jsonl"
PART_BYTES = 1 << 20  # of a file; a full one gets a number
PARTS = 256  # full ones that are kept: the events of the last 700,000 shards
TAIL_BYTES = 64 << 10  # that are read of the end
WHY_CHARACTERS = 300  # of a reason: the whole of it stands in the log

Hear = Callable[[str, Mapping[str, Any]], None]


class Events:
    """Tells events to a file and to whoever listens, in order.

    It only tells: where the file cannot be written, the run goes on.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._listeners: list[Hear] = []
        self._lock = threading.RLock()
        self._file: BinaryIO | None = None
        self._whole = True  # whether the file ends with a line's end
        self._began = round(time.time(), 3)

    def listen(self, hear: Hear, from_start: bool = False) -> None:
        """Call `hear(kind, fields)` with every event from now on, in the thread that tells it.

        Args:
            from_start: with those that were told before, too.
        """
        with self._lock:
            for event in _since(self._began, self._folder.path) if from_start else ():
                hear(event["kind"], event)
            self._listeners.append(hear)

    def tell(self, kind: str, **fields: Any) -> None:
        """Append an event; its fields are plain values. None is left out, as what is not known.

        Call it only while this process holds the run.
        """
        if (why := fields.get("why")) is not None:
            fields["why"] = str(why)[:WHY_CHARACTERS]
        known = {name: value for name, value in fields.items() if value is not None}
        line = json.dumps({"time": round(time.time(), 3), "kind": kind, **known}, ensure_ascii=False)
        with self._lock:
            with suppress(OSError, RunError):
                self._append(line.encode())
            for hear in self._listeners:
                hear(kind, known)

    def close(self) -> None:
        """End the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _append(self, line: bytes) -> None:
        path = self._folder.path / FILE
        if self._file is not None and self._file.tell() + len(line) > PART_BYTES:
            self._file.close()
            self._file = None
            self._folder.remove(_put_away(path))
        if self._file is None:
            self._file = path.open("ab", buffering=0)
            self._whole = ends_whole(path)
        data = line + b"\n" if self._whole else b"\n" + line + b"\n"
        self._whole = False  # on a full disk a part of it may be written
        self._whole = self._file.write(data) == len(data)


def ends_whole(path: Path) -> bool:
    """Tell whether a file is empty or ends with a line's end: a killed driver may have torn its last line."""
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return True
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def parts_of(folder: Path) -> list[Path]:
    """Return the full files of events, the oldest first."""
    return sorted(folder.glob("events-*.jsonl"))


def _put_away(path: Path) -> list[str]:
    """Give a full file a number; returns the oldest ones, where there are too many."""
    parts = parts_of(path.parent)
    last = int(parts[-1].stem.partition("-")[2]) if parts else 0
    path.rename(path.with_name(f"events-{last + 1:06d}.jsonl"))
    return [part.name for part in parts[: max(len(parts) + 1 - PARTS, 0)]]


def parse(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the events in lines; what is no JSON is a torn line and left out."""
    for line in data.splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "kind" in event:
                yield event


def _since(began: float, folder: Path) -> list[dict[str, Any]]:
    """Return the events since a time; as few files are read as hold them."""
    found: list[dict[str, Any]] = []
    for path in reversed([*parts_of(folder), folder / FILE]):
        events = list(parse(path.read_bytes())) if path.is_file() else []
        found[:0] = [event for event in events if event["time"] >= began]
        if events and events[0]["time"] < began:
            break
    return found
