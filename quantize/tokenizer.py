"""What a sound tokenizer is: audio in, ids at 25 per second out (the shape of Ichigo's WhisperVQ)."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
TOKENS_PER_SECOND = 25
SAMPLES_PER_TOKEN = SAMPLE_RATE_HZ // TOKENS_PER_SECOND
assert SAMPLES_PER_TOKEN * TOKENS_PER_SECOND == SAMPLE_RATE_HZ

MAX_SECONDS = 30.0
"""One Whisper window. Ichigo's tokenizer cuts what is longer; `check_audio` refuses it."""


class AudioError(ValueError):
    """Audio that holds nothing to tokenize: undecodable, empty, or not finite."""


class Tokenizer(Protocol):
    """One kind of sound tokens. To add one: a file with such a class, and a line in `quantize.TOKENIZERS`."""

    @property
    def name(self) -> str:
        """The key in `quantize.TOKENIZERS`, written into every row."""

    @property
    def digest(self) -> str:
        """blake2b (128 bits, hex) of the model file's bytes: tokens of two digests must not be mixed."""

    @property
    def n_codes(self) -> int:
        """Ids 0 .. n_codes-1 are emitted; id n_codes is Ichigo's padding and never comes out."""

    @property
    def tokens_per_second(self) -> int:
        """25 for every tokenizer that writes Ichigo's strings."""

    @property
    def max_seconds(self) -> float:
        """The longest clip that `encode` takes."""

    def encode(self, samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.uint16]:
        """Return uint16 (samples at 16 kHz // 640,) for float32 (n_samples,) mono at `sample_rate_hz`.

        Raises AudioError for empty or non-finite samples, ValueError for the wrong shape or type or
        more than `max_seconds`.
        """


def check_audio(samples: NDArray[np.float32], sample_rate_hz: int, max_seconds: float) -> None:
    """Raise unless `samples` is float32 (n_samples,), finite, not empty and no longer than `max_seconds`."""
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise ValueError(f"samples must be float32 (n_samples,), not {samples.dtype} {samples.shape}")
    if sample_rate_hz <= 0:
        raise ValueError(f"sample_rate_hz must be positive, not {sample_rate_hz}")
    if samples.size == 0:
        raise AudioError("the audio is empty (0 samples)")
    if not np.isfinite(samples).all():
        first = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise AudioError(f"sample {first} of {samples.size} is {samples[first]}: not finite")
    if samples.size > max_seconds * sample_rate_hz:
        seconds = samples.size / sample_rate_hz
        raise ValueError(f"{seconds:.2f} s of audio, and at most {max_seconds} s fit: split it or leave it out")
