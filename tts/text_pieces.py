"""A text that is too long for an engine, in pieces at sentences, else at clauses, else at words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tts.sentences import split_sentences

Fits = Callable[[str], bool]
_CLAUSE = re.compile(r"(?<=[,;:–—])\s+")


def split_text(text: str, fits: Fits) -> list[str]:
    """Return pieces that fit, as much in each as can be; joined by spaces they are `text`, whitespace collapsed.

    A text that fits is one piece, unchanged. A word that does not fit is cut between characters, so nothing is lost.
    Raises ValueError if one character does not fit.
    """
    return _pieces(text, fits, (split_sentences, _CLAUSE.split, str.split, lambda word: _cut(word, fits)))


def _pieces(text: str, fits: Fits, ways: Sequence[Callable[[str], list[str]]]) -> list[str]:
    if fits(text):
        return [text]
    pieces: list[str] = []
    for unit in ways[0](text):
        for part in _pieces(unit, fits, ways[1:]) if len(ways) > 1 else [unit]:
            if pieces and fits(f"{pieces[-1]} {part}"):
                pieces[-1] += f" {part}"
            else:
                pieces.append(part)
    return pieces


def _cut(word: str, fits: Fits) -> list[str]:
    """Return a word's longest beginning that fits, and so on."""
    parts = []
    while word:
        length = next((n for n in range(len(word), 0, -1) if fits(word[:n])), 0)
        if not length:
            raise ValueError(f"not even {word[0]!r} fits")
        parts.append(word[:length])
        word = word[length:]
    return parts
