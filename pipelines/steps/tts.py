"""tts: rows -> rows with speech. One voice a row, drawn from its id; every user message is spoken."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from numpy import concatenate, int16
from numpy.typing import NDArray

from pipelines.batches import Stages
from pipelines.chats import with_speech
from pipelines.errors import RunError, UserError
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit, shard_units
from pipelines.quantize_options import Quantize
from pipelines.recipe import KEPT_BY, Recipe
from pipelines.repair_options import changes_by_shard
from pipelines.row import Row, user_turns
from pipelines.rowwise import Done, Reject, run_stream
from pipelines.speech_options import Tts
from pipelines.steps.score import scored_again, shortens
from quantize import files_digest
from quantize.tokenizer import TOKENS_PER_SECOND
from tts import ENGINES, WITH_TORCH, WITHOUT_AUDIO
from tts.audio import encode_audio, is_silent
from tts.delivery import draw_delivery, is_held_out
from tts.engine import Delivery, Engine, EngineError, Request, SpeechError, Spoken
from tts.sentences import split_sentences
from tts.spoken_form import spoken_form

Samples = NDArray[int16]
Engines = Mapping[str, Engine]
Repairs = Mapping[str, Mapping[str, Any]]  # row id -> {voice, seed}, as far as they are given

NO_REPAIRS: Repairs = {}
AT_ONCE = 512  # rows, with their sound, among which those to be repaired are spoken together


# Options that change every engine's speech.
CHANGES = {"per_prompt", "held_out_share", "rate_wpm", "pitch", "max_seconds", "too_long", "audio_format"}


class Turn(NamedTuple):
    """A user message to be spoken."""

    turn: int  # its position in the row's messages
    engine: str
    request: Request
    failed: Reject | None = None  # why it cannot even be asked for


def _run(job: Job) -> Outcome:
    options = job.recipe.tts
    engines = load_engines(job.recipe)
    before = _used(engines)
    repairs = job.unit.args.get("repairs", {})
    through, again = stages(engines, job.recipe), stages(engines, job.recipe, repairs)

    def speak(rows: Iterator[Row]) -> Iterable[Done]:
        spoken = through.run(readings(rows, options))
        return _with_repaired(spoken, again, repairs) if repairs else spoken

    with exact_sums(options):
        outcome = run_stream(job, "tts", speak, options.per_prompt)
    return replace(outcome, usage={key: amount - before[key] for key, amount in _used(engines).items()})


def _with_repaired(spoken: Iterator[Done], again: Stages[Turn, Spoken], repairs: Repairs) -> Iterator[Done]:
    """Yield spoken rows, those that are repaired as they are spoken again.

    So every other row goes through the engines in the company in which it was without a repair: where an engine's last
    bits depend on what is beside a text, a repair of its neighbour does not change them.
    """
    while some := list(islice(spoken, AT_ONCE)):
        repaired = again.run(row for row, _ in some if row["id"] in repairs)
        for row, result in some:
            yield next(repaired) if row["id"] in repairs else (row, result)


def _used(engines: Engines) -> Counter[str]:
    """Return what all engines have used since they were loaded."""
    total: Counter[str] = Counter()
    for engine in engines.values():
        total.update(engine.usage)
    return total


@contextmanager
def exact_sums(options: Tts) -> Iterator[None]:
    """Let torch, where it speaks, form sums in one order whatever the number of workers, and float32 be float32."""
    if WITH_TORCH.isdisjoint(options.engines):
        yield
        return
    from quantize.computing import exact_float32  # loads torch: in workers only
    from quantize.one_thread import one_thread

    with one_thread(), exact_float32():
        yield


def load_engines(recipe: Recipe) -> Engines:
    """Return the engines of a recipe's voices, each loaded once in a process.

    Raises UserError for models, keys or a vocabulary that are not right.
    """
    said = recipe.tts.model_dump_json()
    engines = {name: _engine(name, said, recipe.run_path / "answers" / "tts") for name in recipe.tts.engines}
    if WITHOUT_AUDIO.intersection(engines):
        _check_vocabulary(said, recipe.run_path, recipe.quantize)
    return engines


@lru_cache(maxsize=len(ENGINES))
def _engine(name: str, tts: str, answers: Path) -> Engine:
    options = Tts.model_validate_json(tts)
    try:
        return ENGINES[name](options.setup(name, answers))
    except (ValueError, EngineError) as error:
        raise UserError(f"tts.{name}: {error}") from error


@lru_cache(maxsize=1)
def _check_vocabulary(tts: str, run_path: Path, quantize: Quantize) -> None:
    """Raise UserError unless the tokens that T2S writes are those that the tokenizer would hear."""
    from quantize.vocabulary import codebook_of, same_vocabulary
    from tts.whisperspeech_tokens import WhisperSpeechTokens

    engine = _engine(WhisperSpeechTokens.name, tts, run_path / "answers" / "tts")
    assert isinstance(engine, WhisperSpeechTokens), "the only engine without audio"
    try:
        heard = codebook_of(quantize.tokenizer, quantize.files)
    except ValueError as error:
        raise UserError(f"quantize: {error}") from error
    if wrong := same_vocabulary(engine.codebook(), heard):
        raise UserError(
            f"tts.engine whisperspeech_tokens writes other sound tokens than quantize.tokenizer {quantize.tokenizer} "
            f"hears: {wrong}. Take checkpoints of one family (7lang and 8lang with v3-7lang, en+pl with en-pl), or the "
            "engine whisperspeech, which speaks"
        )


def stages(engines: Engines, recipe: Recipe, repairs: Repairs = NO_REPAIRS) -> Stages[Turn, Spoken]:
    """Return how rows go through the engines, several at once where they can."""

    def finish(row: Row, turns: list[Turn], spoken: Sequence[Spoken | Exception]) -> Row:
        return _finish(row, turns, spoken, engines, recipe)

    return Stages(
        split=lambda row: _turns(row, recipe, repairs.get(row["id"], {})),
        work=lambda turns: _speak(turns, engines),
        finish=finish,
        mend=finish,
        size=sum(engine.batch_size for engine in engines.values()),
    )


def readings(rows: Iterable[Row], options: Tts) -> Iterator[Row]:
    """Yield each row as often as it is read: the first under its id, the others as its children, `<id>/1` and so on."""
    for row in rows:
        for reading in range(options.per_prompt):
            yield {**row, "id": f"{row['id']}/{reading}"} if reading else row


def _turns(row: Row, recipe: Recipe, repair: Mapping[str, Any]) -> list[Turn]:
    """Return the user messages of a row, in words, by the row's voice. Raises Reject."""
    seed, delivery = repair.get("seed", recipe.seed), delivery_of(row["id"], recipe, repair)
    engine = recipe.tts.engine_of(delivery.voice)
    turns = []
    for turn, written in user_turns(row["messages"]):
        text = spoken_form(written)
        failed = None if text.strip() else Reject("nothing_to_say")
        turns.append(Turn(turn, engine, Request(text, delivery, draw_seed(seed, row["id"], turn)), failed))
        if failed and (recipe.chats.failed_turn == "reject" or len(turns) == 1):
            raise failed
        if failed:  # nothing behind it is said
            break
    return turns


def delivery_of(row_id: str, recipe: Recipe, repair: Mapping[str, Any]) -> Delivery:
    """Return how a row is spoken: by the voice that it draws, at the rate and pitch that it draws.

    Args:
        repair: the voice instead, and the seed of the rate and the pitch, where a repair of the row says so.
    """
    options, seed = recipe.tts, recipe.seed
    parent, _, reading = row_id.partition("/")
    voices = options.candidates(is_held_out(seed, parent, options.held_out_share))
    drawn = draw_delivery(seed, parent, voices, options.rate_wpm, options.pitch, int(reading or 0))
    if "seed" in repair:
        again = draw_delivery(repair["seed"], parent, voices, options.rate_wpm, options.pitch, int(reading or 0))
        drawn = replace(again, voice=drawn.voice)
    return replace(drawn, voice=repair.get("voice", drawn.voice))


def draw_seed(seed: int, row_id: str, turn: int) -> int:
    """Return 64 bits for what an engine draws for one utterance: they depend on the row, and on nothing beside it."""
    digest = hashlib.blake2b(f"{seed}/tts/{row_id}/{turn}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)


def _speak(turns: Sequence[Turn], engines: Engines) -> list[Spoken | Exception]:
    """Return what the engines made of each text, or the reject of a text that could not be spoken."""
    results: dict[int, Spoken | Exception] = {n: turn.failed for n, turn in enumerate(turns) if turn.failed}
    for name, engine in engines.items():
        mine = [number for number, turn in enumerate(turns) if turn.engine == name and not turn.failed]
        try:
            spoken = engine.speak_all([turns[number].request for number in mine]) if mine else []
        except EngineError as error:  # no row's fault
            raise RunError(f"tts: {error}") from error
        except MemoryError as error:
            raise RunError(f"tts: {error}. Set tts.batch_size to less.") from error
        results |= {number: _taken(said) for number, said in zip(mine, spoken, strict=True)}
    return [results[number] for number in range(len(turns))]


def _taken(spoken: Spoken | SpeechError) -> Spoken | Exception:
    if isinstance(spoken, SpeechError):
        return Reject(f"not_spoken:{spoken}")
    return Reject("silent") if spoken.tokens is None and is_silent(spoken.samples) else spoken


def _finish(row: Row, turns: list[Turn], spoken: Sequence[Spoken | Exception], engines: Engines, recipe: Recipe) -> Row:
    """Return the row with its speech, or as much of it as the turns before one that failed. Raises what ends it."""
    said = (_said(turn, whole, engines[turn.engine], recipe) for turn, whole in zip(turns, spoken, strict=True))
    return scored_again(row, with_speech(row, said, "tts", recipe.chats.failed_turn), recipe)


def _said(turn: Turn, whole: Spoken | Exception, engine: Engine, recipe: Recipe) -> list[dict[str, Any]] | Exception:
    """Return the utterances of a turn; what failed, or a reject of speech beyond the limit."""
    if isinstance(whole, Exception):
        return whole
    parts, options = [(turn.request.text, whole)], recipe.tts
    if (seconds := seconds_of(whole, engine)) > options.max_seconds:
        if options.too_long == "reject":
            return Reject(f"too_long:{seconds:.1f} s")
        try:
            parts = _by_sentences(turn, engine, options.max_seconds)
        except Reject as reject:
            return reject
    return [_utterance(turn, text, said, engine, recipe) for text, said in parts]


def seconds_of(spoken: Spoken, engine: Engine) -> float:
    """Return how long speech is."""
    if spoken.tokens is not None:
        return len(spoken.tokens) / TOKENS_PER_SECOND
    return len(spoken.samples) / engine.sample_rate_hz


def _by_sentences(turn: Turn, engine: Engine, most_seconds: float) -> list[tuple[str, Spoken]]:
    """Return a text's speech in utterances of at most `most_seconds`, cut between sentences. Raises Reject."""
    sentences = split_sentences(turn.request.text)
    requests = [turn._replace(request=replace(turn.request, text=sentence)) for sentence in sentences]
    utterances: list[tuple[str, Spoken]] = []
    for sentence, said in zip(sentences, _speak(requests, {turn.engine: engine}), strict=True):
        if isinstance(said, Exception):
            raise said
        if (seconds := seconds_of(said, engine)) > most_seconds:
            raise Reject(f"too_long:one sentence of {seconds:.1f} s")
        if utterances and seconds_of(joined := _joined(utterances[-1][1], said), engine) <= most_seconds:
            utterances[-1] = (f"{utterances[-1][0]} {sentence}", joined)
        else:
            utterances.append((sentence, said))
    return utterances


def _joined(one: Spoken, other: Spoken) -> Spoken:
    tokens = None if one.tokens is None or other.tokens is None else concatenate([one.tokens, other.tokens])
    return Spoken(concatenate([one.samples, other.samples]), tokens)


def _utterance(turn: Turn, text: str, spoken: Spoken, engine: Engine, recipe: Recipe) -> dict[str, Any]:
    delivery, heeds = turn.request.delivery, recipe.tts.heeds(turn.engine)
    utterance = {
        "turn": turn.turn,
        "text": text,
        "voice": delivery.voice,
        "rate_wpm": delivery.rate_wpm if "rate_wpm" in heeds else None,
        "pitch": delivery.pitch if "pitch" in heeds else None,
        "tts": engine.version,
        "seconds": seconds_of(spoken, engine),
    }
    if spoken.tokens is not None:
        return {**utterance, "tokenizer": written_by(recipe.quantize), "tokens": spoken.tokens.tolist()}
    data, rate = encode_audio(spoken.samples, engine.sample_rate_hz, recipe.tts.audio_format)
    return {**utterance, "audio": {"bytes": data, "path": None}, "sample_rate": rate}


def written_by(quantize: Quantize) -> str:
    """Return what rows say of their tokenizer whose tokens were written without audio: name@digest/no audio."""
    files = quantize.local_files(download=False)
    assert files is not None, "they are fetched before a run starts"
    return f"{quantize.tokenizer}@{files_digest(files)[:12]}/no audio"


def _options(recipe: Recipe) -> dict[str, Any]:
    """Return what changes the speech: who may speak and how often, how, and what each engine makes it with."""
    tts = recipe.tts
    voices = [
        {"engine": tts.engine_of(candidate.voice), "held_out": held_out, **asdict(candidate)}
        for held_out in (False, True)
        for candidate in tts.candidates(held_out)
    ]
    said = tts.model_dump(mode="json", include=CHANGES)
    files = recipe.quantize.local_files(download=False) if not WITHOUT_AUDIO.isdisjoint(tts.engines) else None
    tokenizer = {"tokenizer": f"{recipe.quantize.tokenizer}@{files_digest(files)}"} if files else {}
    return {
        "seed": recipe.seed,
        **said,
        "voices": voices,
        "engines": {engine: tts.makes(engine) for engine in tts.engines},
        **tokenizer,
        **shortens(recipe),
    }


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    """Return a unit a shard; the repairs of its rows are in the fingerprint of that shard alone."""
    repairs = changes_by_shard(recipe.repairs, recipe.read.rows_per_shard)
    units = shard_units(recipe.kept_by)(recipe, outputs)
    return [u._replace(args={"repairs": repairs[u.name]}) if u.name in repairs else u for u in units]


PASS = Pass(
    key="tts",
    needs=KEPT_BY,
    version=3,
    options=_options,
    units=_units,
    run=_run,
    one_to_one=True,
    follows=lambda recipe: (recipe.kept_by,),
    gpus=lambda recipe: recipe.tts.gpus,
    spent_by=lambda recipe: () if recipe.tts.keep_audio else (*recipe.tts.augmented, "quantize"),
)
