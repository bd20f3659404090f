"""noise.chats: chats that get a turn which nobody can hear, the request to repeat it, and the turn again; by option.

Ichigo v0.4 had noise in conversations. The turn is put before the second exchange or a later one: what cannot be heard
at the very beginning is what the rows of `noise` are, and where a chat begins, its voice is heard.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.graph import Job, Outcome, Outputs, Pass, Shard, Unit
from pipelines.mixture import hash_rank
from pipelines.publish.licenses import all_of
from pipelines.recipe import Recipe
from pipelines.row import REJECTED_ROW, ROW, Row, user_turns
from pipelines.rowwise import read_rows
from pipelines.shards import read_table, row_writer
from pipelines.tasks import draw_number

FOLDER = "noise.chats"
SOUNDS = "interruptions-"  # shards of `noise` that are made for this, and are no rows by themselves
SUFFIX = "/inaudible"
LEAVES = ["id", "exchanges", "answered", "spoken.list.element.voice"]


def mixed_shards(outputs: Outputs) -> list[Shard]:
    """Return the shards of the rows that mixtures may take."""
    shards = outputs.shards("quantize", "noise", FOLDER)
    return [shard for shard in shards if not shard.path.startswith(f"noise/{SOUNDS}")]


def is_held_out(recipe: Recipe) -> pl.Expr:
    """Return whether a row is spoken by a voice that speaks for evaluation alone."""
    voice = pl.col("spoken").list.eval(pl.element().struct.field("voice")).list.first()
    return voice.is_in(recipe.tts.held_out).fill_null(False)


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
        "license": all_of([row["license"], sound["license"]]),
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
            rows = read_table(job.file(str(path))).take(chats["row"].to_arrow()).to_pylist()
            for row, number in zip(rows, chats["sound"], strict=True):
                writer.keep(interrupted(row, sounds[number], recipe.seed))
        counts = writer.finish(mine.height)
    return Outcome(counts, {"shards": {shard: counts.rows_kept}})


def _chosen(job: Job) -> pl.DataFrame:
    """Return path and row of the chats that are interrupted, by hash rank.

    They are of voices that a mixture with the part `interrupted` takes: others would be lost to their own. Raises
    UserError where there are too few. A run with a limit is a small one: it takes half of its chats at most.
    """
    recipe, wanted = job.recipe, job.unit.args["wanted"]
    frames = []
    for path in job.unit.inputs[1:]:
        rows = pl.DataFrame(pq.ParquetFile(job.file(path)).read(LEAVES)).with_row_index("row")
        frames.append(rows.with_columns(path=pl.lit(path)))
    rows = pl.concat(frames).filter(is_held_out(recipe).is_in(_splits(recipe)))
    one_reading = ~pl.col("id").str.contains("/", literal=True)  # the others are the same chat, by another voice
    chats = rows.filter((pl.col("exchanges") > 1) & pl.col("answered") & one_reading)
    if recipe.limit is not None:
        wanted = min(wanted, -(-chats.height // 2))
    elif chats.height < wanted:
        raise UserError(
            f"chats.inaudible: {wanted} chats are to get a turn that nobody can hear, but of {rows.height:,} rows only "
            f"{chats.height:,} have two exchanges or more with their answers. "
            f"Set chats.inaudible={chats.height}, or read more chats (turns: all)."
        )
    ranks = pl.Series("rank", hash_rank(chats["id"].to_list(), f"{job.recipe.seed}/{FOLDER}"), dtype=pl.UInt64)
    return chats.with_columns(ranks).sort("rank", "id").head(wanted).select("path", "row")


def _splits(recipe: Recipe) -> list[bool]:
    """Return for which voices there is a mixture of interrupted chats: held-out ones (True), others (False)."""
    return sorted({mixture.held_out for mixture in recipe.mix.mixtures.values() if "interrupted" in mixture.parts})


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
    version=2,
    options=lambda recipe: {
        "seed": recipe.seed,
        "limited": recipe.limit is not None,
        "held_out": recipe.tts.held_out,
        "splits": _splits(recipe),
    },
    units=_units,
    run=_run,
    applies=lambda recipe: recipe.chats.inaudible > 0,
)
