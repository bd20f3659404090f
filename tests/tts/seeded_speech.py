"""Tiny T2S, S2A and Vocos checkpoints in the true formats, their weights drawn by numpy from a seed, and what to say.

As tests/quantize/seeded.py: numpy's generator gives the same numbers everywhere, so upstream's code
(oracle/make_golden_whisperspeech.py, in an environment of its own) and ours have the same weights without a file
between.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]
CODES = 513


class Size(NamedTuple):
    """Dimensions of a model: layers are 2 * depth; places of a text and of sound tokens."""

    depth: int
    n_head: int
    head_width: int
    ffn_mult: int
    text_places: int
    sound_places: int
    stop_loudness: float  # so that rows stop at places of their own


# tiny and small are upstream's (`_make_model`), at lengths that its code gets through; full has its lengths, and
# published both.
SIZES = {
    "micro": Size(2, 2, 16, 2, 130, 70, 14.0),
    "tiny": Size(4, 6, 64, 4, 130, 70, 80.0),
    "small": Size(12, 12, 64, 4, 130, 24, 60.0),
    "full": Size(2, 2, 16, 2, 550, 750, 14.0),
    "published": Size(12, 12, 64, 4, 550, 750, 60.0),
}
T2S_TUNABLES: dict[str, Any] = {
    "init_std": 1, "embeddings_std": 0.01, "embeddings_lr_scale": 5, "embedding_projector_lr_scale": 2.5,
    "output_mult": 0.35, "query_mult": 1, "encoder_depth_ratio": 0.25, "causal_encoder": True, "eot_dropout_p": 0.5,
    "cps_input": True, "cps_bins": 32, "padding_token_offset": 0, "lr0": 0.0015, "clip_gradient_norm": 0.2,
    "weight_decay": 0.1, "warmup_steps": 4000, "random": False,
}  # fmt: skip
S2A_TUNABLES: dict[str, Any] = {
    "init_std": 9, "embeddings_std": 0.2, "embeddings_lr_scale": 10, "output_mult": 5.6, "query_mult": 0.3,
    "encoder_depth_ratio": 0.25, "linear_heads": False, "rope": True, "q0_loss_mult": 1, "causal_encoder": False,
    "lr0": 0.003, "clip_gradient_norm": 2, "weight_decay": 0.001, "warmup_steps": 2000, "random": False,
    "random_finetune": False, "force_hidden_to_emb": False,
}  # fmt: skip


class Draw:
    """Weights by name, from a seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.arrays: Arrays = {}

    def add(self, name: str, *shape: int, scale: float = 1.0, mean: float = 0.0) -> None:
        draw = np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(name.encode())]))
        self.arrays[name] = (mean + draw.standard_normal(shape, np.float32) * np.float32(scale)).astype(np.float32)

    def linear(self, name: str, out: int, into: int, bias: bool = True) -> None:
        self.add(f"{name}.weight", out, into, scale=1 / math.sqrt(into))
        if bias:
            self.add(f"{name}.bias", out, scale=0.1)

    def norm(self, name: str, width: int) -> None:
        self.add(f"{name}.weight", width, scale=0.1, mean=1)
        self.add(f"{name}.bias", width, scale=0.1)

    def layer(self, name: str, size: Size, cross: bool, rotary: bool) -> None:
        width = size.n_head * size.head_width
        for attention in ("attn", "cross_attn") if cross else ("attn",):
            for part in ("query", "key", "value", "out"):
                self.linear(f"{name}.{attention}.{part}", width, width, bias=part != "key")
            self.norm(f"{name}.{attention}_ln", width)
            if rotary:
                powers = np.arange(0, size.head_width, 2) / size.head_width
                self.arrays[f"{name}.{attention}.rotary.inv_freq"] = (1 / 10000**powers).astype(np.float32)
        self.linear(f"{name}.mlp.0", size.ffn_mult * width, width)
        self.linear(f"{name}.mlp.2", width, size.ffn_mult * width)
        self.norm(f"{name}.mlp_ln", width)


def codebook() -> NDArray[np.float32]:
    """Return the rows of the WhisperVQ that both models were made for."""
    draw = Draw(0)
    draw.add("codebook", CODES, 64)
    return draw.arrays["codebook"]


def t2s_config(size: Size) -> dict[str, Any]:
    """Return what upstream's save_model stores."""
    return {
        "depth": size.depth, "n_head": size.n_head, "head_width": size.head_width, "ffn_mult": size.ffn_mult,
        "stoks_width": 64, "ttoks_width": None, "ttoks_len": size.text_places, "stoks_len": size.sound_places,
        "ttoks_codes": 256, "stoks_codes": CODES,
    }  # fmt: skip


def t2s_arrays(size: Size, offset: int = 0, seed: int = 1) -> Arrays:
    """Return a T2S's weights by upstream's names.

    Args:
        offset: padding_token_offset: 0 where the stop is the special id 513; -1 where it is the code 512.
    """
    width, draw = size.n_head * size.head_width, Draw(seed)
    draw.add("lang_embeddings.weight", 99, width, scale=0.5)
    draw.add("cps_embeddings.weight", 32, width, scale=0.5)
    draw.add("encoder.embedding.main.weight", 256, width)
    draw.add("encoder.positional_embedding", size.text_places, width, scale=0.7)
    draw.add("embeddings.positional_embedding", size.sound_places, width, scale=0.7)
    draw.arrays["embeddings.embedding.main.weight"] = codebook()
    draw.linear("embeddings.embedding.emb_to_hidden", width, 64)
    draw.linear("embeddings.embedding.hidden_to_emb", 64, width)
    draw.add("embeddings.embedding.special.weight", 1, width, scale=(5 if offset == 0 else 0.3) / math.sqrt(width))
    depth = int(size.depth * 2 * 0.25)
    for n in range(depth):
        draw.layer(f"encoder.layers.{n}", size, cross=False, rotary=False)
    for n in range(size.depth * 2 - depth):
        draw.layer(f"decoder.layers.{n}", size, cross=True, rotary=False)
    draw.norm("encoder.ln_post", width)
    draw.norm("decoder.ln_post", width)
    _let_stop(draw.arrays, size, offset)
    return draw.arrays


def _let_stop(arrays: Arrays, size: Size, offset: int) -> None:
    """Let the stop grow likelier from place to place, so that rows stop where their text has it.

    Random weights have some ids that follow nearly any others, and a stop among them or never.
    """
    table = "embeddings.embedding"
    arrays["decoder.ln_post.weight"][0] = 1
    arrays[f"{table}.hidden_to_emb.weight"][:, 0] = 0
    if offset == 0:
        stop = arrays[f"{table}.special.weight"][0]
        stop[0] = size.stop_loudness
    else:
        arrays[f"{table}.hidden_to_emb.weight"][0] = np.eye(1, size.n_head * size.head_width)
        arrays[f"{table}.main.weight"][:, 0] = 0
        stop = arrays[f"{table}.main.weight"][512]
        stop[0] = size.stop_loudness
    arrays["embeddings.positional_embedding"][:, 0] = np.linspace(-6, 6, size.sound_places)
    arrays["embeddings.positional_embedding"][0, 0] = -6 - size.stop_loudness


def s2a_config(size: Size) -> dict[str, Any]:
    """Return what upstream's save_model stores."""
    return {
        "depth": size.depth, "ctx_n": 3 * size.sound_places, "stoks_len": size.sound_places, "stoks_codes": CODES,
        "stoks_width": 64, "spk_width": 192, "atoks_width": 128, "n_head": size.n_head,
        "head_width": size.head_width, "ffn_mult": size.ffn_mult, "quantizers": 4, "speaker_map": {"1": 0},
    }  # fmt: skip


def s2a_arrays(size: Size, cond: bool = False, seed: int = 2) -> Arrays:
    """Return an S2A's weights by upstream's names, of the variant with conditions where `cond` says so."""
    width, draw = size.n_head * size.head_width, Draw(seed)
    draw.arrays["semantic_embedding.weight"] = codebook()
    draw.linear("emb_to_hidden", width, 64)
    if cond:
        draw.linear("cond_embeddings.speaker.spk_to_hidden", width, 192)
        for name, rows in (("lang", 100), ("snr", 11), ("c50", 7)):
            draw.add(f"cond_embeddings.{name}.embed.weight", rows, width, scale=0.7)
    else:
        draw.linear("spk_to_hidden", width, 192)
    for n in range(4):
        at = f"embds.embeddings.{n}"
        draw.add(f"{at}.main.weight", 1024, 128)
        draw.linear(f"{at}.emb_to_hidden", width, 128)
        draw.linear(f"{at}.hidden_to_emb", 128, width)
    draw.add("embds.embeddings.0.special.weight", 2, width, scale=0.05)
    for n in range(1, 4):
        draw.arrays[f"embds.embeddings.{n}.special.weight"] = draw.arrays["embds.embeddings.0.special.weight"]
    depth = int(size.depth * 2 * 0.25)
    for n in range(depth):
        draw.layer(f"encoder.{n}", size, cross=False, rotary=True)
    for n in range(size.depth * 2 - depth):
        draw.layer(f"decoder.layers.{n}", size, cross=True, rotary=True)
    draw.norm("ln_post", width)
    draw.norm("decoder.ln_post", width)
    draw.linear("head.splitter.0", 4 * width, width)
    for name in ("val_true", "val_total"):
        draw.arrays[name] = np.zeros(4, np.float32)
    return draw.arrays


def tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def _write(path: Path, config: dict[str, Any], tunables: dict[str, Any], state: Any, changes: dict[str, Any]) -> Path:
    """Write a checkpoint; `changes` of its parts by "part.key", None to take the key out."""
    content = {"config": dict(config), "tunables": dict(tunables), "state_dict": dict(state)}
    for where, value in changes.items():
        part, _, key = where.partition(".")
        content[part][key] = value
        if value is None:
            del content[part][key]
    torch.save(content, path)
    return path


def write_t2s(path: Path, size: str, offset: int = 0, changes: dict[str, Any] | None = None) -> Path:
    """Write a T2S; offset -1 writes an older file, which has no padding_token_offset."""
    tunables = {key: value for key, value in T2S_TUNABLES.items() if offset == 0 or key != "padding_token_offset"}
    state = tensors(t2s_arrays(SIZES[size], offset))
    return _write(path, t2s_config(SIZES[size]), tunables, state, changes or {})


def write_s2a(path: Path, size: str, cond: bool = False, changes: dict[str, Any] | None = None) -> Path:
    """Write an S2A, with its extra state, as upstream does."""
    state: dict[str, Any] = {**tensors(s2a_arrays(SIZES[size], cond)), "_extra_state": {"speaker_map": {"1": 0}}}
    return _write(path, s2a_config(SIZES[size]), S2A_TUNABLES, state, changes or {})


def vocos_config(dim: int = 32, layers: int = 3) -> str:
    """Return a config.yaml as that of charactr/vocos-encodec-24khz, whose dim is 384 and which has 8 layers."""
    return f"""feature_extractor:
  class_path: vocos.feature_extractors.EncodecFeatures
  init_args:
    encodec_model: encodec_24khz
    bandwidths: [1.5, 3.0, 6.0, 12.0]
backbone:
  class_path: vocos.models.VocosBackbone
  init_args:
    input_channels: 128
    dim: {dim}
    intermediate_dim: {3 * dim}
    num_layers: {layers}
    adanorm_num_embeddings: 4
head:
  class_path: vocos.heads.ISTFTHead
  init_args:
    dim: {dim}
    n_fft: 1280
    hop_length: 320
    padding: same
"""


def vocos_arrays(dim: int = 32, layers: int = 3, seed: int = 3) -> Arrays:
    """Return a Vocos's weights by its names, but for the EnCodec that it carries and does not use."""
    draw = Draw(seed)
    draw.add("feature_extractor.codebook_weights", 16 * 1024, 128, scale=0.5)
    draw.add("backbone.embed.weight", dim, 128, 7, scale=1 / math.sqrt(7 * 128))
    draw.add("backbone.embed.bias", dim, scale=0.1)
    for at in ("backbone.norm", *(f"backbone.convnext.{n}.norm" for n in range(layers))):
        draw.add(f"{at}.scale.weight", 4, dim, scale=0.1, mean=1)
        draw.add(f"{at}.shift.weight", 4, dim, scale=0.1)
    for n in range(layers):
        at = f"backbone.convnext.{n}"
        draw.add(f"{at}.gamma", dim, scale=0.1, mean=0.5)
        draw.add(f"{at}.dwconv.weight", dim, 1, 7, scale=1 / math.sqrt(7))
        draw.add(f"{at}.dwconv.bias", dim, scale=0.1)
        draw.linear(f"{at}.pwconv1", 3 * dim, dim)
        draw.linear(f"{at}.pwconv2", dim, 3 * dim)
    draw.norm("backbone.final_layer_norm", dim)
    draw.linear("head.out", 1282, dim)
    draw.arrays["head.istft.window"] = torch.hann_window(1280).numpy()
    return draw.arrays


def write_vocos(folder: Path, **dims: int) -> Path:
    """Write the two files of a Vocos on the Hub."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(vocos_config(**dims))
    torch.save(tensors(vocos_arrays(**dims)), folder / "pytorch_model.bin")
    return folder


WORDS = "what is the capital of France please tell me a short story about seven dragons and Zoë's café in 北京 now"


def texts(n: int = 104, most_bytes: int = 129) -> list[str]:
    """Return texts of mixed length, from one character to `most_bytes` bytes, some in letters of several bytes."""
    draw = np.random.Generator(np.random.PCG64(7))
    words, made = WORDS.split(), ["a", "Yes.", "No?", "é"]
    while len(made) < n:
        text = " ".join(words[i] for i in draw.integers(0, len(words), draw.integers(1, most_bytes // 4)))
        made.append(text.encode()[:most_bytes].decode(errors="ignore").strip())
    return made


def sounds(n: int = 104, most: int = 69) -> list[NDArray[np.int64]]:
    """Return sound tokens of utterances of mixed length, from 2 to `most`."""
    draw = np.random.Generator(np.random.PCG64(8))
    lengths = [2, 3, most, most - 1, *draw.integers(2, most + 1, n - 4)]
    return [draw.integers(0, CODES, length) for length in lengths]


def speakers(n: int = 104) -> NDArray[np.float32]:
    """Return a speaker for each utterance, (n, 192)."""
    return np.random.Generator(np.random.PCG64(9)).standard_normal((n, 192), np.float32)


def codes(lengths: tuple[int, ...] = (2, 9, 40, 131)) -> list[NDArray[np.int64]]:
    """Return EnCodec codes of utterances, each (4, n_frames)."""
    draw = np.random.Generator(np.random.PCG64(10))
    return [draw.integers(0, 1024, (4, length)) for length in lengths]
