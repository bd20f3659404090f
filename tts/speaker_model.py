"""Who speaks in a recording, as WhisperSpeech is told it: 192 numbers of SpeechBrain's ECAPA-TDNN.

Source: WhisperSpeech 0.8.9 `Pipeline.extract_spk_emb` (MIT), which takes the first 30 s; speechbrain 1.1.2 `Fbank`,
`InputNormalization`, `ECAPA_TDNN` and `EncoderClassifier.encode_batch` (Apache-2.0), at the sizes of
speechbrain/spkrec-ecapa-voxceleb; Desplanques et al. 2020, https://arxiv.org/abs/2005.07143. That model's
`mean_var_norm_emb.ckpt` is not read: upstream takes the numbers as they come.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quantize.audio import resample
from quantize.models import ModelError, locate
from quantize.one_thread import one_thread
from quantize.whisper import load_checkpoint
from tts.plausible import Plausible, audio_fault
from tts.whisperspeech_checkpoint import Weights
from tts.whisperspeech_speakers import WIDTH

MODEL = "speechbrain/spkrec-ecapa-voxceleb"
MODEL_FILE = "embedding_model.ckpt"
LEAST_SECONDS, MOST_SECONDS = 1, 30
_HUB_ID = re.compile(r"([\w-][\w.-]*/[\w.-]+)(@.+)?")

SAMPLE_RATE_HZ = 16_000
N_FFT, HOP_SAMPLES, N_MELS = 400, 160, 80
CHANNELS, MIXED_CHANNELS, NARROW = 1024, 3072, 128
DILATIONS = (2, 3, 4)
SCALE = 8
"""Of Res2Net: a block's channels go through it in so many groups, each with what became of the one before."""


def extract_speaker(samples: NDArray[np.float32], rate_hz: int, model: Path) -> NDArray[np.float32]:
    """Return float32 (192,) of who speaks in float32 (n_samples,) of full scale 1: in its first 30 s.

    Args:
        model: SpeechBrain's `embedding_model.ckpt`.
    Raises ValueError for less than a second, for silence, and, naming file and key, for another model.
    """
    heard = samples[: MOST_SECONDS * rate_hz]
    if heard.size < LEAST_SECONDS * rate_hz:
        raise ValueError(f"{heard.size / rate_hz:.2f} s are too few to know a voice by: give {LEAST_SECONDS} s or more")
    if fault := audio_fault(heard, Plausible()):
        raise ValueError(f"nobody speaks in the first {MOST_SECONDS} s ({fault})")
    with one_thread(), torch.inference_mode():
        speaker: NDArray[np.float32] = _load(model)(_features(resample(heard, rate_hz, SAMPLE_RATE_HZ))).numpy()
    if not np.isfinite(speaker).all():
        raise ValueError(f"{model} makes numbers that are not finite: its weights are damaged")
    return speaker


def locate_speaker_model(where: str) -> Path:
    """Return the path of the model's file, from the Hub where it is not here.

    Args:
        where: a folder with `embedding_model.ckpt`, that file, or `owner/name` or `owner/name@revision` on the Hub.
    Raises ModelError, naming the place and the remedy.
    """
    local = Path(where).absolute()
    if local.is_dir():
        where = str(local / MODEL_FILE)
    elif not local.exists() and (on_hub := _HUB_ID.fullmatch(where)):
        where = f"{on_hub[1]}:{MODEL_FILE}{on_hub[2] or ''}"
    try:
        found = locate(where, download=True)
    except ModelError as error:
        raise ModelError(
            f"{error}\nWhere the Hub can be reached, `hf download {MODEL} {MODEL_FILE} --local-dir FOLDER` fetches the "
            "speaker model; FOLDER is then what to give here."
        ) from error
    assert found is not None
    return found


def _features(samples: NDArray[np.float32]) -> Tensor:
    """Return float32 (1, 80, n_samples // 160 + 1): mel bands in dB, each without its mean over time."""
    spectrum = torch.stft(
        torch.from_numpy(samples),
        N_FFT,
        HOP_SAMPLES,
        window=torch.hamming_window(N_FFT),
        pad_mode="constant",
        return_complex=True,
    )
    power = torch.view_as_real(spectrum).square().sum(-1)
    decibels = 10 * (_filters() @ power).clamp(min=1e-10).log10()
    decibels = decibels.clamp(min=decibels.max() - 80)
    return (decibels - decibels.mean(dim=1, keepdim=True))[None]


def _filters() -> Tensor:
    """Return float32 (80, 201): triangles as wide to both sides, in Hz, as the next centre below is far."""
    most = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    hz = 700 * (10 ** (torch.linspace(0, most, N_MELS + 2) / 2595) - 1)
    centres, widths = hz[1:-1, None], hz.diff()[:-1, None]
    slope = (torch.linspace(0, SAMPLE_RATE_HZ // 2, N_FFT // 2 + 1) - centres) / widths
    return torch.minimum(slope + 1, 1 - slope).clamp(min=0)


class _Tdnn(nn.Module):
    """A convolution over time, (n, into, frames) -> (n, out, frames)."""

    def __init__(self, into: int, out: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(into, out, kernel, dilation=dilation, padding="same", padding_mode="reflect")
        self.norm = nn.BatchNorm1d(out)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(x).relu())
        return normed


class _Res2Net(nn.Module):
    def __init__(self, dilation: int) -> None:
        super().__init__()
        width = CHANNELS // SCALE
        self.blocks = nn.ModuleList(_Tdnn(width, width, 3, dilation) for _ in range(SCALE - 1))

    def forward(self, x: Tensor) -> Tensor:
        first, second, *others = x.chunk(SCALE, dim=1)
        done = [first, self.blocks[0](second)]
        for block, part in zip(self.blocks[1:], others, strict=True):
            done.append(block(part + done[-1]))
        return torch.cat(done, dim=1)


class _Excitation(nn.Module):
    """Scales each channel by what all of them are on average."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(CHANNELS, NARROW, 1)
        self.conv2 = nn.Conv1d(NARROW, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.conv2(self.conv1(x.mean(dim=2, keepdim=True)).relu()).sigmoid()
        return scale * x


class _Block(nn.Module):
    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.tdnn1 = _Tdnn(CHANNELS, CHANNELS)
        self.res2net_block = _Res2Net(dilation)
        self.tdnn2 = _Tdnn(CHANNELS, CHANNELS)
        self.se_block = _Excitation()

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))))
        return changed + x


class _Pooling(nn.Module):
    """Mean and deviation of each channel over the frames it attends to: (n, channels, frames) -> (n, 2 channels, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.tdnn = _Tdnn(3 * MIXED_CHANNELS, NARROW)
        self.conv = nn.Conv1d(NARROW, MIXED_CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        context = [s.expand_as(x) for s in _statistics(x, torch.full_like(x[:, :1], 1 / x.shape[2]))]
        attention = self.conv(self.tdnn(torch.cat([x, *context], dim=1)).tanh()).softmax(dim=2)
        return torch.cat(_statistics(x, attention), dim=1)


def _statistics(x: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over time, each (n, channels, 1); `share` of the frames adds up to 1."""
    mean = (share * x).sum(dim=2, keepdim=True)
    variance = (share * (x - mean).square()).sum(dim=2, keepdim=True)
    return mean, variance.clamp(min=1e-12).sqrt()


class _Ecapa(nn.Module):
    """ECAPA-TDNN, (1, 80, frames) -> (192,); its modules are named as upstream's."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([_Tdnn(N_MELS, CHANNELS, 5), *map(_Block, DILATIONS)])
        self.mfa = _Tdnn(CHANNELS * len(DILATIONS), MIXED_CHANNELS)
        self.asp = _Pooling()
        self.asp_bn = nn.BatchNorm1d(2 * MIXED_CHANNELS)
        self.fc = nn.Conv1d(2 * MIXED_CHANNELS, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        done = []
        for block in self.blocks:
            x = block(x)
            done.append(x)
        speaker: Tensor = self.fc(self.asp_bn(self.asp(self.mfa(torch.cat(done[1:], dim=1)))))
        return speaker[0, :, 0]


def _load(path: Path) -> _Ecapa:
    """Return the model with the weights of upstream's `state_dict`, whose layers are wrapped once more than ours."""
    weights = Weights(path, load_checkpoint(path))
    with torch.device("meta"):
        model = _Ecapa()
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv1d | nn.BatchNorm1d):
            wrapped = f"{name}.conv" if isinstance(layer, nn.Conv1d) else f"{name}.norm"
            tensors = {key: weights.take(f"{wrapped}.{key}", *old.shape) for key, old in layer.state_dict().items()}
            layer.load_state_dict(tensors, assign=True)
    weights.refuse_rest()
    return model.eval()
