"""A source read part by part: one worker reads it in order, and a killed run goes on after its last part.

What follows takes the rows of each part as soon as that is committed: its record lies in the run folder, where the
driver looks for it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pipelines.errors import RunError, UserError
from pipelines.folders.run_folder import RunFolder
from pipelines.graph import Job, Outcome, Outputs, Unit, UnitPlan
from pipelines.options import Source
from pipelines.recipe import Recipe
from pipelines.row import REJECTED_RECORD, ROW
from pipelines.shards import Counts, Record, RowWriter, Staged, digest_json, read_record, row_writer
from pipelines.sources import source_digests

LOOK_SECONDS = 0.2  # between two looks for new parts,
LOOK_SECONDS_STORE = 2.0  # and in an object store, where each look is a request to pay for
LOOK_SHARE = 0.25  # of that time, which a look may take: the driver has workers to wait for

log = logging.getLogger("speechmill")


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
        job.staged.check_owner(f"{folder}/{source.name}.json")
        where.remove([f"{folder}/{source.name}.json"])  # it must not vouch for parts that are about to change
    parts = _finished_parts(where.record, where, folder, source.name, fingerprint)
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
            parts.append(staged.commit(_part_name(folder, source.name, len(parts)), job.made_of, counts, facts, {}))
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


def _part_name(folder: str, source: str, number: int) -> str:
    return f"{folder}/parts/{source}-{number:05d}.json"


def _finished_parts(
    record: Callable[[str], Record | None], where: RunFolder, folder: str, source: str, fingerprint: str
) -> list[Record]:
    """Return the parts, from the first on, that an earlier run of the same unit committed; `record` reads them."""
    parts: list[Record] = []
    while True:
        part = record(_part_name(folder, source, len(parts)))
        if part is None or part.fingerprint != fingerprint or where.missing(part):
            return parts
        parts.append(part)


@dataclass
class _Reading:
    """A unit at work: what its parts' fingerprint is, those that it began with, and how many were seen."""

    fingerprint: str
    before: list[Record]
    seen: int = 0


class PartsAtWork:
    """Finds the parts that units at work have committed, for the driver; each of them once."""

    def __init__(self, where: RunFolder) -> None:
        self._where = where
        self._seconds = LOOK_SECONDS_STORE if where.copy else LOOK_SECONDS
        self._looked = -self._seconds
        self._units: dict[tuple[str, str], _Reading] = {}

    def begin(self, key: str, planned: UnitPlan) -> None:
        """Take in that a unit is about to be given out.

        Records behind the last part that its work will go on after are removed: whatever appears there is new, and of
        the unit as it is now.
        """
        where, source, fingerprint = self._where, planned.unit.name, digest_json(planned.made_of)
        # The driver's copy of the JSON is as new as what an earlier run left.
        before = _finished_parts(lambda name: read_record(where.path / name), where, key, source, fingerprint)
        kept = {_part_name(key, source, number) for number in range(len(before))}
        ours = re.compile(rf"{re.escape(source)}-\d{{5,}}\.json")
        names = [path.name for path in (where.path / key / "parts").glob("*.json") if ours.fullmatch(path.name)]
        where.remove({f"{key}/parts/{name}" for name in names} - kept)
        self._units[key, source] = _Reading(fingerprint, before)

    def end(self, key: str, unit: str) -> None:
        """Take in that a unit is done: its own record tells of all its parts."""
        self._units.pop((key, unit), None)

    def look(self) -> Iterator[tuple[str, str, Record]]:
        """Yield the pass, the unit and the record of parts that are new, now and then; at other times nothing.

        Nor where the store fails: a look only wants to be early, and the unit's own record tells of all its parts.
        """
        began = time.monotonic()
        if began - self._looked < self._seconds:
            return
        for (key, unit), reading in list(self._units.items()):
            while (part := self._next(key, unit, reading)) is not None:
                reading.seen += 1
                yield key, unit, part
                if time.monotonic() - began > LOOK_SHARE * self._seconds:
                    break
            self._units[key, unit] = self._units.pop((key, unit))  # the others first the next time
            if time.monotonic() - began > LOOK_SHARE * self._seconds:
                break
        self._looked = time.monotonic()

    def _next(self, key: str, unit: str, reading: _Reading) -> Record | None:
        if reading.seen < len(reading.before):
            return reading.before[reading.seen]
        name = _part_name(key, unit, reading.seen)
        try:
            part = self._where.record(name)
        except RunError as error:
            log.warning("%s. The run goes on, and looks again.", error)
            return None
        if part is None or part.fingerprint != reading.fingerprint:
            return None
        self._where.note(name, part)
        return part
