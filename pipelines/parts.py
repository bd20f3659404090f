"""A source read part by part: one worker reads it in order, and a killed run goes on after its last part."""

from __future__ import annotations

from typing import Protocol

from pipelines.errors import UserError
from pipelines.folders.run_folder import RunFolder
from pipelines.graph import Job, Outcome, Outputs, Unit
from pipelines.options import Source
from pipelines.recipe import Recipe
from pipelines.row import REJECTED_RECORD, ROW
from pipelines.shards import Counts, Record, RowWriter, Staged, digest_json, read_record, row_writer
from pipelines.sources import source_digests


class Reader(Protocol):
    """Goes through a source's records, a part at a time.

    position: records read so far, the index of the next
    passed:   records that `where` let pass, for `limit`
    said:     how the records were understood
    """

    position: int
    passed: int
    said: str

    def more(self) -> bool:
        """Tell whether there is another record to read."""

    def fill(self, writer: RowWriter) -> int:
        """Read one part's worth of rows into a writer; returns the number of records read."""


class Open(Protocol):
    """Opens a source behind the records that earlier parts hold."""

    def __call__(self, recipe: Recipe, source: Source, position: int, passed: int) -> Reader:
        """Return a reader at a position."""


def source_units(recipe: Recipe, outputs: Outputs, folder: str, speech: bool) -> list[Unit]:
    """Return a unit for each source of texts, or of speech."""
    units = []
    for source in recipe.sources:
        if (source.audio is not None) != speech:
            continue
        record = read_record(recipe.run_path / folder / f"{source.name}.json")
        known = record.facts["files"] if record else {}
        files = {} if outputs.looking and not record else source_digests(source, recipe.root_path, known)
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


def read_in_parts(job: Job, folder: str, rows_per_group: int, open_reader: Open) -> Outcome:
    """Read a source; parts that a killed run had finished are not made again.

    Raises UserError where it holds no records, or none that can be used.
    """
    source = Source.model_validate(job.unit.args["source"])
    where, fingerprint = job.staged.folder, digest_json(job.made_of)
    before = where.record(f"{folder}/{source.name}.json")
    if before is not None and before.fingerprint != fingerprint:
        where.remove([f"{folder}/{source.name}.json"])  # it must not vouch for parts that are about to change
    parts = _finished_parts(where, folder, source.name, fingerprint)
    position = parts[-1].facts["position"] if parts else 0
    passed = parts[-1].facts["passed"] if parts else 0
    reader = open_reader(job.recipe, source, position, passed)
    while reader.more():
        name = f"{source.name}-{len(parts):05d}"
        staged = Staged(where.path, job.staged.may_commit)
        try:
            with row_writer(staged, folder, name, ROW, REJECTED_RECORD, rows_per_group) as writer:
                rows_in = reader.fill(writer)
                counts = writer.finish(rows_in)
            facts = {
                "position": reader.position,
                "passed": reader.passed,
                "said": reader.said,
                "shards": {name: counts.rows_kept},
            }
            parts.append(staged.commit(f"{folder}/parts/{name}.json", job.made_of, counts, facts, {}))
        finally:
            staged.discard()
    return _outcome(job, folder, source, parts)


def _outcome(job: Job, folder: str, source: Source, parts: list[Record]) -> Outcome:
    counts = Counts.total(part.counts for part in parts)
    if not counts.rows_in:
        raise UserError(f"source {source.name} holds no records")
    if not counts.rows_kept:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in counts.rejected.items())
        options = "audio and where" if source.audio else "shape, prompt, answer and where"
        raise UserError(
            f"source {source.name}: not one of its {counts.rows_in:,} records can be used ({reasons}; "
            f"{parts[-1].facts['said']}). Check {options}; {folder}/rejects holds the records."
        )
    shards = {name: rows for part in parts for name, rows in part.facts["shards"].items()}
    facts = {"shards": shards, "said": parts[-1].facts["said"], "files": dict(job.unit.notes["files"])}
    files = {name: about for part in parts for name, about in part.files.items()}
    return Outcome(counts, facts, files)


def _finished_parts(where: RunFolder, folder: str, source: str, fingerprint: str) -> list[Record]:
    """Return the parts, from the first on, that an earlier run of the same unit committed."""
    parts: list[Record] = []
    while True:
        part = where.record(f"{folder}/parts/{source}-{len(parts):05d}.json")
        if part is None or part.fingerprint != fingerprint or where.missing(part):
            return parts
        parts.append(part)
