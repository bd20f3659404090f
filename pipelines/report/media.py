"""What a page can show and play of an utterance: MP3, a mel picture, a strip of colours of its sound tokens."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import soundfile
from numpy.typing import NDArray

from quantize.tokenizer import MAX_SECONDS, SAMPLE_RATE_HZ, AudioError

MP3_RATES_HZ = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MP3_COMPRESSION = 0.8  # of libsndfile's 0 to 1: about 40 kbit/s of speech at 22.05 kHz
N_MELS = 80
FRAMES_PER_COLUMN = 2  # a column of the mel picture is 20 ms: half a token
SHADES = 24  # of the mel picture: finer ones are not seen, and are most of its bytes
MOST_COLOURS = 256  # of a strip, what PNG's palette takes: the ids above share the last
_GOLDEN = 0.618033988749895  # neighbours in a codebook are nothing alike: hues as far apart as they can be


@dataclass(frozen=True)
class Sound:
    """An utterance to hear: data: addresses, and the seconds that the mel picture spans."""

    mp3: str
    mel: str
    seconds: float


def play(audio: bytes) -> Sound:
    """Return what a page plays and shows of an utterance's bytes; of more than 30 s, the first 30.

    MP3, because every browser plays it, Safari among them; the same bytes in, the same bytes out. Raises
    AudioError for bytes that are no audio.
    """
    from quantize.audio import decode_audio, resample  # loads torch
    from quantize.one_thread import one_thread

    samples, rate_hz = decode_audio(audio)
    samples = samples[: int(MAX_SECONDS * rate_hz)]
    kept_hz = next((rate for rate in MP3_RATES_HZ if rate >= rate_hz), MP3_RATES_HZ[-1])
    with one_thread():  # sums are formed in one order, whatever the machine
        mel = _mel_picture(resample(samples, rate_hz, SAMPLE_RATE_HZ))
        written = _mp3(resample(samples, rate_hz, kept_hz), kept_hz)
    return Sound(_data("audio/mpeg", written), mel, len(samples) / rate_hz)


def strip(tokens: list[int]) -> str:
    """Return a picture of sound tokens, a pixel each: one colour for one token, wherever it stands."""
    different, place = np.unique(np.array(tokens), return_inverse=True)
    different, place = different[:MOST_COLOURS], np.minimum(place, MOST_COLOURS - 1)
    turns = (different[:, None] * _GOLDEN + np.array([0.0, 1 / 3, 2 / 3])) * 2 * np.pi
    light = 0.55 + 0.2 * np.sin(different * 2 * np.pi * _GOLDEN**2)
    colours = np.clip(light[:, None] + 0.3 * np.cos(turns), 0, 1)
    return _data("image/png", _png(place[None].astype(np.uint8), (colours * 255).astype(np.uint8)))


def _mp3(samples: NDArray[np.float32], rate_hz: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="MP3", subtype="MPEG_LAYER_III", compression_level=MP3_COMPRESSION)
    return buffer.getvalue()


def _mel_picture(samples: NDArray[np.float32]) -> str:
    """Return a picture of float32 (n_samples,) at 16 kHz as the tokenizers' spectrogram shows it, low sounds below."""
    import torch

    from quantize.mel import N_FFT, log_mel, padded_clips

    if samples.size <= N_FFT:
        raise AudioError(f"{samples.size} samples are too few for a picture")
    padded = np.zeros((1, samples.size + N_FFT), np.float32)
    frames = padded_clips([samples], samples.size, padded)
    mel = log_mel(torch.from_numpy(padded), torch.from_numpy(frames), N_MELS)[0, :, : int(frames[0])].numpy()
    columns = max(mel.shape[1] // FRAMES_PER_COLUMN, 1)
    mel = mel[:, : columns * FRAMES_PER_COLUMN].reshape(N_MELS, columns, -1).mean(axis=2)
    scaled = (mel - mel.max() + 2.0) / 2.0  # Whisper keeps 80 dB, which its scaling makes 2.0
    shade = np.rint(np.clip(scaled, 0, 1) * (SHADES - 1)).astype(np.uint8)[::-1]
    return _data("image/png", _png(shade, _shades()))


@lru_cache(maxsize=1)
def _shades() -> NDArray[np.uint8]:
    """Return uint8 (SHADES, 3): matplotlib's magma, dark for quiet."""
    from matplotlib import colormaps

    return (colormaps["magma"](np.linspace(0, 1, SHADES))[:, :3] * 255).astype(np.uint8)


def _png(pixels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """Return uint8 (height, width) places in a palette, uint8 (n_colours, 3), as PNG (RFC 2083)."""
    height, width = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # 0: the row as it is
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    image = zlib.compress(rows.tobytes(), 9)
    chunks = ((b"IHDR", head), (b"PLTE", palette.tobytes()), (b"IDAT", image), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
