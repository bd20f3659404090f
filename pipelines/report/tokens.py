"""Sound tokens of a sample of rows: how often each is used, how they repeat, how many come of a second.

Tokens are most of a run's bytes, so of a large one row groups are read, those of least hash: the same ones whatever
the order, the machine or the day.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.graph import Shard
from pipelines.report.seen import Seen

MOST_ROWS = 20_000  # read for their tokens: 3 million tokens, of which each of 512 is seen some thousand times
LONGEST_RUN = 16  # longer runs of one token count with these
_SPOKEN = ("text", "voice", "seconds", "tokenizer", "tokens")
_COLUMNS = ["exchanges", "inaudible", "degraded", *(f"spoken.list.element.{name}" for name in _SPOKEN)]


@dataclass
class Voice:
    """What was counted of one voice's tokens."""

    tokens: int = 0
    repeats: int = 0  # tokens that equal the one before, in their utterance

    @property
    def repeat_share(self) -> float:
        """The share of tokens that repeat the one before."""
        return self.repeats / self.tokens if self.tokens else 0.0


@dataclass
class Heard:
    """What was counted of one tokenizer's tokens: of speech, of ladders, or of what nobody can hear."""

    used: NDArray[np.int64]  # int64 (n_codes,): how often each token stands
    runs: NDArray[np.int64]  # int64 (LONGEST_RUN + 1,): runs of one token, by their length
    rates: list[float] = field(default_factory=list)  # tokens a second, of each utterance
    seconds: float = 0.0
    voices: dict[str, Voice] = field(default_factory=lambda: defaultdict(Voice))

    @property
    def tokens(self) -> int:
        """How many were counted."""
        return int(self.used.sum())

    @property
    def repeat_share(self) -> float:
        """The share of tokens that repeat the one before."""
        return 1 - int(self.runs.sum()) / self.tokens if self.tokens else 0.0

    @property
    def perplexity(self) -> float:
        """Two to the entropy: how many tokens, equally frequent, would be as varied."""
        share = self.used[self.used > 0] / max(self.tokens, 1)
        return float(np.exp(-(share * np.log(share)).sum()))


@dataclass(frozen=True)
class Tokens:
    """What the sample says, by (tokenizer, "speech", "degraded" or "inaudible")."""

    rows: int  # that were read
    of_rows: int
    heard: dict[tuple[str, str], Heard]


def measure_tokens(seen: Seen, most_rows: int = MOST_ROWS) -> Tokens:
    """Return what the tokens of at most about `most_rows` rows say; of all, where there are no more."""
    shards = seen.mixable()
    codes = max((r.facts.get("n_codes", 512) for r in seen.records("quantize").values()), default=512)
    heard: dict[tuple[str, str], Heard] = {}
    rows = 0
    for table in _sample(seen, shards, most_rows):
        rows += table.num_rows
        count(table, codes, heard)
    return Tokens(rows, sum(shard.rows for shard in shards), dict(sorted(heard.items())))


def _sample(seen: Seen, shards: list[Shard], most_rows: int) -> Iterator[pa.Table]:
    groups = []
    for shard in shards:
        about = pq.read_metadata(seen.file(shard.path))
        for number in range(about.num_row_groups):
            rank = hashlib.blake2b(f"{shard.name}/{number}".encode(), digest_size=8).digest()
            groups.append((rank, shard.path, number, about.row_group(number).num_rows))
    rows = 0
    for _, path, number, size in sorted(groups):
        if rows >= most_rows:
            return
        with pq.ParquetFile(seen.file(path), memory_map=True, pre_buffer=False) as file:
            yield file.read_row_group(number, _COLUMNS)
        rows += size


def count(table: pa.Table, codes: int, heard: dict[tuple[str, str], Heard]) -> None:
    """Add the tokens of rows to what was heard so far, each tokenizer's to its own."""
    lists = table["spoken"].combine_chunks()
    spoken = lists.flatten()
    row = pc.list_parent_indices(lists).to_numpy()
    inaudible, degraded = (table[name].is_valid().to_numpy()[row] for name in ("inaudible", "degraded"))
    copied = inaudible & (table["exchanges"].to_numpy()[row] > 1)  # the turns of a chat that is interrupted
    copied &= spoken.field("text").is_valid().to_numpy(zero_copy_only=False)
    labels = spoken.field("tokenizer").to_pylist()
    voices = spoken.field("voice").to_pylist()
    seconds = spoken.field("seconds").to_numpy(zero_copy_only=False)
    tokens = spoken.field("tokens")
    ids, ends = tokens.flatten().to_numpy(), np.cumsum(pc.list_value_length(tokens).fill_null(0).to_numpy())
    for number, (label, voice, end) in enumerate(zip(labels, voices, ends, strict=True)):
        mine = ids[ends[number - 1] if number else 0 : end]
        if not mine.size or copied[number]:
            continue
        key = (label, "inaudible" if inaudible[number] else "degraded" if degraded[number] else "speech")
        if key not in heard:
            heard[key] = Heard(np.zeros(codes, np.int64), np.zeros(LONGEST_RUN + 1, np.int64))
        counted = heard[key]
        counted.used += np.bincount(mine, minlength=codes)[:codes]
        lengths = np.diff(np.flatnonzero(np.concatenate([[True], mine[1:] != mine[:-1], [True]])))
        counted.runs += np.bincount(np.minimum(lengths, LONGEST_RUN), minlength=LONGEST_RUN + 1)
        counted.rates.append(mine.size / seconds[number])
        counted.seconds += seconds[number]
        if voice is not None:
            counted.voices[voice].tokens += mine.size
            counted.voices[voice].repeats += mine.size - len(lengths)
