"""The options of speaking: engines, voices and who draws them, what is done to the speech and how it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from pipelines.options import Options, Range, known, nearest
from pipelines.quantize_options import Computing
from pipelines.voice_options import Augment, Voice
from quantize import files_digest
from tts import ENGINES, VOICES_OF, WITHOUT_AUDIO, Setup, engine_version
from tts import engine as tts_engine
from tts.allocation import Candidate
from tts.openai_speech_options import OpenAISpeechOptions
from tts.plausible import Plausible
from tts.whisperspeech_options import MOST_CPS, WPM_PER_CPS, WhisperSpeechOptions

# In a recipe, an unknown key of an engine's options is an error too.
for _options in (WhisperSpeechOptions, OpenAISpeechOptions, Plausible):
    _options.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[union-attr]

WHISPERSPEECH = ("whisperspeech", "whisperspeech_tokens")
# Of an engine's options: where its files lie (their content counts, by digest), and how a server is asked.
PLACES_OF_MODELS = frozenset(("t2s", "s2a", "vocoder", "speakers"))
HOW_TO_ASK = frozenset((
    "base_url", "api_key_env", "concurrency", "timeout_s", "attempts", "patience_s", "pauses_s",
    "price_per_million_characters",
))  # fmt: skip


class PathLimits(Options):
    """What `compare-paths` takes for the same speech, with audio (T2S, S2A, vocoder, tokenizer) and without (T2S)."""

    rows: int = Field(100, ge=2, description="texts that are spoken both ways")
    agreement_above: float = Field(
        0.5, ge=0, le=1, description="share of tokens that both ways have, in order (1 - edit distance / length)"
    )
    divergence_below: float = Field(
        0.1, ge=0, le=1, description="of the ids' distributions: Jensen-Shannon, in bits, above that of two halves"
    )
    length_within: float = Field(0.1, ge=0, description="of 1: the ratio of all tokens, without audio over with")
    repeats_within: float = Field(0.1, ge=0, le=1, description="difference in the share of tokens that repeat")


def _voice(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


DEFAULT_VOICES = tuple(Voice(id=voice) for voice in VOICES_OF["espeak"])


class Tts(Computing):
    """Rows -> rows with speech: every user message spoken by the row's voice."""

    engine: Annotated[str, known("engine", list(ENGINES))] = Field("espeak", description="who speaks")
    voices: tuple[Annotated[Voice, BeforeValidator(_voice)], ...] = Field(
        DEFAULT_VOICES,
        min_length=1,
        description="one is drawn for each row; an id, or {id, engine, gender, weight, ...}; default: the engine's own",
    )
    balance: tuple[Literal["gender", "accent"], ...] = Field(
        (), description="attributes whose values get equal shares of the rows, such as [gender, accent]"
    )
    per_prompt: int = Field(1, ge=1, description="readings of each row, by as many voices; each is a row of its own")
    held_out_share: float = Field(0.0, ge=0, lt=1, description="of the rows, for the voices that are held out")
    rate_wpm: Range = Field((150, 190), description="words per minute, drawn for each row")
    pitch: Range = Field((35, 65), description="0 to 99, drawn for each row; eSpeak's")
    max_seconds: float = Field(30.0, gt=0, le=30, description="what the tokenizer can hear at once")
    too_long: Literal["reject", "split"] = Field(
        "reject", description="longer speech: reject it, or speak it by sentences"
    )
    audio_format: Literal["flac", "opus"] = Field("flac", description="how speech is kept: flac loses nothing")
    keep_audio: bool = Field(True, description="false: a shard's speech is removed once its sound tokens are safe")
    augment: Augment | None = Field(None, description="speed, rooms, narrow bands, noise, gain; none: clean speech")
    whisperspeech: WhisperSpeechOptions = Field(
        default_factory=WhisperSpeechOptions, description="of the engines whisperspeech and whisperspeech_tokens"
    )
    openai_speech: OpenAISpeechOptions | None = Field(None, description="of that engine, which needs it")
    compare_paths: PathLimits = Field(PathLimits(), description="limits of the command compare-paths")

    @model_validator(mode="before")
    @classmethod
    def _voices_of_the_engine(cls, values: Any) -> Any:
        """Take every speaker of WhisperSpeech where no voices are named."""
        if not isinstance(values, Mapping) or "voices" in values or values.get("engine") not in WHISPERSPEECH:
            return values
        options = values.get("whisperspeech") or {}
        speakers = options.get("speakers") if isinstance(options, Mapping) else options.speakers
        return {**values, "voices": list(speakers or WhisperSpeechOptions().speakers)}

    @model_validator(mode="after")
    def _known_voices(self) -> Tts:
        ids = [voice.id for voice in self.voices]
        if twice := next((voice for voice in ids if ids.count(voice) > 1), None):
            raise ValueError(f"voices: {twice!r} stands twice")
        for voice in self.voices:
            engine = voice.engine or self.engine
            there = self._voices_there(engine)
            if there and voice.id not in there:
                raise ValueError(f"voices: {engine} has no voice {voice.id!r}; {nearest(voice.id, there)}")
            if engine in WHISPERSPEECH and self.whisperspeech.speakers[voice.id] != "default" and voice.cloned is None:
                raise ValueError(
                    f"voices: {voice.id} is made after a recording: say cloned: true, with the person's consent, "
                    "or cloned: false where it is nobody's voice"
                )
        return self

    @model_validator(mode="after")
    def _engines_can(self) -> Tts:
        if "openai_speech" in self.engines and self.openai_speech is None:
            raise ValueError("openai_speech: {base_url: ..., model: ...} says which server speaks, and is missing")
        if not self.makes_audio and self.augment is not None:
            raise ValueError(f"augment: {self.engines[0]} makes no audio that could be augmented")
        for engine in self.engines:
            self.model_files(engine, download=False)
        return self

    @model_validator(mode="after")
    def _enough_voices(self) -> Tts:
        held_out = sum(voice.held_out for voice in self.voices)
        if bool(held_out) != (self.held_out_share > 0):
            raise ValueError("held_out_share and voices with held_out: true need each other; give both, or none")
        groups = [count for count in (held_out, len(self.voices) - held_out) if count]
        if held_out == len(self.voices) or self.per_prompt > min(groups):
            raise ValueError(
                f"per_prompt: {self.per_prompt} readings need as many voices, and held-out ones stand apart: "
                f"there are {len(self.voices) - held_out}, and {held_out} held out"
            )
        return self

    @model_validator(mode="after")
    def _ordered(self) -> Tts:
        for name, (low, high), (least, most) in (
            ("rate_wpm", self.rate_wpm, (80, 450)),
            ("pitch", self.pitch, (0, 99)),
        ):
            if not least <= low <= high <= most:
                raise ValueError(f"{name}: [{low}, {high}] is not a range within [{least}, {most}]")
        for engine, (slowest, fastest) in self._rates().items():
            if not slowest <= self.rate_wpm[0] <= self.rate_wpm[1] <= fastest:
                raise ValueError(
                    f"rate_wpm: {list(self.rate_wpm)} is not within [{slowest:g}, {fastest:g}], what {engine} can"
                )
        return self

    def _voices_there(self, engine: str) -> list[str]:
        """Return the voices that an engine is known to have; none of a server's, which knows best."""
        return list(self.whisperspeech.speakers if engine in WHISPERSPEECH else VOICES_OF.get(engine, {}))

    def _rates(self) -> dict[str, tuple[float, float]]:
        """Return the slowest and fastest rate, in words per minute, of the engines that have a narrower range."""
        found: dict[str, tuple[float, float]] = {}
        for engine in self.engines:
            if engine in WHISPERSPEECH and self.whisperspeech.cps is None:
                found[engine] = (0.0, MOST_CPS * WPM_PER_CPS)
            asking = self.openai_speech
            if engine == "openai_speech" and asking and asking.speed:
                found[engine] = (asking.speed[0] * asking.natural_wpm, asking.speed[1] * asking.natural_wpm)
        return found

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that voices are of."""
        used = {voice.engine or self.engine for voice in self.voices}
        return tuple(name for name in ENGINES if name in used)

    @property
    def makes_audio(self) -> bool:
        """Whether some voice is heard, and not only its sound tokens written."""
        return not set(self.engines) <= WITHOUT_AUDIO

    @property
    def augmented(self) -> tuple[str, ...]:
        """The pass between speaking and listening, where there is one."""
        return ("tts.augment",) if self.augment else ()

    def engine_of(self, voice_id: str) -> str:
        """Return the engine of a voice."""
        return next(voice.engine or self.engine for voice in self.voices if voice.id == voice_id)

    def heeds(self, engine: str) -> frozenset[str]:
        """Return which of rate_wpm and pitch an engine speaks by: the others are not what a row was spoken at."""
        if engine == "espeak":
            return frozenset(("rate_wpm", "pitch"))
        fixed = self.whisperspeech.cps is not None
        if engine == "openai_speech":
            fixed = self.openai_speech is None or self.openai_speech.speed is None
        return frozenset() if fixed else frozenset(("rate_wpm",))

    @property
    def held_out(self) -> list[str]:
        """The voices that speak for evaluation alone."""
        return [voice.id for voice in self.voices if voice.held_out]

    def candidates(self, held_out: bool) -> tuple[Candidate, ...]:
        """Return the voices that speak for evaluation, or those that do not, with the attributes to balance by."""
        return tuple(
            Candidate(voice.id, voice.weight, tuple(self.attributes(voice)[name] for name in self.balance))
            for voice in self.voices
            if voice.held_out == held_out
        )

    def attributes(self, voice: Voice) -> dict[str, str]:
        """Return a voice's gender and accent: as the recipe says, else as its engine does; "" where neither does."""
        own = VOICES_OF.get(voice.engine or self.engine, {}).get(voice.id)
        return {
            "gender": voice.gender or (own.gender if own else ""),
            "accent": voice.accent or (own.accent if own else ""),
        }

    def setup(self, engine: str, answers: Path) -> Setup:
        """Return what an engine is loaded with.

        Args:
            answers: the folder that a server's answers are stored in.
        """
        mine = [voice for voice in self.voices if (voice.engine or self.engine) == engine]
        voices = {voice.id: tts_engine.Voice(voice.id, **self.attributes(voice)) for voice in mine}
        return Setup(voices, self.compute, self.whisperspeech, self.openai_speech, answers)

    def model_files(self, engine: str, *, download: bool) -> dict[str, Path] | None:
        """Return an engine's model files, by role; None where one is on the Hub and not in its cache.

        Raises ModelError, a ValueError, naming the place and the remedy.
        """
        if engine not in WHISPERSPEECH:
            return {}
        found = self.whisperspeech.files(download=download, audio=engine not in WITHOUT_AUDIO)
        files = {role: path for role, path in found.items() if path is not None}
        return files if len(files) == len(found) else None

    def makes(self, engine: str) -> dict[str, Any]:
        """Return all of an engine's options that change what it makes, its files by their digest."""
        said: dict[str, Any] = {"version": engine_version(engine)}
        if engine in WHISPERSPEECH:
            options, files = self.model_dump(mode="json")["whisperspeech"], self.model_files(engine, download=False)
            said |= {key: value for key, value in options.items() if key not in PLACES_OF_MODELS}
            said |= {"models": files_digest(files) if files else "not fetched yet"}
            said |= {"precision": self.precision, "batch_size": self.batch_size}
        elif engine == "openai_speech":
            options = self.model_dump(mode="json")["openai_speech"]
            said |= {key: value for key, value in options.items() if key not in HOW_TO_ASK}
        return said
