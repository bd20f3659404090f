"""The rewrites of fractions, percentages and units."""

import re
from re import Match

from tts.number_words import fraction, number
from tts.spoken_rules import ALWAYS, FREE_N, Rule, counts_a_thing, either, follows_article, with_digit
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


_OLD = re.compile(r"[ -]olds?\b")
_ENDS_SENTENCE = re.compile(r"\s*(?:$|\s[A-Z\"'“(])")


def _unit(match: Match[str]) -> str:
    amount, hyphen, unit, power, per, stop = match.groups()
    singular, several = UNITS[unit]
    prefix = {"2": "square ", "3": "cubic "}.get(power or "", "")
    is_age = unit in ("yr", "mo", "wk") and _OLD.match(match.string, match.end())
    is_singular = amount == "1" or hyphen == "-" or is_age or follows_article(match) or counts_a_thing(match)
    per_words = f" per {PER[per]}" if per else ""
    if unit == "in." or stop:
        stop = "." if _ENDS_SENTENCE.match(match.string, match.end()) else ""
    return f"{amount} {prefix}{singular if is_singular else several}{per_words}{stop or ''}"


def _height(match: Match[str]) -> str:
    return f"{match[1]} foot {match[2]}"


_COMPASS = {"N": "north", "S": "south", "E": "east", "W": "west"}


def _coordinate(match: Match[str]) -> str:
    """40°45′40.3″N -> 40 degrees 45 minutes 40.3 seconds north."""
    whole, minutes, seconds, side = match.groups()
    if not minutes and not side:
        return match[0]
    words = [whole, "degree" if whole == "1" else "degrees"]
    words += [minutes, "minute" if minutes == "1" else "minutes"] if minutes else []
    words += [seconds, "second" if seconds == "1" else "seconds"] if seconds else []
    return " ".join([*words, _COMPASS[side]] if side else words)


UNIT_RULES: tuple[Rule, ...] = (
    (
        ("°",),
        re.compile(
            rf"({FREE_N})\s?°\s?(?:(\d{{1,2}})\s?['′’]\s?(?:(\d{{1,2}}(?:\.\d+)?)\s?(?:[\"″”]|''))?)?(?:\s?([NSEW])\b)?"
        ),
        _coordinate,
    ),
    (
        ("/",),
        re.compile(
            rf"((?<![\w)\]./-])-)?((?<![\w./])\d+\s+)?(?<![\w./])(\d{{1,2}})/([1-9]\d{{0,3}})(?:(?:th|rd|nd)s?\b)?(?![\w/.]*\d)(?:\s?({_UNIT})(?![\w/^]))?"
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
    (("/",), re.compile(rf"([a-z]s|\d [a-z]+)/({'|'.join(word for word in PER if len(word) > 2)})\b"), r"\1 per \2"),
    (with_digit("{}M"), re.compile(rf"({FREE_N})M(?= [a-z])"), r"\1 million"),
)
