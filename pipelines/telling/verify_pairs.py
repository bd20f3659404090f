"""What verify checks of the pairs themselves: order, ids, sounds that parse, columns that agree with the task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.recipe import Recipe
from pipelines.rowwise import read_rows
from pipelines.tasks import PAIR, TRANSCRIPTION_INSTRUCTIONS, written_turns
from quantize.run_lengths import parse_runs
from quantize.sound_string import MOST_CODES, START, parse_sound

CHATS = {"two_turn": 2, "four_turn": 4, "interrupted": 3}  # user turns, of interrupted ones at least
_NO_SOUND = ("prompt", "tokens", "seconds")


@dataclass(frozen=True)
class Pairs:
    """How a run's pairs must be: its recipe, and what `quantize` noted of its tokenizer."""

    recipe: Recipe
    sounds: Mapping[str, Any]

    def check(self, mixture: str, files: Iterable[Path], chosen: Sequence[tuple[str, str]]) -> Iterator[str | None]:
        """Yield for each pair of a mixture's files None, or what is wrong with it.

        Args:
            chosen: task and row's id of each pair, in order.
        """
        named = self.recipe.mix.mixtures[mixture].columns
        seen: set[str] = set()
        index = 0
        for path in files:
            for pair in read_rows(path):
                where = f"{mixture} {pair.get('id', f'pair {index}')}"
                if pair.get("id", index) in seen or pair.get("index", index) != index:
                    yield f"{where}: stands twice, or out of order"
                seen.add(pair.get("id", str(index)))
                task, row_id = chosen[index]
                index += 1
                try:
                    whole = named is None or set(PAIR.names) <= set(named)
                    wrong = self._wrong_with(pair) if whole else self._wrong_with_some(pair)
                    if wrong is None and task in CHATS and pair.get("conversations"):
                        wrong = self._wrong_chat(pair, task, row_id)
                except ValueError as error:
                    wrong = str(error)
                yield f"{where}: {wrong}" if wrong else None

    def wrong_tokens(self, tokens: list[int], seconds: float) -> str | None:
        """Return what is wrong with an utterance's tokens: resampling may move their number by one of 25 a second."""
        rate, n_codes = self.sounds["tokens_per_second"], self.sounds["n_codes"]
        expected, slack = math.floor(rate * seconds), max(1, rate // 25)
        dropped = self.sounds["mask_tokens"] and self.recipe.quantize.mask_code == "drop"
        if not (1 if dropped else expected - slack) <= len(tokens) <= expected + slack:
            return f"{len(tokens)} tokens for {seconds:.3f} s"
        return None if all(0 <= token < n_codes for token in tokens) else f"a token id out of 0..{n_codes - 1}"

    def _parse(self, sound: str) -> list[int]:
        return (parse_runs if self.recipe.export.run_lengths else parse_sound)(sound, MOST_CODES)

    def _wrong_with_some(self, pair: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a pair of a few columns. Raises ValueError for a sound that does not parse."""
        if pair.get("text") is not None and self._parse(pair["text"]) != pair.get("tokens", self._parse(pair["text"])):
            return "text and tokens differ"
        most = max((m.most_tokens or 0 for m in self.recipe.mix.mixtures.values()), default=0)
        if most and len(pair.get("tokens") or ()) > most:
            return f"{len(pair['tokens'])} tokens, more than most_tokens"
        return None

    def _wrong_chat(self, pair: Mapping[str, Any], task: str, row_id: str) -> str | None:
        """Return what is wrong with a chat. Raises ValueError for a user turn that should be a sound and is none."""
        chat, inaudible = pair["conversations"], pair.get("inaudible")
        start = chat[0]["role"] == "system"
        exchanges = (len(chat) - start) // 2
        if [message["role"] for message in chat[start:]] != ["user", "assistant"] * exchanges:
            return "user and assistant do not take turns"
        if task == "interrupted" and inaudible is None and "inaudible" in pair:
            return "nothing in it is inaudible"
        share = self.recipe.chats.written_turns
        if share and task == "interrupted" and inaudible is None:  # without that column, which may be text is unknown
            return None if any(is_sound(message["content"]) for message in chat) else "it has no sound"
        written = written_turns(self.recipe.seed, row_id, chat, inaudible, share)
        for turn, message in enumerate(chat):
            if message["role"] == "user" and turn not in written:
                self._parse(message["content"])
            elif is_sound(message["content"]):
                return f"message {turn} is a sound, where text belongs"
        return None

    def _wrong_with(self, pair: dict[str, Any]) -> str | None:
        """Return what is wrong with a pair. Raises ValueError for a sound that does not parse."""
        chat, task = pair["conversations"], pair["task"]
        if task == "sound":
            return "it has a conversation" if chat is not None else self.wrong_tokens(pair["tokens"], pair["seconds"])
        users = [m["content"] for m in chat if m["role"] == "user"]
        wanted = (
            max(3, len(users)) if task == "interrupted" else CHATS.get(task, 1)
        )  # the turn that is said again is one
        if chat[-1]["role"] != "assistant" or len(users) != wanted:
            return "the conversation has another shape than its task"
        if task in CHATS:
            nulls = ("text_prompt", "answer", *_NO_SOUND)
            return next((f"{column} is not null" for column in nulls if pair[column] is not None), None)
        if pair["answer"] != chat[-1]["content"]:
            return "answer is not the assistant's message"
        if task == "text_only":
            filled = any(pair[column] is not None for column in _NO_SOUND)
            return "it has sound" if filled or users != [pair["text_prompt"]] else None
        if self._parse(pair["prompt"]) != pair["tokens"]:
            return "prompt and tokens differ"
        if task == "transcription":
            instruction, _, sound = users[0].rpartition(" ")
            if instruction not in TRANSCRIPTION_INSTRUCTIONS or pair["answer"] != pair["text_prompt"]:
                return "the transcription is not its text, or its instruction is unknown"
        else:
            sound = users[0]
        if sound != pair["prompt"]:
            return "the user message is not the prompt"
        if self.recipe.tts.too_long == "split":  # several utterances: each was checked in its shard
            return None
        return self.wrong_tokens(pair["tokens"], pair["seconds"])


def is_sound(text: str) -> bool:
    """Tell whether a sound token stands in a text."""
    return START in text
