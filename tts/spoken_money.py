"""The rewrites of sums of money."""

import re
from re import Match

from tts.number_words import cardinal, number
from tts.spoken_rules import FREE_N, N, Rule, counts_a_thing, either, follows_article, with_digit
from tts.spoken_tables import CURRENCIES, CURRENCY_CODES, DOLLARS, MAGNITUDES, PER

_SIGN = re.escape("".join(CURRENCIES))
_MAGNITUDE = rf"(?:\s?({either(MAGNITUDES)})(?!\w))?"
_PER = rf"(?:/({either(PER)}|[a-z]{{3,}})\b)?"
_ADJECTIVE_OF = re.compile(r"[ -][a-z]")


def _is_adjective(match: Match[str]) -> bool:
    """A $5 bill is a five dollar bill, and so are two $5 bills and the $5 bill; but the $5 she has."""
    if follows_article(match):
        return _ADJECTIVE_OF.match(match.string, match.end()) is not None
    return counts_a_thing(match)


def _money(match: Match[str]) -> str:
    """$12.50 -> twelve dollars and fifty cents; US$3.5M -> 3.5 million US dollars."""
    unit, units, cent, cents = CURRENCIES[match[2]]
    if _is_adjective(match):
        units, cents = unit, cent
    country = f"{DOLLARS[match[1]]} " if match[1] else ""
    per = f" per {PER.get(match[6], match[6])}" if match[6] else ""
    amount, magnitude = match[3].replace(",", ""), match[4] or match[5]
    if match[5] and match.string[match.start(5) - 1] == "-":
        units = unit  # a $5-million deal
    if magnitude:
        return f"{amount} {MAGNITUDES.get(magnitude, magnitude)} {country}{units}{per}"
    whole, _, part = amount.partition(".")
    if len(part) == 1 and part != "0" and not whole.strip("0"):
        part += "0"  # $.5 is fifty cents
    if len(part) != 2:
        return f"{number(amount)} {country}{unit if amount == '1' else units}{per}"
    whole_words = f"{cardinal(whole or '0')} {country}{unit if whole == '1' else units}"
    if part == "00":
        return whole_words + per
    part_words = f"{cardinal(str(int(part)))} {cent if part == '01' else cents}"
    return (part_words if not whole.strip("0") else f"{whole_words} and {part_words}") + per


def _money_range(match: Match[str]) -> str:
    unit, units, _, _ = CURRENCIES[match[1]]
    low = f"{match[2]} {MAGNITUDES[match[3]]}" if match[3] else match[2]
    high = f"{match[4]} {MAGNITUDES[match[5]]}" if match[5] else match[4]
    per = f" per {PER.get(match[6], match[6])}" if match[6] else ""
    return f"{low} to {high} {unit if _is_adjective(match) else units}{per}"


def _pence(match: Match[str]) -> str:
    return "one penny" if match[1] == "1" else f"{match[1]} pence"


_CODE = either(CURRENCY_CODES)
_SIGNS = tuple(CURRENCIES)

MONEY_RULES: tuple[Rule, ...] = (
    (
        tuple(CURRENCY_CODES),
        re.compile(rf"(?<!\w)({_CODE})\.?\s?(?=\d)"),
        lambda m: CURRENCY_CODES[m[1]],
    ),
    (tuple(CURRENCY_CODES), re.compile(rf"({FREE_N})\s?({_CODE})\b"), lambda m: f"{CURRENCY_CODES[m[2]]}{m[1]}"),
    (_SIGNS, re.compile(rf"({FREE_N})\s?([{_SIGN}])(?!\s?[\d.]\d*|\w)"), r"\2\1"),
    (
        _SIGNS,
        re.compile(rf"([{_SIGN}])\s?({N}){_MAGNITUDE}\s?[-–]\s?[{_SIGN}]?({N}){_MAGNITUDE}(?![\d.,]*\d){_PER}"),
        _money_range,
    ),
    (tuple(f"-{sign}" for sign in CURRENCIES), re.compile(rf"(?<![\w)\]])-(?=[{_SIGN}]\s?\d)"), " minus "),
    (
        _SIGNS,
        re.compile(
            rf"(?:\b({either(DOLLARS)}))?([{_SIGN}])\s?({N}|\.\d+)"
            rf"(?:\s?({either(MAGNITUDES)})(?!\w)|[\s-](thousand|million|billion|trillion)\b)?{_PER}"
        ),
        _money,
    ),
    (with_digit("{}p"), re.compile(r"(\d(?<![\w.,]\d)\d?)p\b(?!\s?[=.,]\d)"), _pence),
)
