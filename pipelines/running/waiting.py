"""Orders that wait for workers: in queues by pass, the highest priority first, so many of a pass at once."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median

from pipelines.running.orders import Order
from pipelines.running.room import Kind, kind_of

KNOWN = 3  # units of a pass that must be done before its median is one
REMEMBERED = 1000  # of them


@dataclass(eq=False)
class Task:
    """An order and what it went through.

    attempt:    how often it was given out
    deaths:     of workers' processes at it
    lost:       workers at it that went with their nodes
    at:         names of the workers that are at it: two of a straggler
    reissued:   whether it was given out a second time for taking long
    quarantine: why its rows are to be rejected, where it is not to be tried again
    """

    order: Order
    attempt: int = 0
    deaths: int = 0
    lost: int = 0
    at: list[str] = field(default_factory=list)
    reissued: bool = False
    quarantine: str | None = None
    queued: bool = False
    finished: bool = False


class PassQueue:
    """The orders of one pass: those that wait, how many are at work, how long they take."""

    def __init__(self, order: Order) -> None:
        self.kind = kind_of(order)
        self.key = order.key
        self.least = order.least
        self.grows = order.recipe.workers.of(order.key).max is not None
        self.limit = limit_of(order)
        self.asks = order.asks
        self.running = 0
        self.done = 0
        self.quarantined = 0
        self.last = 0.0  # when an order came or was done, on the pool's clock
        self._heap: list[tuple[int, int, Task]] = []
        self._count = 0
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def waiting(self) -> int:
        """How many orders wait."""
        return len(self._heap)

    @property
    def priority(self) -> int | None:
        """The priority of the order that is next; None where none may be given out now."""
        return -self._heap[0][0] if self._heap and self.may_begin else None

    @property
    def may_begin(self) -> bool:
        """Whether one more may be at work."""
        return self.limit is None or self.running < self.limit

    @property
    def wanted(self) -> int:
        """How many workers would have something to do."""
        both = self.waiting + self.running
        return both if self.limit is None else min(both, self.limit)

    def push(self, task: Task) -> None:
        """Add an order: a new one behind those of its priority, one that was given out before in front of them."""
        if task.queued:
            return
        self._count += 1
        task.queued = True
        place = -self._count if task.attempt else self._count
        heapq.heappush(self._heap, (-task.order.priority, place, task))

    def pop(self) -> Task:
        """Take the next order."""
        task = heapq.heappop(self._heap)[2]
        task.queued = False
        return task

    def drop(self, task: Task) -> None:
        """Take an order out that need not be given out any more."""
        if task.queued:
            self._heap = [entry for entry in self._heap if entry[2] is not task]
            heapq.heapify(self._heap)
            task.queued = False

    def took(self, seconds: float) -> None:
        """Note how long a unit took."""
        self.done += 1
        self._seconds.append(seconds)

    def median(self) -> float | None:
        """Return how long half of the units take; None where too few are done."""
        return median(self._seconds) if len(self._seconds) >= KNOWN else None


def limit_of(order: Order) -> int | None:
    """Return how many orders of a pass may be at work at once: its own limit, and its share of a server's."""
    limits = [order.most] * (order.most is not None) + [order.workers] * order.asks
    return min((limit for limit in limits if limit is not None), default=None)


class Waiting:
    """The queues of all passes."""

    def __init__(self) -> None:
        self._passes: dict[str, PassQueue] = {}
        self._kinds: dict[Kind, list[PassQueue]] = {}

    def of(self, order: Order) -> PassQueue:
        """Return the queue of an order's pass."""
        queue = self._passes.get(order.key)
        if queue is None:
            queue = self._passes[order.key] = PassQueue(order)
            self._kinds.setdefault(queue.kind, []).append(queue)
        return queue

    def next_for(self, kind: Kind) -> Task | None:
        """Take the order that is next for a worker; None where none may be given out."""
        queues = [queue for queue in self._kinds.get(kind, ()) if queue.priority is not None]
        return max(queues, key=lambda queue: queue.priority or 0).pop() if queues else None

    def kinds(self) -> Iterator[tuple[Kind, list[PassQueue]]]:
        """Yield the kinds of worker that were ever wanted, with the passes that they work on."""
        yield from self._kinds.items()

    def passes(self) -> Iterable[PassQueue]:
        """Return every pass's queue."""
        return self._passes.values()
