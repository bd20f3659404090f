"""quantize: speech -> sound tokens, in batches. The audio stays with the step before, so that it can be heard again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import RunError, UserError
from pipelines.graph import Job, Outcome, Pass, shard_units
from pipelines.options import Quantize
from pipelines.recipe import Recipe
from pipelines.row import Row
from pipelines.rowwise import Done, Reject, attempt, run_stream
from quantize import AudioError, files_digest, load_tokenizer
from quantize.tokenizer import Ids, Samples, Tokenizer, label

READERS = 4  # threads that decode beside a model on a GPU; beside one on the CPU they would only take turns


@dataclass
class _Waiting:
    """A row whose clips are on their way: a list of clips for each utterance, and the ids of those encoded."""

    row: Row
    clips: list[list[Samples]]
    ids: list[Ids] = field(default_factory=list)
    failed: Exception | None = None

    @property
    def done(self) -> bool:
        return len(self.ids) == sum(map(len, self.clips))


@lru_cache(maxsize=1)
def _tokenizer(options: Quantize) -> Tokenizer:
    """Return the tokenizer, loaded once in a process. Raises UserError for files that are no model of it."""
    try:
        return load_tokenizer(options.tokenizer, options.files, options.compute)
    except ValueError as error:
        raise UserError(f"quantize: {error}") from error


def _run(job: Job) -> Outcome:
    options = job.recipe.quantize
    tokenizer = _tokenizer(options)
    speech = {"seconds": 0.0, "tokens": 0, "mask_tokens": 0}

    def finish(row: Row, ids: list[Ids]) -> Row:
        """Return the row with its tokens; counts what is kept."""
        result = {**row, "spoken": [_with_tokens(u, i, tokenizer) for u, i in zip(row["spoken"], ids, strict=True)]}
        masks = sum(int((i == tokenizer.mask_code).sum()) for i in ids)
        if masks and options.mask_code == "reject":
            raise Reject(f"mask_code:{masks} of {sum(map(len, ids))} tokens")
        if masks and options.mask_code == "drop":
            for utterance in result["spoken"]:
                utterance["tokens"] = [i for i in utterance["tokens"] if i != tokenizer.mask_code]
        if any(not utterance["tokens"] for utterance in result["spoken"]):
            raise Reject(f"too_short:{min(u['seconds'] for u in result['spoken']):.3f} s")
        speech["mask_tokens"] += masks
        speech["seconds"] += sum(utterance["seconds"] for utterance in result["spoken"])
        speech["tokens"] += sum(len(utterance["tokens"]) for utterance in result["spoken"])
        return result

    from quantize.one_thread import one_thread  # loads torch: in workers only

    try:
        with one_thread():  # whatever the number of workers, or none: sums are formed in one order
            outcome = run_stream(job, "quantize", lambda rows: _encode_rows(rows, tokenizer, options, finish))
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


def _encode_rows(
    rows: Iterable[Row], tokenizer: Tokenizer, options: Quantize, finish: Callable[[Row, list[Ids]], Row]
) -> Iterator[Done]:
    """Yield each row with its tokens, in order; clips of different rows share batches."""
    waiting: deque[_Waiting] = deque()
    queue: deque[tuple[_Waiting, Samples]] = deque()
    ahead = 2 * tokenizer.batch_size if tokenizer.device != "cpu" else 0
    for row, prepared in _prepared(rows, tokenizer, options, ahead):
        if isinstance(prepared, Exception):
            waiting.append(_Waiting(row, [], failed=prepared))
        else:
            waiting.append(_Waiting(row, prepared))
            queue.extend((waiting[-1], clip) for clips in prepared for clip in clips)
        while len(queue) >= tokenizer.batch_size:
            _encode_batch(queue, tokenizer)
        yield from _finished(waiting, finish)
    while queue:
        _encode_batch(queue, tokenizer)
    yield from _finished(waiting, finish)


def _encode_batch(queue: deque[tuple[_Waiting, Samples]], tokenizer: Tokenizer) -> None:
    """Encode as many clips as the tokenizer takes at once; where one makes it fail, each by itself."""
    batch = [queue.popleft() for _ in range(min(tokenizer.batch_size, len(queue)))]
    encoded = attempt(tokenizer.encode, [clip for _, clip in batch])
    if isinstance(encoded, Exception):
        alone = [_encode_alone(clip, tokenizer) for _, clip in batch]
    else:
        alone = list(encoded)
    for (owner, _), ids in zip(batch, alone, strict=True):
        if isinstance(ids, Exception):
            owner.failed = owner.failed or ids
            ids = np.zeros(0, np.uint16)
        owner.ids.append(ids)


def _encode_alone(clip: Samples, tokenizer: Tokenizer) -> Ids | Exception:
    encoded = attempt(tokenizer.encode, [clip])
    return encoded if isinstance(encoded, Exception) else encoded[0]


def _finished(waiting: deque[_Waiting], finish: Callable[[Row, list[Ids]], Row]) -> Iterator[Done]:
    while waiting and waiting[0].done:
        one = waiting.popleft()
        if one.failed is not None:
            yield one.row, one.failed
        else:
            ids = iter(one.ids)
            joined = [np.concatenate([next(ids) for _ in clips]) for clips in one.clips]
            yield one.row, attempt(finish, one.row, joined)


def _prepared(
    rows: Iterable[Row], tokenizer: Tokenizer, options: Quantize, ahead: int
) -> Iterator[tuple[Row, list[list[Samples]] | Exception]]:
    """Yield each row with the clips of its utterances, in order, decoded up to `ahead` rows before they are needed."""
    if not ahead:
        for row in rows:
            yield row, attempt(_clips, row, tokenizer, options)
        return
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(READERS))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        coming: deque[tuple[Row, Future[Any]]] = deque()
        for row in rows:
            coming.append((row, pool.submit(attempt, _clips, row, tokenizer, options)))
            if len(coming) > ahead:
                first, future = coming.popleft()
                yield first, future.result()
        for first, future in coming:
            yield first, future.result()


def _clips(row: Row, tokenizer: Tokenizer, options: Quantize) -> list[list[Samples]]:
    """Return each utterance's speech as clips that the tokenizer takes. Raises Reject."""
    from quantize.audio import decode_audio  # loads torch: in workers only
    from quantize.clips import pieces

    clips = []
    for utterance in row["spoken"]:
        try:
            samples, rate = decode_audio(utterance["audio"]["bytes"])
        except AudioError as error:
            raise Reject(f"bad_audio:{error}") from error
        if len(samples) > tokenizer.max_seconds * rate and options.too_long == "reject":
            raise Reject(f"too_long:{len(samples) / rate:.1f} s")
        clips.append(pieces(samples, rate, tokenizer))
    return clips


def _with_tokens(utterance: dict[str, Any], ids: NDArray[np.uint16], tokenizer: Tokenizer) -> dict[str, Any]:
    return {**utterance, "audio": None, "tokens": ids.tolist(), "tokenizer": label(tokenizer)}


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
    needs=("tts", "read.speech"),
    version=2,
    options=_options,
    units=shard_units("tts", "read.speech"),
    run=_run,
    one_to_one=True,
    gpus=lambda recipe: recipe.quantize.gpus,
)
