"""What a sound tokenizer is: audio in, ids at a fixed rate out (the shape of Ichigo's WhisperVQ)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
TOKENS_PER_SECOND = 25
SAMPLES_PER_TOKEN = SAMPLE_RATE_HZ // TOKENS_PER_SECOND
assert SAMPLES_PER_TOKEN * TOKENS_PER_SECOND == SAMPLE_RATE_HZ

MAX_SECONDS = 30.0
"""One Whisper window. Upstream cuts what is longer; `check_audio` refuses it, `clips.pieces` splits it."""

Samples = NDArray[np.float32]
Ids = NDArray[np.uint16]
Precision = Literal["fp32", "bf16", "fp16"]


class AudioError(ValueError):
    """Audio that holds nothing to tokenize: undecodable, empty, or not finite."""


@dataclass(frozen=True)
class Compute:
    """What a tokenizer's model runs on."""

    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: cuda where there is one
    precision: Precision = "fp32"
    batch_size: int | None = None  # clips at once; None: found from the free memory
    gpu_share: float = 1.0  # of the GPU's memory, where several workers share it
    compile: bool = False  # torch.compile the model for its one shape


class Tokenizer(Protocol):
    """One kind of sound tokens. To add one: a file with such a class, and a line in `quantize.TOKENIZERS`."""

    @property
    def name(self) -> str:
        """The key in `quantize.TOKENIZERS`, written into every row."""

    @property
    def digest(self) -> str:
        """blake2b (128 bits, hex) of the model files' bytes: tokens of two digests must not be mixed."""

    @property
    def precision(self) -> Precision:
        """What the model computes in; tokens of two precisions mostly agree."""

    @property
    def n_codes(self) -> int:
        """Ids 0 .. n_codes-1 are emitted, the mask code among them where there is one."""

    @property
    def mask_code(self) -> int | None:
        """The id that stands for padding; a model may emit it in speech all the same."""

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the samples that `encode` takes."""

    @property
    def tokens_per_second(self) -> int:
        """25 for every tokenizer that writes Ichigo's strings today."""

    @property
    def max_seconds(self) -> float:
        """The longest clip that `encode` takes."""

    @property
    def batch_size(self) -> int:
        """How many clips `encode` does best at once."""

    @property
    def device(self) -> str:
        """Where the model runs, as the vendor names it; kept with what it made."""

    def encode(self, clips: Sequence[Samples]) -> list[Ids]:
        """Return uint16 (n_tokens,) for each float32 (n_samples,) at `sample_rate_hz`, whatever the others are.

        A clip of less than a token gives none. Raises AudioError for empty or non-finite samples,
        ValueError for the wrong shape or type or more than `max_seconds`, MemoryError where the
        device has no room for `batch_size` clips.
        """


def label(tokenizer: Tokenizer) -> str:
    """Return what rows say of their tokenizer: name@digest/precision."""
    return f"{tokenizer.name}@{tokenizer.digest[:12]}/{tokenizer.precision}"


def check_audio(samples: Samples, sample_rate_hz: int, max_seconds: float) -> None:
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
