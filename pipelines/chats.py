"""Conversations of several exchanges: what is left of one behind a user turn that fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pipelines.row import Message, Row, reason_of
from pipelines.rowwise import Reject

FailedTurn = Literal["reject", "shorten"]


def count_exchanges(messages: Sequence[Message]) -> int:
    """Return how many user messages a conversation has."""
    return sum([message["role"] == "user" for message in messages])  # a list is quicker than a generator


def opening(messages: Sequence[Message], exchanges: int) -> Sequence[Message]:
    """Return the beginning of a conversation: its system message, if any, and so many exchanges."""
    return messages[: 2 * exchanges + (messages[0]["role"] == "system")]


def cut_at(why: str, kept: int, of: int) -> str:
    """Return what a row says of its lost end, for a reason without its evidence.

    >>> cut_at("filter.speakable:url:www.example.org", 2, 4)
    'filter.speakable:url at exchange 3 of 4'
    """
    return f"{reason_of(why)} at exchange {kept + 1} of {of}"


def shortened(row: Row, exchanges: int, why: str) -> Row:
    """Return a row that ends after so many of its exchanges, the text of each, its speech and its history with it.

    Args:
        why: what is wrong with the next one, "<step>.<rule>:<detail>".
    """
    messages = opening(row["messages"], exchanges)
    said = cut_at(why, exchanges, row["exchanges"])
    kept: dict[str, Any] = {
        column: [item for item in row[column] if item["turn"] < len(messages)] if row[column] else row[column]
        for column in ("generated", "spoken")
    }
    return {
        **row,
        **kept,
        "generated": kept["generated"] or None,
        "messages": messages,
        "exchanges": exchanges,
        "answered": True,  # every exchange but the last had its answer already
        "cut": f"{row['cut']}; {said}" if row["cut"] else said,
    }


def with_speech(row: Row, turns: Iterable[list[dict[str, Any]] | Exception], step: str, failed_turn: FailedTurn) -> Row:
    """Return the row with the utterances of its user turns, in order; a chat ends before the first that failed.

    Raises what made the turn fail where rows are not shortened, where nothing stands before it, and where it is
    no Reject: what is unforeseen is never the fault of a turn.
    """
    spoken: list[dict[str, Any]] = []
    for exchange, turn in enumerate(turns):
        if isinstance(turn, Exception):
            if failed_turn == "reject" or exchange == 0 or not isinstance(turn, Reject):
                raise turn
            return {**shortened(row, exchange, f"{step}.{turn}"), "spoken": spoken}
        spoken += turn
    return {**row, "spoken": spoken}
