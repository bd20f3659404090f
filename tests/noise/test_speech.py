"""Speech that nobody understands: SNR as said, measured apart; fragments as long as said; backwards is backwards."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from noise.lasting import COLOURS, coloured
from noise.signal import as_long
from noise.sounds import FULL_SCALE, drawn
from noise.speech import MASKERS, TALKERS, _like, babble, choose, fragment, masked, reversed_, trimmed

RATE = 16_000
Samples = NDArray[np.float64]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def voiced(seconds: float = 2.0, seed: int = 0, peak: float = 9000) -> Samples:
    """Return something like speech: a few partials of a drawn pitch that come and go three times a second."""
    at = np.arange(int(seconds * RATE)) / RATE
    pitch = rng(seed).uniform(90, 250)
    sound = sum(np.sin(2 * np.pi * k * pitch * at + k) / k for k in range(1, 12)) * np.sin(np.pi * 3 * at + seed) ** 2
    return np.asarray(sound * (peak / np.abs(sound).max()))


@pytest.mark.parametrize("n", [640, 31_999, 90_000])
def test_the_snr_of_masked_speech_is_what_is_said(n: int) -> None:
    """The sound is taken apart again, by least squares, into the speech and the noise that was drawn."""
    names = set()
    for seed in range(12):
        speech = voiced(seed=seed)
        sound, said = masked(speech, n, RATE, rng(seed), (-30.0, -15.0))
        replayed = rng(seed)
        clear = as_long(speech, n, RATE, replayed)
        wanted, name = drawn((-30.0, -15.0), replayed, 2), MASKERS[int(replayed.integers(len(MASKERS)))]
        over = _like(clear, RATE, replayed) if name == "speech" else coloured(COLOURS[name], n, RATE, replayed)
        parts = np.stack([clear, over], axis=1)
        factors = np.linalg.lstsq(parts, sound, rcond=None)[0]
        of_speech, of_noise = np.square(parts * factors).sum(axis=0)
        assert said == {"snr_db": said["snr_db"], "noise": name}
        assert said["snr_db"] == pytest.approx(10 * np.log10(of_speech / of_noise), abs=0.1)
        assert said["snr_db"] == pytest.approx(wanted, abs=0.1)
        assert np.abs(sound).max() <= FULL_SCALE - 1
        names.add(name)
    assert len(names) > 1


def test_noise_like_the_speech_has_its_spectrum_and_neither_its_pauses_nor_its_pitch() -> None:
    speech = np.concatenate([voiced(4.0), np.zeros(2 * RATE), voiced(4.0)])
    noise = _like(speech, RATE, rng(3))
    power, own = (np.square(np.abs(np.fft.rfft(samples))) for samples in (noise, speech))
    hz = np.fft.rfftfreq(speech.size, 1 / RATE)
    bands = [(hz >= low) & (hz < low + 900) for low in range(0, 1800, 900)]
    shares, wanted = ([float(of[band].sum() / of.sum()) for band in bands] for of in (power, own))
    assert shares == pytest.approx(wanted, rel=0.25)
    pause = slice(int(4.1 * RATE), int(5.9 * RATE))
    assert np.square(speech[pause]).mean() == 0
    assert np.square(noise[pause]).mean() > 0.7 * np.square(noise).mean()
    low = (hz > 100) & (hz < 1500)
    assert own[low].max() > 200 * np.median(own[low])  # lines
    smooth = power[low][: low.sum() // 40 * 40].reshape(-1, 40).mean(axis=1)
    assert smooth.max() < 20 * np.median(smooth)  # none


@pytest.mark.parametrize("n", [640, 5000, 64_000])
def test_a_fragment_is_short_and_the_rest_is_a_room(n: int) -> None:
    places = set()
    for seed in range(30):
        sound, said = fragment(voiced(seed=seed), n, RATE, rng(seed))
        size = round(said["seconds"] * RATE)
        assert sound.shape == (n,)
        assert min(n, 0.15 * RATE) <= size + 1
        assert size <= 0.4 * RATE + 1
        part, rest = (sound[:size], sound[size:]) if said["at"] == "start" else (sound[n - size :], sound[: n - size])
        assert np.square(part).mean() > np.square(300.0)
        if rest.size > RATE:
            level = 20 * np.log10(np.sqrt(np.square(rest).mean()) / FULL_SCALE)
            assert level == pytest.approx(said["floor_dbfs"], abs=1.5)
        places.add(said["at"])
    assert places == {"start", "end"}


def test_a_fragment_is_of_the_loud_part() -> None:
    half_silent = np.concatenate([np.zeros(2 * RATE), voiced(0.5), np.zeros(2 * RATE)])
    for seed in range(20):
        sound, said = fragment(half_silent, RATE, RATE, rng(seed))
        size = round(said["seconds"] * RATE)
        part = sound[:size] if said["at"] == "start" else sound[RATE - size :]
        assert np.square(part).mean() > np.square(300.0)


def test_reversed_speech_is_its_beginning_backwards() -> None:
    speech = voiced()
    assert (reversed_(speech, 20_000, RATE, rng())[0] == speech[:20_000][::-1]).all()
    longer = reversed_(speech, 100_000, RATE, rng())[0]
    assert longer.shape == (100_000,)
    assert np.square(longer).mean() == pytest.approx(np.square(speech).mean(), rel=0.2)


def test_a_babble_hears_everybody_alike_however_loud_they_were() -> None:
    talkers = [voiced(1 + seed / 3, seed) for seed in range(9)]
    sound, said = babble(talkers, 50_000, RATE, rng(1))
    scaled, _ = babble([samples * 3.0**number for number, samples in enumerate(talkers)], 50_000, RATE, rng(1))
    assert scaled == pytest.approx(sound, rel=1e-6, abs=1e-3)
    assert said["talkers"] == 9
    assert 20 * np.log10(np.sqrt(np.square(sound).mean()) / FULL_SCALE) == pytest.approx(said["level_dbfs"], abs=1e-6)


def test_utterances_are_chosen_that_are_long_enough_and_several_for_a_babble() -> None:
    seconds = np.array([1.0, 1.1, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 5.5, 6.0, 7.0, 8.0, 8.0, 8.0, 8.5, 8.7, 9.0])
    for seed in range(60):
        (one,) = choose("masked", seconds, 3.0, rng(seed))
        assert seconds[one] >= 3.0
        (one,) = choose("reversed", seconds, 20.0, rng(seed))
        assert 0 <= one < seconds.size
        many = choose("babble", seconds, 3.0, rng(seed))
        assert TALKERS[0] <= len(many) <= TALKERS[1]
        assert len(set(many)) == len(many)
        assert len(choose("babble", seconds[:3], 3.0, rng(seed))) >= TALKERS[0]
    assert {choose("masked", seconds, 8.6, rng(seed))[0] for seed in range(60)} == {15, 16}


def test_the_silence_around_an_utterance_goes() -> None:
    speech = voiced(0.5)
    around = np.concatenate([np.zeros(4000), speech, np.ones(3000)])
    loud = np.flatnonzero(np.abs(speech) > 90)  # 40 dB below its peak
    assert (trimmed(around) == speech[loud[0] : loud[-1] + 1]).all()
    assert trimmed(np.zeros(100)).size == 0
    assert trimmed(np.zeros(0)).size == 0
