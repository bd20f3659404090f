"""mix: which rows each mixture takes, and for which task: exact quotas, rows by hash rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.errors import UserError
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit
from pipelines.mixture import Classes, Short, assign, available, check, hash_rank, largest_total, quotas
from pipelines.options import Mixture
from pipelines.recipe import Recipe
from pipelines.shards import Counts, digest_json, to_json
from pipelines.steps.noise_chats import FOLDER as INTERRUPTED
from pipelines.steps.noise_chats import SUFFIX, is_held_out, mixed_shards
from pipelines.tasks import REFUSALS, TASKS, Shape

LOCKFILE = "mixture.json"


def chosen_file(mixture: str) -> str:
    """Return the file that lists a mixture's rows: order, task, path and row of the shard, id."""
    return f"mix/{mixture}.parquet"


def _run(job: Job) -> Outcome:
    mixtures = job.recipe.mix.mixtures
    candidates = candidates_of(job.recipe, {name: job.file(name) for name in job.unit.inputs})
    everything = _without_originals(candidates)
    withheld = candidates.height - everything.height
    rows = {name: _admitted(everything, mixture) for name, mixture in mixtures.items()}
    classes = {name: _classes(rows[name]) for name in mixtures}
    wanted = quotas_of(job.recipe, classes)
    lock: dict[str, Any] = {}
    for name, mixture in mixtures.items():
        chosen = _choose(rows[name], name, mixture, wanted[name], classes[name], job.recipe.seed)
        job.staged.table(chosen_file(name), chosen.to_arrow())
        lock[name] = _lock(mixture, wanted[name], classes[name], chosen)
        if mixture.most_tokens is not None:
            mine = everything.filter(pl.col("held_out") == mixture.held_out)
            lock[name]["rows_of_too_many_tokens"] = mine.height - rows[name].height
        if mixture.total == "max" or mixture.shrink:
            lock[name]["bound"] = _bound(job.recipe, name, wanted, classes[name])
    refusals, total = _refusals(wanted)
    wanted_parts = {part for mixture in mixtures.values() for part in mixture.parts}
    lockfile = {
        "mixtures": lock,
        "chats_withheld_as_interrupted": withheld,
        "rows_no_part_can_use": sum(
            count for serves, count in _classes(everything).items() if serves.isdisjoint(wanted_parts)
        ),
        "refusals": {
            "rows": refusals,
            "of": total,
            "share": refusals / total,
            "ceiling": job.recipe.mix.max_refusal_share,
        },
    }
    job.staged.bytes(LOCKFILE, to_json(lockfile))
    rejected = {"mix.interrupted": withheld} if withheld else {}
    return Outcome(Counts(candidates.height, everything.height, rejected), lockfile)


def _without_originals(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows without the chats that stand among them a second time, interrupted."""
    again = rows.filter(pl.col("path").str.starts_with(f"{INTERRUPTED}/"))["id"].str.strip_suffix(SUFFIX)
    return rows.filter(~pl.col("id").is_in(again.to_list()))


def _classes(rows: pl.DataFrame) -> dict[frozenset[str], int]:
    """Return how many rows serve each set of tasks."""
    return {frozenset(serves.split()): count for serves, count in rows.group_by("serves").len().iter_rows()}


def _admitted(rows: pl.DataFrame, mixture: Mixture) -> pl.DataFrame:
    """Return the rows whose voices and sounds a mixture takes."""
    mine = rows.filter(pl.col("held_out") == mixture.held_out)
    return mine if mixture.most_tokens is None else mine.filter(pl.col("tokens") <= mixture.most_tokens)


def candidates_of(recipe: Recipe, shards: Mapping[str, Path]) -> pl.DataFrame:
    """Return every row that may be chosen: id, path of its shard, position there, tokens, the tasks it may serve.

    Args:
        shards: where each of them lies, by its path from the run folder.
    """
    columns = ["id", "exchanges", "answered", "inaudible", "degraded", "spoken"]
    tokens = pl.col("spoken").list.eval(pl.element().struct.field("tokens").list.len()).list.sum()
    frames = []
    for path, file in shards.items():
        rows = pl.read_parquet(file, columns=columns)
        shapes = rows.select("exchanges", "answered", pl.col("inaudible", "degraded").is_not_null())
        serves = [_serves(Shape(*shape)) for shape in shapes.iter_rows()]
        frames.append(
            rows.select(
                "id",
                pl.lit(path).alias("path"),
                pl.int_range(pl.len(), dtype=pl.Int32).alias("row"),
                tokens.cast(pl.Int64).alias("tokens"),
                is_held_out(recipe).alias("held_out"),
                pl.Series("serves", serves, dtype=pl.String),
            )
        )
    return pl.concat(frames)


def _serves(shape: Shape) -> str:
    return " ".join(name for name, task in TASKS.items() if task.suits(shape))


def _within(mixture: Mixture, classes: Classes) -> dict[frozenset[str], int]:
    """Return the classes of rows with regard to a mixture's parts alone."""
    result: Counter[frozenset[str]] = Counter()
    for serves, count in classes.items():
        result[serves.intersection(mixture.parts)] += count
    return dict(result)


def quotas_of(recipe: Recipe, classes: Mapping[str, Classes]) -> dict[str, dict[str, int]]:
    """Return the rows of each part of each mixture, refusals under their ceiling. Raises UserError where one is short.

    Args:
        classes: of each mixture, those of the rows that it takes.
    """
    wanted = {name: _quota(name, mixture, classes[name]) for name, mixture in recipe.mix.mixtures.items()}
    wanted = _under_ceiling(recipe, wanted)
    _check_refusals(recipe, wanted)
    return wanted


def _quota(name: str, mixture: Mixture, classes: Classes) -> dict[str, int]:
    """Return the rows of each part. Raises UserError with the arithmetic where a part is short."""
    here = _within(mixture, classes)
    most = largest_total(mixture.parts, here, mixture.reuse_prompts)
    total = most if mixture.total == "max" else mixture.total
    if mixture.shrink:
        total = min(total, most)
    quota = quotas(total, mixture.parts)
    try:
        check(quota, here, mixture.reuse_prompts)
    except Short as short:
        shares = ", ".join(
            f"{part} {_percent(share)} of {total} = {quota[part]}" for part, share in mixture.parts.items()
        )
        raise UserError(
            f"mix.mixtures.{name}: {short} ({shares}). The largest total is {most}. "
            f"Set total: max or shrink: true, give more rows"
            f"{'' if mixture.reuse_prompts else ', or let one prompt serve several parts with reuse_prompts: true'}."
        ) from short
    if total == 0 or any(available([part], here) == 0 for part in mixture.parts):
        have = ", ".join(f"{part}: {available([part], here)}" for part in mixture.parts)
        raise UserError(f"mix.mixtures.{name}: a part has no row at all; rows that can serve each part: {have}.")
    return quota


def _bound(recipe: Recipe, name: str, wanted: dict[str, dict[str, int]], classes: Classes) -> str:
    """Return why a total is no larger: which parts are short for one more row, or the ceiling; "" where nothing is."""
    mixture = recipe.mix.mixtures[name]
    more = quotas(sum(wanted[name].values()) + 1, mixture.parts)
    try:
        check(more, _within(mixture, classes), mixture.reuse_prompts)
    except Short as short:
        return str(short)
    if _is_above(recipe, {**wanted, name: more}):
        return f"refusals would be above their ceiling of {_percent(100 * _ceiling(recipe))}"
    return ""


def _percent(share: Fraction) -> str:
    return f"{float(share):g} %"


def _refusals(wanted: dict[str, dict[str, int]]) -> tuple[int, int]:
    """Return how many rows of all mixtures teach to refuse, and how many rows there are."""
    refusals = sum(quota.get(task, 0) for quota in wanted.values() for task in REFUSALS)
    return refusals, sum(sum(quota.values()) for quota in wanted.values())


def _ceiling(recipe: Recipe) -> Fraction:
    return Fraction(str(recipe.mix.max_refusal_share))


def _is_above(recipe: Recipe, wanted: dict[str, dict[str, int]]) -> bool:
    refusals, total = _refusals(wanted)
    return refusals > _ceiling(recipe) * total


def _under_ceiling(recipe: Recipe, wanted: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Return the quotas, smaller where refusals would be above their ceiling and a mixture with some may shrink.

    The last such mixture shrinks first, to half its rows at most: where that is not enough, its parts are wrong.
    """
    smaller = dict(wanted)
    for name, mixture in reversed(recipe.mix.mixtures.items()):
        if (mixture.shrink or mixture.total == "max") and not mixture.parts.keys().isdisjoint(REFUSALS):
            most = sum(wanted[name].values())
            for total in range(most, (most + 1) // 2 - 1, -1):
                smaller[name] = quotas(total, mixture.parts)
                if not _is_above(recipe, smaller):
                    return smaller
    return wanted


def _check_refusals(recipe: Recipe, wanted: dict[str, dict[str, int]]) -> None:
    """Raise UserError where inaudible rows are more than the ceiling allows over all mixtures."""
    refusals, total = _refusals(wanted)
    ceiling = _ceiling(recipe)
    if _is_above(recipe, wanted):
        sums = ", ".join(f"{name} {_refusals({name: q})[0]} of {sum(q.values())}" for name, q in wanted.items())
        needed = "a ceiling above 0" if not ceiling else f"{-(-refusals // ceiling)} rows in all"
        raise UserError(
            f"mix.max_refusal_share: inaudible rows are {refusals} of {total} = {refusals / total:.2%} ({sums}), "
            f"above the ceiling of {_percent(100 * ceiling)}, which allows {int(ceiling * total)}. "
            f"{refusals} of them need {needed}: give a mixture with inaudible rows a smaller total, "
            "another a larger one, or raise the ceiling."
        )


def _choose(
    rows: pl.DataFrame, name: str, mixture: Mixture, quota: dict[str, int], classes: Classes, seed: int
) -> pl.DataFrame:
    """Return the rows of a mixture in their final, shuffled order."""
    salt = f"{seed}/{name}"
    kinds = {text: frozenset(text.split()).intersection(mixture.parts) for text in rows["serves"].unique()}
    if mixture.reuse_prompts:
        picks = [
            (
                part,
                _ranked(rows, [text for text, serves in kinds.items() if part in serves], f"{salt}/{part}").head(count),
            )
            for part, count in quota.items()
        ]
    else:
        here = _within(mixture, classes)
        ranked = {one: _ranked(rows, [text for text, serves in kinds.items() if serves == one], salt) for one in here}
        taken: Counter[frozenset[str]] = Counter()
        picks = []
        for (one, part), count in assign(quota, here).items():
            picks.append((part, ranked[one].slice(taken[one], count)))
            taken[one] += count
    result = pl.concat(chosen.with_columns(task=pl.lit(part)) for part, chosen in picks)
    return (
        result.with_columns(shuffled=hash_rank(result["id"].to_list(), f"{salt}/shuffle"))
        .sort("shuffled", "id", "task")
        .select(pl.int_range(pl.len(), dtype=pl.Int64).alias("order"), "task", "path", "row", "id")
    )


def _ranked(rows: pl.DataFrame, kinds: list[str], salt: str) -> pl.DataFrame:
    """Return the rows that serve what `kinds` says, by hash rank."""
    here = rows.filter(pl.col("serves").is_in(kinds))
    return here.with_columns(rank=hash_rank(here["id"].to_list(), salt)).sort("rank", "id")


def _lock(mixture: Mixture, quota: dict[str, int], classes: Classes, chosen: pl.DataFrame) -> dict[str, Any]:
    parts = {}
    for part, share in mixture.parts.items():
        ids = sorted(chosen.filter(pl.col("task") == part)["id"].to_list())
        parts[part] = {
            "percent": float(share),
            "quota": quota[part],
            "available": available([part], classes),
            "chosen": len(ids),
            "digest": digest_json(ids),
        }
    return {"total": sum(quota.values()), "reuse_prompts": mixture.reuse_prompts, "parts": parts}


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    shards = mixed_shards(outputs)
    return [Unit("mixtures", tuple(s.path for s in shards), sum(s.rows for s in shards))]


PASS = Pass(
    key="mix",
    needs=("quantize", "noise", INTERRUPTED),
    version=2,
    options=lambda recipe: {
        "seed": recipe.seed,
        "held_out": recipe.tts.held_out,
        **recipe.mix.model_dump(mode="json"),
    },
    units=_units,
    run=_run,
)
