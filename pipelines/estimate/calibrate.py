"""Measures rates: two small runs of a recipe, the second larger, on the machines that the whole will use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.arguments import load
from pipelines.errors import UserError
from pipelines.estimate.clock import simulate
from pipelines.estimate.estimate import calibration, estimate, this_machine, works_of
from pipelines.estimate.rates import Run, look_at, rates_of, save_rates
from pipelines.estimate_options import Cluster, Rates
from pipelines.folders.run_folder import open_run_folder
from pipelines.recipe import Recipe

FEW = 4  # the first run has so many times fewer rows
MOST_PARTS = 16  # shards of a source in each run, so that workers have something to do beside each other

Execute = Callable[[Recipe], None]


def calibrate_recipe(
    path: Path,
    changes: list[str],
    rows: int,
    out: Path | None,
    workers: int | None,
    address: str | None,
    execute: Execute,
) -> Iterator[str]:
    """Measure the rates of a recipe and write them; yields what to tell.

    Args:
        rows: of each source, in the larger run.
        out: the file; None: in the folder of the two runs.
        workers, address: as `run` takes them, and `execute` will.
    """
    whole = load(path, changes, None)
    folder = calibration(whole)
    here = this_machine()
    cpus = workers if workers else 1 if workers == 0 else here.cpus
    place = f"{whole.run_url}-calibration" if whole.run_url else str(folder)
    few, many = recipes(path, changes, place, rows, cpus)
    where = (
        f"{time.strftime('%Y-%m-%d')} on {address or f'{here.cpus} CPUs, {here.gpus} GPUs'}, {rows:,} records a source"
    )
    rates, short = calibrate(few, many, execute, Cluster(cpus=cpus, gpus=here.gpus), where)
    out = out or folder / "rates.json"
    save_rates(out, rates)
    yield f"{out}: rates of {len(rates.passes)} passes; the runs are in {place}"
    if short:
        yield f"not measured: mix and export, for so few rows do not fill the mixtures; give more --rows. {short}"
    yield f"speechmill plan {path} --rates {out}"


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


def calibrate(few: Recipe, many: Recipe, execute: Execute, cluster: Cluster, where: str) -> tuple[Rates, str | None]:
    """Run both recipes; return their rates, and why they lack the mixtures' if so few rows could not fill them.

    What a run takes beside its units is what the clock does not explain of the second.

    Args:
        execute: runs a recipe whole.
        cluster: that it is run on.
        where: for people: the machine and when.
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
    runs = [look_at(few), look_at(many)]
    rates = rates_of(runs, where)
    beside = 0.0 if short else max(0.0, seconds - _clock(runs[-1], rates, cluster))
    return rates.model_copy(update={"run_seconds": round(beside, 3)}), short


def _clock(run: Run, rates: Rates, cluster: Cluster) -> float:
    """Return the seconds that the clock shows for a finished run's units, without what a run takes beside them."""
    found = estimate(run.recipe, run.plans, rates, cluster)
    return simulate(works_of(run.recipe, found.passes, whole=True), cluster).seconds
