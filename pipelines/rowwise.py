"""One shard of rows in, one shard out: every row is kept or rejected with a reason."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, groupby
from pathlib import Path
from typing import ParamSpec, TypeVar

import pyarrow.parquet as pq

from pipelines.errors import RunError, UserError
from pipelines.graph import Job, Outcome
from pipelines.row import REJECTED_ROW, ROW, Row, reason_of_cut
from pipelines.shards import row_writer

ERRORS_AT_LEAST = 20  # a shard may lose this many rows to unforeseen errors,
ERRORS_SHARE = 0.05  # or this share of its rows; more means that the engine or the recipe is broken

P = ParamSpec("P")
T = TypeVar("T")
Done = tuple[Row, Row | Exception]  # a row, and what became of it: the row that goes on, or what ends it


class Reject(Exception):
    """Ends a row: the message is "rule:detail", counted by its rule."""


def attempt(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | Exception:
    """Return the result of work on one row, or the exception that it raised: the one guard, so that a row's failure
    is that row's reason.

    Raises what is not a row's fault: RunError, UserError, OSError, MemoryError.
    """
    try:
        return work(*arguments, **named)
    except (RunError, UserError, OSError, MemoryError):
        raise
    except Exception as error:
        return error


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[Row]:
    """Yield a shard's rows, a few in memory at a time."""
    with pq.ParquetFile(path, pre_buffer=False) as file:  # which would hold every row group that was read
        for batch in file.iter_batches(batch_size=64, columns=columns):
            yield from batch.to_pylist()


def rows_at(path: Path, places: Iterable[int]) -> dict[int, Row]:
    """Return some of a shard's rows by their places in it, from 0: the row groups that hold them are read, no others.

    Raises ValueError for a place that the shard does not have.
    """
    found: dict[int, Row] = {}
    with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
        sizes = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        starts = list(accumulate(sizes, initial=0))
        wanted = sorted(set(places))
        if outside := [place for place in wanted if not 0 <= place < starts[-1]]:
            raise ValueError(f"{path} has {starts[-1]} rows, and none at {outside[0]}")
        for group, of_group in groupby(wanted, lambda place: bisect_right(starts, place) - 1):
            here = list(of_group)
            rows = file.read_row_group(group, use_threads=False).take([place - starts[group] for place in here])
            found.update(zip(here, rows.to_pylist(), strict=True))
    return found


def run_rowwise(job: Job, folder: str, work: Callable[[Row], Row]) -> Outcome:
    """Apply `work` to each row of the unit's shard, as `run_stream` does."""
    return run_stream(job, folder, lambda rows: ((row, attempt(work, row)) for row in rows))


def run_stream(job: Job, folder: str, work: Callable[[Iterator[Row]], Iterable[Done]], fan_out: int = 1) -> Outcome:
    """Send the rows of the unit's shard through `work`, which gives each back, in order, and commit nothing yet.

    A row that ends with Reject has that reason. A row that ends with anything unforeseen has
    `<step>.error:<what>`; past a limit of such rows the run stops, raising RunError. Chats that end earlier than
    they came are counted by the reason that they say: fact `shortened`, where there are any.

    Args:
        fan_out: rows that `work` makes of each, which are the rows in.
    """
    rows_in = fan_out * pq.read_metadata(job.input()).num_rows
    return write_rows(job, folder, work(read_rows(job.input())), rows_in)


def write_rows(job: Job, folder: str, done: Iterable[Done], rows_in: int) -> Outcome:
    """Write a shard of the rows that something was made of, as `run_stream` says."""
    shard = job.unit.name
    errors = 0
    cuts: Counter[str] = Counter()
    with row_writer(job.staged, folder, shard, ROW, REJECTED_ROW) as writer:
        for number, (row, result) in enumerate(done):
            if isinstance(result, Reject):
                writer.reject(row, f"{folder}.{result}")
            elif isinstance(result, Exception):
                errors += 1
                if errors > max(ERRORS_AT_LEAST, ERRORS_SHARE * job.unit.rows):
                    raise RunError(
                        f"{folder} {shard}: {errors} of the first {number + 1} rows failed, the last "
                        f"({row['id']}) with {type(result).__name__}: {result}"
                    ) from result
                writer.reject(row, f"{folder}.error:{type(result).__name__}: {result}")
            else:
                writer.keep(result)
                if (cut := result.get("cut")) and cut != row.get("cut"):
                    cuts[reason_of_cut(cut)] += 1
        counts = writer.finish(rows_in)
    shortened = {"shortened": dict(sorted(cuts.items()))} if cuts else {}
    return Outcome(counts, {"shards": {shard: counts.rows_kept}, **shortened})
