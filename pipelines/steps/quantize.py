"""quantize: speech -> sound tokens. The audio stays with the tts step, so that it can be heard again."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.graph import Job, Outcome, Pass, shard_units
from pipelines.recipe import Recipe
from pipelines.row import Row
from pipelines.rowwise import Reject, run_rowwise
from quantize import TOKENIZERS, AudioError, model_digest
from quantize.tokenizer import Tokenizer


@lru_cache(maxsize=1)
def load_tokenizer(name: str, model: Path) -> Tokenizer:
    """Return the tokenizer, loaded once in a process. Raises UserError for a file that is no model of it."""
    try:
        return TOKENIZERS[name](model)
    except ValueError as error:
        raise UserError(f"quantize.model: {error}") from error


def _run(job: Job) -> Outcome:
    tokenizer = load_tokenizer(job.recipe.quantize.tokenizer, job.recipe.quantize.model_path)
    speech = {"seconds": 0.0, "tokens": 0}

    def quantize_row(row: Row) -> Row:
        spoken = [_quantize(utterance, tokenizer) for utterance in row["spoken"]]
        speech["seconds"] += sum(utterance["seconds"] for utterance in spoken)
        speech["tokens"] += sum(len(utterance["tokens"]) for utterance in spoken)
        return {**row, "spoken": spoken}

    outcome = run_rowwise(job, "quantize", quantize_row)
    return replace(outcome, facts={**outcome.facts, **speech})


def _quantize(utterance: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Return an utterance with its tokens and without its audio. Raises Reject."""
    from quantize.audio import decode_audio  # loads torch: in workers only

    try:
        samples, rate = decode_audio(utterance["audio"]["bytes"])
    except AudioError as error:
        raise Reject(f"bad_audio:{error}") from error
    if len(samples) > tokenizer.max_seconds * rate:
        raise Reject(f"too_long:{len(samples) / rate:.1f} s")
    tokens = tokenizer.encode(samples, rate)
    if not len(tokens):
        raise Reject(f"too_short:{len(samples) / rate:.3f} s")
    return {
        **utterance,
        "audio": None,
        "tokens": tokens.tolist(),
        "tokenizer": f"{tokenizer.name}@{tokenizer.digest[:12]}",
    }


def _options(recipe: Recipe) -> dict[str, Any]:
    return {"tokenizer": recipe.quantize.tokenizer, "model": model_digest(recipe.quantize.model_path)}


PASS = Pass(
    key="quantize",
    needs=("tts",),
    version=1,
    options=_options,
    units=shard_units("tts"),
    run=_run,
    one_to_one=True,
)
