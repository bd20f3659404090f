"""noise: inaudible rows, as long as this run's spoken prompts, answered by refusals."""

from __future__ import annotations

import hashlib
from collections import Counter

import polars as pl

from noise.refusals import REFUSALS
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit, shard_units
from pipelines.mixture import hash_rank
from pipelines.recipe import Recipe
from pipelines.row import Row
from pipelines.rowwise import run_rowwise

LENGTHS = "noise.lengths/all.parquet"
POOL = "noise.lengths/pool.parquet"
MOST_SHUFFLED = 2000  # utterances whose ids are kept to shuffle


def _count_lengths(job: Job) -> Outcome:
    """Write (tokens, prompts): how many spoken user turns have how many tokens; and the pool of ids to shuffle."""
    counts: Counter[int] = Counter()
    kept = pl.DataFrame(schema={"id": pl.String, "license": pl.String, "tokens": pl.List(pl.UInt16), "rank": pl.UInt64})
    for name in job.unit.inputs:
        rows = pl.read_parquet(job.staged.run_dir / name, columns=["id", "license", "spoken"])
        turns = (
            rows.with_row_index("row")
            .explode("spoken")
            .drop_nulls("spoken")
            .select(
                "row",
                pl.col("spoken").struct.field("turn"),
                pl.col("spoken").struct.field("tokens").list.len().alias("tokens"),
            )
            .group_by("row", "turn")
            .agg(pl.col("tokens").sum())
        )
        counts.update(turns["tokens"].to_list())
        kept = pool(kept, rows, job.recipe.seed)
    table = pl.DataFrame(sorted(counts.items()), schema={"tokens": pl.Int32, "prompts": pl.Int64}, orient="row")
    job.staged.table(LENGTHS, table.to_arrow())
    job.staged.table(POOL, kept.drop("rank").to_arrow())
    return Outcome(facts={"prompts": counts.total()})


def pool(kept: pl.DataFrame, rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return (id, license, tokens, rank) of the utterances of the lowest ranks, of those kept so far and some rows'."""
    ranks = pl.Series(hash_rank(rows["id"].to_list(), f"{seed}/noise.lengths"), dtype=pl.UInt64)
    utterances = rows.with_columns(rank=ranks).explode("spoken").drop_nulls("spoken")
    ids = utterances.select("id", "license", pl.col("spoken").struct.field("tokens"), "rank")
    return kept.vstack(ids).sort("rank", maintain_order=True).head(MOST_SHUFFLED)


def _run(job: Job) -> Outcome:
    return run_rowwise(job, "noise", lambda row: _answered(row, job.recipe.seed))


def _answered(row: Row, seed: int) -> Row:
    """Return a row with a refusal where it is inaudible, drawn from the seed and the row's id."""
    if row["inaudible"] is None:
        return row
    digest = hashlib.blake2b(f"{seed}/noise.refusals/{row['id']}".encode(), digest_size=8).digest()
    refusal = REFUSALS[int.from_bytes(digest) % len(REFUSALS)]
    messages = [*row["messages"], {"role": "assistant", "content": refusal}]
    return {**row, "messages": messages, "answered": True}


def _lengths_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    shards = outputs.shards("quantize")
    return [Unit("all", tuple(s.path for s in shards), sum(s.rows for s in shards))]


LENGTHS_PASS = Pass(
    key="noise.lengths",
    needs=("quantize",),
    version=2,
    options=lambda recipe: {"seed": recipe.seed},
    units=_lengths_units,
    run=_count_lengths,
)
PASS = Pass(
    key="noise",
    needs=("noise.sounds",),
    version=3,
    options=lambda recipe: {"seed": recipe.seed},
    units=shard_units("noise.sounds"),
    run=_run,
)
