"""noise: inaudible rows, as long as this run's spoken prompts, answered by refusals.

They are the bank's, or those of a language model that is asked for each row's own sound. Then all rows are one unit: a
wording may stand in the data so often, whichever shard it is in. Who keeps it is decided in the order of the rows, and
the others ask again with their next seed, so that neither concurrency nor weather matters.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from answers.llm import Answer, NoAnswer
from answers.refusal_requests import draw_refusal_request
from filters.duplicates import normalise
from noise.refusals import REFUSALS
from pipelines.asked import Asked, asking, changes_of, generated
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit, shard_units
from pipelines.mixture import hash_rank
from pipelines.recipe import Recipe
from pipelines.repair_options import tokens_before
from pipelines.row import REJECTED_ROW, ROW, Row
from pipelines.rowwise import read_rows, run_rowwise
from pipelines.shards import Counts, row_writer
from pipelines.steps.noise_chats import is_held_out

LENGTHS = "noise.lengths/all.parquet"
POOL = "noise.lengths/pool.parquet"
MOST_SHUFFLED = 2000  # utterances whose ids are kept to shuffle


def _count_lengths(job: Job) -> Outcome:
    """Write (tokens, prompts): how many spoken user turns have how many tokens; and the pool of ids to shuffle.

    Rows that were made again count as they were before, so that a repair leaves all rows of noise as they are.
    """
    before = job.unit.args.get("tokens_before", {})
    counts = Counter(length for lengths in before.values() for length in lengths)
    kept = pl.DataFrame(schema={"id": pl.String, "license": pl.String, "tokens": pl.List(pl.UInt16), "rank": pl.UInt64})
    for name in job.unit.inputs:
        rows = pl.read_parquet(job.file(name), columns=["id", "license", "spoken"])
        turns = (
            rows.filter(~pl.col("id").is_in(list(before)))
            .with_row_index("row")
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
        kept = pool(kept, rows.filter(~is_held_out(job.recipe)), job.recipe.seed)
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
    if job.recipe.noise.refusals is None:
        return run_rowwise(job, "noise", lambda row: _from_bank(row, job.recipe.seed))
    return _run_asked(job)


def _from_bank(row: Row, seed: int) -> Row:
    """Return a row with a refusal where it is inaudible, drawn from the seed and the row's id."""
    if row["inaudible"] is None:
        return row
    digest = hashlib.blake2b(f"{seed}/noise.refusals/{row['id']}".encode(), digest_size=8).digest()
    return _answered(row, REFUSALS[int.from_bytes(digest) % len(REFUSALS)])


def _answered(row: Row, refusal: str) -> Row:
    messages = [*row["messages"], {"role": "assistant", "content": refusal}]
    return {**row, "messages": messages, "answered": True}


def _run_asked(job: Job) -> Outcome:
    options, seed = job.recipe.noise.refusals, job.recipe.seed
    assert options is not None, "else the bank answers"
    shards = [job.file(name) for name in job.unit.inputs]
    requests = [
        draw_refusal_request(seed, row["id"], json.loads(row["inaudible"]))
        for path in shards
        for row in read_rows(path, ["id", "inaudible"])
        if row["inaudible"] is not None
    ]
    with asking(job, options.llm) as llm:
        answers = iter(ask_refusals(requests, llm, options.template, options.most_repeats))
    counts = {path.stem: _write_answered(job, path, answers) for path in shards}
    kept = {shard: count.rows_kept for shard, count in counts.items()}
    return Outcome(Counts.total(counts.values()), {"shards": kept}, usage=llm.usage)


def ask_refusals(
    requests: Sequence[dict[str, Any]], llm: Asked, template: str, most_repeats: int
) -> list[Answer | NoAnswer]:
    """Return a refusal for each request, in order, no wording more than `most_repeats` times.

    What is one wording too often is asked for again, with the next seed; `repeated` where no try is left. Wordings
    differ neither by case nor by punctuation.
    """
    from answers.tasks import Refusal  # loads distilabel: in workers only

    task, given = Refusal(file=template), Counter[str]()
    result: dict[int, Answer | NoAnswer] = {}
    tries = dict.fromkeys(range(len(requests)), 0)
    while tries:
        answers = llm.answer_all(task, [requests[row] for row in tries], list(tries.values()))
        again = {}
        for row, answer in zip(tries, answers, strict=True):
            if isinstance(answer, NoAnswer):
                result[row] = answer
            elif given[wording := normalise(answer.text)] < most_repeats:
                result[row] = answer
                given[wording] += 1
            elif answer.tries < llm.tries:
                again[row] = answer.tries
            else:
                result[row] = NoAnswer("repeated")
        tries = again
    return [result[row] for row in range(len(requests))]


def _write_answered(job: Job, path: Path, answers: Iterator[Answer | NoAnswer]) -> Counts:
    """Write a shard of rows with their answers, of which the inaudible ones take the next."""
    with row_writer(job.staged, "noise", path.stem, ROW, REJECTED_ROW) as writer:
        for row in read_rows(path):
            answer = next(answers) if row["inaudible"] is not None else None
            if isinstance(answer, NoAnswer):
                writer.reject(row, f"noise.{answer.reason}")
            elif answer is None:
                writer.keep(row)
            else:
                note = generated(len(row["messages"]), "refusal", None, answer)
                writer.keep({**_answered(row, answer.text), "generated": [*(row["generated"] or []), note]})
        return writer.finish(pq.read_metadata(path).num_rows)


def _lengths_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    shards, before = outputs.shards("quantize"), tokens_before(recipe.repairs)
    args = {"tokens_before": before} if before else {}
    return [Unit("all", tuple(s.path for s in shards), sum(s.rows for s in shards), args)]


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    if recipe.noise.refusals is None:
        return shard_units("noise.sounds")(recipe, outputs)
    shards = outputs.shards("noise.sounds")
    return [Unit("all", tuple(s.path for s in shards), sum(s.rows for s in shards))] if shards else []


def _options(recipe: Recipe) -> dict[str, Any]:
    asked = recipe.noise.refusals
    if asked is None:
        return {"seed": recipe.seed}
    changes = changes_of(recipe, asked.llm, asked.template)
    return {"seed": recipe.seed, "most_repeats": asked.most_repeats, **changes}


LENGTHS_PASS = Pass(
    key="noise.lengths",
    needs=("quantize",),
    version=3,
    options=lambda recipe: {"seed": recipe.seed, "held_out": recipe.tts.held_out},
    units=_lengths_units,
    run=_count_lengths,
)
PASS = Pass(
    key="noise",
    needs=("noise.sounds",),
    version=3,
    options=_options,
    units=_units,
    run=_run,
)
