"""Samples to FLAC bytes, and the check for silence."""

import io

import numpy as np
import soundfile  # type: ignore[import-untyped,unused-ignore]
from numpy.typing import NDArray

# libsndfile maps 0.0..1.0 to FLAC levels 0..8. 0.6 (level 5) is the knee on eSpeak's speech: 4 %
# smaller than 0.0 for 10 % more time; 1.0 is another 1 % smaller for twice the time.
FLAC_COMPRESSION = 0.6

# Quieter than this at its loudest sample, audio holds no speech: eSpeak's peaks at -10 dBFS.
SILENCE_PEAK_DBFS = -60.0
_SILENCE_PEAK = 32_768 * 10 ** (SILENCE_PEAK_DBFS / 20)  # 32.8 steps of int16


def flac_bytes(samples: NDArray[np.int16], sample_rate_hz: int) -> bytes:
    """Encode mono int16 (n_samples,) as 16-bit FLAC, lossless; the same samples, the same bytes.

    Raises ValueError for another dtype or shape, which soundfile would rescale without a word, and
    for no samples, of which libsndfile makes a file that it cannot read.
    """
    if samples.dtype != np.int16 or samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"need int16 (n,) with n > 0, got {samples.dtype} {samples.shape}")
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer,
        "w",
        samplerate=sample_rate_hz,
        channels=1,
        subtype="PCM_16",
        format="FLAC",
        compression_level=FLAC_COMPRESSION,
    ) as file:
        file.write(samples)
    return buffer.getvalue()


def is_silent(samples: NDArray[np.int16]) -> bool:
    """Whether int16 (n_samples,) is empty or peaks below `SILENCE_PEAK_DBFS`."""
    if samples.size == 0:
        return True
    peak = max(int(samples.max()), -int(samples.min()))
    return peak < _SILENCE_PEAK
