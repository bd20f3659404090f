"""The numbers of a text, in digits or in English words, so that one can see whether a rewrite kept them.

What stands in digits can be said in several ways ("1984" as nineteen eighty-four, "1/2" as a half), so the values that
a text *may* mean are found generously, and those that it *must* mean strictly.
"""

from __future__ import annotations

import re
from fractions import Fraction

_UNIT_WORDS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
"""
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = _UNIT_WORDS.split()
_TENS = {word: 10 * n for n, word in enumerate(_TEN_WORDS.split(), 2)}
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12,
    **{f"{word}th": n for n, word in enumerate(_UNITS) if n > 3},
    **{f"{word[:-1]}ieth": n for word, n in _TENS.items()},
    **{f"{word}th": n for word, n in _SCALES.items()},
}  # fmt: skip
_SMALL = {**{word: n for n, word in enumerate(_UNITS)}, "oh": 0, **_TENS}
# Words that stand for numbers which a text has in digits: each of their values.
_OTHER = {
    "half": (Fraction(1, 2), 1, 2), "halves": (Fraction(1, 2), 2), "quarter": (Fraction(1, 4), 1, 4),
    "quarters": (Fraction(1, 4), 4), "squared": (2,), "square": (2,), "cubed": (3,), "cube": (3,), "dozen": (12,),
    "twice": (2,), "double": (2,), "once": (1,), "pair": (2,), "couple": (2,), "a": (1,), "an": (1,),
    "percent": (100,), "single": (1,),
}  # fmt: skip
_CARDINAL = {**_SMALL, **_SCALES, **_ORDINALS}
_VAGUE = {0, 1, 2}  # "the one", "a second", "zero interest": in words these are often no numbers
_DIGITS = re.compile(
    rf"((?<![\w.])\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?)(?: ?(k\b|{'|'.join(_SCALES)}))?", re.IGNORECASE
)
_TOKEN = re.compile(r"[a-z]+|[,;.:!?]")
# Numbers that only count items, notes and characters: they need not be said.
_MARKERS = re.compile(
    r"(?m)^[ \t]*\(?\d{1,2}[.):](?=\s)|(?:(?<=\s)|(?<=\A))[(#]?\d{1,2}[.)](?=\s?[^\W\d])|\[\d{1,3}\]|&#\w+;"
    r"|\b[A-Za-z]{2,20} ?#?\d{1,2} ?:|^#+ ?\d+"
)


def lost_number(original: str, rewrite: str) -> str | None:
    """Return the first number of `original` that `rewrite` does not have, in digits or in words; None for none.

    >>> lost_number("Add 3.5 and 1,200 in 1984", "Add three point five to twelve hundred, in nineteen eighty-four")
    >>> lost_number("1. Name 5 birds\\n2. Name 7 trees", "Name five birds and six trees")
    '7'
    >>> lost_number("Is 1/2 more than 30%?", "Is a half more than thirty percent?")
    """
    there = _may_mean(rewrite)
    plain = _MARKERS.sub(" ", original)
    for digits, scale in _DIGITS.findall(plain):
        if there.isdisjoint(_readings(digits, scale)):
            return str(digits)
    for run in _runs(plain):
        numbers = [_value(number) for number in _numbers(run)]
        if _as_digits(numbers) not in there and (lost := {*numbers} - _VAGUE - there):
            return " ".join(next(number for number in _numbers(run) if _value(number) in lost))
    return None


def _readings(digits: str, scale: str) -> set[Fraction]:
    """Return the values of a number in digits, and with the word or the k behind it."""
    value = Fraction(digits.replace(",", ""))
    factor = 1000 if scale in ("k", "K") else _SCALES.get(scale.lower(), 1)
    return {value, value * factor}


def _may_mean(text: str) -> set[Fraction]:
    """Return all values that a text may mean, in digits, in words, in words said as digits or as a year."""
    values = {value for digits, scale in _DIGITS.findall(text) for value in _readings(digits, scale)}
    for word in _TOKEN.findall(text.lower()):
        values |= {Fraction(value) for value in _OTHER.get(word, ())}
    for run in (*_runs(text), *_runs(text.replace(",", ""))):
        numbers = [_value(number) for number in _numbers(run)]
        values |= set(numbers)
        for start in range(len(numbers)):
            for end in range(start + 2, min(len(numbers), start + _MOST_DIGITS) + 1):
                values.add(_as_digits(numbers[start:end]))
    return values


_MOST_DIGITS = 12


def _as_digits(numbers: list[Fraction]) -> Fraction:
    """Return numbers said one after another as one: nineteen, eighty-four is 1984; -1 where that makes none."""
    return (
        Fraction("".join(map(str, numbers))) if all(n.denominator == 1 and n < 100 for n in numbers) else Fraction(-1)
    )


def _runs(text: str) -> list[list[str]]:
    """Return the runs of number words in a text, with the "and" and the "point" inside them.

    >>> _runs("Take two hundred and five eggs, or nineteen eighty-fours, two.")
    [['two', 'hundred', 'and', 'five'], ['nineteen', 'eighty', 'four'], ['two']]
    """
    runs: list[list[str]] = [[]]
    for word in _TOKEN.findall(text.lower()):
        name = word.removesuffix("s") if word.removesuffix("s") in _CARDINAL else word
        if name in _CARDINAL or (name in ("and", "point") and runs[-1]):
            runs[-1].append(name)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _numbers(run: list[str]) -> list[list[str]]:
    """Return the numbers of a run, each as long as the grammar of numbers lets it be.

    >>> _numbers("two hundred and five six nineteen eighty four and".split())
    [['two', 'hundred', 'and', 'five'], ['six'], ['nineteen'], ['eighty', 'four']]
    """
    numbers: list[list[str]] = []
    for word in run:
        if numbers and numbers[-1] and _goes_on(numbers[-1], word):
            numbers[-1].append(word)
        else:
            numbers.append([word] if word in _CARDINAL else [])
    stripped = [number[:-1] if number and number[-1] in ("and", "point") else number for number in numbers]
    return [number for number in stripped if number]


def _goes_on(number: list[str], word: str) -> bool:
    """Tell whether a word can be the next of a number."""
    last = number[-1]
    value = _CARDINAL.get(word, 0)
    if last in _ORDINALS:
        return False
    if "point" in number:
        return word in _SCALES if last != "point" and word not in _SMALL else word in _SMALL and value < 10
    if word == "point":
        return last != "and"
    if word == "and":
        return last in _SCALES
    if word in _SCALES or word.removesuffix("th") in _SCALES:
        return last != "and"
    if last in _TENS:
        return 0 < value < 10
    return value < 100 if last in ("hundred", "and") else last in _SCALES and value < 1000


def _value(words: list[str]) -> Fraction:
    """Return the value of the words of one number.

    >>> _value("two hundred and five thousand and three".split()), _value("three point one four million".split())
    (Fraction(205003, 1), Fraction(3140000, 1))
    """
    if "point" in words:
        at = words.index("point")
        decimals = "".join(str(_SMALL[word]) for word in words[at + 1 :] if word in _SMALL)
        factor = _SCALES.get(words[-1], 1)
        return (_value(words[:at]) + Fraction(int(decimals), 10 ** len(decimals))) * factor
    total = part = 0
    for word in words:
        scale = _SCALES.get(word) or _SCALES.get(word.removesuffix("th"))
        if scale == 100:
            part = max(part, 1) * 100
        elif scale:
            total, part = total + max(part, 1) * scale, 0
        elif word != "and":
            part += _CARDINAL[word]
    return Fraction(total + part)
