"""read: records of the sources -> rows in shards, broken records with their place among the rejects."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit, missing_files
from pipelines.options import Source
from pipelines.recipe import Recipe
from pipelines.row import REJECTED_RECORD, ROW, row_id
from pipelines.shapes import BadRecord, Messages, Shape, checked, find_shape
from pipelines.shards import Counts, Record, RowWriter, Staged, digest_json, read_record, row_writer
from pipelines.sources import SourceRecord, read_records, source_digests

FOLDER = "read"
LOOK_AT = 200  # records, to find which columns a source has
ROWS_PER_GROUP = 1000  # text alone, so that more rows fit in memory than of later steps


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    """Return a unit for each source: it is read by one worker, in order, and written in parts."""
    units = []
    for source in recipe.sources:
        record = read_record(recipe.run_path / FOLDER / f"{source.name}.json")
        known = record.facts["files"] if record else {}
        files = {} if outputs.looking and not record else source_digests(source, Path(recipe.root), known)
        units.append(
            Unit(
                source.name,
                rows=record.counts.rows_in if record else 0,
                args={"source": source.model_dump(mode="json")},  # without what is `published`: see Source
                outside={name: digest for name, (_, _, digest) in files.items()},
                notes={"files": files},
            )
        )
    return units


def _run(job: Job) -> Outcome:
    """Read a source part by part; parts that a killed run had finished are not made again."""
    source = Source.model_validate(job.unit.args["source"])
    # An old record must not vouch for parts that are about to change.
    (job.staged.run_dir / FOLDER / f"{source.name}.json").unlink(missing_ok=True)
    parts = _finished_parts(job, source.name, digest_json(job.made_of))
    position = parts[-1].facts["position"] if parts else 0
    passed = parts[-1].facts["passed"] if parts else 0
    reader = _Reader(job.recipe, source, position, passed, Path(job.recipe.root))
    while reader.more():
        name = f"{source.name}-{len(parts):05d}"
        staged = Staged(job.staged.run_dir, job.staged.may_commit)
        try:
            with row_writer(staged, FOLDER, name, ROW, REJECTED_RECORD, ROWS_PER_GROUP) as writer:
                rows_in = reader.fill(writer)
                counts = writer.finish(rows_in)
            facts = {
                "position": reader.position,
                "passed": reader.passed,
                "said": reader.said,
                "shards": {name: counts.rows_kept},
            }
            parts.append(staged.commit(f"{FOLDER}/parts/{name}.json", job.made_of, counts, facts, {}))
        finally:
            staged.discard()
    counts = Counts.total(part.counts for part in parts)
    if not counts.rows_in:
        raise UserError(f"source {source.name} holds no records")
    if not counts.rows_kept:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in counts.rejected.items())
        raise UserError(
            f"source {source.name}: not one of its {counts.rows_in:,} records can be used ({reasons}; "
            f"{parts[-1].facts['said']}). Check shape, prompt, answer and where; {FOLDER}/rejects holds the records."
        )
    shards = {name: rows for part in parts for name, rows in part.facts["shards"].items()}
    facts = {"shards": shards, "said": parts[-1].facts["said"], "files": dict(job.unit.notes["files"])}
    files = {name: about for part in parts for name, about in part.files.items()}
    return Outcome(counts, facts, files)


def _finished_parts(job: Job, source: str, fingerprint: str) -> list[Record]:
    """Return the parts, from the first on, that an earlier run of the same unit committed."""
    parts: list[Record] = []
    while True:
        path = job.staged.run_dir / FOLDER / "parts" / f"{source}-{len(parts):05d}.json"
        part = read_record(path)
        if part is None or part.fingerprint != fingerprint or missing_files(job.staged.run_dir, part):
            return parts
        parts.append(part)


class _Reader:
    """Goes through a source's records, from a position on, a part at a time."""

    def __init__(self, recipe: Recipe, source: Source, position: int, passed: int, root: Path) -> None:
        self._recipe, self._source = recipe, source
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
            messages = self._messages(record)
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
                "exchanges": sum([message["role"] == "user" for message in messages]),
                "answered": messages[-1]["role"] == "assistant",
                "spoken": [],
            }
        )
        return True

    def _messages(self, record: SourceRecord) -> Messages:
        """Return a record's conversation. Raises BadRecord where it has none to keep."""
        source, value = self._source, record.value
        if record.bad is not None:
            raise BadRecord(record.bad)
        if not isinstance(value, dict):
            raise BadRecord(f"not_an_object:{type(value).__name__}")
        for column, wanted in source.where.items():
            if not _is_one_of(value.get(column), wanted):
                raise BadRecord(f"where:{column}")
        for column, unwanted in source.where_not.items():
            if _is_one_of(value.get(column), unwanted):
                raise BadRecord(f"where_not:{column}")
        self.passed += 1
        assert self._shape is not None, "a record is an object, so there is a shape"
        return checked(self._shape.convert(value), source.turns, self._max_prompt_bytes)


def _first_shape(source: Source, root: Path) -> Shape | None:
    """Return the shape of a source's first objects; None where none of its records is one."""
    objects = (record.value for record in read_records(source, root) if isinstance(record.value, dict))
    columns: dict[str, Any] = {}
    for value in islice(objects, LOOK_AT):
        for column, cell in value.items():
            if columns.get(column) is None:
                columns[column] = cell
    return find_shape(source, columns) if columns else None


def _is_one_of(cell: Any, named: Any) -> bool:
    """Tell whether a column's value is the one that `where` names, or one of those."""
    values = named if isinstance(named, list) else [named]
    return cell in values or (isinstance(cell, str) and cell in map(str, values))  # CSV knows text alone


PASS = Pass(
    key=FOLDER,
    needs=(),
    version=2,
    options=lambda recipe: recipe.read.model_dump(mode="json"),
    units=_units,
    run=_run,
)
