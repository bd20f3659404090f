"""noise.chats: chats that get a turn which nobody can hear, the request to repeat it, and the turn again; by option.

Ichigo v0.4 had noise in conversations. The turn is put before the second exchange or a later one: what cannot be heard
at the very beginning is what the rows of `noise` are, and where a chat begins, its voice is heard.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from pipelines.errors import UserError
from pipelines.graph import Job, Outcome, Outputs, Pass, Shard, Unit
from pipelines.mixture import hash_rank
from pipelines.recipe import Recipe
from pipelines.row import REJECTED_ROW, ROW, Row, user_turns
from pipelines.rowwise import read_rows
from pipelines.shards import read_table, row_writer
from pipelines.tasks import draw_number

FOLDER = "noise.chats"
SOUNDS = "interruptions-"  # shards of `noise` that are made for this, and are no rows by themselves
SUFFIX = "/inaudible"


def mixed_shards(outputs: Outputs) -> list[Shard]:
    """Return the shards of the rows that mixtures may take."""
    shards = outputs.shards("quantize", "noise", FOLDER)
    return [shard for shard in shards if not shard.path.startswith(f"noise/{SOUNDS}")]


def interrupted(row: Row, sound: Row, seed: int) -> Row:
    """Return a chat with an inaudible user turn and its refusal before one of its later exchanges, which is drawn.

    Args:
        sound: an inaudible row: one user turn and its refusal.
    """
    users = [turn for turn, _ in user_turns(row["messages"])]
    at = users[1 + draw_number(f"{seed}/{FOLDER}/{row['id']}") % (len(users) - 1)]

    def moved(items: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
        return [{**item, "turn": item["turn"] + 2 * (item["turn"] >= at)} for item in items or []]

    def put_in(items: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
        return [{**item, "turn": item["turn"] + at} for item in items or []]

    spoken, generated = (
        sorted([*moved(row[column]), *put_in(sound[column])], key=lambda item: int(item["turn"]))
        for column in ("spoken", "generated")
    )
    return {
        **row,
        "id": row["id"] + SUFFIX,
        "license": " AND ".join(sorted({row["license"], sound["license"]})),
        "messages": [*row["messages"][:at], *sound["messages"], *row["messages"][at:]],
        "exchanges": row["exchanges"] + 1,
        "inaudible": json.dumps({**json.loads(sound["inaudible"]), "turn": at}),
        "spoken": spoken,
        "generated": generated or None,
    }


def _run(job: Job) -> Outcome:
    recipe, shard = job.recipe, job.unit.name
    sounds = list(read_rows(job.input()))
    mine = _chosen(job).slice(job.unit.args["start"], len(sounds)).with_row_index("sound")
    with row_writer(job.staged, FOLDER, shard, ROW, REJECTED_ROW) as writer:
        for (path,), chats in mine.group_by("path", maintain_order=True):
            rows = read_table(job.staged.run_dir / str(path)).take(chats["row"].to_arrow()).to_pylist()
            for row, number in zip(rows, chats["sound"], strict=True):
                writer.keep(interrupted(row, sounds[number], recipe.seed))
        counts = writer.finish(len(sounds))
    return Outcome(counts, {"shards": {shard: counts.rows_kept}})


def _chosen(job: Job) -> pl.DataFrame:
    """Return path and row of the chats that are interrupted, by hash rank. Raises UserError where there are too few."""
    columns = ["id", "exchanges", "answered", "inaudible", "degraded"]
    frames = []
    for path in job.unit.inputs[1:]:
        rows = pl.read_parquet(job.staged.run_dir / path, columns=columns).with_row_index("row")
        frames.append(rows.with_columns(path=pl.lit(path)))
    rows = pl.concat(frames)
    one_reading = ~pl.col("id").str.contains("/", literal=True)  # the others are the same chat, by another voice
    clean = pl.col("inaudible").is_null() & pl.col("degraded").is_null()
    chats = rows.filter((pl.col("exchanges") > 1) & pl.col("answered") & clean & one_reading)
    if chats.height < (wanted := job.unit.args["wanted"]):
        raise UserError(
            f"chats.inaudible: {wanted} chats are to get a turn that nobody can hear, but of {rows.height:,} rows only "
            f"{chats.height:,} have two exchanges or more with their answers. "
            f"Set chats.inaudible={chats.height} or less, or read more chats (turns: all)."
        )
    ranks = pl.Series("rank", hash_rank(chats["id"].to_list(), f"{job.recipe.seed}/{FOLDER}"), dtype=pl.UInt64)
    return chats.with_columns(ranks).sort("rank", "id").head(wanted).select("path", "row")


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    chats = tuple(shard.path for shard in outputs.shards("quantize"))
    sounds = [shard for shard in outputs.shards("noise") if shard.name.startswith(SOUNDS)]
    wanted = sum(shard.rows for shard in sounds)
    units, start = [], 0
    for shard in sounds:
        units.append(Unit(shard.name, (shard.path, *chats), shard.rows, {"start": start, "wanted": wanted}))
        start += shard.rows
    return units


PASS = Pass(
    key=FOLDER,
    needs=("quantize", "noise"),
    version=1,
    options=lambda recipe: {"seed": recipe.seed},
    units=_units,
    run=_run,
    applies=lambda recipe: recipe.chats.inaudible > 0,
)
