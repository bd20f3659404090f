"""One shard of rows in, one shard out: every row is kept or rejected with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.errors import RunError, UserError
from pipelines.graph import Job, Outcome
from pipelines.row import REJECTED_ROW, ROW, Row
from pipelines.shards import row_writer

ERRORS_AT_LEAST = 20  # a shard may lose this many rows to unforeseen errors,
ERRORS_SHARE = 0.05  # or this share of its rows; more means that the engine or the recipe is broken


class Reject(Exception):
    """Ends a row: the message is "rule:detail", counted by its rule."""


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[Row]:
    """Yield a shard's rows, a few in memory at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=64, columns=columns):
            yield from batch.to_pylist()


def run_rowwise(job: Job, folder: str, work: Callable[[Row], Row]) -> Outcome:
    """Apply `work` to each row of the unit's shard and commit nothing yet.

    A row whose work raises Reject ends with that reason. A row whose work raises anything unforeseen
    ends with `<step>.error:<what>`; past a limit of such rows the run stops, raising RunError.
    """
    shard = job.unit.name
    errors = 0
    with row_writer(job.staged, folder, shard, ROW, REJECTED_ROW) as writer:
        for number, row in enumerate(read_rows(job.input())):
            try:
                result = work(row)
            except Reject as reject:
                writer.reject(row, f"{folder}.{reject}")
            except (RunError, UserError, OSError):
                raise  # not this row's fault
            except Exception as error:  # the one guard: a row's failure is the row's reason
                errors += 1
                if errors > max(ERRORS_AT_LEAST, ERRORS_SHARE * job.unit.rows):
                    raise RunError(
                        f"{folder} {shard}: {errors} of the first {number + 1} rows failed, the last "
                        f"({row['id']}) with {type(error).__name__}: {error}"
                    ) from error
                writer.reject(row, f"{folder}.error:{type(error).__name__}: {error}")
            else:
                writer.keep(result)
        counts = writer.finish(pq.read_metadata(job.input()).num_rows)
    return Outcome(counts, {"shards": {shard: counts.rows_kept}})
