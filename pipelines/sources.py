"""Records from local files and Hugging Face datasets, one after another, each with its place.

A record that cannot be read is yielded with its reason; a file that cannot be read is a UserError
that names file, place and remedy.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.options import Source, nearest
from pipelines.shards import digest_file

_Found = TypeVar("_Found")
_Read = Callable[[IO[bytes], str], Iterator[_Found]]  # of an open file, and its name in places
SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


class SourceRecord(NamedTuple):
    """One record as read: a value, or the reason why there is none."""

    place: str  # file:line for text files, file:row for others
    value: Any
    bad: str | None = None  # "bad_json:..." when it could not be read
    raw: bytes | None = None  # as it stands in the file, where that is known

    def raw_text(self) -> str:
        """Return the record as text for the rejects; undecodable bytes are escaped."""
        if self.raw is not None:
            return self.raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
        return json.dumps(self.value, ensure_ascii=True, default=repr)


class SourceRows(NamedTuple):
    """Some rows of a Parquet file: to be taken by columns, and one by one where a row needs a look by itself."""

    place: str  # of the file
    first: int  # its number there
    batch: pa.RecordBatch

    def columns(self, names: Sequence[str]) -> list[list[Any]]:
        """Return some columns' values, as `records` does: of two of a name the last, nulls where there is none.

        Raises UserError likewise.
        """
        nulls = [[None] * self.batch.num_rows]
        with _readable(self.place, self.first):
            found = [map(self.batch.column, self.batch.schema.get_all_field_indices(name)) for name in names]
            return [[*nulls, *(column.to_pylist() for column in columns)][-1] for columns in found]

    def records(self, places: Sequence[int] | None = None) -> list[SourceRecord]:
        """Return rows as records: all, or those at some places, counted from the first.

        Raises UserError where a value is not what its type says.
        """
        places = range(self.batch.num_rows) if places is None else places
        batch = self.batch if len(places) == self.batch.num_rows else self.batch.take(pa.array(places, pa.int64()))
        with _readable(self.place, self.first):
            values = batch.to_pylist()
        row = f"{self.place}:row "
        return [SourceRecord(f"{row}{self.first + at}", value) for at, value in zip(places, values, strict=True)]

    def behind(self, place: int) -> SourceRows:
        """Return the rows from one on."""
        return SourceRows(self.place, self.first + place, self.batch.slice(place))


def source_files(source: Source, root: Path) -> list[Path]:
    """Return the files of a source, sorted; empty for a dataset that is not a local folder.

    Raises UserError where there is none, or one cannot be a source.
    """
    if source.hf is not None:
        folder = root / source.hf
        return sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
    assert source.path is not None, "checked by the recipe"
    path = root / source.path
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if _kind(p) in SUFFIXES and not p.is_dir())
    elif path.is_file():
        files = [path]
    else:
        files = (
            sorted(p for p in root.glob(source.path) if p.is_file())
            if not Path(source.path).is_absolute()
            else sorted(p for p in Path("/").glob(source.path.lstrip("/")) if p.is_file())
        )
    if not files:
        there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        remedy = nearest(path.name, there) if there else "its folder does not exist either"
        raise UserError(f"source {source.name}: no file at {path.absolute()}; {remedy[:300]}")
    for file in files:
        if _kind(file) not in SUFFIXES:
            raise UserError(f"source {source.name}: {file} is none of {' '.join(SUFFIXES)} (or these with .gz)")
        if not file.is_file():
            raise UserError(
                f"source {source.name}: {file} is a link to nothing. Mend it, or take it out of the source."
            )
        if file.stat().st_size == 0:
            raise UserError(
                f"source {source.name}: {file} is empty (0 bytes). Fetch it again, or take it out of the source."
            )
    return files


def source_digests(source: Source, root: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Return {path: [size, mtime_ns, digest]} of a source's files; a Hub dataset has its names alone.

    Args:
        known: an earlier answer; a file of unchanged size and time is not read again.
    """
    from pipelines.recordings import audio_files

    result = {}
    for file in audio_files(source, root) if source.audio else source_files(source, root):
        stat = file.stat()
        name = _name(file, root)
        old = known.get(name)
        if old and old[:2] == [stat.st_size, stat.st_mtime_ns]:
            result[name] = old
        else:
            result[name] = [stat.st_size, stat.st_mtime_ns, digest_file(file)]
    return result


def read_records(source: Source, root: Path, skip: int = 0) -> Iterator[SourceRecord]:
    """Return the records of a source in order, after the first `skip`."""
    records = _hub_records(source, root) if source.hf is not None else _from_files(source, root, _READERS)
    return islice(records, skip, None)


def read_rows(source: Source, root: Path, skip: int = 0) -> Iterator[SourceRows] | None:
    """Return the rows of a source in order, after the first `skip`; None for one that is not of Parquet files."""
    if source.hf is not None or {_kind(file) for file in source_files(source, root)} != {".parquet"}:
        return None
    return _skipped(_from_files(source, root, {".parquet": _read_row_batches}), skip)


def _skipped(batches: Iterator[SourceRows], skip: int) -> Iterator[SourceRows]:
    for rows in batches:
        if skip < rows.batch.num_rows:
            yield rows.behind(skip)
        skip = max(0, skip - rows.batch.num_rows)


def place_of(source: Source, root: Path, index: int) -> str | None:
    """Return the place of a source's record by its number, as `read_records` says it; None where there are fewer.

    Lines and rows before it are counted, and not parsed, wherever the format lets that be.
    """
    if source.hf is not None:
        return _hub_place(source, index)
    for file in source_files(source, root):
        name, kind = _name(file, root), _kind(file)
        with _open(file) as opened:
            if kind == ".parquet":
                rows = pq.ParquetFile(opened).metadata.num_rows
                if index < rows:
                    return f"{name}:row {index}"
                index -= rows
                continue
            if kind == ".jsonl":
                lines = enumerate(_lines(opened), 1)
                places = (f"{name}:{number}" for number, line in lines if line and not line.isspace())
            else:
                places = (record.place for record in _READERS[kind](opened, name))
            for place in places:
                if index == 0:
                    return place
                index -= 1
    return None


def _hub_place(source: Source, index: int) -> str:
    return f"hf:{source.hf}[{source.split}]:row {index}"


def _from_files(source: Source, root: Path, readers: Mapping[str, _Read[_Found]]) -> Iterator[_Found]:
    for file in source_files(source, root):
        try:
            with _open(file) as opened:
                yield from readers[_kind(file)](opened, _name(file, root))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"source {source.name}: {file} is torn: {error}. Fetch the file again.") from error
        except OSError as error:
            raise UserError(f"source {source.name}: cannot read {file}: {error}") from error


def _kind(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _name(path: Path, root: Path) -> str:
    """Return a file's name in places and digests; a name that is no UTF-8 is escaped."""
    name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Return a text file's lines, the first without the byte order mark that some editors write."""
    return chain((line.removeprefix(codecs.BOM_UTF8) for line in islice(file, 1)), file)


def _read_jsonl(file: Iterable[bytes], name: str) -> Iterator[SourceRecord]:
    for number, line in enumerate(file, 1):
        if line and not line.isspace():
            yield _parse_line(line, f"{name}:{number}")


def _parse_line(line: bytes, place: str) -> SourceRecord:
    try:
        return SourceRecord(place, orjson.loads(line), None, line)
    except orjson.JSONDecodeError:
        pass  # stricter than JSON's grammar: the standard parser decides, and says why
    try:
        return SourceRecord(place, json.loads(line.decode("utf-8")), raw=line)
    except UnicodeDecodeError as error:
        return SourceRecord(place, None, f"bad_utf8:{error.reason} at byte {error.start}", line)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError
        return SourceRecord(place, None, f"bad_json:{error}", line)


def _read_json(file: IO[bytes], name: str) -> Iterator[SourceRecord]:
    content = file.read().removeprefix(codecs.BOM_UTF8)
    try:
        value = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name}: not UTF-8: {error.reason} at byte {error.start}. Convert the file to UTF-8."
        ) from error
    except json.JSONDecodeError as error:
        lines = content.split(b"\n")
        first = next(line for line in [*lines, b"null"] if line.strip())
        if isinstance(_parse_line(first, name).value, dict):  # JSON lines named .json, as datasets writes them
            yield from _read_jsonl(lines, name)
            return
        raise UserError(
            f"{name}:{error.lineno}:{error.colno}: {error.msg}. The file is torn or not JSON; fetch it again."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{name}: {error}. Mend the file, or write it as JSON lines: then a bad record is one reject."
        ) from error
    if isinstance(value, dict):
        value = [value]  # JSON lines with one line
    if not isinstance(value, list):
        raise UserError(f"{name}: a .json source is a list of objects (or JSON lines), not {type(value).__name__}")
    for number, item in enumerate(value):
        yield SourceRecord(f"{name}:item {number}", item)


def _read_csv(file: IO[bytes], name: str) -> Iterator[SourceRecord]:
    csv.field_size_limit(sys.maxsize)
    lines = (line.decode("utf-8", "surrogateescape") for line in _lines(file))
    reader = csv.reader(lines, strict=True)
    header = next(reader, [])
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise UserError(f"{name}:1: the header names {', '.join(twice)} twice. Rename one of the columns.")
    started = reader.line_num + 1
    try:
        for fields in reader:
            place, started = f"{name}:{started}", reader.line_num + 1
            if not fields:
                continue
            raw = ",".join(fields).encode("utf-8", "surrogateescape")
            if any("\udc80" <= char <= "\udcff" for field in fields for char in field):
                yield SourceRecord(place, None, "bad_utf8:undecodable bytes", raw)
            elif len(fields) != len(header):
                yield SourceRecord(place, None, f"bad_csv:{len(fields)} fields, the header has {len(header)}", raw)
            else:
                yield SourceRecord(place, dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise UserError(
            f"{name}:{started}: {error}. A quote in this record is not as CSV wants it (it opens and does not close, "
            "or stands in a field that is not quoted); mend the record."
        ) from error


@contextmanager
def _readable(name: str, row: int) -> Iterator[None]:
    """Say what is wrong where rows from one on cannot be read as Parquet."""
    try:
        yield
    except (pa.ArrowException, ValueError, OverflowError) as error:  # also text that is no UTF-8, dates out of range
        raise UserError(
            f"{name}:row {row}: not readable as Parquet ({error}). "
            "The file is torn, of another kind, or holds what its types do not allow; fetch or write it again."
        ) from error


def _read_row_batches(file: IO[bytes], name: str) -> Iterator[SourceRows]:
    first = 0
    with _readable(name, first):
        batches = pq.ParquetFile(file).iter_batches(batch_size=1000)
    while True:
        with _readable(name, first):
            batch = next(batches, None)
        if batch is None:
            return
        yield SourceRows(name, first, batch)
        first += batch.num_rows


def _read_parquet(file: IO[bytes], name: str) -> Iterator[SourceRecord]:
    for rows in _read_row_batches(file, name):
        yield from rows.records()


_READERS: dict[str, _Read[SourceRecord]] = {
    ".jsonl": lambda file, name: _read_jsonl(_lines(file), name),
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _values(table: pa.Table) -> Iterable[dict[str, Any]]:
    """Return a table's rows, decoded as `datasets` does it row by row, which takes six times as long."""
    from datasets.features.features import Features, require_decoding

    features = Features.from_arrow_schema(table.schema)
    values: list[dict[str, Any]] = table.to_pylist()
    decode = any(require_decoding(feature) for feature in features.values())  # Json among others
    return map(features.decode_example, values) if decode else values


def _named_columns(source: Source, there: Sequence[str]) -> list[str]:
    """Return the columns that a source names, where it names its prompt: others (audio) are not even fetched."""
    named = (source.prompt, source.answer, source.system, *source.where, *source.where_not)
    columns = list(dict.fromkeys(column for column in named if column is not None))
    return columns if source.prompt and set(columns) <= set(there) else []


def _hub_records(source: Source, root: Path) -> Iterator[SourceRecord]:
    import datasets  # slow to import, and only some runs need it

    assert source.hf is not None, "checked by the caller"
    local = root / source.hf
    name = str(local) if local.is_dir() else source.hf
    try:
        rows = datasets.load_dataset(
            name, source.config, split=source.split, revision=source.revision, streaming=source.streaming
        )
        there: list[str] = rows.column_names or next(
            (t.column_names for t in rows.with_format("arrow").iter(batch_size=1)), []
        )
        if columns := _named_columns(source, there):
            rows = rows.select_columns(columns)
        values = chain.from_iterable(map(_values, rows.with_format("arrow").iter(batch_size=1000)))
        for number, value in enumerate(values):
            yield SourceRecord(_hub_place(source, number), value)
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"source {source.name}: cannot read the dataset {source.hf}: {error}") from error
