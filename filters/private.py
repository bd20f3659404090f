"""Evidence: private data. E-mail addresses, telephone and payment card numbers, IP addresses.

The answer is the kind alone, never what was found: rejects are kept and read, and must not spread
what was dropped. Only ASCII digits count. Nothing is looked up: whether a number is in use is unknown.
"""

import re
from collections.abc import Callable, Sequence
from ipaddress import AddressValueError, IPv6Address
from itertools import pairwise
from typing import TypeVar

import polars as pl

_Evidence = TypeVar("_Evidence")

_EMAIL = re.compile(r"@(?<=[\w.+%-]@)(?<!\bgit@)(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@])")

# Seven digits or more, with what may stand between them: whatever is a card or a telephone number is in one.
_RUN = re.compile(r"[0-9](?:[ ().\-/]{0,3}[0-9]){6,}+")

# Payment cards: 13 to 19 digits that begin as an issuer's do (ISO/IEC 7812), in one run or in groups.
_CARD = re.compile(
    r"(?<![\w.,$€£+-])(?:[2-6]\d{12,18}|[2-6]\d{3}(?:([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|([ -])\d{6}\2\d{4,5}"
    r"|([ -])\d{3}\3\d{3}\3\d{3}))(?!\w|-\d| \d{4}|[.,]\d)",
    re.ASCII,
)
_ISSUER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d\d|2(?:2(?:2[1-9]|[3-9]\d)|[3-6]\d\d|7(?:[01]\d|20)))\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11,16}|35\d{14,17}"
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12,15}|62\d{14,17}|(?:50|5[6-9]|6[37])\d{11,17}",
    re.ASCII,
)

# What stands neither before nor after a number that is part of nothing else; an extension (x12) may follow.
_FREE = r"(?<![\w.,/$€£¥#+*-])"
_END = r"(?![A-Zac-wyz_%]|x\D|\d|[-:+*=][\w(]|[.,]\d)"
# Telephone numbers whose shape alone tells: ITU-T E.123 international; North American 3-3-4;
# British and other numbers with a trunk 0; French pairs. With spaces only, no other number is near.
_INTERNATIONAL = re.compile(r"(?<![\w+)])(?<![\d)] )\+[1-9](?:[ .()-]{0,2}\d){7,14}+" + _END, re.ASCII)
_SHAPES = (
    r"(?:1[ .-]?)?\(\d{3}\)[ .-]?\d{3}[ .-]\d{4}|(?:1-)?\d{3}-\d{3}-\d{4}|(?:1\.)?[2-9]\d\d\.\d{3}\.\d{4}"
    r"|\(0\d{2,4}\)[ -]?\d{3,4}[ -]?\d{3,4}|0[1-9]\d{1,3}(?:-\d{3,4}-\d{3,4}|[/-]\d{5,8})"
    r"|0[1-9](?:([.-])\d\d)(?:\1\d\d){3}(?!\1)"
)
_SPACED = r"(?:1 )?[2-9]\d\d [2-9]\d\d \d{4}|0[1-9]\d{1,3} (?:\d{3,4} \d{3,4}|\d{5,8})|0[1-9](?: \d\d){4}"
_NATIONAL = re.compile(rf"{_FREE}(?:{_SHAPES}){_END}|{_FREE}(?<!\d )(?:{_SPACED})(?! \d){_END}", re.ASCII)
# These digits are a telephone number only after a word that says so.
_BARE = re.compile(
    rf"(?<![\w.,$€£¥-])(?:\d{{10,11}}|\d{{3}}-\d{{4}}|\d{{5}} \d{{5,6}}|\d{{3,4}}[ -]\d{{3}}[ -]\d{{4}}){_END}",
    re.ASCII,
)
_PHONE_WORD = re.compile(
    r"\b(?:call(?:s|ed|ing)?|(?:tele|cell)?phones?|tel|cell (?:number|phone)|cell(?=:)|mobile|whats?app"
    r"|dial(?:l?ed|l?ing)?|sms|fax|(?:text|ring|reach|contact) (?:me|us|him|her|them|message)"
    r"|(?:my|your|his|her|our|their)(?: \w+)? number)\b[^\d\n]{0,35}$",
    re.ASCII | re.IGNORECASE,
)
_OTHER_NUMBER = re.compile(
    r"\b(?:isbn|issn|order|invoice|serial|part|model|ticket|tracking)(?: (?:number|no|id|is|was))*[ .:#]*$",
    re.IGNORECASE,
)

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = re.compile(rf"(?<![\w.])(?<![A-Za-z]-)(?:{_OCTET}\.){{3}}{_OCTET}(?!\w|-[A-Za-z]|\.\w)", re.ASCII)
_VERSION = re.compile(
    r"(?:\bversions?\b[^?!\n]{0,20}|(?:\b(?:v|ver|release|build|firmware|update|section|chapter|clause)|§)[.:]?\s?)$",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_IPV6 = re.compile(r"(?<![\w:.])(?=[a-fA-F:]*[0-9])[0-9A-Fa-f:]{4,38}(?:[0-9A-Fa-f]|::)(?!\w|:\w)", re.ASCII)
_WIDE_GROUP = re.compile(r"[0-9A-Fa-f]{3,4}:[0-9A-Fa-f:]")  # what no slice ([1::2]), time of day or C++ name has

# One of these is in whatever a rule above finds.
_CUE = "@|" + "|".join(pattern.pattern.replace("}+", "}") for pattern in (_RUN, _DOTTED, _WIDE_GROUP))


def find_private(text: str) -> str | None:
    """The kind of private data in `text`: "email", "card", "phone" or "ip"; None if there is none.

    >>> find_private("Was it 555-123 = 432 in 2019-2020, at 10:30:15, for $1,234,567?")
    >>> find_private("Is ISBN 978-0-306-40615-7 for version 1.2.3.4? Ask @bob, or dial 911.")
    >>> find_private("Write to jane.doe@mail.org today")
    'email'
    >>> find_private("Is (555) 123-4567 his number?")
    'phone'
    >>> find_private("Charge 4111 1111 1111 1111")
    'card'
    >>> find_private("Why can't I ping 192.168.0.17?")
    'ip'
    """
    if "@" in text and _EMAIL.search(text):
        return "email"
    for run in _RUN.finditer(text):
        part = (text, max(0, run.start() - 2), run.end() + 8)  # with the signs before it and what follows
        if any(_is_card(match[0]) for match in _CARD.finditer(*part)):
            return "card"
        if any(map(_is_international, _INTERNATIONAL.finditer(*part))) or any(
            map(_is_phone, _NATIONAL.finditer(*part))
        ):
            return "phone"
        if any(_PHONE_WORD.search(text, max(0, bare.start() - 60), bare.start()) for bare in _BARE.finditer(*part)):
            return "phone"
    return "ip" if _has_ip(text) else None


def private_data(texts: Sequence[str]) -> list[str | None]:
    """`find_private` of each text, in order; a text without a cue costs a fraction of a microsecond.

    >>> private_data(["What is rain?", "Call 020 7946 0958", "My number is 12"])
    [None, 'phone', None]
    """
    return find_where(texts, _CUE, find_private)


def find_where(texts: Sequence[str], cue: str, find: Callable[[str], _Evidence | None]) -> list[_Evidence | None]:
    """`find` of the texts that match `cue` (the syntax of Rust's regex), None for the others.

    >>> find_where(["a1", "b", "2"], "[0-9]", str.isdigit)
    [False, None, True]
    """
    matched = utf8_column(texts).str.contains(cue)
    return [find(text) if candidate else None for text, candidate in zip(texts, matched, strict=True)]


def utf8_column(texts: Sequence[str]) -> pl.Series:
    """`texts` as polars holds them: lone surrogates, which have no UTF-8, become "?".

    >>> utf8_column(["a", "b\\ud800"]).to_list()
    ['a', 'b?']
    """
    try:
        return pl.Series(texts, dtype=pl.String)
    except UnicodeEncodeError:
        return pl.Series([text.encode("utf-8", "replace").decode() for text in texts], dtype=pl.String)


def _is_card(number: str) -> bool:
    """Is it of an issuer, and does its check digit hold (Luhn, ISO/IEC 7812-1 annex B)?"""
    digits = number.replace(" ", "").replace("-", "")
    if not _ISSUER.fullmatch(digits):
        return False
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0


def _is_international(match: re.Match[str]) -> bool:
    """In groups, or long: a run of fewer than ten digits may be a plain number with its sign."""
    return len(match[0]) > 10 or not match[0][1:].isdigit()


def _is_phone(match: re.Match[str]) -> bool:
    """Neither some other number by the words before it, nor a sequence such as 01 02 03 04 05."""
    groups = [int(group) for group in re.findall(r"\d+", match[0])]
    counts_on = len(groups) > 2 and len({b - a for a, b in pairwise(groups)}) == 1
    return not counts_on and not _OTHER_NUMBER.search(match.string, max(0, match.start() - 40), match.start())


def _has_ip(text: str) -> bool:
    if _DOTTED.search(text):
        for match in _IPV4.finditer(text):
            if not _VERSION.search(text, max(0, match.start() - 30), match.start()):
                return True
    return _WIDE_GROUP.search(text) is not None and any(_is_ipv6(match[0]) for match in _IPV6.finditer(text))


def _is_ipv6(candidate: str) -> bool:
    if not _WIDE_GROUP.search(candidate):
        return False
    try:
        IPv6Address(candidate)
    except AddressValueError:
        return False
    return True
