"""Whisper's log-mel spectrogram of many clips at once, bit for bit that of each clip alone.

Source: https://github.com/openai/whisper/blob/main/whisper/audio.py (`log_mel_spectrogram`) and
librosa's `filters.mel` (Slaney's scale and norm), which made the filters that Whisper ships.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from quantize.tokenizer import MAX_SECONDS, SAMPLE_RATE_HZ, Samples

N_FFT = 400
HOP_SAMPLES = 160
WINDOW_SAMPLES = int(MAX_SECONDS * SAMPLE_RATE_HZ)
WINDOW_FRAMES = WINDOW_SAMPLES // HOP_SAMPLES
PADDING = -1.5
"""What digital silence is after Whisper's scaling, (-10 + 4) / 4: upstream pads the spectrogram, not the audio."""
_REACH = N_FFT // 2


def padded_clips(clips: Sequence[Samples], n_samples: int, out: NDArray[np.float32]) -> NDArray[np.int64]:
    """Write clips into float32 (n_rows, n_samples + 400), mirrored at both ends; return their frames, int64 (n_rows,).

    A clip must hold more than 200 samples and at most n_samples. Rows beyond the clips keep no frame. What stands
    behind a clip stays: no frame that counts reaches so far.
    """
    frames = np.zeros(len(out), np.int64)
    for row, clip in enumerate(clips):
        n = clip.size
        out[row, _REACH : _REACH + n] = clip
        out[row, :_REACH] = clip[_REACH:0:-1]
        out[row, _REACH + n : n + N_FFT] = clip[-2 : -_REACH - 2 : -1]
        frames[row] = n // HOP_SAMPLES
    return frames


def log_mel(padded: torch.Tensor, n_frames: torch.Tensor, n_mels: int) -> torch.Tensor:
    """Return float32 (n_clips, n_mels, 3000) for what `padded_clips` wrote; frames beyond a clip's are -1.5.

    Whisper clamps at 80 dB below the loudest band of the tensor it is given: here that of each clip.
    """
    window = _hann(padded.device)
    spectrum = torch.stft(padded, N_FFT, HOP_SAMPLES, window=window, center=False, return_complex=True)
    power = spectrum[..., :-1].abs() ** 2
    log_power = torch.clamp(_filters(n_mels, padded.device) @ power, min=1e-10).log10()
    frames = torch.arange(log_power.shape[-1], device=padded.device)
    beyond = (frames >= n_frames[:, None])[:, None]
    loudest = log_power.masked_fill(beyond, -torch.inf).amax(dim=(1, 2), keepdim=True)
    scaled = (torch.maximum(log_power, loudest - 8.0) + 4.0) / 4.0
    scaled = scaled.masked_fill(beyond, PADDING)
    return torch.nn.functional.pad(scaled, (0, WINDOW_FRAMES - scaled.shape[-1]), value=PADDING)


@lru_cache(maxsize=4)
def _hann(device: torch.device) -> torch.Tensor:
    return torch.hann_window(N_FFT).to(device)


@lru_cache(maxsize=4)
def _filters(n_mels: int, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(mel_filters(n_mels)).to(device)


@lru_cache(maxsize=2)
def mel_filters(n_mels: int) -> NDArray[np.float32]:
    """Return librosa's mel filters, float32 (n_mels, 201): 0 to 8 kHz, Slaney's scale and norm."""
    frequencies = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE_HZ)
    edges = _mel_to_hz(np.linspace(_hz_to_mel(0.0), _hz_to_mel(SAMPLE_RATE_HZ / 2), n_mels + 2))
    widths = np.diff(edges)
    ramps = np.subtract.outer(edges, frequencies)
    rising, falling = -ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None]
    weights: NDArray[np.float32] = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    weights *= (2.0 / (edges[2 : n_mels + 2] - edges[:n_mels]))[:, None]
    return weights


_LINEAR_HZ_PER_MEL = 200.0 / 3
_LOG_FROM_HZ = 1000.0
_LOG_FROM_MEL = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    return (
        float(_LOG_FROM_MEL + np.log(hz / _LOG_FROM_HZ) / _LOG_STEP) if hz >= _LOG_FROM_HZ else hz / _LINEAR_HZ_PER_MEL
    )


def _mel_to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    hz: NDArray[np.float64] = _LINEAR_HZ_PER_MEL * mels
    log = mels >= _LOG_FROM_MEL
    hz[log] = _LOG_FROM_HZ * np.exp(_LOG_STEP * (mels[log] - _LOG_FROM_MEL))
    return hz
