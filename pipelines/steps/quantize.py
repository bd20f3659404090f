"""quantize: speech -> sound tokens, in batches. The audio stays with the step before, so that it can be heard again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from pipelines.batches import Stages
from pipelines.chats import FailedTurn, with_speech
from pipelines.errors import RunError, UserError
from pipelines.graph import Job, Outcome, Pass, shard_units
from pipelines.quantize_options import Quantize
from pipelines.recipe import Recipe
from pipelines.row import Row
from pipelines.rowwise import Reject, run_stream
from pipelines.steps.augment import speech_shards
from pipelines.steps.score import scored_again, shortens
from quantize import AudioError, files_digest, load_tokenizer
from quantize.tokenizer import Ids, Samples, Tokenizer, label

NO_SPEECH = {"seconds": 0.0, "tokens": 0, "mask_tokens": 0}  # what a record says of its speech


class Clip(NamedTuple):
    """A piece of an utterance's speech, as the tokenizer takes it."""

    utterance: int  # its number in the row
    samples: Samples
    failed: Reject | None = None  # why there is nothing to hear


@lru_cache(maxsize=1)
def tokenizer_of(options: Quantize) -> Tokenizer:
    """Return the tokenizer, loaded once in a process. Raises UserError for files that are no model of it."""
    try:
        return load_tokenizer(options.tokenizer, options.files, options.compute)
    except ValueError as error:
        raise UserError(f"quantize: {error}") from error


def _run(job: Job) -> Outcome:
    from quantize.one_thread import one_thread  # loads torch: in workers only

    options, failed_turn = job.recipe.quantize, job.recipe.chats.failed_turn
    tokenizer = tokenizer_of(options)
    speech = dict(NO_SPEECH)

    def finish(row: Row, clips: list[Clip], ids: Sequence[Ids | Exception]) -> Row:
        result, masks = with_tokens(row, clips, ids, tokenizer, options, failed_turn)
        speech["mask_tokens"] += masks
        speech["seconds"] += sum(utterance["seconds"] for utterance in result["spoken"])
        speech["tokens"] += sum(len(utterance["tokens"]) for utterance in result["spoken"])
        return scored_again(row, result, job.recipe)

    try:
        with one_thread():  # whatever the number of workers, or none: sums are formed in one order
            mend = finish if failed_turn == "shorten" else None
            work = stages(tokenizer, lambda row: _clips(row, tokenizer, options, failed_turn), finish, mend)
            outcome = run_stream(job, "quantize", work.run)
    except MemoryError as error:
        raise RunError(f"quantize: {error}. Set quantize.batch_size to less.") from error
    return replace(outcome, facts={**outcome.facts, **speech, **made_by(tokenizer)})


def made_by(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what a record says of the tokenizer."""
    return {
        "tokenizer": label(tokenizer),
        "tokens_per_second": tokenizer.tokens_per_second,
        "sample_rate_hz": tokenizer.sample_rate_hz,
        "most_seconds": tokenizer.max_seconds,
        "n_codes": tokenizer.n_codes,
        "mask_code": tokenizer.mask_code,
        "device": tokenizer.device,
        "batch_size": tokenizer.batch_size,
    }


def stages(
    tokenizer: Tokenizer,
    split: Callable[[Row], list[Clip]],
    finish: Callable[[Row, list[Clip], list[Ids]], Row],
    mend: Callable[[Row, list[Clip], list[Ids | Exception]], Row] | None = None,
) -> Stages[Clip, Ids]:
    """Return how rows go through a tokenizer: beside a GPU, threads decode ahead."""
    return Stages(
        split=split,
        work=lambda clips: _encode(clips, tokenizer),
        finish=finish,
        mend=mend,
        size=tokenizer.batch_size,
        ahead=2 * tokenizer.batch_size if tokenizer.device != "cpu" else 0,
    )


def _clips(row: Row, tokenizer: Tokenizer, options: Quantize, failed_turn: FailedTurn = "reject") -> list[Clip]:
    """Return the speech of a row as clips that the tokenizer takes. Raises Reject, unless chats are shortened."""
    clips: list[Clip] = []
    for number, utterance in enumerate(row["spoken"]):
        if utterance["audio"] is None:  # its tokens were written without audio
            continue
        try:
            clips += [Clip(number, piece) for piece in _pieces(utterance["audio"]["bytes"], tokenizer, options)]
        except Reject as reject:
            if failed_turn == "reject":
                raise
            return [*clips, Clip(number, np.zeros(0, np.float32), reject)]
    return clips


def _pieces(sound: bytes, tokenizer: Tokenizer, options: Quantize) -> list[Samples]:
    """Return an utterance's speech in pieces that the tokenizer takes. Raises Reject."""
    from quantize.audio import decode_audio  # loads torch: in workers only
    from quantize.clips import pieces

    try:
        samples, rate = decode_audio(sound)
    except AudioError as error:
        raise Reject(f"bad_audio:{error}") from error
    if len(samples) > tokenizer.max_seconds * rate and options.too_long == "reject":
        raise Reject(f"too_long:{len(samples) / rate:.1f} s")
    return list(pieces(samples, rate, tokenizer))


def _encode(clips: Sequence[Clip], tokenizer: Tokenizer) -> list[Ids | Exception]:
    """Return the ids of each clip, or why there are none."""
    whole = [clip.samples for clip in clips if clip.failed is None]
    ids = iter(tokenizer.encode(whole) if whole else [])
    return [clip.failed or next(ids) for clip in clips]


def with_tokens(
    row: Row,
    clips: list[Clip],
    ids: Sequence[Ids | Exception],
    tokenizer: Tokenizer,
    options: Quantize,
    failed_turn: FailedTurn = "reject",
) -> tuple[Row, int]:
    """Return a row with its tokens and without its audio, and how many were the mask code. Raises Reject.

    Args:
        ids: of each clip, or why there are none.
        failed_turn: whether a chat ends before a turn that cannot be heard, or is rejected for it.
    """
    masks = 0
    turns: list[list[dict[str, Any]] | Exception] = []
    for _, utterances in groupby(enumerate(row["spoken"]), key=lambda numbered: numbered[1]["turn"]):
        try:
            heard = [_heard(said, _of_utterance(number, clips, ids), tokenizer, options) for number, said in utterances]
        except Reject as reject:
            turns.append(reject)
            break
        masks += sum(masked for _, masked in heard)
        turns.append([utterance for utterance, _ in heard])
    return with_speech(row, turns, "quantize", failed_turn), masks


def _of_utterance(number: int, clips: list[Clip], ids: Sequence[Ids | Exception]) -> list[tuple[Clip, Ids]]:
    """Return the clips of one utterance with their ids. Raises why one of them has none."""
    found = []
    for clip, heard in zip(clips, ids, strict=True):
        if clip.utterance == number:
            if isinstance(heard, Exception):
                raise heard
            found.append((clip, heard))
    return found


def _heard(
    utterance: dict[str, Any], clips: list[tuple[Clip, Ids]], tokenizer: Tokenizer, options: Quantize
) -> tuple[dict[str, Any], int]:
    """Return an utterance with its tokens and without its audio, and how many were the mask code. Raises Reject."""
    written, by = utterance["tokens"], label(tokenizer)
    if written is None:
        tokens = np.concatenate([ids for _, ids in clips])
    else:
        tokens, by = np.array(written, np.uint16), _same_vocabulary(utterance["tokenizer"], tokenizer)
    masks = 0
    if tokenizer.mask_code is not None:
        masked = tokens == tokenizer.mask_code
        masks = int(masked.sum())
        tokens = tokens[~masked] if options.mask_code == "drop" else tokens
    if not tokens.size:
        raise Reject(f"too_short:{utterance['seconds']:.3f} s")
    if masks and options.mask_code == "reject":
        raise Reject(f"mask_code:{masks} of {tokens.size} tokens")
    seconds = _seconds(utterance["seconds"], [clip for clip, _ in clips], tokenizer)
    return {**utterance, "audio": None, "seconds": seconds, "tokens": tokens.tolist(), "tokenizer": by}, masks


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
        **shortens(recipe),
    }


PASS = Pass(
    key="quantize",
    needs=("tts", "read.speech", "tts.augment"),
    version=4,
    options=_options,
    units=lambda recipe, outputs: shard_units(*speech_shards(recipe))(recipe, outputs),
    run=_run,
    one_to_one=True,
    follows=speech_shards,
    beside=("noise.speech",),
    gpus=lambda recipe: recipe.quantize.gpus,
)
