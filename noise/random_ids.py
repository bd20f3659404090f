"""Sound ids that nobody spoke, as the paper made them for its inaudible rows.

Source: arXiv 2410.15316 section on robustness and the original's issue 71: ids drawn uniformly, as
many as a real prompt has. Real noise holds an id for a while, hence the `sticky` kind; real ids are not equally
frequent, hence the `shuffled` one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint16]
Params = dict[str, Any]  # how a sound was made: plain values, that JSON takes

STAY = (0.5, 0.95)  # range of the probability that a sticky sequence repeats its last id


def independent(length: int, n_codes: int, rng: np.random.Generator) -> tuple[Ids, Params]:
    """Return uint16 (length,) ids below n_codes, drawn independently and uniformly."""
    return rng.integers(0, n_codes, length, dtype=np.uint16), {}


def sticky(length: int, n_codes: int, rng: np.random.Generator) -> tuple[Ids, Params]:
    """Return uint16 (length,) ids that repeat, with the probability of repeating."""
    stay = round(float(rng.uniform(*STAY)), 2)
    fresh = rng.integers(0, n_codes, length, dtype=np.uint16)
    moves = rng.random(length) >= stay
    moves[:1] = True
    return fresh[np.maximum.accumulate(np.where(moves, np.arange(length), 0))], {"stay": stay}


def shuffled(length: int, pool: Sequence[Ids], rng: np.random.Generator) -> tuple[Ids, list[int]]:
    """Return uint16 (length,) ids of real utterances in a drawn order, and which of the pool they are of.

    As many utterances as it takes, one after another, then all their ids shuffled, then as many as are wanted. Raises
    ValueError for a pool without ids.
    """
    if not any(ids.size for ids in pool):
        raise ValueError("there are no ids to shuffle")
    of: list[int] = []
    while sum(pool[i].size for i in of) < length or not of:
        of.append(int(rng.integers(len(pool))))
    return rng.permutation(np.concatenate([pool[i] for i in of]))[:length], of
