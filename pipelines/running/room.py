"""Which workers there should be: kinds of them, the room they need on nodes, whose turn it is. Arithmetic alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.running.orders import Needs, Order

NEARLY = 1e-9  # shares of GPUs are sums of floats


@dataclass(frozen=True)
class Kind:
    """A kind of worker: what it needs, and the pass whose models lie on its GPU, where it has a share of one."""

    needs: Needs
    key: str = ""

    def __str__(self) -> str:
        needs = self.needs
        parts = [f"{needs.cpus:g} CPU" + ("s" if needs.cpus != 1 else "")]
        parts += [f"{needs.gpus:g} GPU"] if needs.gpus else []
        parts += [f"{needs.memory_bytes / 2**30:g} GiB"] if needs.memory_bytes else []
        return ", ".join(parts)


def kind_of(order: Order) -> Kind:
    """Return the kind of worker that an order needs."""
    return Kind(order.needs, order.key if order.needs.gpus else "")


@dataclass
class Room:
    """What is free on a node; `gpus` is the share of each of its GPUs."""

    cpus: float
    gpus: list[float] = field(default_factory=list)
    memory_bytes: float = 0

    def copy(self) -> Room:
        """Return the same room, to be taken apart."""
        return Room(self.cpus, [*self.gpus], self.memory_bytes)

    def fits(self, needs: Needs) -> bool:
        """Tell whether a worker fits."""
        return (
            needs.cpus <= self.cpus + NEARLY
            and needs.memory_bytes <= self.memory_bytes + NEARLY
            and self._gpus_for(needs.gpus) is not None
        )

    def take(self, needs: Needs) -> bool:
        """Take a worker's room, if it fits; tells whether it did."""
        if not self.fits(needs):
            return False
        self.cpus -= needs.cpus
        self.memory_bytes -= needs.memory_bytes
        for number in self._gpus_for(needs.gpus) or ():
            self.gpus[number] -= min(needs.gpus, 1)
        return True

    def force(self, needs: Needs) -> None:
        """Take the room of a worker that is there, whether it seems to fit or not."""
        if not self.take(needs):
            self.cpus -= needs.cpus
            self.memory_bytes -= needs.memory_bytes

    def _gpus_for(self, gpus: float) -> Sequence[int] | None:
        """Return the GPUs that a worker would have a share of, or the whole; None where there are too few."""
        if not gpus:
            return ()
        free = [number for number, share in enumerate(self.gpus) if share + NEARLY >= min(gpus, 1)]
        wanted = max(round(gpus), 1)
        return free[:wanted] if len(free) >= wanted else None


@dataclass
class Demand:
    """What is wanted of a kind.

    wanted:   workers that would have something to do, or are to be kept
    least:    of them, workers that it is to have whoever else waits
    priority: of its first waiting order; None where none waits
    waited:   seconds that orders have waited while there was no worker of the kind at all
    """

    wanted: int
    least: int = 0
    priority: int | None = None
    waited: float = 0.0


@dataclass
class Standing:
    """A worker as it stands. node: "" where it has not started yet."""

    name: str
    kind: Kind
    node: str = ""
    idle: bool = False
    leaving: bool = False


@dataclass
class Changes:
    """What to do: workers to start, to end at once, and to end when they have done what they are doing."""

    start: list[Kind] = field(default_factory=list)
    end: list[str] = field(default_factory=list)
    leave: list[str] = field(default_factory=list)
    short: list[Kind] = field(default_factory=list)  # for which there is no room yet


def entitled(kind: Kind, demand: Demand) -> int:
    """Return how many workers a kind gets before any other gets more: all that GPUs are for, one of another."""
    return demand.wanted if kind.needs.gpus else min(demand.wanted, max(1, demand.least))


def in_turn(demands: Mapping[Kind, Demand], hold_seconds: float) -> list[Kind]:
    """Return the kinds that want workers: first who has waited too long, then those with GPUs, then by priority."""

    def turn(kind: Kind) -> tuple[bool, float, int]:
        demand = demands[kind]
        return demand.waited <= hold_seconds, -kind.needs.gpus, -(-1 if demand.priority is None else demand.priority)

    return sorted((kind for kind, demand in demands.items() if demand.wanted), key=turn)


def balance(
    demands: Mapping[Kind, Demand],
    workers: Iterable[Standing],
    nodes: Mapping[str, Room],
    others: Needs,
    most: int | None,
    hold_seconds: float,
) -> Changes:
    """Return which workers to start and to end.

    Args:
        demands: by kind.
        workers: that there are, those that start and those that leave among them.
        nodes: by name, what each has in all.
        others: what other jobs hold of the cluster: it is unknown where.
        most: workers in all.
        hold_seconds: after which a kind without any worker takes the last one of another.
    """
    standing = list(workers)
    have = dict.fromkeys(demands, 0)
    for worker in standing:
        if not worker.leaving:
            have[worker.kind] = have.get(worker.kind, 0) + 1
    free = _Free(nodes, standing, others, most)
    changes = Changes()
    turn = in_turn(demands, hold_seconds)
    due = {kind: entitled(kind, demands[kind]) for kind in turn}
    for enough in (due, {kind: demands[kind].wanted for kind in turn}):
        for kind in turn:
            while have[kind] < enough[kind] and free.take(kind.needs):
                have[kind] += 1
                changes.start.append(kind)
    changes.short = [kind for kind in turn if have[kind] < demands[kind].wanted and demands[kind].priority is not None]
    for kind in turn:
        if demands[kind].priority is None:
            continue
        while have[kind] < due[kind]:
            spare = _spare(kind, have, demands, standing, hold_seconds)
            victims = free.promise(kind.needs, spare)
            if victims is None:
                break
            have[kind] += 1
            for worker in victims:
                have[worker.kind] -= 1
                worker.leaving = True
                (changes.end if worker.idle or not worker.node else changes.leave).append(worker.name)
    return changes


def _spare(
    kind: Kind,
    have: Mapping[Kind, int],
    demands: Mapping[Kind, Demand],
    standing: Sequence[Standing],
    hold_seconds: float,
) -> list[Standing]:
    """Return workers that may go for a kind, those that do nothing first: of each other kind, those beyond its due."""
    found = []
    hurry = have[kind] == 0 and demands[kind].waited > hold_seconds
    for other in {worker.kind for worker in standing} - {kind}:
        demand = demands.get(other, Demand(0))
        due = entitled(other, demand) if demand.priority is not None else demand.least
        mine = [worker for worker in standing if worker.kind == other and not worker.leaving]
        mine.sort(key=lambda worker: not (worker.idle or not worker.node))
        found += mine[: max(len(mine) - (0 if hurry else due), 0)]
    return sorted(found, key=lambda worker: not (worker.idle or not worker.node))


class _Free:
    """What is free on the nodes: now, and when all who leave have left."""

    def __init__(
        self, nodes: Mapping[str, Room], standing: Sequence[Standing], others: Needs, most: int | None
    ) -> None:
        self._now = {name: room.copy() for name, room in nodes.items()}
        self._then = {name: room.copy() for name, room in nodes.items()}
        self._slots_now = self._slots_then = most if most is not None else len(standing) + 10**9
        self._cpus_now = self._cpus_then = sum(room.cpus for room in nodes.values()) - others.cpus
        for worker in sorted(standing, key=lambda worker: not worker.node):  # those without a place last
            self._slots_now -= 1
            self._cpus_now -= worker.kind.needs.cpus
            self._put(self._now, worker)
            if not worker.leaving:
                self._slots_then -= 1
                self._cpus_then -= worker.kind.needs.cpus
                self._put(self._then, worker)

    def take(self, needs: Needs) -> bool:
        """Take a new worker's room on any node, if it is free now and not promised; tells whether it was."""
        if self._slots_now < 1 or self._slots_then < 1 or self._cpus_now + NEARLY < needs.cpus:
            return False
        for name, room in self._now.items():
            if room.fits(needs) and self._then[name].take(needs):
                room.take(needs)
                self._slots_now -= 1
                self._slots_then -= 1
                self._cpus_now -= needs.cpus
                self._cpus_then -= needs.cpus
                return True
        return False

    def promise(self, needs: Needs, spare: Sequence[Standing]) -> list[Standing] | None:
        """Take the room that a worker will have when all who leave have left; returns who has to leave too.

        None where it will have none whoever leaves. Of several nodes, that where the fewest leave.
        """
        best: tuple[int, str, list[Standing]] | None = None
        for name, room in self._then.items():
            victims = self._victims(room.copy(), name, needs, spare)
            if victims is not None:
                cost = sum(100 if worker.node and not worker.idle else 1 for worker in victims)
                best = min(best or (cost, name, victims), (cost, name, victims), key=lambda one: one[:2])
        if best is None:
            return None
        _, name, victims = best
        for worker in victims:
            self._slots_then += 1
            self._cpus_then += worker.kind.needs.cpus
            if worker.node in self._then:
                _give_back(self._then[worker.node], worker.kind.needs)
        self._then[name].take(needs)
        self._slots_then -= 1
        self._cpus_then -= needs.cpus
        return victims

    def _victims(self, room: Room, name: str, needs: Needs, spare: Sequence[Standing]) -> list[Standing] | None:
        victims: list[Standing] = []
        slots, cpus = self._slots_then, self._cpus_then
        for worker in [*(w for w in spare if w.node in (name, "")), *(w for w in spare if w.node not in (name, ""))]:
            fits = room.fits(needs) and cpus + NEARLY >= needs.cpus
            if fits and slots >= 1:
                return victims
            here = worker.node in (name, "")
            if fits or here:  # elsewhere it makes no room, but for one worker more
                victims.append(worker)
                slots, cpus = slots + 1, cpus + worker.kind.needs.cpus
                if here:
                    _give_back(room, worker.kind.needs)
        return victims if slots >= 1 and room.fits(needs) and cpus + NEARLY >= needs.cpus else None

    @staticmethod
    def _put(rooms: Mapping[str, Room], worker: Standing) -> None:
        """Take the room of a worker where it is; of one that has not started, where it fits first."""
        if worker.node:
            if worker.node in rooms:
                rooms[worker.node].force(worker.kind.needs)
        else:
            any(room.take(worker.kind.needs) for room in rooms.values())


def _give_back(room: Room, needs: Needs) -> None:
    room.cpus += needs.cpus
    room.memory_bytes += needs.memory_bytes
    if needs.gpus:  # to the GPU that is fullest: it is where a share was taken
        for _ in range(max(round(needs.gpus), 1)):
            number = min(range(len(room.gpus)), key=lambda n: room.gpus[n], default=None)
            if number is not None:
                room.gpus[number] += min(needs.gpus, 1)
