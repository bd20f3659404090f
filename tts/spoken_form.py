"""English text as it is said aloud: numbers, money, dates, units, sums and symbols become words.

`spoken_form` is lists of rewrites, most specific first. The early ones leave their digits standing
("5 km" -> "5 kilometers"); the last one turns every digit that is left into words.
"""

import re
import unicodedata
from re import Match

from tts.spoken_markup import ADDRESS_RULES, MARKUP_RULES, unescape
from tts.spoken_numbers import say_numbers
from tts.spoken_romans import ROMAN_RULES
from tts.spoken_rules import ALWAYS, Rule, either, rewrite
from tts.spoken_tables import ABBREVIATIONS, MAY_END, SPELLED, SYMBOLS


def spoken_form(text: str) -> str:
    """Return `text` as words for an English voice; whitespace is collapsed. Never raises.

    No digit of any script is left (`str.isdigit`), a text with letters or digits beside its markup stays
    non-empty, and a text of plain words is returned unchanged.
    """
    if ";" in text:
        text = unescape(text)
    if not text.isascii():
        text = "".join(map(_ascii_digit, text)).replace("−", "-")
    if "." in text:
        text = _ABBREVIATION.sub(_abbreviation, text)
        if _INNER_STOP.search(text):
            text = rewrite(_STOP_RULES, text)
    text = rewrite(_WORD_RULES, text)
    if _CAPITALS.search(text):
        text = rewrite(_CAPITAL_RULES, text)
    if _NOT_PLAIN.search(text):
        text = " ".join(rewrite(_SIGN_RULES, rewrite(MARKUP_RULES, text)).split())
        digit = _DIGIT.search(text)
        if digit:
            text = say_numbers(text, digit.start())
        text = rewrite(_SYMBOL_RULES, text)
    return " ".join(text.split())


# Quick looks.
_INNER_STOP = re.compile(r"\.[a-z]")
_CAPITALS = re.compile(r"[A-Z][A-Z]| [IVX]\b")
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
_ABBREVIATION = re.compile(rf"(?<![\w.])(?:{either(short[:-1] for short in ABBREVIATIONS)}|[A-Z](?:\.[A-Z])+)\.(?!\w)")
_AFTER_A_NAME = re.compile(r"(?:^|\s)(?:[A-Z]\w*|\d+(?:st|nd|rd|th))\s$")


def _abbreviation(match: Match[str]) -> str:
    """Expand one abbreviation, and keep its full stop where that also ends the sentence."""
    short = match[0]
    words = ABBREVIATIONS.get(short) or short.replace(".", "").upper()
    before, after = match.string[max(0, match.start() - 40) : match.start()], match.string[match.end() :][:40].lstrip()
    if short == "St." and _AFTER_A_NAME.search(before):
        words = "Street"
    ends = not after or ((short in MAY_END or words == "Street") and after[0].isupper())
    return f"{words}." if ends and not after.startswith((".", "?", "!")) else words


def _symbol(match: Match[str]) -> str:
    return f" {SYMBOLS[match[0]]} "


def _spelled(match: Match[str]) -> str:
    """IQ -> I-Q, for voices that make a word of it; LEDs -> L-E-D's."""
    return "-".join(match[1]) + ("'s" if match[2] else "")


_STREET = {"St": "Street", "Ave": "Avenue", "Rd": "Road"}

_STOP_RULES: tuple[Rule, ...] = (
    *ADDRESS_RULES,
    (ALWAYS, re.compile(r"(?<![\w.])[a-z](?:\.[a-z])+\.(?!\w)"), _abbreviation),  # u.s., a.j.
    (("e.g", "i.e"), re.compile(r"\b(?:(e\.g)|i\.e)(?=[\s,:])"), lambda m: "for example" if m[1] else "that is"),
)
# What holds neither digits nor symbols, and is not said as it is written.
_WORD_RULES: tuple[Rule, ...] = (
    (("-lrb-", "-rrb-"), re.compile(r"-[lr]rb-"), " "),  # the Penn Treebank's brackets
    ((" vs ",), re.compile(" vs "), " versus "),
    (
        ("Mr", "Ms ", "Dr "),
        re.compile(r"\b(Mr|Mrs|Ms|Dr)(?= [A-Z])"),
        lambda m: ABBREVIATIONS[f"{m[1]}."],
    ),
    ((" - ",), re.compile(r"\b([a-y]|\d) - (?=[b-y]\b(?!'))"), r"\1 minus "),
)
_CAPITAL_RULES: tuple[Rule, ...] = (
    *ROMAN_RULES,
    (ALWAYS, re.compile(rf"(?<!\w)(?<![A-Z] )({'|'.join(SPELLED)})(s?)\b(?! [A-Z]{{2}})"), _spelled),
    ((" AD", "AD "), re.compile(r"(?:(?<=\d )|(?<=century ))AD\b|\bAD(?= \d)"), "A-D"),
)


def _inches(match: Match[str]) -> str:
    """A 13" screen; but a digit before the end of a quotation is none."""
    quoted = match.string.count('"', 0, match.start()) % 2
    return match[0] if quoted else f"{match[1]} inch"


def _product(match: Match[str]) -> str:
    """2 * x, or width * height where something equals it; else a mark between words."""
    is_product = not (match[1].isalpha() and match[2].isalpha())
    is_product |= "=" in match.string and not match[1].isupper()  # SELECT * FROM
    return " times " if is_product or _ONE_LETTER.match(match.string, match.start() - 2) else match[0]


_ONE_LETTER = re.compile(r"\W[a-z]|\W?[a-z] \* [a-z]\b")

# Symbols that mean something other than their name.
_SIGN_RULES: tuple[Rule, ...] = (
    (
        ("st St", "nd St", "rd St", "th St", "th Ave", "st Ave", "nd Ave", "rd Ave", "th Rd"),
        re.compile(r"(?<=\d(?:st|nd|rd|th) )(St|Ave|Rd)\b"),
        lambda m: _STREET[m[1]],
    ),
    (("C#", "c#", "F#", "f#", "A#", "D#", "G#", "J#"), re.compile(r"\b([ACDFGJcf])#(?!\w)"), r"\1 sharp"),
    (("++",), re.compile(r"\b(C|c)\+\+"), r"\1 plus plus"),
    (("AT&T",), re.compile(r"\bAT&T\b"), "A-T and T"),  # A alone is read as the article
    (("N/A",), re.compile(r"\bN/A\b"), "not applicable"),
    (("b/c",), re.compile(r"(?<!\w)b/c\b"), "because"),
    (("^",), re.compile(r"(?<=\w)\^([a-z])(?!\w)"), r" to the power of \1"),
    (("**",), re.compile(r"(?<=[\w)]) \*\* (?=[\w(])|(?<=[\w)])\*\*(?=\d)"), "^"),
    ((" - ",), re.compile(r"(?<=\)) - (?=\(|\d|[a-z]\b)|(?<=\^\d) - (?=\()"), " minus "),
    (("~/",), re.compile(r"~(?=/)"), " tilde "),
    ((" * ",), re.compile(r"(?<=([\w)\]])) \* (?=([\w(]))"), _product),
    (("*",), re.compile(r"\b([a-z0-9])\*(?=[a-z0-9]\b)"), r"\1 times "),
    ((" % ",), re.compile(r"(?<=[\w)]) % (?=[a-z0-9]\b)(?!a\b)"), " mod "),
    (('"',), re.compile(r"""(?<!['′’])(?<!['′’]\d)(\d)"(?=[ -][a-z]| ?[x×] ?\d|[.,]?$)"""), _inches),
    (("nd/or",), re.compile(r"\b[Aa]nd/or\b"), "and or"),
    (("w/o",), re.compile(r"(?<!\w)w/o\b"), "without"),
    (("w/",), re.compile(r"(?<!\w)w/(?=\s)"), "with"),
    (("#",), re.compile(r"#(?=[A-Za-z])"), " hashtag "),
)

_LOOSE_MARKS = (*(space + mark for mark in ",.;:?!)" for space in " \n\t"), "( ", "(\n", "(\t")
_SYMBOL_RULES: tuple[Rule, ...] = (
    (ALWAYS, re.compile(either(SYMBOLS)), _symbol),
    (_LOOSE_MARKS, re.compile(r"\s+(?=[,.;:?!)](?:\s|$))|(?<=\()\s+"), ""),
)
