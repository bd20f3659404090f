"""A server's answer to speech: whole, audible, as long as its text takes to say, or why not."""

import io
import struct

import numpy as np
import soundfile  # type: ignore[import-untyped,unused-ignore]
from numpy.typing import NDArray

PAUSES_S = 3.0  # beyond that, for silence at both ends: "Hi" may take a second

_MOST_FRAMES = 1 << 36  # of a FLAC's header; libsndfile's count is beyond all where the header gives none
_STREAMED = 0x7FFF_F000  # a size from here on in a WAV header says that the writer did not know it


class BadAudio(ValueError):
    """An answer that is no usable speech; the message holds the measurements."""


def decode_answer(
    data: bytes, audio_format: str, rate_hz: int | None, most_s: float
) -> tuple[NDArray[np.float32], int]:
    """Decode an answer to float32 (n_samples,) in -1..1, channels averaged, and its rate in Hz.

    rate_hz: that of "pcm" (int16, little-endian, mono), which has no header; of other formats the only rate
             that is taken, or None for any
    most_s:  of speech, a little more than which is decoded of a longer answer: small files may hold hours
    Raises BadAudio for no bytes, bytes that are not audio, a WAV or FLAC shorter than its header says, samples
    that are not finite, and another rate.
    """
    if not data:
        raise BadAudio("the answer is empty")
    if audio_format == "pcm":
        if rate_hz is None:
            raise ValueError("pcm has no header: its rate must be given")
        if len(data) % 2:
            raise BadAudio(f"cut: pcm of {len(data)} bytes is not whole samples of 2")
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32_768), rate_hz
    try:
        with soundfile.SoundFile(io.BytesIO(_whole_wav(data) if data[:4] == b"RIFF" else data)) as file:
            announced = file.frames if file.format == "FLAC" else 0
            if announced >= _MOST_FRAMES:
                raise BadAudio("a FLAC that does not tell its length, since the server streams it: ask for wav")
            found_hz = int(file.samplerate)
            most = int((most_s + 1) * found_hz)
            channels = file.read(most, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise BadAudio(f"not audio: {len(data)} bytes ({error.error_string})") from error  # str(error) has an address
    if len(channels) == 0:
        raise BadAudio(f"no samples in {len(data)} bytes")
    if len(channels) < min(announced, most):
        raise BadAudio(f"cut: {len(channels)} of {announced} samples")
    if rate_hz is not None and found_hz != rate_hz:
        raise BadAudio(f"at {found_hz} Hz, where the server speaks at {rate_hz} Hz")
    samples: NDArray[np.float32] = channels.mean(axis=1, dtype=np.float32)
    if not np.isfinite(samples).all():
        raise BadAudio("holds samples that are not finite")
    return samples, found_hz


def plausible_seconds(text: str, speed: float, characters_per_second: tuple[float, float]) -> tuple[float, float]:
    """Return the least and the most seconds that a text may take, at `speed` times the usual rate.

    Counts letters and digits, and leaves `PAUSES_S` for silence.
    """
    characters = sum(map(str.isalnum, text))
    slowest, fastest = (rate * speed for rate in characters_per_second)
    return characters / fastest, PAUSES_S + characters / slowest


def to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return -1..1 as int16, clipped; what was decoded from int16 comes back bit for bit."""
    scaled: NDArray[np.int16] = np.clip(np.rint(samples * np.float32(32_768)), -32_768, 32_767).astype(np.int16)
    return scaled


def _whole_wav(data: bytes) -> bytes:
    """Return a WAV with its true size in the header, which streaming servers leave at 0 or the largest number.

    Raises BadAudio if less has come than its header announces: libsndfile would read that without a word.
    """
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        left = len(data) - at - 8
        if name == b"data":
            if 0 < size < _STREAMED and size > left:
                raise BadAudio(f"cut: {left} of {size} bytes of samples")
            if size == 0 or size >= _STREAMED:
                return b"".join((data[: at + 4], struct.pack("<I", left), data[at + 8 :]))
            return data
        at += 8 + size + size % 2
    return data
