"""Can a person say this prompt aloud and be understood? One verdict, with its reason.

The kinds of evidence were named by users of the original data set (its issues 5, 37 and 54); how
well each is found is measured in docs/filters.md. Each kind is one function of one text in the
file of its evidence; this file only orders them, the surest first.
"""

from collections.abc import Callable, Container, Sequence

from filters.code import CODE_LOOKS, find_code
from filters.context import CONTEXT_LOOKS, DANGLING_LOOKS, LATER_LOOKS, find_dangling, find_missing_context
from filters.formulas import FORMULA_LOOKS, LATEX_LOOKS, find_formula, find_latex
from filters.layout import LAYOUT_LOOKS, LAYOUT_RULES
from filters.links import URL_LOOKS, find_url
from filters.scaffold import SCAFFOLD_LOOKS, find_scaffold
from filters.screen import Look, rows_with, utf8_column
from filters.signs import CAPS_LOOKS, DIGITS_LOOKS, SYMBOLS_LOOKS, find_caps, find_digits, find_symbols

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

# Each rule as the looks that it consists of, in order, with what a text must hold for each.
LOOKS: dict[str, tuple[Look, ...]] = {
    "url": URL_LOOKS,
    **LAYOUT_LOOKS,
    "latex": LATEX_LOOKS,
    "code": CODE_LOOKS,
    "formula": FORMULA_LOOKS,
    "scaffold": SCAFFOLD_LOOKS,
    "digits": DIGITS_LOOKS,
    "symbols": SYMBOLS_LOOKS,
    "caps": CAPS_LOOKS,
    "dangling": DANGLING_LOOKS,
    "missing_context": CONTEXT_LOOKS,
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
    text = _bounded(text)
    for kind, find in RULES.items():
        evidence = find(text)
        if evidence is not None:
            return _verdict(kind, evidence)
    return None


def find_unspeakable(texts: Sequence[str], later: Container[int] = ()) -> list[str | None]:
    """`unspeakable` of each text, in order: ten times as fast on a column of thousands of prompts.

    Texts whose position is in `later` are a chat's second user message or one behind it: what such a
    text points back to stands before it, so no context is missing there, unless it is one to come.

    The engine of polars looks for the cues of each look in all texts, and Python looks at the few
    texts that hold one. The engine warms up anew in every call, for some 10 ms.

    >>> find_unspeakable(["What is rain?", "Who is bob@example.org?", "Translate this into French:"])
    [None, 'url:@example.o', 'dangling::']
    >>> find_unspeakable(["Is the first one in the list above cheaper?"] * 2, later={1})
    ['missing_context:list above', None]
    """
    texts = [_bounded(text) for text in texts]
    column = utf8_column(texts)
    verdicts: list[str | None] = [None] * len(texts)
    for kind, looks in LOOKS.items():
        for find, cues in looks:
            find_later = LATER_LOOKS.get(find, find)
            for row in rows_with(column, cues):
                look = find_later if row in later else find
                if verdicts[row] is None and (evidence := look(texts[row])) is not None:
                    verdicts[row] = _verdict(kind, evidence)
    return verdicts


def _bounded(text: str) -> str:
    """`text`, or its first half and its last as far as they are looked at."""
    if len(text) <= _MOST_CHARS:
        return text
    return text[: _MOST_CHARS // 2] + "\n" + text[-_MOST_CHARS // 2 :]


def _verdict(kind: str, evidence: str) -> str:
    short = " ".join(evidence.split())[:_EVIDENCE_CHARS]
    return f"{kind}:{short}" if short else kind
