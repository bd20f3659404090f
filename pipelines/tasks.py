"""The kinds of pair that a row can become, and how each is written for training.

Eligibility is a function of a few numbers of the row; rendering gives the columns of the dataset.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.row import GENERATED, MESSAGES, Message, Row, user_turns
from quantize.run_lengths import format_runs
from quantize.sound_string import MOST_CODES, format_sound

# Asked before the sound; each in words alone, because a special token for transcription cost the
# original 11 to 15 MMLU points (arXiv 2410.15316, table 6).
TRANSCRIPTION_INSTRUCTIONS = (
    "Please write out, word for word, what this person says:",
    "Listen to the recording and put it into writing:",
    "What exactly was said here? Give the text:",
    "Take this dictation:",
    "Give me the written form of this spoken message:",
    "I recorded something; note down the words you hear:",
    "Convert the following speech into a transcript:",
    "Type up the voice message below:",
    "Repeat in writing what the speaker tells you:",
    "Which words are spoken in this clip? Write them down:",
)

# One row of a dataset. A superset of the columns that Ichigo published (index, tokens, text_prompt,
# answer, length, prompt, conversations), in their types. docs/data.md explains each.
PAIR = pa.schema(
    [
        ("index", pa.int64()),
        ("id", pa.string()),
        ("task", pa.string()),
        ("conversations", MESSAGES),
        ("prompt", pa.string()),
        ("text_prompt", pa.string()),
        ("answer", pa.string()),
        ("tokens", pa.list_(pa.int64())),
        ("length", pa.int64()),
        ("source", pa.string()),
        ("license", pa.string()),
        ("voice", pa.string()),
        ("tts", pa.string()),
        ("tokenizer", pa.string()),
        ("seconds", pa.float64()),
        ("inaudible", pa.string()),
        ("degraded", pa.string()),
        ("generated", pa.list_(GENERATED)),
    ]
)


# What a mixture's files may hold: these, or those that the mixture names.
COLUMNS = (*PAIR.names, "text")
ALL_COLUMNS = PAIR.append(pa.field("text", pa.string()))  # the sound string, of the task `sound`


@dataclass(frozen=True)
class Shape:
    """What decides which tasks a row may serve."""

    exchanges: int
    answered: bool
    inaudible: bool
    degraded: bool = False

    @property
    def clean(self) -> bool:
        """Whether it is speech that nothing was done to but what augments every row."""
        return not (self.inaudible or self.degraded)


@dataclass(frozen=True)
class Writing:
    """How pairs are written: the seed of what they draw, whether sounds have run lengths, how much of chats is text."""

    seed: int
    run_lengths: bool = False
    written_turns: float = 0.0

    def sound(self, tokens: list[int]) -> str:
        """Return the sound string of an utterance, of whichever tokenizer."""
        return format_runs(tokens, MOST_CODES) if self.run_lengths else format_sound(tokens, MOST_CODES)


@dataclass(frozen=True)
class Task:
    """A kind of pair: which rows may serve it, and its conversation and columns."""

    suits: Callable[[Shape], bool]
    render: Callable[[Row, Writing], dict[str, Any]]


def _sounds(row: Row) -> dict[int, list[int]]:
    """Return the sound tokens of each spoken user turn (several utterances of one turn are joined)."""
    sounds: dict[int, list[int]] = {}
    for utterance in row["spoken"]:
        sounds.setdefault(utterance["turn"], []).extend(utterance["tokens"])
    return sounds


def _spoken_chat(row: Row, writing: Writing, written: Collection[int] = ()) -> list[dict[str, str]]:
    """Return the messages with user turns as their sounds; system, assistant and what is `written` stay text."""
    sounds = _sounds(row)
    return [
        {**message, "content": writing.sound(sounds[turn])}
        if message["role"] == "user" and turn not in written
        else message
        for turn, message in enumerate(row["messages"])
    ]


def written_turns(seed: int, row_id: str, messages: Sequence[Message], inaudible: str | None, share: float) -> set[int]:
    """Return the positions of the user turns of a chat that stay text: each is drawn, and one at least is spoken.

    Of n turns that is a share of `share - share**n / n`. What nobody can hear and its repeat stay sounds.

    Args:
        inaudible: as the row says it, JSON.
    """
    if not share:
        return set()
    users = [turn for turn, message in enumerate(messages) if message["role"] == "user"]
    unheard = json.loads(inaudible)["turn"] if inaudible else None
    draws = {
        turn: draw_number(f"{seed}/written/{row_id}/{turn}") / 2**64
        for turn in users
        if unheard is None or turn not in (unheard, unheard + 2)
    }
    written = {turn for turn, draw in draws.items() if draw < share}
    if len(written) == len(users):
        written.remove(max(written, key=draws.__getitem__))
    return written


def draw_number(said: str) -> int:
    """Return 64 bits that depend on what is said, and on nothing else."""
    return int.from_bytes(hashlib.blake2b(said.encode(), digest_size=8).digest())


def _single(row: Row, writing: Writing, conversations: list[dict[str, str]], answer: str) -> dict[str, Any]:
    """Return the columns of a pair with one sound."""
    ((turn, text),) = user_turns(row["messages"])
    tokens = _sounds(row)[turn]
    return {
        "conversations": conversations,
        "prompt": writing.sound(tokens),
        "text_prompt": text,
        "answer": answer,
        "tokens": tokens,
        "seconds": sum(utterance["seconds"] for utterance in row["spoken"]),
    }


def _speech_instruction(row: Row, writing: Writing) -> dict[str, Any]:
    return _single(row, writing, _spoken_chat(row, writing), row["messages"][-1]["content"])


def _transcription(row: Row, writing: Writing) -> dict[str, Any]:
    ((turn, text),) = user_turns(row["messages"])
    number = draw_number(f"{writing.seed}/transcription/{row['id']}")
    instruction = TRANSCRIPTION_INSTRUCTIONS[number % len(TRANSCRIPTION_INSTRUCTIONS)]
    question = f"{instruction} {writing.sound(_sounds(row)[turn])}"
    return _single(row, writing, [{"role": "user", "content": question}, {"role": "assistant", "content": text}], text)


def _text_only(row: Row, writing: Writing) -> dict[str, Any]:
    ((_, text),) = user_turns(row["messages"])
    return {
        "conversations": row["messages"],
        "text_prompt": text,
        "answer": row["messages"][-1]["content"],
        "voice": None,
        "tts": None,
        "tokenizer": None,
    }


def _chat(row: Row, writing: Writing) -> dict[str, Any]:
    chat, inaudible = row["messages"], row["inaudible"]
    written = written_turns(writing.seed, row["id"], chat, inaudible, writing.written_turns)
    return {"conversations": _spoken_chat(row, writing, written)}


def _inaudible(row: Row, writing: Writing) -> dict[str, Any]:
    pair = _single(row, writing, _spoken_chat(row, writing), row["messages"][-1]["content"])
    return {**pair, "text_prompt": None, "length": None}


def _sound(row: Row, writing: Writing) -> dict[str, Any]:
    """Return the columns of pretraining (Ichigo's stage 1): the sound alone, and its text where that is known."""
    tokens = [token for utterance in row["spoken"] for token in utterance["tokens"]]
    return {
        "text": writing.sound(tokens),
        "text_prompt": next((text for _, text in user_turns(row["messages"])), None),
        "tokens": tokens,
        "seconds": sum(utterance["seconds"] for utterance in row["spoken"]),
    }


TASKS: dict[str, Task] = {
    "speech_instruction": Task(lambda s: s.exchanges == 1 and s.answered and s.clean, _speech_instruction),
    "transcription": Task(lambda s: s.exchanges == 1 and s.clean, _transcription),
    "text_only": Task(lambda s: s.exchanges == 1 and s.answered and s.clean, _text_only),
    "two_turn": Task(lambda s: s.exchanges == 2 and s.answered and s.clean, _chat),
    "four_turn": Task(lambda s: s.exchanges == 4 and s.answered and s.clean, _chat),
    "inaudible": Task(lambda s: s.inaudible and s.exchanges == 1, _inaudible),
    "interrupted": Task(lambda s: s.inaudible and s.exchanges > 1, _chat),
    "degraded": Task(lambda s: s.degraded and not s.inaudible and s.answered, _speech_instruction),
    "sound": Task(lambda s: s.exchanges <= 1 and s.clean, _sound),
}
REFUSALS = ("inaudible", "interrupted")  # tasks that teach to refuse: mix.max_refusal_share bounds them together


def render(row: Row, task: str, index: int, writing: Writing) -> dict[str, Any]:
    """Return one row of a dataset (of ALL_COLUMNS; absent ones are null)."""
    first = row["spoken"][0]
    return {
        "index": index,
        "id": f"{row['id']}/{task}",
        "task": task,
        "length": row["length"],
        "source": row["source"],
        "license": row["license"],
        "voice": first["voice"],
        "tts": first["tts"],
        "tokenizer": first["tokenizer"],
        "inaudible": row["inaudible"],
        "degraded": row["degraded"],
        "generated": row["generated"],
        **TASKS[task].render(row, writing),
    }
