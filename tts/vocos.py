"""Vocos: EnCodec's codes to a waveform at 24 kHz, 75 frames a second.

Source: gemelo-ai/vocos 0.1.0 (`codes_to_features`, `VocosBackbone`, `ISTFTHead`), MIT, for the files of
charactr/vocos-encodec-24khz. Batches are exact: what lies behind an utterance's end is zero wherever it could be heard,
as it is when an utterance is alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from quantize.whisper import load_checkpoint
from tts.whisperspeech_checkpoint import Weights

SAMPLE_RATE_HZ = 24_000
SAMPLES_PER_FRAME = 320
CODES = 1024
FEATURES = 128
BANDWIDTHS = {2: 0, 4: 1, 8: 2}
"""By the number of codebooks: of 1.5, 3, 6 and 12 kbps."""
FILES = ("config.yaml", "pytorch_model.bin")
_KERNEL = 7
_LOUDEST = 1e2
_EPSILON = 1e-6

# What a config must say, beside the dimensions.
_CLASSES = {
    "feature_extractor": "vocos.feature_extractors.EncodecFeatures",
    "backbone": "vocos.models.VocosBackbone",
    "head": "vocos.heads.ISTFTHead",
}
_SAID = {
    ("feature_extractor", "encodec_model"): "encodec_24khz",
    ("feature_extractor", "bandwidths"): [1.5, 3.0, 6.0, 12.0],
    ("backbone", "input_channels"): FEATURES,
    ("backbone", "adanorm_num_embeddings"): 4,
    ("head", "hop_length"): SAMPLES_PER_FRAME,
    ("head", "padding"): "same",
}
_KEYS = {
    "feature_extractor": {"encodec_model", "bandwidths", "train_codebooks"},
    "backbone": {"input_channels", "dim", "intermediate_dim", "num_layers", "layer_scale_init_value",
                 "adanorm_num_embeddings"},
    "head": {"dim", "n_fft", "hop_length", "padding"},
}  # fmt: skip


class _AdaptiveNorm(nn.Module):
    """A LayerNorm with a scale and a shift for each bandwidth, of which one is used here."""

    def __init__(self, weights: Weights, at: str, width: int, bandwidth: int) -> None:
        super().__init__()
        self.scale, self.shift = (
            nn.Parameter(weights.take(f"{at}.{name}.weight", 4, width)[bandwidth], requires_grad=False)
            for name in ("scale", "shift")
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], eps=_EPSILON) * self.scale + self.shift


class _Block(nn.Module):
    """A ConvNeXt block over float (n, frames, width)."""

    def __init__(self, weights: Weights, at: str, width: int, hidden: int, bandwidth: int) -> None:
        super().__init__()
        self.over_time = _convolution(weights, f"{at}.dwconv", width, width, groups=width)
        self.norm = _AdaptiveNorm(weights, f"{at}.norm", width, bandwidth)
        self.out = weights.linear(f"{at}.pwconv1", hidden, width)
        self.back = weights.linear(f"{at}.pwconv2", width, hidden)
        self.gamma = nn.Parameter(weights.take(f"{at}.gamma", width), requires_grad=False)

    def forward(self, x: Tensor, spoken: Tensor) -> Tensor:
        y = self.over_time((x * spoken).transpose(1, 2)).transpose(1, 2)
        y = self.back(functional.gelu(self.out(self.norm(y))))
        mixed: Tensor = x + self.gamma * y
        return mixed


class Vocos(nn.Module):
    """The vocoder, in float32: it is a small part of the work, and half precision can be heard."""

    def __init__(self, config: Path, weights: Path, n_codebooks: int = 4) -> None:
        """Load `config.yaml` and `pytorch_model.bin`.

        Raises ValueError, naming the file and the key, for a model that is not Vocos over EnCodec at 24 kHz.
        """
        super().__init__()
        said = _read_config(config)
        dim, n_fft = said["backbone"]["dim"], said["head"]["n_fft"]
        state = Weights(weights, load_checkpoint(weights))
        bandwidth = BANDWIDTHS[n_codebooks]
        table = state.take("feature_extractor.codebook_weights", 16 * CODES, FEATURES)
        self.codebooks = nn.Embedding(n_codebooks * CODES, FEATURES, _weight=table[: n_codebooks * CODES].clone())
        self.embed = _convolution(state, "backbone.embed", dim, FEATURES)
        self.norm = _AdaptiveNorm(state, "backbone.norm", dim, bandwidth)
        self.blocks = nn.ModuleList(
            _Block(state, f"backbone.convnext.{n}", dim, said["backbone"]["intermediate_dim"], bandwidth)
            for n in range(said["backbone"]["num_layers"])
        )
        self.final_norm = nn.ParameterList(state.norm("backbone.final_layer_norm", dim))
        self.out = state.linear("head.out", n_fft + 2, dim)
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(n_fft))
        state.refuse_rest(("head.istft.window", "feature_extractor.encodec."))
        self.eval().requires_grad_(False)

    @torch.inference_mode()
    def decode(self, utterances: Sequence[NDArray[np.integer]]) -> list[NDArray[np.float32]]:
        """Return float32 (320 * n_frames,) at 24 kHz for each int (n_codebooks, n_frames), together."""
        device, longest = self.window.device, max(codes.shape[1] for codes in utterances)
        offsets = np.arange(utterances[0].shape[0])[:, None] * CODES
        rows = np.zeros((len(utterances), len(offsets), longest), np.int64)
        for row, codes in zip(rows, utterances, strict=True):
            row[:, : codes.shape[1]] = codes + offsets
        lengths = torch.tensor([codes.shape[1] for codes in utterances], device=device)
        spoken = (torch.arange(longest, device=device) < lengths[:, None])[:, :, None].float()
        samples = self(torch.from_numpy(rows).to(device), spoken).cpu().numpy()
        return [
            row[: codes.shape[1] * SAMPLES_PER_FRAME].copy() for row, codes in zip(samples, utterances, strict=True)
        ]

    def forward(self, rows: Tensor, spoken: Tensor) -> Tensor:
        """Return float32 (n, 320 * frames) for rows of the codebooks, int64 (n, n_codebooks, frames).

        Args:
            spoken: float32 (n, frames, 1), 1 where an utterance has a frame and 0 behind its end.
        """
        features: Tensor = self.codebooks(rows).sum(1) * spoken
        x = self.norm(self.embed(features.transpose(1, 2)).transpose(1, 2))
        for block in self.blocks:
            x = block(x, spoken)
        scale, shift = self.final_norm
        x = functional.layer_norm(x, scale.shape, scale, shift, _EPSILON)
        loudness, phase = self.out(x).chunk(2, dim=-1)
        spectrum = torch.polar(loudness.exp().clip(max=_LOUDEST), phase) * spoken
        return _overlapped(spectrum, spoken, self.window)


def _overlapped(spectrum: Tensor, spoken: Tensor, window: Tensor) -> Tensor:
    """Return the inverse STFT, float32 (n, hop * frames), of complex (n, frames, bins).

    Windowed frames are added and divided by the sum of the squared windows; half a window less half a hop is cut off at
    both ends ("same"), which torch.istft cannot do.
    """
    frames, size = spectrum.shape[1], len(window)
    long = (frames - 1) * SAMPLES_PER_FRAME + size
    parts = torch.fft.irfft(spectrum, size, dim=-1) * window
    squares = window.square() * spoken
    added, weight = (
        functional.fold(x.transpose(1, 2), (1, long), (1, size), stride=(1, SAMPLES_PER_FRAME))[:, 0, 0]
        for x in (parts, squares)
    )
    cut = (size - SAMPLES_PER_FRAME) // 2
    inside = slice(cut, long - cut)
    return added[:, inside] / weight[:, inside].clamp(min=1e-11)


def _convolution(weights: Weights, at: str, out: int, into: int, groups: int = 1) -> nn.Conv1d:
    with torch.device("meta"):
        layer = nn.Conv1d(into, out, _KERNEL, padding=_KERNEL // 2, groups=groups)
    layer.weight = nn.Parameter(weights.take(f"{at}.weight", out, into // groups, _KERNEL), requires_grad=False)
    layer.bias = nn.Parameter(weights.take(f"{at}.bias", out), requires_grad=False)
    return layer


def _read_config(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return the arguments of each part. Raises ValueError for another class, key or value than is implemented."""
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no config of a Vocos")
    parts = {}
    for part, name in _CLASSES.items():
        said = content.get(part) or {}
        if said.get("class_path") != name:
            raise ValueError(f"{path}: {part}.class_path is {said.get('class_path')!r}; only {name} is implemented")
        parts[part] = said["init_args"]
        if unknown := sorted(set(parts[part]) - _KEYS[part]):
            raise ValueError(f"{path}: {part}.{unknown[0]} is unknown, so what it changes is too")
    for (part, key), value in _SAID.items():
        if parts[part].get(key, value) != value:
            raise ValueError(f"{path}: {part}.{key} is {parts[part][key]!r}; only {value!r} is implemented")
    return parts
