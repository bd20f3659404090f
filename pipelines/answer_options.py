"""The options of what language models write: prompts made speakable, answers, refusals."""

from __future__ import annotations

from typing import Literal

from answers.options import LlmOptions
from pydantic import ConfigDict, Field

from pipelines.options import Options

LlmOptions.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]


class Rewrite(Options):
    """Prompts that are almost speakable, rewritten by a language model, where the rules then keep them."""

    llm: str = Field(description="which of `llms` writes")
    kinds: tuple[str, ...] = Field(
        (), description="reasons of `filter` that are worth it, such as speakable:list; none named: the usual ones"
    )
    template: str = Field("rewrite-1", description="the request: a bundled one, or a file of yours (.j2)")


class Answers(Options):
    """What becomes of the sources' answers: spoken style, or the words of the model that will be trained."""

    llm: str = Field(description="which of `llms` writes")
    how: Literal["spoken", "mend", "own"] = Field(
        description="spoken: each made short, plain and readable aloud; mend: only those like "
        '"As an AI language model", rewritten; own: every prompt answered anew'
    )
    template: str | None = Field(
        None, description="the request: a bundled one, or a file of yours (.j2); none: of `how`"
    )
    system: str | None = Field(None, description="how: own: a system message before each conversation, kept in no row")


class Refusals(Options):
    """Refusals asked of a language model, each for the sound it answers, as varied people would say them."""

    llm: str = Field(description="which of `llms` writes")
    template: str = Field("refusal-1", description="the request: a bundled one, or a file of yours (.j2)")
    most_repeats: int = Field(3, ge=1, description="how often one wording may stand in the data, case and marks apart")
