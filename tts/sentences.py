"""A text cut into sentences, at full stops that end one."""

import re

from tts.spoken_tables import ABBREVIATIONS, MAY_END, NUMBERED

# . ? or !, any closing quotes or brackets, a space, and what can begin a sentence.
_BOUNDARY = re.compile(r"""[.?!…]+["'”’)\]]*\s(?=["'“‘(\[¿¡]*[^\W_a-z])""")
_INITIALS = re.compile(r"[A-Z]\.|(?:[^\W\d_]\.){2,}")  # J. or U.S.
_LIST_NUMBER = re.compile(r"(?:\d{1,3}|[a-zA-Z])\.")

_NEVER_END = (frozenset(ABBREVIATIONS) | frozenset(NUMBERED) | {"v."}) - MAY_END - {"no.", "No."}


def split_sentences(text: str) -> list[str]:
    """Return the sentences of `text`; joined by spaces they are `text`, whitespace collapsed.

    Does not break after abbreviations (Dr.), initials (J. or U.S.), list numbers (1.), or where a
    lower-case word follows; decimals and file names hold no space and so cannot break.
    """
    flat = " ".join(text.split())
    sentences: list[str] = []
    start = 0
    for match in _BOUNDARY.finditer(flat):
        end = match.end() - 1
        if _ends_sentence(flat[start:end], flat[match.end()]):
            sentences.append(flat[start:end])
            start = match.end()
    if start < len(flat):
        sentences.append(flat[start:])
    return sentences


def _ends_sentence(sentence: str, next_char: str) -> bool:
    """Whether `sentence`, which closes with punctuation, may close there."""
    word = sentence.rsplit(" ", 1)[-1].lstrip("\"'“‘([")
    if word in MAY_END:
        return True
    if word in _NEVER_END or (word in ("No.", "no.") and next_char.isdigit()):
        return False
    if _INITIALS.fullmatch(word) and word != "I.":
        return False
    return not _LIST_NUMBER.fullmatch(sentence)
