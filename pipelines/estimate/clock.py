"""How long work takes on a cluster: units go to workers as a run hands them out, on a clock that is not waited for."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from pipelines.errors import UserError
from pipelines.estimate_options import Cluster

_Event = tuple[float, int, str, int, str]  # when, number of the pass, unit, node, part of the unit that is done then
_WHOLE = "\uffff"  # not a part of a unit: comes behind the parts that end with it
NEARLY = 1e-9  # shares of CPUs and GPUs are sums of floats


@dataclass(frozen=True)
class Work:
    """A pass as the clock takes it.

    units:   seconds of a worker, by unit; None: done
    follows: passes whose unit of the same name it takes as soon as that is done; a source is one unit, and its shards
             are taken as they are read: one after another, each in the same time
    beside:  passes that must have done the unit of the same name first, if they have one
    waits:   passes that must be finished
    start:   seconds that a worker needs before its first unit
    cpus, gpus, memory_gib: of a worker
    most:    workers at once; None: as many as there is room for
    """

    key: str
    units: Mapping[str, float | None]
    waits: frozenset[str] = frozenset()
    follows: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    start: float = 0.0
    cpus: float = 1.0
    gpus: float = 0.0
    memory_gib: float = 0.0
    most: int | None = None


@dataclass
class Times:
    """What the clock showed.

    seconds: of everything
    workers: that were started for each pass
    ends:    when each pass was finished
    """

    seconds: float = 0.0
    workers: dict[str, int] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)


def room(work: Work, cluster: Cluster) -> int:
    """Return how many workers of a pass a cluster holds. Raises UserError where it holds none.

    >>> room(Work("tts", {}, cpus=2, gpus=0.5), Cluster(cpus=16, gpus=2, nodes=3))
    12
    >>> room(Work("tts", {}, memory_gib=12), Cluster(cpus=16, memory_gib=64))
    5
    """
    of_node = int(cluster.cpus / work.cpus) if work.cpus else cluster.cpus
    if work.gpus:
        on_gpus = cluster.gpus * int(1 / work.gpus) if work.gpus < 1 else int(cluster.gpus / work.gpus)
        of_node = min(of_node, on_gpus)
    counted = bool(work.memory_gib and cluster.memory_gib)
    if counted:
        of_node = min(of_node, int(cluster.memory_gib / work.memory_gib))
    if not of_node:
        needs, has = (f", {of.memory_gib:g} GiB" if counted else "" for of in (work, cluster))
        raise UserError(
            f"{work.key}: a worker needs {work.cpus:g} CPUs, {work.gpus:g} GPUs{needs}, and a node of the cluster has "
            f"{cluster.cpus}, {cluster.gpus}{has}: name another, --cluster cpus=16,gpus=1"
        )
    of_all = of_node * cluster.nodes
    return of_all if work.most is None else max(1, min(work.most, of_all))


def simulate(works: Sequence[Work], cluster: Cluster) -> Times:
    """Return how long passes take, in their order: a later pass goes first, so that what was begun ends.

    A worker that has done a unit of a pass does further ones without a start, as long as it is there. Raises UserError
    for a worker that no node has room for.
    """
    clock = _Clock(works, cluster)
    return clock.run()


class _Nodes:
    """What is free on each node, of CPUs, GPUs and memory."""

    def __init__(self, cluster: Cluster) -> None:
        memory = cluster.memory_gib or float("inf")
        self._free = [[float(cluster.cpus), float(cluster.gpus), memory] for _ in range(cluster.nodes)]
        self._cpus, self._gpus = float(cluster.cpus * cluster.nodes), float(cluster.gpus * cluster.nodes)
        self._last = 0  # where something was given back: in a full cluster there is room nowhere else

    def take(self, work: Work) -> int | None:
        """Take a worker's room; returns on which node, None where none has as much."""
        if work.cpus > self._cpus + NEARLY or work.gpus > self._gpus + NEARLY:
            return None
        for number in chain((self._last,), range(len(self._free))):
            cpus, gpus, memory = self._free[number]
            if work.cpus <= cpus + NEARLY and work.gpus <= gpus + NEARLY and work.memory_gib <= memory + NEARLY:
                self._add(number, work, -1)
                return number
        return None

    def give_back(self, number: int, work: Work) -> None:
        """Free a worker's room."""
        self._add(number, work, 1)
        self._last = number

    def _add(self, number: int, work: Work, sign: int) -> None:
        free = self._free[number]
        free[0] += sign * work.cpus
        free[1] += sign * work.gpus
        free[2] += sign * work.memory_gib
        self._cpus += sign * work.cpus
        self._gpus += sign * work.gpus


class _Clock:
    def __init__(self, works: Sequence[Work], cluster: Cluster) -> None:
        self._works = works
        self._number = {work.key: number for number, work in enumerate(works)}
        self._room = [room(work, cluster) if any(s is not None for s in work.units.values()) else 1 for work in works]
        self._nodes = _Nodes(cluster)
        self._left = [len(work.units) for work in works]
        self._waits = [{self._number[key] for key in work.waits if key in self._number} for work in works]
        self._behind: list[list[int]] = [[] for _ in works]  # passes that wait for each, or follow it
        self._begun = [False] * len(works)
        self._open: list[int] = []  # passes that have begun and are not finished, the last first
        self._ready: list[list[str]] = [[] for _ in works]
        self._running = [0] * len(works)
        self._started = [0] * len(works)
        self._needed: dict[tuple[int, str], int] = {}  # units of other passes that a unit of a pass waits for
        self._after: defaultdict[tuple[int, str], list[tuple[int, str]]] = defaultdict(list)  # what waits for a unit
        self._parts: defaultdict[str, list[int]] = defaultdict(list)  # passes that wait for a shard that is being read
        self._times = Times()
        for number, work in enumerate(works):
            for other in self._waits[number]:
                self._behind[other].append(number)
            links = [self._number[key] for key in (*work.follows, *work.beside) if key in self._number]
            for name in work.units if links else ():
                source = name.rpartition("-")[0]  # what is read is one unit a source, whose shards have its name
                there = [(k, unit) for k in links for unit in (name, source) if unit in works[k].units]
                self._needed[number, name] = len(there)
                for place in there:
                    self._after[place].append((number, name))

    def run(self) -> Times:
        now = 0.0
        busy: list[_Event] = []
        for number in range(len(self._works)):
            self._begin(number, now)
        self._give(busy, now)
        while busy:
            now, number, unit, node, part = heapq.heappop(busy)
            if part != _WHOLE:
                for other in self._parts.pop(part):
                    self._release(other, part, now)
            else:
                self._done(number, unit, now)
                ready = self._ready[number]
                if ready and not any(self._ready[later] for later in self._open if later > number):
                    self._start(busy, now, number, ready.pop(), node)  # the worker goes on: for others nothing is free
                    continue
                self._running[number] -= 1
                self._nodes.give_back(node, self._works[number])
            self._give(busy, now)
        if any(self._left):
            stuck = [work.key for work, left in zip(self._works, self._left, strict=True) if left]
            raise AssertionError(f"these wait for each other: {', '.join(stuck)}")
        self._times.seconds = now
        self._times.workers = {
            work.key: started for work, started in zip(self._works, self._started, strict=True) if started
        }
        return self._times

    def _give(self, busy: list[_Event], now: float) -> None:
        """Give free workers the units that they can take now: of the last pass first."""
        for number in self._open:
            work, ready = self._works[number], self._ready[number]
            while ready and self._running[number] < self._room[number]:
                if (node := self._nodes.take(work)) is None:
                    break
                begins = now
                if self._running[number] == self._started[number]:
                    self._started[number] += 1
                    begins += work.start
                self._running[number] += 1
                self._start(busy, begins, number, ready.pop(), node)

    def _start(self, busy: list[_Event], now: float, number: int, unit: str, node: int) -> None:
        """Note when a unit that begins now will be done, and each of its parts."""
        seconds = self._works[number].units[unit]
        assert seconds is not None, "what is done is never ready"
        parts = self._parts_of(number, unit)
        for place, part in enumerate(parts, 1):
            heapq.heappush(busy, (now + seconds * place / len(parts), number, unit, node, part))
        heapq.heappush(busy, (now + seconds, number, unit, node, _WHOLE))

    def _begin(self, number: int, now: float) -> None:
        """Make ready what a pass can do as soon as all that it waits for is finished."""
        if self._begun[number] or self._waits[number]:
            return
        self._begun[number] = True
        self._open = sorted([*self._open, number], reverse=True)
        work = self._works[number]
        for name in reversed(list(work.units)):
            if not self._needed.get((number, name)):
                self._take(number, name, now)
        if not work.units:
            self._finish(number, now)

    def _take(self, number: int, name: str, now: float) -> None:
        if self._works[number].units[name] is None:
            self._done(number, name, now)
        else:
            self._ready[number].append(name)

    def _done(self, number: int, unit: str, now: float) -> None:
        self._left[number] -= 1
        for other, name in self._after.pop((number, unit), ()):
            self._release(other, name, now)
        if not self._left[number]:
            self._finish(number, now)

    def _parts_of(self, number: int, unit: str) -> list[str]:
        """Return the shards of a source that is being read; what waits for them waits for the source no longer."""
        after = self._after.get((number, unit), ())
        if not after or after[0][1] == unit:
            return []
        del self._after[number, unit]
        for other, name in after:
            self._parts[name].append(other)
        return list(dict.fromkeys(name for _, name in after))

    def _release(self, number: int, name: str, now: float) -> None:
        """Let a pass take a unit if that waits for nothing else."""
        self._needed[number, name] -= 1
        if not self._needed[number, name] and self._begun[number]:
            self._take(number, name, now)

    def _finish(self, number: int, now: float) -> None:
        self._times.ends[self._works[number].key] = now
        self._open.remove(number)
        for other in self._behind[number]:
            self._waits[other].discard(number)
            self._begin(other, now)
