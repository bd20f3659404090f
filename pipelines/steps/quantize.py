"""quantize: speech -> sound tokens, in batches. The audio stays with the step before, so that it can be heard again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from pipelines.batches import Stages
from pipelines.errors import RunError, UserError
from pipelines.graph import Job, Outcome, Pass, shard_units
from pipelines.quantize_options import Quantize
from pipelines.recipe import Recipe
from pipelines.row import Row
from pipelines.rowwise import Reject, run_stream
from pipelines.steps.augment import speech_shards
from quantize import AudioError, files_digest, load_tokenizer
from quantize.tokenizer import Ids, Samples, Tokenizer, label


class Clip(NamedTuple):
    """A piece of an utterance's speech, as the tokenizer takes it."""

    utterance: int  # its number in the row
    samples: Samples


@lru_cache(maxsize=1)
def tokenizer_of(options: Quantize) -> Tokenizer:
    """Return the tokenizer, loaded once in a process. Raises UserError for files that are no model of it."""
    try:
        return load_tokenizer(options.tokenizer, options.files, options.compute)
    except ValueError as error:
        raise UserError(f"quantize: {error}") from error


def _run(job: Job) -> Outcome:
    from quantize.one_thread import one_thread  # loads torch: in workers only

    options = job.recipe.quantize
    tokenizer = tokenizer_of(options)
    speech = {"seconds": 0.0, "tokens": 0, "mask_tokens": 0}

    def finish(row: Row, clips: list[Clip], ids: list[Ids]) -> Row:
        result, masks = with_tokens(row, clips, ids, tokenizer, options)
        speech["mask_tokens"] += masks
        speech["seconds"] += sum(utterance["seconds"] for utterance in result["spoken"])
        speech["tokens"] += sum(len(utterance["tokens"]) for utterance in result["spoken"])
        return result

    try:
        with one_thread():  # whatever the number of workers, or none: sums are formed in one order
            work = stages(tokenizer, lambda row: _clips(row, tokenizer, options), finish)
            outcome = run_stream(job, "quantize", work.run)
    except MemoryError as error:
        raise RunError(f"quantize: {error}. Set quantize.batch_size to less.") from error
    made_by = {
        "tokenizer": label(tokenizer),
        "tokens_per_second": tokenizer.tokens_per_second,
        "n_codes": tokenizer.n_codes,
        "mask_code": tokenizer.mask_code,
        "device": tokenizer.device,
        "batch_size": tokenizer.batch_size,
    }
    return replace(outcome, facts={**outcome.facts, **speech, **made_by})


def stages(
    tokenizer: Tokenizer, split: Callable[[Row], list[Clip]], finish: Callable[[Row, list[Clip], list[Ids]], Row]
) -> Stages[Clip, Ids]:
    """Return how rows go through a tokenizer: beside a GPU, threads decode ahead."""
    return Stages(
        split=split,
        work=lambda clips: tokenizer.encode([clip.samples for clip in clips]),
        finish=finish,
        size=tokenizer.batch_size,
        ahead=2 * tokenizer.batch_size if tokenizer.device != "cpu" else 0,
    )


def _clips(row: Row, tokenizer: Tokenizer, options: Quantize) -> list[Clip]:
    """Return the speech of a row as clips that the tokenizer takes. Raises Reject."""
    from quantize.audio import decode_audio  # loads torch: in workers only
    from quantize.clips import pieces

    clips = []
    for number, utterance in enumerate(row["spoken"]):
        if utterance["audio"] is None:  # its tokens were written without audio
            continue
        try:
            samples, rate = decode_audio(utterance["audio"]["bytes"])
        except AudioError as error:
            raise Reject(f"bad_audio:{error}") from error
        if len(samples) > tokenizer.max_seconds * rate and options.too_long == "reject":
            raise Reject(f"too_long:{len(samples) / rate:.1f} s")
        clips += [Clip(number, piece) for piece in pieces(samples, rate, tokenizer)]
    return clips


def with_tokens(
    row: Row, clips: list[Clip], ids: list[Ids], tokenizer: Tokenizer, options: Quantize
) -> tuple[Row, int]:
    """Return a row with its tokens and without its audio, and how many were the mask code. Raises Reject."""
    spoken: list[dict[str, Any]] = []
    masks = 0
    for number, utterance in enumerate(row["spoken"]):
        written, by = utterance["tokens"], label(tokenizer)
        if written is None:
            tokens = np.concatenate([i for clip, i in zip(clips, ids, strict=True) if clip.utterance == number])
        else:
            tokens, by = np.array(written, np.uint16), _same_vocabulary(utterance["tokenizer"], tokenizer)
        if tokenizer.mask_code is not None:
            masked = tokens == tokenizer.mask_code
            masks += int(masked.sum())
            tokens = tokens[~masked] if options.mask_code == "drop" else tokens
        if not tokens.size:
            raise Reject(f"too_short:{utterance['seconds']:.3f} s")
        seconds = _seconds(utterance["seconds"], [clip for clip in clips if clip.utterance == number], tokenizer)
        heard = {"seconds": seconds, "tokens": tokens.tolist(), "tokenizer": by}
        spoken.append({**utterance, "audio": None, **heard})
    if masks and options.mask_code == "reject":
        raise Reject(f"mask_code:{masks} of {sum(len(utterance['tokens']) for utterance in spoken)} tokens")
    return {**row, "spoken": spoken}, masks


def _seconds(said: float, clips: list[Clip], tokenizer: Tokenizer) -> float:
    """Return an utterance's seconds: as its file says, unless what was heard differs by a token: headers may lie."""
    heard = sum(clip.samples.size for clip in clips) / tokenizer.sample_rate_hz
    return heard if clips and abs(heard - said) > 1 / tokenizer.tokens_per_second else said


def _same_vocabulary(written_by: str, tokenizer: Tokenizer) -> str:
    """Return what tokens were written by. Raises UserError unless that has this tokenizer's name and digest."""
    if not written_by.startswith(f"{tokenizer.name}@{tokenizer.digest[:12]}/"):
        raise UserError(f"tokens of {written_by} are none of {label(tokenizer)}: run the step tts again")
    return written_by


def _options(recipe: Recipe) -> dict[str, Any]:
    """Return what changes the tokens: the tokenizer, its files' content, how it computes, the policies."""
    quantize = recipe.quantize
    files = quantize.local_files(download=False)
    return {
        "tokenizer": quantize.tokenizer,
        "model": files_digest(files) if files else "not fetched yet",
        "precision": quantize.precision,
        "batch_size": quantize.batch_size,
        "too_long": quantize.too_long,
        "mask_code": quantize.mask_code,
    }


PASS = Pass(
    key="quantize",
    needs=("tts", "read.speech", "tts.augment"),
    version=4,
    options=_options,
    units=lambda recipe, outputs: shard_units(*speech_shards(recipe))(recipe, outputs),
    run=_run,
    one_to_one=True,
    beside=("noise.speech",),
    gpus=lambda recipe: recipe.quantize.gpus,
)
