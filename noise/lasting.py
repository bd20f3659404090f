"""Noise that goes on for as long as it is wanted: of a colour, or recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile  # type: ignore[import-untyped,unused-ignore]

from noise.signal import Samples, as_long, power_of_two

COLOURS: Mapping[str, float] = {"white": 0.0, "pink": 1.0, "brown": 2.0}
"""Generated noises: power falls by frequency to this exponent."""

LOWEST_HZ = 50.0  # generated noise starts here: most of brown noise would else lie below what can be heard


class NoiseError(ValueError):
    """A recording of noise cannot be read."""


def coloured(exponent: float, n: int, rate_hz: int, rng: np.random.Generator) -> Samples:
    """Return float64 (n,) of Gaussian noise whose power falls by frequency to an exponent, from 50 Hz on."""
    padded = power_of_two(max(n, 2))
    hz = np.fft.rfftfreq(padded, 1 / rate_hz)
    shape = np.where(hz >= LOWEST_HZ, np.maximum(hz, LOWEST_HZ) ** (-exponent / 2), 0)
    noise: Samples = np.fft.irfft(np.fft.rfft(rng.standard_normal(padded)) * shape, padded)
    return noise[:n]


def recorded(path: Path, n: int, rate_hz: int, rng: np.random.Generator) -> Samples:
    """Return float64 (n,) of a recording from a drawn place on; a shorter one goes round, its seam faded.

    Only what is needed is read: recordings of noise are long. Raises NoiseError.
    """
    from quantize.audio import resample  # loads torch: in workers only

    try:
        with soundfile.SoundFile(path) as file:
            from_hz = int(file.samplerate)
            needed = -(-n * from_hz // rate_hz)
            file.seek(int(rng.integers(max(1, file.frames - needed + 1))))
            samples = file.read(needed, dtype="float32", always_2d=True).mean(axis=1, dtype=np.float64)
    except soundfile.LibsndfileError as error:
        raise NoiseError(f"{path}: not audio that libsndfile reads ({error})") from error
    if not samples.size or not np.isfinite(samples).all():
        raise NoiseError(f"{path}: holds {'samples that are not finite' if samples.size else 'no samples'}")
    at_rate = resample(samples.astype(np.float32), from_hz, rate_hz).astype(np.float64)
    return as_long(at_rate, n, rate_hz, rng)
