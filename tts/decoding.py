"""Decoding many rows together, token by token: each ends by itself, and draws what it would draw alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tts.transformer import LayerMemory

ROOMS = (32, 64, 128, 256, 512, 768, 1024, 1536, 2304)
"""How many places the memories have room for: a step attends to all of them. Rooms are whole vectors of any kernel."""
GPU_STEPS = 8
"""Between two looks at who has stopped: each waits for the GPU."""


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. temperature 0 takes the likeliest; top_k leaves only so many to draw from."""

    temperature: float = 0.7
    top_k: int | None = None


@dataclass(frozen=True)
class Batch:
    """The rows of a batch as a model has encoded them.

    encoded: (n, places, width), what the decoder attends to
    added:   (n, 1, width), added to every input of the decoder; None for nothing
    """

    encoded: Tensor
    added: Tensor | None = None


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

    def remember(self, encoded: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each layer's keys and values of what is encoded, (n, heads, places, d)."""
        ...

    def step(self, tokens: Tensor, place: Tensor, memories: Sequence[LayerMemory], added: Tensor | None) -> Tensor:
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


Step = Callable[[], None]
Record = Callable[[Step], Step]
"""Does a step once, and returns what does the same again."""


class CudaGraphs:
    """Records steps as CUDA graphs. They share memory for what is in between: one runs at a time and leaves nothing."""

    def __init__(self) -> None:
        """Have no graph yet. Memory that all graphs of a pool have left cannot be given to another."""
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step) -> Step:
        """Do a step, in which libraries set themselves up, and return its graph; recording runs nothing."""
        step()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            step()
        return graph.replay


class Seats:
    """Where the rows of a batch sit while they are decoded: memory that stays for the next batch.

    All that a step reads and changes is here and is changed in place, so that a CUDA graph, recorded once for a number
    of rows and a room, serves every later batch. Seats grow to what the largest batch and the longest row need.
    """

    def __init__(self, model: Model, recorder: Callable[[], Record] = CudaGraphs) -> None:
        """Have no seats yet.

        Args:
            recorder: returns what records steps; asked again when the seats have grown, as all records are void then.
        """
        self.model, self._recorder = model, recorder
        self.memories: list[LayerMemory] = []
        self.added: Tensor | None = None
        self.place = self.keys = self.tokens = self.said = torch.empty(0, dtype=torch.int64)
        self.rows = self.room = 0
        self._forget_records()

    def _forget_records(self) -> None:
        if self.keys.is_cuda:
            torch.cuda.synchronize(self.keys.device)  # a graph may be running on the memory that goes
        self._record: Record | None = None
        self._recorded: dict[tuple[int, int, Sampling], Step] = {}

    def take(self, batch: Batch, keys: Sequence[int], rows: int) -> None:
        """Let a batch sit down on the first of `rows` seats; on the others sits whoever sat there."""
        n, model, device = len(keys), self.model, batch.encoded.device
        layers = model.remember(batch.encoded)
        if rows > len(self.keys):
            self._forget_records()
            self.memories = []
            self.place = torch.zeros(1, dtype=torch.int64, device=device)
            self.keys = torch.zeros(rows, dtype=torch.int64, device=device)
            self.tokens = torch.zeros(rows, model.streams, dtype=torch.int64, device=device)
            self.said = torch.zeros(rows, model.streams, model.context, dtype=torch.int64, device=device)
            self.added = None if batch.added is None else batch.added.new_zeros(rows, *batch.added.shape[1:])
        for number, (cross_keys, cross_values) in enumerate(layers):
            if number == len(self.memories):
                self.memories.append(LayerMemory.empty(len(self.keys), cross_keys))
            self.memories[number].cross_keys[:n] = cross_keys
            self.memories[number].cross_values[:n] = cross_values
        if self.added is not None and batch.added is not None:
            self.added[:n] = batch.added
        self.keys[:n] = torch.tensor(keys, dtype=torch.int64, device=device)
        self.place.zero_()
        self.tokens[:rows] = model.start
        self.said[:rows] = model.start
        self.rows, self.room = rows, 0

    def widen(self, room: int) -> None:
        """Give each row room for so many places, with nothing in what is new."""
        if room > self.memories[0].keys.shape[2]:
            self._forget_records()
            for memory in self.memories:
                memory.grow(room)
        for memory in self.memories:
            memory.keys[: self.rows, :, self.room : room] = 0
            memory.values[: self.rows, :, self.room : room] = 0
        self.room = room

    def close_up(self, moves: Sequence[tuple[int, int]], rows: int) -> None:
        """Move rows from seats to seats, and go on with the first `rows`."""
        if moves:
            origins, seats = torch.tensor(moves, device=self.keys.device).unbind(1)
            for memory in self.memories:
                memory.keys[seats, :, : self.room] = memory.keys[origins, :, : self.room]
                memory.values[seats, :, : self.room] = memory.values[origins, :, : self.room]
                memory.cross_keys[seats] = memory.cross_keys[origins]
                memory.cross_values[seats] = memory.cross_values[origins]
            for rowwise in (self.keys, self.tokens, self.said, *([] if self.added is None else [self.added])):
                rowwise[seats] = rowwise[origins]
        self.rows = rows

    def advance(self, sampling: Sampling, graphs: bool) -> None:
        """Do one step for all rows."""
        key = (self.rows, self.room, sampling)
        if not graphs:
            self._step(*key)
        elif key in self._recorded:
            self._recorded[key]()
        else:
            self._record = self._record or self._recorder()
            self._recorded[key] = self._record(partial(self._step, *key))

    def _step(self, rows: int, room: int, sampling: Sampling) -> None:
        tokens, added = self.tokens[:rows], None if self.added is None else self.added[:rows]
        logits = self.model.step(tokens, self.place, [memory.part(rows, room) for memory in self.memories], added)
        following = self.model.fed(choose(logits, self.keys[:rows], self.place, sampling), self.place)
        self.place.add_(1)
        self.said[:rows].index_copy_(2, self.place, following[:, :, None])
        tokens.copy_(following)


@torch.inference_mode()
def decode(
    seats: Seats,
    batch: Batch,
    limits: Sequence[int],
    keys: Sequence[int],
    sampling: Sampling,
    *,
    graphs: bool = False,
) -> list[Decoded]:
    """Return each row decoded until its stop, or its limit.

    Half of the seats are given up when half of them are empty.

    Args:
        limits: most tokens of each row, under the model's context.
        keys: 64 bits of each row, from `row_key`: all that it draws from.
        graphs: record steps and replay them. A batch then has a power of two of seats, so that there are few records.
    """
    size = len(limits) if not graphs else 1 << (len(limits) - 1).bit_length()
    seats.take(batch, keys, size)
    rows: list[int | None] = [*range(len(limits)), *[None] * (size - len(limits))]  # by seat; None: it is empty
    ended: dict[int, Decoded] = {}
    every = GPU_STEPS if batch.encoded.device.type == "cuda" else 1
    place, stop = 0, seats.model.stop
    while alive := [row for row in rows if row is not None]:
        while 2 * len(alive) <= size:
            size = (size + 1) // 2
        if size < len(rows):
            moves = _moves(rows, size)
            seats.close_up(moves, size)
            for origin, seat in moves:
                rows[seat] = rows[origin]
            del rows[size:]
        if place == seats.room:
            seats.widen(next(room for room in (*ROOMS, seats.model.context) if room > place))
        until = min(seats.room, place + every, *(limits[row] for row in alive))
        for _ in range(place, until):
            seats.advance(sampling, graphs)
        said = seats.said[:size, 0, place + 1 : until + 1]
        stopped = [False] * size if stop is None else (said == stop).any(1).tolist()
        place = until
        for seat, row in enumerate(rows):
            if row is not None and (stopped[seat] or place == limits[row]):
                ended[row] = _cut(seats.said[seat, :, 1 : place + 1].numpy(force=True).copy(), stop)
                rows[seat] = None
    return [ended[row] for row in range(len(limits))]


def _moves(rows: Sequence[int | None], size: int) -> list[tuple[int, int]]:
    """Return (from, to) of the rows beyond the first `size` seats, to seats that are empty among them."""
    empty = (seat for seat in range(size) if rows[seat] is None)
    return [(seat, next(empty)) for seat in range(size, len(rows)) if rows[seat] is not None]


def _cut(said: NDArray[np.int64], stop: int | None) -> Decoded:
    stops = np.flatnonzero(said[0] == stop)
    return Decoded(said[:, : stops[0]] if stops.size else said, stops.size > 0)


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
