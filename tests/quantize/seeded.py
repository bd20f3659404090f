"""Tiny checkpoints in the true formats, their weights drawn by numpy from a seed, and clips to encode.

numpy's generator gives the same numbers everywhere, so upstream's code (oracle/make_golden.py, in an environment of its
own) and ours, in the tests, have the same weights without a file between them.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]
Samples = NDArray[np.float32]

CODEBOOK_DIM = 64
# (width, heads, layers); tiny and base are Whisper's.
SIZES = {"micro": (96, 2, 1), "tiny": (384, 6, 4), "base": (512, 8, 6), "medium": (1024, 16, 24)}
TUNABLES: dict[str, Any] = {
    "init_std": 1.5, "embeddings_std": 0.045, "embeddings_lr_scale": 1, "query_mult": 2, "rope": True,
    "mask_embs": True, "downsample_conv": False, "downsample_mean": True, "codebook_dim": 32, "codebook_decay": 0.9,
    "lr0": 0.0009, "clip_gradient_norm": 2, "weight_decay": 0.001, "warmup_steps": 850, "random": False,
    "output_mult": None,
}  # fmt: skip


def _drawn(name: str, seed: int, *shape: int, scale: float = 1.0) -> NDArray[np.float32]:
    draw = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    return (draw.standard_normal(shape, np.float32) * np.float32(scale)).astype(np.float32)


def _linear(arrays: Arrays, name: str, seed: int, out: int, into: int, bias: bool = True) -> None:
    arrays[f"{name}.weight"] = _drawn(f"{name}.weight", seed, out, into, scale=1 / math.sqrt(into))
    if bias:
        arrays[f"{name}.bias"] = _drawn(f"{name}.bias", seed, out, scale=0.1)


def _norm(arrays: Arrays, name: str, seed: int, width: int) -> None:
    arrays[f"{name}.weight"] = 1 + _drawn(f"{name}.weight", seed, width, scale=0.1)
    arrays[f"{name}.bias"] = _drawn(f"{name}.bias", seed, width, scale=0.1)


def encoder_arrays(size: str, seed: int = 1, n_mels: int = 80) -> Arrays:
    """Return an audio encoder's weights by OpenAI's names, without `encoder.`."""
    width, _, layers = SIZES[size]
    arrays: Arrays = {}
    for name, into in (("conv1", n_mels), ("conv2", width)):
        arrays[f"{name}.weight"] = _drawn(f"{name}.weight", seed, width, into, 3, scale=1 / math.sqrt(3 * into))
        arrays[f"{name}.bias"] = _drawn(f"{name}.bias", seed, width, scale=0.1)
    arrays["positional_embedding"] = _drawn("positional_embedding", seed, 1500, width, scale=0.3)
    for layer in range(layers):
        at = f"blocks.{layer}"
        for part in ("query", "key", "value", "out"):
            _linear(arrays, f"{at}.attn.{part}", seed, width, width, bias=part != "key")
        _norm(arrays, f"{at}.attn_ln", seed, width)
        _linear(arrays, f"{at}.mlp.0", seed, 4 * width, width)
        _linear(arrays, f"{at}.mlp.2", seed, width, 4 * width)
        _norm(arrays, f"{at}.mlp_ln", seed, width)
    _norm(arrays, "ln_post", seed, width)
    return arrays


def head_arrays(size: str, n_codes: int, seed: int = 2) -> Arrays:
    """Return the weights of WhisperVQ that encoding uses, by the names of the "-fixed" layout."""
    width = SIZES[size][0]
    arrays: Arrays = {}
    _norm(arrays, "mlp_ln", seed, width)
    _linear(arrays, "mlp.0", seed, 4 * width, width)
    _linear(arrays, "mlp.2", seed, width, 4 * width)
    _linear(arrays, "rq.project_in", seed, CODEBOOK_DIM, width)
    rows = _drawn("codebook", seed, n_codes, CODEBOOK_DIM)
    arrays["rq.layers.0._codebook.embed"] = (rows / np.linalg.norm(rows, axis=1, keepdims=True))[None]
    return arrays


def in_original_layout(arrays: Arrays) -> Arrays:
    """Return the head's weights by the names of a checkpoint of before vector-quantize-pytorch 1.7."""
    return {name.replace("rq.project_in", "rq.layers.0.project_in"): value for name, value in arrays.items()}


def tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def dims(size: str, n_mels: int = 80, n_vocab: int = 51865) -> dict[str, int]:
    """Return OpenAI's `dims`, with the smallest decoder."""
    width, heads, layers = SIZES[size]
    audio = {"n_audio_ctx": 1500, "n_audio_state": width, "n_audio_head": heads, "n_audio_layer": layers}
    text = {"n_vocab": n_vocab, "n_text_ctx": 448, "n_text_state": width, "n_text_head": heads, "n_text_layer": 1}
    return {"n_mels": n_mels, **audio, **text}


def write_openai(path: Path, size: str, n_mels: int = 80, **changes: Any) -> Path:
    """Write a Whisper `.pt` file; its decoder is left out, except for one tensor that must not be read."""
    state = {f"encoder.{name}": value for name, value in tensors(encoder_arrays(size, n_mels=n_mels)).items()}
    state["decoder.ln.weight"] = torch.zeros(3)
    torch.save({"dims": dims(size, n_mels, **changes), "model_state_dict": state}, path)
    return path


def config(size: str, whisper: str, n_codes: int = 513) -> dict[str, Any]:
    """Return the config of a whisperspeech checkpoint."""
    width, heads, _ = SIZES[size]
    return {
        "codebook_dim": CODEBOOK_DIM, "vq_codes": n_codes - 1, "q_depth": 1, "n_head": heads,
        "head_width": width // heads, "ffn_mult": 4, "depth": 1, "use_cosine_sim": True, "downsample": 2,
        "whisper_model_name": whisper,
    }  # fmt: skip


def write_whispervq(path: Path, size: str, layout: str = "original", **changes: Any) -> Path:
    """Write a whisperspeech checkpoint, with the tensors of its decoder that encoding does not read.

    Args:
        layout: original or fixed.
        changes: of `config` or `tunables`, by key; None takes the key out.
    """
    width = SIZES[size][0]
    head = head_arrays(size, 513)
    state = tensors(in_original_layout(head) if layout == "original" else head)
    out = "rq.layers.0.project_out" if layout == "original" else "rq.project_out"
    state |= {
        f"{out}.weight": torch.zeros(width, CODEBOOK_DIM),
        f"{out}.bias": torch.zeros(width),
        "rq.layers.0._codebook.initted": torch.ones(1),
        "rq.layers.0._codebook.cluster_size": torch.zeros(1, 513),
        "rq.layers.0._codebook.embed_avg": torch.zeros(1, 513, CODEBOOK_DIM),
        "positional_embedding.weight": torch.zeros(1500, width),
        "_out_blocks.0.attn.query.weight": torch.zeros(width, width),
        "ln_post.weight": torch.ones(width),
        "val_true": torch.zeros(1),
        "val_total": torch.zeros(1),
    }
    content: dict[str, Any] = {"config": config(size, "micro-whisper"), "tunables": dict(TUNABLES), "state_dict": state}
    for key, value in changes.items():
        part = content["tunables"] if key in TUNABLES and key != "codebook_dim" else content["config"]
        part[key] = value
        if value is None:
            del part[key]
    torch.save(content, path)
    return path


def write_ichigo(path: Path, size: str, n_codes: int, prefix: str = "") -> Path:
    """Write an Ichigo-Whisper checkpoint: a state dict alone, of Lightning with the prefix `model.`."""
    state = {prefix + name: value for name, value in tensors(head_arrays(size, n_codes)).items()}
    torch.save({"state_dict": state}, path)
    return path


def synthetic_clips() -> dict[str, Samples]:
    """Return clips of coloured noise at 16 kHz, from one token to a whole window and over the edges between."""
    lengths = [640, 641, 799, 800, 1279, 1280, 1600, 2000, 3333, 8000, 15_999, 16_000, 31_999, 47_777, 80_000]
    lengths += [123_456, 240_000, 320_001, 399_999, 479_359, 479_360, 479_999, 480_000]
    return {f"synthetic-{n}": _babble(n) for n in lengths}


def _babble(n: int) -> Samples:
    """Return noise whose colour and loudness change, exact on every machine: no sine, no logarithm."""
    draw = np.random.Generator(np.random.PCG64(n))
    noise = draw.standard_normal(n, np.float32)
    slow = np.interp(
        np.arange(n), np.arange(0, n + 4000, 4000), draw.random(n // 4000 + 2)[: len(range(0, n + 4000, 4000))]
    )
    brown = np.cumsum(noise, dtype=np.float64) / 50
    return (0.1 * (slow * noise + (1 - slow) * brown)).clip(-1, 1).astype(np.float32)
