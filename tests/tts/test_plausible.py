"""What is taken for speech, and how a text is cut into pieces: laws on any text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.plausible import Plausible, audio_fault, longest_loop, token_fault
from tts.text_pieces import split_text

LIMITS = Plausible()
TEXT = "Tell me what the oldest tree in the world is, and where it stands."  # 66 characters: 4.4 s at 15


def fault(n_tokens: int, stopped: bool = True, text: str = TEXT) -> str | None:
    tokens = np.random.default_rng(0).permutation(749)[:n_tokens]
    return token_fault(tokens, stopped, text, 15, 25, LIMITS)


def test_lengths_about_those_of_the_text_are_speech() -> None:
    assert fault(110) is fault(45) is fault(299) is None
    assert fault(10, text="Yes.") is fault(41, text="Yes.") is None
    assert fault(43) == "too short: 43 tokens (1.72 s) for 66 characters (4.40 s at 15 a second)"
    assert (fault(301) or "").startswith("too long: 301 tokens (12.04 s)")
    assert (fault(42, text="Yes.") or "").startswith("too long: ")
    assert (fault(0, text="a") or "").startswith("too short: 0 tokens")
    assert (fault(110, stopped=False) or "").startswith("runaway: no stop within 110 tokens")


@pytest.mark.parametrize("period", [1, 2, 7, 32])
def test_a_pattern_that_repeats_is_a_loop(period: int) -> None:
    tokens = np.random.default_rng(1).permutation(500)[:130]
    assert longest_loop(tokens) == (0, 0)
    tokens[30 : 30 + 52 + period] = np.resize(np.arange(period), 52 + period)
    assert longest_loop(tokens)[1] == 52
    assert (token_fault(tokens, True, TEXT, 15, 25, LIMITS) or "").startswith(
        f"loop: {period} tokens repeat for 2.08 s"
    )
    tokens[32 + period] = 999
    assert token_fault(tokens, True, TEXT, 15, 25, LIMITS) is None


def test_silence_and_broken_samples_are_no_speech() -> None:
    noise = np.random.default_rng(2).standard_normal(24_000).astype(np.float32)
    assert audio_fault(0.1 * noise, LIMITS) is None
    assert audio_fault(0.001 * noise, LIMITS) == "silence: -60 dBFS in 24000 samples"
    assert audio_fault(0 * noise, LIMITS) == "silence: -200 dBFS in 24000 samples"
    noise[7] = np.nan
    assert audio_fault(noise, LIMITS) == "not finite: sample 7 of 24000"


def test_limits_that_take_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="takes nothing for speech"):
        Plausible(shortest=3)


WORDS = st.lists(st.text("abcdé,.;?北 ", min_size=1, max_size=40), max_size=20).map(" ".join)


@given(WORDS, st.integers(4, 60))
def test_pieces_fit_and_hold_the_whole_text(text: str, most: int) -> None:
    pieces = split_text(text, lambda part: len(part.encode()) <= most)
    assert all(len(piece.encode()) <= most for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_pieces_end_at_sentences_else_clauses_else_words() -> None:
    def cut(text: str, most: int) -> list[str]:
        return split_text(text, lambda part: len(part) <= most)

    assert cut("One  two.", 20) == ["One  two."]
    assert cut("One is here. Two is there. Three is not.", 27) == ["One is here. Two is there.", "Three is not."]
    assert cut("One is here, two is there; three is not.", 14) == ["One is here,", "two is there;", "three is not."]
    assert cut("One is here and two there.", 12) == ["One is here", "and two", "there."]
    assert cut("abcdefghij kl", 4) == ["abcd", "efgh", "ij", "kl"]
    with pytest.raises(ValueError, match="not even '北' fits"):
        split_text("北", lambda part: len(part.encode()) <= 2)
