"""The rewrites of `tts.spoken_form` that concern digits, in the order in which they apply.

Each sees what the ones before it left. All of them expect ASCII digits.
"""

import re
from collections.abc import Callable
from re import Match

from tts.number_words import cardinal, decade, digits, fraction, number, ordinal, year
from tts.spoken_tables import CURRENCIES, MAGNITUDES, MONTHS, NUMBERED, UNITS

# 1,234 or 1234, with or without decimals; then .5 as well.
_N = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)"
_MONTH = "|".join(MONTHS)
_CURRENCY = re.escape("".join(CURRENCIES))


def _any(keys: dict[str, str] | dict[str, tuple[str, str]]) -> str:
    return "|".join(re.escape(key) for key in sorted(keys, key=len, reverse=True))


def _phone(match: Match[str]) -> str:
    return ", ".join(digits(part) for part in re.findall(r"\d+", match[0]))


def _day(month: int, day: str) -> str:
    return f"{MONTHS[month - 1]} {ordinal(str(int(day)))}"


def _iso_date(match: Match[str]) -> str:
    month, day = int(match[2]), int(match[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return " ".join(map(number, match[0].rstrip("T").split("-")))
    return f"{_day(month, match[3])}, {_year_or_number(match[1])} "


def _slash_date(match: Match[str]) -> str:
    """Month first, as in America, unless only the other order gives a date."""
    month, day = int(match[1]), int(match[2])
    if month > 12:
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return f"{match[1]} slash {match[2]} slash {match[3]}"
    return f"{_day(month, str(day))}, {_year_or_number(match[3])}"


def _clock(match: Match[str]) -> str:
    """5:30 pm -> five thirty p m; 5:05 -> five oh five; 5:00 -> five o'clock."""
    hour, minute, second, half = match[1], match[2], match[3], match[4]
    words = [cardinal(str(int(hour)))]
    if minute != "00" or second:
        words.append(f"oh {cardinal(minute[1])}" if minute[0] == "0" else cardinal(minute))
    elif not half:
        words.append("o'clock" if 1 <= int(hour) <= 12 else "hundred")
    if second:
        words.append(f"and {cardinal(str(int(second)))} seconds")
    if half:
        words.append(f"{half[0].lower()} m")
    return " ".join(words)


def _hour(match: Match[str]) -> str:
    return f"{cardinal(match[1])} {match[2].lower()} m"


def _money(match: Match[str]) -> str:
    """$12.50 -> twelve dollars and fifty cents; $3.5M -> 3.5 million dollars."""
    unit, units, cent, cents = CURRENCIES[match[1]]
    amount, magnitude = match[2].replace(",", ""), match[3] or match[4]
    if magnitude:
        return f"{amount} {MAGNITUDES.get(magnitude, magnitude)} {units}"
    whole, _, part = amount.partition(".")
    if len(part) != 2:
        return f"{number(amount)} {unit if amount == '1' else units}"
    whole_words = f"{cardinal(whole)} {unit if whole == '1' else units}"
    if part == "00":
        return whole_words
    part_words = f"{cardinal(str(int(part)))} {cent if part == '01' else cents}"
    return part_words if not whole.strip("0") else f"{whole_words} and {part_words}"


def _money_range(match: Match[str]) -> str:
    return f"{match[2]} to {match[3]} {CURRENCIES[match[1]][1]}"


def _fraction(match: Match[str]) -> str:
    if int(match[2]) >= int(match[3]):
        return f"{match[1] or ''} {match[2]} over {match[3]}"
    words = fraction(match[2], match[3])
    if match[1] is None:
        return f"{words} "
    if match[2] == "1":
        words = words.replace("one ", "a ", 1)
    return f"{number(match[1].strip())} and {words} "


def _unit(match: Match[str]) -> str:
    singular, plural = UNITS[match[2]]
    power = {"2": "square ", "3": "cubic "}.get(match[3] or "", "")
    return f"{match[1]} {power}{singular if match[1] == '1' else plural}"


def _power(match: Match[str]) -> str:
    words = {"2": "squared", "3": "cubed"}.get(match[1], f"to the power of {match[1]}")
    return f" {words} "


def _range(match: Match[str]) -> str:
    """10-20 is ten to twenty, but 10-3=7 and 10 - 3 are sums."""
    low, dash, high = match[1], match[2], match[3]
    is_sum = match.string[match.end() :].lstrip().startswith(("=", "equals")) or dash == " - "
    return f"{low} {'minus' if is_sum else 'to'} {high}"


def _decade(century: str, tens: str) -> str:
    if century + tens == "2000":
        return "two thousands"
    return f"{cardinal(century)} {decade(tens)}"


_OPERATORS = {"x": "times", "×": "times", "*": "times", "/": "divided by", "÷": "divided by",
              "+": "plus", "=": "equals"}  # fmt: skip


def _operator(match: Match[str]) -> str:
    return f" {_OPERATORS[match[1]]} "


def _year_or_number(text: str) -> str:
    is_year = len(text) == 4 and text.isdigit() and 1100 <= int(text) <= 2099
    return year(text) if is_year else number(text)


_SUM_WORDS = frozenset((
    "plus", "minus", "times", "divided", "by", "over", "equals", "point", "squared", "cubed",
    "percent", "degrees", "million", "billion", "number"
))  # fmt: skip
# A lower-case plural after the number counts something: 1500 words. These end in s and do not.
_NOT_PLURAL = frozenset((
    "was", "is", "has", "as", "its", "his", "this", "does", "us", "versus", "perhaps", "always"
))  # fmt: skip
_NEXT_WORD = re.compile(r"\s+([a-z]+)\b")
_LAST_WORD = re.compile(r"(\w+)\s+$")


def _last_number(match: Match[str]) -> str:
    """What is left: a year where it can be one, else a number; spaced from letters beside it."""
    text, start, end = match[0], match.start(), match.end()
    before, after = match.string[max(0, start - 20) : start], match.string[end : end + 24]
    follows, leads = _NEXT_WORD.match(after), _LAST_WORD.search(before)
    next_word = follows[1] if follows else ""
    counts = next_word in _SUM_WORDS or (next_word.endswith("s") and next_word not in _NOT_PLURAL)
    is_sum = counts or (leads is not None and leads[1] in _SUM_WORDS)
    words = number(text) if is_sum else _year_or_number(text)
    left = " " if before[-1:].isalpha() else ""
    return f"{left}{words}{' ' if after[:1].isalpha() else ''}"


# A rule: literals of which a text must hold one for the pattern to match at all (a quick look that spares
# a search), the pattern, what takes its place.
Rule = tuple[tuple[str, ...], re.Pattern[str], Callable[[Match[str]], str] | str]
ALWAYS = ("",)
_MONTHS = tuple(MONTHS)
_CURRENCIES = tuple(CURRENCIES)
_DECADES = ("0s", "0's")
_HALF_DAYS = tuple(a + between + m for a in "AaPp" for between in ("", ".", " ", ". ") for m in "Mm")

NUMBER_RULES: tuple[Rule, ...] = (
    (tuple(NUMBERED), re.compile(rf"(?<!\w)({_any(NUMBERED)})\s?(?=\d)"), lambda m: f"{NUMBERED[m[1]]} "),
    (
        ("-", "."),
        re.compile(r"(?<![\w-])(?:\+?1[ -])?(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}(?![\w-])"),
        _phone,
    ),
    (("-",), re.compile(r"(?<![\w-])\d{3}-\d{4}(?![\w-])"), _phone),
    (("-",), re.compile(r"(?<![\w-])(\d{4})-(\d\d)-(\d\d)(?:T(?=\d)|(?![\w-]))"), _iso_date),
    (("/",), re.compile(r"(?<![\w/])(\d{1,2})/(\d{1,2})/(\d{4})(?![\w/])"), _slash_date),
    (
        _MONTHS,
        re.compile(rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?(?![\w:%.]*\d)(?!\w)"),
        lambda m: f"{m[1]} {ordinal(m[2])}",
    ),
    (
        _MONTHS,
        re.compile(rf"(?<![\w.,])(\d{{1,2}})(?:st|nd|rd|th)? ({_MONTH})\b"),
        lambda m: f"{ordinal(m[1])} of {m[2]}",
    ),
    (
        (":",),
        re.compile(
            r"(?<![\w:.])([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?(?![:\d])"
            r"(?:\s?([AaPp])\.?\s?[Mm]\b)?"
        ),
        _clock,
    ),
    (_HALF_DAYS, re.compile(r"(?<![\w.:])(1[0-2]|[1-9])\s?([AaPp])\.?\s?[Mm]\b"), _hour),
    (
        _CURRENCIES,
        re.compile(rf"([{_CURRENCY}])\s?({_N})\s?[-–]\s?[{_CURRENCY}]?({_N})(?![\d.,]*\d)"),
        _money_range,
    ),
    (("-",), re.compile(rf"(?<![\w)\]])-(?=[{_CURRENCY}]\s?\d)"), " minus "),
    (
        _CURRENCIES,
        re.compile(
            rf"([{_CURRENCY}])\s?({_N})"
            rf"(?:\s?({_any(MAGNITUDES)})(?!\w)|\s(thousand|million|billion|trillion)\b)?"
        ),
        _money,
    ),
    (_DECADES, re.compile(r"(?<![\w.,])(\d\d)(\d0)'?s\b"), lambda m: _decade(m[1], m[2])),
    (_DECADES, re.compile(r"(?<!\w)['’]?([2-9]0)'?s\b"), lambda m: decade(m[1])),
    (
        ALWAYS,
        re.compile(r"(?<![\w.])(\d{1,3}(?:,\d{3})+|\d+)(?i:st|nd|rd|th)\b"),
        lambda m: ordinal(m[1].replace(",", "")),
    ),
    ((".",), re.compile(r"\d+(?:\.\d+){2,}"), lambda m: m[0].replace(".", " point ")),
    (("24/7",), re.compile(r"(?<![\w/])24/7(?![\w/])"), "twenty-four seven"),
    (
        ("/",),
        re.compile(r"(?<![\w./])(\d+\s+)?(\d{1,2})/([2-9]|10|12|16|20|32|64|100)(?![\w/.]*\d)"),
        _fraction,
    ),
    (
        ALWAYS,
        re.compile(rf"(?<![\w.])({_N})[\s-]?({_any(UNITS)})(?:\^?([23]))?(?![\w/^])"),
        _unit,
    ),
    (("^",), re.compile(r"\^\(?(-?\d+)\)?"), _power),
    (("x", "×", "*", "÷"), re.compile(r"(?<=[\d)])\s?([x×*÷])\s?(?=[\d(])"), _operator),
    (("/",), re.compile(r"(?<=[\d)])\s/\s(?=[\d(])"), " divided by "),
    (("+", "="), re.compile(r"(?<=[\d)a-z])\s?([+=])\s?(?=[-\d(])"), _operator),
    (("/",), re.compile(r"(?<=\d)/(?=\d)"), " over "),
    (("-", "–", "—"), re.compile(rf"(?<![\w.-])({_N})( - |\s?[-–—]\s?)({_N})(?![\w-])"), _range),
    ((":",), re.compile(r"(?<=\d):(?=\d)"), " to "),
    (("-",), re.compile(rf"(?<![\w)\]-])-\s?(?={_N}|\.\d)"), " minus "),
    (("+",), re.compile(r"(?<=\d)\s?\+(?!\w)"), " plus"),
    ((".",), re.compile(r"(?<![\w.])\.(\d+)"), lambda m: f"point {digits(m[1])} "),
    (ALWAYS, re.compile(_N), _last_number),
)
