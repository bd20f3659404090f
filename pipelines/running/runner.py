"""Runs what is to do: unit by unit, several passes at once, in a plain loop or on Ray, with the same bytes."""

from __future__ import annotations

import errno
import heapq
import os
import resource
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, Protocol

from pipelines.errors import Quarantined, RunError, exit_code
from pipelines.folders.lock import holds_lock, lock_run
from pipelines.folders.run_folder import RunFolder, open_run_folder
from pipelines.graph import Job, Outputs, Pass, Unit, UnitPlan
from pipelines.recipe import Recipe
from pipelines.running.events import Events
from pipelines.running.gpus import GpuWatch
from pipelines.running.progress import Progress
from pipelines.running.schedule import PassAtWork, Schedule
from pipelines.shards import QUARANTINED, Counts, Record, Staged, digest_json, to_json
from pipelines.telling.funnel import by_source
from pipelines.worker_options import GIB

CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
HERE = "driver"  # the worker that is this process, in events
_BEGUN: set[str] = set()  # passes of which this process has done a unit
LOOK_SECONDS = 0.2  # between two looks for Ctrl-C: polars, once imported, has it wait for the end of a wait without one


@dataclass(frozen=True)
class Needs:
    """What a worker needs of a machine."""

    cpus: float = 1
    gpus: float = 0
    memory_bytes: int = 0  # 0: not counted


@dataclass(frozen=True)
class Order:
    """One unit of work as a worker gets it.

    token:    of the lock, so that a worker of a dead driver commits nothing
    least:    workers that its pass keeps while there is work for it to come
    most:     workers that may do units of its pass at once; None: as many as there are
    workers:  that share what a server allows, where a pass asks one
    asks:     whether it asks a server: never more than `workers` at once then, and no unit by two of them
    priority: the highest first
    """

    recipe: Recipe
    key: str
    unit: Unit
    made_of: Mapping[str, object]
    token: str
    needs: Needs = Needs()
    least: int = 0
    most: int | None = None
    workers: int = 1
    asks: bool = False
    priority: int = 0


class Tell(Protocol):
    """Takes an event, as `pipelines.running.events` says."""

    def __call__(self, kind: str, **fields: Any) -> None:
        """Take an event of a kind, with fields of plain values."""


class Executor(Protocol):
    """Performs orders of several passes, in any order. Tells shard_given and shard_done of each."""

    @property
    def size(self) -> int:
        """How many orders it performs at once, at most."""

    def submit(self, order: Order) -> None:
        """Take an order; return at once."""

    def wait(self) -> tuple[Order, Record]:
        """Return an order that is done, with its record. Raises what ends the run."""


class InThisProcess:
    """Performs one order at a time: the plain loop."""

    size = 1

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._queue: list[tuple[int, int, Order]] = []
        self._count = 0

    def submit(self, order: Order) -> None:
        """Take an order."""
        heapq.heappush(self._queue, (-order.priority, self._count, order))
        self._count += 1

    def wait(self) -> tuple[Order, Record]:
        """Perform the order of the highest priority, the first of several."""
        *_, order = heapq.heappop(self._queue)
        return order, perform_here(order, self._tell)


class InThreads:
    """Performs orders of light passes, a few to a CPU: reading and writing columns lets other threads run."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.size = 2 * len(os.sched_getaffinity(0))  # each waits for the disk half of its time
        self._pool = ThreadPoolExecutor(self.size)
        self._waiting: dict[Future[Record], Order] = {}

    def submit(self, order: Order) -> None:
        """Take an order."""
        self._waiting[self._pool.submit(perform_here, order, self._tell)] = order

    def wait(self) -> tuple[Order, Record]:
        """Return the next order that is done."""
        while not (done := wait(self._waiting, LOOK_SECONDS, FIRST_COMPLETED).done):
            pass
        future = done.pop()
        return self._waiting.pop(future), future.result()

    def close(self) -> None:
        """End the threads; what has not begun is dropped."""
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def executor(workers: int | None, address: str | None, events: Events, name: str) -> Iterator[Executor]:
    """Start what performs orders: this process for no workers, else a pool on Ray.

    Args:
        workers: how many; None for one on each CPU.
        address: of a running Ray cluster; None for this machine alone.
        name: of the recipe, for Ray's metrics.
    """
    if workers == 0:
        yield InThisProcess(events.tell)
    else:
        from pipelines.running.ray_metrics import hear_for_ray  # imports Ray, where there is something to do
        from pipelines.running.ray_pool import ray_pool

        with ray_pool(workers, address, events.tell) as pool:
            events.listen(hear_for_ray(name), from_start=True)  # light passes were done before
            yield pool


class _Hands:
    """What performs orders: light ones in threads of this process, until the first that is worth a worker's start."""

    def __init__(self, execute: AbstractContextManager[Executor], stack: ExitStack, tell: Tell) -> None:
        self._tell = tell
        self._execute = execute
        self._stack = stack
        self._workers: Executor | None = None
        self._threads: InThreads | None = None
        self._in_threads = self._in_workers = 0

    @property
    def busy(self) -> bool:
        """Whether an order is not done yet."""
        return self._in_threads + self._in_workers > 0

    def size(self, light: bool) -> int:
        """Return how many orders are performed at once, at most."""
        return self._of(light).size

    def submit(self, order: Order, light: bool) -> None:
        """Give out an order."""
        hands = self._of(light)
        hands.submit(order)
        if hands is self._threads:
            self._in_threads += 1
        else:
            self._in_workers += 1

    def wait(self) -> tuple[Order, Record]:
        """Return an order that is done, with its record."""
        if self._threads is not None and self._in_threads:  # they take no time
            self._in_threads -= 1
            return self._threads.wait()
        assert self._workers is not None, "something is busy"
        self._in_workers -= 1
        return self._workers.wait()

    def _of(self, light: bool) -> Executor:
        if light and self._workers is None:
            if self._threads is None:
                self._threads = InThreads(self._tell)
                self._stack.callback(self._threads.close)
            return self._threads
        if self._workers is None:
            self._workers = self._stack.enter_context(self._execute)
        return self._workers


def perform_here(order: Order, tell: Tell) -> Record:
    """Do one unit's work in this process."""
    where = {"step": order.key, "shard": order.unit.name, "worker": HERE}
    tell("shard_given", attempt=1, **where)
    record = perform(order)
    tell("shard_done", **where, **told_of(record))
    return record


def told_of(record: Record) -> dict[str, Any]:
    """Return what the event shard_done tells of a unit."""
    counts = record.counts
    return {
        "seconds": record.cost["seconds"],
        "rows_in": counts.rows_in,
        "rows_kept": counts.rows_kept,
        "rejected": dict(counts.rejected),
    }


def perform(order: Order) -> Record:
    """Do one unit's work and commit it. Raises RunError where the files cannot be written."""
    from pipelines.steps import BY_KEY  # loads the engines' packages: in workers only

    a_pass = BY_KEY[order.key]
    run_dir = open_run_folder(order.recipe).path
    staged = Staged(run_dir, lambda: holds_lock(run_dir, order.token))
    first = order.key not in _BEGUN
    _BEGUN.add(order.key)
    clock = time.process_time if current_thread() is main_thread() else time.thread_time  # others do their own
    started, busy = time.monotonic(), clock()
    try:
        with naming(order), writing(run_dir), GpuWatch(order.needs.gpus) as gpus:
            outcome = a_pass.run(Job(order.recipe, order.unit, staged, order.made_of, order.workers))
            cost = {
                "seconds": round(time.monotonic() - started, 3),
                "cpu_seconds": round(clock() - busy, 3),
                **({"first": True} if first else {}),  # of its pass in this process: imports and models are in it
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                **({"usage": dict(outcome.usage)} if outcome.usage else {}),
                **gpus.cost(),
            }
            name = a_pass.record_name(order.unit.name)
            return staged.commit(name, order.made_of, outcome.counts, outcome.facts, cost, outcome.files)
    finally:
        staged.discard()


@contextmanager
def naming(order: Order) -> Iterator[None]:
    """Let what is raised say where: its step and shard, in a note that goes from worker to driver with it."""
    try:
        yield
    except Exception as error:
        error.add_note(f"(at {order.key}, shard {order.unit.name})")
        raise


@contextmanager
def writing(run_dir: Path) -> Iterator[None]:
    """Turn a disk that is full, or a folder that cannot be written, into a RunError that says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        raise RunError(
            f"cannot write to {run_dir}: {os.strerror(error.errno)}. What was finished is safe: "
            "make room (or the folder writable) and run the same command again."
        ) from error


def run(
    recipe: Recipe,
    passes: Iterable[Pass],
    execute: AbstractContextManager[Executor],
    progress: Progress,
    tell: Tell,
    threads: bool = True,
) -> Outputs:
    """Bring the passes up to date; returns what they left.

    Args:
        tell: takes what happens.
        execute: entered when the first unit is to be done that is worth a worker's start, so that nothing to do costs
            nothing.
        threads: whether light passes are done in threads until then; else `execute` does all.
    """
    passes = list(passes)
    ranks = {a_pass.key: rank for rank, a_pass in enumerate(passes)}
    folder = open_run_folder(recipe)
    with writing(recipe.run_path), lock_run(recipe.run_path) as token, ExitStack() as stack:
        folder.write("recipe.json", to_json(recipe.model_dump(mode="json")))
        end = stack.enter_context(_told(progress, tell, recipe.name))
        hands = _Hands(execute, stack, tell)
        finisher = _Finisher(recipe, passes, folder, progress, tell)
        schedule = Schedule(recipe, passes, finisher.finish)

        def order_of(state: PassAtWork, planned: UnitPlan) -> Order:
            a_pass = state.a_pass
            size, allowed = hands.size(threads and a_pass.light), a_pass.most_workers(recipe)
            options = recipe.workers.of(a_pass.key)
            limits = [limit for limit in (size, allowed, options.max) if limit is not None]
            return Order(
                *(recipe, a_pass.key, planned.unit, planned.made_of, token),
                needs=Needs(options.cpus, a_pass.gpus(recipe), round(options.memory_gib * GIB)),
                least=options.min,
                most=options.max,
                workers=min(limits),
                asks=allowed is not None,
                priority=ranks[a_pass.key],
            )

        while True:
            for state, planned in schedule.ready():
                hands.submit(order_of(state, planned), threads and state.a_pass.light)
            finisher.tell(schedule.passes)
            if not hands.busy:
                break
            order, record = hands.wait()
            finisher.take(order, record)
            schedule.done(order.key, order.unit.name, record)
        end.code = exit_code(Quarantined()) if quarantined(schedule.outputs) else 0
    return schedule.outputs


@dataclass
class _End:
    code: int = 1


@contextmanager
def _told(progress: Progress, tell: Tell, name: str) -> Iterator[_End]:
    """Tell that a run starts, and with what exit code it ends."""
    end, why = _End(), None
    tell("run_started", recipe=name, pid=os.getpid(), node=socket.gethostname())
    try:
        yield end
    except BaseException as error:
        end.code, why = exit_code(error), str(error) or type(error).__name__
        raise
    finally:
        tell("run_ended", code=end.code, why=why)
        progress.end(end.code)


def quarantined(outputs: Outputs) -> list[str]:
    """Return the units whose rows were rejected because they killed their workers: "tts examples-00003"."""
    return [f"{key} {unit}" for key, records in outputs.all() for unit, r in records.items() if QUARANTINED in r.facts]


class _Finisher:
    """What is to be done besides when units and passes are done: tell, remove what is spent, write manifests."""

    def __init__(self, recipe: Recipe, passes: list[Pass], folder: RunFolder, progress: Progress, tell: Tell) -> None:
        self._recipe = recipe
        self._folder = folder
        self._progress = progress
        self._tell = tell
        self._began: dict[str, float] = {}  # by pass that has something to do: when
        self._known: dict[str, tuple[int, int, int, bool]] = {}  # by pass: what was told of it
        self._spends: dict[str, list[str]] = {}  # by pass: those whose shards nothing needs once it has made its own
        for a_pass in passes:
            if spent_by := a_pass.spent_by(recipe):
                self._spends.setdefault(spent_by[-1], []).append(a_pass.key)

    def tell(self, passes: Iterable[PassAtWork]) -> None:
        """Tell what is known of the passes at work; of one that follows others, how much there will be as it looks."""
        foreseen: dict[str, int] = {}  # units of a pass
        for state in passes:
            key, to_do = state.a_pass.key, state.units - state.before
            units = state.units if state.whole else max(state.units, sum(foreseen[key] for key in state.follows))
            foreseen[key] = units
            known = (units, state.before, state.units, state.whole)
            if not state.units or self._known.get(key) == known:
                continue
            self._known[key] = known
            rows = state.rows if units == state.units else state.rows * (units - state.before) // max(to_do, 1)
            self._progress.expect(key, units, state.before, rows)
            if to_do:
                self._began.setdefault(key, time.monotonic())
                if state.whole:
                    self._tell("pass_planned", step=key, shards=state.units, done=state.before, rows=state.rows)

    def take(self, order: Order, record: Record) -> None:
        """Take in that a unit is done."""
        self._folder.note(f"{order.key}/{order.unit.name}.json", record)
        self._progress.advance(order.key, order.unit, record)
        self._remove_spent(order.key, {order.unit.name: record})

    def finish(self, state: PassAtWork, records: dict[str, Record], outputs: Outputs) -> None:
        """Check and write a pass's manifest, and remove files that no unit owns."""
        a_pass, key = state.a_pass, state.a_pass.key
        self._remove_spent(key, records)
        manifest = f"{key}/manifest.json"
        self._folder.write(manifest, to_json(_manifest(a_pass, records, outputs)))
        self._folder.keep_only(key, [*outputs.files(key), *map(a_pass.record_name, records), manifest])
        if a_pass.last:
            self._folder.keep_only("dataset", outputs.files("dataset"))
        self._progress.finish(key)
        if key in self._began:
            self._tell("pass_done", step=key, seconds=round(time.monotonic() - self._began[key], 3))

    def _remove_spent(self, key: str, records: Mapping[str, Record]) -> None:
        folders = self._spends.get(key, ())
        spent = [shard for shard, record in records.items() if QUARANTINED not in record.facts]  # they are tried again
        self._folder.remove([f"{folder}/{shard}.parquet" for shard in spent for folder in folders])


def _manifest(a_pass: Pass, records: dict[str, Record], outputs: Outputs) -> dict[str, object]:
    """Return a pass's manifest: nothing in it depends on time, workers or attempts."""
    per_source = by_source(outputs, records) if any("shards" in record.facts for record in records.values()) else {}
    per_source = {source: found for source, found in per_source.items() if found.rows_in}  # others: read, or not yet
    counts = Counts.total(record.counts for record in records.values())
    counts.check(a_pass.key)
    return {
        "pass": a_pass.key,
        "version": a_pass.version,
        "fingerprint": digest_json([record.fingerprint for record in records.values()]),
        **asdict(counts),
        "sources": {source: asdict(of_source) for source, of_source in per_source.items()},
        "units": {
            name: {"fingerprint": r.fingerprint, **asdict(r.counts), "files": r.files} for name, r in records.items()
        },
    }
