"""Exact mixtures: integer quotas, the largest total that can be filled, who serves which part.

Rows are counted by class, the set of parts that a row may serve. Where one prompt may serve one part
only, quotas can be met if and only if, for every set of parts, the rows that can serve any of them
are at least as many as the set's quotas (Hall 1935; the classes make it a transport problem).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain, combinations
from math import floor

import numpy as np
from numpy.typing import NDArray

Parts = Mapping[str, Fraction]  # part -> percent
Classes = Mapping[frozenset[str], int]  # parts that a row may serve -> number of rows


class Short(Exception):
    """Parts that need more rows than can serve them."""

    def __init__(self, parts: Sequence[str], needed: int, available: int) -> None:
        super().__init__(
            f"{' + '.join(parts)} need{'s' if len(parts) == 1 else ' together'} {needed} rows, "
            f"and {available} can serve {'it' if len(parts) == 1 else 'them'}"
        )


def quotas(total: int, parts: Parts) -> dict[str, int]:
    """Split a total by percent into integers that add up to it, by largest remainder.

    Equal remainders go to the earlier part.

    >>> quotas(10, {"a": Fraction(70), "b": Fraction(25), "c": Fraction(5)})
    {'a': 7, 'b': 3, 'c': 0}
    """
    exact = {part: total * percent / 100 for part, percent in parts.items()}
    result = {part: floor(value) for part, value in exact.items()}
    by_remainder = sorted(parts, key=lambda part: result[part] - exact[part])  # stable
    for part in by_remainder[: total - sum(result.values())]:
        result[part] += 1
    return result


def available(parts: Sequence[str], classes: Classes) -> int:
    """Return how many rows can serve at least one of the parts."""
    return sum(rows for serves, rows in classes.items() if not serves.isdisjoint(parts))


def check(quota: Mapping[str, int], classes: Classes, reuse: bool) -> None:
    """Raise Short unless the quotas can be filled."""
    for group in _groups(list(quota), 1 if reuse else len(quota)):
        needed, have = sum(quota[part] for part in group), available(group, classes)
        if needed > have:
            raise Short(group, needed, have)


def largest_total(parts: Parts, classes: Classes, reuse: bool) -> int:
    """Return the largest total whose quotas can all be filled.

    The bound is real-valued; rounding can move a quota by less than one, so a total past the bound
    by less than the number of parts per percent may still fit. Hence the search from above.
    """
    groups = list(_groups(list(parts), 1 if reuse else len(parts)))
    total = min(
        floor((available(group, classes) + len(group)) * 100 / sum(parts[part] for part in group)) for group in groups
    )
    while total > 0:
        try:
            check(quotas(total, parts), classes, reuse)
        except Short:
            total -= 1
        else:
            break
    return total


def assign(quota: Mapping[str, int], classes: Classes) -> dict[tuple[frozenset[str], str], int]:
    """Return how many rows of each class serve each part, where a row serves one part only.

    Part by part, each class gives as many rows as leaves the later parts fillable. That never gets
    stuck: the union of tight sets of parts is tight, so a part that still needs rows while no class
    can give one would contradict the condition that check() has established.
    Raises Short.
    """
    check(quota, classes, reuse=False)
    order = sorted(classes, key=lambda serves: (len(serves), sorted(serves)))
    left = dict(classes)
    given: dict[tuple[frozenset[str], str], int] = {}
    parts = list(quota)
    for position, part in enumerate(parts):
        later = parts[position + 1 :]
        need = quota[part]
        for serves in order:
            if part not in serves:
                continue
            slack = [
                available(group, left) - sum(quota[p] for p in group)
                for group in _groups(later, len(later))
                if not serves.isdisjoint(group)
            ]
            give = min([need, left[serves], *slack])
            given[serves, part] = give
            left[serves] -= give
            need -= give
        assert need == 0, "check() holds, so every part can be filled"
    return given


def _groups(parts: Sequence[str], largest: int) -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(parts, size) for size in range(1, largest + 1))


def hash_rank(ids: Sequence[str], salt: str) -> NDArray[np.uint64]:
    """Return uint64 (n,): a pseudo-random rank of each row, from its id and a salt alone.

    Ids are uniform hex digests; their first 64 bits are mixed with the salt by splitmix64
    (Steele, Lea & Flood 2014), so that the ranks under two salts are unrelated.
    """
    z = np.array([int(i[:16], 16) for i in ids], dtype=np.uint64)
    z ^= np.uint64(int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=8).digest()))
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
