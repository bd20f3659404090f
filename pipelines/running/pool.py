"""A pool of workers of several kinds that grows and shrinks with what waits, and goes on when workers die.

It knows no Ray: what starts workers, and tells what becomes of them, is a `Fleet`.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipelines.errors import RunError, UserError
from pipelines.recipe import Recipe
from pipelines.running.hired import Died, Done, Event, Failed, Fleet, Node, Ready
from pipelines.running.orders import LOOK_SECONDS, Needs, Order, Tell, nothing
from pipelines.running.perform import told_of
from pipelines.running.quarantine import can_quarantine
from pipelines.running.room import Changes, Demand, Kind, Room, Standing, balance
from pipelines.running.waiting import PassQueue, Task, Waiting
from pipelines.shards import Record

LOSSES = 20  # of nodes under one unit: no unit meets with so many by chance
STARTS = 4  # of workers that die before they have begun, one after another
PENDING = 2  # workers that stand where there is no room yet, so that an autoscaling cluster grows
QUARANTINED_AT_LEAST = 3  # a pass may lose this many shards with their workers,
QUARANTINED_SHARE = 0.05  # or this share of those it made; more means that the engine or the machine is broken


@dataclass(frozen=True)
class Times:
    """How long the pool waits for what, in seconds.

    look:      between two looks at the cluster
    calm:      between two decisions about workers,
    still:     or where the last one was to leave all as it is
    settled:   after the last worker's start or end, until Ray's own sums are right
    idle:      that a worker without work is kept: a start costs seconds
    idle_gpu:  that one with models on a GPU is kept: they cost more
    lull:      without orders, after which a pass's least workers are kept no longer
    hold:      after which a kind without any worker gets the last one's room of another
    start:     for a worker to start where there is room for it
    node:      for room: a node that is large enough to come, or to come back, or other jobs to end
    straggler: that a unit takes at least before it is given out a second time,
    factor:    and this often the median of its pass
    """

    look: float = 1.0
    calm: float = 0.1
    still: float = 0.5
    settled: float = 5.0
    idle: float = 20.0
    idle_gpu: float = 60.0
    lull: float = 60.0
    hold: float = 120.0
    start: float = 180.0
    node: float = 600.0
    straggler: float = 30.0
    factor: float = 3.0


USUAL = Times()
Work = Callable[[Order], Record]


@dataclass(eq=False)
class _Worker:
    name: str
    kind: Kind
    started: float
    node: str = ""  # where it is; "" until it has started
    task: Task | None = None
    since: float = 0.0  # it has had its task, or none
    leaving: bool = False
    pending: bool = False  # there is no room for it yet


@dataclass
class _Balance:
    """Whether workers should be looked at anew, when they were last, and how long to wait until then."""

    needed: bool = True
    at: float = -1e9
    calm: float = 0.0


class Pool:
    """Performs orders, as `runner.Executor` says."""

    def __init__(self, cluster: Fleet, tell: Tell, most: int | None, times: Times = USUAL) -> None:
        """Take over a cluster.

        Args:
            most: workers at once, of all kinds; None for as many as the cluster has room for.
        """
        self._cluster = cluster
        self._tell = tell
        self._most = most
        self._times = times
        self._waiting = Waiting()
        self._workers: dict[str, _Worker] = {}
        self._idle: dict[Kind, deque[_Worker]] = {}
        self._finished: deque[tuple[Order, Record]] = deque()
        self._recipe: Recipe | None = None
        self._named = 0
        self._failed_starts = 0
        self._starved: dict[Kind, float] = {}  # since when a kind has orders and no worker
        self._could: set[Kind] = set()  # kinds of which there was a worker once
        self._balanced = _Balance()
        self._looked = -1e9
        self._moved = -1e9  # when a worker last started or ended
        self._nodes: Mapping[str, Node] = cluster.nodes()
        self._others = self._total_cpus() - cluster.free_cpus()
        self.size = most or max(int(self._total_cpus() - self._others), 1)

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The nodes that are alive, as they were last looked at."""
        return self._nodes

    def check(self, sure: Mapping[str, Needs], perhaps: Mapping[str, Needs]) -> None:
        """Raise UserError, with the sums, where passes want workers for which no node is large enough.

        Of passes that may turn out to have nothing to do that is a warning.
        """
        if said := self._never_fit(sure):
            raise UserError("\n".join(said.values()))
        for key, why in self._never_fit(perhaps).items():
            print(f"warning: {why} The run goes on, and ends there if {key} has something to do.", file=sys.stderr)

    def _never_fit(self, needs: Mapping[str, Needs]) -> dict[str, str]:
        return {key: self._too_large(Kind(one), key) for key, one in needs.items() if not self._is_possible(one)}

    def submit(self, order: Order) -> None:
        """Take an order."""
        self._recipe = order.recipe
        queue = self._waiting.of(order)
        queue.push(Task(order))
        queue.last = self._cluster.now()
        self._balanced.needed = True

    def wait(self, look: Callable[[], object] = nothing) -> tuple[Order, Record]:
        """Return an order that is done, with its record. Raises RunError or UserError where the run cannot go on."""
        while True:
            look()
            self._give_out()
            if self._finished:
                return self._finished.popleft()
            now = self._cluster.now()
            if now - self._looked >= self._times.look:
                self._look(now)
            if self._balanced.needed and now - self._balanced.at >= self._balanced.calm:
                self._balance(now)
                continue
            event = self._cluster.next(self._times.calm if self._balanced.needed else LOOK_SECONDS)
            while event is not None:
                self._take(event)
                event = self._cluster.next(0)

    def _give_out(self) -> None:
        for kind, idle in self._idle.items():
            while idle and (task := self._waiting.next_for(kind)) is not None:
                self._give(self._chosen(idle, task), task)

    def _chosen(self, idle: deque[_Worker], task: Task) -> _Worker:
        """Take an idle worker: for what another one is at already, one of another node, where there is one."""
        if task.at:
            nodes = {self._workers[name].node for name in task.at}
            for worker in idle:
                if worker.node not in nodes:
                    idle.remove(worker)
                    return worker
        return idle.pop()

    def _give(self, worker: _Worker, task: Task) -> None:
        queue = self._waiting.of(task.order)
        queue.running += 1
        worker.task, worker.since = task, self._cluster.now()
        task.at.append(worker.name)
        task.attempt += 1
        self._cluster.perform(worker.name, task)
        self._tell("shard_given", attempt=task.attempt, **self._where(worker, task))

    def _where(self, worker: _Worker, task: Task | None) -> dict[str, str]:
        at = {"step": task.order.key, "shard": task.order.unit.name} if task else {}
        return {**at, "worker": worker.name, "node": self._node_name(worker.node)}

    def _node_name(self, node: str) -> str:
        return self._nodes[node].name if node in self._nodes else node[:8]

    def _take(self, event: Event) -> None:
        worker = self._workers.get(event.worker)
        if worker is None:  # it was ended meanwhile
            return
        match event:
            case Ready():
                self._ready(worker, event)
            case Done():
                self._done(worker, event.record)
            case Died():
                self._died(worker, event)
            case Failed():
                raise event.error

    def _ready(self, worker: _Worker, event: Ready) -> None:
        self._moved = self._cluster.now()
        self._failed_starts = 0
        worker.node, worker.pending = event.node, False
        self._could.add(worker.kind)
        if event.node not in self._nodes:
            self._see_nodes()
        needs = worker.kind.needs
        self._tell("worker_started", **self._where(worker, None), pid=event.pid, cpus=needs.cpus, gpus=needs.gpus)
        self._rest(worker)

    def _rest(self, worker: _Worker) -> None:
        """Let a worker wait for the next order, or go, if it is to leave."""
        worker.task, worker.since = None, self._cluster.now()
        if worker.leaving:
            self._end(worker, "others need its room")
        else:
            self._idle.setdefault(worker.kind, deque()).append(worker)

    def _done(self, worker: _Worker, record: Record) -> None:
        task, began = worker.task, worker.since
        assert task is not None, "it has done something"
        queue = self._waiting.of(task.order)
        queue.running -= 1
        queue.last = self._cluster.now()
        task.at.remove(worker.name)
        if not task.finished:
            task.finished = True
            queue.drop(task)
            if task.quarantine is None:
                queue.took(queue.last - began)
            self._tell("shard_done", **self._where(worker, task), **told_of(record))
            self._finished.append((task.order, record))
            for name in list(task.at):  # of a straggler: what it still does is for nothing
                slow = self._workers[name]
                self._leave_task(slow)
                self._end(slow, "another worker was sooner with its shard")
        self._balanced.needed = self._balanced.needed or not queue.waiting
        self._rest(worker)

    def _leave_task(self, worker: _Worker) -> Task | None:
        """Take a worker off what it does."""
        task = worker.task
        if task is not None:
            task.at.remove(worker.name)
            self._waiting.of(task.order).running -= 1
            worker.task = None
        return task

    def _died(self, worker: _Worker, event: Died) -> None:
        log = "\n".join(event.log) or None
        self._tell("worker_died", **self._where(worker, worker.task), why=event.why, log=log)
        task = self._leave_task(worker)
        self._forget(worker)
        self._cluster.end(worker.name)  # where only the way to it was lost, it may be alive
        if task is None:
            self._failed_starts += event.alone and not worker.node
            if self._failed_starts >= STARTS:
                raise RunError(f"{STARTS} workers died before they could begin: {_said(event)}")
        elif not (task.finished or task.at):
            self._try_again(task, event)

    def _try_again(self, task: Task, event: Died) -> None:
        order, queue = task.order, self._waiting.of(task.order)
        task.deaths += event.alone
        task.lost += not event.alone
        where = {"step": order.key, "shard": order.unit.name}
        if task.lost >= LOSSES:
            raise RunError(f"{order.key} {order.unit.name}: {LOSSES} nodes went while they were at it ({_said(event)})")
        tries = order.recipe.workers.tries
        if task.deaths >= tries + (task.quarantine is not None):
            most = max(QUARANTINED_AT_LEAST, QUARANTINED_SHARE * queue.done)
            if task.quarantine is not None or not can_quarantine(order.key) or queue.quarantined >= most:
                also = f", as those of {queue.quarantined} shards before" if queue.quarantined else ""
                raise RunError(
                    f"{order.key} {order.unit.name}: its worker died {task.deaths} times{also} ({_said(event)}). "
                    "Out of memory is the usual cause: use fewer --workers or a smaller read.rows_per_shard."
                )
            queue.quarantined += 1
            task.quarantine = f"its worker died {task.deaths} times ({event.why})"
            self._tell("shard_quarantined", **where, tries=task.deaths, why=event.why)
        else:
            self._tell("shard_retried", **where, attempt=task.attempt + 1, why=event.why)
        queue.push(task)

    def _forget(self, worker: _Worker) -> None:
        del self._workers[worker.name]
        if worker.kind in self._idle and worker in self._idle[worker.kind]:
            self._idle[worker.kind].remove(worker)
        self._moved = self._cluster.now()
        self._balanced.needed = True

    def _end(self, worker: _Worker, why: str) -> None:
        self._forget(worker)
        self._cluster.end(worker.name)
        if worker.node:
            self._tell("worker_ended", worker=worker.name, why=why)

    def _look(self, now: float) -> None:
        """See what changed in the cluster, and do what is due."""
        self._looked = now
        self._see_nodes()
        for worker in list(self._workers.values()):
            if worker.node and worker.node not in self._nodes:
                self._died(worker, Died(worker.name, alone=False, why="its node has gone"))
            elif not worker.node and not worker.pending and now - worker.started > self._times.start:
                self._give_start_up(worker)
            elif worker.node and worker.task is None and self._is_spare(worker, now):
                self._end(worker, "nothing to do")
        if now - self._moved > self._times.settled:
            # Those that start hold their CPUs already. So what is free for us is what Ray says is free.
            ours = sum(worker.kind.needs.cpus for worker in self._workers.values() if not worker.pending)
            self._others = max(self._total_cpus() - self._cluster.free_cpus() - ours, 0.0)
        self._reissue(now)
        self._balanced.needed = True

    def _give_start_up(self, worker: _Worker) -> None:
        """Drop a worker that does not start. Raises RunError, with the sums, where no other is at work meanwhile."""
        if any(other.task is not None for other in self._workers.values()):
            self._end(worker, "")
            return
        raise RunError(
            f"Ray started no worker of {worker.kind} within {self._times.start:g} s; "
            f"free CPUs: {self._cluster.free_cpus():g} of {self._total_cpus():g}."
        )

    def _see_nodes(self) -> None:
        before, self._nodes = self._nodes, self._cluster.nodes()
        for node in self._nodes.keys() - before.keys():
            room = self._nodes[node].room
            self._tell("node_joined", node=self._nodes[node].name, cpus=room.cpus, gpus=len(room.gpus))
        for node in before.keys() - self._nodes.keys():
            self._tell("node_left", node=before[node].name)

    def _total_cpus(self) -> float:
        return sum(node.room.cpus for node in self._nodes.values())

    def _is_spare(self, worker: _Worker, now: float) -> bool:
        """Tell whether a worker without work was kept long enough."""
        kept = self._times.idle_gpu if worker.kind.needs.gpus else self._times.idle
        if now - worker.since <= kept:
            return False
        least = next((self._least(queues, now) for kind, queues in self._waiting.kinds() if kind == worker.kind), 0)
        return sum(other.kind == worker.kind for other in self._workers.values()) > least

    def _least(self, queues: list[PassQueue], now: float) -> int:
        """Return how many workers passes keep that have work, or had some a moment ago."""
        return sum(q.least for q in queues if q.wanted or now - q.last < self._times.lull)

    def _reissue(self, now: float) -> None:
        """Give out a second time what takes too long, where a pass has nothing else to give out."""
        limits = {
            queue.key: (median, max(self._times.factor * median, self._times.straggler))
            for queue in self._waiting.passes()
            if queue.running and not queue.waiting and not queue.asks and (median := queue.median()) is not None
        }
        if not limits:
            return
        for worker in self._workers.values():
            task = worker.task
            if task is None or task.reissued or task.quarantine or task.order.key not in limits:
                continue
            median, limit = limits[task.order.key]
            if now - worker.since > limit:
                task.reissued = True
                self._waiting.of(task.order).push(task)
                self._tell(
                    "straggler_reissued",
                    step=task.order.key,
                    shard=task.order.unit.name,
                    seconds=round(now - worker.since, 1),
                    median_seconds=round(median, 1),
                )

    def _balance(self, now: float) -> None:
        """Start and end workers, by what waits and what there is room for."""
        self._balanced.needed, self._balanced.at = False, now
        demands = {kind: self._demand(kind, queues, now) for kind, queues in self._waiting.kinds()}
        standing = [
            Standing(w.name, w.kind, w.node, w.node != "" and w.task is None, w.leaving)
            for w in self._workers.values()
            if not w.pending
        ]
        rooms = {name: node.room for name, node in self._nodes.items()}
        changes = balance(demands, standing, rooms, Needs(self._others), self._most, self._times.hold)
        moves = changes.start or changes.end or changes.leave
        self._balanced.calm = self._times.calm if moves else self._times.still
        for name in changes.end:
            self._end(self._workers[name], "others need its room")
        for name in changes.leave:
            self._workers[name].leaving = True
        for kind in changes.start:
            self._start(kind)
        self._stand(changes, demands)
        for kind in changes.short:
            if kind in self._starved:
                self._check_possible(kind, now)

    def _demand(self, kind: Kind, queues: list[PassQueue], now: float) -> Demand:
        least = self._least(queues, now)
        priority = max((q.priority for q in queues if q.priority is not None), default=None)
        if priority is None or any(w.kind == kind and not w.pending for w in self._workers.values()):
            self._starved.pop(kind, None)
        else:
            self._starved.setdefault(kind, now)
        waited = now - self._starved.get(kind, now)
        return Demand(max(sum(q.wanted for q in queues), least), least, priority, waited)

    def _start(self, kind: Kind, pending: bool = False) -> None:
        """Start a worker; one that stood there until there is room becomes that, where there is one."""
        if not pending:
            for worker in self._workers.values():
                if worker.pending and worker.kind == kind:
                    worker.pending, worker.started = False, self._cluster.now()
                    return
        assert self._recipe is not None, "orders have one"
        self._named += 1
        worker = _Worker(f"w{self._named}", kind, self._cluster.now(), pending=pending)
        self._workers[worker.name] = worker
        self._moved = worker.started
        self._cluster.start(worker.name, kind, self._recipe)

    def _stand(self, changes: Changes, demands: Mapping[Kind, Demand]) -> None:
        """Let a few workers stand where there is no room for them, so that the cluster grows; none in another's way."""
        grows = {kind for kind, queues in self._waiting.kinds() if any(queue.grows for queue in queues)}
        pending = [worker for worker in self._workers.values() if worker.pending]
        for worker in pending:
            if worker.kind not in changes.short or changes.short[0] != worker.kind:
                self._end(worker, "")
        if not changes.short or changes.short[0] not in grows:
            return
        kind = changes.short[0]
        there = sum(worker.kind == kind for worker in self._workers.values())
        stand = sum(worker.kind == kind and worker.pending for worker in self._workers.values())
        cap = len(self._workers) + 1 if self._most is None else self._most
        for _ in range(min(PENDING - stand, demands[kind].wanted - there, cap - len(self._workers))):
            self._start(kind, pending=True)

    def _check_possible(self, kind: Kind, now: float) -> None:
        """Raise UserError where no node can ever have a worker of a kind, RunError where one was waited for long."""
        queues = next(queues for other, queues in self._waiting.kinds() if other == kind)
        (queue, *_) = [q for q in queues if q.waiting]
        waited = now - self._starved[kind]
        if self._is_possible(kind.needs):
            if waited > self._times.node and not any(worker.task is not None for worker in self._workers.values()):
                raise RunError(
                    f"{queue.key}: there was no room for a worker of {kind} within {self._times.node:g} s; "
                    f"free CPUs: {self._cluster.free_cpus():g} of {self._total_cpus():g}."
                )
        elif kind not in self._could and not queue.grows:
            raise UserError(self._too_large(kind, queue.key))
        elif waited > self._times.node:
            raise RunError(f"{self._too_large(kind, queue.key)} None came within {self._times.node:g} s.")

    def _is_possible(self, needs: Needs) -> bool:
        """Tell whether a node is large enough for a worker."""
        return any(node.room.fits(needs) for node in self._nodes.values())

    def _too_large(self, kind: Kind, key: str) -> str:
        """Return why no node has room for a worker of a pass, with the sums."""
        rooms, needs = [node.room for node in self._nodes.values()], kind.needs
        if needs.gpus and not any(Room(1e9, room.gpus, 1e18).fits(Needs(gpus=needs.gpus)) for room in rooms):
            total = sum(len(room.gpus) for room in rooms)
            return (
                f"{key}.gpus: workers of {needs.gpus:g} GPUs each want {needs.gpus:g}; this cluster has "
                f"{total:g}. Set {key}.gpus=0 to compute on CPUs, or workers.{key}.max where such a node is to come."
            )
        cpus, memory = (max((getattr(r, what) for r in rooms), default=0) for what in ("cpus", "memory_bytes"))
        return (
            f"workers.{key}: a worker wants {kind}, all on one node; the cluster has {len(rooms)} nodes, "
            f"of which the largest has {cpus:g} CPUs and {memory / 2**30:.1f} GiB. Ask for less, add a larger node, or "
            f"set workers.{key}.max where one is to come."
        )


def _said(event: Died) -> str:
    """Return why a worker died, with the last lines that it wrote."""
    return "\n  ".join([event.why, *event.log])
