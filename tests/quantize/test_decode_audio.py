import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from quantize import AudioError
from quantize.audio import BLOCK_FRAMES, audio_header, decode_audio, resample


def tone(hz: float, n: int, sample_rate_hz: int) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * hz * np.arange(n) / sample_rate_hz, dtype=np.float32)


def encoded(samples: NDArray[np.float32], sample_rate_hz: int, kind: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate_hz, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "subtype", "error"),
    [
        ("WAV", "FLOAT", 0),
        ("WAV", "PCM_16", 1e-4),
        ("FLAC", "PCM_24", 1e-6),
        ("OGG", "VORBIS", 0.1),
        ("MP3", "MPEG_LAYER_III", 0.1),
    ],
)
def test_every_container_gives_the_same_tone(kind: str, subtype: str, error: float) -> None:
    wave = 0.5 * tone(440, 24_000, 24_000)
    samples, sample_rate_hz = decode_audio(encoded(wave, 24_000, kind, subtype))
    assert sample_rate_hz == 24_000
    assert samples.dtype == np.float32
    assert samples.shape == wave.shape
    assert np.abs(samples[2000:-2000] - wave[2000:-2000]).max() <= error


def test_channels_are_averaged_and_a_path_is_read_like_its_bytes(tmp_path: Path) -> None:
    left, right = tone(300, 800, 8000), tone(500, 800, 8000)
    data = encoded(np.stack([left, right], axis=1), 8000, "WAV", "FLOAT")
    (tmp_path / "stereo.wav").write_bytes(data)
    for source in (data, tmp_path / "stereo.wav"):
        np.testing.assert_allclose(decode_audio(source)[0], (left + right) / 2, atol=1e-7)


def of_total(flac: bytes, total: int) -> bytes:
    """Return a FLAC file whose header says that it has so many samples (36 bits of STREAMINFO)."""
    head = bytearray(flac)
    head[21] = head[21] & 0xF0 | total >> 32
    head[22:26] = (total & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(head)


@pytest.mark.parametrize("total", [0, 2**36 - 1, 10**6])  # of a stream: unknown; and two that lie
def test_a_header_that_lies_about_the_length_takes_no_memory(total: int) -> None:
    flac = encoded(tone(440, 800, 8000), 8000, "FLAC", "PCM_16")
    assert of_total(flac, 800) == flac
    lying = of_total(flac, total)
    np.testing.assert_array_equal(decode_audio(lying)[0], decode_audio(flac)[0])
    assert audio_header(lying) == (8000, 125.0 if total == 10**6 else 0.1)


@pytest.mark.parametrize(
    ("kind", "subtype"), [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16")]
)
def test_a_long_file_is_what_it_is_in_one_piece(kind: str, subtype: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (2 * BLOCK_FRAMES + 12_345, 2)).astype(np.float32)
    data = encoded(noise, 48_000, kind, subtype)
    whole, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_array_equal(decode_audio(data)[0], whole.mean(axis=1, dtype=np.float32))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes: not audio"),
        (b"this is no audio at all" * 20, "460 bytes: not audio that libsndfile reads"),
        (encoded(tone(440, 800, 8000), 8000, "FLAC", "PCM_16")[:20], "20 bytes: not audio"),
        (encoded(np.zeros(0, np.float32), 8000, "WAV", "PCM_16"), "44 bytes: no samples"),
        (encoded(np.array([0, np.nan, 0], np.float32), 8000, "WAV", "FLOAT"), "holds samples that are not finite"),
    ],
    ids=["no bytes", "text", "a torn FLAC", "a WAV of nothing", "not a number"],  # a WAV's header has the time
)
def test_what_is_no_audio_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        decode_audio(data)


def test_the_message_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("words")
    with pytest.raises(AudioError, match=r"text\.wav: not audio"):
        decode_audio(tmp_path / "text.wav")
    with pytest.raises(FileNotFoundError):
        decode_audio(tmp_path / "absent.wav")


@pytest.mark.parametrize("from_hz", [8000, 11_025, 22_050, 24_000, 44_100, 48_000, 22_051, 44_099, 96_000, 192_001])
@pytest.mark.parametrize("n", [1, 640, 8001])
def test_length_is_the_ceiling(from_hz: int, n: int) -> None:
    assert resample(np.ones(n, np.float32), from_hz, 16_000).shape == (-(-n * 16_000 // from_hz),)


@pytest.mark.parametrize("from_hz", [8000, 11_025, 22_050, 44_100, 48_000])
def test_a_tone_below_both_limits_stays_itself(from_hz: int) -> None:
    out = resample(tone(1000, from_hz, from_hz), from_hz, 16_000)
    assert np.abs(out - tone(1000, 16_000, 16_000))[200:-200].max() < 0.01


@pytest.mark.parametrize("from_hz", [15_992, 22_051, 47_999])
def test_an_unusual_rate_moves_a_tone_by_at_most_half_a_per_mille(from_hz: int) -> None:
    out = resample(tone(4000, from_hz, from_hz), from_hz, 16_000)
    assert abs(int(np.abs(np.fft.rfft(out)).argmax()) - 4000) <= 2


@pytest.mark.parametrize("from_hz", [22_050, 48_000])
def test_a_tone_above_the_new_limit_does_not_fold_back(from_hz: int) -> None:
    assert np.abs(resample(tone(10_000, from_hz, from_hz), from_hz, 16_000))[200:-200].max() < 0.01


def test_a_rate_that_is_no_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="sample rates must be positive, not 0"):
        resample(np.ones(10, np.float32), 0, 16_000)
    with pytest.raises(ValueError, match="cannot resample 7 Hz to 16000 Hz"):
        resample(np.ones(10, np.float32), 7, 16_000)
