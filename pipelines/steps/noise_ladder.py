"""Ladders: the same sentence in rungs that are ever harder to hear; those that nobody hears are inaudible rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from noise.sounds import FULL_SCALE
from pipelines.errors import UserError
from pipelines.graph import Job, Unit
from pipelines.noise_options import Ladder
from pipelines.recipe import Recipe
from pipelines.row import Row
from pipelines.rowwise import Done, read_rows
from pipelines.steps.noise_speech import KEPT_AT_LEAST, KEPT_OF, SECONDS, one_answered_exchange, ranks
from pipelines.steps.quantize import Clip, stages, with_tokens
from quantize.tokenizer import Tokenizer
from tts.augment import Drawn, augment


def ladder_units(recipe: Recipe, speech: tuple[str, ...], listening: Mapping[str, Any]) -> list[Unit]:
    """Return the units of a recipe's ladders, each of whole ladders.

    Args:
        speech: the shards of speech that was kept for noise.
        listening: what changes the tokens.
    """
    ladder = recipe.noise.ladder
    if ladder is None:
        return []
    size = max(1, recipe.read.rows_per_shard // ladder.rungs)
    said = {"ladder": ladder.model_dump(mode="json"), "quantize": listening, "limited": recipe.limit is not None}
    return [
        Unit(
            f"ladder-{number:05d}",
            speech,
            count * ladder.rungs,
            {"start": start, "sentences": count, **said},
        )
        for number, start in enumerate(range(0, ladder.rows, size))
        if (count := min(size, ladder.rows - start))
    ]


def ladder_rows(job: Job, chosen: Sequence[str], tokenizer: Tokenizer) -> Iterator[Done]:
    """Return the rungs of the unit's sentences, the clearest first, with their tokens.

    Args:
        chosen: the ids of its sentences.
    """
    recipe, ladder = job.recipe, job.recipe.noise.ladder
    assert ladder is not None, "there are no units without it"
    paths = [job.file(name) for name in job.unit.inputs]
    work = stages(
        tokenizer,
        split=lambda row: clips_of(row, tokenizer, recipe.seed),
        finish=lambda row, clips, ids: with_tokens(row, clips, ids, tokenizer, recipe.quantize)[0],
    )
    rows = (row for path in paths for row in _read(path, chosen))
    return work.run(_rung(row, rung, ladder) for row in rows for rung in range(ladder.rungs))


def sentences(job: Job) -> list[str]:
    """Return the ids of the sentences that the unit's ladders are made of, by rank.

    Raises UserError where there are too few, unless the recipe has a limit: a small run has what it has.
    """
    recipe, ladder, args = job.recipe, job.recipe.noise.ladder, job.unit.args
    assert ladder is not None, "there are no units without it"
    paths = [job.file(name) for name in job.unit.inputs]
    kept = pl.concat(pl.read_parquet(path, columns=["id", "exchanges", "answered"]) for path in paths)
    kept = kept.filter(one_answered_exchange())
    if kept.height < ladder.rows and recipe.limit is None:
        remedy = f"noise.ladder.rows={kept.height}" if kept.height else "noise.ladder=null"
        raise UserError(
            f"noise.ladder.rows: {ladder.rows} sentences are wanted, and {kept.height} were kept that it can take: "
            f"rows of one exchange, answered, spoken in {SECONDS[0]:g} to {SECONDS[1]:g} s; of each shard one in "
            f"{KEPT_OF}, or {KEPT_AT_LEAST}. Set {remedy}"
        )
    ranked = kept.with_columns(ranks(kept["id"], recipe.seed)).sort("rank", "id").head(ladder.rows)
    return list(ranked.slice(args["start"], args["sentences"])["id"])


def _read(path: Path, chosen: Sequence[str]) -> Iterator[Row]:
    """Yield the chosen rows of a shard."""
    wanted = set(chosen)
    yield from (row for row in read_rows(path) if row["id"] in wanted)


def _rung(row: Row, rung: int, ladder: Ladder) -> Row:
    """Return a row of one rung, its sound still clear: heard, as the row is, else without the words and the answer.

    A system message stays: turns are counted from it.
    """
    value, heard = ladder.steps[rung]
    what = "snr_db" if ladder.snr_db else "band_hz"
    said = {"of": row["id"], "rung": rung, "rungs": ladder.rungs, what: value}
    if ladder.snr_db:
        said["noise"] = ladder.noise
    ours = {"id": f"{row['id']}/ladder-{rung}", "degraded": json.dumps(said)}
    if heard:
        return {**row, **ours}
    before = [message for message in row["messages"] if message["role"] == "system"]
    silent = {"messages": [*before, {"role": "user", "content": ""}], "answered": False, "generated": None}
    return {**row, **ours, **silent, "inaudible": json.dumps({"kind": "ladder", **said})}


def clips_of(row: Row, tokenizer: Tokenizer, seed: int) -> list[Clip]:
    """Return the sound of a rung as clips that the tokenizer takes.

    The noise of a sentence is the same in all of its rungs, but for how loud it is.
    """
    from quantize.audio import decode_audio  # loads torch: in workers only
    from quantize.clips import pieces

    said = json.loads(row["degraded"])
    digest = hashlib.blake2b(f"{seed}/noise.ladder/{said['of']}".encode(), digest_size=7).digest()
    drawn = Drawn(
        band_hz=said.get("band_hz"), snr_db=said.get("snr_db"), noise=said.get("noise"), seed=int.from_bytes(digest)
    )
    clips = []
    for number, utterance in enumerate(row["spoken"]):
        samples, rate = decode_audio(utterance["audio"]["bytes"])
        whole = np.rint(samples * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
        changed = augment(whole, rate, drawn, number)[0].astype(np.float32) / np.float32(FULL_SCALE)
        clips += [Clip(number, piece) for piece in pieces(changed, rate, tokenizer)]
    return clips
