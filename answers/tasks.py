"""What language models are asked to write, as distilabel's tasks: the chat for one row, a verdict on what comes back.

Each is a `Question` of `answers.llm`, which asks them; with a model of their own they work in a pipeline of distilabel
too. Importing this takes over a second.
"""

import hashlib
import logging
import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from pydantic import Field, PrivateAttr

from answers.checks import answer_flaw, rewrite_flaw
from answers.distilabel_parts import OpenAILLM, Task
from answers.refusal_check import refusal_flaw
from answers.templates import GIVEN, Chat, Request, find_request

logging.getLogger("distilabel.step").setLevel(logging.ERROR)  # each would warn that it is in no pipeline

_IN_QUOTES = re.compile(r"\A\s*(?:\"([^\"]+)\"|“([^“”]+)”|'([^']*(?:\w'\w[^']*)*)')\s*\Z")


def unwrapped(text: str) -> str:
    """Return what a model wrote without the quotation marks around all of it, and without blanks at its ends.

    >>> unwrapped(' "Sorry, what?" ')
    'Sorry, what?'
    >>> unwrapped('"No" and "yes"')
    '"No" and "yes"'
    """
    found = _IN_QUOTES.match(text)
    return next(filter(None, found.groups()), text).strip() if found else text.strip()


def _nobody() -> OpenAILLM:
    return OpenAILLM(model="asked through answers.llm", base_url="http://127.0.0.1", api_key="none")


class Written(Task):  # type: ignore[misc]  # distilabel has no types
    """A task whose request is a template. `file` names it: a bundled one, or a path that ends in .j2.

    Raises ValueError for a template that is not there or uses variables that the task does not give.
    """

    llm: Any = Field(default_factory=_nobody)
    file: str
    _request: Request = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Read and check the template."""
        super().model_post_init(context)
        self._request = find_request(self.file)
        self._request.check(self.inputs)

    @property
    def template(self) -> str:
        """Return what rows say of the request: its file's name and the beginning of its digest."""
        return self._request.name

    @property
    def outputs(self) -> list[str]:
        """Return the columns that it writes in a pipeline of distilabel."""
        return ["text", "flaw"]

    def format_input(self, input: Mapping[str, Any]) -> Chat:
        """Return the messages for one input."""
        return self._request.render({name: input[name] for name in self.inputs})

    def format_output(self, output: str | None, input: Mapping[str, Any] | None = None) -> dict[str, str | None]:
        """Return the text that counts, and what is wrong with it: "kind:detail", or None."""
        assert input is not None, "what is wrong depends on what was asked"
        text = unwrapped(output or "")
        return {"text": text, "flaw": self.flaw(text, input)}

    @abstractmethod
    def flaw(self, text: str, input: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a text; None for a good one."""


class Refusal(Written):
    """A reply to what could not be understood. Input: as `draw_refusal_request` returns it."""

    file: str = "refusal-1"

    @property
    def inputs(self) -> list[str]:
        """Return the variables of its template."""
        return list(GIVEN["refusal"])

    def flaw(self, text: str, input: Mapping[str, Any]) -> str | None:
        """Return why a reply is not one of somebody who understood nothing."""
        return refusal_flaw(text, input["most_words"])


class Rewrite(Written):
    """A prompt in words that can be said. Input: text, and problem: what cannot be said as it stands."""

    file: str = "rewrite-1"

    @property
    def inputs(self) -> list[str]:
        """Return the variables of its template."""
        return list(GIVEN["rewrite"])

    def flaw(self, text: str, input: Mapping[str, Any]) -> str | None:
        """Return why a prompt does not mean the same, or cannot be said."""
        return rewrite_flaw(text, input["text"])


class Rewording(Written):
    """An answer in other words. Input: prompt, answer, before (the exchanges so far: prompt, answer), languages."""

    how: str

    @property
    def inputs(self) -> list[str]:
        """Return the variables of its template."""
        return list(GIVEN[self.how])

    def flaw(self, text: str, input: Mapping[str, Any]) -> str | None:
        """Return what is wrong with an answer to the prompt."""
        return answer_flaw(text, input["prompt"], input["languages"], self.how)


class Own(Task):  # type: ignore[misc]
    """An answer of the model's own. Input: messages (the conversation so far, the prompt last), languages."""

    llm: Any = Field(default_factory=_nobody)
    system: str | None = None

    @property
    def template(self) -> str:
        """Return what rows say of the request: own, with the digest of the system message where there is one."""
        if self.system is None:
            return "own"
        return f"own@{hashlib.blake2b(self.system.encode(), digest_size=16).hexdigest()[:12]}"

    @property
    def inputs(self) -> list[str]:
        """Return what it reads."""
        return ["messages", "languages"]

    @property
    def outputs(self) -> list[str]:
        """Return the columns that it writes in a pipeline of distilabel."""
        return ["text", "flaw"]

    def format_input(self, input: Mapping[str, Any]) -> Chat:
        """Return the conversation, after the system message unless it has one of its own."""
        chat = [{"role": m["role"], "content": m["content"]} for m in input["messages"]]
        if self.system is None or chat[0]["role"] == "system":
            return chat
        return [{"role": "system", "content": self.system}, *chat]

    def format_output(self, output: str | None, input: Mapping[str, Any] | None = None) -> dict[str, str | None]:
        """Return the answer, and what is wrong with it: "kind:detail", or None."""
        assert input is not None, "what is wrong depends on what was asked"
        text = (output or "").strip()
        return {"text": text, "flaw": answer_flaw(text, input["messages"][-1]["content"], input["languages"], "own")}
