"""The rules of `filter`: what each rejects and by which threshold. Their verdicts are in `steps/filter`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from pipelines.options import Options, Source, nearest


class PrivateRule(Options):
    """Reject prompts that hold private data: e-mail addresses, telephone and card numbers, IP addresses."""

    rule: Literal["private"] = "private"


class SpeakableRule(Options):
    """Reject prompts that nobody can say aloud: URLs, code, LaTeX, tables, lists, markup, symbols ..."""

    rule: Literal["speakable"] = "speakable"


class SymbolShareRule(Options):
    """Reject prompts with too many characters that are no letter, digit, space or common punctuation."""

    rule: Literal["symbol_share"] = "symbol_share"
    below: float = Field(0.1, gt=0, le=1, description="keep prompts with a smaller share of such characters than this")


class LengthRule(Options):
    """Reject prompts of too many BPE tokens (the paper: fewer than 64 of GPT-4o's)."""

    rule: Literal["length"] = "length"
    below: int = Field(64, ge=1, description="keep user messages of fewer BPE tokens than this")
    vocabulary: Literal["gpt2", "o200k_base"] = Field(
        "gpt2",
        description="whose tokens; gpt2 is bundled, tiktoken fetches o200k_base (or finds it in TIKTOKEN_CACHE_DIR)",
    )


class SecondsRule(Options):
    """Reject prompts that take too long to say, as predicted from their letters and numbers."""

    rule: Literal["seconds"] = "seconds"
    below: float = Field(20.0, gt=0, description="keep user messages of fewer predicted seconds than this")


class LanguageRule(Options):
    """Reject prompts that are not English with enough probability (the paper: > 0.8)."""

    rule: Literal["language"] = "language"
    above: float = Field(0.8, ge=0, lt=1, description="keep rows whose probability of English is above this")


class AnswerRule(Options):
    """Reject rows by their answers: empty, boilerplate, the prompt again, or (for speech out) unspeakable."""

    rule: Literal["answer"] = "answer"
    empty: bool = Field(True, description="reject answers without a letter or digit")
    boilerplate: bool = Field(True, description='reject answers that say "As an AI language model" and the like')
    repeats_below: float = Field(
        0.8,
        gt=0,
        le=1,
        description="keep answers of which less than this share is the prompt again; 1 keeps nearly all",
    )
    speakable: bool = Field(
        False, description="reject answers that nobody can say aloud, for those who train speech out"
    )


class BenchmarkRule(Options):
    """Reject prompts that benchmarks ask, as written or as spoken; writes decontamination.json."""

    rule: Literal["benchmark"] = "benchmark"
    benchmarks: tuple[Source, ...] = Field(min_length=1, description="as sources: files (path) or datasets (hf)")
    missing: Literal["error", "skip"] = Field(
        "error", description="a benchmark that cannot be read: stop, or go on without it and say so"
    )


class DuplicateRule(Options):
    """Reject rows whose normalised user messages an earlier kept row has (by source order, then index)."""

    rule: Literal["duplicate"] = "duplicate"


class NearDuplicateRule(Options):
    """Reject rows that resemble a kept row (first by source order, then id): shingles of 5 letters, MinHash."""

    rule: Literal["near_duplicate"] = "near_duplicate"
    jaccard: float = Field(0.8, ge=0.7, le=1, description="reject at this Jaccard similarity of shingles, or more")


_Rule = (
    PrivateRule | SpeakableRule | SymbolShareRule | LengthRule | SecondsRule | LanguageRule
    | AnswerRule | BenchmarkRule | DuplicateRule | NearDuplicateRule
)  # fmt: skip
Rule = Annotated[_Rule, Field(discriminator="rule")]
RULES: dict[str, type[Options]] = {model.model_fields["rule"].default: model for model in _Rule.__args__}
_R = TypeVar("_R", bound=Options)
_LAST = ("duplicate", "near_duplicate")  # a row may lose only to a row that is kept


def _rule(value: Any) -> Any:
    """Accept `speakable` and `length: {below: 64}` for a rule."""
    if isinstance(value, str):
        value = {value: {}}
    if isinstance(value, dict) and "rule" not in value:
        if len(value) != 1:
            raise ValueError(f"a rule is one name with its options, not {sorted(value)}")
        ((name, options),) = value.items()
        value = {**(options or {}), "rule": name}
    if isinstance(value, dict) and value["rule"] not in RULES:
        raise ValueError(f"rule {value['rule']!r} is unknown; {nearest(str(value['rule']), list(RULES))}")
    return value


class Filter(Options):
    """Rows -> rows that can be spoken. The first rule that a row breaks names its reject."""

    strip_markers: bool = Field(True, description="remove chat-template markers from user messages first")
    rules: tuple[Annotated[Rule, BeforeValidator(_rule)], ...] = Field(
        (SpeakableRule(), LengthRule(), LanguageRule(), DuplicateRule()), description="in order"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Filter:
        names = [rule.rule for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError("each rule stands once in the list")
        last = [name for name in _LAST if name in names]
        if names[len(names) - len(last) :] != last:
            raise ValueError(f"{' and '.join(last)} must end the list: a row may lose only to a row that is kept")
        return self

    def find(self, rule: type[_R]) -> _R | None:
        """Return the rule of a kind; None where the list has none."""
        return next((r for r in self.rules if isinstance(r, rule)), None)
