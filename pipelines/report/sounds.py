"""The rows that are shown and heard: read from their shards, their speech from the shards of speech."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from noise import HEARD, NOISE_KINDS
from pipelines.report.choose import Choice
from pipelines.report.media import Sound, play, strip
from pipelines.report.remade import remake, remake_in_chat
from pipelines.report.seen import Seen
from pipelines.row import Row
from pipelines.rowwise import rows_at
from pipelines.steps.noise_chats import FOLDER as CHATS
from pipelines.steps.noise_chats import SUFFIX
from quantize.tokenizer import AudioError
from tts import WITHOUT_AUDIO

MOST_MEDIA_BYTES = 9_000_000  # of all sounds and pictures, in base64: the file stays below 15 MB
MOST_CHARS = 700  # of a message that are shown


@dataclass(frozen=True)
class Utterance:
    """What was said, and how it sounds."""

    text: str | None
    voice: str | None
    seconds: float
    tokens: list[int]
    strip: str  # a picture of them, as a data: address; "" where there are none
    sound: Sound | None
    silent_for: str  # why there is nothing to hear; "" where there is


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: str
    text: str
    chars: int  # of the whole text
    written: Mapping[str, Any] | None  # by which language model, in place of what
    utterances: list[Utterance]


@dataclass(frozen=True)
class Sample:
    """A row to see and hear."""

    choice: Choice
    source: str
    license: str
    voice: str
    tts: str
    seconds: float
    about: Mapping[str, str]  # what else is known: why it cannot be heard, why it was cut, the scores
    messages: list[Message] = field(default_factory=list)

    @property
    def data_bytes(self) -> int:
        """How much of the page its sounds and pictures take."""
        spoken = [utterance for message in self.messages for utterance in message.utterances]
        return sum(len(u.strip) + (len(u.sound.mp3) + len(u.sound.mel) if u.sound else 0) for u in spoken)


class Shards:
    """Rows of a run's shards by their place, and speech by the row's id."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._speech = {shard.name: shard.path for shard in seen.spoken()}

    def row(self, path: str, row: int) -> Row:
        """Return a row of a shard."""
        return rows_at(self._seen.file(path), [row])[row]

    def speech(self, path: str, row: Row) -> list[bytes | None]:
        """Return the sound of each of a row's utterances, as it was kept or is made again; None where there is none."""
        kept = [utterance["audio"]["bytes"] if utterance["audio"] else None for utterance in row["spoken"]]
        if any(kept):
            return kept
        if path.startswith(f"{CHATS}/"):
            of_chat = iter(self._kept(row["source"], row["id"].removesuffix(SUFFIX), len(kept)))
            noise = remake_in_chat(self._seen, path, row)
            return [noise if utterance["text"] is None else next(of_chat) for utterance in row["spoken"]]
        if row["inaudible"] or row["degraded"]:
            return remake(self._seen, row)
        return self._kept(Path(path).stem, row["id"], len(kept))

    def _kept(self, shard: str, row_id: str, utterances: int) -> list[bytes | None]:
        """Return the speech of a row, by its id and the name of its shard, or the beginning of that."""
        with suppress(FileNotFoundError):  # a run that is going may have removed it since
            for name in (name for name in self._speech if name.startswith(shard)):
                path = self._seen.file(self._speech[name])
                if (place := _places(path).get(row_id)) is not None:
                    audios = [utterance["audio"] for utterance in rows_at(path, [place])[place]["spoken"]]
                    found = [audio["bytes"] if audio else None for audio in audios]
                    return (found + [None] * utterances)[:utterances]
        return [None] * utterances


@lru_cache(maxsize=256)
def _places(path: Path) -> dict[str, int]:
    with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
        ids = file.read(["id"], use_threads=False)["id"].to_pylist()
    return {row_id: place for place, row_id in enumerate(ids)}


def read_samples(seen: Seen, choices: list[Choice], most_bytes: int = MOST_MEDIA_BYTES) -> list[Sample]:
    """Return the chosen rows with their sounds and pictures, until those are as much as a page should hold."""
    shards, samples, used = Shards(seen), [], 0
    for choice in choices:
        sample = _sample(seen, shards, choice, full=used >= most_bytes)
        used += sample.data_bytes
        samples.append(sample)
    return samples


def _sample(seen: Seen, shards: Shards, choice: Choice, full: bool) -> Sample:
    row = shards.row(choice.path, choice.row)
    spoken = [] if choice.task == "text_only" else row["spoken"]
    speech = shards.speech(choice.path, row) if spoken else []
    written = {about["turn"]: about for about in row["generated"] or []}
    said: dict[int, list[Utterance]] = {}
    for utterance, audio in zip(spoken, speech, strict=True):
        said.setdefault(utterance["turn"], []).append(_utterance(seen, row, utterance, audio, full))
    messages = [
        Message(m["role"], m["content"][:MOST_CHARS], len(m["content"]), written.get(turn), said.get(turn, []))
        for turn, m in enumerate(row["messages"])
    ]
    alone = [utterance for turn, mine in said.items() if turn >= len(messages) for utterance in mine]
    if alone:  # a recording that no text belongs to
        messages.append(Message("recording", "", 0, None, alone))
    first: Row = spoken[0] if spoken else {}
    return Sample(
        choice,
        row["source"],
        row["license"] or "unknown",
        first.get("voice") or "",
        first.get("tts") or "",
        sum(utterance["seconds"] or 0.0 for utterance in spoken),
        {name: row[name] for name in ("inaudible", "degraded", "cut") if row[name]},
        messages,
    )


def _utterance(seen: Seen, row: Row, utterance: Row, audio: bytes | None, full: bool) -> Utterance:
    tokens = utterance["tokens"] or []
    sound, why = None, ""
    if full:
        why = "left out: this page holds as much sound as it should"
    elif audio is None:
        why = _silent_for(seen, row, utterance)
    else:
        try:
            sound = play(audio)
        except AudioError as error:
            why = f"cannot be played: {error}"
    return Utterance(
        utterance["text"], utterance["voice"], utterance["seconds"] or 0.0, tokens,
        strip(tokens) if tokens and not full else "", sound, why,
    )  # fmt: skip


def _silent_for(seen: Seen, row: Row, utterance: Row) -> str:
    """Return why an utterance has no sound to play."""
    if row["inaudible"] and utterance["text"] is None:
        heard = NOISE_KINDS.get(json.loads(row["inaudible"])["kind"]) in HEARD
        return "it cannot be made again here" if heard else "its sound tokens were drawn, and never were a sound"
    listed = {voice.id for voice in seen.recipe.tts.voices}
    if utterance["voice"] in listed and seen.recipe.tts.engine_of(utterance["voice"]) in WITHOUT_AUDIO:
        return "a model of text wrote the sound tokens (T2S): nobody spoke, there is no audio"
    if not seen.recipe.tts.keep_audio:
        return "its audio was removed once its sound tokens were safe (tts.keep_audio: false)"
    return "its audio is not in the run folder"
