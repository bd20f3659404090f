"""FLAC and Opus bytes, and silence."""

import io
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from quantize.audio import decode_audio, resample
from tts.audio import encode_audio, flac_bytes, is_silent, opus_bytes, with_serial

ROOT = Path(__file__).parents[2]


def _noise(n_samples):
    return np.random.default_rng(7).integers(-32_768, 32_768, n_samples).astype(np.int16)


@pytest.mark.parametrize("n_samples", [1, 15, 4_096, 50_001])
def test_flac_decodes_to_the_same_samples(n_samples):
    samples = _noise(n_samples)
    decoded, rate_hz = soundfile.read(io.BytesIO(flac_bytes(samples, 22_050)), dtype="int16")
    assert rate_hz == 22_050
    np.testing.assert_array_equal(decoded, samples)


def _voiced(n_samples, rate_hz):
    """Partials of 150 Hz that come and go, as speech does."""
    at = np.arange(n_samples) / rate_hz
    sound = sum(np.sin(2 * np.pi * 150 * k * at) / k for k in range(1, 20)) * np.sin(np.pi * 2 * at) ** 2
    return np.rint(6_000 * sound).astype(np.int16)


@pytest.mark.parametrize(
    ("rate_hz", "kept_hz"),
    [(8_000, 8_000), (11_025, 12_000), (12_000, 12_000), (16_000, 16_000), (22_050, 24_000), (24_000, 24_000),
     (44_100, 48_000), (48_000, 48_000), (96_000, 48_000)],
)  # fmt: skip
@pytest.mark.parametrize("n_samples", [1, 959, 30_011])
def test_opus_comes_back_as_long_as_it_was_at_the_next_rate_that_opus_knows(rate_hz, kept_hz, n_samples):
    data, rate = encode_audio(_voiced(n_samples, rate_hz), rate_hz, "opus")
    decoded, decoded_hz = decode_audio(data)
    assert rate == decoded_hz == kept_hz
    assert decoded.size == -(-n_samples * kept_hz // rate_hz)


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 24_000])
def test_opus_sounds_the_same_at_the_same_time(rate_hz):
    samples = _voiced(3 * rate_hz, rate_hz)
    data, kept_hz = encode_audio(samples, rate_hz, "opus")
    decoded, _ = decode_audio(data)
    wanted = resample(samples.astype(np.float32) / 32_768, rate_hz, kept_hz)
    assert 10 * np.log10(np.square(wanted).sum() / np.square(decoded - wanted).sum()) > 15  # dB; a sample off: below 5


def test_flac_is_kept_at_its_rate():
    assert encode_audio(_noise(500), 22_050, "flac") == (flac_bytes(_noise(500), 22_050), 22_050)


@pytest.mark.parametrize("encode", [flac_bytes, opus_bytes])
def test_the_same_samples_give_the_same_bytes_in_any_process_with_any_threads(encode):
    samples = _voiced(40_000, 22_050)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            here = encode(samples, 22_050)
            time.sleep(0.01)  # libsndfile draws an Ogg stream's number from the clock
            assert encode(samples, 22_050) == here
    finally:
        torch.set_num_threads(before)
    code = (
        "import sys, numpy, tts.audio\n"
        "samples = numpy.frombuffer(sys.stdin.buffer.read(), numpy.int16)\n"
        f"sys.stdout.buffer.write(tts.audio.{encode.__name__}(samples, 22_050))"
    )
    run = [sys.executable, "-c", code]
    child = subprocess.run(run, input=samples.tobytes(), cwd=ROOT, capture_output=True, check=True)
    assert child.stdout == here


def test_a_stream_under_another_number_has_its_checksums_right():
    """libsndfile wrote the pages: given back their own number, they are its bytes again, checksums included."""
    out = io.BytesIO()
    soundfile.write(out, _voiced(100_000, 24_000), 24_000, format="OGG", subtype="OPUS")
    original = out.getvalue()
    assert original.count(b"OggS") >= 4
    renamed = with_serial(original, b"abcd")
    assert renamed != original
    assert renamed[14:18] == b"abcd"
    assert with_serial(renamed, original[14:18]) == original


@pytest.mark.parametrize("samples", [np.zeros(8, np.float32), np.zeros((8, 2), np.int16), np.zeros(0, np.int16)])
@pytest.mark.parametrize("audio_format", ["flac", "opus"])
def test_other_arrays_are_refused_with_what_they_are(samples, audio_format):
    with pytest.raises(ValueError, match="need int16"):
        encode_audio(samples, 22_050, audio_format)


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
