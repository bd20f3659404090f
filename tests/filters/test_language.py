"""English is kept and other languages are not, on prompts of our own writing."""

import json
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.language import detect_language

ROWS = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "languages.jsonl").read_text("utf-8").splitlines()
]
THRESHOLD = 0.8


def kept(texts: list[str]) -> int:
    return sum(p > THRESHOLD for _, p in detect_language(texts))


def test_the_set_is_large_enough() -> None:
    by_language: dict[str, int] = defaultdict(int)
    for row in ROWS:
        by_language[row["language"]] += 1
    assert by_language.pop("en") >= 300
    assert sum(by_language.values()) >= 400
    assert len(by_language) >= 20


@pytest.mark.parametrize(("least", "most", "share"), [(1, 3, 0.95), (4, 99, 0.98)])
def test_english_prompts_are_kept(least: int, most: int, share: float) -> None:
    texts = [r["text"] for r in ROWS if r["language"] == "en"]
    texts = [text for text in texts if least <= len(text.split()) <= most]
    assert kept(texts) / len(texts) >= share


def test_held_out_prompts_of_4_to_12_words_meet_the_bar() -> None:
    """Nothing was fitted on them: at least 99 % of other languages are rejected, at most 2 % of English lost."""
    lines = (Path(__file__).parent / "data" / "languages_heldout.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if 4 <= len(row["text"].split()) <= 12]
    english = [row["text"] for row in rows if row["language"] == "en"]
    others = [row["text"] for row in rows if row["language"] != "en"]
    assert len(english) >= 150 and len(others) >= 250
    assert kept(english) >= 0.98 * len(english)
    assert kept(others) <= 0.01 * len(others)


def test_other_languages_are_rejected() -> None:
    texts = [row["text"] for row in ROWS if row["language"] != "en"]
    assert kept(texts) / len(texts) <= 0.01


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("你能帮我写一首诗吗", "zh"),
        ("Mr Beast是谁？", "zh"),
        ("明日の天気は？", "ja"),
        ("오늘 날씨", "ko"),
        ("Привет, как дела?", "ru"),
        ("Привіт, як справи?", "uk"),
        ("مرحبا", "ar"),
        ("12 + 30", "und"),
        ("", "und"),
    ],
)
def test_scripts_name_the_language_with_certainty(text: str, language: str) -> None:
    assert detect_language([text]) == [(language, 0.0)]


@pytest.mark.parametrize(
    "text",
    [
        "Translate 'guten Morgen' into English",
        'What does "je ne sais quoi" mean?',
        "What does 你好 mean?",
        "How do you say “muchas gracias por todo” politely?",
    ],
)
def test_english_about_another_language_is_english(text: str) -> None:
    assert kept([text]) == 1


@pytest.mark.parametrize(
    ("neighbour", "english"),
    [
        ("Abeg tell me one short story wey sweet", "Please tell me one short story that is sweet"),
        ("Tell me whit ye cannae dae the morn", "Tell me what you cannot do tomorrow"),
        ("Mek mi laugh wid a funny story nuh", "Make me laugh with a funny story"),
    ],
)
def test_a_word_of_scots_or_a_creole_outweighs_english_ones(neighbour: str, english: str) -> None:
    assert kept([neighbour]) == 0
    assert kept([english]) == 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=4))
def test_a_verdict_depends_on_its_own_text_only(texts: list[str]) -> None:
    together = detect_language(texts)
    assert together == [detect_language([text])[0] for text in texts]
    assert all(0 <= p <= 1 and language for language, p in together)
