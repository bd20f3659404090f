"""Ray, and its only import: a pool of workers that perform units over fixed shards.

Ray Core actors rather than Ray Data: a unit is committed by rename and found again by content, so
Ray has nothing to remember. A worker that dies is replaced and its unit given out again.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from pipelines.errors import RunError, UserError
from pipelines.running.runner import Executor, Order, perform
from pipelines.shards import Record

TRIES = 4  # of a unit whose worker dies
START_SECONDS = 180
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # without a share of a GPU a worker sees none: all would take it whole
}


@ray.remote(max_restarts=0)
class _Worker:
    """One process that keeps its engines loaded from unit to unit."""

    def __init__(self) -> None:
        gc.set_threshold(100_000)  # columns as lists make many objects and no cycles: a tenth of the time went there

    def ready(self) -> int:
        return os.getpid()

    def perform(self, order: Order) -> Record:
        return perform(order)


@contextmanager
def ray_pool(workers: int | None, address: str | None) -> Iterator[Executor]:
    """Start (or join) Ray with a pool of workers, one CPU each; yields what performs orders.

    Args:
        workers: how many; None for one on each CPU.
        address: of a running cluster; None for this machine alone.
    Raises UserError where the CPUs do not suffice, with the sums.
    """
    on_sigterm = signal.getsignal(signal.SIGTERM)
    pool = _Pool(_start(workers, address))
    signal.signal(signal.SIGTERM, on_sigterm)  # ray.init puts in a handler of its own
    try:
        yield pool.perform_all
    finally:
        ray.shutdown()


def _start(workers: int | None, address: str | None) -> int:
    """Connect to Ray; return how many workers its CPUs allow."""
    os.environ.update(ENVIRONMENT)
    cpus = len(os.sched_getaffinity(0))
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        if workers and workers > cpus:
            print(f"{workers} workers of 1 CPU each want {workers} CPUs; this machine has {cpus}, which they share.")
        ray.init(address="local", num_cpus=workers or cpus, include_dashboard=False, **quiet)
        return workers or cpus
    _check_address(address)
    try:
        ray.init(address=address, runtime_env={"env_vars": ENVIRONMENT}, **quiet)
    except ConnectionError as error:
        raise UserError(
            f"--address {address}: no Ray cluster answers ({error}). Start one, or leave it out."
        ) from error
    total = int(ray.cluster_resources().get("CPU", 0))
    free = int(ray.available_resources().get("CPU", 0))
    wanted = workers or free
    if wanted > free or not free:
        ray.shutdown()
        raise UserError(
            f"--workers {workers or 'default'}: {max(wanted, 1)} workers of 1 CPU each want {max(wanted, 1)} CPUs; "
            f"the cluster at {address} has {total}, of which {free} are free. "
            f"Ask for at most {free}, or wait for its other jobs."
        )
    return wanted


def _check_address(address: str) -> None:
    """Raise UserError where nothing listens at host:port; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # "auto" and the like
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"--address {address}: nothing answers there ({error}). Is the cluster up?") from error


class _Pool:
    """Workers of one CPU each, and a share of a GPU while a pass needs it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._gpus = 0.0
        self._key = ""  # of the pass whose models the workers hold on their GPUs
        self._idle: list[Any] = []

    def perform_all(self, orders: Sequence[Order]) -> Iterator[tuple[Order, Record]]:
        """Give out the orders of a pass to idle workers; yield each as it is done."""
        if not orders:
            return
        workers = min(self._use_gpus(orders[0]), len(orders), orders[0].most_workers or len(orders))
        waiting = [replace(order, workers=workers) for order in reversed(orders)]
        deaths: Counter[str] = Counter()
        running: dict[Any, tuple[Any, Order]] = {}
        self._grow(workers)
        while waiting or running:
            while waiting and self._idle and len(running) < workers:
                worker, order = self._idle.pop(), waiting.pop()
                running[worker.perform.remote(order)] = (worker, order)
            (done, *_), _ = ray.wait(list(running))
            worker, order = running.pop(done)
            try:
                record = ray.get(done)
            except RayActorError as error:
                deaths[order.unit.name] += 1
                if deaths[order.unit.name] >= TRIES:
                    raise RunError(
                        f"{order.key} {order.unit.name}: its worker died {TRIES} times ({str(error).splitlines()[0]}). "
                        "Out of memory is the usual cause: use fewer --workers or a smaller read.rows_per_shard."
                    ) from error
                waiting.append(order)
                self._grow(len(self._idle) + 1)
                continue
            except RayTaskError as error:
                raise error.cause from error
            self._idle.append(worker)
            yield order, record

    def _use_gpus(self, order: Order) -> int:
        """Let workers have as much of a GPU each as a pass wants; return how many there may be.

        Others are ended first: they would hold the CPUs that the new ones wait for, or GPU memory with models of
        another pass. Raises UserError where no GPU has room.
        """
        gpus, key = order.gpus, order.key if order.gpus else ""
        if (gpus, key) != (self._gpus, self._key):
            for worker in self._idle:
                ray.kill(worker)
            self._idle, self._gpus, self._key = [], gpus, key
        if not gpus:
            return self._size
        total = ray.cluster_resources().get("GPU", 0)
        fit = int(total) * int(1 / gpus) if gpus <= 1 else int(total / gpus)
        if not fit:
            raise UserError(
                f"{key}.gpus: workers of {gpus:g} GPUs each want {gpus:g}; this cluster has {total:g}. "
                f"Set {key}.gpus=0 to compute on CPUs."
            )
        return min(self._size, fit)

    def _grow(self, idle: int) -> None:
        """Start workers until this many are idle, and wait until they run."""
        options = {"num_cpus": 1, "num_gpus": self._gpus}
        new = [_Worker.options(**options).remote() for _ in range(idle - len(self._idle))]  # type: ignore[attr-defined]
        try:
            ray.get([worker.ready.remote() for worker in new], timeout=START_SECONDS)
        except GetTimeoutError as error:
            raise RunError(
                f"Ray started no {len(new)} workers of 1 CPU within {START_SECONDS} s; "
                f"free CPUs: {ray.available_resources().get('CPU', 0):g} of {ray.cluster_resources().get('CPU', 0):g}."
            ) from error
        self._idle += new
