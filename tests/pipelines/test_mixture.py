"""Quotas are exact, totals are the largest, assignments are possible: against brute force."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.mixture import Short, assign, check, hash_rank, largest_total, quotas

PARTS = ("a", "b", "c")


@st.composite
def shares(draw: st.DrawFn) -> dict[str, Fraction]:
    weights = draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    return {part: Fraction(100 * weight, sum(weights)) for part, weight in zip(PARTS, weights, strict=False)}


@st.composite
def problems(draw: st.DrawFn) -> tuple[dict[str, Fraction], dict[frozenset[str], int]]:
    parts = draw(shares())
    subsets = st.frozensets(st.sampled_from(list(parts)))
    return parts, draw(st.dictionaries(subsets, st.integers(0, 6), max_size=6))


def possible(quota: dict[str, int], classes: dict[frozenset[str], int]) -> bool:
    """Tell by trying, whether rows can be given out: one row after the other, every way."""
    states = {tuple(quota[part] for part in quota)}
    for serves, count in classes.items():
        for _ in range(count):
            states |= {
                tuple(n - (i == j) for j, n in enumerate(state))
                for state, (i, part) in product(states, enumerate(quota))
                if part in serves and state[i] > 0
            }
    return any(not any(state) for state in states)


@given(st.integers(0, 10_000_000), shares())
def test_quotas_add_up_and_are_less_than_one_off(total: int, parts: dict[str, Fraction]) -> None:
    result = quotas(total, parts)
    assert sum(result.values()) == total
    assert all(abs(result[part] - total * share / 100) < 1 for part, share in parts.items())


@pytest.mark.parametrize(
    ("total", "parts", "expected"),
    [
        (1_890_000, {"speech": 70, "transcription": 20, "text": 10}, [1_323_000, 378_000, 189_000]),
        (158_000, {"two": 89, "four": 6, "inaudible": 5}, [140_620, 9_480, 7_900]),
        (10, {"a": 33, "b": 33, "c": 34}, [3, 3, 4]),
        (1, {"a": 50, "b": 50}, [1, 0]),
    ],
)
def test_quotas_of_the_paper_and_of_ties(total: int, parts: dict[str, int], expected: list[int]) -> None:
    assert list(quotas(total, {k: Fraction(v) for k, v in parts.items()}).values()) == expected


@settings(deadline=None, max_examples=150)
@given(problems(), st.integers(0, 12))
def test_check_says_exactly_what_is_possible(
    problem: tuple[dict[str, Fraction], dict[frozenset[str], int]], total: int
) -> None:
    parts, classes = problem
    quota = quotas(total, parts)
    try:
        check(quota, classes, reuse=False)
    except Short:
        assert not possible(quota, classes)
    else:
        assert possible(quota, classes)


@settings(deadline=None)
@given(problems(), st.booleans())
def test_the_largest_total_fits_and_no_larger_one_does(
    problem: tuple[dict[str, Fraction], dict[frozenset[str], int]], reuse: bool
) -> None:
    parts, classes = problem
    most = largest_total(parts, classes, reuse)
    check(quotas(most, parts), classes, reuse)
    for larger in range(most + 1, most + 200):
        with pytest.raises(Short):
            check(quotas(larger, parts), classes, reuse)


@given(problems())
def test_assignments_fill_every_quota_and_use_no_row_twice(
    problem: tuple[dict[str, Fraction], dict[frozenset[str], int]],
) -> None:
    parts, classes = problem
    quota = quotas(largest_total(parts, classes, reuse=False), parts)
    given_out = assign(quota, classes)
    for part in parts:
        assert sum(n for (_, p), n in given_out.items() if p == part) == quota[part]
    for serves, rows in classes.items():
        assert sum(n for (c, _), n in given_out.items() if c == serves) <= rows
    assert all(part in serves for serves, part in given_out)


def test_the_error_does_the_arithmetic() -> None:
    with pytest.raises(Short, match=r"a \+ b need together 6 rows, and 5 can serve them"):
        check({"a": 3, "b": 3}, {frozenset({"a", "b"}): 5}, reuse=False)
    check({"a": 3, "b": 3}, {frozenset({"a", "b"}): 5}, reuse=True)


def test_ranks_depend_on_id_and_salt_alone_and_are_spread() -> None:
    ids = [f"{i:032x}"[::-1] for i in range(20_000)]
    ranks = hash_rank(ids, "one")
    assert (hash_rank(ids[::-1], "one")[::-1] == ranks).all()
    assert len(np.unique(ranks)) == len(ids)
    other = hash_rank(ids, "two")
    assert abs(np.corrcoef(ranks.astype(float), other.astype(float))[0, 1]) < 0.03
    assert abs(ranks.astype(float).mean() / 2**64 - 0.5) < 0.01
