"""Sounds without words, measured: hum at its harmonics, clicks that stand out, silence that is some"""

from __future__ import annotations

import numpy as np
import pytest

from noise.sounds import FULL_SCALE, LEVEL_DBFS, SILENCE_DBFS, SOUNDS

RATE = 16_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def dbfs(samples: np.ndarray) -> float:
    return 20 * float(np.log10(np.sqrt(np.square(samples).mean()) / FULL_SCALE))


@pytest.mark.parametrize("rate_hz", [16_000, 24_000])
@pytest.mark.parametrize("kind", SOUNDS)
def test_each_is_as_long_as_asked_and_the_same_for_the_same_draw(kind: str, rate_hz: int) -> None:
    for n in (1, 640, 641, 50_000):
        sound, said = SOUNDS[kind](n, rate_hz, rng(n))
        assert sound.shape == (n,)
        assert np.isfinite(sound).all()
        again, same = SOUNDS[kind](n, rate_hz, rng(n))
        assert (sound == again).all()
        assert said == same
    assert (SOUNDS[kind](5000, rate_hz, rng(1))[0] != SOUNDS[kind](5000, rate_hz, rng(2))[0]).any()


@pytest.mark.parametrize("kind", ["white", "pink", "brown", "hum"])
def test_the_level_is_what_is_said(kind: str) -> None:
    for seed in range(20):
        sound, said = SOUNDS[kind](80_000, RATE, rng(seed))
        assert LEVEL_DBFS[0] <= said["level_dbfs"] <= LEVEL_DBFS[1]
        assert dbfs(sound) == pytest.approx(said["level_dbfs"], abs=0.2 if kind == "hum" else 1e-6)


def test_hum_lies_at_multiples_of_its_mains() -> None:
    for seed in range(10):
        sound, said = SOUNDS["hum"](8 * RATE, RATE, rng(seed))
        power = np.square(np.abs(np.fft.rfft(sound * np.hanning(sound.size))))
        hz = np.fft.rfftfreq(sound.size, 1 / RATE)
        off = np.abs(hz - said["hz"] * np.round(hz / said["hz"]))
        near = off <= 1 + said["drift_hz"] * np.maximum(1, hz / said["hz"])
        audible = (hz > 20) & (hz < said["hz"] * (said["harmonics"] + 0.5))
        assert said["hz"] in (50.0, 60.0)
        assert power[audible & near].sum() > 0.95 * power.sum()


def test_clicks_stand_out_of_the_floor_and_are_as_many_as_said() -> None:
    for seed in range(20):
        sound, said = SOUNDS["clicks"](3 * RATE, RATE, rng(seed))
        loud = np.flatnonzero(np.abs(sound) > 10 * FULL_SCALE * 10 ** (said["floor_dbfs"] / 20))
        onsets = 1 + int((np.diff(loud) > 0.03 * RATE).sum())
        assert 1 <= onsets <= said["clicks"]
        assert np.abs(sound).max() > 50 * np.median(np.abs(sound))


def test_silence_is_faint_dithered_and_never_all_zeros() -> None:
    for seed in range(60):
        sound, said = SOUNDS["silence"](RATE, RATE, rng(seed))
        whole = np.rint(sound)
        assert whole.any()
        assert (whole[1:] != whole[:-1]).mean() > 0.2  # no stretch that a codec would call digital silence
        assert SILENCE_DBFS[0] <= said["level_dbfs"] <= SILENCE_DBFS[1]
        assert dbfs(whole) < -55
