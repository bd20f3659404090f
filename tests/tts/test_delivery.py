"""The draw of a voice, a rate and a pitch."""

from collections import Counter

import pytest

from tts.delivery import draw_delivery
from tts.engine import Delivery

VOICES = ("a", "b", "c")


def _draw(row_id, seed=0, voices=VOICES, rate_wpm=(150, 199), pitch=(40, 59)):
    return draw_delivery(seed, row_id, voices, rate_wpm, pitch)


def test_the_draw_is_fixed_for_ever():
    """Written down once: a change here means that every corpus changes."""
    assert _draw("row-1", seed=42) == Delivery(voice="b", rate_wpm=174, pitch=43)
    assert _draw("row-2", seed=42) == Delivery(voice="a", rate_wpm=154, pitch=55)


def test_seed_and_row_id_both_matter_and_do_not_run_together():
    assert len({_draw("x", seed) for seed in range(50)}) > 40
    assert len({_draw(f"{i}") for i in range(50)}) > 40
    wide = {"rate_wpm": (0, 10**9)}
    assert _draw("1:x", 2, **wide) != _draw("x", 21, **wide)
    _draw("lone surrogate \ud800")


def test_each_draw_is_uniform_and_reaches_both_ends():
    draws = [_draw(f"row-{i}") for i in range(30_000)]
    voices = Counter(draw.voice for draw in draws)
    rates = Counter(draw.rate_wpm for draw in draws)
    pitches = Counter(draw.pitch for draw in draws)
    assert set(voices) == set(VOICES)
    assert set(rates) == set(range(150, 200))
    assert set(pitches) == set(range(40, 60))
    for counts in (voices, rates, pitches):
        expected = len(draws) / len(counts)
        chi2_per_degree = sum((n - expected) ** 2 / expected for n in counts.values())
        assert chi2_per_degree / (len(counts) - 1) < 3


def test_one_value_ranges_draw_that_value():
    assert _draw("x", voices=["a"], rate_wpm=(7, 7), pitch=(0, 0)) == Delivery("a", 7, 0)


def test_impossible_draws_say_why():
    with pytest.raises(ValueError, match="no voices"):
        _draw("x", voices=[])
    with pytest.raises(ValueError, match=r"rate_wpm range 9\.\.8"):
        _draw("x", rate_wpm=(9, 8))
    with pytest.raises(ValueError, match="pitch range"):
        _draw("x", pitch=(9, 8))
