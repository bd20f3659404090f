"""Drawing and driving: the law of what is drawn, what is forbidden, and rows that end by themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tts.decoding import Batch, Sampling, choose, decode, gumbel, row_key
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

    def step(self, tokens: Tensor, place: Tensor, batch: Batch) -> Tensor:
        self.fed_rows.append(len(tokens))
        memory = batch.memories[0]
        memory.keys.index_copy_(2, place, tokens[:, :, None, None].float())
        assert memory.keys.shape[2] > int(place)
        assert batch.added is not None
        seen = memory.keys[:, 0, : int(place) + 1, 0]
        assert torch.equal(seen, torch.arange(int(place) + 1.0).expand(len(tokens), -1))
        following = torch.where(tokens[:, 0] + 1 > batch.added[:, 0, 0], 0, tokens[:, 0] + 1)
        return torch.nn.functional.one_hot(following.long(), 700)[:, None].float()

    def fed(self, chosen: Tensor, place: Tensor) -> Tensor:
        return chosen


def counting(ends: list[int]) -> Batch:
    none = torch.zeros(len(ends), 1, 0, 1)
    cross = torch.zeros(len(ends), 1, 2, 1)
    return Batch([LayerMemory(none, none, cross, cross)], torch.tensor(ends, dtype=torch.float32)[:, None, None])


@pytest.mark.parametrize("ends", [[5], [40, 3, 130, 0, 31, 32, 33, 64, 500], [7, 7, 7]])
def test_rows_end_by_themselves_and_leave_the_batch(ends: list[int]) -> None:
    model = Counter()
    rows = decode(model, counting(ends), [599] * len(ends), [0] * len(ends), Sampling(0))
    assert [row.tokens[0].tolist() for row in rows] == [list(range(1, end + 1)) for end in ends]
    assert all(row.stopped for row in rows)
    assert sum(model.fed_rows) <= 2 * sum(end + 1 for end in ends)


def test_rows_end_at_their_limits() -> None:
    rows = decode(Counter(), counting([599, 599, 20]), [10, 300, 300], [0] * 3, Sampling(0))
    assert [row.tokens.shape[1] for row in rows] == [10, 300, 20]
    assert [row.stopped for row in rows] == [False, False, True]
