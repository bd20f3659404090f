"""The row: one conversation, from the first step to the last, in one Arrow schema.

Nothing is exploded and joined again, so that one shard in is one shard out and order is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

Row = dict[str, Any]
Message = Mapping[str, str]

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # the layout of datasets.Audio

UTTERANCE = pa.struct(
    [
        ("turn", pa.int32()),  # position in `messages` of the user message that is spoken
        ("text", pa.string()),  # as spoken: numbers and symbols in words
        ("voice", pa.string()),
        ("rate_wpm", pa.int32()),  # words per minute
        ("pitch", pa.int32()),  # 0 to 99, eSpeak's scale
        ("tts", pa.string()),  # engine and version
        ("audio", AUDIO),  # FLAC or Ogg Opus, mono, at sample_rate; null where tokens were written without audio
        ("sample_rate", pa.int32()),  # Hz
        ("seconds", pa.float64()),
        ("augmentation", pa.string()),  # what was done to the speech, as JSON; null where it is as spoken
        ("tokenizer", pa.string()),  # name@digest/precision
        ("tokens", pa.list_(pa.uint16())),  # 25 a second
    ]
)

GENERATED = pa.struct(
    [
        ("turn", pa.int32()),  # position in `messages` of what a language model wrote
        ("task", pa.string()),  # refusal, rewrite, spoken, mend or own
        ("original", pa.string()),  # what stood there before; null where nothing did
        ("model", pa.string()),  # as its server names it
        ("template", pa.string()),  # of the request: name@digest
        ("prompt_tokens", pa.int32()),  # of the request that was answered well, as its server counts
        ("completion_tokens", pa.int32()),
        ("tries", pa.int32()),  # answers until a good one
    ]
)

ROW = pa.schema(
    [
        ("id", pa.string()),  # row_id() of source and messages: 32 hex digits
        ("source", pa.string()),
        ("license", pa.string()),
        ("index", pa.int64()),  # position in its source, broken records counted
        ("messages", MESSAGES),
        ("exchanges", pa.int32()),  # user messages
        ("answered", pa.bool_()),  # every user message has its answer
        ("length", pa.int32()),  # BPE tokens of the longest user message; of very long ones, of their beginning
        # What follows, to duplicate_key, is null where the length is beyond score.most_tokens.
        ("predicted_seconds", pa.float32()),  # of speech, for the longest user message
        ("language", pa.string()),  # ISO 639-1, of all user messages together
        ("english", pa.float32()),  # probability that they are English
        ("symbol_share", pa.float32()),  # of the user message with most: signs over characters
        ("unspeakable", pa.string()),  # "kind:evidence" of the first user message that cannot be said
        ("private", pa.string()),  # kind of the first private data in the user messages
        ("answer_flaw", pa.string()),  # "empty" or "boilerplate:evidence"; answer scores only for the rule `answer`
        ("answer_repeats", pa.float32()),  # share of an answer that is its prompt again, the largest
        ("answer_unspeakable", pa.string()),  # as unspeakable, of the answers
        ("duplicate_key", pa.string()),  # hash of the normalised user messages
        ("inaudible", pa.string()),  # what cannot be heard and how it was made, as JSON; null where all can
        ("degraded", pa.string()),  # a rung of a ladder: of which row, how far, as JSON; null for clean speech
        ("cut", pa.string()),  # why a chat lost its end: "filter.speakable:url at exchange 3 of 4; ..."; null: whole
        ("generated", pa.list_(GENERATED)),  # the messages that a language model wrote; null where none is
        ("spoken", pa.list_(UTTERANCE)),
    ]
)

REJECTED_ROW = ROW.append(pa.field("reject", pa.string()))  # "<step>.<rule>:<detail>"

# A record that could not become a row: what it was is kept as it was read.
REJECTED_RECORD = pa.schema(
    [
        ("source", pa.string()),
        ("index", pa.int64()),
        ("place", pa.string()),  # file:line, file:row 12, hf:owner/name[train]:row 12
        ("reject", pa.string()),
        ("raw", pa.string()),  # the record's text (JSON), undecodable bytes escaped
    ]
)


def row_id(source: str, messages: Sequence[Message]) -> str:
    """Return the id of a conversation: 32 hex digits of blake2b over source and messages.

    It depends on content alone, so it survives re-ordering and re-sharding; identical records of a
    source share it (and the second is rejected as a duplicate).
    """
    return id_of_texts(source, [(m["role"], m["content"]) for m in messages])


def id_of_texts(source: str, messages: Sequence[tuple[str, str]]) -> str:
    """Return the id of a conversation whose messages are given by role and text."""
    return hashlib.blake2b(orjson.dumps((source, messages)), digest_size=16).hexdigest()


def user_turns(messages: Sequence[Message]) -> list[tuple[int, str]]:
    """Return (position, text) of every user message."""
    return [(i, m["content"]) for i, m in enumerate(messages) if m["role"] == "user"]


def reason_of(reject: str) -> str:
    """Return the part of a reject that is counted: step, rule and, where the rule has kinds, the kind.

    >>> reason_of("filter.speakable:url:www.example.org")
    'filter.speakable:url'
    >>> reason_of("filter.length:81")
    'filter.length'
    """
    rule, _, detail = reject.partition(":")
    return f"{rule}:{detail.partition(':')[0]}" if rule in KINDED else rule


def reason_of_cut(cut: str) -> str:
    """Return why a chat lost its end, the last time that it lost one.

    >>> reason_of_cut("read.turns at exchange 5 of 7; filter.speakable:url at exchange 3 of 4")
    'filter.speakable:url'
    """
    return cut.rpartition("; ")[2].partition(" at exchange ")[0]


KINDED = frozenset({"filter.speakable", "filter.private", "filter.answer", "filter.benchmark"})
