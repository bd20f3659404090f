"""How busy the workers are: the share of the last minute that they had something to do, from what is told of them."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from typing import Any

WINDOW_SECONDS = 60


def kind_of(worker: Mapping[str, Any]) -> str:
    """Return "gpu" for a worker that holds a share of one, else "cpu"; of the fields of worker_started."""
    return "gpu" if worker.get("gpus") else "cpu"


class Business:
    """Follows workers from event to event. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}  # of a worker: "cpu", or "gpu" where it holds a share of one
        self._busy: dict[str, tuple[str, str]] = {}  # a worker's step and shard
        self._here: dict[str, float] = defaultdict(float)  # worker seconds of a kind
        self._work: dict[str, float] = defaultdict(float)  # of those, with something to do
        self._points: dict[str, deque[tuple[float, float, float]]] = {}  # of a kind: time, here, work
        self._time = 0.0

    def hear(self, kind: str, fields: Mapping[str, Any], now: float) -> None:
        """Take in an event."""
        self._pass_time(now)
        worker = fields.get("worker", "")
        if kind == "worker_started":
            self._kinds[worker] = kind_of(fields)
        elif kind in ("worker_ended", "worker_died"):
            self._kinds.pop(worker, None)
            self._busy.pop(worker, None)
        elif kind == "shard_given" and worker in self._kinds:
            self._busy[worker] = (fields["step"], fields["shard"])
        elif kind == "shard_done":  # a straggler's second worker too has nothing more to do
            shard = (fields["step"], fields["shard"])
            for idle in [name for name, busy in self._busy.items() if busy == shard]:
                del self._busy[idle]

    def shares(self, now: float) -> dict[str, dict[str, Any]]:
        """Return by kind how many workers there are, and the share of their last minute that they were busy."""
        self._pass_time(now)
        shares = {}
        for kind, workers in sorted(Counter(self._kinds.values()).items()):
            points = self._points.setdefault(kind, deque([(now, 0.0, 0.0)]))
            points.append((now, self._here[kind], self._work[kind]))
            while len(points) > 1 and points[1][0] <= now - WINDOW_SECONDS:
                points.popleft()
            here = self._here[kind] - points[0][1]
            busy = round((self._work[kind] - points[0][2]) / here, 3) if here else None
            shares[kind] = {"workers": workers, **({"busy": busy} if busy is not None else {})}
        return shares

    def _pass_time(self, now: float) -> None:
        seconds, self._time = now - self._time, now
        for worker, kind in self._kinds.items():
            self._here[kind] += seconds
            self._work[kind] += seconds * (worker in self._busy)
