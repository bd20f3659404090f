"""What is done to samples, whatever they are: energy, filters, lengths, and noise at an exact distance.

Samples are float64 (n,) in steps of int16, not yet rounded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

LOUDEST = 32_700  # of 32,767: what whole steps may add fits beside it
STOP_DB = 80.0  # what is above a low-pass filter's band is this far down
SEAM_S = 0.02


def energy(samples: Samples) -> float:
    """Return the sum of squares: by NumPy's sum, since a BLAS adds in an order that depends on its threads."""
    return float(np.square(samples).sum())


def with_energy(samples: Samples, wanted: float) -> Samples:
    """Return samples at another energy; silence stays as it is."""
    own = energy(samples)
    scaled: Samples = samples * np.sqrt(wanted / own) if own else samples
    return scaled


class Noisy(NamedTuple):
    """Speech in noise, in whole steps: their sum is what is heard."""

    speech: Samples
    noise: Samples
    gain_db: float  # of the speech, over what it was

    @property
    def snr_db(self) -> float:
        """Energy of the speech over that of the noise, as they are."""
        return round(10 * float(np.log10(energy(self.speech) / energy(self.noise))), 3)


def in_noise(speech: Samples, noise: Samples, snr_db: float, gain_db: float = 0.0) -> Noisy:
    """Return speech with noise `snr_db` below it, both over the whole clip.

    Args:
        noise: of any energy, or (0,) for none.
        gain_db: of the speech; less, where speech would clip, with the noise or without.
    """
    snr = 10 ** (snr_db / 10)
    gain_db = _gain_db(speech, with_energy(noise, energy(speech) / snr), gain_db)
    whole = np.rint(speech * 10 ** (gain_db / 20))
    return Noisy(whole, in_whole_steps(noise, energy(whole) / snr), gain_db)


def _gain_db(speech: Samples, noise: Samples, wanted_db: float) -> float:
    """Return the wanted gain, or the largest at which speech clips neither with noise nor without."""
    peak = max(float(np.abs(s).max(initial=0)) for s in (speech, speech + noise if noise.size else speech))
    if peak * 10 ** (wanted_db / 20) <= LOUDEST:
        return wanted_db
    return float(np.floor(20_000 * np.log10(LOUDEST / peak)) / 1000)


def in_whole_steps(noise: Samples, wanted: float) -> Samples:
    """Return noise, louder or quieter, in whole steps whose energy is as near to the wanted as they come.

    Rounding moves the noise's norm by half a step a sample at most, which bounds the factor from both sides; the
    energy of what is rounded never falls as the factor grows, so that halving finds it.
    """
    norm, slack = np.sqrt(energy(noise)), 0.5 * np.sqrt(noise.size)
    if norm == 0 or wanted == 0:
        return np.zeros_like(noise)
    low, high = max(0.0, np.sqrt(wanted) - slack) / norm, (np.sqrt(wanted) + slack) / norm
    for _ in range(40):
        middle = (low + high) / 2
        steps: Samples = np.rint(middle * noise)
        ratio = energy(steps) / wanted
        if abs(ratio - 1) < 1e-3:  # 0.004 dB
            return steps
        low, high = (middle, high) if ratio < 1 else (low, middle)
    return min((np.rint(factor * noise) for factor in (low, high)), key=lambda steps: abs(energy(steps) - wanted))


def convolved(samples: Samples, taps: Samples) -> Samples:
    """Return the full convolution, float64 (n + taps - 1,).

    By NumPy at a power of two: torchaudio's fftconvolve transforms at whatever the length is, 30 times slower.
    """
    n = samples.size + taps.size - 1
    padded = power_of_two(n)
    result: Samples = np.fft.irfft(np.fft.rfft(samples, padded) * np.fft.rfft(taps, padded), padded)
    return result[:n]


def filtered(samples: Samples, taps: Samples) -> Samples:
    """Return float64 (n,) filtered by symmetric taps, in time with what it was."""
    return convolved(samples, taps)[taps.size // 2 :][: samples.size]


def power_of_two(n: int) -> int:
    """Return the least power of two that is no less than n."""
    return 1 << (n - 1).bit_length()


def low_pass(band_hz: float, rate_hz: int) -> Samples:
    """Return a linear-phase FIR filter: flat up to 0.9 times `band_hz`, 80 dB down from there on (Kaiser's window)."""
    width = 0.1 * band_hz / rate_hz  # of the transition, in cycles a sample
    half = int(np.ceil((STOP_DB - 7.95) / (14.36 * width) / 2))
    at = np.arange(-half, half + 1)
    cut = 0.95 * band_hz / rate_hz
    taps: Samples = 2 * cut * np.sinc(2 * cut * at) * np.kaiser(at.size, 0.1102 * (STOP_DB - 8.7))
    return taps


def as_long(samples: Samples, n: int, rate_hz: int, rng: np.random.Generator) -> Samples:
    """Return float64 (n,): the beginning, or the whole over and over from a drawn place on, its seam of 20 ms faded."""
    if samples.size >= n:
        return samples[:n]
    seam = min(int(SEAM_S * rate_hz), samples.size // 2)
    rise = np.sin(np.pi / 2 * (np.arange(seam) + 0.5) / max(seam, 1))
    ring = samples[: samples.size - seam].copy()
    ring[:seam] = ring[:seam] * rise + samples[samples.size - seam :] * rise[::-1]
    return np.resize(np.roll(ring, -int(rng.integers(ring.size))), n)
