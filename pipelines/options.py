"""The options of sources, steps, rules and mixtures.

These models are the one declaration: YAML, `--set`, `speechmill steps` and fingerprints derive from
them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_serializer,
    model_validator,
)

from pipelines.tasks import COLUMNS, TASKS

FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # names become parts of paths
_SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def _bytes(value: Any) -> Any:
    """Turn "256 MB" into bytes; leave the rest to pydantic."""
    match = re.fullmatch(r"\s*(\d+)\s*([KMG]B)\s*", value) if isinstance(value, str) else None
    return int(match[1]) * _SIZES[match[2]] if match else value


def _percent(value: Any) -> Any:
    """Take 33.3 for what is written, not for the nearest binary fraction."""
    return Fraction(str(value)) if isinstance(value, float) else value


def known(what: str, names: Sequence[str]) -> AfterValidator:
    """Return the check that a name is one of those that are valid; the error says the nearest."""

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"{what} {value!r} is unknown; {nearest(value, names)}")
        return value

    return AfterValidator(check)


def nearest(value: str, names: Sequence[str]) -> str:
    """Return the remedy for a misspelt name: the closest valid ones, or all."""
    close = difflib.get_close_matches(value, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"valid: {', '.join(names)}"


class Options(BaseModel):
    """Options of one thing: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Scalar = str | int | float | bool | None
Range = tuple[int, int]


class Published(Options):
    """What another run counted of a source; `plan` prints it beside ours. No part of what is made."""

    rows_in: int | None = Field(None, ge=0, description="its records")
    rows_kept: int | None = Field(None, ge=0, description="those that passed its own rules, such as `where`")


class PublishedStage(Options):
    """What another run counted of sources after a stage; `plan` prints it beside ours. No part of what is made."""

    after: str = Field(description="read, filter, tts or quantize; filter.<rule>: after that rule of the list")
    rows: int = Field(ge=0, description="rows that were left")
    sources: tuple[str, ...] = Field((), description="of these sources alone; none named: of all")


class Audio(Options):
    """A source of recordings: where its sound and its texts stand. They go to `quantize` as they are."""

    column: str = Field("audio", description="hf, Parquet: the column of the sound (bytes, or a path beside the file)")
    text: str | None = Field(
        None,
        description="column of what is said; default: text, transcript, sentence, transcription or normalized_text",
    )
    speaker: str | None = Field(None, description="column that names who speaks, kept as the row's voice")
    table: str | None = Field(
        None, description="folder: its table of texts (.tsv .csv .jsonl); default: transcripts.* or metadata.*"
    )
    without_text: Literal["reject", "keep"] = Field("reject", description="recordings that no text belongs to")


class Exactly(Options):
    """Chats of so many exchanges, and no others."""

    exactly: int = Field(ge=1, description="exchanges that a chat must have")


class AtMost(Options):
    """Chats, cut after so many exchanges."""

    at_most: int = Field(ge=1, description="exchanges that are kept of a chat")


def _turns(value: Any) -> Any:
    """Let the four ways to say it pass; one error says what is wrong with anything else."""
    if value in ("first", "all") or isinstance(value, Exactly | AtMost):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((name, exchanges),) = value.items()
        if name in ("exactly", "at_most") and type(exchanges) is int and exchanges >= 1:
            return value
    raise ValueError(f"{value!r} is none of: first, all, {{exactly: 2}}, {{at_most: 4}} (1 exchange or more)")


class Source(Options):
    """Where rows come from: files (`path`) or a Hugging Face dataset (`hf`)."""

    name: str = Field(pattern=FILE_NAME, description="names the source in rows and file names")
    path: str | None = Field(
        None,
        description=".jsonl .json .csv .parquet, also .gz; a file, folder or glob; "
        "with audio: .parquet, .tar, .tar.gz, or a folder of recordings",
    )
    hf: str | None = Field(None, description="Hugging Face dataset, owner/name or a local folder")
    revision: str | None = Field(None, description="hf: commit, tag or branch; name one, or runs differ")
    config: str | None = Field(None, description="hf: the dataset's configuration")
    split: str = Field("train", description="hf: the split")
    streaming: bool = Field(True, description="hf: read while downloading, without a local copy")
    license: str = Field("unknown", description="SPDX id, kept in each row and on the card")
    shape: Literal["auto", "prompt_answer", "alpaca", "sharegpt", "messages"] = Field(
        "auto", description="how a record holds its conversation; auto looks at the first record"
    )
    prompt: str | None = Field(None, description="column of the prompt (shape prompt_answer)")
    answer: str | None = Field(None, description="column of the answer (shape prompt_answer)")
    system: str | None = Field(None, description="column of a system message (shape prompt_answer); empty: none")
    where: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="keep records whose column equals a value or is one of a list"
    )
    where_not: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="drop records whose column equals a value or is one of a list"
    )
    limit: int | None = Field(None, ge=1, description="stop after this many records that pass where and where_not")
    turns: Annotated[Literal["first", "all"] | Exactly | AtMost, BeforeValidator(_turns)] = Field(
        "first", description="first exchange only, the whole chat, {exactly: 2} exchanges, or {at_most: 4}"
    )
    audio: Audio | None = Field(None, description="its records are recordings; audio: {} where nothing is special")
    published: Published | None = Field(None, exclude=True, description="what another run counted, for comparison")

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.path is None) == (self.hf is None):
            raise ValueError("give exactly one of path and hf")
        for name in ("answer", "system"):
            if getattr(self, name) is not None and self.prompt is None:
                raise ValueError(f"{name} names a column, so prompt must too")
        if self.prompt is not None and self.shape not in ("auto", "prompt_answer"):
            raise ValueError(f"prompt names a column, which shape {self.shape} does not use")
        return self


class Read(Options):
    """Records of the sources -> rows in shards. Broken records are rejects with their place."""

    rows_per_shard: int = Field(10_000, ge=1, description="rows of one unit of work, in noise too")
    max_prompt_bytes: int = Field(65536, ge=1, description="a longer user message is a reject")


class Score(Options):
    """Rows -> rows with what the rules decide by: tokens, seconds, language, speakability, keys, similar rows."""

    most_tokens: int = Field(
        128, ge=1, description="longer prompts (over 30 s of speech) are not scored further, and rejected by filter"
    )


class Chats(Options):
    """Conversations of several exchanges: what becomes of turns that fail, and of drawn ones."""

    failed_turn: Literal["reject", "shorten"] = Field(
        "reject", description="a user turn that cannot be said or heard ends the row, or the chat before it"
    )
    written_turns: float = Field(
        0.0, ge=0, lt=1, description="share of user turns that stay text in chats; one at least is spoken (LLaSM)"
    )
    inaudible: int = Field(
        0, ge=0, description="chats that get a turn nobody can hear, the request to repeat it, and the turn again"
    )


class Mixture(Options):
    """One training set: parts in percent of a total, exact to the row."""

    columns: tuple[Annotated[str, known("column", COLUMNS)], ...] | None = Field(
        None, min_length=1, description="of its files: all but text, or those named, such as [index, tokens, text]"
    )
    most_tokens: int | None = Field(None, ge=1, description="rows of more sound tokens take no part in it")
    held_out: bool = Field(False, description="takes the rows of held-out voices alone: a split `test`")

    parts: dict[
        Annotated[str, known("task", list(TASKS))], Annotated[Fraction, BeforeValidator(_percent), Field(gt=0)]
    ] = Field(min_length=1, description="task: percent; together 100")
    total: Annotated[int, Field(ge=1)] | Literal["max"] = Field(
        "max", description="rows, or max: the largest total that every part can fill"
    )
    shrink: bool = Field(False, description="where a part is short: make the largest total instead of an error")
    reuse_prompts: bool = Field(False, description="may one prompt serve several parts?")

    @property
    def split(self) -> str:
        """The name of its split: what held-out voices speak is for evaluation."""
        return "test" if self.held_out else "train"

    @field_serializer("parts", when_used="json")
    def _plain_percents(self, parts: dict[str, Fraction]) -> dict[str, int | float | str]:
        """Write 70 and 33.3 as such; a fraction that decimals cannot say stays a fraction."""
        plain: dict[str, int | float | str] = {}
        for part, percent in parts.items():
            exact = Fraction(str(float(percent))) == percent
            plain[part] = int(percent) if percent.denominator == 1 else float(percent) if exact else str(percent)
        return plain

    @model_validator(mode="after")
    def _hundred(self) -> Mixture:
        if (total := sum(self.parts.values())) != 100:
            raise ValueError(f"the parts add up to {float(total):g} %, not 100 %")
        return self


class Mix(Options):
    """Rows -> the rows of each mixture: integer quotas by largest remainder, rows by hash rank."""

    mixtures: dict[Annotated[str, Field(pattern=FILE_NAME)], Mixture] = Field(min_length=1, description="name: mixture")
    max_refusal_share: float = Field(
        0.005, ge=0, le=1, description="inaudible rows over all rows of all mixtures, at most"
    )


class Export(Options):
    """Mixtures -> shuffled Parquet with a dataset card, for `datasets.load_dataset`."""

    shard_bytes: Annotated[int, BeforeValidator(_bytes), Field(ge=1000)] = Field(
        256 * 10**6, description="of a file on disk and on the Hub, nearly: the first pairs tell how much they shrink"
    )
    audio: bool = Field(False, description="also a config `audio`: the speech itself, a row an utterance")
    report: bool = Field(True, description="also report.html and the card's pictures: the run to see and hear")
    run_lengths: bool = Field(
        False, description="write a token that repeats once, after its count: <|duration_07|> (Ichigo v0.5)"
    )
