"""Drawing and driving: the law of what is drawn, what is forbidden, and rows that end by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import seeded_speech as seeded
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from quantize.one_thread import one_thread
from tts.decoding import Batch, Model, Sampling, Seats, Step, choose, decode, gumbel, row_key
from tts.s2a import S2A
from tts.t2s import T2S
from tts.transformer import LayerMemory

PLACE = torch.tensor([3])


def test_draws_follow_the_softmax() -> None:
    n = 40_000
    logits = torch.tensor([0.0, 1.0, -2.0, 3.0, 0.5])
    keys = torch.tensor([row_key(1, "law", 0, number) for number in range(n)])
    drawn = choose(logits.expand(n, 1, 5), keys, PLACE, Sampling(temperature=1.5))
    shares = torch.bincount(drawn[:, 0], minlength=5) / n
    expected = torch.softmax(logits / 1.5, 0)
    assert (shares - expected).abs().max() < 5 * 0.5 / n**0.5


def test_noise_is_gumbels_and_differs_by_key_place_and_token() -> None:
    noise = gumbel(torch.tensor([row_key(0, "a", 0, number) for number in range(50)]), PLACE, (4, 1026))
    assert noise.shape == (50, 4, 1026)
    assert torch.isfinite(noise).all()
    assert abs(float(noise.mean()) - 0.57722) < 0.01  # Euler's constant
    assert abs(float(noise.var()) - np.pi**2 / 6) < 0.02
    flat = noise.reshape(50, -1)
    assert torch.corrcoef(torch.stack([flat[0, :-1], flat[0, 1:], flat[1, 1:]])).triu(1).abs().max() < 0.06
    later = gumbel(torch.tensor([row_key(0, "a", 0, 0)]), PLACE + 1, (4, 1026))
    assert not torch.isin(later, noise[0]).float().mean() > 0.01


def test_the_noise_is_the_same_for_ever() -> None:
    """Of splitmix64's published first outputs for the seed 1234567, the upper 23 bits."""
    first = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    uniform = [((value >> 41) + 0.5) / 2**23 for value in first]
    noise = gumbel(torch.tensor([1234567]), torch.tensor([0]), (1, 3))
    assert torch.allclose(noise.flatten(), torch.tensor([-np.log(-np.log(u)) for u in uniform]).float(), atol=1e-6)
    assert row_key(1, "t2s", 0, 0) == row_key(1, "t2s", 0, 0)
    assert len({row_key(s, n, p, a) for s in (0, 1) for n in ("t2s", "s2a") for p in (0, 1) for a in (0, 1)}) == 16


def test_top_k_leaves_the_likeliest_and_zero_takes_the_likeliest() -> None:
    logits = torch.randn(200, 2, 30, generator=torch.Generator().manual_seed(0))
    keys = torch.arange(200)
    chosen = choose(logits, keys, PLACE, Sampling(5.0, top_k=3))
    ranks = (logits > logits.gather(2, chosen[..., None])).sum(2)
    assert set(ranks.flatten().tolist()) == {0, 1, 2}
    assert torch.equal(choose(logits, keys, PLACE, Sampling(0)), logits.argmax(2))
    assert torch.equal(choose(logits, keys, PLACE, Sampling(2.0, top_k=1)), logits.argmax(2))


def test_what_is_forbidden_is_never_drawn() -> None:
    logits = torch.zeros(500, 1, 8)
    logits[..., 5:] = -torch.inf
    assert choose(logits, torch.arange(500), PLACE, Sampling(100.0)).max() <= 4


class Counter:
    """A model that counts up to the number that its row was given, then stops (0); it remembers what it was fed."""

    streams, context, start, stop = 1, 600, 0, 0

    def __init__(self) -> None:
        self.fed_rows: list[int] = []

    def remember(self, encoded: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        yield encoded[:, None], encoded[:, None]

    def step(self, tokens: Tensor, place: Tensor, memories: Sequence[LayerMemory], added: Tensor | None) -> Tensor:
        self.fed_rows.append(len(tokens))
        (memory,) = memories
        memory.keys.index_copy_(2, place, tokens[:, :, None, None].float())
        assert memory.keys.shape[2] > int(place)
        assert added is not None
        assert torch.equal(memory.cross_keys[:, 0, 0], added[:, 0])
        going = added[:, 0, 0] >= place
        seen = memory.keys[going, 0, : int(place) + 1, 0]
        assert torch.equal(seen, torch.arange(int(place) + 1.0).expand(len(seen), -1))
        assert not memory.keys[going, :, int(place) + 1 :].any()
        following = torch.where(tokens[:, 0] + 1 > added[:, 0, 0], 0, tokens[:, 0] + 1)
        return torch.nn.functional.one_hot(following.long(), 700)[:, None].float()

    def fed(self, chosen: Tensor, place: Tensor) -> Tensor:
        return chosen


def counting(ends: list[int]) -> Batch:
    numbers = torch.tensor(ends, dtype=torch.float32)[:, None, None]
    return Batch(numbers, numbers)


ENDS = [[5], [40, 3, 130, 0, 31, 32, 33, 64, 500], [7, 7, 7], [0, 599]]


@pytest.mark.parametrize("ends", ENDS)
def test_rows_end_by_themselves_and_leave_the_batch(ends: list[int]) -> None:
    model = Counter()
    limits = [599] * len(ends)
    rows = decode(Seats(model), counting(ends), limits, [0] * len(ends), Sampling(0))
    assert [row.tokens[0].tolist() for row in rows] == [list(range(1, end + 1)) for end in ends]
    assert [row.stopped for row in rows] == [end < 599 for end in ends]
    assert sum(model.fed_rows) <= 2 * sum(end + 1 for end in ends)


def test_rows_end_at_their_limits() -> None:
    rows = decode(Seats(Counter()), counting([599, 599, 20]), [10, 300, 300], [0] * 3, Sampling(0))
    assert [row.tokens.shape[1] for row in rows] == [10, 300, 20]
    assert [row.stopped for row in rows] == [False, False, True]


def test_seats_serve_one_batch_after_another() -> None:
    seats = Seats(Counter())
    for ends in (*ENDS, *ENDS[::-1]):
        rows = decode(seats, counting(ends), [599] * len(ends), [0] * len(ends), Sampling(0))
        assert [row.tokens[0].tolist() for row in rows] == [list(range(1, end + 1)) for end in ends]


class Tape(TorchDispatchMode):
    """What a CUDA graph does with a step, on a CPU: the calls with the memory they had, and no line of Python."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = call(*args, **(kwargs or {}))
        self.calls.append((call, args, kwargs or {}, made))
        return made

    def replay(self) -> None:
        for call, args, kwargs, made in self.calls:
            again = call(*args, **kwargs)
            for before, now in zip(pytree.tree_leaves(made), pytree.tree_leaves(again), strict=True):
                if isinstance(now, Tensor) and before.data_ptr() != now.data_ptr():
                    before.copy_(now)


class Tapes:
    """Records steps, and counts them."""

    recorders = 0
    recorded = 0
    names: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        Tapes.recorders += 1

    def __call__(self, step: Step) -> Step:
        Tapes.recorded += 1
        with Tape() as tape:
            step()
        Tapes.names |= {str(call) for call, *_ in tape.calls}
        return tape.replay


# What waits for the GPU, or copies from the CPU, and cannot be in a graph.
NOT_IN_GRAPHS = {f"aten.{name}.default" for name in ("_local_scalar_dense", "nonzero", "lift_fresh", "is_nonzero")}


@pytest.mark.parametrize("sampling", [Sampling(0), Sampling(0.7), Sampling(1.0, top_k=20)])
def test_recorded_steps_are_the_steps_for_every_later_batch(sampling: Sampling, tmp_path: Path) -> None:
    model = T2S(seeded.write_t2s(tmp_path / "t2s.model", "micro"))
    check_recorded(model, lambda n: model.encode(seeded.texts(40)[n], "en", [15.0] * len(range(40)[n])), sampling, 69)


def test_recorded_steps_of_codes_are_the_steps(tmp_path: Path) -> None:
    model = S2A(seeded.write_s2a(tmp_path / "s2a.model", "micro"))
    sounds, speakers = seeded.sounds(40), torch.from_numpy(seeded.speakers(40))
    check_recorded(model, lambda n: model.encode(sounds[n], speakers[n]), Sampling(0.7), 140)


def check_recorded(model: Model, encode: Callable[[slice], Batch], sampling: Sampling, longest: int) -> None:
    """Compare batches of many sizes, recorded, with the same rows as each step was done."""
    Tapes.recorders = Tapes.recorded = 0
    Tapes.names = set()
    seats, plain = Seats(model, Tapes), Seats(model)
    steps = 0
    with one_thread():
        for batch in (slice(0, 3), slice(3, 12), slice(12, 17), slice(17, 18), slice(18, 34), slice(34, 40)):
            numbers = range(40)[batch]
            limits, keys = [longest - 3 * number for number in numbers], [17 * number for number in numbers]
            steps += max(limits)
            recorded = decode(seats, encode(batch), limits, keys, sampling, graphs=True)
            done = decode(plain, encode(batch), limits, keys, sampling)
            for one, other in zip(recorded, done, strict=True):
                assert one.stopped == other.stopped
                assert np.array_equal(one.tokens, other.tokens)
    assert Tapes.recorders >= 2  # seats grew, and old records were void
    assert 0 < Tapes.recorded < steps / 3  # later batches found theirs
    assert not Tapes.names & NOT_IN_GRAPHS
