"""Exact duplicates: a key that is equal for prompts that differ only in how they are typed."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

_KEY_BYTES = 16

# NFKC would turn 5² into 52 and 2½ into 21⁄2; apostrophes and minus signs have many shapes.
_BEFORE_NFKC = {
    **{ord(sign): f"^{digit}" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{ord(sign): f" {sign}" for sign in "¼½¾⅓⅔⅛⅜⅝⅞"},
    **dict.fromkeys(map(ord, "'’‘`´ʼ"), None),
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"), None),
    **dict.fromkeys(map(ord, "‐‑‒–—―−"), "-"),
}
_SHAPED = re.compile("[" + "".join(map(chr, _BEFORE_NFKC)) + "]")

# What carries meaning, in order: a number with its inner marks (1.5, 10:30, 5!), a word with the
# marks that name a thing (c++, c#), a minus or point that opens a number or a word (-5, .net),
# a hyphen between digits, a parenthesis that touches arithmetic, and any other sign that is not
# mere punctuation. What no branch matches (punctuation, underscores, space) is folded away.
_MEANING = re.compile(
    r"\d+(?:[.,:]\d+)*!?"
    r"|[^\W\d_]+[+#]*"
    r"|(?<!\w)\.(?=\w)|(?<!\w)-(?=\s?\d)|(?<=\d)-(?=\d)"
    r"|(?<=[\d+*/^=-])[()]|[()](?=[\d+*/^=-])"
    r"|[^\w\s.,;:!?\"()\[\]{}\-“”„«»‹›…、。，！？；：¿¡·•]"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")

# The same rules for ASCII, as few passes over bytes (a test holds the two against each other): what
# `_MARKED` finds is put between spaces with its high bit set, so that one table can then make spaces
# of all other punctuation and clear the bit. It opens with one plain set, which `re` scans fast.
_SIGNS = rb"\x00-\x08\x0e-\x1b\x7f#$%&*+/<=>@\\^|~"
_MARKED = re.compile(
    rb"[0-9.()\-" + _SIGNS + rb"](?:"
    rb"(?<=[0-9])[0-9]*(?:[.,:][0-9]+)*!?"
    rb"|(?<=[a-z][+#])(?P<of_word>[+#]*)|(?<=[" + _SIGNS + rb"])"
    rb"|(?<=\.)(?<!\w\.)(?=\w)|(?<=-)(?:(?<!\w-)(?=\s?[0-9])|(?<=[0-9]-)(?=[0-9]))"
    rb"|(?<=[()])(?:(?<=[0-9+*/^=-].)|(?=[0-9+*/^=-])))"
)
_ASCII_THOUSANDS = re.compile(rb",(?<=[0-9],)(?=[0-9]{3}(?![0-9]))")
_LOWER = bytes.maketrans(bytes(range(65, 91)) + b"\x1c\x1d\x1e\x1f", bytes(range(97, 123)) + b"    ")
_APOSTROPHES = b"'`"
_HIGH = bytes(byte | 128 for byte in range(256))
_FOLDED = b'\t\n\v\f\r.,;:!?"()[]{}-_'
_BETWEEN = b"\xc1"  # two texts: no byte of one, marked or not, and to `_MARKED` as strange as the end of a text
_SPACE, _LINE_END = b" \n"
_UNMARKED = bytes(_SPACE if b in _FOLDED else _LINE_END if b in _BETWEEN else b & 127 for b in range(256))


def normalise(text: str) -> str:
    """`text` as the key sees it: NFKC, case folded, its meaningful pieces joined by one space.

    Case is folded, so "Polish" and "polish" are one. Accents are kept.

    >>> normalise("What is  AI ?") == normalise("what is ai")
    True
    >>> normalise("It's 1,000 km") == normalise("its 1000 km.")
    True
    >>> [normalise(t) for t in ("C#", "C++", "C", "-5", "5", "1.5", "15")]
    ['c#', 'c++', 'c', '- 5', '5', '1.5', '15']
    """
    return normalise_all([text])[0]


def _normalise_beyond_ascii(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_MEANING.findall(_THOUSANDS.sub("", folded)))


def _normalise_ascii(texts: Sequence[str]) -> list[str]:
    """Normalise ASCII texts, all of them as one line of bytes."""
    line = _BETWEEN.join([text.encode() for text in texts]).translate(_LOWER, _APOSTROPHES)
    line = _MARKED.sub(_mark, _ASCII_THOUSANDS.sub(b"", line)).translate(_UNMARKED)
    letters = np.frombuffer(b"\n" + line + b"\n", np.uint8)
    space, line_end = letters == _SPACE, letters == _LINE_END
    letters = letters[:-1][~(space[:-1] & (space | line_end)[1:])]  # of each run of spaces one is left,
    letters = letters[1:][~((letters[1:] == _SPACE) & (letters[:-1] == _LINE_END))]  # and none at the start
    result: list[str] = letters.tobytes().decode().split("\n")
    return result


def _mark(match: re.Match[bytes]) -> bytes:
    """Set the high bit of one meaningful piece; the marks of a word (c++) stay with the word."""
    marked = match[0].translate(_HIGH)
    return b" " + marked + b" " if match["of_word"] is None else marked + b" "


def normalise_all(texts: Sequence[str]) -> list[str]:
    """`normalise` of each text, in order.

    >>> normalise_all(["What is  AI ?", "C++!"])
    ['what is ai', 'c++']
    """
    shaped = [
        text if text.isascii() else _SHAPED.sub(lambda match: match[0].translate(_BEFORE_NFKC), text) for text in texts
    ]
    plain = iter(_normalise_ascii([text for text in shaped if text.isascii()]))
    return [next(plain) if text.isascii() else _normalise_beyond_ascii(text) for text in shaped]


def key_of(normalised: str) -> str:
    """32 hexadecimal digits (blake2b, 128 bits) of a text that `normalise` made.

    >>> key_of(normalise("What is AI?")) == duplicate_key("What is AI?")
    True
    """
    return hashlib.blake2b(normalised.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).hexdigest()


def duplicate_key(text: str) -> str:
    """32 hexadecimal digits (blake2b, 128 bits) of the normalised text.

    Two different normalised texts among n share a key with probability about n² / 2**129:
    5e-26 for 6 million prompts. Texts with nothing but punctuation all have one key.

    Rejected, where an earlier row has it:

    >>> duplicate_key("What is AI?") == duplicate_key(" what is ai ")
    True
    >>> duplicate_key("It’s 1,000 km - isn’t it?") == duplicate_key("its 1000 km, isnt it")
    True

    Kept beside each other:

    >>> duplicate_key("What is 3 + 4?") == duplicate_key("What is 3 * 4?")
    False
    >>> duplicate_key("Who made C?") == duplicate_key("Who made C++?")
    False
    """
    return key_of(normalise(text))
