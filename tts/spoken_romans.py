"""Roman numerals that are meant as numbers: Henry VIII, World War II, Chapter IV; not "an IV drip" or Malcolm X."""

import re
from re import Match

from tts.number_words import cardinal, ordinal
from tts.spoken_rules import Rule
from tts.spoken_tables import NOT_BEFORE_ROMAN, NUMBERED_IN_ROMAN, RULERS

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50}


def _value(numeral: str) -> str:
    """ "XIV" -> "14"."""
    values = [_VALUES[letter] for letter in numeral]
    return str(sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True)))


def _war(match: Match[str]) -> str:
    return f"World War {'One' if match[1] == 'I' else 'Two'}"


def _numeral(match: Match[str]) -> str:
    """Henry VIII -> Henry the Eighth; Act V -> Act five; any name before two letters or more: Rocky IV."""
    name, numeral = match[1], match[2]
    if name in RULERS:
        return f"{name} the {ordinal(_value(numeral)).title()}"
    counts = name in NUMBERED_IN_ROMAN or (len(numeral) > 1 and name not in NOT_BEFORE_ROMAN)
    return f"{name} {cardinal(_value(numeral))}" if counts else match[0]


# "I" is the word far more often: it counts only where a sentence could not go on with it.
_FIRST = tuple(f"{name} I" for name in ("Charles", "James", "Elizabeth", "Francis", "George", "Napoleon", "Wilhelm",
               "Chapter", "Part", "Act", "Scene", "Phase", "Type", "Book", "Volume", "Article", "Section"))  # fmt: skip
_SOLE = r"(?=[,.;:?!)]|$|['’]s\b| (?:of|was|and the|ruled|reigned|became|died|diabetes|error|errors)\b)"

ROMAN_RULES: tuple[Rule, ...] = (
    (("World War I", "WWI"), re.compile(r"\b(?:World War |WW)(II?)\b"), _war),
    (_FIRST, re.compile(rf"\b([A-Z]\w+) (I)\b{_SOLE}"), _numeral),
    (
        ("II", "IV", "VI", "IX", "XI", "XV", "XX", " V", " X"),
        re.compile(r"\b([A-Z]\w+) (X{1,2}(?:IX|IV|V?I{0,3})|IX|IV|VI{0,3}|I{2,3})\b(?!['’.](?!s\b)\w)"),
        _numeral,
    ),
    (("Bowl X", "Bowl L"), re.compile(r"\b(Bowl) (?=[XLVI])((?:XL|L?X{0,3})(?:IX|IV|V?I{0,3}))\b"), _numeral),
)
