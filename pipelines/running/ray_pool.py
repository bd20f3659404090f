"""Ray, and its only import beside that of its metrics: workers are actors, what becomes of them is told to the pool.

Ray Core actors rather than Ray Data: a unit is committed by rename and found again by content, so Ray has nothing to
remember. The recipe crosses to the workers once; texts and sound never do, workers read and write shards.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import queue
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    AuthenticationError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
)

import pipelines
from pipelines.errors import RunError, UserError
from pipelines.recipe import Recipe
from pipelines.running.hired import Died, Done, Event, Failed, Node, Ready
from pipelines.running.orders import Order, Tell
from pipelines.running.perform import perform
from pipelines.running.pool import USUAL, Pool, Times, Work
from pipelines.running.quarantine import quarantine
from pipelines.running.room import Kind, Room
from pipelines.running.waiting import Task
from pipelines.running.worker_log import last_lines, name_lines, naming_lines
from pipelines.shards import Record

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # without a share of a GPU a worker sees none: all would take it whole
}
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set where `ray job submit` runs us: what the job brings to its workers
TOKEN = "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a copy of its token"
PACKAGES = ("pipelines", "filters", "answers", "tts", "quantize", "noise")
SENT = [field.name for field in fields(Order) if field.name != "recipe"]


@ray.remote(max_restarts=0)
class _Worker:
    """One process that keeps its engines loaded from unit to unit."""

    def __init__(self, recipe: Recipe, work: Work) -> None:
        gc.set_threshold(100_000)  # columns as lists make many objects and no cycles: a tenth of the time went there
        name_lines()
        self._recipe = recipe
        self._work = work

    def ready(self) -> tuple[int, str, str]:
        """Return the process, its node and the file of what it logs."""
        return os.getpid(), ray.get_runtime_context().get_node_id(), os.path.realpath("/proc/self/fd/2")

    def perform(self, sent: dict[str, Any], give_up: str | None) -> Record:
        order = Order(self._recipe, **sent)
        with naming_lines(order.key, order.unit.name):
            record = self._work(order) if give_up is None else quarantine(order, give_up)
        return replace(record, made_of={})  # the driver knows it, and it may be large


@contextmanager
def ray_pool(
    workers: int | None, address: str | None, tell: Tell, work: Work = perform, times: Times = USUAL
) -> Iterator[Pool]:
    """Start (or join) Ray; yields the pool that performs orders on it.

    Args:
        workers: how many at most; None for as many as there is room for.
        address: of a running cluster; None for this machine alone, or for the cluster whose job this is.
        work: what workers do.
    Raises UserError where there is no cluster at the address, or none that takes this process.
    """
    on_sigterm = signal.getsignal(signal.SIGTERM)
    _start(workers, "auto" if address is None and JOB in os.environ else address)
    signal.signal(signal.SIGTERM, on_sigterm)  # ray.init puts in a handler of its own
    try:
        yield Pool(_RayCluster(work), tell, workers, times)
    finally:
        ray.shutdown()


def _start(workers: int | None, address: str | None) -> None:
    """Connect to Ray."""
    os.environ.update(ENVIRONMENT)
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        cpus = len(os.sched_getaffinity(0))
        if workers and workers > cpus:
            print(f"{workers} workers of 1 CPU each want {workers} CPUs; this machine has {cpus}, which they share.")
        ray.init(address="local", num_cpus=workers or cpus, include_dashboard=False, **quiet)
        return
    _check_address(address)
    try:
        ray.init(address=address, runtime_env=brought(), **quiet)
    except ConnectionError as error:
        *_, said = ["", *str(error).strip().splitlines()]  # Ray's client sends the traceback of the server before it
        raise UserError(
            f"--address {address}: no Ray cluster answers ({said}). Start one, or leave it out; if there is one that "
            f"asks for a token, set {TOKEN}."
        ) from error
    except AuthenticationError as error:
        raise UserError(
            f"--address {address}: the cluster's token is not here ({error.message.rstrip('.')}). Set {TOKEN}."
        ) from error
    except RuntimeError as error:
        raise UserError(
            f"--address {address}: Ray cannot join it from here ({error}). With HOST:PORT a driver must be on one of "
            "the cluster's nodes; from elsewhere use ray://HOST:10001, or `ray job submit`."
        ) from error
    total, free = (found.get("CPU", 0.0) for found in (ray.cluster_resources(), ray.available_resources()))
    if free < (workers or 1):
        print(
            f"The cluster at {address} has {total:g} CPUs, of which {free:g} are free: the run takes what it has room "
            "for, and waits for other jobs or nodes where it has none."
        )


def _check_address(address: str) -> None:
    """Raise UserError where nothing listens at host:port; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # "auto" and the like
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(f"--address {address}: nothing answers there ({error}). Is the cluster up?") from error


def brought() -> dict[str, Any]:
    """Return what workers are given: settings, and our packages, so that nodes need only what they depend on.

    A job has brought its own; what it sets stays.
    """
    if JOB in os.environ:
        given = json.loads(os.environ[JOB]).get("runtime_env", {}).get("env_vars", {})
        return {"env_vars": {name: value for name, value in ENVIRONMENT.items() if name not in given}}
    root = Path(pipelines.__path__[0]).parent
    packages = [str(root / name) for name in PACKAGES]
    return {"env_vars": ENVIRONMENT, "py_modules": packages, "excludes": ["__pycache__"]}


class _RayCluster:
    """Workers as actors of the cluster that this process has joined; `hired.Fleet` says what it does."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._actors: dict[str, Any] = {}
        self._logs: dict[str, Path] = {}
        self._events: queue.SimpleQueue[tuple[str, Task | None, Future[Any]]] = queue.SimpleQueue()
        self._recipes: dict[int, tuple[Recipe, Any]] = {}  # by identity: recipes are large to compare

    def now(self) -> float:
        """Return the time."""
        return time.monotonic()

    def start(self, worker: str, kind: Kind, recipe: Recipe) -> None:
        """Start an actor."""
        needs = kind.needs
        options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus}
        if needs.memory_bytes:
            options["memory"] = needs.memory_bytes
        _, put = self._recipes.setdefault(id(recipe), (recipe, None))
        if put is None:
            put = ray.put(recipe)
            self._recipes[id(recipe)] = recipe, put
        actor = _Worker.options(**options).remote(put, self._work)  # type: ignore[attr-defined]
        self._actors[worker] = actor
        self._watch(actor.ready.remote(), worker, None)

    def perform(self, worker: str, task: Task) -> None:
        """Send an order."""
        sent = {name: getattr(task.order, name) for name in SENT}
        self._watch(self._actors[worker].perform.remote(sent, task.quarantine), worker, task)

    def end(self, worker: str) -> None:
        """Kill an actor."""
        self._logs.pop(worker, None)
        ray.kill(self._actors.pop(worker))

    def nodes(self) -> Mapping[str, Node]:
        """Return the nodes of the cluster that are alive."""
        found = {}
        for node in ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                room = Room(has.get("CPU", 0.0), [1.0] * int(has.get("GPU", 0)), has.get("memory", 0.0))
                found[node["NodeID"]] = Node(f"{node['NodeManagerHostname']}-{node['NodeID'][:6]}", room)
        return found

    def free_cpus(self) -> float:
        """Return the CPUs that no job holds."""
        return float(ray.available_resources().get("CPU", 0))

    def next(self, seconds: float) -> Event | None:
        """Return what happened next."""
        try:
            worker, task, future = self._events.get(timeout=seconds) if seconds else self._events.get_nowait()
        except queue.Empty:
            return None
        try:
            result = future.result()
        except RayTaskError as error:
            return Failed(worker, _cause(error))
        except RuntimeEnvSetupError as error:
            return Failed(worker, RunError(f"Ray cannot set workers up: {error}"))
        except RayActorError as error:
            if error.actor_init_failed:
                return Failed(worker, RunError(f"a worker cannot start: {error}"))
            alone = not isinstance(error, ActorUnavailableError) and "worker process has died" in str(error)
            return Died(worker, alone, _why(error), last_lines(self._logs.get(worker)))
        except OutOfMemoryError as error:
            return Died(worker, True, _why(error), last_lines(self._logs.get(worker)))
        except RayError as error:
            return Died(worker, False, _why(error))
        if task is None:
            pid, node, log = result
            self._logs[worker] = Path(log)
            return Ready(worker, pid, node)
        return Done(worker, replace(result, made_of=task.order.made_of))

    def _watch(self, ref: Any, worker: str, task: Task | None) -> None:
        """Let it be known when a call has ended: without a look through all of them."""
        ref.future().add_done_callback(lambda future: self._events.put((worker, task, future)))


def _cause(error: RayTaskError) -> BaseException:
    """Return what a worker's work raised."""
    cause = error.cause
    return cause if isinstance(cause, BaseException) else RunError(str(error))


def _why(error: RayError) -> str:
    """Return the line of Ray's many that says why a worker died."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if "dead because" in line or "died because" in line), lines[0])
    said, _, common = said.partition(" Some common causes include")
    return said.partition(" There are some potential root causes")[0].partition("; ")[0] if common else said
