"""The rewrites of `tts.spoken_form` that concern digits, in the order in which they apply.

Each sees what the ones before it left. All of them expect ASCII digits and single spaces.
"""

import re
from re import Match

from tts.number_words import cardinal, digits, number, ordinal, year, year_or_number
from tts.spoken_money import MONEY_RULES
from tts.spoken_names import LONG_NAME_RULES, NAME_RULES
from tts.spoken_rules import ALWAYS, N, Rule, either, follows_article, rewrite, with_digit
from tts.spoken_tables import NUMBERED, NUMBERED_BY_NO, VERSIONED
from tts.spoken_times import DATE_RULES, LONG_DATE_RULES, TIME_RULES, YEAR_RULES
from tts.spoken_units import UNIT_RULES

_THREE_DIGITS = re.compile(r"\d\d\d")
_TO_LAST_DIGIT = re.compile(r".*\d")
_FAR = 64  # characters: no rule looks further from its digits than this


def say_numbers(text: str, first_digit: int) -> str:
    """Put words for every digit of `text`, whose whitespace is single spaces.

    Only what is near the digits, from the first to the last, is searched: most of a long text is not.
    """
    last = _TO_LAST_DIGIT.match(text)
    end = text.find(" ", min(len(text), (last.end() if last else first_digit) + _FAR))
    start = text.rfind(" ", 0, max(0, first_digit - _FAR)) + 1
    near = text[start:] if end < 0 else text[start:end]
    near = rewrite(_FIRST_RULES, near)
    if _THREE_DIGITS.search(near):
        near = rewrite(_LONG_RULES, near)
    near = rewrite(_NUMBER_RULES, near)
    return f"{text[:start]}{near}{'' if end < 0 else text[end:]}"


def _power(match: Match[str]) -> str:
    power = match[1] or match[2]
    words = {"2": "squared", "3": "cubed"}.get(power, f"to the power of {power}")
    return f" {words} "


def _range(match: Match[str]) -> str:
    """10-20 is ten to twenty, and so is 10 - 20 of something; 10-3=7 and 10 - 3 are sums."""
    low, dash, high = match[1], match[2], match[3]
    is_sum = match.string[match.end() :].lstrip().startswith(("=", "equals"))
    if dash == " - ":
        rises = float(low.replace(",", "")) < float(high.replace(",", ""))
        start = match.start()
        spans = _NOUN.match(match.string, match.end()) or _SPAN.search(match.string, max(0, start - 9), start)
        is_sum = is_sum or not (rises and spans)
    between = match.string.endswith(("between ", "Between "), 0, match.start())
    return f"{low} {'minus' if is_sum else 'and' if between else 'to'} {high}"


def _pair(match: Match[str]) -> str:
    """24/7 -> 24 7."""
    return " ".join(part for part in match.groups() if part)


_OPERATORS = {"x": "times", "×": "times", "*": "times", "/": "divided by", "÷": "divided by",
              "+": "plus", "=": "equals"}  # fmt: skip


def _operator(match: Match[str]) -> str:
    return f" {_OPERATORS[match[0].strip()]} "


_NOUN = re.compile(r" (?!is\b|are\b|and\b|or\b|equals\b|gives\b|what\b|then\b|plus\b|minus\b|times\b)[a-z]{2}")
_SPAN = re.compile(r"\b(?:from|between|ages?|aged|pages?) $", re.IGNORECASE)
_THE = re.compile(r"\b[Tt]he $")


def _times_or_by(match: Match[str]) -> str:
    """A 3x3 grid is three by three, 12x5 is a product."""
    is_size = (
        follows_article(match)
        or _NOUN.match(match.string, match.end())
        or _THE.search(match.string, max(0, match.start() - 5), match.start())
    )
    return re.sub("[x×]", " by " if is_size else " times ", match[0])


_SUM_WORDS = frozenset((
    "plus", "minus", "times", "divided", "equals", "point", "squared", "cubed",
    "percent", "degrees", "million", "billion", "number"
))  # fmt: skip
# A lower-case plural after the number counts something: 1500 words. These end in s and do not.
_NOT_PLURAL = frozenset((
    "was", "is", "has", "as", "its", "his", "this", "does", "us", "versus", "perhaps", "always", "mens", "womens",
    "census", "olympics", "news", "sports", "politics", "crisis", "class", "process", "business", "unless",
))  # fmt: skip
_COUNTED = frozenset(("people", "men", "women", "children", "feet", "fish", "sheep", "mice"))
_BEFORE_A_YEAR = frozenset(("In", "in", "Since", "since", "circa"))
_OF = re.compile(
    r"\b(?:(?:root|roots|sum|product|factor|factors|multiple|multiples|digits|log|factorial) of"
    r"|(?:divide|divided|divisible|multiply|multiplied) by) $"
)
_NEXT_WORD = re.compile(r" ([a-z]+)\b")
_LAST_WORD = re.compile(r"(\w+) $")


def _last_number(match: Match[str]) -> str:
    """What is left: a year where it can be one, else a number; spaced from letters beside it."""
    text, start, end = match[0], match.start(), match.end()
    before, after = match.string[max(0, start - 20) : start], match.string[end : end + 24]
    words = ""
    if len(text) > 2:
        follows, leads = _NEXT_WORD.match(after), _LAST_WORD.search(before)
        last_word = "number" if _OF.search(before) else leads[1] if leads else ""
        words = _in_context(text, last_word, follows[1] if follows else "")
    left = " " if before[-1:].isalpha() else ""
    return f"{left}{words or number(text)}{' ' if after[:1].isalpha() else ''}"


def _in_context(text: str, last_word: str, next_word: str) -> str:
    """Three characters or more: a version, a year or a count, by the words beside it."""
    if "." in text and last_word in VERSIONED:
        return " point ".join(map(cardinal, text.replace(",", "").split(".")))
    if next_word in _SUM_WORDS or next_word in _COUNTED or last_word in _SUM_WORDS:
        return number(text)
    is_the_year = last_word in ("the", "The") and "1900" <= text <= "2030"  # the 2016 elections
    if next_word.endswith("s") and next_word not in _NOT_PLURAL and not is_the_year:
        return number(text)
    if len(text) == 4 and text.isdigit():
        early = text.startswith("10") and text > "1000" and last_word in _BEFORE_A_YEAR
        if early or (last_word == "year" and text[0] != "0"):
            return year(text)
    return year_or_number(text)


_ENDINGS = (*with_digit("{}th"), "1st", "2nd", "3rd", "1ST", "2ND", "3RD", *with_digit("{}TH"))
_LENGTH = r"(?:centi|milli|kilo)?met|feet|foot|inch|yard"

_FIRST_RULES: tuple[Rule, ...] = (
    (tuple(NUMBERED), re.compile(rf"(?<!\w)({either(NUMBERED)}) ?(?=\d)"), lambda m: f"{NUMBERED[m[1]]} "),
    (
        (" no ",),
        re.compile(rf"(?i)\b({'|'.join(NUMBERED_BY_NO)}) no (?=\d)"),
        r"\1 number ",
    ),
    ((" -", " –", " —", "-p", "–p"), re.compile(r"(?<=\d) ?(?:-{1,2}|–|—) ?(?=present\b|now\b)"), " to "),
)
_LONG_RULES: tuple[Rule, ...] = (*LONG_NAME_RULES, *LONG_DATE_RULES)
_SUM_RULES: tuple[Rule, ...] = (
    (("^",), re.compile(r"\^(?:(-?\d+)|\((-?\d+)\))"), _power),
    (
        (" x ", " × "),
        re.compile(rf"(?<=[a-z\d]) [x×] (?=(?:\d[\d.]* [x×] )?\d[\d.]* (?:{_LENGTH}))"),
        " by ",
    ),
    (
        with_digit("{}x "),
        re.compile(r"(?<=\d)x(?= (?:faster|slower|more|as|better|larger|bigger|smaller|the)\b)"),
        " times",
    ),
    (("x", "×", "*", "÷"), re.compile(r"(?<=[\d)]) ?([x×*÷]) ?(?=[\d(])"), _operator),
    (("/",), re.compile(r"(?<=[\d)]) / (?=[\d(])"), " divided by "),
    (("+", "="), re.compile(r"(?<=[\d)a-z]) ?([+=]) ?(?=[-\d(])"), _operator),
    (("/",), re.compile(r"(?<=\d)/(?=\d)"), " over "),
)
_NUMBER_RULES: tuple[Rule, ...] = (
    *DATE_RULES,
    *TIME_RULES,
    *MONEY_RULES,
    *YEAR_RULES,
    (
        _ENDINGS,
        re.compile(r"(\d(?<![\w.]\d)(?<!\d/\d)(?:\d{0,2}(?:,\d{3})+|\d*))(?i:st|nd|rd|th)\b"),
        lambda m: ordinal(m[1].replace(",", "")),
    ),
    *NAME_RULES,
    (with_digit(".{}"), re.compile(r"\d+(?:\.\d+){2,}"), lambda m: m[0].replace(".", " point ")),
    (("24/7", "24-7", "9/11"), re.compile(r"(?<![\w/-])(?:(24)[/-](7)|(9)/(11))(?![\w/-]| of\b)"), _pair),
    (("50/50", "20/20"), re.compile(r"(?<![\w/])([25]0)/\1(?![\w/])"), r"\1 \1"),
    (("x", "×"), re.compile(r"\d(?<![\w.]\d)\d*(?:[x×]\d+)+(?!\w|\.\d)"), _times_or_by),
    (("x", "×", "*", "÷"), re.compile(r"(?<=/\d) ?([x×*÷]) ?(?=\d)|(?<=\d) ?([x×*÷]) ?(?=\d+/\d)"), _operator),
    *UNIT_RULES,
    *_SUM_RULES,
    (("-", "–", "—"), re.compile(rf"(?<![\w.-])({N})( - | ?(?:--|[-–—]) ?)({N})(?![\w-])"), _range),
    ((":",), re.compile(r"(?<=\d):(?=\d)"), " to "),
    (("-",), re.compile(rf"(?<![\w)\]-])- ?(?={N}|\.\d)"), " minus "),
    (("+",), re.compile(r"(?<=\d) ?\+(?!\w)"), " plus"),
    (with_digit(".{}"), re.compile(r"\.(?<![\w.]\.)(\d+)"), lambda m: f"point {digits(m[1])} "),
    (ALWAYS, re.compile(N), _last_number),
)
