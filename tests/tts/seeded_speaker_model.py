"""SpeechBrain's ECAPA-TDNN at its published sizes with weights drawn by numpy from a seed, and sounds to hear it with.

As seeded_speech.py: upstream's code (oracle/make_golden_speaker_model.py) and ours get the same numbers.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from seeded_speech import Arrays, Draw, tensors

Clip = tuple[NDArray[np.float32], int]


class Layers(Draw):
    """Upstream's layers by upstream's names: each of torch's layers is wrapped in one of its own."""

    def conv(self, name: str, out: int, into: int, kernel: int = 1) -> None:
        self.add(f"{name}.conv.weight", out, into, kernel, scale=math.sqrt(2 / (into * kernel)))
        self.add(f"{name}.conv.bias", out, scale=0.1)

    def batch_norm(self, name: str, width: int) -> None:
        self.norm(f"{name}.norm", width)
        self.add(f"{name}.norm.running_mean", width, scale=0.1, mean=0.4)
        self.add(f"{name}.norm.running_var", width, scale=0.1, mean=1)
        self.arrays[f"{name}.norm.num_batches_tracked"] = np.array(1000, np.int64)

    def tdnn(self, name: str, out: int, into: int, kernel: int = 1) -> None:
        self.conv(f"{name}.conv", out, into, kernel)
        self.batch_norm(f"{name}.norm", out)


def arrays() -> Arrays:
    """Return the state dict of `embedding_model.ckpt`."""
    layers = Layers(12)
    layers.tdnn("blocks.0", 1024, 80, 5)
    for block in ("blocks.1", "blocks.2", "blocks.3"):
        layers.tdnn(f"{block}.tdnn1", 1024, 1024)
        for group in range(7):
            layers.tdnn(f"{block}.res2net_block.blocks.{group}", 128, 128, 3)
        layers.tdnn(f"{block}.tdnn2", 1024, 1024)
        layers.conv(f"{block}.se_block.conv1", 128, 1024)
        layers.conv(f"{block}.se_block.conv2", 1024, 128)
    layers.tdnn("mfa", 3072, 3072)
    layers.tdnn("asp.tdnn", 128, 9216)
    layers.conv("asp.conv", 3072, 128)
    layers.batch_norm("asp_bn", 6144)
    layers.conv("fc", 192, 6144)
    return layers.arrays


def write(folder: Path) -> Path:
    """Write the file of a folder of the Hub that we read."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tensors(arrays()), folder / "embedding_model.ckpt")
    return folder / "embedding_model.ckpt"


def voice(seed: int, seconds: float, rate_hz: int) -> NDArray[np.float32]:
    """Return a glide with overtones, pauses and some noise."""
    draw = np.random.Generator(np.random.PCG64(seed))
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * (draw.uniform(90, 250) * at + 4 * np.sin(draw.uniform(1, 3) * at))
    tones = sum(draw.uniform(0.2, 1) / n * np.sin(n * phase) for n in range(1, 13))
    loudness = np.clip(np.sin(2 * np.pi * draw.uniform(0.8, 1.6) * at) + 0.6, 0, 1)
    sound = 0.2 * tones * loudness + 0.003 * draw.standard_normal(at.size)
    return (np.rint(sound.clip(-1, 1) * 32767) / 32768).astype(np.float32)


def clips() -> dict[str, Clip]:
    """Return sounds of several lengths and rates by name; one is longer than what is heard."""
    return {
        "second-8k": (voice(1, 1, 8000), 8000),
        "short-16k": (voice(2, 1.437, 16_000), 16_000),
        "glide-22k": (voice(3, 2.2, 22_050), 22_050),
        "glide-48k": (voice(4, 1.6, 48_000), 48_000),
        "long-16k": (voice(5, 31.3, 16_000), 16_000),
    }
