"""Records of any shape -> conversations: prompt/answer, Alpaca, ShareGPT, OpenAI messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.errors import UserError
from pipelines.options import AtMost, Exactly, Source, nearest

Messages = list[tuple[str, str]]  # role and text of each
Turns = Literal["first", "all"] | Exactly | AtMost

PROMPTS = ("prompt", "question", "instruction", "query", "text_prompt", "text", "input")
ANSWERS = ("answer", "response", "output", "completion", "chosen", "long_answer", "generation")
CHATS = ("messages", "conversations", "conversation")
ROLES = {
    "system": "system", "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
}  # fmt: skip


class BadRecord(ValueError):
    """A record that is no conversation; the message is its reason, "rule:detail"."""


@dataclass(frozen=True)
class Shape:
    """How a source's records hold their conversations.

    Attributes:
        said: for people, what was given or detected.
        pair: the columns of prompt and answer, where a record is no more than these.
    """

    said: str
    convert: Callable[[dict[str, Any]], Messages]
    pair: tuple[str, str] | None = None


def find_shape(source: Source, first: Mapping[str, Any]) -> Shape:
    """Return the shape that the recipe gives, or that a source's first records show.

    Args:
        first: a value of every column that they have.

    Raises UserError where a named column is absent or nothing fits, with the columns there are.
    """
    columns = list(first)
    named = (source.prompt, source.answer, source.system, *source.where, *source.where_not)
    for column in [c for c in named if c is not None]:
        if column not in first:
            raise UserError(f"source {source.name}: no column {column!r}; {nearest(column, columns)}")
    how = "given" if source.shape != "auto" or source.prompt else "detected"
    shape = source.shape if source.shape != "auto" else _detect(source, first)
    if shape in ("messages", "sharegpt"):
        column = _column(source, "chat", CHATS, columns)
        keys = ("from", "value") if shape == "sharegpt" else ("role", "content")
        return Shape(f"{how} {shape} in {column}", lambda record: _chat(record, column, *keys))
    if shape == "alpaca":
        output = next((column for column in ("output", "response") if column in first), None)
        return Shape(f"{how} alpaca: instruction + input -> {output}", lambda record: _alpaca(record, output))
    prompt = source.prompt or _column(source, "prompt", PROMPTS, columns)
    answer = source.answer
    if source.prompt is None:
        answer = next((column for column in ANSWERS if column in first and column != prompt), None)
    system = source.system
    said = f"{how} {f'{system} + ' if system else ''}{prompt} -> {answer or 'no answer'}"
    pair = (prompt, answer) if answer and not system else None
    return Shape(said, lambda record: _pair(record, prompt, answer, system), pair)


def _detect(source: Source, first: Mapping[str, Any]) -> str:
    for column in CHATS:
        if isinstance(turns := first.get(column), list):
            keys = set().union(*(turn for turn in turns if isinstance(turn, dict)))
            return "sharegpt" if keys >= {"from", "value"} else "messages"
    if source.prompt is None and "instruction" in first and {"output", "response"} & set(first):
        return "alpaca"
    return "prompt_answer"


def _column(source: Source, what: str, names: tuple[str, ...], columns: list[str]) -> str:
    for name in names:
        if name in columns:
            return name
    raise UserError(
        f"source {source.name}: no {what} column among {', '.join(columns) or 'no columns'}. "
        f"Name it in the recipe (prompt: ..., answer: ...) or give the shape."
    )


def _pair(record: dict[str, Any], prompt: str, answer: str | None, system: str | None) -> Messages:
    if prompt not in record:
        raise BadRecord(f"missing_column:{prompt}")
    messages = _exchange(_text(record[prompt], prompt), record.get(answer) if answer else None, answer)
    given = record.get(system) if system else None
    if given is None or not _text(given, system or "system").strip():
        return messages
    return [("system", given), *messages]


def _alpaca(record: dict[str, Any], answer: str | None) -> Messages:
    if "instruction" not in record:
        raise BadRecord("missing_column:instruction")
    instruction = _text(record["instruction"], "instruction")
    given = _text(record.get("input") or "", "input")
    prompt = f"{instruction}\n\n{given}" if given.strip() else instruction
    return _exchange(prompt, record.get(answer) if answer else None, answer)


def _exchange(prompt: str, answer: Any, column: str | None) -> Messages:
    """Return one exchange; of several answers the first, without one the prompt alone."""
    if isinstance(answer, list):
        answer = answer[0] if answer else None
    if answer is not None and _text(answer, column or "answer").strip():
        return [("user", prompt), ("assistant", answer)]
    return [("user", prompt)]


def _chat(record: dict[str, Any], column: str, role_key: str, text_key: str) -> Messages:
    if column not in record:
        raise BadRecord(f"missing_column:{column}")
    turns = record[column]
    if not isinstance(turns, list):
        raise BadRecord(f"wrong_type:{column} is {_type(turns)}, not a list")
    if not turns:
        raise BadRecord("empty_conversation")
    messages = []
    for turn in turns:
        if not isinstance(turn, dict):
            raise BadRecord(f"wrong_type:a message is {_type(turn)}, not an object")
        for key in (role_key, text_key):
            if key not in turn:
                raise BadRecord(f"missing_column:{column}[].{key}")
        role = _text(turn[role_key], role_key)
        if role.lower() not in ROLES:
            raise BadRecord(f"unknown_role:{role[:40]!a}")
        messages.append((ROLES[role.lower()], _content(turn[text_key], text_key)))
    return messages


def _content(value: Any, key: str) -> str:
    """Return a message's text; OpenAI's list of text parts is joined."""
    if isinstance(value, list) and value and all(isinstance(p, dict) and p.get("type") == "text" for p in value):
        return "".join(_text(part.get("text"), "text") for part in value)
    return _text(value, key)


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise BadRecord(f"wrong_type:{key} is {_type(value)}, not text")
    return value


def _type(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def checked(messages: Messages, turns: Turns, max_prompt_bytes: int) -> Messages:
    """Return the conversation to keep: cut at the border of an exchange where asked, and sound.

    Sound is: at most one system message, first; then user and assistant in turn; only a single
    prompt may go unanswered; no empty message; text that can be written as UTF-8. What is cut off need not be.
    Raises BadRecord.
    """
    start = 1 if messages[0][0] == "system" else 0
    most = 1 if turns == "first" else turns.at_most if isinstance(turns, AtMost) else None
    if most is not None and len(messages) - start > 2:
        messages = messages[: start + 2 * most]
        if len(messages) - start > 2 and messages[-1][0] == "user":  # the border is behind an answer
            messages = messages[:-1]
    if [role for role, _ in messages] not in ORDERLY:
        _check_order(messages, start)
    exchanges = (len(messages) - start + 1) // 2
    if isinstance(turns, Exactly) and exchanges != turns.exactly:
        raise BadRecord(f"exchanges:{exchanges}")
    _check_texts(messages, max_prompt_bytes)
    return messages


ORDERLY = (["user", "assistant"], ["user"])  # most are: seen without a look at each message


def _check_order(messages: Messages, start: int) -> None:
    expected, other = "user", "assistant"
    for position, (role, _) in enumerate(messages[start:], start):
        if role != expected:
            raise BadRecord(f"turn_order:message {position} is from {role}, not {expected}")
        expected, other = other, expected
    body = len(messages) - start
    if not body or (body % 2 and body > 1):
        raise BadRecord("turn_order:the last user message has no answer" if body else "turn_order:no user message")


def sound_exchange(prompt: Any, answer: Any, max_prompt_bytes: int) -> Messages | None:
    """Return a prompt and its answer as the conversation that `checked` would return; None where that needs a look."""
    if not isinstance(prompt, str) or not prompt or 4 * len(prompt) > max_prompt_bytes:  # a character has four at most
        return None
    if prompt.isspace() or "\0" in prompt:
        return None
    if answer is None:
        return [("user", prompt)]
    if not isinstance(answer, str) or not answer or answer.isspace() or "\0" in answer:
        return None
    return [("user", prompt), ("assistant", answer)]


EMPTY = {"user": "empty_prompt", "assistant": "empty_answer", "system": "empty_system"}


def _check_texts(messages: Messages, max_prompt_bytes: int) -> None:
    for role, text in messages:
        if "\0" in text:
            raise BadRecord(f"nul:at character {text.index(chr(0))}")
        try:
            size = len(text) if text.isascii() else len(text.encode())  # to ask whether it is ASCII costs nothing
        except UnicodeEncodeError as error:
            raise BadRecord(f"lone_surrogate:at character {error.start}") from error
        if role == "user" and size > max_prompt_bytes:
            raise BadRecord(f"prompt_too_large:{size} bytes, the limit is {max_prompt_bytes}")
        if not text or text.isspace():
            raise BadRecord(EMPTY[role])
