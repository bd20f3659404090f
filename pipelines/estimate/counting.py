"""How many records a source has that was never read: counted, where that is cheap, and never guessed in silence."""

from __future__ import annotations

import csv
import gzip
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.options import Source
from pipelines.recordings import SOUNDS, audio_files
from pipelines.shards import Record
from pipelines.sources import source_files

LOOK_AT_BYTES = 64 * 10**6  # of a source's texts: what lies behind them is counted by its size
TEXT = (".jsonl", ".json", ".csv")


class Rows(NamedTuple):
    """How many records a source has, and where the number comes from."""

    rows: int | None  # None: nobody knows
    how: str  # "counted", "read before", "by size, ...", "given", ...; or the remedy


class Part(NamedTuple):
    """Records of a file, or of as much of it as was looked at."""

    rows: int
    seen: int  # bytes
    size: int  # bytes of the whole file


def kind_of(path: Path) -> str:
    """Return a file's suffix, that of what is compressed."""
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def count(source: Source, root: Path, record: Record | None, given: int | None) -> Rows:
    """Return how many records of a source there are, `limit` and `where` apart.

    Args:
        record: of an earlier read of the same source, current or not.
        given: what the user says.
    Raises UserError where its files are not there.
    """
    if given is not None:
        return Rows(given, "given")
    if source.published and source.published.rows_in is not None and source.hf is not None:
        return Rows(source.published.rows_in, "published")
    if record is not None:
        return Rows(record.counts.rows_in, "read before")
    if source.hf is not None:
        if source.limit is not None and not source.where and not source.where_not:
            return Rows(source.limit, "its limit")
        return Rows(None, f"a dataset that was not looked at: say --rows {source.name}=N")
    files = audio_files(source, root) if source.audio else source_files(source, root)
    return _of_files(source, files)


def _of_files(source: Source, files: list[Path]) -> Rows:
    parts: list[Part] = []
    unseen = 0  # bytes of the text files behind those that were looked at
    sounds = sum(path.suffix.lower() in SOUNDS for path in files) if source.audio else 0
    for path in files:
        if not source.audio and kind_of(path) in TEXT and sum(p.seen for p in parts) >= LOOK_AT_BYTES:
            unseen += path.stat().st_size
            continue
        try:
            part = _of_recordings(path) if source.audio else _of_records(path)
        except (OSError, ValueError, EOFError, pa.ArrowException, tarfile.TarError, csv.Error) as error:
            raise UserError(
                f"source {source.name}: cannot count {path}: {error}. Mend it, or say --rows {source.name}=N"
            ) from error
        if part is not None:
            parts.append(part)
    rows, seen = sum(part.rows for part in parts), sum(part.seen for part in parts)
    unseen += sum(part.size - part.seen for part in parts)
    if not unseen:
        return Rows(rows + sounds, "counted")
    return Rows(round(rows * (seen + unseen) / seen) + sounds, f"by size, from the first {seen / 1e6:.0f} MB")


def _of_recordings(path: Path) -> Part | None:
    """Return the samples of a shard; None for a file that is one recording, or a table of texts."""
    size = path.stat().st_size
    if path.suffix == ".parquet":
        return Part(pq.read_metadata(path).num_rows, size, size)
    if ".tar" not in path.name.lower() and path.suffix.lower() != ".tgz":
        return None
    compressed = path.suffix.lower() != ".tar"
    keys, before, seen = 0, "", 0
    with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|gz" if compressed else "r:") as archive:
        for member in archive:  # of a plain tar, headers alone are read
            name = PurePosixPath(member.name)
            if member.isfile() and (key := str(name.parent / name.name.partition(".")[0])) != before:
                keys, before = keys + 1, key
            if compressed and (seen := file.tell()) >= LOOK_AT_BYTES:
                return Part(keys, min(seen, size), size)
    return Part(keys, size, size)


def _of_records(path: Path) -> Part:
    kind, size = kind_of(path), path.stat().st_size
    with path.open("rb") as raw:
        opened: IO[bytes] = gzip.GzipFile(fileobj=raw) if path.name.endswith(".gz") else raw  # type: ignore[assignment]
        if kind == ".parquet":
            return Part(pq.ParquetFile(opened).metadata.num_rows, size, size)
        if kind == ".json" and (items := _items(opened)) is not None:
            return Part(items, size, size)
        if kind == ".csv":
            texts = (line.decode("utf-8", "replace") for line in _first_lines(opened))
            rows = max(sum(1 for fields in csv.reader(texts) if fields) - 1, 0)  # its header apart
        else:
            rows = sum(1 for line in _first_lines(opened) if not line.isspace())
        return Part(rows, min(raw.tell(), size - 1) if opened.read(1) else size, size)


def _first_lines(file: IO[bytes]) -> Iterator[bytes]:
    seen = 0
    while seen < LOOK_AT_BYTES and (line := file.readline()):
        seen += len(line)
        yield line


def _items(file: IO[bytes]) -> int | None:
    """Return the items of a JSON file's list; None where it is JSON lines after all, from its start again.

    Raises ValueError for a list too long to be parsed for its length.
    """
    start = file.read(LOOK_AT_BYTES + 1)
    if not start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        file.seek(0)
        return None
    if len(start) > LOOK_AT_BYTES:
        raise ValueError(f"a list of more than {LOOK_AT_BYTES // 10**6} MB")
    return len(orjson.loads(start.removeprefix(b"\xef\xbb\xbf")))


def parse_rows(said: list[str], sources: Mapping[str, object]) -> dict[str, int]:
    """Return {source: rows} of `--rows NAME=N`. Raises UserError for what is none of the recipe's, or no number."""
    from pipelines.options import nearest

    rows = {}
    for item in said:
        name, _, number = item.partition("=")
        if name not in sources:
            raise UserError(f"--rows {item}: there is no source {name!r}; {nearest(name, list(sources))}")
        if not number.isdecimal():
            raise UserError(f"--rows {item}: write it as NAME=N, such as --rows {name}=20000")
        rows[name] = int(number)
    return rows
