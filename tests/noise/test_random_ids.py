"""Ids that nobody spoke: as many as asked, below the number of codes; real ones come from the pool."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from noise.random_ids import STAY, independent, shuffled, sticky


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize("length", [1, 2, 77])
@pytest.mark.parametrize("make", [independent, sticky])
def test_as_many_ids_as_asked_of_the_codes_there_are(make: type, length: int) -> None:
    for seed in range(50):
        ids, _ = make(length, 7, rng(seed))
        assert ids.shape == (length,)
        assert ids.dtype == np.uint16
        assert ids.max() < 7


def test_independent_ids_are_uniform_and_sticky_ones_stay_as_they_say() -> None:
    ids, said = independent(60_000, 6, rng(1))
    assert said == {}
    assert np.bincount(ids) == pytest.approx(np.full(6, 10_000), rel=0.05)
    assert (ids[1:] == ids[:-1]).mean() == pytest.approx(1 / 6, abs=0.01)
    for seed in range(5):
        ids, said = sticky(60_000, 500, rng(seed))
        assert STAY[0] <= said["stay"] <= STAY[1]
        assert (ids[1:] == ids[:-1]).mean() == pytest.approx(said["stay"], abs=0.01)


def test_shuffled_ids_are_those_of_the_utterances_that_it_names_in_another_order() -> None:
    pool = [np.arange(start, start + 40, dtype=np.uint16) for start in range(0, 400, 40)]
    orders = set()
    for seed in range(40):
        ids, of = shuffled(90, pool, rng(seed))
        assert len(of) == 3
        available = Counter(int(i) for position in of for i in pool[position])
        assert ids.shape == (90,)
        assert not Counter(ids.tolist()) - available
        assert (np.diff(ids.astype(int)) == 1).mean() < 0.2  # in the pool every id is followed by the next
        orders.add(tuple(ids.tolist()))
    assert len(orders) == 40


def test_nothing_can_be_shuffled_out_of_nothing() -> None:
    with pytest.raises(ValueError, match="no ids to shuffle"):
        shuffled(3, [np.zeros(0, np.uint16)], rng())
