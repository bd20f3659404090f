"""The options of speaking and listening: voices and who draws them, the tokenizer and what it runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipelines.options import Options, Range, known, nearest
from quantize import TOKENIZERS, Compute, model_files
from quantize.tokenizer import Precision
from tts import ENGINES, VOICES_OF
from tts.allocation import Candidate
from tts.augment import NOISES, Ranges

Between = tuple[float, float]


class Voice(Options):
    """A voice that rows may draw."""

    id: str = Field(min_length=1, description="as its engine names it")
    engine: Annotated[str, known("engine", list(ENGINES))] | None = Field(None, description="default: tts.engine")
    gender: str | None = Field(None, description="how it sounds; default: what the engine says")
    accent: str | None = Field(None, description="where it is at home; default: what the engine says")
    license: str | None = Field(None, description="of the voice, for the card")
    weight: float = Field(1, gt=0, description="how often it is drawn, beside the others")
    held_out: bool = Field(False, description="speaks for evaluation alone: tts.held_out_share of the rows")
    cloned: bool = Field(False, description="made after a living person, which needs their consent")
    consent: str | None = Field(None, description="who agreed to it, when and where that is written; for the card")

    @model_validator(mode="after")
    def _consented(self) -> Voice:
        if self.cloned and not (self.consent or "").strip():
            raise ValueError(
                f"voice {self.id} is cloned, and no consent is named: say in `consent` who agreed, when, and where it "
                "is written; without that, take the voice out"
            )
        return self


class Augment(Options):
    """What is done to the speech before it is quantized; each kind that has a range is drawn for each row."""

    share: float = Field(0.5, gt=0, le=1, description="of the utterances; the others stay clean")
    speed: Between | None = Field(None, description="factor, such as [0.9, 1.1]")
    rt60_s: Between | None = Field(None, description="a room's reverberation time in seconds, such as [0.2, 0.8]")
    band_hz: Between | None = Field(None, description="nothing above, such as [3400, 8000]")
    snr_db: Between | None = Field(None, description="speech over noise, such as [5, 30]")
    gain_db: Between | None = Field(None, description="such as [-12, 3]")
    noise: tuple[Annotated[str, known("noise", list(NOISES))], ...] = Field(
        tuple(NOISES), description="generated kinds that are drawn from, beside the recordings"
    )
    noise_folder: str | None = Field(None, description="recordings of noise to draw from; relative to root")

    @model_validator(mode="after")
    def _possible(self) -> Augment:
        limits = {
            "speed": (0.5, 2),
            "rt60_s": (0.01, 5),
            "band_hz": (500, 48_000),
            "snr_db": (-20, 60),
            "gain_db": (-40, 20),
        }
        named = {name: getattr(self, name) for name in limits}
        for name, pair in named.items():
            if pair is not None and not limits[name][0] <= pair[0] <= pair[1] <= limits[name][1]:
                raise ValueError(f"{name}: {list(pair)} is not a range within {list(limits[name])}")
        if all(pair is None for pair in named.values()):
            raise ValueError(f"nothing is done: give a range to one of {', '.join(limits)}")
        if self.snr_db is not None and not (self.noise or self.noise_folder):
            raise ValueError("snr_db needs noise: kinds in `noise`, or recordings in `noise_folder`")
        return self

    @property
    def ranges(self) -> Ranges:
        """The ranges alone."""
        return Ranges(self.speed, self.rt60_s, self.band_hz, self.snr_db, self.gain_db)


def _voice(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


DEFAULT_VOICES = tuple(Voice(id=voice) for voice in VOICES_OF["espeak"])


class Tts(Options):
    """Rows -> rows with speech: every user message spoken by the row's voice, kept as FLAC."""

    engine: Annotated[str, known("engine", list(ENGINES))] = Field("espeak", description="who speaks")
    voices: tuple[Annotated[Voice, BeforeValidator(_voice)], ...] = Field(
        DEFAULT_VOICES,
        min_length=1,
        description="one is drawn for each row; an id, or {id, engine, gender, weight, ...}",
    )
    balance: tuple[Literal["gender", "accent"], ...] = Field(
        (), description="attributes whose values get equal shares of the rows, such as [gender, accent]"
    )
    per_prompt: int = Field(1, ge=1, description="readings of each row, by as many voices; each is a row of its own")
    held_out_share: float = Field(0, ge=0, lt=1, description="of the rows, for the voices that are held out")
    rate_wpm: Range = Field((150, 190), description="words per minute, drawn for each row")
    pitch: Range = Field((35, 65), description="0 to 99, drawn for each row")
    max_seconds: float = Field(30.0, gt=0, le=30, description="what the tokenizer can hear at once")
    too_long: Literal["reject", "split"] = Field(
        "reject", description="longer speech: reject it, or speak it by sentences"
    )

    augment: Augment | None = Field(None, description="speed, rooms, narrow bands, noise, gain; none: clean speech")

    @model_validator(mode="after")
    def _known_voices(self) -> Tts:
        ids = [voice.id for voice in self.voices]
        if twice := next((voice for voice in ids if ids.count(voice) > 1), None):
            raise ValueError(f"voices: {twice!r} stands twice")
        for voice in self.voices:
            engine = voice.engine or self.engine
            there = list(VOICES_OF.get(engine, {}))
            if there and voice.id not in there:
                raise ValueError(f"voices: {engine} has no voice {voice.id!r}; {nearest(voice.id, there)}")
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
        return self

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


class Quantize(Options):
    """Speech -> sound tokens, 25 a second."""

    tokenizer: Annotated[str, known("tokenizer", list(TOKENIZERS))] = Field("mel512", description="who listens")
    model: str | None = Field(
        None, description="its checkpoint: a path, or owner/name:file@revision on the Hub; default: its own"
    )
    whisper: str | None = Field(
        None, description="of WhisperVQ, its encoder: a .pt file, a Hugging Face folder, or owner/name@revision"
    )
    precision: Precision = Field("fp32", description="fp32 is exact; bf16 and fp16 are faster on a GPU, nearly equal")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the worker's GPU, where it has one")
    gpus: float = Field(0, ge=0, description="of each worker: 1, or a share such as 0.5; 0: workers on CPUs")
    batch_size: int | None = Field(None, ge=1, description="clips at once; default: what the free memory holds")
    compile: bool = Field(False, description="torch.compile the model: a slower start, a faster run on a GPU")
    too_long: Literal["split", "reject"] = Field(
        "split", description="more than the tokenizer hears at once (30 s): split where it is quiet, or reject"
    )
    mask_code: Literal["drop", "keep", "reject"] = Field(
        "drop", description="the padding's id, where a model emits it in speech: drop it, keep it, or reject the row"
    )

    @model_validator(mode="after")
    def _files_are_there(self) -> Quantize:
        self.local_files(download=False)
        return self

    @property
    def files(self) -> dict[str, str | None]:
        """The places of the model's files that are given, by role."""
        return {"model": self.model, "whisper": self.whisper}

    @property
    def compute(self) -> Compute:
        """What the model runs on."""
        share = self.gpus if 0 < self.gpus < 1 else 1.0
        return Compute(self.device, self.precision, self.batch_size, share, self.compile)

    def local_files(self, *, download: bool) -> dict[str, Path] | None:
        """Return the model's files, by role; None where they are on the Hub and not in its cache.

        Raises ModelError, a ValueError, naming the place and the remedy.
        """
        return model_files(self.tokenizer, self.files, download=download)
