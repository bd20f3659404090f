"""Sounds without a word in them: noise, hum, clicks, silence. Each draws its own parameters, and says them.

Samples are float64 (n,) in steps of int16, not yet rounded. Levels are of the RMS, in dB under full scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from noise.lasting import COLOURS, coloured
from noise.signal import Samples, with_energy

Params = dict[str, Any]
Range = tuple[float, float]

FULL_SCALE = 32_768
LEVEL_DBFS: Range = (-45.0, -15.0)
FLOOR_DBFS: Range = (-75.0, -55.0)  # of what is heard where nothing is: a microphone, a room
SILENCE_DBFS: Range = (-90.0, -60.0)  # -90: one step of int16
MAINS_HZ = (50.0, 60.0)
MOST_DRIFT_HZ = 0.2  # of the mains' frequency, within seconds
HARMONICS = (3, 16)
CLICKS_PER_SECOND: Range = (1.0, 12.0)
CLICK_HZ: Range = (800.0, 6000.0)
CLICK_MS: Range = (0.3, 4.0)  # in which a click falls to 37 %
CLICK_PEAK_DBFS: Range = (-20.0, -3.0)


def drawn(limits: Range, rng: np.random.Generator, decimals: int = 1) -> float:
    """Return a number drawn uniformly from a range, rounded: what is written is what is done."""
    return round(float(rng.uniform(*limits)), decimals)


def at_level(samples: Samples, dbfs: float) -> Samples:
    """Return samples at an RMS level."""
    return with_energy(samples, samples.size * (FULL_SCALE * 10 ** (dbfs / 20)) ** 2)


def floor(n: int, rate_hz: int, rng: np.random.Generator) -> tuple[Samples, float]:
    """Return the faint pink noise of a room, and its level."""
    dbfs = drawn(FLOOR_DBFS, rng)
    return at_level(coloured(COLOURS["pink"], n, rate_hz, rng), dbfs), dbfs


def _coloured(colour: str) -> Callable[[int, int, np.random.Generator], tuple[Samples, Params]]:
    def make(n: int, rate_hz: int, rng: np.random.Generator) -> tuple[Samples, Params]:
        dbfs = drawn(LEVEL_DBFS, rng)
        return at_level(coloured(COLOURS[colour], n, rate_hz, rng), dbfs), {"level_dbfs": dbfs}

    return make


def hum(n: int, rate_hz: int, rng: np.random.Generator) -> tuple[Samples, Params]:
    """Return mains hum: harmonics of 50 or 60 Hz that drift together, over the floor of a room."""
    mains = float(rng.choice(MAINS_HZ))
    harmonics = int(rng.integers(HARMONICS[0], HARMONICS[1] + 1))
    drift, period_s = drawn((0.0, MOST_DRIFT_HZ), rng, 3), drawn((2.0, 10.0), rng)
    seconds = np.arange(n) / rate_hz
    hz = mains + drift * np.sin(2 * np.pi * (seconds / period_s + rng.random()))
    phase = 2 * np.pi * np.cumsum(hz) / rate_hz
    falls = rng.uniform(0.3, 1.5)
    tone = np.zeros(n)
    for k in range(1, harmonics + 1):
        tone += k**-falls * rng.uniform(0.2, 1.0) * np.sin(k * phase + 2 * np.pi * rng.random())
    dbfs = drawn(LEVEL_DBFS, rng)
    under, floor_dbfs = floor(n, rate_hz, rng)
    said = {"hz": mains, "harmonics": harmonics, "drift_hz": drift, "level_dbfs": dbfs, "floor_dbfs": floor_dbfs}
    return at_level(tone, dbfs) + under, said


def clicks(n: int, rate_hz: int, rng: np.random.Generator) -> tuple[Samples, Params]:
    """Return clicks at drawn moments, one at least, each a note that dies within milliseconds, over a room's floor."""
    per_second = drawn(CLICKS_PER_SECOND, rng)
    count = max(1, int(rng.poisson(per_second * n / rate_hz)))
    sound, floor_dbfs = floor(n, rate_hz, rng)
    for start in rng.integers(0, n, count):
        decay = rate_hz * rng.uniform(*CLICK_MS) / 1000
        at = np.arange(min(n - start, int(7 * decay) + 1))
        peak = FULL_SCALE * 10 ** (rng.uniform(*CLICK_PEAK_DBFS) / 20) * rng.choice((-1.0, 1.0))
        sound[start : start + at.size] += (
            peak * np.exp(-at / decay) * np.cos(2 * np.pi * rng.uniform(*CLICK_HZ) / rate_hz * at)
        )
    return sound, {"clicks": count, "floor_dbfs": floor_dbfs}


def silence(n: int, rate_hz: int, rng: np.random.Generator) -> tuple[Samples, Params]:
    """Return all but nothing: faint noise of a drawn colour, dithered (triangular, two steps wide), never all zeros."""
    dbfs = drawn(SILENCE_DBFS, rng)
    colour = list(COLOURS)[int(rng.integers(len(COLOURS)))]
    faint = at_level(coloured(COLOURS[colour], n, rate_hz, rng), dbfs)
    return faint + rng.triangular(-1.0, 0.0, 1.0, n), {"noise": colour, "level_dbfs": dbfs}


SOUNDS: Mapping[str, Callable[[int, int, np.random.Generator], tuple[Samples, Params]]] = {
    **{colour: _coloured(colour) for colour in COLOURS},
    "hum": hum,
    "clicks": clicks,
    "silence": silence,
}
"""Name -> what makes float64 (n,) samples at a rate in Hz, with its parameters."""
