"""read: records of the sources -> rows in shards, broken records with their place among the rejects."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.chats import count_exchanges, cut_at
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit
from pipelines.options import Source
from pipelines.parts import read_in_parts, source_units
from pipelines.recipe import Recipe
from pipelines.row import row_id
from pipelines.shapes import BadRecord, Messages, Shape, checked, find_shape
from pipelines.shards import RowWriter
from pipelines.sources import SourceRecord, read_records

FOLDER = "read"
LOOK_AT = 200  # records, to find which columns a source has
ROWS_PER_GROUP = 1000  # text alone, so that more rows fit in memory than of later steps


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    return source_units(recipe, outputs, FOLDER, speech=False)


def _run(job: Job) -> Outcome:
    return read_in_parts(job, FOLDER, ROWS_PER_GROUP, _Reader)


class _Reader:
    """Goes through a source's texts, as `pipelines.parts.Reader` says."""

    def __init__(self, recipe: Recipe, source: Source, position: int, passed: int) -> None:
        self._recipe, self._source, root = recipe, source, recipe.root_path
        self.position = position  # records read so far, the index of the next
        self.passed = passed  # records that `where` let pass, for `limit`
        self._records = read_records(source, root, skip=position)
        self._shape = _first_shape(source, root)
        self.said = self._shape.said if self._shape else "no readable record"
        self._max_prompt_bytes = recipe.read.max_prompt_bytes
        self._next = next(self._records, None)

    def more(self) -> bool:
        """Tell whether there is another record to read."""
        limit = self._source.limit
        return self._next is not None and (limit is None or self.passed < limit)

    def fill(self, writer: RowWriter) -> int:
        """Read one part's worth of rows into a writer; returns the number of records read."""
        kept, first, rows = 0, self.position, self._recipe.read.rows_per_shard
        while kept < rows and self.more():
            assert self._next is not None, "more() was asked"
            record, self._next = self._next, next(self._records, None)
            kept += self._take(record, writer)
            self.position += 1
        return self.position - first

    def _take(self, record: SourceRecord, writer: RowWriter) -> bool:
        """Write one record to the kept or the rejected; tells whether it was kept."""
        source = self._source
        try:
            messages, cut = self._messages(record)
        except BadRecord as bad:
            reason = f"read.{bad}"
            raw = "" if reason.startswith("read.where") else record.raw_text()
            rejected = {"source": source.name, "index": self.position, "place": record.place, "raw": raw}
            writer.reject(rejected, reason)
            return False
        writer.keep(
            {
                "source": source.name,
                "index": self.position,
                "id": row_id(source.name, messages),
                "license": source.license,
                "messages": messages,
                "exchanges": count_exchanges(messages),
                "answered": messages[-1]["role"] == "assistant",
                "cut": cut,
                "spoken": [],
            }
        )
        return True

    def _messages(self, record: SourceRecord) -> tuple[Messages, str | None]:
        """Return a record's conversation, and why it lost its end, if so. Raises BadRecord where none is to be kept."""
        value = record.value
        if record.bad is not None:
            raise BadRecord(record.bad)
        if not isinstance(value, dict):
            raise BadRecord(f"not_an_object:{type(value).__name__}")
        check_where(self._source, value)
        self.passed += 1
        assert self._shape is not None, "a record is an object, so there is a shape"
        whole = self._shape.convert(value)
        kept = checked(whole, self._source.turns, self._max_prompt_bytes)
        if len(kept) == len(whole):
            return kept, None
        return kept, cut_at("read.turns", count_exchanges(kept), count_exchanges(whole))


def _first_shape(source: Source, root: Path) -> Shape | None:
    """Return the shape of a source's first objects; None where none of its records is one."""
    objects = (record.value for record in read_records(source, root) if isinstance(record.value, dict))
    columns: dict[str, Any] = {}
    for value in islice(objects, LOOK_AT):
        for column, cell in value.items():
            if columns.get(column) is None:
                columns[column] = cell
    return find_shape(source, columns) if columns else None


def check_where(source: Source, value: Mapping[str, Any]) -> None:
    """Raise BadRecord for a record that `where` or `where_not` leaves out."""
    for column, wanted in source.where.items():
        if not _is_one_of(value.get(column), wanted):
            raise BadRecord(f"where:{column}")
    for column, unwanted in source.where_not.items():
        if _is_one_of(value.get(column), unwanted):
            raise BadRecord(f"where_not:{column}")


def _is_one_of(cell: Any, named: Any) -> bool:
    """Tell whether a column's value is the one that `where` names, or one of those."""
    values = named if isinstance(named, list) else [named]
    return cell in values or (isinstance(cell, str) and cell in map(str, values))  # CSV knows text alone


PASS = Pass(
    key=FOLDER,
    needs=(),
    version=3,
    options=lambda recipe: recipe.read.model_dump(mode="json"),
    units=_units,
    run=_run,
    in_parts=True,
)
