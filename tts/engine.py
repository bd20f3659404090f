"""What a speech engine is: its voices, one row's delivery, and the call from text to samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class SpeechError(ValueError):
    """One text could not be spoken. The message says why; the other rows are not concerned."""


class EngineError(RuntimeError):
    """The engine itself cannot go on: a server that is down, a key that is refused. No text's fault."""


@dataclass(frozen=True)
class Voice:
    """One voice of an engine, as a data card shows it.

    id:      the name that `Delivery.voice` uses, such as "en-us+f3"
    gender:  "female" or "male", how the voice sounds
    accent:  where that English is spoken, such as "American"
    """

    id: str
    gender: str
    accent: str


@dataclass(frozen=True)
class Delivery:
    """How one row is spoken: a voice id, a rate in words per minute, the engine's pitch step."""

    voice: str
    rate_wpm: int
    pitch: int


@dataclass(frozen=True)
class Request:
    """One text to be spoken.

    text:     as spoken: numbers and symbols in words
    delivery: by whom and how
    seed:     64 bits of (run's seed, row's id, utterance, attempt): all that an engine may draw from, so that what
              a text draws does not depend on what is spoken beside it
    """

    text: str
    delivery: Delivery
    seed: int = 0


@dataclass(frozen=True)
class Spoken:
    """What an engine made of a text.

    samples:  int16 (n_samples,), mono at the engine's rate; empty from an engine that speaks in sound tokens
    tokens:   uint16 (n_tokens,) at 25 a second, of such an engine
    attempts: how often it was spoken until it could be taken
    """

    samples: NDArray[np.int16]
    tokens: NDArray[np.uint16] | None = None
    attempts: int = 1


class Engine(Protocol):
    """Texts in, samples out. The same request gives the same samples, in any order and beside any others.

    name:            the key in `tts.ENGINES`
    version:         what synthesised, such as "espeak-ng 1.52.0"; part of the fingerprint
    sample_rate_hz:  of every array that `speak_all` returns
    voices:          every voice that it accepts, by id
    batch_size:      how many requests it does best at once
    usage:           what it has used since it was loaded, such as requests and cost; sums, told by `status`
    """

    name: str
    version: str
    sample_rate_hz: int
    voices: Mapping[str, Voice]
    batch_size: int

    @property
    def usage(self) -> Mapping[str, float]:
        """Return what was used so far."""
        ...

    def speak_all(self, requests: Sequence[Request]) -> list[Spoken | SpeechError]:
        """Return for each request the whole text spoken, or why this text could not be.

        Raises ValueError if a delivery is invalid.
        """
        ...
