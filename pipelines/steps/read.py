"""read: records of the sources -> rows in shards, broken records with their place among the rejects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.chats import cut_at
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit
from pipelines.options import Source
from pipelines.parts import read_in_parts, source_units
from pipelines.recipe import Recipe
from pipelines.row import MESSAGES, ROW, id_of_texts
from pipelines.shapes import BadRecord, Messages, Shape, checked, find_shape, sound_exchange
from pipelines.shards import RowWriter
from pipelines.sources import SourceRecord, read_records, read_rows

FOLDER = "read"
LOOK_AT = 200  # records, to find which columns a source has
ROWS_PER_GROUP = 10_000  # of small groups each column costs as much again; `score` holds a whole shard
CHARS_PER_GROUP = 2**26  # or so many of text, however few rows these are
REJECTS_PER_GROUP = 1000  # a rejected record may be of any size
_Kept = tuple[int, str, Messages, str | None]  # a row: its index, its id, its conversation, why that lost its end


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    return source_units(recipe, outputs, FOLDER, speech=False)


def _run(job: Job) -> Outcome:
    return read_in_parts(job, FOLDER, REJECTS_PER_GROUP, _Reader)


class _Reader:
    """Goes through a source's texts, as `pipelines.parts.Reader` says."""

    def __init__(self, recipe: Recipe, source: Source, position: int, passed: int) -> None:
        self._recipe, self._source = recipe, source
        self.position = position  # records read so far, the index of the next
        self.passed = passed  # records that `where` let pass, for `limit`
        self._shape = _first_shape(source, recipe.root_path)
        self.said = self._shape.said if self._shape else "no readable record"
        self._max_prompt_bytes = recipe.read.max_prompt_bytes
        self._limit = math.inf if source.limit is None else source.limit
        self._chooses = bool(source.where or source.where_not)
        self._records = self._open()
        self._next = next(self._records, None)

    def _open(self) -> Iterator[SourceRecord | Messages]:
        """Yield the records from the position on; in place of those that are surely sound, their conversations."""
        source, root, pair = self._source, self._recipe.root_path, self._shape and self._shape.pair
        as_it_is = not self._chooses and source.turns in ("first", "all")
        rows = read_rows(source, root, skip=self.position) if pair and as_it_is else None
        if rows is None or not pair:
            yield from read_records(source, root, skip=self.position)
            return
        for some in rows:
            pairs = zip(*some.columns(pair), strict=True)
            found = [sound_exchange(prompt, answer, self._max_prompt_bytes) for prompt, answer in pairs]
            others = [place for place, messages in enumerate(found) if messages is None]
            given = iter(some.records(others))
            yield from (next(given) if messages is None else messages for messages in found)

    def more(self) -> bool:
        """Tell whether there is another record to read."""
        return self._next is not None and self.passed < self._limit

    def fill(self, writer: RowWriter) -> int:
        """Read one part's worth of rows into a writer; returns the number of records read."""
        first, rows = self.position, self._recipe.read.rows_per_shard
        while rows and self.more():
            kept: list[_Kept] = []
            most, room = min(rows, ROWS_PER_GROUP), CHARS_PER_GROUP
            while len(kept) < most and room > 0 and self._next is not None and self.passed < self._limit:
                record, self._next = self._next, next(self._records, None)
                if (row := self._take(record, writer)) is not None:
                    kept.append(row)
                    room -= sum([len(text) for _, text in row[2]])
                self.position += 1
            if kept:
                writer.keep_all(_table(self._source, kept))
            rows -= len(kept)
        return self.position - first

    def _take(self, record: SourceRecord | Messages, writer: RowWriter) -> _Kept | None:
        """Return the row of a record; None where that was written to the rejected."""
        name = self._source.name
        if isinstance(record, list):
            self.passed += 1
            return self.position, id_of_texts(name, record), record, None
        try:
            messages, cut = self._messages(record)
        except BadRecord as bad:
            reason = f"read.{bad}"
            raw = "" if reason.startswith("read.where") else record.raw_text()
            writer.reject({"source": name, "index": self.position, "place": record.place, "raw": raw}, reason)
            return None
        return self.position, id_of_texts(name, messages), messages, cut

    def _messages(self, record: SourceRecord) -> tuple[Messages, str | None]:
        """Return a record's conversation, and why it lost its end, if so. Raises BadRecord where none is to be kept."""
        value = record.value
        if record.bad is not None:
            raise BadRecord(record.bad)
        if not isinstance(value, dict):
            raise BadRecord(f"not_an_object:{type(value).__name__}")
        if self._chooses:
            check_where(self._source, value)
        self.passed += 1
        assert self._shape is not None, "a record is an object, so there is a shape"
        whole = self._shape.convert(value)
        kept = checked(whole, self._source.turns, self._max_prompt_bytes)
        if len(kept) == len(whole):
            return kept, None
        return kept, cut_at("read.turns", _count_exchanges(kept), _count_exchanges(whole))


def _table(source: Source, kept: Sequence[_Kept]) -> pa.Table:
    """Return rows as columns, those of later steps null: through a dict of each row it takes three times as long."""
    index, ids, conversations, cuts = zip(*kept, strict=True)
    roles, texts = (pa.array(cells, pa.string()) for cells in zip(*chain.from_iterable(conversations), strict=True))
    ends = np.cumsum([0, *map(len, conversations)])  # of each conversation among all messages
    by_user = pc.equal(roles, "user").to_numpy(zero_copy_only=False)
    messages = pa.StructArray.from_arrays([roles, texts], fields=list(MESSAGES.value_type))
    known = {
        "id": ids,
        "source": [source.name] * len(ids),
        "license": [source.license] * len(ids),
        "index": index,
        "messages": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), messages),
        "exchanges": np.add.reduceat(by_user.astype(np.int32), ends[:-1]),
        "answered": ~by_user[ends[1:] - 1],
        "cut": cuts,
        "spoken": [[]] * len(ids),
    }
    columns = [pa.array(known[f.name], f.type) if f.name in known else pa.nulls(len(ids), f.type) for f in ROW]
    return pa.Table.from_arrays(columns, schema=ROW)


def _count_exchanges(messages: Messages) -> int:
    return sum(role == "user" for role, _ in messages)


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
    version=5,
    options=lambda recipe: recipe.read.model_dump(mode="json"),
    units=_units,
    run=_run,
    in_parts=True,
)
