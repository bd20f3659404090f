"""filter: rows -> rows that can be spoken. The rules read what `score` wrote, in the recipe's order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.graph import Job, Outcome, Outputs, Pass, Unit
from pipelines.options import LanguageRule, LengthRule, Options, SpeakableRule
from pipelines.recipe import Recipe
from pipelines.row import REJECTED_ROW, ROW, reason_of
from pipelines.shards import Counts

SCORES = ["length", "language", "english", "unspeakable", "duplicate_key"]


def _speakable(rule: SpeakableRule) -> pl.Expr:
    return pl.when(pl.col("unspeakable").is_not_null()).then(pl.lit("filter.speakable:") + pl.col("unspeakable"))


def _length(rule: LengthRule) -> pl.Expr:
    return pl.when(pl.col("length") >= rule.below).then(pl.lit("filter.length:") + pl.col("length").cast(pl.String))


def _language(rule: LanguageRule) -> pl.Expr:
    detail = pl.concat_str(pl.lit("filter.language:"), "language", pl.lit(" english="), pl.col("english").round(3))
    return pl.when(pl.col("english") <= rule.above).then(detail)


# rule -> an expression: null for "keep", or the reject. Duplicates are found among what these keep.
_VERDICTS: dict[type[Options], Callable[..., pl.Expr]] = {
    SpeakableRule: _speakable,
    LengthRule: _length,
    LanguageRule: _language,
}


def verdicts(scores: pl.DataFrame, recipe: Recipe) -> pl.Series:
    """Return a column: null for rows that every rule but `duplicate` keeps, or the first reject."""
    rules = [_VERDICTS[type(rule)](rule) for rule in recipe.filter.rules if type(rule) in _VERDICTS]
    return scores.with_columns(reject=pl.coalesce(*rules, pl.lit(None, pl.String)))["reject"]


def _by_text(recipe: Recipe) -> bool:
    return any(rule.rule == "duplicate" for rule in recipe.filter.rules)


def _find_duplicates(job: Job) -> Outcome:
    """Write (shard, row, of): rows that an earlier kept row makes superfluous, and that row's id.

    Records identical in a source are duplicates whatever the rules say, for they share their id.
    """
    columns = ["id", *SCORES]
    shards = []
    for name in job.unit.inputs:
        scores = pl.read_parquet(job.staged.run_dir / name, columns=columns)
        kept = scores.with_columns(
            shard=pl.lit(Path(name).stem), row=pl.int_range(scores.height, dtype=pl.Int32)
        ).filter(verdicts(scores, job.recipe).is_null())
        shards.append(kept.select("id", "duplicate_key", "shard", "row"))
    rows = pl.concat(shards)
    key = "duplicate_key" if _by_text(job.recipe) else "id"
    found = (
        rows.with_row_index("position")
        .with_columns(of=pl.col("id").first().over(key), first=pl.col("position").first().over(key))
        .filter(pl.col("position") != pl.col("first"))
        .select("shard", "row", "of")
    )
    job.staged.table("filter.duplicates/all.parquet", found.to_arrow())
    return Outcome(facts={"compared": rows.height, "duplicates": found.height})


def _duplicates_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    shards = outputs.shards("score")
    return [Unit("all", tuple(s.path for s in shards), sum(s.rows for s in shards))]


def _run(job: Job) -> Outcome:
    shard = job.unit.name
    table = pq.read_table(job.input())
    scores = pl.from_arrow(table.select(SCORES))
    assert isinstance(scores, pl.DataFrame), "a table becomes a frame"
    found = pl.read_parquet(job.input(1)).filter(pl.col("shard") == shard)
    rejects = verdicts(scores, job.recipe).to_list()
    for row, of in found.select("row", "of").iter_rows():
        rejects[row] = f"filter.duplicate:{of}"
    keep = np.array([reject is None for reject in rejects], dtype=bool)
    reasons = pa.array([r for r in rejects if r is not None], pa.string())
    dropped = table.filter(pa.array(~keep)).append_column("reject", reasons)
    job.staged.table(f"filter/{shard}.parquet", table.filter(pa.array(keep)).cast(ROW))
    job.staged.table(f"filter/rejects/{shard}.parquet", dropped.cast(REJECTED_ROW))
    counted = dict(sorted(Counter(map(reason_of, reasons.to_pylist())).items()))
    kept = int(keep.sum())
    return Outcome(Counts(table.num_rows, kept, counted), {"shards": {shard: kept}})


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    found = "filter.duplicates/all.parquet"
    return [Unit(s.name, (s.path, found), s.rows) for s in outputs.shards("score")]


def _options(recipe: Recipe) -> dict[str, object]:
    return {"rules": {rule.rule: rule.model_dump(exclude={"rule"}) for rule in recipe.filter.rules}}


DUPLICATES = Pass(
    key="filter.duplicates",
    needs=("score",),
    version=1,
    options=_options,
    units=_duplicates_units,
    run=_find_duplicates,
)
PASS = Pass(
    key="filter",
    needs=("score", "filter.duplicates"),
    version=1,
    options=_options,
    units=_units,
    run=_run,
    one_to_one=True,
)
