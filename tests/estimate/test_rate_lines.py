"""What a unit takes, found again in what units took."""

from __future__ import annotations

import random

import pytest

from pipelines.estimate.fit import Point, line


def test_start_fixed_part_and_rows_are_told_apart() -> None:
    points = [
        Point(source, rows, 5 * first + 2 + slope * rows, first)
        for source, slope in (("short", 0.01), ("long", 0.2))
        for rows in (50, 200)
        for first in (True, False)
    ]
    found, start = line(points)
    assert start == pytest.approx(5)
    assert found.unit == pytest.approx(2)
    assert found.row["short"] == pytest.approx(0.01)
    assert found.row["long"] == pytest.approx(0.2)
    assert found.of("unknown", 100) == pytest.approx(2 + 100 * (0.01 + 0.2) / 2)


def test_noise_is_averaged_and_nothing_is_negative() -> None:
    draw = random.Random(3)
    points = [Point("a", n, (0.1 + 0.02 * n) * draw.uniform(0.8, 1.2)) for n in (60, 250) for _ in range(20)]
    found, start = line(points)
    assert start == 0
    assert found.of("a", 5000) == pytest.approx(100.1, rel=0.1)
    falling, _ = line([Point("a", 10, 5.0), Point("a", 100, 1.0)])
    assert falling.unit >= 0
    assert falling.row["a"] >= 0


def test_without_two_sizes_rows_take_it_all() -> None:
    found, start = line([Point("a", 100, 4.0, True), Point("a", 100, 6.0, True)])
    assert (found.unit, start) == (0, 0)
    assert found.of("a", 200) == pytest.approx(10)


def test_units_without_rows_take_the_same() -> None:
    found, _ = line([Point("*", 0, 3.0), Point("*", 0, 5.0)])
    assert found.of("*", 0) == pytest.approx(4, abs=0.1)
    assert line([]) == (found.__class__(), 0.0)
