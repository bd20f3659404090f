"""What each rule of `filter` says of a row: expressions over the columns that `score` wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import polars as pl

from pipelines.options import Options
from pipelines.row import KINDED, reason_of
from pipelines.rules import (
    AnswerRule,
    BenchmarkRule,
    LanguageRule,
    LengthRule,
    PrivateRule,
    SecondsRule,
    SpeakableRule,
    SymbolShareRule,
)  # fmt: skip

SCORES = (
    "length", "predicted_seconds", "language", "english", "symbol_share", "unspeakable", "private", "answer_flaw",
    "answer_repeats", "answer_unspeakable", "duplicate_key",
)  # fmt: skip


class Verdict(NamedTuple):
    """One way to break a rule."""

    broken: pl.Expr  # bool, null where there is nothing to judge
    reject: pl.Expr  # "filter.<rule>:<detail>"


def _said(rule: str, *detail: pl.Expr | str) -> pl.Expr:
    return pl.concat_str(pl.lit(f"filter.{rule}:"), *detail)


def _number(column: str, digits: int) -> pl.Expr:
    return pl.col(column).cast(pl.Float64).round(digits).cast(pl.String)


def _present(rule: str, column: str) -> Verdict:
    return Verdict(pl.col(column).is_not_null(), _said(rule, column))


def _length(rule: LengthRule) -> Iterator[Verdict]:
    yield Verdict(pl.col("length") >= rule.below, _said("length", pl.col("length").cast(pl.String)))


def _symbol_share(rule: SymbolShareRule) -> Iterator[Verdict]:
    yield Verdict(pl.col("symbol_share") >= rule.below, _said("symbol_share", _number("symbol_share", 3)))


def _seconds(rule: SecondsRule) -> Iterator[Verdict]:
    yield Verdict(pl.col("predicted_seconds") >= rule.below, _said("seconds", _number("predicted_seconds", 1)))


def _language(rule: LanguageRule) -> Iterator[Verdict]:
    detail = _said("language", "language", pl.lit(" english="), _number("english", 3))
    yield Verdict(pl.col("english") <= rule.above, detail)


def _answer(rule: AnswerRule) -> Iterator[Verdict]:
    flaw = pl.col("answer_flaw")
    if rule.empty:
        yield Verdict(flaw == "empty", _said("answer", flaw))
    if rule.boilerplate:
        yield Verdict(flaw.str.starts_with("boilerplate"), _said("answer", flaw))
    repeats = _said("answer", pl.lit("repeats:"), _number("answer_repeats", 2))
    yield Verdict(pl.col("answer_repeats") >= rule.repeats_below, repeats)
    if rule.speakable:
        said = _said("answer", pl.lit("unspeakable:"), "answer_unspeakable")
        yield Verdict(pl.col("answer_unspeakable").is_not_null(), said)


_VERDICTS: dict[type[Options], Callable[..., Iterator[Verdict]]] = {
    PrivateRule: lambda rule: iter([_present("private", "private")]),
    SpeakableRule: lambda rule: iter([_present("speakable", "unspeakable")]),
    SymbolShareRule: _symbol_share,
    LengthRule: _length,
    SecondsRule: _seconds,
    LanguageRule: _language,
    AnswerRule: _answer,
    BenchmarkRule: lambda rule: iter([_present("benchmark", "benchmark")]),
}
_UNSCORED = Verdict(pl.col("duplicate_key").is_null(), _said("too_long", pl.col("length").cast(pl.String)))


def verdicts_of(rule: Options) -> list[Verdict]:
    """Return the ways to break a rule; none for a rule that compares rows."""
    judge = _VERDICTS.get(type(rule))
    return list(judge(rule)) if judge else []


def rejects(scores: pl.DataFrame, rules: Sequence[Options]) -> pl.Series:
    """Return a column: null for rows that no rule on single rows rejects, or the first reject."""
    verdicts = [verdict for rule in rules for verdict in verdicts_of(rule)]
    said = [pl.when(verdict.broken).then(verdict.reject) for verdict in [*verdicts, _UNSCORED]]
    return scores.select(reject=pl.coalesce(*said, pl.lit(None, pl.String)))["reject"]


def kept(scores: pl.DataFrame, rules: Sequence[Options]) -> pl.Series:
    """Return whether `rejects` is null, without making the texts."""
    broken = [verdict.broken for rule in rules for verdict in verdicts_of(rule)]
    return scores.select(kept=~pl.any_horizontal(*broken, _UNSCORED.broken).fill_null(False))["kept"]


def columns_of(rules: Sequence[Options]) -> list[str]:
    """Return the scores by which `kept` decides."""
    verdicts = [*(verdict for rule in rules for verdict in verdicts_of(rule)), _UNSCORED]
    names = {name for verdict in verdicts for name in verdict.broken.meta.root_names()}
    return [name for name in SCORES if name in names]


def reason_column() -> pl.Expr:
    """Return the reason of each `reject`, as `row.reason_of` tells it."""
    rule, kind = pl.col("reject").str.extract("^([^:]*)"), pl.col("reject").str.extract("^[^:]*(:[^:]*)").fill_null(":")
    return pl.when(rule.is_in(sorted(KINDED))).then(rule + kind).otherwise(rule)


def count_reasons(rejected: pl.Series) -> dict[str, int]:
    """Return how many rejects there are of each reason, as `row.reason_of` tells it, by reason."""
    return dict(sorted(Counter(map(reason_of, rejected.to_list())).items()))
