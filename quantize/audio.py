"""Bytes to mono samples, and samples to another rate."""

import io
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from quantize.tokenizer import AudioError

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

MAX_PHASES = 1000
BLOCK_FRAMES = 2**18
"""Decoded at once: what a header says of a file's length is no reason to take memory."""
MOST_FRAMES = 2**32
"""That a header is believed to announce: a day. Streamed FLAC says 2**63 - 1, or nothing at all."""


def decode_audio(source: bytes | Path) -> tuple[NDArray[np.float32], int]:
    """Decode a whole file to float32 (n_samples,) in -1..1, channels averaged, and its sample rate in Hz.

    Reads what libsndfile reads: wav, flac, mp3, ogg (vorbis, opus), aiff and others. Raises
    AudioError for bytes that are no audio, hold no samples, or hold samples that are not finite;
    OSError where the path cannot be read.
    """
    data = source.read_bytes() if isinstance(source, Path) else source
    label = str(source) if isinstance(source, Path) else f"{len(data)} bytes"
    try:
        with _Stream(io.BytesIO(data)) as file:
            blocks = list(_mono_blocks(file))
            sample_rate_hz = int(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{label}: not audio that libsndfile reads ({error})") from error
    if not blocks:
        raise AudioError(f"{label}: no samples")
    samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    if not np.isfinite(samples).all():
        raise AudioError(f"{label}: holds samples that are not finite")
    return samples, sample_rate_hz


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from front to end: soundfile would seek after every read, which moves MP3 and fails in FLAC
    whose header does not know its length.
    """

    def seekable(self) -> bool:
        return False


def _mono_blocks(file: soundfile.SoundFile) -> Iterator[NDArray[np.float32]]:
    """Yield a file's samples to its end, wherever its header says that it lies, channels averaged."""
    while True:
        channels = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
        if len(channels) == 0:
            return
        yield channels.mean(axis=1, dtype=np.float32)


def audio_header(data: bytes) -> tuple[int, float]:
    """Return the sample rate in Hz and the seconds that a file's header tells; counted where it cannot be right.

    Raises AudioError, as `decode_audio`.
    """
    try:
        about = soundfile.info(io.BytesIO(data))
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{len(data)} bytes: not audio that libsndfile reads ({error})") from error
    if about.frames <= 0:
        raise AudioError(f"{len(data)} bytes: no samples")
    if about.frames > MOST_FRAMES:
        samples, sample_rate_hz = decode_audio(data)
        return sample_rate_hz, samples.size / sample_rate_hz
    return int(about.samplerate), float(about.frames / about.samplerate)


def resample(samples: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Band-limited (windowed sinc) resampling of float32 (n,) to float32 (ceil(n * to_hz / from_hz),).

    Exact for every ratio that reduces to at most 1000 output phases, all usual rates among them
    (22,050 -> 16,000 has 320). A kernel of 16,000 phases would take gigabytes, so any other ratio is
    rounded to the nearest such one (16 kHz from 8 kHz or more: off by at most 0.05 %) and the result
    cut, or padded by zeros, to the length above.
    """
    if from_hz <= 0 or to_hz <= 0:
        raise ValueError(f"sample rates must be positive, not {from_hz} and {to_hz}")
    if from_hz == to_hz or samples.size == 0:
        return samples
    ratio = Fraction(from_hz, to_hz).limit_denominator(MAX_PHASES)
    if ratio == 0:
        raise ValueError(f"cannot resample {from_hz} Hz to {to_hz} Hz: more than {MAX_PHASES} times up")
    n_out = -(-samples.size * to_hz // from_hz)
    kernel = _kernel(ratio.numerator, ratio.denominator)
    out: NDArray[np.float32] = kernel(torch.from_numpy(samples)).numpy()
    return out[:n_out] if out.size >= n_out else np.pad(out, (0, n_out - out.size))


@lru_cache(maxsize=16)
def _kernel(from_hz: int, to_hz: int) -> "Resample":
    """torchaudio's resampler with its filter computed once per ratio (Hann window, 6 zero crossings, roll-off 0.99)."""
    from torchaudio.transforms import Resample

    return Resample(from_hz, to_hz)
