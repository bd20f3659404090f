"""Speech that nobody understands: many at once, buried in noise, cut to a fragment, backwards.

Samples are float64 (n,) in steps of int16, not yet rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noise.lasting import COLOURS, coloured
from noise.signal import Samples, as_long, in_noise, power_of_two, with_energy
from noise.sounds import at_level, drawn, floor

Params = dict[str, Any]
Range = tuple[float, float]

TALKERS = (10, 16)  # of fewer, one stands out now and then: docs/noise.md has the figures
BABBLE_DBFS: Range = (-35.0, -18.0)
MASKERS = ("speech", "pink")  # white leaves what is below 1 kHz bare, brown what is above
FRAGMENT_S: Range = (0.15, 0.4)
AT_THE_END = 1 / 3  # share of the fragments
FRAGMENT_LOUD = 0.25  # of the loudest place's energy: it must be speech and no pause
SMOOTH_HZ = 400.0  # wider than the pitch of any voice
HOP_S = 0.01
QUIET = 0.01  # of the peak: 40 dB
FADE_S = 0.005


def choose(kind: str, seconds: NDArray[np.float64], wanted: float, rng: np.random.Generator) -> list[int]:
    """Return which utterances a kind takes for a sound of so many seconds: several for a babble, else one.

    One of those that are as long as wanted, where there is one: else it will have to go round.

    Args:
        seconds: of each utterance, float64 (n,), n > 0, ascending.
    """
    if kind == "babble":
        talkers = int(rng.integers(TALKERS[0], TALKERS[1] + 1))
        return [int(i) for i in rng.choice(seconds.size, talkers, replace=seconds.size < talkers)]
    first = int(np.searchsorted(seconds, wanted))
    return [int(rng.integers(first if first < seconds.size else 0, seconds.size))]


def trimmed(samples: Samples) -> Samples:
    """Return samples from the first that is within 40 dB of the loudest to the last; (0,) of silence."""
    heard = np.flatnonzero(np.abs(samples) > QUIET * np.abs(samples).max(initial=0))
    return samples[heard[0] : heard[-1] + 1] if heard.size else samples[:0]


def babble(utterances: Sequence[Samples], n: int, rate_hz: int, rng: np.random.Generator) -> tuple[Samples, Params]:
    """Return utterances over each other, equally loud, each from a drawn place on."""
    sound = np.zeros(n)
    for utterance in utterances:
        sound += _from_anywhere(with_energy(utterance, utterance.size), n, rate_hz, rng)
    dbfs = drawn(BABBLE_DBFS, rng)
    return at_level(sound, dbfs), {"talkers": len(utterances), "level_dbfs": dbfs}


def _from_anywhere(samples: Samples, n: int, rate_hz: int, rng: np.random.Generator) -> Samples:
    """Return float64 (n,) of samples from a drawn place on; shorter ones go round."""
    start = int(rng.integers(max(1, samples.size - n + 1)))
    return as_long(samples[start:], n, rate_hz, rng)


def masked(utterance: Samples, n: int, rate_hz: int, rng: np.random.Generator, snr_db: Range) -> tuple[Samples, Params]:
    """Return an utterance under noise far above it: pink, or of the utterance's own spectrum.

    Args:
        snr_db: range of the energy of the speech over that of the noise, both over the whole clip; what is said is
            measured in the samples.
    """
    speech = as_long(utterance, n, rate_hz, rng)
    wanted, name = drawn(snr_db, rng, 2), MASKERS[int(rng.integers(len(MASKERS)))]
    over = _like(speech, rate_hz, rng) if name == "speech" else coloured(COLOURS[name], n, rate_hz, rng)
    noisy = in_noise(speech, over, wanted)
    return noisy.speech + noisy.noise, {"snr_db": noisy.snr_db, "noise": name}


def _like(speech: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
    """Return steady noise of the same spectrum, without the lines that a voice's pitch leaves in it."""
    padded = power_of_two(speech.size)
    power = np.square(np.abs(np.fft.rfft(speech, padded)))
    half = int(SMOOTH_HZ / 2 * padded / rate_hz)
    sums = np.concatenate([[0.0], np.cumsum(power)])
    at = np.arange(power.size)
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, power.size)
    shape = np.sqrt((sums[high] - sums[low]) / (high - low))
    noise: Samples = np.fft.irfft(np.fft.rfft(rng.standard_normal(padded)) * shape, padded)
    return noise[: speech.size]


def fragment(utterance: Samples, n: int, rate_hz: int, rng: np.random.Generator) -> tuple[Samples, Params]:
    """Return 0.15 to 0.4 s of an utterance, and before or after it the faint noise of a room."""
    size = min(n, utterance.size, int(rate_hz * drawn(FRAGMENT_S, rng, 2)))
    start = _loud_place(utterance, size, int(HOP_S * rate_hz), rng)
    fade = min(int(FADE_S * rate_hz), size // 2)
    part = utterance[start : start + size].copy()
    part[:fade] *= np.linspace(0, 1, fade)
    part[size - fade :] *= np.linspace(1, 0, fade)
    at_end = bool(rng.random() < AT_THE_END)
    sound, floor_dbfs = floor(n, rate_hz, rng)
    place = n - size if at_end else 0
    sound[place : place + size] += part
    return sound, {"seconds": round(size / rate_hz, 3), "at": "end" if at_end else "start", "floor_dbfs": floor_dbfs}


def _loud_place(samples: Samples, size: int, hop: int, rng: np.random.Generator) -> int:
    """Return a drawn place from which `size` samples hold a good part of the energy that they could."""
    sums = np.concatenate([[0.0], np.cumsum(np.square(samples))])
    starts = np.arange(0, samples.size - size + 1, hop)
    held = sums[starts + size] - sums[starts]
    return int(rng.choice(starts[held >= FRAGMENT_LOUD * held.max()]))


def reversed_(utterance: Samples, n: int, rate_hz: int, rng: np.random.Generator) -> tuple[Samples, Params]:
    """Return the beginning of an utterance backwards."""
    return as_long(utterance, n, rate_hz, rng)[::-1], {}
