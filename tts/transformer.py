"""The transformer that WhisperSpeech's two models share, with what a decoder remembers of a batch.

Source: collabora/WhisperSpeech 0.8.9 `modules.py` after `optimize()`: query and key are scaled in their weights, and
one product makes all three. Unlike there, keys and values of the encoded text are made once for an utterance and
not at every step, and a step looks at as many places as are in use, not at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tts.whisperspeech_checkpoint import Weights, linear


@dataclass(frozen=True)
class Shape:
    """Of every layer of a model. `qk_scale` multiplies the products of queries and keys."""

    width: int
    n_heads: int
    ffn_mult: int
    qk_scale: float


class Norm(nn.Module):
    """LayerNorm in float32, whatever the precision around it."""

    def __init__(self, weights: Weights, at: str, width: int) -> None:
        super().__init__()
        scale, shift = weights.norm(at, width)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.shift = nn.Parameter(shift, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., width) of the same type."""
        return functional.layer_norm(x.float(), self.scale.shape, self.scale, self.shift).to(x.dtype)


class Rotary(nn.Module):
    """Rotary positions; the angles are float32 whatever the precision (upstream's are rounded with it)."""

    def __init__(self, frequencies: Tensor, places: int) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(places, dtype=torch.float32), frequencies)
        angles = torch.cat([angles, angles], dim=-1)
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """Return float (n, heads, t, d) turned to `places`, int64 (t,)."""
        first, second = x.float().chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
        return (x.float() * self.cos[places] + turned * self.sin[places]).to(x.dtype)


@dataclass
class LayerMemory:
    """Keys and values of a layer: (n, heads, room, d) of what was said, (n, heads, places, d) of what was encoded."""

    keys: Tensor
    values: Tensor
    cross_keys: Tensor
    cross_values: Tensor

    @classmethod
    def empty(cls, rows: int, like: Tensor) -> LayerMemory:
        """Return memory for so many rows of what is encoded, (n, heads, places, d), and for nothing that is said."""
        said, cross = (like.new_zeros(rows, like.shape[1], places, like.shape[3]) for places in (0, like.shape[2]))
        return cls(said, said, cross, torch.zeros_like(cross))

    def grow(self, room: int) -> None:
        """Make room for so many places."""
        more = (0, 0, 0, room - self.keys.shape[2])
        self.keys = functional.pad(self.keys, more)
        self.values = functional.pad(self.values, more)

    def part(self, rows: int, room: int) -> LayerMemory:
        """Return the first rows and places, of the same memory."""
        return LayerMemory(
            self.keys[:rows, :, :room], self.values[:rows, :, :room], self.cross_keys[:rows], self.cross_values[:rows]
        )


class SelfAttention(nn.Module):
    """Attention to the sequence itself."""

    def __init__(self, weights: Weights, at: str, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.n_heads = shape.n_heads
        query, key, value, query_bias, value_bias = _projections(weights, at, shape)
        self.qkv = linear(torch.cat([query, key, value]), torch.cat([query_bias, torch.zeros(width), value_bias]))
        self.out = weights.linear(f"{at}.out", width, width)

    def split(self, x: Tensor, turn: Rotary | None, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each (n, heads, t, d)."""
        query, key, value = (_heads(part, self.n_heads) for part in self.qkv(x).chunk(3, dim=-1))
        if turn is not None:
            query, key = turn(query, places), turn(key, places)
        return query, key, value

    def forward(self, x: Tensor, turn: Rotary | None, places: Tensor, causal: bool) -> Tensor:
        """Return (n, t, width) for a whole sequence."""
        query, key, value = self.split(x, turn, places)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return _joined(self.out, mixed)

    def step(self, x: Tensor, memory: LayerMemory, turn: Rotary | None, place: Tensor, seen: Tensor) -> Tensor:
        """Return (n, 1, width) for one more place, int64 (1,), which is remembered.

        `seen` is added to the products, (1, 1, 1, room): 0 for what is said, -inf for what is not yet.
        """
        query, key, value = self.split(x, turn, place)
        memory.keys.index_copy_(2, place, key)
        memory.values.index_copy_(2, place, value)
        mixed = functional.scaled_dot_product_attention(query, memory.keys, memory.values, attn_mask=seen)
        return _joined(self.out, mixed)


class CrossAttention(nn.Module):
    """Attention to what was encoded."""

    def __init__(self, weights: Weights, at: str, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.n_heads = shape.n_heads
        query, key, value, query_bias, value_bias = _projections(weights, at, shape)
        self.query = linear(query, query_bias)
        self.key_value = linear(torch.cat([key, value]), torch.cat([torch.zeros(width), value_bias]))
        self.out = weights.linear(f"{at}.out", width, width)

    def remember(self, encoded: Tensor, turn: Rotary | None, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values (n, heads, t, d) of float (n, t, width)."""
        key, value = (_heads(part, self.n_heads) for part in self.key_value(encoded).chunk(2, dim=-1))
        return key if turn is None else turn(key, places), value

    def step(self, x: Tensor, memory: LayerMemory, turn: Rotary | None, place: Tensor) -> Tensor:
        """Return (n, 1, width) for one place."""
        query = _heads(self.query(x), self.n_heads)
        query = query if turn is None else turn(query, place)
        mixed = functional.scaled_dot_product_attention(query, memory.cross_keys, memory.cross_values)
        return _joined(self.out, mixed)


def _projections(weights: Weights, at: str, shape: Shape) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the weights of queries, keys and values and the biases of queries and values, with the scale in them."""
    width, scale = shape.width, math.sqrt(shape.qk_scale)
    query, key, value = (weights.take(f"{at}.{name}.weight", width, width) for name in ("query", "key", "value"))
    query_bias, value_bias = (weights.take(f"{at}.{name}.bias", width) for name in ("query", "value"))
    return query * scale, key * scale, value, query_bias * scale, value_bias


def _heads(x: Tensor, n_heads: int) -> Tensor:
    return x.view(*x.shape[:2], n_heads, -1).transpose(1, 2)


def _joined(out: nn.Linear, mixed: Tensor) -> Tensor:
    joined: Tensor = out(mixed.transpose(1, 2).flatten(start_dim=2))
    return joined


class Layer(nn.Module):
    """A layer of the encoder, or with `cross` of the decoder."""

    def __init__(self, weights: Weights, at: str, shape: Shape, cross: bool) -> None:
        super().__init__()
        width, hidden = shape.width, shape.width * shape.ffn_mult
        self.attn = SelfAttention(weights, f"{at}.attn", shape)
        self.attn_ln = Norm(weights, f"{at}.attn_ln", width)
        self.mlp = nn.Sequential(
            weights.linear(f"{at}.mlp.0", hidden, width), nn.GELU(), weights.linear(f"{at}.mlp.2", width, hidden)
        )
        self.mlp_ln = Norm(weights, f"{at}.mlp_ln", width)
        if cross:
            self.cross_attn = CrossAttention(weights, f"{at}.cross_attn", shape)
            self.cross_attn_ln = Norm(weights, f"{at}.cross_attn_ln", width)

    def forward(self, x: Tensor, turn: Rotary | None, places: Tensor, causal: bool) -> Tensor:
        """Return (n, t, width) for a whole sequence."""
        x = x + self.attn(self.attn_ln(x), turn, places, causal)
        y: Tensor = x + self.mlp(self.mlp_ln(x))
        return y

    def step(self, x: Tensor, memory: LayerMemory, turn: Rotary | None, place: Tensor, seen: Tensor) -> Tensor:
        """Return (n, 1, width) for one more place of the decoder."""
        x = x + self.attn.step(self.attn_ln(x), memory, turn, place, seen)
        x = x + self.cross_attn.step(self.cross_attn_ln(x), memory, turn, place)
        y: Tensor = x + self.mlp(self.mlp_ln(x))
        return y


class Encoder(nn.Module):
    """All layers over a whole sequence; no place is masked as padding, since none was in training."""

    def __init__(
        self, weights: Weights, at: str, norm_at: str, depth: int, shape: Shape, causal: bool, turn: Rotary | None
    ) -> None:
        super().__init__()
        self.causal, self.turn = causal, turn
        self.layers = nn.ModuleList(Layer(weights, f"{at}.{n}", shape, cross=False) for n in range(depth))
        self.ln_post = Norm(weights, norm_at, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, t, width)."""
        places = torch.arange(x.shape[1], device=x.device)
        for layer in self.layers:
            x = layer(x, self.turn, places, self.causal)
        y: Tensor = self.ln_post(x)
        return y


class Decoder(nn.Module):
    """All layers for one more place of every row.

    key_spacing: places of the decoder for one of the encoder, where positions are rotary.
    """

    def __init__(
        self, weights: Weights, at: str, depth: int, shape: Shape, turn: Rotary | None, key_spacing: int = 1
    ) -> None:
        super().__init__()
        self.turn, self.key_spacing, self.width = turn, key_spacing, shape.width
        self.layers = nn.ModuleList(Layer(weights, f"{at}.layers.{n}", shape, cross=True) for n in range(depth))
        self.ln_post = Norm(weights, f"{at}.ln_post", shape.width)

    def bytes_per_row(self, places: int, encoded: int, item_bytes: int) -> int:
        """Return how much memory a row of so many places takes."""
        return len(self.layers) * 2 * (places + encoded) * self.width * item_bytes

    def remember(self, encoded: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each layer's keys and values, (n, heads, t, d), of float (n, t, width)."""
        places = torch.arange(encoded.shape[1], device=encoded.device) * self.key_spacing
        for layer in self.layers:
            assert isinstance(layer, Layer)
            yield layer.cross_attn.remember(encoded, self.turn, places)

    def step(self, x: Tensor, memories: Sequence[LayerMemory], place: Tensor) -> Tensor:
        """Return (n, 1, width) for float (n, 1, width) at `place`, int64 (1,), the next one of every row."""
        unseen = torch.arange(memories[0].keys.shape[2], device=x.device) > place
        seen = torch.zeros_like(unseen, dtype=x.dtype).masked_fill(unseen, -torch.inf)[None, None, None]
        for layer, memory in zip(self.layers, memories, strict=True):
            assert isinstance(layer, Layer)
            x = layer.step(x, memory, self.turn, place, seen)
        y: Tensor = self.ln_post(x)
        return y


def place_model(model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Put a model on a device, its matrices and tables in `dtype`, its norms and positions in float32."""
    model.to(device).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            module.to(dtype)
