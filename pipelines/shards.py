"""Files that are whole or absent: staged writing, records, digests; the rows of a shard, counted as they are written.

A unit of work stages its files on its machine, then commits: the old record goes, the files are moved to their names
(fsynced and renamed, or uploaded), the new record is written last. Done is the record, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import RunError
from pipelines.row import Row, reason_of

TEMPORARY = ".tmp-"
# Columns of few values are written with a dictionary; for texts, ids and FLAC it costs time and saves nothing.
REPEATED = frozenset(
    [
        "role",
        "source",
        "license",
        "language",
        "voice",
        "tts",
        "tokenizer",
        "inaudible",
        "task",
        "path",
        "shard",
        "benchmark",
        "unspeakable",
        "private",
    ]
)
NO_RANGE = frozenset(
    ["bytes", "content", "text", "raw", "normalised", "conversations", "prompt", "answer", "text_prompt", "spoken_text"]
)
QUARANTINED = "quarantined"  # the fact that a shard's rows were rejected because it killed its workers: why
ROWS_PER_GROUP = 64  # rows held in memory, audio and all, before they are written


def digest_file(path: Path) -> str:
    """Return blake2b of a file's bytes: 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest_json(value: Any) -> str:
    """Return blake2b of a value's JSON, 32 hex digits: the order of keys counts, as that of inputs does."""
    return hashlib.blake2b(_compact(value).encode(), digest_size=16).hexdigest()


_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode  # one encoder: a new one takes longer


def digest_strings(value: Mapping[str, Any]) -> str:
    """Return `digest_json` of a value without numbers, whose JSON may differ: in a tenth of the time."""
    return hashlib.blake2b(orjson.dumps(value), digest_size=16).hexdigest()


class DigestOfMany:
    """`digest_json` of mappings that begin with the same items: those are digested once."""

    def __init__(self, begin: Mapping[str, Any]) -> None:
        self._begun = hashlib.blake2b(_compact(begin)[:-1].encode(), digest_size=16)

    def __call__(self, rest: Mapping[str, Any], strings: bool = False) -> str:
        """Return `digest_json({**begin, **rest})`.

        Args:
            strings: whether `rest` holds strings and no numbers, as for `digest_strings`.
        """
        digest = self._begun.copy()
        digest.update(b"," + (orjson.dumps(rest) if strings else _compact(rest).encode())[1:])
        return digest.hexdigest()


def to_json(value: Any) -> bytes:
    """Return the bytes of a JSON file: indented, for people too."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class Counts:
    """What a unit did with its rows. rows_in = rows_kept + the sum of rejected, always."""

    rows_in: int = 0
    rows_kept: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)

    def check(self, where: str) -> None:
        """Raise RunError unless every row is accounted for."""
        if self.rows_in != self.rows_kept + sum(self.rejected.values()):
            raise RunError(
                f"{where}: {self.rows_in} rows in, but {self.rows_kept} kept "
                f"and {sum(self.rejected.values())} rejected. This is a bug; nothing was committed."
            )

    @staticmethod
    def total(parts: Iterable[Counts]) -> Counts:
        """Return the sum of several counts."""
        rows_in = rows_kept = 0
        rejected: Counter[str] = Counter()
        for part in parts:
            rows_in += part.rows_in
            rows_kept += part.rows_kept
            if part.rejected:
                rejected.update(part.rejected)
        return Counts(rows_in, rows_kept, dict(sorted(rejected.items())))


@dataclass(frozen=True)
class Record:
    """What is known of a finished unit: its JSON file is the proof that it is done."""

    fingerprint: str
    made_of: Mapping[str, Any]  # what the fingerprint is the digest of
    counts: Counts
    files: Mapping[str, Mapping[str, Any]]  # path from the run folder -> digest, bytes
    facts: Mapping[str, Any]  # what later steps and the card want to know
    cost: Mapping[str, Any]  # seconds, peak memory, usage: never part of a fingerprint


def read_record(path: Path | str) -> Record | None:
    """Return the record in a file; None where there is none."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - of very many a Path takes longer than the file
            return record_of(file.read())
    except FileNotFoundError:
        return None


def record_of(content: bytes) -> Record | None:
    """Return the record in a file's content; None where that was torn by a crash of the file system."""
    try:
        raw = orjson.loads(content)
    except ValueError:
        try:
            raw = json.loads(content)  # which takes NaN
        except ValueError:
            return None
    return Record(**{**raw, "counts": Counts(**raw["counts"])})


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Return a Parquet file's columns, read by this thread alone: a worker has one CPU."""
    with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
        return file.read(columns, use_threads=False)


def parquet_writer(where: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """Return what writes Parquet as we write it, to a path or a stream of Arrow's."""
    columns = _leaves(schema)
    compression = dict.fromkeys((c for c in columns if not c.endswith("audio.bytes")), "zstd")
    repeated = [c for c in columns if c.rpartition(".")[2] in REPEATED]
    ranges = [c for c in columns if c.rpartition(".")[2] not in NO_RANGE]
    return pq.ParquetWriter(where, schema, compression=compression, use_dictionary=repeated, write_statistics=ranges)


class Staged:
    """The files of one unit before they are committed, and those of other units that it has in hand.

    Args:
        run_dir: the run folder, or this machine's copy of one in a store.
        may_commit: asked just before the commit; False when another process has taken the run over.
    """

    def __init__(self, run_dir: Path, may_commit: Callable[[], bool] = lambda: True) -> None:
        from pipelines.folders.run_folder import folder_at  # which knows records

        self.folder = folder_at(run_dir)
        self.may_commit = may_commit
        self._files: dict[str, Path] = {}
        self._pins = self.folder.copy.pins() if self.folder.copy else None

    def file(self, name: str, digest: str | None) -> Path:
        """Return the local path of a file that another unit committed, until this one is discarded.

        Args:
            digest: of it; may be None where it lies in a folder.
        Raises RunError where it cannot be brought, or is not the file of that digest.
        """
        if self.folder.copy is None or self._pins is None:
            return self.folder.path / name
        if digest is None:
            raise RunError(f"{name} is read, and is none of the unit's inputs. This is a bug; nothing was committed.")
        return self.folder.copy.fetch(name, digest, self._pins)

    def path(self, name: str) -> Path:
        """Return the temporary path of a file that will be `name` (relative to the run folder)."""
        if self.folder.copy:
            temporary = self.folder.copy.staged(name)
        else:
            final = self.folder.path / name
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary = final.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{final.name}")
        self._files[name] = temporary
        return temporary

    @contextmanager
    def parquet(self, name: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """Open a Parquet file for writing."""
        with parquet_writer(self.path(name), schema) as writer:
            yield writer

    def table(self, name: str, table: pa.Table) -> None:
        """Write a whole Parquet file."""
        with self.parquet(name, table.schema) as writer:
            writer.write_table(table)

    def bytes(self, name: str, content: bytes) -> None:
        """Write a whole file."""
        self.path(name).write_bytes(content)

    def commit(
        self,
        record_name: str,
        made_of: Mapping[str, Any],
        counts: Counts,
        facts: Mapping[str, Any],
        cost: Mapping[str, Any],
        files: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Record:
        """Move the files to their names and write the record, last. Returns the record that lies there then.

        That is another worker's where the unit was given out twice and the other one was sooner.

        Args:
            files: what was committed before, in parts, and belongs to this record too.
        Raises RunError when rows are not accounted for, or when the run now belongs to another process.
        """
        counts.check(record_name)
        digests = {name: digest_file(path) for name, path in self._files.items()}
        sizes = {name: path.stat().st_size for name, path in self._files.items()}
        about = {name: {"digest": digests[name], "bytes": sizes[name]} for name in self._files}
        record = Record(digest_json(made_of), made_of, counts, {**(files or {}), **about}, facts, cost)
        before = self.folder.record(record_name)
        if before is not None and self._is_done(before, record.fingerprint):
            self.discard()
            return before
        self.check_owner(record_name)
        if before is not None and before.files != record.files:
            self.folder.remove([record_name])  # an old record must never vouch for a new file
        self.folder.put(self._files, digests)
        self.check_owner(record_name)
        self.folder.write(record_name, to_json(asdict(record)))
        return record

    def check_owner(self, name: str) -> None:
        """Raise RunError where the run now belongs to another process: asked before a file is removed or written."""
        if not self.may_commit():
            raise RunError(f"{name}: another process has taken over {self.folder.place}")

    def discard(self) -> None:
        """Remove what was staged and not committed, and let go of what was in hand."""
        for temporary in [*self._files.values(), *([self._pins] if self._pins else [])]:
            temporary.unlink(missing_ok=True)

    def _is_done(self, before: Record, fingerprint: str) -> bool:
        """Tell whether the record that lies there is of this very unit, done: not given up, and with its files."""
        return before.fingerprint == fingerprint and QUARANTINED not in before.facts and self.folder.has(before)


@cache  # a shard has the schemas of the one before
def _leaves(schema: pa.Schema) -> list[str]:
    """Return the Parquet columns of a schema, by their paths."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    columns = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [columns.column(i).path for i in range(len(columns))]


class RowWriter:
    """Writes the kept and the rejected rows of one shard, and counts them.

    The schemas say what a kept and a rejected row look like; a rejected row has a `reject`.
    """

    def __init__(self, kept: pq.ParquetWriter, rejects: pq.ParquetWriter, rows_per_group: int) -> None:
        self._rows_per_group = rows_per_group
        self._writers = {True: kept, False: rejects}
        self._waiting: dict[bool, list[Row]] = {True: [], False: []}
        self._kept = 0
        self._rejected: Counter[str] = Counter()

    def keep(self, row: Row) -> None:
        """Add a row that goes on."""
        self._kept += 1
        self._add(True, row)

    def keep_all(self, rows: pa.Table) -> None:
        """Add rows that go on, as a table: a row group of the shard."""
        self._flush(True)
        self._kept += rows.num_rows
        self._writers[True].write_table(rows)

    def reject(self, row: Row, reject: str) -> None:
        """Add a row that ends here, with its reason."""
        self._rejected[reason_of(reject)] += 1
        self._add(False, {**row, "reject": reject})

    def finish(self, rows_in: int) -> Counts:
        """Write what waits and return the counts, for the number of rows that came in."""
        for kept in (True, False):
            self._flush(kept)
        return Counts(rows_in, self._kept, dict(sorted(self._rejected.items())))

    def _add(self, kept: bool, row: Row) -> None:
        self._waiting[kept].append(row)
        if len(self._waiting[kept]) >= self._rows_per_group:
            self._flush(kept)

    def _flush(self, kept: bool) -> None:
        if self._waiting[kept]:
            schema = self._writers[kept].schema
            self._writers[kept].write_table(pa.Table.from_pylist(self._waiting[kept], schema=schema))
            self._waiting[kept] = []


@contextmanager
def row_writer(
    staged: Staged,
    folder: str,
    shard: str,
    kept: pa.Schema,
    rejected: pa.Schema,
    rows_per_group: int = ROWS_PER_GROUP,
) -> Iterator[RowWriter]:
    """Open `<folder>/<shard>.parquet` and `<folder>/rejects/<shard>.parquet` for rows."""
    with (
        staged.parquet(f"{folder}/{shard}.parquet", kept) as keeps,
        staged.parquet(f"{folder}/rejects/{shard}.parquet", rejected) as rejects,
    ):
        yield RowWriter(keeps, rejects, rows_per_group)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{path.name}")
    try:
        temporary.write_bytes(content)
        sync_path(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_path(path.parent)


def sync_path(path: Path) -> None:
    """Make a file's bytes, or a folder's names, last through a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
