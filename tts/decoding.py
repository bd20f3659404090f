"""Decoding many rows together, token by token: each ends by itself, and draws what it would draw alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tts.transformer import LayerMemory

ROOMS = (32, 64, 128, 256, 512, 768, 1024, 1536, 2304)
"""How many places the memories have room for: a step attends to all of them, and they grow when they are full."""
GPU_STEPS = 8
"""Between two looks at who has stopped: each waits for the GPU."""


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. temperature 0 takes the likeliest; top_k leaves only so many to draw from."""

    temperature: float = 0.7
    top_k: int | None = None


@dataclass
class Batch:
    """The rows of a batch as a model has encoded them.

    memories: of each layer
    added:    (n, 1, width), added to every input of the decoder; None for nothing
    """

    memories: list[LayerMemory]
    added: Tensor | None = None

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these."""
        for memory in self.memories:
            memory.keep(rows)
        self.added = None if self.added is None else self.added[rows]


class Model(Protocol):
    """What `decode` asks of a model.

    streams:  tokens at a place
    context:  most places, with the first
    start:    the token at the first place
    stop:     the token that ends a row, in the first stream; None where lengths are known
    """

    streams: int
    context: int
    start: int
    stop: int | None

    def step(self, tokens: Tensor, place: Tensor, batch: Batch) -> Tensor:
        """Return float32 (n, streams, vocabulary), what follows int64 (n, streams) at `place`, int64 (1,)."""
        ...

    def fed(self, chosen: Tensor, place: Tensor) -> Tensor:
        """Return what is said for int64 (n, streams), chosen from what follows `place`."""
        ...


@dataclass(frozen=True)
class Decoded:
    """A row: int64 (streams, n_tokens) without start and stop, and whether it stopped by itself."""

    tokens: NDArray[np.int64]
    stopped: bool


class _Going:
    """A batch on its way. All that a step changes is changed in place, so that a CUDA graph can replay it."""

    def __init__(self, model: Model, batch: Batch, keys: Tensor, sampling: Sampling) -> None:
        device = keys.device
        self.model, self.batch, self.keys, self.sampling = model, batch, keys, sampling
        self.tokens = torch.full((len(keys), model.streams), model.start, device=device)
        self.said = torch.full((len(keys), model.streams, model.context), model.start, device=device)
        self.place = torch.zeros(1, dtype=torch.int64, device=device)

    def step(self) -> None:
        logits = self.model.step(self.tokens, self.place, self.batch)
        tokens = self.model.fed(choose(logits, self.keys, self.place, self.sampling), self.place)
        self.place.add_(1)
        self.said.index_copy_(2, self.place, tokens[:, :, None])
        self.tokens.copy_(tokens)

    def grow(self, room: int) -> None:
        for memory in self.batch.memories:
            memory.grow(room)

    def keep(self, numbers: list[int]) -> None:
        rows = torch.tensor(numbers, device=self.keys.device)
        self.batch.keep(rows)
        self.keys, self.tokens, self.said = self.keys[rows], self.tokens[rows], self.said[rows]


@torch.inference_mode()
def decode(
    model: Model, batch: Batch, limits: Sequence[int], keys: Sequence[int], sampling: Sampling, *, graphs: bool = False
) -> list[Decoded]:
    """Return each row decoded until its stop, or its limit.

    Args:
        limits: most tokens of each row, under the model's context.
        keys: 64 bits of each row, from `row_key`: all that it draws from.
        graphs: capture the step as a CUDA graph for each number of rows and room.
    """
    device = batch.memories[0].cross_keys.device
    going = _Going(model, batch, torch.tensor(keys, dtype=torch.int64, device=device), sampling)
    rows: list[int | None] = list(range(len(limits)))  # by place in the batch; None: ended
    ended: dict[int, Decoded] = {}
    every = GPU_STEPS if device.type == "cuda" else 1
    place, room = 0, 0
    advance = going.step
    while alive := [row for row in rows if row is not None]:
        shrinks = 2 * len(alive) <= len(rows)
        if shrinks:
            going.keep([number for number, row in enumerate(rows) if row is not None])
            rows = list(alive)
        if place == room:
            room = min(model.context, next(size for size in (*ROOMS, model.context) if size > place))
            going.grow(room)
            shrinks = True
        if shrinks:
            advance = _replayed(going.step) if graphs and device.type == "cuda" else going.step
        until = min(room, place + every, *(limits[row] for row in alive))
        for _ in range(place, until):
            advance()
        stopped = _stopped(going, place, until)
        place = until
        for number, row in enumerate(rows):
            if row is not None and (stopped[number] or place == limits[row]):
                ended[row] = _cut(going.said[number, :, 1 : place + 1].cpu().numpy(), model.stop)
                rows[number] = None
    return [ended[row] for row in range(len(limits))]


def _stopped(going: _Going, place: int, until: int) -> list[bool]:
    """Return of each row whether it stopped in the places after `place`, up to `until`."""
    if going.model.stop is None:
        return [False] * len(going.tokens)
    stopped: list[bool] = (going.said[:, 0, place + 1 : until + 1] == going.model.stop).any(1).tolist()
    return stopped


def _cut(said: NDArray[np.int64], stop: int | None) -> Decoded:
    stops = np.flatnonzero(said[0] == stop)
    return Decoded(said[:, : stops[0]] if stops.size else said, stops.size > 0)


def _replayed(step: Callable[[], None]) -> Callable[[], None]:
    """Return a function that does `step` when first called, and then replays its capture.

    The first call is an ordinary step: libraries set themselves up in it. Capturing runs nothing.
    """
    graph: torch.cuda.CUDAGraph | None = None

    def advance() -> None:
        nonlocal graph
        if graph is None:
            step()
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
        else:
            graph.replay()

    return advance


def choose(logits: Tensor, keys: Tensor, place: Tensor, sampling: Sampling) -> Tensor:
    """Return int64 (n, streams), drawn from float32 logits (n, streams, vocabulary) by each row's key and place.

    The maximum of logits and Gumbel noise is a draw from their softmax (Gumbel 1954), as upstream's exponentials are.
    A row on the edge between two tokens is rarer by far than on the edge between two sums of probabilities, so
    rounding seldom shows.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    scores = logits / sampling.temperature
    if sampling.top_k is not None:
        least = scores.topk(min(sampling.top_k, scores.shape[-1])).values[..., -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    return (scores + gumbel(keys, place, logits.shape[1:])).argmax(-1)


# splitmix64 (Steele, Lea, Flood 2014), with its constants as signed integers; torch's products wrap.
_GOLDEN, _FIRST, _SECOND = (value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_BITS = 23  # with half a step added, what float32 holds below 1


def gumbel(keys: Tensor, place: Tensor, shape: Sequence[int]) -> Tensor:
    """Return float32 (n, *shape) of Gumbel noise, a function of each row's key and the place alone.

    Counted and not drawn in a row, so it needs no state and no order, and is made where the logits are.
    """
    size = int(np.prod(shape))
    counter = place * size + torch.arange(1, size + 1, device=keys.device)
    mixed = keys[:, None] + counter * _GOLDEN
    mixed = (mixed ^ _shifted(mixed, 30)) * _FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * _SECOND
    bits = _shifted(mixed ^ _shifted(mixed, 31), 64 - _BITS)
    uniform = (bits.float() + 0.5) * 2.0**-_BITS
    return -torch.log(-torch.log(uniform)).view(len(keys), *shape)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros, which torch does not for signed integers."""
    shifted: Tensor = (x >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def row_key(seed: int, stage: str, piece: int, attempt: int) -> int:
    """Return 64 bits, signed, for a row's draws: of its request's seed, the model, the piece of text, the attempt."""
    digest = hashlib.blake2b(f"{seed}/{stage}/{piece}/{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
