"""From what units took to what a unit takes: least squares of amounts that cannot be negative."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.estimate_options import OTHERS, Line


class Point(NamedTuple):
    """What one unit took or made."""

    source: str
    rows: float
    amount: float
    first: bool = False  # of its worker, which had to start


def line(points: Sequence[Point]) -> tuple[Line, float]:
    """Return what a unit takes: amount = start, if it is a worker's first, + unit + row[source] x rows; and the start.

    Where all units are of one size, or all are their workers' first, there is nothing to tell a fixed part from: it is
    in what a row takes, a start in what a unit takes. An amount's variance is taken to grow with the rows.
    """
    if not points:
        return Line(), 0.0
    sources = sorted({point.source for point in points})
    rows = np.array([point.rows for point in points], float)
    amounts = np.array([point.amount for point in points], float)
    first = np.array([point.first for point in points], float)
    columns = [(point_of == source) * rows for source in sources for point_of in [_names(points)]]
    has_rows = [bool(column.any()) for column in columns]
    starts, sizes = 0 < first.sum() < len(points), len(set(rows)) > 1 or not rows.any()
    table = np.stack([first * starts, np.full(len(points), float(sizes)), *columns], axis=1)
    weights = 1 / np.sqrt(rows + rows.mean() / 10 + 1)
    start, unit, *slopes = _not_negative(table * weights[:, None], amounts * weights)
    row = {source: slope for source, slope, known in zip(sources, slopes, has_rows, strict=True) if known}
    total = sum(rows)
    others = sum(row[point.source] * point.rows for point in points if point.source in row) / total if total else 0.0
    return Line(unit=unit, row={**row, OTHERS: others}), start


def _names(points: Sequence[Point]) -> NDArray[np.str_]:
    return np.array([point.source for point in points])


def _not_negative(table: NDArray[np.float64], amounts: NDArray[np.float64]) -> list[float]:
    """Return the coefficients of least squares: a negative one becomes 0 and the others are sought again."""
    left = [k for k in range(table.shape[1]) if table[:, k].any()]
    found = np.zeros(table.shape[1])
    while left:
        solved = np.linalg.lstsq(table[:, left], amounts, rcond=None)[0]
        if (solved >= 0).all():
            found[left] = solved
            break
        left.pop(int(solved.argmin()))
    return [float(value) for value in found]


def shares(parts: Sequence[tuple[str, float, float]]) -> dict[str, float]:
    """Return amount / rows of (source, rows, amount), for each source and for all; a source without rows has none.

    >>> shares([("a", 10, 5), ("a", 10, 0), ("b", 20, 20), ("c", 0, 0)])
    {'a': 0.25, 'b': 1.0, '*': 0.625}
    """
    rows: Counter[str] = Counter()
    amounts: Counter[str] = Counter()
    for source, n, amount in parts:
        for key in (source, OTHERS):
            rows[key] += n  # type: ignore[assignment]
            amounts[key] += amount  # type: ignore[assignment]
    order = [*(key for key in rows if key != OTHERS), OTHERS]
    return {key: amounts[key] / rows[key] for key in order if rows[key]}
