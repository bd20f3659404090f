"""The sound of rows that nobody can hear, and of rungs: made once more, as the tokenizer heard it: none is kept."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import soundfile
from numpy.typing import NDArray

from noise import HEARD, NOISE_KINDS
from noise.sounds import FULL_SCALE
from pipelines.errors import UserError
from pipelines.report.seen import Seen
from pipelines.row import Row
from pipelines.rowwise import read_rows
from pipelines.steps.noise import LENGTHS
from pipelines.steps.noise_ladder import clips_of
from pipelines.steps.noise_sounds import FOLDER, Material, draw
from pipelines.steps.noise_speech import FOLDER as SPEECH
from pipelines.steps.noise_speech import Pool
from quantize.tokenizer import Tokenizer


def remake(seen: Seen, row: Row, stream: str = "noise") -> list[bytes | None]:
    """Return the sound of each of a row's utterances as WAV at the tokenizer's rate; None for what never was a sound.

    The same draws give the same sound. Where a model's mask code was dropped the row's may have been made a little
    longer, from the same draws. None, too, where recordings of noise are not on this machine any more.

    Args:
        stream: of draws, as the row's unit names it.
    """
    ear = _ear(seen)
    if ear is None:
        return [None] * len(row["spoken"])
    if row["degraded"]:
        return _rung(seen, row, ear)
    if NOISE_KINDS.get(json.loads(row["inaudible"])["kind"]) not in HEARD:
        return [None] * len(row["spoken"])
    samples = _noise(seen, row, stream, ear)
    return [None if samples is None else _wav(samples, ear.sample_rate_hz)]


def remake_in_chat(seen: Seen, path: str, row: Row) -> bytes | None:
    """Return the sound that was put into a chat, a row of a shard of `noise.chats`; None where there is none."""
    tokens = [utterance["tokens"] for utterance in row["spoken"] if utterance["text"] is None]
    for sound in read_rows(seen.file(f"noise/{Path(path).name}")):
        if sound["spoken"][0]["tokens"] in tokens:
            return remake(seen, sound, "noise.interruptions")[0]
    return None


@dataclass(frozen=True)
class Ear:
    """What of a tokenizer a sound's making depends on, as `quantize` noted it: its model is not loaded for that."""

    sample_rate_hz: int
    tokens_per_second: int
    max_seconds: float


def _ear(seen: Seen) -> Ear | None:
    """Return what was noted; None in a run of a version that did not yet."""
    facts = next(iter(seen.records("quantize").values())).facts
    if "sample_rate_hz" not in facts:
        return None
    return Ear(facts["sample_rate_hz"], facts["tokens_per_second"], facts["most_seconds"])


def _noise(seen: Seen, row: Row, stream: str, ear: Ear) -> NDArray[np.float32] | None:
    """Return float32 (n_samples,) of an inaudible row; None where what it was made of is gone."""
    for record in seen.records(FOLDER).values():
        args = record.made_of["args"]
        if args.get("stream") != stream or not 0 <= row["index"] - args["start"] < record.counts.rows_in:
            continue
        lengths = pl.read_parquet(seen.file(LENGTHS))
        speech = tuple(seen.file(name) for name in record.made_of["inputs"] if name.startswith(f"{SPEECH}/"))
        pool = _pool(speech, seen.recipe.seed) if speech else None
        tokens, prompts = lengths["tokens"].to_numpy(), lengths["prompts"].to_numpy()
        sound = draw(seen.recipe.seed, row["index"], args, tokens, prompts, pool)
        if pool:
            pool.read(set(sound.of))
        recordings = seen.recipe.noise.recordings
        folder = seen.recipe.root_path / recordings if recordings else None
        material = Material(seen.recipe.noise, pool, tuple(record.made_of["outside"]), folder)
        n = -(-sound.length * ear.sample_rate_hz // ear.tokens_per_second)
        try:
            samples = material.make(sound, n, ear.sample_rate_hz)[0]
        except (UserError, OSError):
            return None
        return (np.rint(samples).clip(-FULL_SCALE, FULL_SCALE - 1) / FULL_SCALE).astype(np.float32)
    return None


@lru_cache(maxsize=1)
def _pool(paths: tuple[Path, ...], seed: int) -> Pool:
    return Pool(paths, seed)


def _rung(seen: Seen, row: Row, ear: Ear) -> list[bytes | None]:
    """Return the sounds of a rung: of the sentence that was kept for it, as hard to hear as the rung is."""
    said = json.loads(row["degraded"])
    for shard in seen.outputs.shards(SPEECH) if seen.outputs.has(SPEECH) else ():
        for sentence in read_rows(seen.file(shard.path)):
            if sentence["id"] == said["of"]:
                rung = {**sentence, "degraded": row["degraded"]}
                clips = clips_of(rung, cast(Tokenizer, ear), seen.recipe.seed)  # which takes no more of it
                whole = [[clip.samples for clip in clips if clip.utterance == n] for n in range(len(row["spoken"]))]
                return [_wav(np.concatenate(some), ear.sample_rate_hz) if some else None for some in whole]
    return [None] * len(row["spoken"])


def _wav(samples: NDArray[np.float32], rate_hz: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
