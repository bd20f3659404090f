"""noise: inaudible rows, as long as this run's spoken prompts, answered by refusals."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from noise import NOISE_KINDS
from noise.refusals import REFUSALS
from pipelines.errors import UserError
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit
from pipelines.recipe import Recipe
from pipelines.row import REJECTED_ROW, ROW, Row, row_id
from pipelines.shards import row_writer

LENGTHS = "noise.lengths/all.parquet"


def _count_lengths(job: Job) -> Outcome:
    """Write (tokens, prompts): how many spoken user turns have how many tokens."""
    counts: Counter[int] = Counter()
    for name in job.unit.inputs:
        rows = pl.read_parquet(job.staged.run_dir / name, columns=["spoken"])
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
    table = pl.DataFrame(sorted(counts.items()), schema={"tokens": pl.Int32, "prompts": pl.Int64}, orient="row")
    job.staged.table(LENGTHS, table.to_arrow())
    return Outcome(facts={"prompts": counts.total()})


def _run(job: Job) -> Outcome:
    lengths = pl.read_parquet(job.input())
    if job.unit.rows and not lengths.height:
        raise UserError("noise: no prompt of this run was spoken, so there is no length to draw. Set noise.rows=0.")
    shard, start = job.unit.name, job.unit.args["start"]
    with row_writer(job.staged, "noise", shard, ROW, REJECTED_ROW) as writer:
        for index in range(start, start + job.unit.rows):
            writer.keep(_make(index, job.recipe, lengths, job.unit.args))
        counts = writer.finish(job.unit.rows)
    return Outcome(counts, {"shards": {shard: counts.rows_kept}})


def _make(index: int, recipe: Recipe, lengths: pl.DataFrame, sounds: Mapping[str, Any]) -> Row:
    """Return inaudible row number `index`; all it draws comes from (seed, noise, index).

    Args:
        sounds: the tokenizer, its rate, n_codes and mask_code, as `quantize` noted them.
    """
    digest = hashlib.blake2b(f"{recipe.seed}/noise/{index}".encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest)))
    prompts = lengths["prompts"].to_numpy()
    length = int(rng.choice(lengths["tokens"].to_numpy(), p=prompts / prompts.sum()))
    weights = np.array(list(recipe.noise.kinds.values()))
    kind = list(recipe.noise.kinds)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    mask = sounds["mask_code"]
    tokens, description = NOISE_KINDS[kind](length, sounds["n_codes"] - (mask is not None), rng)
    if mask is not None:
        tokens[tokens >= mask] += 1  # every sound but the mask code, wherever that stands
    refusal = REFUSALS[int(rng.integers(len(REFUSALS)))]
    sound: dict[str, Any] = {
        "turn": 0,
        "tokens": tokens.tolist(),
        "seconds": length / sounds["tokens_per_second"],
        "tokenizer": sounds["tokenizer"],
    }
    messages = [{"role": "user", "content": ""}, {"role": "assistant", "content": refusal}]
    return {
        "id": row_id(f"noise {tokens.tobytes().hex()}", messages),
        "source": "noise",
        "license": "Apache-2.0",
        "index": index,
        "messages": messages,
        "exchanges": 1,
        "answered": True,
        "inaudible": description,
        "spoken": [sound],
    }


def _lengths_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    shards = outputs.shards("quantize")
    return [Unit("all", tuple(s.path for s in shards), sum(s.rows for s in shards))]


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    size = recipe.read.rows_per_shard
    made_by = next(iter(outputs.facts("quantize")), {})  # the same in every shard
    sounds = {key: made_by.get(key) for key in ("tokenizer", "tokens_per_second", "n_codes", "mask_code")}
    return [
        Unit(f"noise-{number:05d}", (LENGTHS,), rows, {"start": start, "rows": rows, **sounds})
        for number, start in enumerate(range(0, recipe.noise.rows, size))
        if (rows := min(size, recipe.noise.rows - start))
    ]


LENGTHS_PASS = Pass(
    key="noise.lengths",
    needs=("quantize",),
    version=1,
    options=lambda recipe: {},
    units=_lengths_units,
    run=_count_lengths,
)
PASS = Pass(
    key="noise",
    needs=("noise.lengths", "quantize"),
    version=3,
    options=lambda recipe: {"seed": recipe.seed, "kinds": dict(recipe.noise.kinds)},
    units=_units,
    run=_run,
)
