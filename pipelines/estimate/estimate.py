"""What a run takes, per step and in all, for what is to do now and for the whole: rows, speech, disk, time, money."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.estimate.clock import Times, Work, simulate
from pipelines.estimate.counting import Rows, count
from pipelines.estimate.foresee import READS, Figures, PassAhead, Walk
from pipelines.estimate.rates import check, load_rates
from pipelines.estimate_options import Cluster, Prices, Rates
from pipelines.folders.run_folder import RunFolder, open_url
from pipelines.graph import PassPlan
from pipelines.recipe import Recipe
from pipelines.shards import read_record

RATES = "rates.json"  # in the folder of a calibration
DUPLICATES = (
    "filter: the share of duplicates is that of the rows that were measured; among more rows there are more of them"
)


@dataclass
class Estimate:
    """An estimate, with where its numbers come from.

    rows:  of each source
    whole: what all of the run takes, done and to do; now: what is to do
    """

    recipe: Recipe
    rates: Rates
    cluster: Cluster
    prices: Prices
    rows: Mapping[str, Rows]
    passes: Sequence[PassAhead]
    pairs: Mapping[str, int]
    times_whole: Times
    times_now: Times
    whole: Figures = field(default_factory=Figures)
    now: Figures = field(default_factory=Figures)
    notes: list[str] = field(default_factory=list)

    def money(self, figures: Figures) -> float:
        """Return what workers, disk (for a month) and servers cost."""
        by_clock = self.prices.cpu_hour * cpu_hours(figures) + self.prices.gpu_hour * figures.gpu_seconds / 3600
        return by_clock + self.prices.gib_month * figures.size / 2**30 + figures.money

    def held(self, times: Times) -> float:
        """Return what the cluster costs if all of it is held from the first unit to the last."""
        nodes = self.cluster.nodes * times.seconds / 3600
        return nodes * (self.cluster.cpus * self.prices.cpu_hour + self.cluster.gpus * self.prices.gpu_hour)


def cpu_hours(figures: Figures) -> float:
    """Return the hours for which workers hold CPUs."""
    return figures.cpu_seconds / 3600


def this_machine() -> Cluster:
    """Return this machine as a cluster."""
    cards = list(Path("/proc/driver/nvidia/gpus").glob("*")) if Path("/proc/driver/nvidia/gpus").is_dir() else []
    return Cluster(cpus=len(os.sched_getaffinity(0)), gpus=len(cards))


def rates_of_recipe(recipe: Recipe, said: str | None) -> Rates | None:
    """Return the rates to estimate by: those that are named, the recipe's, or its calibration's; None without any."""
    named = said if said is not None else recipe.plan.rates
    if named is not None:
        return load_rates(named)
    there = calibration(recipe)
    there.bring(RATES)
    path = there.path / RATES
    return load_rates(str(path)) if path.is_file() else None


def calibration(recipe: Recipe) -> RunFolder:
    """Return where `calibrate` works: beside the run, in a store too."""
    if recipe.run_url:
        return open_url(f"{recipe.run_url}-calibration")
    return RunFolder(recipe.run_path.with_name(f"{recipe.run_path.name}-calibration"))


def estimate(
    recipe: Recipe,
    plans: Sequence[PassPlan],
    rates: Rates,
    cluster: Cluster | None = None,
    prices: Prices | None = None,
    given: Mapping[str, int] | None = None,
) -> Estimate:
    """Return the estimate of a run.

    Args:
        plans: of every pass, as `plan_run` returns them.
        given: records of sources, where the user says them.
    Raises UserError for rates of another engine, for a source of unknown size, for workers without room.
    """
    cluster = cluster or recipe.plan.cluster or this_machine()
    prices = prices or recipe.plan.prices
    notes = check(recipe, rates)
    rows = _count(recipe, plans, given or {})
    walk = Walk(recipe, plans, rates, rows)
    passes = walk.run()
    states = {piece.state == "done" for ahead in passes for piece in ahead.pieces}
    times_whole = simulate(works_of(recipe, passes, whole=True), cluster)
    times_now = times_whole if states == {False} else Times()
    if states == {False, True}:
        times_now = simulate(works_of(recipe, passes, whole=False), cluster)
    found = Estimate(recipe, rates, cluster, prices, rows, passes, walk.pairs, times_whole, times_now)
    for ahead in passes:
        workers = times_now.workers.get(ahead.key, 0)  # that start; those of what is done are in its seconds
        for figures, total in ((ahead.whole, found.whole), (ahead.now, found.now)):
            figures.seconds += workers * ahead.start_seconds
            figures.processor += workers * ahead.busy_start
            figures.cpu_seconds = figures.seconds * recipe.workers.of(ahead.key).cpus
            figures.gpu_seconds = figures.seconds * ahead.a_pass.gpus(recipe)
            total.add(_in_all(ahead.key, figures))
    if times_now.seconds:
        times_now.seconds += rates.run_seconds
    if times_whole is not times_now:
        times_whole.seconds += rates.run_seconds
    if unknown := [ahead.key for ahead in passes if ahead.pieces and not ahead.measured]:
        notes.append(f"not estimated, for there are no rates of them: {', '.join(unknown)}")
    memory = {ahead.key: recipe.workers.of(ahead.key).memory_gib for ahead in passes if ahead.now.seconds}
    if any(memory.values()) and not cluster.memory_gib:
        named = ", ".join(f"{key} {gib:g} GiB" for key, gib in memory.items() if gib)
        notes.append(
            f"memory of workers is not counted ({named}): it may leave fewer of them room. Name what a node has for "
            "them: --cluster memory_gib=64"
        )
    if any(ahead.key == "filter.duplicates" and ahead.now.seconds for ahead in passes):
        notes.append(DUPLICATES)
    found.notes = [*notes, *walk.notes]
    return found


def _in_all(key: str, figures: Figures) -> Figures:
    """Return what of a pass's figures counts in the whole: records as they are read, pairs, speech once."""
    return replace(
        figures,
        rows_in=figures.rows_in if key in READS else 0,
        rows_kept=figures.rows_kept if key == "export" else 0,
        audio_seconds=figures.audio_seconds if key == "quantize" else 0,
    )


def _count(recipe: Recipe, plans: Sequence[PassPlan], given: Mapping[str, int]) -> dict[str, Rows]:
    """Return the records of each source. Raises UserError that names those that nobody knows."""
    done = {
        unit.unit.name: unit.record
        for plan in plans
        if plan.key in ("read", "read.speech")
        for unit in plan.units
        if unit.state == "done" and unit.record is not None
    }
    rows = {}
    for source in recipe.sources:
        if source.name in done:
            rows[source.name] = Rows(done[source.name].counts.rows_in, "read")
            continue
        folder = "read.speech" if source.audio else "read"
        record = read_record(recipe.run_path / folder / f"{source.name}.json") if source.hf else None
        rows[source.name] = count(source, recipe.root_path, record, given.get(source.name))
    if unknown := [name for name, known in rows.items() if known.rows is None]:
        sets = " ".join(f"--rows {name}=N" for name in unknown)
        raise UserError(f"nobody knows how many records these have, for they were never read: {sets}")
    return rows


def works_of(recipe: Recipe, passes: Sequence[PassAhead], whole: bool) -> list[Work]:
    """Return the passes as the clock takes them: what is done takes no time, unless the whole run is asked for."""
    from pipelines.steps import BY_KEY

    works: list[Work] = []
    follows_of = {key: tuple(p.follows(recipe)) if p.applies(recipe) else () for key, p in BY_KEY.items()}

    def behind(keys: Sequence[str]) -> set[str]:
        return {key for one in keys for key in (one, *behind(follows_of[one]))}

    for ahead in passes:
        a_pass, key = ahead.a_pass, ahead.key
        needs = {work.key for work in works} if a_pass.last else set(a_pass.needs)
        works.append(
            Work(
                key,
                {piece.name: piece.seconds if whole or piece.state != "done" else None for piece in ahead.pieces},
                waits=frozenset(needs - behind(follows_of[key])),
                follows=follows_of[key],
                beside=a_pass.beside,
                start=0 if all(piece.state == "done" for piece in ahead.pieces) else ahead.start_seconds,
                cpus=recipe.workers.of(key).cpus,
                gpus=a_pass.gpus(recipe),
                memory_gib=recipe.workers.of(key).memory_gib,
                most=min((n for n in (a_pass.most_workers(recipe), recipe.workers.of(key).max) if n), default=None),
            )
        )
    return works


def as_json(found: Estimate) -> dict[str, Any]:
    """Return an estimate as plain values."""
    return {
        "rates": {"measured": found.rates.measured},
        "cluster": found.cluster.model_dump(),
        "prices": found.prices.model_dump(),
        "sources": {name: {"rows": rows.rows, "how": rows.how} for name, rows in found.rows.items()},
        "pairs": dict(found.pairs),
        "steps": {
            ahead.key: {
                "units": len(ahead.pieces),
                "units_now": sum(piece.state != "done" for piece in ahead.pieces),
                "workers": found.times_now.workers.get(ahead.key, 0),
                "whole": _plain(found, ahead.whole),
                "now": _plain(found, ahead.now),
            }
            for ahead in found.passes
            if ahead.pieces
        },
        "whole": {**_plain(found, found.whole), **_clock(found, found.times_whole)},
        "now": {**_plain(found, found.now), **_clock(found, found.times_now)},
        "notes": found.notes,
    }


def _plain(found: Estimate, figures: Figures) -> dict[str, Any]:
    return {
        "rows_in": round(figures.rows_in),
        "rows_kept": round(figures.rows_kept),
        "audio_hours": figures.audio_seconds / 3600,
        "tokens": round(figures.tokens),
        "bytes": round(figures.size),
        "bytes_removed_again": round(figures.spent),
        "cpu_hours": cpu_hours(figures),
        "processor_hours": figures.processor / 3600,
        "gpu_hours": figures.gpu_seconds / 3600,
        "usage": {name: round(amount, 3) for name, amount in figures.usage.items()},
        "money": found.money(figures),
    }


def _clock(found: Estimate, times: Times) -> dict[str, Any]:
    return {"wall_seconds": round(times.seconds, 3), "money_if_held": found.held(times)}
