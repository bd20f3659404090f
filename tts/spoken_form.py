"""English text as it is said aloud: numbers, money, dates, units, sums and symbols become words.

`spoken_form` is lists of rewrites, most specific first. The early ones leave their digits standing
("5 km" -> "5 kilometers"); the last one turns every digit that is left into words.
"""

import re
import unicodedata
from re import Match

from tts.spoken_numbers import say_numbers
from tts.spoken_romans import ROMAN_RULES
from tts.spoken_rules import ALWAYS, Rule, rewrite
from tts.spoken_tables import ABBREVIATIONS, SYMBOLS


def spoken_form(text: str) -> str:
    """Return `text` as words for an English voice; whitespace is collapsed. Never raises.

    No digit of any script is left (`str.isdigit`), a text with letters or digits stays non-empty,
    and a text of plain words is returned unchanged.
    """
    if not text.isascii():
        text = "".join(map(_ascii_digit, text)).replace("−", "-")
    if "." in text:
        text = _ABBREVIATION.sub(_abbreviation, text)
    text = rewrite(_WORD_RULES, text)
    if _NOT_PLAIN.search(text):
        text = " ".join(rewrite(_MARKUP_RULES, text).split())
        digit = _DIGIT.search(text)
        if digit:
            text = say_numbers(text, digit.start())
        text = rewrite(_SYMBOL_RULES, text)
    return " ".join(text.split())


_DIGIT = re.compile(r"[0-9]")
# A digit, or a symbol that a rule below rewrites. What is left out is kept: `"'()[]{},.;:?!-`.
_NOT_PLAIN = re.compile("[0-9`" + re.escape("".join(set("".join(SYMBOLS)) - set("-!"))) + "]")

_SUPERSCRIPTS = frozenset("⁰¹²³⁴⁵⁶⁷⁸⁹")


def _ascii_digit(char: str) -> str:
    """Write a digit or vulgar fraction of any script in ASCII: "٣" -> "3", "½" -> " 1/2 "."""
    if char.isascii() or not char.isnumeric():
        return char
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if char in _SUPERSCRIPTS:
        return f"^{unicodedata.digit(char)}"
    if char.isdigit():
        return f" {unicodedata.digit(char)} "
    ascii_form = unicodedata.normalize("NFKC", char).replace("⁄", "/")
    return f" {ascii_form} " if "/" in ascii_form else char


# The other initials lose their full stops: the U.S. Senate is the US Senate, which every voice spells.
_ABBREVIATION = re.compile(
    r"(?<![\w.])(?:" + "|".join(re.escape(short[:-1]) for short in ABBREVIATIONS) + r"|[A-Z](?:\.[A-Z])+)\.(?!\w)"
)
# These may end a sentence; the others stand before a name.
_MAY_END = frozenset((
    "etc.", "Jr.", "Sr.", "Inc.", "Ltd.", "Co.", "Corp.", "al.", "a.m.", "p.m.", "A.M.", "P.M.",
    "Ave.", "Blvd.", "Rd.", "St.", "Univ.", "Dept.", "Ph.D."
))  # fmt: skip
_AFTER_A_NAME = re.compile(r"(?:^|\s)[A-Z]\w*\s$")


def _abbreviation(match: Match[str]) -> str:
    """Expand one abbreviation, and keep its full stop where that also ends the sentence."""
    short = match[0]
    words = ABBREVIATIONS.get(short) or short.replace(".", "")
    before, after = match.string[max(0, match.start() - 40) : match.start()], match.string[match.end() :][:40].lstrip()
    if short == "St." and _AFTER_A_NAME.search(before):
        words = "Street"
    ends = not after or (short in _MAY_END and after[0].isupper() and words != "Saint")
    return f"{words}." if ends and not after.startswith((".", "?", "!")) else words


def _symbol(match: Match[str]) -> str:
    return f" {SYMBOLS[match[0]]} "


_DOMAIN = r"(?<=\w)\.(?=(?:com|org|net|edu|gov|io|co|uk|ai|html|pdf|py|txt|csv|json)\b)"

# Layout that is seen and not said, and symbols that mean something other than their name.
_WORD_RULES: tuple[Rule, ...] = (
    ((" vs ",), re.compile(" vs "), " versus "),
    *ROMAN_RULES,
)
_MARKUP_RULES: tuple[Rule, ...] = (
    (("*", "+", "#"), re.compile(r"(?m)^[ \t]*(?:[*+]|#{1,6})\s+"), " "),  # bullets and headings
    (("*",), re.compile(r"(?<![\w*])(\*{1,3})(?=\S)([^*\n]+)(?<=\S)\1(?![\w*])"), r"\2"),  # **bold**
    (("_",), re.compile(r"(?<!\w)(_{1,2})(?=[^\s_])([^_\n]+)(?<=\S)\1(?!\w)"), r"\2"),  # _italic_
    (("`",), re.compile(r"`+"), " "),
    (("://",), re.compile(r"https?://(?=\w)"), ""),
    ((".",), re.compile(_DOMAIN), " dot "),
    (("__",), re.compile(r"_{2,}"), " blank "),
    (("#",), re.compile(r"\b([ACDFGJ])#(?!\w)"), r"\1 sharp"),
    (("++",), re.compile(r"\b(C|c)\+\+"), r"\1 plus plus"),
    (("AT&T",), re.compile(r"\bAT&T\b"), "A-T and T"),  # A alone is read as the article
    (("N/A",), re.compile(r"\bN/A\b"), "not applicable"),
    (("b/c",), re.compile(r"(?<!\w)b/c\b"), "because"),
    (("^",), re.compile(r"(?<=\w)\^([a-z])(?!\w)"), r" to the power of \1"),
    (("nd/or",), re.compile(r"\b[Aa]nd/or\b"), "and or"),
    (("w/o",), re.compile(r"(?<!\w)w/o\b"), "without"),
    (("w/",), re.compile(r"(?<!\w)w/(?=\s)"), "with"),
    (("#",), re.compile(r"#(?=[A-Za-z])"), " hashtag "),
)

_LOOSE_MARKS = (*(space + mark for mark in ",.;:?!)" for space in " \n\t"), "( ", "(\n", "(\t")
_SYMBOL_RULES: tuple[Rule, ...] = (
    (ALWAYS, re.compile("|".join(map(re.escape, SYMBOLS))), _symbol),
    (_LOOSE_MARKS, re.compile(r"\s+(?=[,.;:?!)](?:\s|$))|(?<=\()\s+"), ""),
)
