"""Cues: what a text must hold before a rule can find anything in it, for a search of whole columns.

A rule's patterns run in Python, one text at a time. Most texts hold nothing that a rule looks for,
and that much the engine of polars (the Rust `regex` crate) sees many times faster. It knows neither
look-around nor Python's idea of a letter or a space, so `loosen` makes of a rule's own patterns one
that it does know, and that finds something wherever they do, and seldom elsewhere.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa


class Look(NamedTuple):
    """A look at one text for one sign of a kind of evidence, and what a text must hold for it.

    `find` answers with the sign, else None; it finds nothing in a text in which no `cues`, patterns
    of the Rust `regex` crate, are found.
    """

    find: Callable[[str], str | None]
    cues: tuple[str, ...]


# One piece of a pattern: an escape, a class, the opening of a look-around or of any other group, a repeat.
_PIECE = re.compile(r"\\.|\[(?:\\.|[^\\\]])+\]|\(\?<?[=!]|\(\?[a-z]*:|\{\d+(?:,\d*)?\}|.", re.S)
_INLINE_FLAGS = re.compile(r"^\(\?[ims]+\)")
_IN_CLASS = re.compile(r"\\.|[\[&~]")  # escapes, and signs that only Rust takes for more than themselves
_SURROGATE = re.compile("[\ud800-\udfff]")
_LOOK_AROUND = ("(?=", "(?!", "(?<=", "(?<!")

# The two engines disagree beyond ASCII only: there a cue takes every character for every kind.
_OTHERS = "\u0080-\U0010ffff"
_ASCII_KINDS = {
    r"\w": "0-9A-Za-z_",
    r"\d": "0-9",
    r"\s": r"\t-\r\x1c-\x20",
    r"\W": r"\x00-/:-@\[-\^`\{-\x7f",
    r"\S": r"\x00-\x08\x0e-\x1b!-\x7f",
}
_CASES_OF_I = "iI\u0130\u0131"  # Python's re.I adds a dot above and takes the dot away


def loosen(*patterns: re.Pattern[str], times: int = 1) -> str:
    r"""A Rust pattern that is found in every text in which one of `patterns` is found `times` times.

    Look-around and word boundaries are left out, repeats have no upper bound, and outside ASCII any
    character may be a letter, a digit, a space or none of these.

    >>> loosen(re.compile(r"(?<!\w)\$\d{1,40}(?! m)$"), re.compile("[a-z]{3,5}", re.I))
    '(?:\\$[0-9\x80-\U0010ffff]{1,}(?m:$))|(?i:[a-zİı]{3,})'
    >>> loosen(re.compile("(?m)^- "), times=2)
    '(?:(?:(?m:^- ))(?s:.)*?){2}'
    """
    loose = "|".join(f"(?{_flags(pattern)}:{_loosened(pattern)})" for pattern in patterns)
    return loose if times == 1 else f"(?:(?:{loose})(?s:.)*?){{{times}}}"


def look_for(*patterns: re.Pattern[str]) -> Look:
    """Look for the first of `patterns` that is found; its match is the sign.

    >>> look_for(re.compile("b+"), re.compile("a")).find("abba")
    'bb'
    """

    def find(text: str) -> str | None:
        match = next(filter(None, (pattern.search(text) for pattern in patterns)), None)
        return match.group() if match else None

    return Look(find, (loosen(*patterns),))


def first_sign(looks: Sequence[Look], text: str) -> str | None:
    """The sign that the first of `looks` to find one finds, else None."""
    for find, _ in looks:
        sign = find(text)
        if sign is not None:
            return sign
    return None


def utf8_column(texts: Sequence[str]) -> pl.Series:
    """`texts` as polars can hold them: half a surrogate pair becomes U+FFFD, which is the same to a cue."""
    try:
        return pl.Series(texts, dtype=pl.String)
    except UnicodeEncodeError:
        return pl.Series([_SURROGATE.sub("\ufffd", text) for text in texts], dtype=pl.String)


def arrow_column(texts: Sequence[str]) -> pa.LargeStringArray:
    """`texts` as Arrow can hold them, as in `utf8_column`."""
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        return pa.array(utf8_column(texts).to_list(), pa.large_string())


def rows_with(column: pl.Series, cues: Sequence[str]) -> list[int]:
    """The rows of `column` in which one of `cues` is found, in order."""
    found = column.str.contains(cues[0])
    for cue in cues[1:]:
        found |= column.str.contains(cue)
    rows: list[int] = found.arg_true().to_list()
    return rows


def _flags(pattern: re.Pattern[str]) -> str:
    return "".join(letter for letter, flag in (("i", re.I), ("m", re.M), ("s", re.S)) if pattern.flags & flag)


def _loosened(pattern: re.Pattern[str]) -> str:
    pieces: list[str] = []
    depth, look_around = 0, 0  # brackets open, and their number at the one that opened a look-around
    for piece in _PIECE.findall(_INLINE_FLAGS.sub("", pattern.pattern)):
        if piece.startswith("("):
            depth += 1
            if piece in _LOOK_AROUND and not look_around:
                look_around = depth
        if not look_around:
            pieces.append(_loose_piece(piece, bool(pattern.flags & re.I)))
        if piece == ")":
            look_around = 0 if look_around == depth else look_around
            depth -= 1
    return "".join(pieces)


def _loose_piece(piece: str, any_case: bool) -> str:
    match piece:
        case r"\b" | r"\B":
            return ""
        case r"\Z":
            return r"\z"
        case "$":
            return "(?m:$)"  # Python's $ also stands before a last line break
        case "i" | "I" if any_case:
            return f"[{_CASES_OF_I}]"
    if piece in _ASCII_KINDS:
        return f"[{_ASCII_KINDS[piece]}{_OTHERS}]"
    if piece.startswith("[") and len(piece) > 1:
        return _loose_class(piece, any_case)
    if piece.startswith("{") and len(piece) > 1:
        return re.sub(r",\d+", ",", piece)
    return piece


def _loose_class(piece: str, any_case: bool) -> str:
    """A class that holds all that `piece` does; what a negated one names may only become less."""
    negated = piece.startswith("[^")
    others = "" if negated else _OTHERS

    def widened(match: re.Match[str]) -> str:
        sign = match.group()
        if sign in _ASCII_KINDS:
            return _ASCII_KINDS[sign] + others
        return sign if sign.startswith("\\") else f"\\{sign}"

    body = _IN_CLASS.sub(widened, piece[1:-1])
    return f"[{body}{_CASES_OF_I[2:] if any_case and not negated else ''}]"
