"""Augmentation, measured: SNR in the stored samples, echo, bands, slopes, speed; the same bytes each time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from noise.lasting import COLOURS, NoiseError, coloured
from noise.signal import LOUDEST, energy, in_whole_steps, low_pass
from quantize.audio import decode_audio
from quantize.one_thread import one_thread
from tts.augment import ECHO_AFTER_S, Drawn, Ranges, augment, draw, room_response

RATE = 22_050
Whole = NDArray[np.int16]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def tones(seconds: float = 2.0, peak: float = 9000, hz: tuple[float, ...] = (200, 410, 1230)) -> Whole:
    """Return something voiced: a few partials that come and go three times a second."""
    at = np.arange(int(seconds * RATE)) / RATE
    sound = sum(np.sin(2 * np.pi * f * at + f) for f in hz) * np.sin(np.pi * 3 * at) ** 2
    return np.rint(sound * (peak / np.abs(sound).max())).astype(np.int16)


def mostly_silent() -> Whole:
    """Return speech in a tenth of the clip, zeros in the rest."""
    sound = np.zeros(5 * RATE, np.int16)
    sound[RATE : RATE + RATE // 2] = tones(0.5)
    return sound


SPEECH = {
    "voiced": tones(),
    "mostly silent": mostly_silent(),
    "full scale": tones(peak=32_767),
    "quiet": tones(peak=300),
    "short": tones(0.05),
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings of noise: shorter than the clips, at other rates, in stereo, loud."""
    folder = tmp_path_factory.mktemp("noise")
    soundfile.write(folder / "short.wav", rng(1).normal(0, 0.01, 3000), 16_000)
    (folder / "street").mkdir()
    soundfile.write(folder / "street" / "stereo.flac", rng(2).normal(0, 0.2, (200_000, 2)), 44_100)
    return folder


def decibels(ratio: float) -> float:
    return 10 * float(np.log10(ratio))


def clean_of(samples: Whole, drawn: Drawn, done: dict[str, float | str], folder: Path | None = None) -> Whole:
    """Return the same speech without noise, at the gain that the noisy one says it has."""
    gain = done.get("gain_db")
    clean, _ = augment(samples, RATE, replace(drawn, snr_db=None, noise=None, gain_db=gain), 0, folder)
    return clean


def measured_snr_db(clean: Whole, noisy: Whole) -> float:
    noise = noisy.astype(np.float64) - clean
    return decibels(energy(clean.astype(np.float64)) / energy(noise))


@pytest.mark.parametrize("noise", [*COLOURS, "short.wav", "street/stereo.flac"])
@pytest.mark.parametrize("speech", SPEECH)
def test_the_snr_of_the_stored_samples_is_the_drawn_one(speech: str, noise: str, recordings: Path) -> None:
    for snr_db, gain_db in itertools.product((-20, -3.3, 0, 12.5, 25), (None, -6, 20)):
        drawn = Drawn(snr_db=snr_db, gain_db=gain_db, noise=noise, seed=7)
        noisy, done = augment(SPEECH[speech], RATE, drawn, 0, recordings)
        found = measured_snr_db(clean_of(SPEECH[speech], drawn, done), noisy)
        assert found == pytest.approx(snr_db, abs=0.1), (speech, noise, snr_db, gain_db)
        assert done["snr_db"] == pytest.approx(found, abs=0.001)
        assert done["noise"] == noise
        assert np.abs(noisy.astype(int)).max() <= 32_767 - 50, "nothing clips"


def test_the_snr_is_met_beside_everything_else(recordings: Path) -> None:
    for seed, noise in enumerate([*COLOURS, "short.wav"] * 4):
        drawn = Drawn(0.9 + seed / 50, 0.3, 3000.0, 5.0 + seed, -seed / 2, noise, seed)
        noisy, done = augment(SPEECH["voiced"], RATE, drawn, 0, recordings)
        assert measured_snr_db(clean_of(SPEECH["voiced"], drawn, done, recordings), noisy) == pytest.approx(
            5 + seed, abs=0.1
        )


def test_the_snr_is_seen_in_the_spectrum_too() -> None:
    """Speech of partials that fill whole bins, so that all other bins hold noise alone: no idea of ours of a clean
    signal takes part."""
    n = 4 * RATE
    bins = np.array([800, 1640, 4920])
    speech = sum(5000 * np.sin(2 * np.pi * b * np.arange(n) / n) for b in bins)
    for snr_db in (-10.0, 5.0, 30.0):
        noisy, _ = augment(np.rint(speech).astype(np.int16), RATE, Drawn(snr_db=snr_db, noise="white", seed=3))
        power = np.abs(np.fft.rfft(noisy.astype(np.float64))) ** 2
        first = n // RATE * 50  # the first bin that noise is in
        empty = np.ones(power.size, bool)
        empty[bins] = False
        floor = power[first:][empty[first:]].mean()
        of_noise = floor * (power.size - first)
        of_speech = (power[bins] - floor).sum()
        assert decibels(of_speech / of_noise) == pytest.approx(snr_db, abs=0.1)


@given(st.integers(-20, 60), st.sampled_from([-40.0, -20.0, 0.0, 20.0]), st.integers(1, 400), st.integers(1, 30_000))
@settings(max_examples=200, deadline=None)
def test_the_row_says_what_is_in_the_samples_even_where_no_int16_could_hold_what_was_drawn(
    snr_db: int, gain_db: float, n: int, peak: int
) -> None:
    speech = rng(n).integers(-peak, peak + 1, n).astype(np.int16)
    drawn = Drawn(snr_db=float(snr_db), gain_db=gain_db, noise="white", seed=n)
    noisy, done = augment(speech, RATE, drawn)
    clean = clean_of(speech, drawn, done)
    if "snr_db" in done:
        assert done["snr_db"] == pytest.approx(measured_snr_db(clean, noisy), abs=0.001)
    else:
        assert "noise" not in done
        np.testing.assert_array_equal(noisy, clean)


@given(st.integers(0, 2**32), st.integers(1, 12), st.floats(0.1, 1e6))
@settings(max_examples=200, deadline=None)
def test_no_factor_brings_the_noise_in_whole_steps_nearer_to_the_energy(seed: int, n: int, wanted: float) -> None:
    noise = rng(seed).normal(0, 10, n)
    found = in_whole_steps(noise, wanted)
    np.testing.assert_array_equal(found, np.rint(found))
    factors = np.linspace(0, 2 * (np.sqrt(wanted) + np.sqrt(n)) / np.sqrt(energy(noise)), 4000)
    nearest = min(abs(energy(np.rint(factor * noise)) - wanted) for factor in factors)
    assert abs(energy(found) - wanted) <= max(nearest, 1e-3 * wanted)


def test_noise_is_where_speech_pauses_and_silence_gets_none() -> None:
    noisy, _ = augment(mostly_silent(), RATE, Drawn(snr_db=10, noise="white", seed=1))
    levels = [energy(part.astype(np.float64)) for part in np.array_split(noisy[3 * RATE :], 4)]
    assert max(levels) < 1.1 * min(levels)
    silence = np.zeros(1000, np.int16)
    same, done = augment(silence, RATE, Drawn(0.9, 0.2, 3000, 10, 6, "white", 1))
    assert not same.any()
    assert set(done) == {"speed", "rt60_s", "band_hz", "gain_db"}


def test_a_recording_that_is_silent_adds_nothing_and_is_not_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(5000), 16_000)
    same, done = augment(tones(), RATE, Drawn(snr_db=10, noise="silent.wav"), 0, tmp_path)
    assert done == {}
    np.testing.assert_array_equal(same, tones())


def test_gain_is_exact_until_it_would_clip_and_then_says_what_it_is() -> None:
    speech = tones(peak=9000)
    for gain_db in (-40.0, -7.25, 6.0, 11.2):
        changed, done = augment(speech, RATE, Drawn(gain_db=gain_db))
        assert done == {"gain_db": gain_db}
        np.testing.assert_array_equal(changed, np.rint(speech * 10 ** (gain_db / 20)))
    loud, done = augment(speech, RATE, Drawn(gain_db=20.0))
    assert done["gain_db"] == pytest.approx(20 * np.log10(LOUDEST / 9000), abs=0.001)
    assert LOUDEST - 10 <= np.abs(loud.astype(int)).max() <= LOUDEST
    np.testing.assert_allclose(loud, speech * 10 ** (float(done["gain_db"]) / 20), atol=0.5)


def test_nothing_drawn_changes_nothing() -> None:
    same, done = augment(tones(), RATE, Drawn())
    assert done == {}
    np.testing.assert_array_equal(same, tones())


@pytest.mark.parametrize("speed", [0.5, 0.87, 1.0, 1.13, 2.0])
def test_speed_moves_a_tone_and_the_length_by_its_factor(speed: float) -> None:
    n = 3 * RATE
    tone = np.rint(8000 * np.sin(2 * np.pi * 1000 * np.arange(n) / RATE)).astype(np.int16)
    changed, done = augment(tone, RATE, Drawn(speed=speed))
    assert done == {"speed": speed}
    assert changed.size == int(np.ceil(n / speed - 1e-9))
    middle = changed[changed.size // 4 :][: changed.size // 2]
    window = np.hanning(middle.size)
    spectrum = np.abs(np.fft.rfft(middle * window, 8 * middle.size))
    assert np.argmax(spectrum) * RATE / (8 * middle.size) == pytest.approx(1000 * speed, abs=0.1)
    assert decibels(energy(middle / 8000) / middle.size * 2) == pytest.approx(0, abs=0.05)


def decay_s(response: NDArray[np.float64]) -> float:
    """Return the RT60 by Schroeder's integration of what follows the direct sound: its fall from -5 to -35 dB."""
    echo = response[int(ECHO_AFTER_S * RATE) :].astype(np.float64)
    left = np.cumsum(echo[::-1] ** 2)[::-1]
    curve = 10 * np.log10(left[left > 0] / left[0])
    at = np.arange(curve.size) / RATE
    falling = (curve <= -5) & (curve >= -35)
    slope, _ = np.polyfit(at[falling], curve[falling], 1)
    return -60 / float(slope)


@pytest.mark.parametrize("rt60_s", [0.15, 0.4, 0.8, 2.0])
def test_a_room_rings_for_its_rt60(rt60_s: float) -> None:
    found = [decay_s(room_response(rt60_s, RATE, rng(seed))) for seed in range(12)]
    assert np.mean(found) == pytest.approx(rt60_s, rel=0.03)
    assert found == pytest.approx([rt60_s] * 12, rel=0.15)
    click = np.zeros(int(2.5 * RATE), np.int16)
    click[0] = 32_000
    heard, done = augment(click, RATE, Drawn(rt60_s=rt60_s, seed=5))
    assert done["rt60_s"] == rt60_s
    assert decay_s(heard.astype(np.float64)) == pytest.approx(rt60_s, rel=0.15)
    direct, echo = float(heard[0]) ** 2, energy(heard[1:].astype(np.float64))
    assert echo / direct == pytest.approx(0.25, rel=0.02)


def test_a_room_keeps_length_energy_and_time() -> None:
    speech = tones(peak=4000)
    wet, _ = augment(speech, RATE, Drawn(rt60_s=0.6, seed=2))
    assert wet.size == speech.size
    assert decibels(energy(wet.astype(np.float64)) / energy(speech.astype(np.float64))) == pytest.approx(0, abs=0.01)
    together = np.fft.irfft(np.fft.rfft(wet, 2**17) * np.conj(np.fft.rfft(speech, 2**17)))
    assert int(np.argmax(together)) == 0


@pytest.mark.parametrize("band_hz", [500.0, 3400.0, 8000.0])
def test_a_narrow_band_is_flat_below_and_empty_above(band_hz: float) -> None:
    white = np.rint(rng(3).normal(0, 5000, 2**18)).clip(-30_000, 30_000).astype(np.int16)
    narrow, done = augment(white, RATE, Drawn(band_hz=band_hz))
    assert done["band_hz"] == band_hz
    assert narrow.size == white.size
    spectra = [np.abs(np.fft.rfft(part.astype(np.float64) * np.hanning(white.size))) ** 2 for part in (white, narrow)]
    hz = np.fft.rfftfreq(white.size, 1 / RATE)
    kept, gone = hz < 0.9 * band_hz, hz > 1.01 * band_hz
    assert decibels(spectra[1][kept].sum() / spectra[0][kept].sum()) == pytest.approx(0, abs=0.02)
    assert decibels(spectra[1][gone].mean() / spectra[1][kept].mean()) < -70  # rounding to int16 is at -75
    together = np.fft.irfft(np.fft.rfft(narrow.astype(np.float64)) * np.conj(np.fft.rfft(white.astype(np.float64))))
    assert int(np.argmax(together)) == 0, "in time with what it was"
    gain = np.abs(np.fft.rfft(low_pass(band_hz, RATE), 2**16))
    at = np.fft.rfftfreq(2**16, 1 / RATE)
    assert np.abs(20 * np.log10(gain[at < 0.9 * band_hz])).max() < 0.01
    assert 20 * np.log10(gain[at > band_hz]).max() < -79


def test_a_band_that_the_samples_lack_is_neither_filtered_nor_told() -> None:
    same, done = augment(tones(), RATE, Drawn(band_hz=RATE / 2))
    assert done == {}
    np.testing.assert_array_equal(same, tones())


def test_noise_goes_over_the_same_channel() -> None:
    noisy, _ = augment(tones(hz=(200, 500)), RATE, Drawn(band_hz=2000, snr_db=0, noise="white", seed=4))
    power = np.abs(np.fft.rfft(noisy.astype(np.float64) * np.hanning(noisy.size))) ** 2
    hz = np.fft.rfftfreq(noisy.size, 1 / RATE)
    assert decibels(power[hz > 2100].mean() / power[(hz > 1000) & (hz < 1800)].mean()) < -60


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 48_000])
def test_generated_noise_falls_by_its_slope_from_50_hz_on(name: str, rate_hz: int) -> None:
    noise = coloured(COLOURS[name], 40 * rate_hz, rate_hz, rng(5))
    assert noise.size == 40 * rate_hz
    frames = noise[: noise.size // rate_hz * rate_hz].reshape(-1, rate_hz) * np.hanning(rate_hz)
    power = (np.abs(np.fft.rfft(frames)) ** 2).mean(axis=0)  # a bin is 1 Hz
    octaves = 100 * 2.0 ** np.arange(0, np.log2(rate_hz / 2 / 100), 0.5)
    levels = [decibels(power[int(low) : int(high)].mean()) for low, high in itertools.pairwise(octaves)]
    middles = [np.log10(np.arange(int(low), int(high))).mean() for low, high in itertools.pairwise(octaves)]
    slope, _ = np.polyfit(middles, levels, 1)
    assert slope == pytest.approx(-10 * COLOURS[name], abs=0.3)  # dB a decade
    assert decibels(power[:45].mean() / power[50:60].mean()) < -40
    assert abs(noise.mean()) < 1e-3 * noise.std()


def test_short_recordings_go_round_without_a_click(tmp_path: Path) -> None:
    """A recording that starts low and ends high: where it starts again, the step would be of its whole range."""
    soundfile.write(tmp_path / "ramp.wav", np.linspace(-0.5, 0.5, RATE // 4), RATE)
    speech = tones(2.0, peak=10)
    noisy, done = augment(speech, RATE, Drawn(snr_db=-60.0, noise="ramp.wav", seed=1), 0, tmp_path)
    assert done["noise"] == "ramp.wav"
    noise = noisy.astype(float) - clean_of(speech, Drawn(), done)
    assert noise.max() - noise.min() > 5000
    assert np.abs(np.diff(noise)).max() < 0.02 * (noise.max() - noise.min())
    period = RATE // 4 - round(0.02 * RATE)
    np.testing.assert_allclose(noise[period:], noise[:-period], atol=1.1)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_a_recording_sounds_as_high_as_it_is_at_any_rate(rate_hz: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 1000 / rate_hz * np.arange(3 * rate_hz)), rate_hz)
    noisy, _ = augment(tones(1.0, peak=30), RATE, Drawn(snr_db=-40.0, noise="tone.wav"), 0, tmp_path)
    power = np.abs(np.fft.rfft(noisy * np.hanning(noisy.size)))
    assert np.argmax(power) * RATE / noisy.size == pytest.approx(1000, abs=1.5)


def test_each_row_hears_its_own_part_of_a_long_recording(tmp_path: Path) -> None:
    at = np.arange(20 * 44_100) / 44_100
    soundfile.write(tmp_path / "sweep.flac", 0.5 * np.sin(2 * np.pi * (300 + 100 * at) * at), 44_100)
    speech = tones(0.5, peak=30)
    places = set()
    for seed in range(8):
        noisy, _ = augment(speech, RATE, Drawn(snr_db=-40.0, noise="sweep.flac", seed=seed), 0, tmp_path)
        power = np.abs(np.fft.rfft(noisy.astype(float) * np.hanning(noisy.size)))
        hz = float(np.argmax(power) * RATE / noisy.size)
        assert 290 < hz < 4400
        places.add(round((hz - 300) / 200, 1))
    assert len(places) >= 6


def test_utterances_of_a_row_share_the_room_and_not_the_noise() -> None:
    drawn = Drawn(rt60_s=0.3, snr_db=10.0, noise="pink", seed=9)
    first, second = (augment(tones(), RATE, drawn, number)[0].astype(float) for number in (0, 1))
    dry = [augment(tones(), RATE, replace(drawn, snr_db=None, noise=None), number)[0] for number in (0, 1)]
    np.testing.assert_array_equal(*dry)
    noises = [first - dry[0], second - dry[0]]
    assert abs(np.corrcoef(noises)[0, 1]) < 0.2


@pytest.mark.parametrize("broken", ["text.wav", "empty.wav", "infinite.wav"])
def test_a_broken_recording_of_noise_is_named(broken: str, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "infinite.wav", np.array([0.1, np.inf, 0.2] * 100), 16_000, subtype="FLOAT")
    with pytest.raises(NoiseError, match=str(tmp_path / broken)):
        augment(tones(), RATE, Drawn(snr_db=3.0, noise=broken), 0, tmp_path)


def some_draws(recordings: Path) -> list[Drawn]:
    ranges = Ranges((0.8, 1.2), (0.1, 0.5), (2000, 9000), (0, 30), (-12, 6))
    names = [*COLOURS, "short.wav", "street/stereo.flac"]
    drawn = [draw(1, f"row {number}", 1.0, ranges, names) for number in range(8)]
    return [one for one in drawn if one is not None]


def test_the_same_bytes_in_any_order_with_any_threads(recordings: Path) -> None:
    draws = some_draws(recordings)
    assert len(draws) == 8
    alone = [augment(tones(), RATE, drawn, 0, recordings)[0].tobytes() for drawn in draws]
    backwards = [augment(tones(), RATE, drawn, 0, recordings)[0].tobytes() for drawn in draws[::-1]]
    assert backwards[::-1] == alone
    assert len(set(alone)) == 8
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            with one_thread():  # as the step does
                assert [augment(tones(), RATE, d, 0, recordings)[0].tobytes() for d in draws] == alone
    finally:
        torch.set_num_threads(before)


def test_draws_are_uniform_the_rows_own_and_within_their_ranges() -> None:
    ranges = Ranges(speed=(0.9, 1.1), snr_db=(5, 30), gain_db=(-12, 3))
    rows = [draw(3, f"{number}", 0.4, ranges, list(COLOURS)) for number in range(20_000)]
    drawn = [one for one in rows if one is not None]
    assert len(drawn) / len(rows) == pytest.approx(0.4, abs=0.015)
    for name, (low, high) in {"speed": (0.9, 1.1), "snr_db": (5, 30), "gain_db": (-12, 3)}.items():
        values = np.sort([getattr(one, name) for one in drawn])
        assert low <= values[0] and values[-1] <= high
        even = low + (np.arange(values.size) + 0.5) / values.size * (high - low)
        rounded = 0.005 + 1e-9  # to hundredths
        assert np.abs(values - even).max() < 0.025 * (high - low) + rounded  # Kolmogorov and Smirnov: 1 in 10,000
    kinds = [sum(one.noise == name for one in drawn) / len(drawn) for name in COLOURS]
    assert kinds == pytest.approx([1 / 3] * 3, abs=0.03)
    assert {(one.rt60_s, one.band_hz) for one in drawn} == {(None, None)}
    assert abs(np.corrcoef([one.speed for one in drawn], [one.snr_db for one in drawn])[0, 1]) < 0.05
    assert draw(3, "17", 0.4, ranges, list(COLOURS)) == rows[17]
    assert [draw(4, f"{number}", 0.4, ranges, list(COLOURS)) is None for number in range(100)] != [
        one is None for one in rows[:100]
    ]


def test_a_range_of_one_value_gives_that_value() -> None:
    drawn = draw(1, "row", 1.0, Ranges(speed=(1.005, 1.005), band_hz=(3400.5, 3400.5)), [])
    assert drawn is not None
    assert (drawn.speed, drawn.band_hz, drawn.noise) == (1.005, 3400.5, None)


def test_real_recordings_as_speech_and_as_noise(shared_data: Path) -> None:
    """Every recording in the noise of every other one, digits and long clips, at rates of 8 to 48 kHz."""
    folder = shared_data / "speech"
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".wav", ".flac", ".mp3", ".opus")]
    files += sorted((folder / "fsdd").glob("*_0.wav"))[::12]
    pairs = [(one, other) for number, one in enumerate(files) for other in files[number % 2 :: 2] if one != other]
    assert len(pairs) > 50
    for number, (speech, noise) in enumerate(pairs):
        samples, rate = decode_audio(speech)
        whole = np.rint(samples * 32768).clip(-32768, 32767).astype(np.int16)[: 4 * rate]
        drawn = Drawn(snr_db=-5.0 + number % 30, gain_db=float(number % 9 - 6), noise=str(noise.relative_to(folder)))
        noisy, done = augment(whole, rate, replace(drawn, seed=number), 0, folder)
        without = replace(drawn, seed=number, snr_db=None, noise=None, gain_db=float(done["gain_db"]))
        clean, _ = augment(whole, rate, without, 0, folder)
        assert noisy.size == whole.size
        assert measured_snr_db(clean, noisy) == pytest.approx(drawn.snr_db, abs=0.1), (speech.name, noise.name)
