"""Evidence: signs with no agreed sound. Symbols, long runs of digits, blocks of capitals."""

import re

from filters.screen import Look, loosen

# Arrows, box drawing, geometric shapes, dingbats, circled numbers, emoji, private use, controls.
_PICTURES = re.compile(
    "[\u2190-\u21ff\u2300-\u23ff\u2400-\u27bf\u27f0-\u297f\u2b00-\u2bff\u3200-\u33ff"
    "\u00af\u2020\u2021\u203b\u2042\u25a0-\u25ff\ufe0f\ufffd\ue000-\uf8ff"
    "\U0001d400-\U0001d7ff\U0001f000-\U0001faff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)
_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff](?<![μµ](?=[mgslFAVWM]))")
# A sign that is itself asked about: its name is what the ear would need. Those of a keyboard have one.
_ASKED = "§©®™±µ¶¬¦°"
_SUBJECT = re.compile(
    r"\b(?:do|does|is|the|symbol|sign|character|mark|type|of|what|an?|letter) ['\"“‘(]?"
    rf"[{_ASKED}]['\"”’)]?(?=\W)(?! ?\d)",
    re.I,
)
# A spoken form would say "less than three"; ":)" ends real prompts that are well otherwise.
_EMOTICON = re.compile(r"(?<!\S)(?<![\d=] )(?<!\s[nxyz] )(?:<3|\^_*\^|-_+-)(?=[\s.,?!]|\Z)")
_REPEATED = re.compile(r"[#~@^&%|\\<>]{2,}(?!\w*\+)|={2,}|\*{3,}|-{4,}|\.{8,}|[+]{3,}|->")
_ASCII_ART = re.compile(r"(?:[-=~^*_|\\/<>@+#.:;()\[\]{}]\s?){6,}")
_RARE = re.compile(r"[~^*_=<>|\\@{}\[\]&+#]")
_MIN_RARE = 4
_RARE_SHARE = 0.10
_LONG_WORD = re.compile(r"[!-~]{60}")

_DIGIT = re.compile(r"\d")
_DIGIT_RUN = re.compile(r"\d{8}\d*")
_ROUND = re.compile(r"[1-9]\d{0,3}0{6,}")
_GROUPED = re.compile(r"\b\d{3,4}(?:[ -]\d{3,4}){3,}\b")
_HEX_HINT = re.compile(r"0x|#|[0-9a-f]{8}|[0-9A-F]{8}-|[0-9A-F]{2}[: ][0-9A-F]{2}[: ]")
_HEX = re.compile(
    r"\b0x[0-9a-fA-F]{2,}|#[0-9a-fA-F]{6}\b|\b(?=[a-f]{0,20}\d)(?=\d{0,20}[a-f])[0-9a-f]{10,64}\b"
    r"|\b[0-9A-F]{2}(?:[: ][0-9A-F]{2}){4,}\b|\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-"
)
_NUMBERS = re.compile(r"(?<![\w.])(?:-?\d{1,9}(?:\.\d{1,9})?[,;\s]{1,3}){8,}-?\d")
_SERIAL = re.compile(r"\b(?=[A-Z0-9-]{0,20}\d)(?:[A-Z0-9]{4,8}-){2,}[A-Z0-9]{4,8}\b")

_CAPS_BLOCK = re.compile(r"\b[A-Z][A-Z']*(?:[ -][A-Z][A-Z']*){3,}\b")
_MIN_SHOUT_WORDS = 3
_MIN_SHOUT_LETTERS = 9


def find_symbols(text: str) -> str | None:
    """The first symbol in `text` with no agreed sound, else None.

    Emoji, arrows, box drawing, circled numbers, Greek letters (but not the micro sign of a unit),
    repeated or dense signs, unbroken runs of 60 signs, and a sign that is itself asked about.

    >>> find_symbols("I won $5, 50% of it at 20 °C in C++ & C#, didn't I?")
    >>> find_symbols("São Paulo’s café — “Beyoncé” … 5 μm")
    >>> find_symbols("Good morning 😀")
    '😀'
    >>> find_symbols("Is water → ice?")
    '→'
    >>> find_symbols("What does © mean?")
    'does ©'
    """
    if not text.isascii() and (match := _PICTURES.search(text) or _greek_sign(text) or _SUBJECT.search(text)):
        return match.group()
    if not text.isprintable() and (match := _PICTURES.search(text)):
        return repr(match.group())
    rare = _RARE.findall(text)
    if rare or "----" in text or "........" in text or "%%" in text:
        if match := _REPEATED.search(text) or _ASCII_ART.search(text) or _EMOTICON.search(text):
            return match.group()
        if len(rare) >= _MIN_RARE and len(rare) > _RARE_SHARE * len(text):
            return "".join(rare)
    word = _LONG_WORD.search(text)
    return word.group() if word else None


def _greek_sign(text: str) -> re.Match[str] | None:
    """The first Greek letter, unless most letters are: then it is Greek, and a matter of language."""
    if 2 * len(_GREEK.findall(text)) > sum(map(str.isalpha, text)):
        return None
    return _GREEK.search(text)


def find_digits(text: str) -> str | None:
    """The first long run of digits or hexadecimal digits in `text`, else None.

    Kept: round numbers, numbers of up to seven digits, numbers with commas, telephone numbers,
    and up to eight numbers in a row.

    >>> find_digits("Was 1984 written by 1949, and are there 10000000 copies or 1,234,567?")
    >>> find_digits("Add 3, 5, 7 and 9, then call 555-123-4567.")
    >>> find_digits("Which date is 1633049473?")
    '1633049473'
    >>> find_digits("What colour is #ff8800?")
    '#ff8800'
    """
    if not _DIGIT.search(text):  # "#c0ffee" has one, "#facade" may be a tag
        return None
    for run in _DIGIT_RUN.findall(text):
        if not _ROUND.fullmatch(run):
            return str(run)
    if match := (_HEX_HINT.search(text) and _HEX.search(text)) or _GROUPED.search(text) or _NUMBERS.search(text):
        return match.group()
    serial = _SERIAL.search(text)
    return serial.group() if serial else None


def find_caps(text: str) -> str | None:
    """A block of capitals in `text`, else None: four words in a row, or a text of nothing else.

    >>> find_caps("Did NASA, the FBI or the USA do it? I am SO happy, OK?")
    >>> find_caps("GDP of the UK")
    >>> find_caps("你能 提出 RPG 或 FPS 吗")
    >>> find_caps("TELL ME A STORY please")
    'TELL ME A STORY'
    >>> find_caps("WHAT IS PHOTOSYNTHESIS?")
    'WHAT IS PHOTOSYNTHESIS?'
    """
    for block in _CAPS_BLOCK.findall(text):
        if sum(map(str.isalpha, block)) >= _MIN_SHOUT_LETTERS:
            return str(block)
    if text.isupper() and len(text.split()) >= _MIN_SHOUT_WORDS:
        letters, capitals = sum(map(str.isalpha, text)), sum(map(str.isupper, text))
        if capitals >= _MIN_SHOUT_LETTERS and 2 * capitals > letters:  # Chinese has no case
            return text
    return None


SYMBOLS_LOOKS = (
    Look(
        find_symbols,
        (
            f"{loosen(_PICTURES, _GREEK, _REPEATED, _ASCII_ART, _LONG_WORD, _EMOTICON)}"
            f"|[{_ASKED}]|{loosen(_RARE, times=_MIN_RARE)}",
        ),
    ),
)
DIGITS_LOOKS = (Look(find_digits, (loosen(_DIGIT_RUN, _HEX, _GROUPED, _NUMBERS, _SERIAL),)),)
CAPS_LOOKS = (Look(find_caps, (rf"{loosen(_CAPS_BLOCK)}|\A[^a-z]*\z",)),)
