"""tts: rows -> rows with speech. One voice a row, drawn from its id; every user message is spoken."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numpy import concatenate, int16
from numpy.typing import NDArray

from pipelines.graph import Job, Outcome, Pass, shard_units
from pipelines.options import Tts
from pipelines.recipe import Recipe
from pipelines.row import Row, user_turns
from pipelines.rowwise import Reject, run_rowwise
from tts import ENGINES, engine_version
from tts.audio import flac_bytes, is_silent
from tts.delivery import draw_delivery
from tts.engine import Delivery, Engine, SpeechError
from tts.sentences import split_sentences
from tts.spoken_form import spoken_form

Samples = NDArray[int16]


@lru_cache(maxsize=1)
def _engine(name: str) -> Engine:
    """Return the engine, loaded once in a process."""
    return ENGINES[name]()


def _run(job: Job) -> Outcome:
    options = job.recipe.tts
    engine = _engine(options.engine)
    return run_rowwise(job, "tts", lambda row: _speak_row(row, engine, options, job.recipe.seed))


def _speak_row(row: Row, engine: Engine, options: Tts, seed: int) -> Row:
    delivery = draw_delivery(seed, row["id"], options.voices, options.rate_wpm, options.pitch)
    spoken = [
        _utterance(engine, turn, text, samples, delivery)
        for turn, written in user_turns(row["messages"])
        for text, samples in _speak_turn(spoken_form(written), engine, delivery, options)
    ]
    return {**row, "spoken": spoken}


def _speak_turn(text: str, engine: Engine, delivery: Delivery, options: Tts) -> list[tuple[str, Samples]]:
    """Return a turn's utterances: one, or several sentences' worth where `too_long: split` asks.

    Raises Reject for text that cannot be spoken, silence, and speech beyond the limit.
    """
    if not text.strip():
        raise Reject("nothing_to_say")
    samples = _speak(text, engine, delivery)
    limit = int(options.max_seconds * engine.sample_rate_hz)
    if len(samples) <= limit:
        return [(text, samples)]
    if options.too_long == "reject":
        raise Reject(f"too_long:{len(samples) / engine.sample_rate_hz:.1f} s")
    utterances: list[tuple[str, Samples]] = []
    for sentence in split_sentences(text):
        said = _speak(sentence, engine, delivery)
        if len(said) > limit:
            raise Reject(f"too_long:one sentence of {len(said) / engine.sample_rate_hz:.1f} s")
        if utterances and len(utterances[-1][1]) + len(said) <= limit:
            before, sound = utterances[-1]
            utterances[-1] = (f"{before} {sentence}", concatenate([sound, said]))
        else:
            utterances.append((sentence, said))
    return utterances


def _speak(text: str, engine: Engine, delivery: Delivery) -> Samples:
    try:
        samples = engine.speak(text, delivery)
    except SpeechError as error:
        raise Reject(f"not_spoken:{error}") from error
    if is_silent(samples):
        raise Reject("silent")
    return samples


def _utterance(engine: Engine, turn: int, text: str, samples: Samples, delivery: Delivery) -> dict[str, Any]:
    rate = engine.sample_rate_hz
    return {
        "turn": turn,
        "text": text,
        "voice": delivery.voice,
        "rate_wpm": delivery.rate_wpm,
        "pitch": delivery.pitch,
        "tts": engine.version,
        "audio": {"bytes": flac_bytes(samples, rate), "path": None},
        "sample_rate": rate,
        "seconds": len(samples) / rate,
    }


def _options(recipe: Recipe) -> dict[str, Any]:
    tts = recipe.tts
    return {**tts.model_dump(mode="json"), "seed": recipe.seed, "engine_version": engine_version(tts.engine)}


PASS = Pass(
    key="tts",
    needs=("filter",),
    version=1,
    options=_options,
    units=shard_units("filter"),
    run=_run,
    one_to_one=True,
)
