"""Language models in a pass: loaded once in a worker, what a unit took of them, and whose fault a failure is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from answers.asking import AskingError
from answers.llm import Answer, Llm, NoAnswer, Question
from answers.options import CHANGES, LlmOptions
from pipelines.errors import RunError, UserError
from pipelines.graph import Job
from pipelines.recipe import Recipe


class Asked:
    """A model that one unit asks, and what that took."""

    def __init__(self, llm: Llm) -> None:
        self._llm = llm
        self._before = dict(llm.usage)

    @property
    def tries(self) -> int:
        """Return how often a question may be asked, each time with another seed."""
        return self._llm.options.tries

    @property
    def usage(self) -> Mapping[str, float]:
        """Return what the unit has taken so far: requests, tokens, seconds, cost."""
        return {name: amount - self._before[name] for name, amount in self._llm.usage.items()}

    def answer_all(
        self, task: Question, inputs: Sequence[Mapping[str, Any]], first_try: Sequence[int] = ()
    ) -> list[Answer | NoAnswer]:
        """Return the answers in order, as `Llm.answer_all` does."""
        return self._llm.answer_all(task, inputs, first_try)


@contextmanager
def asking(job: Job, name: str) -> Iterator[Asked]:
    """Open the recipe's model of a name for a unit; its share of what the server allows is that of one worker.

    Raises UserError for options that are not right, RunError where the server or a ceiling stops the run.
    """
    options = job.recipe.llms[name]
    try:
        llm = _loaded(json.dumps(asdict(options)), job.recipe.run_path / "answers" / "llms" / name, job.workers)
    except AskingError as error:
        raise UserError(f"llms.{name}: {error}") from error
    try:
        yield Asked(llm)
    except AskingError as error:
        raise RunError(f"llms.{name}: {error}") from error


@lru_cache(maxsize=8)  # models of a recipe, and the shares of passes with fewer units than workers
def _loaded(options: str, folder: Path, share: int) -> Llm:
    return Llm(LlmOptions(**json.loads(options)), folder, share)


def changes_of(recipe: Recipe, name: str, template: str | None) -> dict[str, Any]:
    """Return what changes the answers of a recipe's model: its options, and the digest of the request's template."""
    options = asdict(recipe.llms[name])
    made = {"llm": {option: options[option] for option in CHANGES}}
    if template is None:
        return made
    from answers.templates import find_request  # loads Jinja2, for recipes that use it

    return {**made, "template": find_request(template).digest}


def generated(turn: int, task: str, original: str | None, answer: Answer) -> dict[str, Any]:
    """Return what a row notes of a message that a model wrote.

    Args:
        turn: the message's position in the row.
        original: what stood there before.
    """
    return {
        "turn": turn,
        "task": task,
        "original": original,
        "model": answer.model,
        "template": answer.template,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "tries": answer.tries,
    }
