"""tts: rows -> rows with speech. One voice a row, drawn from its id; every user message is spoken."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from numpy import concatenate, int16
from numpy.typing import NDArray

from pipelines.batches import Stages
from pipelines.errors import RunError
from pipelines.graph import Job, Outcome, Pass, shard_units
from pipelines.recipe import Recipe
from pipelines.row import Row, user_turns
from pipelines.rowwise import Reject, run_stream
from pipelines.speech_options import Tts
from tts import ENGINES, engine_version
from tts.audio import flac_bytes, is_silent
from tts.delivery import draw_delivery, is_held_out
from tts.engine import Delivery, Engine, EngineError, Request, SpeechError, Spoken
from tts.sentences import split_sentences
from tts.spoken_form import spoken_form

Samples = NDArray[int16]


class Turn(NamedTuple):
    """A user message to be spoken."""

    turn: int  # its position in the row's messages
    request: Request


@lru_cache(maxsize=1)
def _engine(name: str) -> Engine:
    """Return the engine, loaded once in a process."""
    return ENGINES[name]()


def _run(job: Job) -> Outcome:
    options = job.recipe.tts
    engine = _engine(options.engine)
    used = dict(engine.usage)
    through = stages(engine, options, job.recipe.seed)
    try:
        outcome = run_stream(job, "tts", lambda rows: through.run(_readings(rows, options)), options.per_prompt)
    except EngineError as error:
        raise RunError(f"tts: {error}") from error
    usage = {key: amount - used.get(key, 0) for key, amount in engine.usage.items()}
    return replace(outcome, facts={**outcome.facts, **({"usage": usage} if usage else {})})


def stages(engine: Engine, options: Tts, seed: int) -> Stages[Turn, Spoken]:
    """Return how rows go through an engine, several at once where it can."""
    return Stages(
        split=lambda row: _turns(row, options, seed),
        work=lambda turns: _speak([turn.request for turn in turns], engine),
        finish=lambda row, turns, spoken: _finish(row, turns, spoken, engine, options),
        size=engine.batch_size,
    )


def _readings(rows: Iterable[Row], options: Tts) -> Iterator[Row]:
    """Yield each row as often as it is read: the first under its id, the others as its children, `<id>/1` and so on."""
    for row in rows:
        for reading in range(options.per_prompt):
            yield {**row, "id": f"{row['id']}/{reading}"} if reading else row


def _turns(row: Row, options: Tts, seed: int) -> list[Turn]:
    """Return the user messages of a row, in words, by the row's voice. Raises Reject."""
    parent, _, reading = row["id"].partition("/")
    voices = options.candidates(is_held_out(seed, parent, options.held_out_share))
    delivery = draw_delivery(seed, parent, voices, options.rate_wpm, options.pitch, int(reading or 0))
    turns = []
    for turn, written in user_turns(row["messages"]):
        text = spoken_form(written)
        if not text.strip():
            raise Reject("nothing_to_say")
        turns.append(Turn(turn, Request(text, delivery, draw_seed(seed, row["id"], turn))))
    return turns


def draw_seed(seed: int, row_id: str, turn: int) -> int:
    """Return 64 bits for what an engine draws for one utterance: they depend on the row, and on nothing beside it."""
    digest = hashlib.blake2b(f"{seed}/tts/{row_id}/{turn}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)


def _speak(requests: Sequence[Request], engine: Engine) -> list[Spoken | Exception]:
    """Return what the engine made of each text, or the reject of a text that it could not speak."""
    return [_taken(spoken) for spoken in engine.speak_all(requests)]


def _taken(spoken: Spoken | SpeechError) -> Spoken | Exception:
    if isinstance(spoken, SpeechError):
        return Reject(f"not_spoken:{spoken}")
    return Reject("silent") if is_silent(spoken.samples) else spoken


def _finish(row: Row, turns: list[Turn], spoken: list[Spoken], engine: Engine, options: Tts) -> Row:
    """Return the row with its speech. Raises Reject for speech beyond the limit."""
    limit = int(options.max_seconds * engine.sample_rate_hz)
    utterances = []
    for turn, whole in zip(turns, spoken, strict=True):
        parts = [(turn.request.text, whole.samples)]
        if len(whole.samples) > limit:
            if options.too_long == "reject":
                raise Reject(f"too_long:{len(whole.samples) / engine.sample_rate_hz:.1f} s")
            parts = _by_sentences(turn.request, engine, limit)
        utterances += [_utterance(engine, turn.turn, text, s, turn.request.delivery) for text, s in parts]
    return {**row, "spoken": utterances}


def _by_sentences(request: Request, engine: Engine, limit: int) -> list[tuple[str, Samples]]:
    """Return a text's speech in utterances of at most `limit` samples, cut between sentences. Raises Reject."""
    sentences = split_sentences(request.text)
    utterances: list[tuple[str, Samples]] = []
    for sentence, said in zip(sentences, _speak([replace(request, text=s) for s in sentences], engine), strict=True):
        if isinstance(said, Exception):
            raise said
        if len(said.samples) > limit:
            raise Reject(f"too_long:one sentence of {len(said.samples) / engine.sample_rate_hz:.1f} s")
        if utterances and len(utterances[-1][1]) + len(said.samples) <= limit:
            before, sound = utterances[-1]
            utterances[-1] = (f"{before} {sentence}", concatenate([sound, said.samples]))
        else:
            utterances.append((sentence, said.samples))
    return utterances


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
    return {
        **tts.model_dump(mode="json", exclude={"augment"}),
        "seed": recipe.seed,
        "engine_version": engine_version(tts.engine),
    }


PASS = Pass(
    key="tts",
    needs=("filter",),
    version=1,
    options=_options,
    units=shard_units("filter"),
    run=_run,
    one_to_one=True,
)
