"""Distributions of what `score` measured, of rows that `filter` kept and of those it rejected; exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.report.rows import cluster_sizes
from pipelines.report.seen import Seen

LENGTH_EDGES = np.arange(0, 129, 4)  # tokens: up to what is scored by default
ENGLISH_EDGES = np.linspace(0, 1, 21)
COMPARING = ("duplicate", "near_duplicate")  # rules that compare rows


@dataclass(frozen=True)
class Histogram:
    """Counts between edges, of one kind of thing or of several side by side.

    Attributes:
        edges: float64 (n_bins + 1,); values beyond the last are in the last bin.
        counts: label -> int64 (n_bins,).
    """

    edges: NDArray[np.float64]
    counts: Mapping[str, NDArray[np.int64]]

    @property
    def total(self) -> int:
        """How many values there are."""
        return int(sum(counts.sum() for counts in self.counts.values()))


def count_between(values: NDArray[np.floating], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return int64 (n_bins,): the values between edges; what lies beyond the last edge is in the last bin.

    >>> count_between(np.array([0.0, 1.0, 1.5, 9.0]), np.array([0.0, 1.0, 2.0])).tolist()
    [1, 3]
    """
    return np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].astype(np.int64)


@dataclass(frozen=True)
class Texts:
    """What was scored."""

    length: Histogram  # BPE tokens of the longest user message
    english: Histogram  # probability that the user messages are English
    clusters: Mapping[str, NDArray[np.int64]]  # rule that compares rows -> rows each kept row stands for


def measure_texts(seen: Seen) -> Texts | None:
    """Return the distributions over every row that `filter` has decided on; None before it has on any."""
    records = seen.records("filter")
    if not records:
        return None
    length = {what: np.zeros(len(LENGTH_EDGES) - 1, np.int64) for what in ("kept", "rejected")}
    english = {what: np.zeros(len(ENGLISH_EDGES) - 1, np.int64) for what in ("kept", "rejected")}
    compared = []
    for what, table in _tables(seen, records):
        length[what] += count_between(table["length"].drop_nulls().to_numpy(), LENGTH_EDGES.astype(float))
        english[what] += count_between(table["english"].drop_nulls().to_numpy(), ENGLISH_EDGES)
        if what == "rejected":
            compared.append(table["reject"].filter(table["reject"].str.contains("duplicate:", literal=True)))
    rejects = pl.concat(compared)
    return Texts(
        Histogram(LENGTH_EDGES.astype(float), length),
        Histogram(ENGLISH_EDGES, english),
        {rule: sizes for rule in COMPARING if len(sizes := cluster_sizes(rejects, rule))},
    )


def _tables(seen: Seen, records: Mapping[str, object]) -> Iterator[tuple[str, pl.DataFrame]]:
    for shard in records:
        for what, path, columns in (
            ("kept", f"filter/{shard}.parquet", ["length", "english"]),
            ("rejected", f"filter/rejects/{shard}.parquet", ["length", "english", "reject"]),
        ):
            with pq.ParquetFile(seen.file(path), memory_map=True, pre_buffer=False) as file:
                table = pl.from_arrow(file.read(columns))
            assert isinstance(table, pl.DataFrame), "a table becomes a frame"
            yield what, table
