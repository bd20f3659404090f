"""Doing a unit's work and committing it; a plain loop and threads that do, in this process."""

from __future__ import annotations

import errno
import heapq
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from pipelines.errors import RunError
from pipelines.folders.lock import holds_lock
from pipelines.folders.run_folder import open_run_folder
from pipelines.graph import Job
from pipelines.running.gpus import GpuWatch
from pipelines.running.orders import LOOK_SECONDS, Needs, Order, Tell, nothing
from pipelines.shards import Record, Staged

CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
HERE = "driver"  # the worker that is this process, in events
_BEGUN: set[str] = set()  # passes of which this process has done a unit


class InThisProcess:
    """Performs one order at a time: the plain loop."""

    size = 1

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._queue: list[tuple[int, int, Order]] = []
        self._count = 0

    def check(self, sure: Mapping[str, Needs], perhaps: Mapping[str, Needs]) -> None:
        """It is here whatever is needed."""

    def submit(self, order: Order) -> None:
        """Take an order."""
        heapq.heappush(self._queue, (-order.priority, self._count, order))
        self._count += 1

    def wait(self, look: Callable[[], object] = nothing) -> tuple[Order, Record]:
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

    def check(self, sure: Mapping[str, Needs], perhaps: Mapping[str, Needs]) -> None:
        """They are here whatever is needed."""

    def submit(self, order: Order) -> None:
        """Take an order."""
        self._waiting[self._pool.submit(perform_here, order, self._tell)] = order

    def wait(self, look: Callable[[], object] = nothing) -> tuple[Order, Record]:
        """Return the next order that is done."""
        while not (done := wait(self._waiting, LOOK_SECONDS, FIRST_COMPLETED).done):
            look()
        future = done.pop()
        return self._waiting.pop(future), future.result()

    def close(self) -> None:
        """End the threads; what has not begun is dropped."""
        self._pool.shutdown(cancel_futures=True)


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
            outcome = a_pass.run(Job(order.recipe, order.unit, staged, order.made_of, order.digests, order.workers))
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
