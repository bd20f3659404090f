"""FLAC bytes and silence."""

import io

import numpy as np
import pytest
import soundfile

from tts.audio import flac_bytes, is_silent


def _noise(n_samples):
    return np.random.default_rng(7).integers(-32_768, 32_768, n_samples).astype(np.int16)


@pytest.mark.parametrize("n_samples", [1, 15, 4_096, 50_001])
def test_flac_decodes_to_the_same_samples(n_samples):
    samples = _noise(n_samples)
    decoded, rate_hz = soundfile.read(io.BytesIO(flac_bytes(samples, 22_050)), dtype="int16")
    assert rate_hz == 22_050
    np.testing.assert_array_equal(decoded, samples)


def test_the_same_samples_give_the_same_bytes():
    assert flac_bytes(_noise(30_000), 16_000) == flac_bytes(_noise(30_000), 16_000)


@pytest.mark.parametrize("samples", [np.zeros(8, np.float32), np.zeros((8, 2), np.int16), np.zeros(0, np.int16)])
def test_other_arrays_are_refused_with_what_they_are(samples):
    with pytest.raises(ValueError, match="need int16"):
        flac_bytes(samples, 22_050)


@pytest.mark.parametrize(
    ("peak", "silent"),
    [(0, True), (32, True), (-32, True), (33, False), (-33, False), (-32_768, False)],
)
def test_silence_is_a_peak_below_minus_60_dbfs(peak, silent):
    samples = np.zeros(100, np.int16)
    samples[50] = peak
    assert is_silent(samples) is silent


def test_no_samples_are_silent():
    assert is_silent(np.zeros(0, np.int16))
