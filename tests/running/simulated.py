"""A cluster that only counts: workers start and units end when their seconds, of a clock of its own, are over."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.graph import Unit
from pipelines.recipe import Recipe, load_recipe
from pipelines.running.hired import Died, Done, Event, Node, Ready
from pipelines.running.orders import Needs, Order
from pipelines.running.pool import USUAL, Pool, Times
from pipelines.running.room import Kind, Room
from pipelines.running.waiting import Task
from pipelines.shards import Counts, Record
from tests.conftest import write_recipe

START_SECONDS = 2.0  # of a worker
REACTION_SECONDS = 0.001  # between two things that the driver does


class Simulated:
    """Nodes that place workers like Ray: in the order in which they are started, each on the first node with room.

    start_seconds: of a worker that has its room
    peak:          workers of each kind that were at work at once, at most
    """

    def __init__(self, **nodes: Room) -> None:
        self.time = 0.0
        self.start_seconds = START_SECONDS
        self.rooms = nodes
        self.free = {name: room.copy() for name, room in nodes.items()}
        self.kinds: dict[str, Kind] = {}
        self.at: dict[str, str] = {}  # worker -> node
        self.pending: list[str] = []
        self.doing: dict[str, Task] = {}
        self.peak: Counter[str] = Counter()
        self.performed: list[tuple[str, str]] = []  # unit, worker
        self.ended: list[str] = []  # workers, by the driver
        self.poison: set[str] = set()  # units that kill their worker
        self.slow: dict[tuple[str, str], float] = {}  # seconds of a unit on a node
        self.script: list[tuple[float, Any]] = []  # what happens at a time: a function without arguments
        self._queue: list[tuple[float, int, Any]] = []
        self._count = 0

    def now(self) -> float:
        """Return the simulated time."""
        return self.time

    def at_time(self, seconds: float, what: Any) -> None:
        """Let a function be called at a time."""
        self._push(seconds, what)

    def start(self, worker: str, kind: Kind, recipe: Recipe) -> None:
        """Place a worker, or let it wait for room."""
        self.kinds[worker] = kind
        self.pending.append(worker)
        self._place()

    def perform(self, worker: str, task: Task) -> None:
        """Do a unit: for as long as it says, or as it takes on this node."""
        unit = task.order.unit
        self.performed.append((unit.name, worker))
        self.doing[worker] = task
        at_work = Counter(self.kinds[name] for name in self.doing)
        for kind, count in at_work.items():
            self.peak[str(kind)] = max(self.peak[str(kind)], count)
        seconds = self.slow.get((unit.name, self.at[worker]), float(unit.args.get("seconds", 1)))
        if unit.name in self.poison and task.quarantine is None:
            self._push(self.time + seconds, lambda: self._dies(worker, task, alone=True))
        else:
            self._push(self.time + seconds, lambda: self._ends(worker, task))

    def end(self, worker: str) -> None:
        """End a worker, and give its room to who waits."""
        self.ended.append(worker)
        self.doing.pop(worker, None)
        if worker in self.pending:
            self.pending.remove(worker)
        if (node := self.at.pop(worker, None)) in self.free:
            self.free[node] = self.rooms[node].copy()
            for other, place in self.at.items():
                if place == node:
                    assert self.free[node].take(self.kinds[other].needs)
        self._place()

    def nodes(self) -> Mapping[str, Node]:
        """Return the nodes."""
        return {name: Node(name, room) for name, room in self.rooms.items()}

    def free_cpus(self) -> float:
        """Return what is free."""
        return sum(room.cpus for room in self.free.values())

    def next(self, seconds: float) -> Event | None:
        """Let time pass, to the next thing that happens."""
        until = self.time + max(seconds, 0)
        while self._queue and self._queue[0][0] <= until:
            at, _, what = heapq.heappop(self._queue)
            self.time = max(self.time, at)
            event = what() if callable(what) else what
            if event is not None:
                return event
        self.time = max(self.time, until) if seconds else self.time + REACTION_SECONDS
        return None

    def add_node(self, name: str, room: Room) -> None:
        """Let a node join."""
        self.rooms[name] = room
        self.free[name] = room.copy()
        self._place()

    def lose_node(self, name: str) -> None:
        """Let a node go, with its workers; the driver is told of those that were at work."""
        del self.rooms[name], self.free[name]
        for worker in [worker for worker, node in self.at.items() if node == name]:
            del self.at[worker]
            self.doing.pop(worker, None)
            self._push(self.time + 1, Died(worker, alone=False, why="its node has died"))

    def _place(self) -> None:
        for worker in list(self.pending):
            for name, room in self.free.items():
                if room.take(self.kinds[worker].needs):
                    self.pending.remove(worker)
                    self.at[worker] = name
                    self._push(self.time + self.start_seconds, lambda w=worker, n=name: self._is_ready(w, n))
                    break

    def _is_ready(self, worker: str, node: str) -> Event | None:
        return Ready(worker, 1, node) if self.at.get(worker) == node else None

    def _ends(self, worker: str, task: Task) -> Event | None:
        if self.doing.get(worker) is not task:
            return None
        del self.doing[worker]
        return Done(worker, Record("", {}, Counts(), {}, {}, {"seconds": 1.0}))

    def _dies(self, worker: str, task: Task, alone: bool) -> Event | None:
        if self.doing.get(worker) is not task:
            return None
        return Died(worker, alone, "its worker process has died")

    def _push(self, at: float, what: Any) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at, self._count, what))


class Told:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, kind: str, **fields: Any) -> None:
        """Take an event."""
        self.events.append((kind, fields))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of a kind."""
        return [fields for told, fields in self.events if told == kind]


def recipe_with(folder: Path, **workers: Any) -> Recipe:
    """Return a small recipe with options of workers."""
    return load_recipe(write_recipe(folder, workers=workers))


def orders(recipe: Recipe, key: str, count: int, seconds: float = 1.0, **changes: Any) -> list[Order]:
    """Return orders of a pass, with what its workers need by the recipe."""
    options = recipe.workers.of(key)
    given: dict[str, Any] = {"needs": Needs(options.cpus), "least": options.min, "most": options.max, **changes}
    return [
        Order(recipe, key, Unit(f"{key}-{number}", args={"seconds": seconds}), {}, "token", **given)
        for number in range(count)
    ]


def pool_of(cluster: Simulated, told: Told | None = None, most: int | None = None, times: Times = USUAL) -> Pool:
    """Return a pool of a simulated cluster."""
    return Pool(cluster, told or Told(), most, times)


def run_all(pool: Pool, *groups: list[Order]) -> list[str]:
    """Submit orders and wait for all; returns the units in the order in which they were done."""
    for group in groups:
        for order in group:
            pool.submit(order)
    return [pool.wait()[0].unit.name for group in groups for _ in group]
