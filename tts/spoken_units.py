"""The rewrites of fractions, percentages and units."""

import re
from re import Match

from tts.number_words import fraction, number
from tts.spoken_rules import ALWAYS, FREE_N, Rule, either, follows_article, with_digit
from tts.spoken_tables import PER, UNITS

_UNIT = either(UNITS)
# What may stand under the bar with any numerator, and what only below a small one: 50/60 is no fraction.
_PARTS = frozenset(("2", "3", "4", "5", "6", "7", "8", "9", "10", "12", "16", "20", "32", "64", "100", "1000"))
_PARTS_OF_FEW = frozenset(("11", "13", "14", "15", "18", "24", "25", "30", "40", "50", "60"))


def _fraction(match: Match[str]) -> str:
    """3 1/4 -> three and a quarter; -1/2 -> minus one half; 1/2 km -> one half kilometer."""
    sign, whole, above, below, unit = match.groups()
    known = below in _PARTS or (below in _PARTS_OF_FEW and len(above) == 1)
    if not known or int(above) >= int(below) or above[0] == "0":
        return match[0]
    words = fraction(above, below)
    minus = " minus " if sign else ""
    if whole is None:
        if above == "1" and follows_article(match):
            words = words.removeprefix("one ")
        return f"{minus}{words} {UNITS[unit][0] if unit else ''}"
    if above == "1":
        words = words.replace("one ", "a ", 1)
    return f"{minus}{number(whole.strip())} and {words} {UNITS[unit][1] if unit else ''}"


_ENDS_SENTENCE = re.compile(r"\s*(?:$|\s[A-Z\"'“(])")


def _unit(match: Match[str]) -> str:
    amount, hyphen, unit, power, per, stop = match.groups()
    singular, several = UNITS[unit]
    prefix = {"2": "square ", "3": "cubic "}.get(power or "", "")
    is_singular = amount == "1" or hyphen == "-" or follows_article(match)
    per_words = f" per {PER[per]}" if per else ""
    if unit == "in." or stop:
        stop = "." if _ENDS_SENTENCE.match(match.string, match.end()) else ""
    return f"{amount} {prefix}{singular if is_singular else several}{per_words}{stop or ''}"


def _height(match: Match[str]) -> str:
    return f"{match[1]} foot {match[2]}"


UNIT_RULES: tuple[Rule, ...] = (
    (
        ("/",),
        re.compile(
            rf"((?<![\w)\]./-])-)?((?<![\w./])\d+\s+)?(?<![\w./])(\d{{1,2}})/([1-9]\d{{0,3}})(?![\w/.]*\d)(?:\s?({_UNIT})(?![\w/^]))?"
        ),
        _fraction,
    ),
    (("'", "′", "’"), re.compile(r"""([3-8](?<![\w.'"]\d))['′’]\s?(\d|1[01])(?:["″”]|''|(?!\w))"""), _height),
    (
        tuple(
            f"{unit}{dash}"
            for unit in ("%", "k", "K", "M", "m", "g", "B", "°", "C", "F", "s", "h", "n")
            for dash in "-–"
        ),
        re.compile(rf"({FREE_N}\s?(?:{_UNIT}|K|M))[-–](?=\d)"),
        r"\1 to ",
    ),
    (
        ALWAYS,
        re.compile(rf"({FREE_N})([\s-]?)({_UNIT})(?:\^([23]))?(?:/({either(PER)})\b)?(?![\w/^])(\.(?=\s|$))?"),
        _unit,
    ),
    (("feet ", "foot "), re.compile(r"(?<=f[eo][eo]t )(\d{1,2}) in\b"), r"\1 inches"),
    (("s/",), re.compile(rf"(?<=[a-z]s)/({'|'.join(word for word in PER if len(word) > 3)})\b"), r" per \1"),
    (with_digit("{}M"), re.compile(rf"({FREE_N})M(?= [a-z])"), r"\1 million"),
)
