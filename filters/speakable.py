"""Can a person say this prompt aloud and be understood? One verdict, with its reason.

The kinds of evidence were named by users of the original data set (its issues 5, 37 and 54); how
well each is found is measured in docs/filters.md. Each kind is one function of one text in the
file of its evidence; this file only orders them, the surest first.
"""

from collections.abc import Callable

from filters.code import find_code
from filters.context import find_dangling, find_missing_context
from filters.formulas import find_formula, find_latex
from filters.layout import LAYOUT_RULES
from filters.links import find_url
from filters.scaffold import find_scaffold
from filters.signs import find_caps, find_digits, find_symbols

RULES: dict[str, Callable[[str], str | None]] = {
    "url": find_url,
    **LAYOUT_RULES,
    "latex": find_latex,
    "code": find_code,
    "formula": find_formula,
    "scaffold": find_scaffold,
    "digits": find_digits,
    "symbols": find_symbols,
    "caps": find_caps,
    "dangling": find_dangling,
    "missing_context": find_missing_context,
}

# A prompt this long takes five minutes to say. Evidence is looked for in its first half and its
# last, which bounds the time that any text can cost.
_MOST_CHARS = 8_192
_EVIDENCE_CHARS = 40


def unspeakable(text: str) -> str | None:
    """None if `text` can be said aloud and understood, else "kind" or "kind:short evidence".

    The kind is a key of `RULES`; the evidence is at most 40 characters of the text, on one line.

    >>> unspeakable("What is the capital of Peru?")
    >>> unspeakable("I paid $5 for 1/2 of it, i.e. 50%: is that a C++ or a C# price, AC/DC-wise?")
    >>> unspeakable("Summarize https://example.com")
    'url:https://'
    >>> unspeakable("What is the main idea of the passage above?")
    'missing_context:passage above'
    """
    if len(text) > _MOST_CHARS:
        text = text[: _MOST_CHARS // 2] + "\n" + text[-_MOST_CHARS // 2 :]
    for kind, find in RULES.items():
        evidence = find(text)
        if evidence is not None:
            short = " ".join(evidence.split())[:_EVIDENCE_CHARS]
            return f"{kind}:{short}" if short else kind
    return None
