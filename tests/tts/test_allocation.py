"""Shares of voices: by weight, balanced by attributes, several readings, voices held out."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest

from pipelines.speech_options import Tts
from tts.allocation import Candidate, shares
from tts.delivery import draw_delivery, is_held_out
from tts.voices import VOICES

ROWS = [f"{n:032x}" for n in range(20_000)]


def drawn(tts: Tts, reading: int = 0) -> list[tuple[str, int]]:
    candidates = tts.candidates(held_out=False)
    deliveries = [draw_delivery(1, row, candidates, tts.rate_wpm, tts.pitch, reading) for row in ROWS]
    return [(delivery.voice, delivery.rate_wpm) for delivery in deliveries]


def test_each_of_gender_accent_and_rate_gets_its_share_within_one_percent() -> None:
    tts = Tts(balance=("gender", "accent"))
    about = {voice.id: tts.attributes(voice) for voice in tts.voices}
    cells = sorted({(a["gender"], a["accent"]) for a in about.values()})
    bins = Counter((about[v]["gender"], about[v]["accent"], (rate - 150) * 3 // 41) for v, rate in drawn(tts))
    assert len(bins) == 3 * len(cells)
    low, high = tts.rate_wpm
    width = Counter((rate - low) * 3 // (high - low + 1) for rate in range(low, high + 1))
    for (*_, speed), count in bins.items():
        share = width[speed] / (high - low + 1) / len(cells)
        assert abs(count / len(ROWS) - share) < 0.01
        assert abs(count - share * len(ROWS)) < 4 * (share * len(ROWS)) ** 0.5  # what independent draws leave


def test_without_balance_every_voice_is_equal_and_weights_count() -> None:
    counted = Counter(voice for voice, _ in drawn(Tts()))
    assert set(counted) == set(VOICES)
    assert all(abs(count / len(ROWS) - 1 / len(VOICES)) < 0.01 for count in counted.values())
    weighted = Counter(voice for voice, _ in drawn(Tts(voices=({"id": "en", "weight": 3}, "en-us"))))  # type: ignore[arg-type]
    assert abs(weighted["en"] / len(ROWS) - 0.75) < 0.01


def test_shares_are_exact() -> None:
    voices = [Candidate("a", 0.1, ("f",)), Candidate("b", 0.2, ("f",)), Candidate("c", 5, ("m",))]
    numbers = shares(voices)
    assert [Fraction(n, sum(numbers)) for n in numbers] == [Fraction(1, 6), Fraction(1, 3), Fraction(1, 2)]


def test_readings_of_a_row_have_different_voices_and_the_first_is_the_only_ones() -> None:
    tts = Tts(per_prompt=3, voices=("en", "en-us", "en+f1", "en-us+f3"))  # type: ignore[arg-type]
    readings = [drawn(tts, reading) for reading in range(3)]
    assert all(len({voice for voice, _ in row}) == 3 for row in zip(*readings, strict=True))
    assert readings[0] == drawn(Tts(voices=tts.voices))
    counted = Counter(voice for reading in readings for voice, _ in reading)
    assert all(abs(count / (3 * len(ROWS)) - 0.25) < 0.01 for count in counted.values())


def test_held_out_voices_speak_their_share_alone() -> None:
    tts = Tts(voices=("en", {"id": "en-us", "held_out": True}), held_out_share=0.02)  # type: ignore[arg-type]
    assert [c.voice for c in tts.candidates(True)] == ["en-us"]
    assert [c.voice for c in tts.candidates(False)] == ["en"]
    assert abs(sum(is_held_out(1, row, 0.02) for row in ROWS) / len(ROWS) - 0.02) < 0.005


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voices": [{"id": "en", "cloned": True}]}, "voice en is cloned, and no consent is named"),
        ({"voices": [{"id": "en", "cloned": True, "consent": " "}]}, "no consent is named"),
        ({"voices": ["en", "en"]}, "'en' stands twice"),
        ({"voices": ["en", {"id": "en-us", "held_out": True}]}, "need each other"),
        ({"voices": ["en", "en-us"], "held_out_share": 0.1}, "need each other"),
        ({"voices": ["en", "en-us"], "per_prompt": 3}, "3 readings need as many voices"),
        ({"voices": [{"id": "en", "engine": "espeek"}]}, "did you mean espeak"),
        ({"balance": ["colour"]}, "Input should be 'gender' or 'accent'"),
    ],
)
def test_what_voices_cannot_be_says_why(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tts.model_validate(options)


def test_a_cloned_voice_with_consent_is_taken() -> None:
    consent = "A. Speaker, 2026-01-02, signed form 7"
    tts = Tts.model_validate({"voices": [{"id": "en", "cloned": True, "consent": consent}]})
    assert tts.voices[0].consent == consent
