"""Which voices how often: shares by weight, or equal over the values of attributes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm


@dataclass(frozen=True)
class Candidate:
    """A voice that may be drawn: its weight, and the values of the attributes to balance by."""

    voice: str
    weight: float = 1
    cell: tuple[str, ...] = ()


def shares(candidates: Sequence[Candidate]) -> list[int]:
    """Return for each voice its share of the rows, as whole numbers that add up to the common denominator.

    Every cell (a combination of attributes, such as female and Scottish) that has a voice gets the same share of
    rows; within it voices get theirs by weight. With no attribute there is one cell.

    >>> shares([Candidate("a"), Candidate("b", 2)])
    [1, 2]
    >>> shares([Candidate("a", 1, ("f",)), Candidate("b", 1, ("m",)), Candidate("c", 1, ("m",))])
    [2, 1, 1]
    """
    weights = [Fraction(str(candidate.weight)) for candidate in candidates]
    of_cell: Counter[tuple[str, ...]] = Counter()
    for candidate, weight in zip(candidates, weights, strict=True):
        of_cell[candidate.cell] += weight  # type: ignore[assignment]
    exact = [weight / of_cell[candidate.cell] for candidate, weight in zip(candidates, weights, strict=True)]
    common = lcm(*(share.denominator for share in exact))
    return [int(share * common) for share in exact]
