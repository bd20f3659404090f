"""export: what is read of shards to see how much a mixture's pairs shrink."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.arguments import load_run
from pipelines.graph import Job
from pipelines.rowwise import read_rows, rows_at
from pipelines.steps.export import _uncompressed
from pipelines.steps.mix import chosen_file

GROUP = 4  # rows of a row group


def spoil(path: Path, groups: set[int]) -> None:
    """Overwrite the bytes of some row groups of a Parquet file."""
    content = bytearray(path.read_bytes())
    metadata = pq.read_metadata(path)
    for group in groups:
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            start = min(filter(None, [column.dictionary_page_offset, column.data_page_offset]))
            content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)


def test_the_sample_of_a_mixture_reads_the_row_groups_of_its_rows_alone(finished: Path, tmp_path: Path) -> None:
    run = finished / "run"
    recipe = load_run(run)
    chosen = pl.read_parquet(run / chosen_file("stage2")).with_columns(size=pl.lit(1000))
    first = chosen.head(20)
    spoilt = 0
    for (path,), rows in chosen.group_by("path"):
        whole = pq.read_table(run / str(path))
        (tmp_path / str(path)).parent.mkdir(exist_ok=True)
        pq.write_table(whole, tmp_path / str(path), row_group_size=GROUP)
        wanted = {row // GROUP for row in first.filter(pl.col("path") == path)["row"]}
        unread = set(range(-(-whole.num_rows // GROUP))) - wanted
        spoil(tmp_path / str(path), unread)
        spoilt += len(unread)
        assert len(rows)
    assert spoilt > 5

    def of(folder: Path) -> int:
        job = SimpleNamespace(recipe=recipe, file=lambda name: folder / name)
        return _uncompressed(cast(Job, job), "stage2", first)

    assert of(tmp_path) == of(run)


def test_rows_are_found_by_their_places_in_any_row_group(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"id": f"r{n}", "tokens": [n] * n} for n in range(10)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=3)
    everything = list(read_rows(tmp_path / "a.parquet"))
    for places in ([], [0], [9], [2, 3], [8, 1, 1, 5], list(range(10))):
        assert rows_at(tmp_path / "a.parquet", places) == {place: everything[place] for place in places}
    for place in (10, -1):
        with pytest.raises(ValueError, match=f"a.parquet has 10 rows, and none at {place}"):
            rows_at(tmp_path / "a.parquet", [2, place])
