"""Sound ids that nobody spoke, as the paper made them for its inaudible rows.

Source: arXiv 2410.15316 section on robustness and the original's issue 71: ids drawn uniformly, as
many as a real prompt has. Real noise holds an id for a while, hence the `sticky` kind.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint16]
STAY = (0.5, 0.95)  # range of the probability that a sticky sequence repeats its last id


def independent(length: int, n_codes: int, rng: np.random.Generator) -> tuple[Ids, str]:
    """Return uint16 (length,) ids drawn independently and uniformly, and the kind's description."""
    return rng.integers(0, n_codes, length, dtype=np.uint16), "independent"


def sticky(length: int, n_codes: int, rng: np.random.Generator) -> tuple[Ids, str]:
    """Return uint16 (length,) ids that repeat, and the kind with its probability of repeating."""
    stay = round(float(rng.uniform(*STAY)), 2)
    fresh = rng.integers(0, n_codes, length, dtype=np.uint16)
    moves = rng.random(length) >= stay
    moves[:1] = True
    return fresh[np.maximum.accumulate(np.where(moves, np.arange(length), 0))], f"sticky stay={stay}"


NOISE_KINDS: dict[str, Callable[[int, int, np.random.Generator], tuple[Ids, str]]] = {
    "independent": independent,
    "sticky": sticky,
}
