"""WhisperSpeech's checkpoints, {config, tunables, state_dict}: what they say, checked, and their tensors by name.

Source: collabora/WhisperSpeech 0.8.9, `save_model`, `load_model` and `Tunables.upgrade` of the T2S and S2A models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quantize.whisper import load_checkpoint


@dataclass(frozen=True)
class Known:
    """What is known of a kind of checkpoint.

    config:        its keys, with the default of upstream's constructor
    tunables:      those that generating depends on, with the default of upstream's dataclass
    old_tunables:  what upstream takes for a file that leaves them out, instead of that default
    other_tunables: those of training alone
    """

    config: Mapping[str, Any]
    tunables: Mapping[str, Any]
    old_tunables: Mapping[str, Any]
    other_tunables: frozenset[str]


class Weights:
    """The tensors of a checkpoint, taken by upstream's names, in float32; what nobody takes is refused."""

    def __init__(self, path: Path, tensors: Mapping[str, Any]) -> None:
        self.path = path
        self._tensors = tensors
        self._taken: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._tensors

    def take(self, key: str, *shape: int) -> Tensor:
        """Return float32 `shape`. Raises ValueError, naming the key, where it is missing or of another shape."""
        value = self._tensors.get(key)
        found = tuple(value.shape) if isinstance(value, Tensor) else "nothing"
        if not isinstance(value, Tensor) or found != shape:
            raise ValueError(f"{self.path}: {key} is {found}, not {shape}")
        self._taken.add(key)
        return value.float()

    def linear(self, key: str, out: int, into: int) -> nn.Linear:
        """Return the layer (into) -> (out)."""
        return linear(self.take(f"{key}.weight", out, into), self.take(f"{key}.bias", out))

    def embedding(self, key: str, rows: int, width: int) -> nn.Embedding:
        """Return the table (rows, width)."""
        return embedding(self.take(f"{key}.weight", rows, width))

    def norm(self, key: str, width: int) -> tuple[Tensor, Tensor]:
        """Return scale and shift, each (width,)."""
        return self.take(f"{key}.weight", width), self.take(f"{key}.bias", width)

    def refuse_rest(self, unused: Iterable[str] = ()) -> None:
        """Raise ValueError for a tensor that was not taken and does not begin with one of `unused`."""
        rest = sorted(k for k in self._tensors if k not in self._taken and not k.startswith(tuple(unused)))
        if rest:
            raise ValueError(f"{self.path}: {rest[0]} is unknown, so what it does is too ({len(rest)} such tensors)")


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a layer of these weights, without drawing others first."""
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def embedding(weight: Tensor) -> nn.Embedding:
    """Return a table of these rows."""
    return nn.Embedding(weight.shape[0], weight.shape[1], _weight=weight).requires_grad_(False)


def read(path: Path, kind: str, known: Known) -> tuple[dict[str, Any], dict[str, Any], Weights]:
    """Return config, tunables and weights of a checkpoint of that kind ("T2S").

    Raises ValueError, naming file and key, for what is no such checkpoint, or holds a key that is not known.
    """
    content = load_checkpoint(path)
    if missing := [key for key in ("config", "tunables", "state_dict") if not isinstance(content.get(key), dict)]:
        raise ValueError(f"{path} is no WhisperSpeech {kind} checkpoint: it has no {missing[0]}")
    config = {**known.config, **content["config"]}
    tunables = {**known.tunables, **known.old_tunables, **content["tunables"]}
    for name, values, names in (
        ("config", config, set(known.config)),
        ("tunables", tunables, set(known.tunables) | known.other_tunables),
    ):
        if unknown := sorted(set(values) - names):
            raise ValueError(f"{path}: {name}.{unknown[0]} = {values[unknown[0]]!r} is unknown: no {kind} of 0.8.9?")
    return config, tunables, Weights(path, content["state_dict"])


def only(path: Path, name: str, values: Mapping[str, Any], implemented: Mapping[str, Any]) -> None:
    """Raise ValueError unless `values` says what is implemented, key by key."""
    for key, value in implemented.items():
        if values[key] != value:
            raise ValueError(f"{path}: {name}.{key} is {values[key]!r}; only {value!r} is implemented")
