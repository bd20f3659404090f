"""Runs what a plan says is to do: unit by unit, in a plain loop or on Ray, with the same bytes."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from pipelines.errors import RunError
from pipelines.funnel import by_source
from pipelines.graph import Job, Outputs, Pass, PassPlan, Unit, plan_pass
from pipelines.recipe import Recipe
from pipelines.running.lock import holds_lock, lock_run
from pipelines.running.progress import Progress
from pipelines.shards import Counts, Record, Staged, digest_json, to_json, write_atomically

CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


@dataclass(frozen=True)
class Order:
    """One unit of work as a worker gets it."""

    recipe: Recipe
    key: str
    unit: Unit
    made_of: dict[str, object]
    token: str  # of the lock, so that a worker of a dead driver commits nothing
    gpus: float = 0  # that its worker needs
    most_workers: int | None = None  # of its pass at once
    workers: int = 1  # of its pass at once, as it turned out


class Executor(Protocol):
    """Performs orders, in any order, and yields each with its record."""

    def __call__(self, orders: Sequence[Order]) -> Iterator[tuple[Order, Record]]:
        """Yield each order with its record, as it is done."""


def in_this_process(orders: Sequence[Order]) -> Iterator[tuple[Order, Record]]:
    """Perform orders one after another: the plain loop."""
    for order in orders:
        yield order, perform(order)


def in_threads(orders: Sequence[Order]) -> Iterator[tuple[Order, Record]]:
    """Perform orders of a light pass, one to a CPU: reading and writing columns lets other threads run."""
    with ThreadPoolExecutor(2 * len(os.sched_getaffinity(0))) as pool:  # each waits for the disk half of its time
        waiting = {pool.submit(perform, order): order for order in orders}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def executor(workers: int | None, address: str | None) -> Iterator[Executor]:
    """Start what performs orders: this process for no workers, else a pool on Ray.

    Args:
        workers: how many; None for one on each CPU.
        address: of a running Ray cluster; None for this machine alone.
    """
    if workers == 0:
        yield in_this_process
    else:
        from pipelines.running.ray_pool import ray_pool  # imports Ray, where there is something to do

        with ray_pool(workers, address) as pool:
            yield pool


def perform(order: Order) -> Record:
    """Do one unit's work and commit it. Raises RunError where the files cannot be written."""
    from pipelines.steps import BY_KEY  # loads the engines' packages: in workers only

    a_pass = BY_KEY[order.key]
    run_dir = order.recipe.run_path
    staged = Staged(run_dir, lambda: holds_lock(run_dir, order.token))
    started = time.monotonic()
    try:
        with writing(run_dir):
            outcome = a_pass.run(Job(order.recipe, order.unit, staged, order.made_of, order.workers))
            cost = {
                "seconds": round(time.monotonic() - started, 3),
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                **({"usage": dict(outcome.usage)} if outcome.usage else {}),
            }
            name = a_pass.record_name(order.unit.name)
            return staged.commit(name, order.made_of, outcome.counts, outcome.facts, cost, outcome.files)
    finally:
        staged.discard()


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
    light: Executor = in_this_process,
) -> Outputs:
    """Bring the passes up to date, in order; returns what they left.

    Args:
        execute: entered when the first unit is to be done that is worth a worker's start, so that nothing
            to do costs nothing.
        light: performs light passes until then.
    """
    outputs = Outputs()
    passes = list(passes)
    entered: Executor | None = None
    with writing(recipe.run_path), lock_run(recipe.run_path) as token, ExitStack() as stack:
        write_atomically(recipe.run_path / "recipe.json", to_json(recipe.model_dump(mode="json")))
        for a_pass in passes:
            plan = plan_pass(recipe, a_pass, outputs)
            made = {u.unit.name: u.record for u in plan.units if u.state == "done" and u.record}
            orders = [
                Order(
                    *(recipe, a_pass.key, u.unit, dict(u.made_of), token),
                    *(a_pass.gpus(recipe), a_pass.most_workers(recipe)),
                )
                for u in plan.units
                if u.state != "done"
            ]
            if orders:
                if not a_pass.light:
                    entered = entered or stack.enter_context(execute)
                progress.start(plan)
                for order, record in (entered or light)(orders):
                    made[order.unit.name] = record
                    progress.advance(order.unit, record)
                    remove_spent(recipe, a_pass, passes, [order.unit.name])
                progress.finish()
            remove_spent(recipe, a_pass, passes, made)
            finish_pass(recipe, a_pass, plan, made, outputs)
    return outputs


def remove_spent(recipe: Recipe, a_pass: Pass, passes: Iterable[Pass], shards: Iterable[str]) -> None:
    """Remove the shards of earlier passes that nothing needs once a pass has made its own of them."""
    folders = [before.key for before in passes if before.spent_by(recipe)[-1:] == (a_pass.key,)]
    for folder in folders:
        for shard in shards:
            (recipe.run_path / folder / f"{shard}.parquet").unlink(missing_ok=True)


def finish_pass(recipe: Recipe, a_pass: Pass, plan: PassPlan, made: dict[str, Record], outputs: Outputs) -> None:
    """Check and write a pass's manifest, remove files that no unit owns, add its records to `outputs`."""
    records = {u.unit.name: made[u.unit.name] for u in plan.units}  # in the plan's order
    outputs.add(a_pass.key, records)
    manifest = recipe.run_path / a_pass.key / "manifest.json"
    content = to_json(_manifest(a_pass, records, outputs))
    if not manifest.exists() or manifest.read_bytes() != content:
        write_atomically(manifest, content)
    records_of = [recipe.run_path / a_pass.record_name(unit) for unit in records]
    _remove_strangers(manifest.parent, [*outputs.files(recipe.run_path), *records_of, manifest])
    if a_pass.key == "export.card":
        _remove_strangers(recipe.run_path / "dataset", outputs.files(recipe.run_path))


def _manifest(a_pass: Pass, records: dict[str, Record], outputs: Outputs) -> dict[str, object]:
    """Return a pass's manifest: nothing in it depends on time, workers or attempts."""
    per_source = by_source(outputs, records) if any("shards" in record.facts for record in records.values()) else {}
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


def _remove_strangers(folder: Path, owned: Iterable[Path]) -> None:
    """Delete the files of a folder that no finished unit owns: what earlier recipes left."""
    keep = set(owned)
    for path in sorted(folder.rglob("*"), reverse=True):  # files before the folders that hold them
        if path.is_file() and path not in keep:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
