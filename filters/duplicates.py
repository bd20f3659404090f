"""Exact duplicates: a key that is equal for prompts that differ only in how they are typed."""

import hashlib
import re
import unicodedata

_KEY_BYTES = 16

# NFKC would turn 5² into 52 and 2½ into 21⁄2; apostrophes and minus signs have many shapes.
_BEFORE_NFKC = {
    **{ord(sign): f"^{digit}" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{ord(sign): f" {sign}" for sign in "¼½¾⅓⅔⅛⅜⅝⅞"},
    **dict.fromkeys(map(ord, "'’‘`´ʼ"), None),
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"), None),
    **dict.fromkeys(map(ord, "‐‑‒–—―−"), "-"),
}

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
    folded = unicodedata.normalize("NFKC", text.translate(_BEFORE_NFKC)).casefold()
    return " ".join(_MEANING.findall(_THOUSANDS.sub("", folded)))


def duplicate_key(text: str) -> str:
    """32 hexadecimal digits (blake2b, 128 bits) of the normalised text.

    Two different normalised texts among n share a key with probability about n² / 2**129:
    5e-26 for 6 million prompts. Texts with nothing but punctuation all have one key.

    >>> duplicate_key("What is AI?") == duplicate_key(" what is ai ")
    True
    >>> duplicate_key("What is 3 + 4?") == duplicate_key("What is 3 * 4?")
    False
    """
    normalised = normalise(text).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(normalised, digest_size=_KEY_BYTES).hexdigest()
