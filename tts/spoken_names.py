"""The rewrites of digits that name something: telephones, codes, versions, rooms, roads, letters with digits."""

import re
from re import Match

from tts.number_words import called, digits, plural
from tts.spoken_rules import ALWAYS, NOT_IN_NUMBER, Rule, either, with_digit
from tts.spoken_tables import CALLED_BY_NUMBER, NOT_A_COURSE


def _grouped(match: Match[str]) -> str:
    return ", ".join(digits(part) for part in re.findall(r"\d+", match[0]))


def _short_phone(match: Match[str]) -> str:
    """555-1234 is a telephone; 200-1000 is a range."""
    is_range = match[2].endswith("00") and int(match[1]) < int(match[2])
    return f"{match[1]} to {match[2]}" if is_range else _grouped(match)


def _abroad(match: Match[str]) -> str:
    n_digits = sum(map(str.isdigit, match[0]))
    return f" plus {_grouped(match)}" if n_digits >= 9 else match[0]


def _address(match: Match[str]) -> str:
    """192.168.0.1, but not a version of four parts with one above 255."""
    parts = match[0].split(".")
    if any(int(part) > 255 for part in parts):
        return match[0]
    return " dot ".join(map(called, parts))


def _named(match: Match[str]) -> str:
    return f"{match[1]} {' '.join(called(part) for part in match[2].split('-'))}"


def _course(match: Match[str]) -> str:
    return match[0] if match[1] in NOT_A_COURSE else f"{match[1]} {called(match[2])}"


def _emergency(match: Match[str]) -> str:
    counts = re.match(r" (?!calls\b)(?:[a-z]+s|people|men|women|children)\b", match.string[match.end() :])
    return match[0] if counts and not match[1] else f"{match[1] or ''}{digits(match[2] or match[3])}"


_ROUND = {2: "tens", 3: "hundreds", 4: "thousands"}
_BETWEEN_NUMBERS = re.compile(r"\d-[A-Za-z]+$")
_VARIABLE = re.compile(r"(?:^|[^A-Za-z'’])[abcikmnxyz]$")


def _after_letter(match: Match[str]) -> str:
    """COVID-19 -> COVID 19, F-150 -> F one fifty, x-5 -> x minus 5; 9-to-5 stays."""
    before, after = match.string[max(0, match.start() - 12) : match.start()], match.string[match.end() :]
    if _BETWEEN_NUMBERS.search(before):
        return match[0]
    if match[2]:
        return f" {plural(called(match[1]))}"  # AK-47s
    if _VARIABLE.search(before) and not (before.endswith("i") and len(match[1]) > 1):  # i-1, but i-95
        return f" minus {match[1]}"
    return f" {match[1] if _GOES_ON.match(after) else called(match[1])}"


_GOES_ON = re.compile(r"\w|[.,:/]\d|%")


def _scientific(match: Match[str]) -> str:
    return f"{match[1]} times 10 to the power of {match[2].replace('-', 'minus ').lstrip('+')}"


# Only for a text with three digits in a row.
LONG_NAME_RULES: tuple[Rule, ...] = (
    (("+",), re.compile(r"\+(?<!\w\+)\d{1,3}[ -]\(?\d{1,4}\)?(?:[ -]\d{2,4}){1,4}(?![\w-])"), _abroad),
    (
        ("-", "."),
        re.compile(
            r"(?:\+?(?<![\w-]\+)1[ -])?(?:\((?<![\w-]\()\d{3}\) ?|\d(?<![\w-]\d)\d\d[-.])\d{3}[-.]\d{4}(?![\w-])"
        ),
        _grouped,
    ),
    (("-",), re.compile(r"(\d(?<![\w-]\d)\d\d)-(\d{4})(?![\w-])"), _short_phone),
    (("-",), re.compile(r"\d(?<![\w-]\d)\d\d-\d\d-\d{4}(?![\w-])"), _grouped),
    (("-", " "), re.compile(r"\d(?<![\w-]\d)\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?![\w-])"), _grouped),
    (
        ("ode", "ZIP", "zip", ", "),
        re.compile(r"((?:[Zz]ip|ZIP|ostal)(?: [Cc]ode)?:? |, [A-Z]{2} )(\d{5})(?:-(\d{4}))?(?![\w-])"),
        lambda m: m[1] + ", ".join(digits(part) for part in (m[2], m[3]) if part),
    ),
    (
        ("911", "411", "311", "112", "999"),
        re.compile(
            r"(?:((?<!\w)(?:[Cc]all|[Dd]ial|phone|ring)(?:ed|ing|s)? )([1-9]1[12]|999)|(911)(?<![\w.,$£€/-]911))"
            rf"\b{NOT_IN_NUMBER}"
        ),
        _emergency,
    ),
    (
        CALLED_BY_NUMBER,
        re.compile(rf"\b({either(CALLED_BY_NUMBER)}) (\d{{3,4}}(?:-\d{{3}})?)(?![\w-]|[.,]\d)"),
        _named,
    ),
    ((" error",), re.compile(r"([45]\d\d)(?<![\w.,$£€-]\d\d\d)(?= errors?\b)"), lambda m: called(m[1])),
    (("101",), re.compile(r"\b([A-Z]\w+) (101)(?![\w-]|[.,]\d)(?! (?!class|course)[a-z])"), _course),
    (
        ("40", "50"),
        re.compile(r"([45]0[1357])(?<![\w.,$£€]\d\d\d)\(?([kbcKBC])\)(?!\w)"),
        lambda m: f"{called(m[1])} {m[2].upper()} ",
    ),
    (("401k", "401K"), re.compile(r"\b401[kK]"), "four oh one K"),
    (
        tuple(f"{n}{p}" for n in "068" for p in "pi"),
        re.compile(r"(\d(?<![\w.]\d)\d{2,3})([pi])\b"),
        lambda m: f"{called(m[1])} {m[2]}",
    ),
    (with_digit("{}s"), re.compile(r"(?<=the )(\d\d[1-9]|[1-9]\d0)s\b"), lambda m: plural(called(m[1]))),
    (("x", "X"), re.compile(r"(\d(?<![\w.,]\d)\d{2,3})[xX](\d{3,4})\b"), lambda m: f"{called(m[1])} by {called(m[2])}"),
)

NAME_RULES: tuple[Rule, ...] = (
    (
        (*with_digit("{}e"), *with_digit("{}E")),
        re.compile(r"(\d(?<![\w.]\d)\d*(?:\.\d+)?)[eE]([+-]?\d+)(?![\w-])"),
        _scientific,
    ),
    (
        ("WW1", "WW2", "WW 1", "WW 2", "ww1", "ww2"),
        re.compile(r"\b(?:WW ?|ww)([12])\b"),
        lambda m: f"World War {('One', 'Two')[int(m[1]) - 1]}",
    ),
    (
        with_digit("{}s") + with_digit("{}p"),
        re.compile(r"(?i)\b((?:iphone|galaxy|nexus|pixel) )(\d+)([sp])\b"),
        lambda m: f"{m[1]}{called(m[2])} {m[3]}",
    ),
    (("CO2",), re.compile(r"\bCO2\b"), "C O two"),
    (("0x",), re.compile(r"\b0x(?=[0-9A-Fa-f])"), "zero x "),
    (("v1", "v2", "v3", "v4", "v5", "v0", "v. "), re.compile(r"(?<!/)\bv\.? ?(?=\d)"), "version "),
    (("k r",), re.compile(r"(?<=\d)[kK](?= (?:run|race)\b)"), " K"),
    (("0s of",), re.compile(r"(1(?<![\w.,]1),?0{1,3})s of\b"), lambda m: f"{_ROUND[len(m[1].replace(',', ''))]} of"),
    (tuple(f".{a}" for a in "0123456789"), re.compile(r"\d(?<![\w.]\d)\d{0,2}(?:\.\d{1,3}){3}(?![\w.]*\d)"), _address),
    (with_digit("-{}"), re.compile(r"-(?<=[A-Za-z]-)(\d+)(s\b)?"), _after_letter),
    (("#",), re.compile(r"# ?(\d{5,})(?![\w.,]*\d)"), lambda m: f"number {digits(m[1])}"),
    (ALWAYS, re.compile(r"\d(?<=[A-Za-z]\d)\d{4,}(?!\w)"), lambda m: f" {digits(m[0])}"),
    (ALWAYS, re.compile(r"(\d(?<=[A-Za-z]\d)\d{2,3})(?!\w|[.,]\d)"), lambda m: f" {called(m[1])}"),
)
