"""What is wrong with what a model wrote: beside a reader's judgement, and by properties.

The judged texts were written for these tests. Refusals are of two sets: the checks were tuned on the one, "seen"; the
other was written when they were finished, and has changed nothing in them.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from answers.checks import answer_flaw, other_language, rewrite_flaw
from answers.numbers_said import lost_number
from answers.refusal_check import MOST_WORDS, refusal_flaw
from noise.refusals import REFUSALS

HERE = Path(__file__).parent
REPLIES = [json.loads(line) for line in (HERE / "refusal_answers.jsonl").read_text().splitlines()]
REWRITES = [json.loads(line) for line in (HERE / "rewritten_prompts.jsonl").read_text().splitlines()]
GOOD_REWRITES = [(r["prompt"], r["rewrite"]) for r in REWRITES if r["is"] == "good"]
FLAWED_REWRITES = [(r["is"], r["prompt"], r["rewrite"]) for r in REWRITES if r["is"] != "good"]


def measure(name: str) -> tuple[float, float]:
    """Return precision (of what is taken, the share that is good) and recall (of what is good, the share taken)."""
    replies = [reply for reply in REPLIES if reply["set"] == name]
    taken = [reply["is"] == "good" for reply in replies if refusal_flaw(reply["text"]) is None]
    return sum(taken) / len(taken), sum(taken) / sum(reply["is"] == "good" for reply in replies)


def test_refusals_are_told_from_what_pretends_answers_or_refuses_for_another_reason() -> None:
    assert len(REPLIES) > 400
    precision, recall = measure("seen")
    assert precision >= 0.98 and recall >= 0.97, (precision, recall)
    precision, recall = measure("unseen")
    assert precision >= 0.95 and recall >= 0.8, (precision, recall)


def test_the_bank_is_of_good_refusals() -> None:
    assert [(text, flaw) for text in REFUSALS if (flaw := refusal_flaw(text))] == []


@pytest.mark.parametrize(("judged", "kinds"), [("cut", {"unfinished"}), ("language", {"language"})])
def test_a_flaw_says_its_kind(judged: str, kinds: set[str]) -> None:
    replies = [reply["text"] for reply in REPLIES if reply["is"] == judged]
    assert len(replies) > 5
    assert {(refusal_flaw(text) or "none").partition(":")[0] for text in replies} == kinds


def test_a_refusal_longer_than_was_asked_for_is_too_long() -> None:
    text = "Sorry, I could not hear that. Could you say it again?"
    assert refusal_flaw(text, most_words=11) is None
    assert refusal_flaw(text, most_words=10) == "length:11 words"
    assert (refusal_flaw(text + " Please say it again." * 20) or "").startswith("length:") and MOST_WORDS < 80


def test_the_time_of_a_check_is_linear_in_the_text() -> None:
    seconds = []
    for repeats in (200, 800):
        started = time.perf_counter()
        refusal_flaw("I could not say what the noise about you was and if you want " * repeats + ".", most_words=10**6)
        seconds.append(time.perf_counter() - started)
    assert seconds[1] < 12 * seconds[0], seconds  # four times the text; quadratic would be sixteen


@pytest.mark.parametrize(("original", "rewrite"), GOOD_REWRITES)
def test_a_rewrite_that_means_the_same_is_kept(original: str, rewrite: str) -> None:
    assert rewrite_flaw(rewrite, original) is None


@pytest.mark.parametrize(("kind", "original", "rewrite"), FLAWED_REWRITES)
def test_a_rewrite_that_loses_something_says_what(kind: str, original: str, rewrite: str) -> None:
    assert (rewrite_flaw(rewrite, original) or "none").partition(":")[0] == kind


UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety"
NUMBERS = "two hundred and five point thousand half 17 1,200 3.5 k million nineteen oh first thirds , the of ."


def number_words(n: int) -> str:
    """Return 0 to 999,999 in English, the plain way."""
    units, tens = UNITS.split(), TENS.split()
    if n < 20:
        return units[n]
    if n < 100:
        return tens[n // 10] + (f"-{units[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{units[n // 100]} hundred" + (f" and {number_words(n % 100)}" if n % 100 else "")
    return f"{number_words(n // 1000)} thousand" + (f" {number_words(n % 1000)}" if n % 1000 else "")


def test_any_number_in_digits_is_found_in_words_and_another_is_not() -> None:
    draws = random.Random(1)
    for n in [*range(120), *(draws.randrange(10**6) for _ in range(400))]:
        said = f"Take {number_words(n)} of them."
        assert lost_number(f"Take {n} of them.", said) is None, said
        assert lost_number(f"Take {n:,} of them.", said) is None, said
        assert lost_number(f"Take {n} of them.", f"Take {number_words(n + 1)} of them.") == str(n)
        if n > 2:
            assert lost_number(said, f"Take {n} of them.") is None, said
            assert lost_number(said, f"Take {n + 1} of them.") is not None, said


def test_years_in_digits_are_found_as_they_are_said() -> None:
    for year in range(1100, 2100):
        high, low = divmod(year, 100)
        rest = "hundred" if not low else f"oh {number_words(low)}" if low < 10 else number_words(low)
        if high != 20 or low >= 10:
            assert lost_number(f"In {year}?", f"In {number_words(high)} {rest}?") is None, year


@pytest.mark.parametrize(
    ("text", "prompt", "languages", "how", "flaw"),
    [
        ("It rains because air cools as it rises.", "Why does it rain?", ("en",), "spoken", None),
        ("", "Why?", ("en",), "own", "empty"),
        ("...", "Why?", ("en",), "own", "empty"),
        ("As an AI language model, I cannot taste it.", "Is it good?", ("en",), "own", "boilerplate"),
        ("I hope this helps!", "Is it good?", ("en",), "mend", "boilerplate"),
        ("Why does it rain so much?", "Why does it rain so much?", ("en",), "own", "repeats_prompt"),
        ("Es regnet, weil die Luft abkühlt, wenn sie steigt.", "Why does it rain?", ("en",), "own", "language"),
        ("Es regnet, weil die Luft abkühlt, wenn sie steigt.", "Say it in German.", ("en", "de"), "own", None),
        ("- clouds\n- rain", "What is up there?", ("en",), "spoken", "unspeakable"),
        ("- clouds\n- rain", "What is up there?", ("en",), "own", None),
        ("Here is the revised answer: it rains.", "Why?", ("en",), "mend", "meta"),
        ("Here is a poem about rain: it falls on us all.", "Write a poem.", ("en",), "own", None),
        ("It rains. " * 80, "Why?", ("en",), "spoken", "long"),
        ("Paris.", "What is the capital of France?", ("en",), "spoken", None),
    ],
)  # fmt: skip
def test_answers(text: str, prompt: str, languages: tuple[str, ...], how: str, flaw: str | None) -> None:
    found = answer_flaw(text, prompt, languages, how)
    assert (found.partition(":")[0] if found else None) == flaw


def test_what_tells_no_language_is_of_none() -> None:
    assert [other_language(text, ("en",)) for text in ("42.", "Ja.", "!!!", "")] == [None] * 4
    assert other_language("抱歉。", ("en",)) == "zh"


def test_a_text_keeps_its_own_numbers() -> None:
    draws = random.Random(2)
    words = NUMBERS.split()
    for _ in range(5_000):
        text = " ".join(draws.choice(words) for _ in range(draws.randrange(10)))
        assert lost_number(text, text) is None, text
