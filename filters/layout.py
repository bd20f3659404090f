"""Evidence: layout. Markup, tables, lists and answer options mean something to the eye only."""

import re
from collections.abc import Callable

from filters.screen import Look, loosen

_TAG = re.compile(
    r"</[a-zA-Z]\w{0,15} ?>|<[a-zA-Z][\w-]{0,15}(?:\s[^<>\n]{0,200})?/>"
    r"|<[a-zA-Z]\w{0,15}\s+[\w-]{1,30}=[^<>\n]{0,200}>"
    r"|<(?:a|b|i|u|s|p|br|hr|li|ul|ol|td|tr|th|em|div|img|pre|sub|sup|span|html|head|body|code"
    r"|table|"
    r"strong|script|style|title|input|form|button|h[1-6])>|<!--|<!DOCTYPE|<\?xml",
    re.I,
)
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|nbsp|apos|#\d{1,6}|#x[0-9a-f]{1,6});", re.I)
_MARKDOWN = re.compile(
    r"\*\*[^*\n]{1,200}\*\*|(?m:^[ \t]{0,8}#{1,6} \S)|\]\([^)\s]{1,300}\)|(?<!\w)!\["
    r"|(?<!\w)__\w[^_\n]{0,80}__(?!\w)"
    r"|(?m:^[ \t]{0,8}(?:={3,}|-{3,}|\*{3,}|~{3,})[ \t]{0,8}$)|\[\d{1,3}\](?!\w)|(?m:^> \S)"
)
_JSON = re.compile(r"\{\s{0,20}\"[^\"\n]{1,60}\"\s?:|\"\w{1,60}\"\s?:\s?[\"\[{\d]")
_ROLE_TAG = re.compile(r"<\|\w{1,30}\|>")
_TABLE_RULE = re.compile(r"(?m)^[ \t]{0,8}\|?[ :]{0,3}-{3,}[ :]{0,3}[|+]")
_CSV_LINE = re.compile(r"(?m)^[\w.\"'-]{1,60}(?:[,;\t] ?[\w.\"'-]{0,60}){1,30}[,;]?[ \t]{0,8}$")
_BULLET_LINE = re.compile(
    r"(?m)^[ \t]{0,20}(?:[-*+•‣◦·▪●–—]|\(?\d{1,2}(?:[.):]| [-–])|\(?[a-zA-Z][.)]|[ivx]{1,4}[.)])[ \t]{1,8}\S"
)
_INLINE_ROMAN = re.compile(r"(?:^|[\s(])i\) .{1,200}[\s(]ii\) ", re.S)
_INLINE_BULLET = re.compile(r"[•‣◦▪●]\s?\w")
_INLINE_NUMBER = re.compile(r"(?:^|\s)[(#]?([123])[.)]\s?[^\W\d]")
_OPTION = re.compile(r"(?:^|[\s(\[,;])(\(?)([A-Ea-e])([).:\]-])(?=\s?[\w\"'$-])", re.M)
_OPTION_LABEL = re.compile(
    r"(?:^|[.?!\"')\]] )[ \t]{0,8}(?:-|the )?(?:answer |possible )?(?:options|choices|answers)(?: are)?\s?:",
    re.M | re.I,
)
_GAP = re.compile(r"[\w)] {2,}(?=\S)")
_LINES_OF_TABLE = 3


def find_markup(text: str) -> str | None:
    """The first HTML, XML, Markdown or JSON mark in `text`, else None.

    >>> find_markup("Is 3 < 5 and 7 > 2? Rank #1 *wins* R&D.")
    >>> find_markup('She said: "yes", and then: "no".')
    >>> find_markup("Explain <b>bold</b> text")
    '<b>'
    >>> find_markup('Parse {"a": 1}')
    '{"a":'
    """
    if match := _TAG.search(text) or _ENTITY.search(text) or _JSON.search(text):
        return match.group()
    if any(sign in text for sign in "*#]_=->~") and (match := _MARKDOWN.search(text)):
        return match.group()
    return None


def find_table(text: str) -> str | None:
    """A sign of a table in `text`, else None: a ruled or piped row, tabs, or lines of cells.

    >>> find_table("Name one thing, two things, three things")
    >>> find_table("Is it yes | no?")
    >>> find_table("name,age\\nann,3\\nbob,4")
    'name,age'
    >>> find_table("| a | b |")
    '| a | b |'
    """
    if "|" in text:
        text = _ROLE_TAG.sub("", text)  # a scaffold's, not a cell's
        piped = [line for line in text.splitlines() if line.count("|") > 1]
        if len(piped) > 1 or any(line.count("|") > 2 for line in piped):
            return piped[0]
        if match := _TABLE_RULE.search(text):
            return match.group()
    if "\n" not in text:
        return None
    lines = text.splitlines()
    for split in ([line for line in lines if " | " in line], [line for line in lines if _GAP.search(line)]):
        if len(split) >= _LINES_OF_TABLE:
            return split[0]
    tabbed = [line for line in lines if "\t" in line.strip()]
    if len(tabbed) > 1:
        return tabbed[0]
    if "," in text or ";" in text:
        cells = [m.group() for m in _CSV_LINE.finditer(text) if len(m.group().split()) < 8]
        if len(cells) > 1 and len({c.count(",") + c.count(";") for c in cells}) == 1:
            return cells[0]
    return None


def find_list(text: str) -> str | None:
    """The first item of a list in `text`, else None: two bulleted lines, two bullets in a line, or 1. 2. 3. in one.

    >>> find_list("Give me 3 tips. 1 for sleep, 2 for food.")
    >>> find_list("- What is a dash?")
    >>> find_list("Sort these:\\n- pears\\n- apples")
    '- p'
    >>> find_list("Rank 1. tea 2. milk 3. juice")
    '1. 2. 3.'
    """
    for items in (_BULLET_LINE.findall(text), _INLINE_BULLET.findall(text)):
        if len(items) > 1:
            return str(items[0]).strip()
    if "ii)" in text and _INLINE_ROMAN.search(text):
        return "i) ii)"
    return "1. 2. 3." if _in_order(_INLINE_NUMBER.findall(text), "123") else None


def find_options(text: str) -> str | None:
    """The letters of a multiple-choice list in `text`, else None.

    >>> find_options("Is vitamin C or vitamin B better for me? I got an A. Be brief.")
    >>> find_options("What are my options: stay or go?")
    >>> find_options("Is ice (A) hot or (B) cold?")
    'A) B)'
    >>> find_options("Pick one: A. tea B. milk C. juice")
    'A. B. C.'
    """
    if match := _OPTION_LABEL.search(text):
        return match.group()
    found = [(letter, sign) for _, letter, sign in _OPTION.findall(text)]
    for sign, letters in ((")", "AB"), ("]", "AB"), (":", "AB"), (".", "ABC"), ("-", "abc")):
        for wanted in (letters, letters.lower()):
            if _in_order([letter for letter, s in found if s == sign], wanted):
                return " ".join(letter + sign for letter in wanted)
    return None


def _in_order(found: list[str], wanted: str) -> bool:
    """Whether the letters of `wanted` follow each other in `found`, others between them or not."""
    rest = iter(found)
    return all(letter in rest for letter in wanted)


LAYOUT_RULES: dict[str, Callable[[str], str | None]] = {
    "markup": find_markup,
    "table": find_table,
    "options": find_options,
    "list": find_list,
}
_LIST_CUES = (
    rf"ii\)|{loosen(_INLINE_NUMBER, times=3)}",
    loosen(_BULLET_LINE, times=2),
    loosen(_INLINE_BULLET, times=2),
)
LAYOUT_LOOKS: dict[str, tuple[Look, ...]] = {
    "markup": (Look(find_markup, (loosen(_TAG, _ENTITY, _JSON, _MARKDOWN),)),),
    "table": (Look(find_table, (rf"[|\t]|{loosen(_CSV_LINE, times=2)}|{loosen(_GAP, times=_LINES_OF_TABLE)}",)),),
    "options": (Look(find_options, (f"{loosen(_OPTION_LABEL)}|{loosen(_OPTION, times=2)}",)),),
    "list": (Look(find_list, _LIST_CUES),),
}
