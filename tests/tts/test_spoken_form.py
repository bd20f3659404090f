"""The spoken form against answers written by hand, and its promises on any text and on every real prompt."""

import gzip
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoken_pairs import HELD_OUT, PAIRS

from tts.number_words import cardinal, ordinal
from tts.spoken_form import spoken_form

ALL = [pair for pairs in PAIRS.values() for pair in pairs]


@pytest.mark.parametrize(("text", "spoken"), ALL)
def test_says_what_a_person_would_say(text: str, spoken: str) -> None:
    assert spoken_form(text) == spoken


def test_the_pairs_are_as_many_as_documented() -> None:
    assert len({text for text, _ in ALL}) == len(ALL) >= 300


def test_says_what_nobody_had_in_mind() -> None:
    right = sum(spoken_form(text) == spoken for text, spoken in HELD_OUT)
    assert (right, len(HELD_OUT)) >= (56, 60)


@pytest.mark.parametrize("spoken", [spoken for _, spoken in ALL])
def test_what_is_said_is_said_as_it_stands(spoken: str) -> None:
    assert spoken_form(spoken) == spoken


DIGIT = re.compile(f"[{''.join(char for char in map(chr, range(0x110000)) if char.isdigit() or char.isdecimal())}]")


def no_digit(text: str) -> bool:
    """Whether no digit of any script is in it: 3, ٣, ², ①."""
    return not DIGIT.search(text)


# Text that is dense in what the rules look for, beside any text at all.
_PIECES = st.sampled_from(
    [*"0123456789.,:-/+*x=^%$£€°#_~ \n()'\"&;<>\\", "²", "½", "٣", "①", "፩", "km", "st", "th", "am", "pm", "1984", "IQ",
     "March ", "may ", "Dr.", "etc.", " million", "St.", "5:30", "1/2", "e.g.", "**", "A", "&#x27;", "#36;", " - ",
     "No.", "http://", ".com", "v", "e", " II", "\u2212", "the "]
)  # fmt: skip
_DENSE = st.lists(_PIECES, max_size=30).map("".join)


@settings(max_examples=1_000, deadline=None)
@given(st.one_of(st.text(), _DENSE))
def test_no_digit_is_left_and_nothing_spoken_is_lost(text: str) -> None:
    spoken = spoken_form(text)
    assert no_digit(spoken)
    assert spoken == " ".join(spoken.split())
    if any(char.isalnum() for char in re.sub(r"<[^<>]*>|&[^;]*;|#\d+;", "", text)):
        assert spoken


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="bcdXYZ ,;:!?'()\"\té"))
def test_plain_words_are_only_collapsed(text: str) -> None:
    assert spoken_form(text) == " ".join(text.split())


def test_every_character_of_unicode_is_spoken_without_a_digit() -> None:
    for start in range(0, 0x110000, 256):
        assert no_digit(spoken_form(" ".join(chr(code) for code in range(start, start + 256))))


def strings(value: Any) -> Iterator[str]:
    """Yield every string of a JSON document, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def real_prompts(folder: Path) -> Iterator[str]:
    """Yield each record's prompt or question, else all its strings: of JSON, JSON lines, or these with .gz."""
    for path in sorted(folder.iterdir()):
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for record in map(json.loads, file if ".jsonl" in path.name else [file.read()]):
                asked = (record[key] for key in ("prompt", "question") if key in record)
                yield from strings(next(asked, record))


@pytest.mark.long
def test_no_digit_is_left_of_any_real_prompt(shared_data: Path) -> None:
    """To the 640th character: what is longer than 128 tokens is never spoken."""
    prompts = {prompt[:640] for prompt in real_prompts(shared_data / "text")}
    with_digits = [prompt for prompt in prompts if not no_digit(prompt)]
    assert len(with_digits) > 30_000
    for prompt in with_digits:
        assert no_digit(spoken_form(prompt)), prompt


@pytest.mark.parametrize(
    "unit", [*"1*_\n #$-.\\<", "1.", "1,", "Dr. ", "1/", "a_", "a.", "a@", "&#1", "=1", "1 - ", "a*"]
)
def test_a_long_run_does_not_take_quadratic_time(unit: str) -> None:
    start = time.perf_counter()
    spoken_form(unit * 5_000)
    assert time.perf_counter() - start < 3.0


def below_a_thousand(n: int) -> str:
    """The oracle: words by counting up, as a child learns them."""
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    words += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
    for tens in ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"):
        words += [tens, *(f"{tens}-{one}" for one in words[1:10])]
    for hundred in words[1:10]:
        words += [f"{hundred} hundred", *(f"{hundred} hundred {rest}" for rest in words[1:100])]
    return words[n]


def test_cardinals_by_thousands() -> None:
    assert [cardinal(str(n)) for n in range(1000)] == [below_a_thousand(n) for n in range(1000)]
    assert cardinal("1000000") == "one million"
    assert cardinal("2003040005") == "two billion three million forty thousand five"
    assert cardinal("999000000000999") == "nine hundred ninety-nine trillion nine hundred ninety-nine"
    assert cardinal("1234567890123456").split()[:3] == ["one", "two", "three"]


def test_ordinals_end_as_their_last_word_does() -> None:
    irregular = {
        1: "first",
        2: "second",
        3: "third",
        5: "fifth",
        8: "eighth",
        9: "ninth",
        12: "twelfth",
        20: "twentieth",
    }
    for n, word in irregular.items():
        assert ordinal(str(n)) == word
    assert [ordinal(n) for n in ("41", "110", "3000", "12020")] == [
        "forty-first",
        "one hundred tenth",
        "three thousandth",
        "twelve thousand twentieth",
    ]
