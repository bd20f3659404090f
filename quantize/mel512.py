"""mel512: 512 sounds told apart by the shape of their spectrum. A small tokenizer, no download.

It stands in for WhisperVQ where no weights can be had: same rate, same strings, same number of
codes, but it hears acoustics and knows no words. docs/quantize.md says how far that carries.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from quantize.codebook import load_codebook
from quantize.mel import HOP_SAMPLES, N_FFT
from quantize.models import path_digest
from quantize.one_thread import one_thread
from quantize.tokenizer import (
    MAX_SECONDS,
    SAMPLE_RATE_HZ,
    SAMPLES_PER_TOKEN,
    TOKENS_PER_SECOND,
    Ids,
    Precision,
    Samples,
    check_audio,
)

SHIPPED_CODEBOOK = Path(__file__).with_name("mel512.safetensors")

# The spectrogram is Whisper's: https://github.com/openai/whisper/blob/main/whisper/audio.py
N_MELS = 80
FRAMES_PER_TOKEN = SAMPLES_PER_TOKEN // HOP_SAMPLES
assert FRAMES_PER_TOKEN * HOP_SAMPLES == SAMPLES_PER_TOKEN

# Whisper keeps 80 dB below a clip's loudest band. There the noise floor outweighs the speech in a
# Euclidean distance: with 40 dB benchmarks/digits.py recognises far more. And one loud frame must
# not push the rest under that floor, so 40 dB count from the frame that 10 % are louder than.
RANGE_DB = 40.0
LOUD_QUANTILE = 0.9
N_CEPSTRA = 13

FEATURES = (
    f"{SAMPLE_RATE_HZ} Hz, STFT {N_FFT}/{HOP_SAMPLES} Hann, {N_MELS} Slaney mels, log10 power down to -{RANGE_DB:g} dB "
    f"of the frames' {LOUD_QUANTILE} quantile, {N_CEPSTRA} DCT-II coefficients, mean of {FRAMES_PER_TOKEN} frames, "
    "minus the clip's mean"
)
"""Kept in the codebook's file: a codebook fits one kind of features only."""


class Mel512:
    """The tokenizer of a mel512 codebook file; the shipped one unless another path is given."""

    name = "mel512"
    precision: Precision = "fp32"
    mask_code = None
    sample_rate_hz = SAMPLE_RATE_HZ
    tokens_per_second = TOKENS_PER_SECOND
    max_seconds = MAX_SECONDS
    batch_size = 1
    device = "cpu"

    def __init__(self, path: Path = SHIPPED_CODEBOOK) -> None:
        codebook, metadata = load_codebook(path)
        if metadata.get("features") != FEATURES or codebook.rows.shape[1] != N_CEPSTRA:
            raise ValueError(f"{path} was fitted on other features: {metadata.get('features')!r}, not {FEATURES!r}")
        self.digest = path_digest(path)
        self.n_codes = len(codebook.rows)
        self.rows = codebook.rows

    def encode(self, clips: Sequence[Samples]) -> list[Ids]:
        """Return uint16 (n_samples // 640,) for each float32 (n_samples,) at 16 kHz, as `Tokenizer.encode` says."""
        for clip in clips:
            check_audio(clip, SAMPLE_RATE_HZ, MAX_SECONDS)
        with one_thread():
            return [nearest_rows(mel_features(clip), self.rows) for clip in clips]


def mel_features(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 (n_samples // 640, 13) for float32 (n_samples,) at 16 kHz: centred cepstra.

    The clip's loudness is divided out before the logarithm, so a gain drops out. The clip's mean is
    subtracted after it, which takes out much of the speaker: benchmarks/digits.py falls from 66 to
    57 % without. A clip of digital silence gives zeros.
    """
    n_tokens = len(samples) // SAMPLES_PER_TOKEN
    if n_tokens == 0:
        return np.zeros((0, N_CEPSTRA), np.float32)
    power = _mel_power(samples)[: n_tokens * FRAMES_PER_TOKEN]
    of_frame = power.max(axis=1)
    loud = float(np.quantile(of_frame, LOUD_QUANTILE)) or float(of_frame.max()) or 1.0
    # Whisper's clamp of 1e-10 is absolute; this one is relative, and holds whatever the gain.
    log_power = np.log10(np.maximum(power / loud, 10.0 ** (-RANGE_DB / 10)), dtype=np.float32)
    pooled = log_power.reshape(n_tokens, FRAMES_PER_TOKEN, N_MELS).mean(axis=1)
    cepstra = pooled @ _dct()
    centred: NDArray[np.float32] = cepstra - cepstra.mean(axis=0)
    return centred


def nearest_rows(features: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return uint16 (n,): which row of float32 (n_codes, d) is nearest (Euclid) to each of float32 (n, d)."""
    # |x - c|^2 less |x|^2, which is the same for every row c.
    distances = (rows**2).sum(axis=1) - 2 * (features @ rows.T)
    ids: NDArray[np.uint16] = distances.argmin(axis=1).astype(np.uint16)
    return ids


def _mel_power(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 (1 + n_samples // 160, 80): power in each mel band, frames centred on multiples of 10 ms."""
    window, filters = _window_and_filters()
    spectrum = torch.stft(torch.from_numpy(samples), N_FFT, HOP_SAMPLES, window=window, return_complex=True)
    power: NDArray[np.float32] = ((spectrum.real**2 + spectrum.imag**2).T @ filters).numpy()
    return power


@lru_cache(maxsize=1)
def _window_and_filters() -> tuple[torch.Tensor, torch.Tensor]:
    """The Hann window (400,) and the mel filters (201, 80), Slaney's scale and norm as in Whisper."""
    from torchaudio.functional import melscale_fbanks

    filters = melscale_fbanks(
        N_FFT // 2 + 1, 0.0, SAMPLE_RATE_HZ / 2, N_MELS, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney"
    )
    return torch.hann_window(N_FFT), filters


@lru_cache(maxsize=1)
def _dct() -> NDArray[np.float32]:
    """The orthonormal DCT-II (80, 13): cepstra say the spectrum's shape in few numbers that hardly correlate."""
    band, order = np.arange(N_MELS)[:, None] + 0.5, np.arange(N_CEPSTRA)
    waves = np.cos(np.pi / N_MELS * band * order) * np.sqrt(2 / N_MELS)
    waves[:, 0] /= np.sqrt(2)
    dct: NDArray[np.float32] = waves.astype(np.float32)
    return dct
