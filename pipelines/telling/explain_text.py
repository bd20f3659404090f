"""`speechmill explain-text`: each rule's score and verdict for one text, by the code that filters millions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from filters.speakable import RULES as KINDS
from pipelines.options import Options
from pipelines.row import ROW, Row, user_turns
from pipelines.rules import (
    AnswerRule,
    BenchmarkRule,
    Filter,
    LanguageRule,
    LengthRule,
    PrivateRule,
    SecondsRule,
    SpeakableRule,
    SymbolShareRule,
)  # fmt: skip
from pipelines.steps.score import score
from pipelines.verdicts import rejects, verdicts_of

# Every rule that looks at a row alone, with its default threshold.
ALL = Filter(
    rules=(
        PrivateRule(), SpeakableRule(), SymbolShareRule(), LengthRule(), SecondsRule(), LanguageRule(),
        AnswerRule(speakable=True),
    )
)  # fmt: skip
_MOST_TOKENS = 10**9  # one text may cost what it costs


@dataclass(frozen=True)
class Verdict:
    """What one rule says of a text."""

    rule: str
    score: str  # what it decides by
    reject: str | None  # None: kept


def explain(text: str, answer: str | None, options: Filter) -> list[Verdict]:
    """Return the verdict of each rule, in the recipe's order; speakable tells all kinds it finds evidence of."""
    messages = [{"role": "user", "content": text}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    row: Row = dict.fromkeys(ROW.names) | {"source": "text", "messages": messages, "spoken": []}
    table = score(pa.Table.from_pylist([row], schema=ROW), options, _MOST_TOKENS)
    return verdicts(table, options)


def verdicts(table: pa.Table, options: Filter) -> list[Verdict]:
    """Return the verdict of each rule, in the recipe's order, on a scored row.

    Args:
        table: of one row, with the columns that `score` writes.
    """
    scores = pl.from_arrow(table.select([n for n in table.column_names if n not in ("messages", "spoken")]))
    assert isinstance(scores, pl.DataFrame), "a table becomes a frame"
    (values,) = scores.to_dicts()
    if values["duplicate_key"] is None:
        return [
            Verdict("too_long", f"{values['length']} tokens, too many to be scored", rejects(scores, options.rules)[0])
        ]
    said = [text for _, text in user_turns(table["messages"][0].as_py())]
    return [Verdict(rule.rule, *_judged(rule, scores, values, said)) for rule in options.rules]


def _judged(rule: Options, scores: pl.DataFrame, values: dict[str, Any], said: Sequence[str]) -> tuple[str, str | None]:
    if isinstance(rule, BenchmarkRule) or not verdicts_of(rule):
        return "compares rows: needs a run", None
    return "; ".join(_scores_of(rule, values, said)), rejects(scores, [rule])[0]


def _scores_of(rule: Options, values: dict[str, Any], said: Sequence[str]) -> Iterator[str]:
    match rule:
        case PrivateRule():
            yield values["private"] or "nothing found"
        case SpeakableRule():
            looked = ((kind, find(text)) for text in said for kind, find in KINDS.items())
            found = [f"{kind}: {evidence!r}" for kind, evidence in looked if evidence is not None]
            yield from found or ["no evidence of any kind"]
        case SymbolShareRule(below=below):
            yield f"{values['symbol_share']:.3f} (below {below:g})"
        case LengthRule(below=below, vocabulary=vocabulary):
            yield f"{values['length']} tokens of {vocabulary} (below {below})"
        case SecondsRule(below=below):
            yield f"{values['predicted_seconds']:.1f} s (below {below:g})"
        case LanguageRule(above=above):
            yield f"{values['language']}, English with {values['english']:.3f} (above {above:g})"
        case AnswerRule(repeats_below=below):
            if values["answer_repeats"] is None:
                yield "no answer given"
                return
            yield values["answer_flaw"] or "no flaw"
            yield f"repeats {values['answer_repeats']:.2f} (below {below:g})"
            if rule.speakable:
                yield f"unspeakable: {values['answer_unspeakable'] or 'no'}"
