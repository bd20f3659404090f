"""Whisper's audio encoder, and its weights from OpenAI's `.pt` files and Hugging Face folders.

Source: https://github.com/openai/whisper/blob/main/whisper/model.py (`AudioEncoder`), MIT. Kept to what
encoding needs; the decoder's weights are never loaded.
"""

import json
import pickle
import re
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn
from torch.nn import functional

from quantize.models import TENSORS

CONTEXT = 1500
"""Positions of the encoder: 30 s at 50 a second."""

# (width, layers) by name: https://github.com/openai/whisper/blob/main/model-card.md
SIZES = {
    "tiny": (384, 4),
    "base": (512, 6),
    "small": (768, 12),
    "medium": (1024, 24),
    "large": (1280, 32),
    "large-v1": (1280, 32),
    "large-v2": (1280, 32),
    "large-v3": (1280, 32),
}
ENGLISH_VOCABULARY = 51_864
"""The `.en` models'; the others have more."""


@dataclass(frozen=True)
class Dimensions:
    """What the shape of an encoder follows from."""

    n_mels: int
    width: int
    n_heads: int
    n_layers: int
    vocabulary: int

    def activation_bytes(self, item_bytes: int) -> int:
        """Return about how many bytes the encoder holds at once for a window, in its widest layer."""
        return 16 * CONTEXT * self.width * item_bytes

    @property
    def flops_per_window(self) -> float:
        """Multiplications and additions for 30 s of audio, two for each pair."""
        width, context = self.width, CONTEXT
        stem = 2 * 3 * (2 * context * self.n_mels * width + context * width * width)
        layer = 2 * context * 12 * width * width + 4 * context * context * width
        return float(stem + self.n_layers * layer)


class _Attention(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        heads = (
            y.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2) for y in (self.query(x), self.key(x), self.value(x))
        )
        y = functional.scaled_dot_product_attention(*heads)
        mixed: Tensor = self.out(y.transpose(1, 2).flatten(start_dim=2))
        return mixed


class _Block(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.attn = _Attention(width, n_heads)
        self.attn_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.attn_ln(x))
        y: Tensor = x + self.mlp(self.mlp_ln(x))
        return y


class WhisperEncoder(nn.Module):
    """float (n, n_mels, 3000) log-mel -> (n, 1500, width)."""

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        width = dimensions.width
        self.dimensions = dimensions
        self.conv1 = nn.Conv1d(dimensions.n_mels, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        self.positional_embedding: Tensor
        self.register_buffer("positional_embedding", torch.empty(CONTEXT, width))
        self.blocks = nn.Sequential(*(_Block(width, dimensions.n_heads) for _ in range(dimensions.n_layers)))
        self.ln_post = nn.LayerNorm(width)

    def forward(self, mel: Tensor) -> Tensor:
        """Return (n, 1500, width) for (n, n_mels, 3000)."""
        x = functional.gelu(self.conv1(mel))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        y: Tensor = self.ln_post(self.blocks(x + self.positional_embedding))
        return y


def load_encoder(path: Path, name: str | None = None) -> WhisperEncoder:
    """Return the encoder in an OpenAI `.pt` file or a Hugging Face folder, in float32, on the CPU.

    Args:
        name: of the Whisper model that it must be ("medium"); None for any.
    Raises ValueError, naming the file, where it is no Whisper or another one; FileNotFoundError for none.
    """
    dimensions, state = _read_folder(path) if path.is_dir() else _read_openai(path)
    _check_name(path, name, dimensions)
    with torch.device("meta"):
        encoder = WhisperEncoder(dimensions)
    wanted = encoder.state_dict()
    if missing := [key for key in wanted if key not in state]:
        raise ValueError(f"{path} is no Whisper model: its encoder has no {missing[0]} ({len(missing)} are missing)")
    if wrong := next((key for key in wanted if wanted[key].shape != state[key].shape), None):
        raise ValueError(f"{path}: {wrong} has the shape {tuple(state[wrong].shape)}, not {tuple(wanted[wrong].shape)}")
    encoder.load_state_dict({key: state[key].float() for key in wanted}, assign=True)
    return encoder.eval().requires_grad_(False)


def _check_name(path: Path, name: str | None, dimensions: Dimensions) -> None:
    size = SIZES.get((name or "").removesuffix(".en"))
    if name is None or size is None:
        return
    if size != (dimensions.width, dimensions.n_layers):
        raise ValueError(
            f"{path} is not Whisper {name}: {dimensions.width} wide and {dimensions.n_layers} layers deep, "
            f"not {size[0]} and {size[1]}"
        )
    if name.endswith(".en") != (dimensions.vocabulary == ENGLISH_VOCABULARY):
        kind = "English" if dimensions.vocabulary == ENGLISH_VOCABULARY else "multilingual"
        raise ValueError(f"{path} is not Whisper {name} but the {kind} model of that size")


# What torch.load raises for bytes that torch.save did not write, or not all of them.
_TORN = (
    RuntimeError, EOFError, pickle.UnpicklingError, ValueError, LookupError, TypeError, AttributeError, struct.error
)  # fmt: skip


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return what `torch.save` wrote, plain types and tensors alone. Raises ValueError for any other file."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except _TORN as error:
        raise ValueError(
            f"{path} is no PyTorch checkpoint of tensors and plain values, and nothing else is loaded "
            f"({next(iter(str(error).splitlines()), type(error).__name__)})"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no checkpoint: a {type(content).__name__}, not a dictionary")
    return content


def _read_openai(path: Path) -> tuple[Dimensions, dict[str, Tensor]]:
    content = load_checkpoint(path)
    if "dims" not in content or "model_state_dict" not in content:
        raise ValueError(f"{path} is no Whisper model of OpenAI's: it has no dims and model_state_dict")
    names = ("n_mels", "n_audio_state", "n_audio_head", "n_audio_layer", "n_vocab")
    dimensions = _dimensions(path, "dims", content["dims"], names)
    state = content["model_state_dict"]
    return dimensions, {key.removeprefix("encoder."): v for key, v in state.items() if key.startswith("encoder.")}


def _dimensions(path: Path, what: str, said: Any, names: Sequence[str]) -> Dimensions:
    """Return the dimensions that a file says by these names. Raises ValueError for what is missing or no count."""
    counts: list[int] = []
    for name in names:
        count = said.get(name) if isinstance(said, dict) else None
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{path}: {what}.{name} is {count!r}, not a count")
        counts.append(count)
    dimensions = Dimensions(*counts)
    if dimensions.width % dimensions.n_heads:
        raise ValueError(f"{path}: {dimensions.n_heads} heads do not divide a width of {dimensions.width}")
    return dimensions


# transformers' names -> OpenAI's
_RENAMED = (
    (r"^embed_positions\.weight$", "positional_embedding"),
    (r"^layer_norm\.", "ln_post."),
    (r"^layers\.", "blocks."),
    (r"\.self_attn_layer_norm\.", ".attn_ln."),
    (r"\.final_layer_norm\.", ".mlp_ln."),
    (r"\.self_attn\.q_proj\.", ".attn.query."),
    (r"\.self_attn\.k_proj\.", ".attn.key."),
    (r"\.self_attn\.v_proj\.", ".attn.value."),
    (r"\.self_attn\.out_proj\.", ".attn.out."),
    (r"\.fc1\.", ".mlp.0."),
    (r"\.fc2\.", ".mlp.2."),
)


def _read_folder(path: Path) -> tuple[Dimensions, dict[str, Tensor]]:
    config_path = path / "config.json"
    if not config_path.is_file():
        raise ValueError(f"{path} is no Hugging Face model: it has no config.json")
    try:
        config = json.loads(config_path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{config_path} is not valid JSON: {error}") from error
    if not isinstance(config, dict) or config.get("model_type") != "whisper":
        raise ValueError(f"{config_path} is not of a Whisper model: its model_type is not 'whisper'")
    names = ("num_mel_bins", "d_model", "encoder_attention_heads", "encoder_layers", "vocab_size")
    dimensions = _dimensions(path, "config.json", config, names)
    files = next((found for pattern in TENSORS if (found := sorted(path.glob(pattern)))), None)
    if not files:
        raise ValueError(f"{path} has no model.safetensors; other formats are not loaded")
    state: dict[str, Tensor] = {}
    for file in files:
        with safetensors.safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118  (not a mapping)
                if match := re.match(r"^(?:model\.)?encoder\.(.*)$", key):
                    state[_openai_name(match[1])] = tensors.get_tensor(key)
    return dimensions, state


def _openai_name(name: str) -> str:
    for pattern, new in _RENAMED:
        name = re.sub(pattern, new, name)
    return name
