"""Measures rates: two small runs of a recipe, the second larger, on the machines that the whole will use."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipelines.arguments import load
from pipelines.errors import UserError
from pipelines.estimate.clock import simulate
from pipelines.estimate.estimate import RATES, calibration, estimate, this_machine, works_of
from pipelines.estimate.rates import Run, look_at, rates_of, save_rates
from pipelines.estimate.told import machines
from pipelines.estimate_options import Cluster, Rates
from pipelines.folders.run_folder import open_run_folder
from pipelines.recipe import Recipe
from pipelines.running.room import Room
from pipelines.worker_options import GIB

FEW = 4  # the first run has so many times fewer rows
MOST_PARTS = 16  # shards of a source in each run, so that workers have something to do beside each other

Execute = Callable[[Recipe], None]


def calibrate_recipe(
    path: Path, changes: list[str], rows: int, out: Path | None, cluster: Callable[[], Cluster], execute: Execute
) -> Iterator[str]:
    """Measure the rates of a recipe and write them; yields what to tell.

    Args:
        rows: of each source, in the larger run.
        out: the file; None: in the folder of the two runs.
        cluster: returns what `execute` runs on; asked before the runs and after them, when it may have grown.
    """
    whole = load(path, changes, None)
    folder = calibration(whole)
    before = cluster()
    few, many = recipes(path, changes, folder.place, rows, before.cpus * before.nodes)
    seconds, short = measure(few, many, execute)
    rates_file = out or folder.path / RATES
    runs = [look_at(few), look_at(many)]
    measured = f"{time.strftime('%Y-%m-%d')}, {rows:,} records a source"
    rates = rates_of(runs, f"{measured}, on {machines(before)}")
    save_rates(rates_file, rates)  # they are paid for, whatever comes
    unknown = "" if short is None else "for so few rows do not fill the mixtures; give more --rows"
    if not unknown:
        try:
            after = cluster()
            beside = round(max(0.0, seconds - _clock(runs[-1], rates, after)), 3)
            about = {"run_seconds": beside, "measured": f"{measured}, on {machines(after)}"}
            save_rates(rates_file, rates.model_copy(update=about))
        except UserError as error:
            unknown = str(error)
    yield f"{out or f'{folder.place}/{RATES}'}: rates of {len(rates.passes)} passes; the runs are in {folder.place}"
    if short:
        yield f"not measured: mix and export, {unknown}. {short}"
    elif unknown:
        yield f"not measured: what a run takes beside its units, such as Ray's start: {unknown}"
    yield f"speechmill plan {path}" + (f" --rates {out}" if out else "")


def ran_on(workers: int | None, address: str | None) -> Cluster:
    """Return what a run with these options works on: this process, this machine, or the cluster that it joins.

    Args:
        workers, address: as `run` takes them.
    Raises UserError where no cluster answers.
    """
    here = this_machine()
    if workers == 0:
        return Cluster(cpus=1, gpus=here.gpus)
    from pipelines.running.ray_pool import JOB, ray_pool  # imports Ray

    if address is None and JOB not in os.environ:
        return Cluster(cpus=workers or here.cpus, gpus=here.gpus)
    with ray_pool(workers, address, lambda kind, **about: None) as pool:
        return of_nodes([node.room for node in pool.nodes.values()], workers)


def of_nodes(rooms: Sequence[Room], workers: int | None = None) -> Cluster:
    """Return nodes as a cluster: exactly if those with CPUs are alike and all are used, else as one node, their sum.

    Args:
        workers: of one CPU each, at most.

    >>> of_nodes([Room(0), Room(8, [1.0], 2**35), Room(8, [1.0], 2**35)])
    Cluster(cpus=8, gpus=1, nodes=2, memory_gib=32.0)
    >>> of_nodes([Room(4), Room(8, [1.0])]), of_nodes([Room(8), Room(8)], workers=3)
    (Cluster(cpus=12, gpus=1, nodes=1, memory_gib=0.0), Cluster(cpus=3, gpus=0, nodes=1, memory_gib=0.0))
    """
    used = [room for room in rooms if room.cpus >= 1]
    if not used:  # none is up yet, where a cluster grows from nothing
        return Cluster(cpus=workers or MOST_PARTS)
    cpus, gpus = int(sum(room.cpus for room in used)), sum(len(room.gpus) for room in used)
    memory = [room.memory_bytes / GIB for room in used]  # a little different on each, by what else it has started
    if len({(room.cpus, len(room.gpus)) for room in used}) == 1 and cpus <= (workers or cpus):
        n = len(used)
        return Cluster(cpus=cpus // n, gpus=gpus // n, nodes=n, memory_gib=round(min(memory), 1))
    return Cluster(cpus=min(cpus, workers or cpus), gpus=gpus, memory_gib=round(sum(memory), 1))


def recipes(path: Path, changes: list[str], place: str, rows: int, workers: int) -> list[Recipe]:
    """Return the recipes of the two runs: so many records of each source, mixtures as large as these allow.

    Args:
        place: that both lie in: a folder, or a URL where the run itself will lie in a store.

    Their shards are small enough that each worker has a few, and those of the two runs differ in size.
    """
    asked = load(path, changes, None)
    rows = min(rows, asked.limit or rows)
    made = []
    for name, limit in (("few", max(1, rows // FEW)), ("many", rows)):
        size = max(1, -(-limit // min(2 * max(workers, 1), MOST_PARTS)))
        sets = [
            f"limit={limit}",
            f"read.rows_per_shard={min(size, asked.read.rows_per_shard)}",
            "mix.max_refusal_share=1",
        ]
        sets += [f"mix.mixtures.{mixture}.shrink=true" for mixture in asked.mix.mixtures]
        made.append(load(path, [*changes, *sets], f"{place}/{name}"))
    return made


def measure(few: Recipe, many: Recipe, execute: Execute) -> tuple[float, str | None]:
    """Run both recipes; return the seconds of the second, and why the mixtures are missing if rows did not fill them.

    Args:
        execute: runs a recipe whole.
    """
    for recipe in (few, many):
        started, short = time.monotonic(), None
        try:
            execute(recipe)
        except UserError as error:
            if not look_at(recipe).units("quantize"):
                raise
            short = str(error)
    seconds = time.monotonic() - started
    for recipe in (few, many):
        open_run_folder(recipe).pull(rows=True)
    return seconds, short


def _clock(run: Run, rates: Rates, cluster: Cluster) -> float:
    """Return the seconds that the clock shows for a finished run's units, without what a run takes beside them."""
    found = estimate(run.recipe, run.plans, rates, cluster)
    return simulate(works_of(run.recipe, found.passes, whole=True), cluster).seconds
