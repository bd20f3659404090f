"""The rewrites of dates, clock times, years and decades."""

import re
from re import Match

from tts.number_words import cardinal, decade, number, ordinal, plural, year_or_number
from tts.spoken_rules import Rule, either, with_digit
from tts.spoken_tables import MONTHS, SHORT_MONTHS

_MONTH = "|".join(MONTHS)
_MONTH_OF_SMALL = {month.lower(): month for month in MONTHS}
_TO = r"\s?[-–]\s?| to | through | and | until | till "


def _day(month: int, day: str) -> str:
    return f"{MONTHS[month - 1]} {ordinal(str(int(day)))}"


def _is_day(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= 31


def _iso_date(match: Match[str]) -> str:
    month, day = int(match[3]), int(match[4])
    if not _is_day(month, day):
        between = " over " if match[2] == "/" else " "
        return between.join(map(number, re.findall(r"\d+", match[0])))
    return f"{_day(month, match[4])}, {year_or_number(match[1])} "


def _slash_date(match: Match[str]) -> str:
    """Month first, as in America, unless only the other order gives a date."""
    month, day, year = int(match[1]), int(match[2]), match[3]
    if month > 12:
        month, day = day, month
    if not _is_day(month, day):
        return match[0] if len(year) == 2 else f"{match[1]} slash {match[2]} slash {year}"
    if len(year) == 2 and year < "30":
        year = f"20{year}"
    return f"{_day(month, str(day))}, {year_or_number(year)}"


def _slash_day(match: Match[str]) -> str:
    month, day = int(match[2]), int(match[3])
    return f"{match[1]}{_day(month, match[3])}" if _is_day(month, day) else match[0]


def _day_of_month(match: Match[str]) -> str:
    """5 May -> the fifth of May, without a second "the"."""
    article = "" if match.string[: match.start()].endswith(("the ", "The ")) else "the "
    return f"{article}{ordinal(match[1])} of {match[2]}"


def _days(match: Match[str]) -> str:
    """May 3-5 -> May third to fifth."""
    between = match[3] if match[3].strip().isalpha() else " to "
    return f"{match[1]} {ordinal(match[2])}{between}{ordinal(match[4])}"


_BEFORE_A_MONTH = re.compile(
    r"(?:\b(?:on|by|of|in|from|to|till|until|since|after|before|between|for|born|and) |\d(?:st|nd|rd|th)? )$"
)
_DAY_OR_YEAR = re.compile(r" (?:\d{1,2}(?:st|nd|rd|th)\b|(?:\d{1,2} ?,? )?[12]\d{3}\b)")


def _small_month(match: Match[str]) -> str:
    """may 2 -> May 2, where it is the month: "may" and "march" are also verbs."""
    month, text, start = match[1], match.string, match.start()
    is_month = (
        month not in ("march", "may")
        or _BEFORE_A_MONTH.search(text, max(0, start - 9), start)
        or _DAY_OR_YEAR.match(text, match.end())
    )
    return _MONTH_OF_SMALL[month] if is_month else month


_RATIO = re.compile(r"\b(?:ratio|ratios|odds|scale|proportion|proportions)\b[^.;:\d]{0,12}$", re.IGNORECASE)


def _clock(match: Match[str]) -> str:
    """5:30 pm -> five thirty PM; 5:05 -> five oh five; 5:00 -> five o'clock."""
    hour, minute, second, half = match[1], match[2], match[3], match[4] or match[5]
    if not (second or half) and _RATIO.search(match.string, max(0, match.start() - 32), match.start()):
        return f"{hour} to {minute}"
    words = [cardinal(str(int(hour)))]
    if minute != "00" or second:
        words.append(f"oh {cardinal(minute[1])}" if minute[0] == "0" else cardinal(minute))
    elif not half:
        words.append("o'clock" if 1 <= int(hour) <= 12 else "hundred")
    if second:
        words.append(f"and {cardinal(str(int(second)))} second{'' if int(second) == 1 else 's'}")
    if half:
        words.append(f"{half.upper()}M")
    return " ".join(words)


def _hour(match: Match[str]) -> str:
    return f"{cardinal(match[1])} {match[2].upper()}M"


def _full_decade(match: Match[str]) -> str:
    if match[0].startswith("2000"):
        return "two thousands"
    return f"{cardinal(match[1])} {decade(match[2])}"


_WAITING = re.compile(r"\b(?:for|wait|waits|waited|after|within|every|about|only|takes?|took)\s$")


def _short_decade(match: Match[str]) -> str:
    """The '90s are a decade, and so are 90s, but "wait 30s" is a time."""
    tens = match[1]
    if match[0][0] == tens[0] and _WAITING.search(match.string, max(0, match.start() - 10), match.start()):
        return f"{cardinal(tens)} seconds"
    return decade(tens)


def _short_year(match: Match[str]) -> str:
    return f"oh {cardinal(match[1][1])}" if match[1][0] == "0" else match[1]


_HALF = r"([AaPp])\.?\s?[Mm]\b"

DATE_RULES: tuple[Rule, ...] = (
    (
        tuple(_MONTH_OF_SMALL),
        re.compile(
            rf"(?:(?<=\d )|(?<=\d(?:st|nd|rd|th) )|(?<=(?:st|nd|rd|th) of )|\b(?=\w+ \d))({either(_MONTH_OF_SMALL)})\b"
        ),
        _small_month,
    ),
    (
        with_digit("/{}"),
        re.compile(r"(\d(?<![\w/]\d)\d?)/(\d{1,2})/(\d{4}|\d\d)(?![\w/])"),
        _slash_date,
    ),
    (
        ("on ", "ue ", "nce ", "til", " through "),
        re.compile(
            r"((?<!\w)(?:[Oo]n|[Dd]ue|[Ss]ince|until|till|through) |(?<![\w/.])(?=[\d/]+ (?:until|till|through) \d))"
            r"(\d{1,2})/(\d{1,2})(?![\w/]| of\b)"
        ),
        _slash_day,
    ),
    (tuple(SHORT_MONTHS), re.compile(rf"\b({either(SHORT_MONTHS)})(?= \d)"), lambda m: SHORT_MONTHS[m[1]]),
    (
        tuple(SHORT_MONTHS),
        re.compile(rf"(\d(?<![\w.,:]\d)(?:\d|st|nd|rd|th|\d..)? )({either(SHORT_MONTHS)})\b(?! [a-z])"),
        lambda m: f"{m[1]}{SHORT_MONTHS[m[2]]}",
    ),
    (
        MONTHS,
        re.compile(
            rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?({_TO})(\d{{1,2}})(?:st|nd|rd|th)?"
            r"(?![\w:%/]|[.,]\d| ?[ap]\.?m\b| [a-z]+s\b)"
        ),
        _days,
    ),
    (
        MONTHS,
        re.compile(rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?(?![\w:%.]*\d)(?!\w)"),
        lambda m: f"{m[1]} {ordinal(m[2])}",
    ),
    (MONTHS, re.compile(rf"(\d(?<![\w.,]\d)\d?) ({_MONTH})\b"), _day_of_month),
    (MONTHS, re.compile(rf"(\d(?<![\w.,]\d)\d?)(?:st|nd|rd|th) ({_MONTH})\b"), lambda m: f"{ordinal(m[1])} of {m[2]}"),
)
# Only for a text with three digits in a row.
LONG_DATE_RULES: tuple[Rule, ...] = (
    (("c.", "ca."), re.compile(r"(?<!\w)ca?\. ?(?=\d{3,4}\b)"), "circa "),
    (
        ("-", "/"),
        re.compile(r"(\d(?<![\w-]\d)\d{3})([-/])(\d\d)\2(\d\d)(?:T(?=\d)|(?![\w/-]))"),
        _iso_date,
    ),
)
TIME_RULES: tuple[Rule, ...] = (
    (with_digit(".{}"), re.compile(rf"(\d(?<![\w:.]\d)\d?)\.(?=[0-5]\d\s?{_HALF})"), r"\1:"),
    (
        ("-", "–"),
        re.compile(rf"(\d(?<![\w:.]\d)\d?(?::\d\d)?)\s?[-–]\s?(?=\d{{1,2}}(?::\d\d(?!\d)|\s?{_HALF}))"),
        r"\1 to ",
    ),
    (
        tuple(f":{tens}" for tens in range(6)),
        re.compile(
            r"((?:[01](?<![\w:.]\d)\d?|2(?<![\w:.]\d)[0-3]?|[3-9](?<![\w:.]\d))):([0-5]\d)(?::([0-5]\d))?(?![:\d])"
            rf"(?:\s?{_HALF}|([ap])\b)?"
        ),
        _clock,
    ),
    (
        ("am", "pm", "AM", "PM", ".m", ". m", ".M", "Am", "Pm", " m", " M"),
        re.compile(rf"(1(?<![\w.:]\d)[0-2]?|[2-9](?<![\w.:]\d))\s?{_HALF}"),
        _hour,
    ),
)
_DECADES = ("0s", "0's", "0’s")


def _season(match: Match[str]) -> str:
    """2000-01 -> two thousand to oh one; but 2014-05 is a month."""
    first, last = match[1], match[2]
    if int(last) <= 12 and int(last) != (int(first) + 1) % 100:
        return match[0]
    if last == "00":
        return f"{year_or_number(first)} to {year_or_number(str(int(first) + 1))}"
    return f"{year_or_number(first)} to {f'oh {cardinal(last[1])}' if last[0] == '0' else cardinal(last)}"


YEAR_RULES: tuple[Rule, ...] = (
    (
        ("-", "–", "/"),
        re.compile(r"((?:1[89]|20)(?<![\w.,$/-]\d\d)\d\d)(?: ?-- ?|[-–/])(\d\d)(?![\w/-]|[.,]\d)"),
        _season,
    ),
    (_DECADES, re.compile(r"((?:1[1-9]|20)(?<![\w.,]\d\d))(\d0)['’]?s\b"), _full_decade),
    (_DECADES, re.compile(r"(?<!\w)['’]?([2-9]0)['’]?s\b"), _short_decade),
    (("'s", "’s"), re.compile(r"(\d(?<![\w.,$]\d)\d?)['’]s\b"), lambda m: plural(cardinal(m[1]))),
    ((*with_digit("'{}"), *with_digit("’{}")), re.compile(r"(?<![\w'’])['’](\d\d)(?![\w'’])"), _short_year),
)
