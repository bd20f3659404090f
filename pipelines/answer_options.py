"""The options of what language models write: prompts made speakable, answers, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from answers.options import LlmOptions
from pipelines.options import Options, known

LlmOptions.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]


# Reasons of `filter` that are of one user message and its words, with what a model is told to be wrong; and those of
# them that words cannot mend: nobody says a URL, code or a table in words, nor what a prompt lacks.
PROBLEMS = {
    "speakable:url": "a web address", "speakable:markup": "markup", "speakable:table": "a table",
    "speakable:options": "a choice of lettered options", "speakable:list": "a list", "speakable:latex": "LaTeX",
    "speakable:code": "code", "speakable:formula": "a formula", "speakable:scaffold": "labels, or gaps to be filled in",
    "speakable:digits": "long rows of digits", "speakable:symbols": "symbols without a sound",
    "speakable:caps": "words in capitals", "speakable:dangling": "an end that leads nowhere",
    "speakable:missing_context": "it points to a text that is not there", "symbol_share": "too many signs",
    "length": "it is too long to be said in one go", "seconds": "it takes too long to say",
}  # fmt: skip
HOPELESS = ("url", "table", "code", "digits", "dangling", "missing_context")
USUAL = tuple(reason for reason in PROBLEMS if reason.removeprefix("speakable:") not in HOPELESS)


def _template_of(task: str) -> AfterValidator:
    """Return the check that a template is there, and uses only what its task gives it; paths become absolute."""

    def check(name: str) -> str:
        from answers.templates import GIVEN, find_request  # loads Jinja2, for who names a template

        find_request(name).check(GIVEN[task])
        return str(Path(name).absolute()) if name.endswith(".j2") else name

    return AfterValidator(check)


class Rewrite(Options):
    """Prompts that are almost speakable, rewritten by a language model, where the rules then keep them."""

    llm: str = Field(description="which of `llms` writes")
    kinds: tuple[Annotated[str, known("kind", tuple(PROBLEMS))], ...] = Field(
        USUAL, min_length=1, description="reasons of `filter` that are worth it"
    )
    template: Annotated[str, _template_of("rewrite")] = Field(
        "rewrite-1", description="the request: a bundled one, or a file of yours (.j2)"
    )


class Answers(Options):
    """What becomes of the sources' answers: spoken style, or the words of the model that will be trained."""

    llm: str = Field(description="which of `llms` writes")
    how: Literal["spoken", "mend", "own"] = Field(
        description="spoken: each made short, plain and readable aloud; mend: only those like "
        '"As an AI language model", rewritten; own: every prompt answered anew'
    )
    template: Annotated[str, _template_of("spoken")] | None = Field(
        None, description="how: spoken, mend: the request: a bundled one, or a file of yours (.j2); none: of `how`"
    )
    system: str | None = Field(None, description="how: own: a system message before each conversation, kept in no row")

    @model_validator(mode="after")
    def _fits(self) -> Answers:
        if self.how == "own" and self.template is not None:
            raise ValueError("template: how: own asks the prompts themselves; say what is wanted in `system`")
        if self.how != "own" and self.system is not None:
            raise ValueError(f"system: how: {self.how} asks by its template; name a file of your own there")
        return self

    @property
    def request(self) -> str | None:
        """The template; None for a model's own answers, which need none."""
        return None if self.how == "own" else self.template or f"{self.how}-1"


class Refusals(Options):
    """Refusals asked of a language model, each for the sound it answers, as varied people would say them."""

    llm: str = Field(description="which of `llms` writes")
    template: Annotated[str, _template_of("refusal")] = Field(
        "refusal-1", description="the request: a bundled one, or a file of yours (.j2)"
    )
    most_repeats: int = Field(3, ge=1, description="how often one wording may stand in the data, case and marks apart")
