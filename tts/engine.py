"""What a speech engine is: its voices, one row's delivery, and the call from text to samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class SpeechError(ValueError):
    """One text could not be spoken. The message says why; the other rows are not concerned."""


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


class Engine(Protocol):
    """Text in, samples out. The same text and delivery give the same samples, in any order.

    name:            the key in `tts.ENGINES`
    version:         what synthesised, such as "espeak-ng 1.52.0"; part of the fingerprint
    sample_rate_hz:  of every array that `speak` returns
    voices:          every voice that `speak` accepts, by id
    """

    name: str
    version: str
    sample_rate_hz: int
    voices: Mapping[str, Voice]

    def speak(self, text: str, delivery: Delivery) -> NDArray[np.int16]:
        """Return the whole text as int16 (n_samples,), mono at `sample_rate_hz`.

        Raises SpeechError if this text cannot be spoken, ValueError if the delivery is invalid.
        """
        ...
