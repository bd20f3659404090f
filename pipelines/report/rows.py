"""Every row that mixtures may take, a few numbers of each; exact, since they are columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.report.seen import Seen
from pipelines.steps.mix import chosen_file

_SPOKEN = ("voice", "seconds", "tokenizer")
_WROTE = ("task", "model", "template", "tries", "prompt_tokens", "completion_tokens")
_COLUMNS = [
    "id", "source", "exchanges", "answered", "inaudible", "degraded", "cut",
    *(f"spoken.list.element.{name}" for name in _SPOKEN),
    *(f"generated.list.element.{name}" for name in _WROTE),
]  # fmt: skip
_NAMES = pl.Categorical


@dataclass(frozen=True)
class Rows:
    """All rows that were quantized or made inaudible.

    Attributes:
        table: a row each: path, row, id, source, voice (of its first utterance), seconds, exchanges, answered, kind
            (of what cannot be heard), rung (of a ladder), cut (the reason why it lost its end).
        utterances: voice, seconds and tokenizer of each utterance of clean speech.
        wrote: what language models wrote: task, model, template, messages, tries, prompt_tokens, completion_tokens.
    """

    table: pl.DataFrame
    utterances: pl.DataFrame
    wrote: pl.DataFrame


def read_rows_of(seen: Seen) -> Rows:
    """Return the rows of every shard that mixtures are made of; of those that are spoken, where there is none yet."""
    tables, utterances, wrote = [], [], []
    for shard in seen.mixable() or seen.spoken():
        with pq.ParquetFile(seen.file(shard.path), memory_map=True, pre_buffer=False) as file:
            rows = pl.from_arrow(file.read(_COLUMNS))
        assert isinstance(rows, pl.DataFrame), "a table becomes a frame"
        tables.append(_table(rows, shard.path))
        clean = pl.all_horizontal(pl.col("inaudible", "degraded").is_null())  # what noise makes are copies
        spoken = rows.filter(clean).select("spoken").explode("spoken").drop_nulls()
        utterances.append(spoken.unnest("spoken").with_columns(pl.col("voice", "tokenizer").cast(_NAMES)))
        written = rows.select("generated").explode("generated").drop_nulls().unnest("generated")
        wrote.append(_counted(written))
    if not tables:
        return Rows(_NO_TABLE, _NO_UTTERANCES, _NO_WRITING)
    return Rows(pl.concat(tables), pl.concat(utterances), _summed(pl.concat(wrote)))


def _table(rows: pl.DataFrame, path: str) -> pl.DataFrame:
    seconds = pl.col("spoken").list.eval(pl.element().struct.field("seconds")).list.sum()
    voice = pl.col("spoken").list.eval(pl.element().struct.field("voice").cast(pl.String)).list.first()
    said = pl.col("inaudible")
    kind = pl.when(said.str.starts_with("{")).then(said.str.json_path_match("$.kind")).otherwise(said)
    return rows.select(
        path=pl.lit(path).cast(_NAMES),
        row=pl.int_range(pl.len(), dtype=pl.Int32),
        id="id",
        source=pl.col("source").cast(_NAMES),
        voice=voice.cast(_NAMES),
        seconds=seconds.cast(pl.Float64),
        exchanges="exchanges",
        answered="answered",
        kind=kind.cast(_NAMES),
        rung=pl.col("degraded").str.json_path_match("$.rung").cast(pl.Int32),
        cut=pl.col("cut").str.extract("^([^ ]+)").cast(_NAMES),
    )


def _counted(written: pl.DataFrame) -> pl.DataFrame:
    sums = [pl.col(name).cast(pl.Int64).sum() for name in ("tries", "prompt_tokens", "completion_tokens")]
    text = [pl.col(name).cast(pl.String) for name in ("task", "model", "template")]
    return written.group_by(*text).agg(pl.len().cast(pl.Int64).alias("messages"), *sums)


def _summed(wrote: pl.DataFrame) -> pl.DataFrame:
    keys = ("task", "model", "template")
    return wrote.group_by(*keys).agg(pl.exclude(*keys).sum()).sort(*keys)


_NO_TABLE = pl.DataFrame(
    schema={
        "path": _NAMES, "row": pl.Int32, "id": pl.String, "source": _NAMES, "voice": _NAMES, "seconds": pl.Float64,
        "exchanges": pl.Int32, "answered": pl.Boolean, "kind": _NAMES, "rung": pl.Int32, "cut": _NAMES,
    }
)  # fmt: skip
_NO_UTTERANCES = pl.DataFrame(schema={"voice": _NAMES, "seconds": pl.Float64, "tokenizer": _NAMES})
_NO_WRITING = pl.DataFrame(
    schema={
        **dict.fromkeys(("task", "model", "template"), pl.String),
        **dict.fromkeys(("messages", "tries", "prompt_tokens", "completion_tokens"), pl.Int64),
    }
)


def chosen_rows(seen: Seen, rows: Rows) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield each mixture with its rows, in their order: task, path, row, id, and what `rows` knows of them."""
    for name in seen.recipe.mix.mixtures if seen.outputs.has("mix") else ():
        chosen = pl.read_parquet(seen.file(chosen_file(name)), columns=["task", "path", "row"])
        keyed = chosen.with_columns(pl.col("path").cast(_NAMES), pl.col("task").cast(_NAMES))
        yield name, keyed.join(rows.table, on=["path", "row"], how="left", maintain_order="left")


def seconds_by_task(chosen: pl.DataFrame) -> list[dict[str, Any]]:
    """Return for each task with sound its rows, and mean, median and 95th percentile of the seconds of an exchange."""
    spoken = chosen.filter(pl.col("task").cast(pl.String) != "text_only")
    seconds = pl.col("seconds") / pl.col("exchanges")
    by_task = spoken.group_by("task", maintain_order=True).agg(
        pl.len().alias("rows"),
        seconds.mean().alias("mean"),
        seconds.median().alias("median"),
        seconds.quantile(0.95).alias("p95"),
    )
    return [dict(row) for row in by_task.sort(pl.col("task").cast(pl.String)).iter_rows(named=True)]


def cluster_sizes(rejects: pl.Series, rule: str) -> NDArray[np.int64]:
    """Return how many rows each kept row stands for, itself among them, of a rule that compares rows; largest first."""
    of = rejects.filter(rejects.str.starts_with(f"filter.{rule}:")).str.strip_prefix(f"filter.{rule}:")
    counted = of.value_counts(name="rows")["rows"].to_numpy().astype(np.int64) + 1
    return np.sort(counted)[::-1]
