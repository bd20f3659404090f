"""Samples to the bytes that are kept, FLAC or Ogg Opus, and the check for silence."""

import io
import zlib
from typing import Literal

import numpy as np
import soundfile  # type: ignore[import-untyped,unused-ignore]
from numpy.typing import NDArray

AudioFormat = Literal["flac", "opus"]

# libsndfile maps 0.0..1.0 to FLAC levels 0..8. 0.6 (level 5) is the knee on eSpeak's speech: 4 %
# smaller than 0.0 for 10 % more time; 1.0 is another 1 % smaller for twice the time.
FLAC_COMPRESSION = 0.6

# libsndfile maps 0.0..1.0 to 256..6 kbit/s. At 0.8 (56 kbit/s) libopus uses its transform coder (CELT); from 0.85 on,
# its speech coder (SILK), which is slower and changes more sound tokens: docs/augment.md has the figures.
OPUS_COMPRESSION = 0.8
OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
OGG_SERIAL = b"spml"  # libsndfile draws one at random: the same speech would have other bytes each time

# Quieter than this at its loudest sample, audio holds no speech: eSpeak's peaks at -10 dBFS.
SILENCE_PEAK_DBFS = -60.0
_SILENCE_PEAK = 32_768 * 10 ** (SILENCE_PEAK_DBFS / 20)  # 32.8 steps of int16

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def encode_audio(samples: NDArray[np.int16], sample_rate_hz: int, audio_format: AudioFormat) -> tuple[bytes, int]:
    """Return the bytes that are kept of mono int16 (n_samples,), and the sample rate in Hz at which they are kept.

    Raises ValueError, as `flac_bytes`.
    """
    if audio_format == "flac":
        return flac_bytes(samples, sample_rate_hz), sample_rate_hz
    return opus_bytes(samples, sample_rate_hz), opus_rate_hz(sample_rate_hz)


def flac_bytes(samples: NDArray[np.int16], sample_rate_hz: int) -> bytes:
    """Encode mono int16 (n_samples,) as 16-bit FLAC, lossless; the same samples, the same bytes.

    Raises ValueError for another dtype or shape, which soundfile would rescale without a word, and
    for no samples, of which libsndfile makes a file that it cannot read.
    """
    return _encoded(samples, sample_rate_hz, "FLAC", "PCM_16", FLAC_COMPRESSION)


def opus_bytes(samples: NDArray[np.int16], sample_rate_hz: int) -> bytes:
    """Encode mono int16 (n_samples,) as Ogg Opus at `opus_rate_hz`, 56 kbit/s; the same samples, the same bytes.

    Decoded, it is ceil(n_samples * kept rate / sample_rate_hz) samples long. Raises ValueError, as `flac_bytes`.
    """
    kept_hz = opus_rate_hz(sample_rate_hz)
    if kept_hz != sample_rate_hz:
        from quantize.audio import resample  # loads torch: in workers only
        from quantize.one_thread import one_thread

        with one_thread():
            samples = _int16(resample(_checked(samples).astype(np.float32), sample_rate_hz, kept_hz))
    return with_serial(_encoded(samples, kept_hz, "OGG", "OPUS", OPUS_COMPRESSION), OGG_SERIAL)


def opus_rate_hz(sample_rate_hz: int) -> int:
    """Return the rate in Hz, of those that Opus knows, at which samples are kept: the next higher one.

    >>> opus_rate_hz(22_050), opus_rate_hz(16_000), opus_rate_hz(96_000)
    (24000, 16000, 48000)
    """
    return next((rate for rate in OPUS_RATES_HZ if rate >= sample_rate_hz), OPUS_RATES_HZ[-1])


def with_serial(ogg: bytes, serial: bytes) -> bytes:
    """Return an Ogg stream under another serial number, 4 bytes, with the pages' checksums made anew (RFC 3533, 6)."""
    pages = []
    at = 0
    while at < len(ogg):
        n_segments = ogg[at + 26]
        end = at + 27 + n_segments + sum(ogg[at + 27 : at + 27 + n_segments])
        head, rest = ogg[at : at + 14] + serial + ogg[at + 18 : at + 22], ogg[at + 26 : end]
        pages.append(head + ogg_checksum(head + bytes(4) + rest).to_bytes(4, "little") + rest)
        at = end
    return b"".join(pages)


def ogg_checksum(page: bytes) -> int:
    """Return the CRC of an Ogg page, its checksum zeros: zlib's polynomial, most significant bit first, from zero on.

    zlib counts bits the other way round, and from and to complements: so do we, around it.
    """
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def is_silent(samples: NDArray[np.int16]) -> bool:
    """Whether int16 (n_samples,) is empty or peaks below `SILENCE_PEAK_DBFS`."""
    if samples.size == 0:
        return True
    peak = max(int(samples.max()), -int(samples.min()))
    return peak < _SILENCE_PEAK


def _checked(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    if samples.dtype != np.int16 or samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"need int16 (n,) with n > 0, got {samples.dtype} {samples.shape}")
    return samples


def _int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.rint(samples).clip(-32_768, 32_767).astype(np.int16)


def _encoded(samples: NDArray[np.int16], rate_hz: int, container: str, subtype: str, compression: float) -> bytes:
    _checked(samples)
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer,
        "w",
        samplerate=rate_hz,
        channels=1,
        subtype=subtype,
        format=container,
        compression_level=compression,
    ) as file:
        file.write(samples)
    return buffer.getvalue()
