"""Recordings from folders, tar shards, Parquet and Hugging Face datasets, one after another, each with its place.

The sound stays as it was encoded. No name out of an archive or a table reaches the file system before it is known to
lie inside its folder.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.options import Audio, Source, nearest

SOUNDS = (".wav", ".flac", ".mp3", ".opus", ".ogg", ".oga", ".aiff", ".aif", ".au", ".m4a")
TABLES = (".tsv", ".csv", ".jsonl")
TABLE_NAMES = ("transcripts", "metadata", "transcript", "train", "validated")
TEXTS = ("text", "transcript", "sentence", "transcription", "normalized_text")
FILES = ("file", "file_name", "filename", "path", "audio", "audio_filepath", "wav")
ROWS_AT_ONCE = 32


class Recording(NamedTuple):
    """One record as read: a sound with what is known of it, or the reason why there is none."""

    place: str  # folder/file.wav; shard.tar:key.flac; file.parquet:row 12; hf:owner/name[train]:row 12
    sound: bytes | None
    columns: Mapping[str, Any]  # the rest of the record: texts, speakers, what `where` looks at
    bad: str | None = None  # "bad_path:..." when it could not be read


def audio_files(source: Source, root: Path) -> list[Path]:
    """Return the files of a source of recordings, sorted; empty for a dataset of the Hub.

    Raises UserError where there is none.
    """
    if source.hf is not None:
        folder = root / source.hf
        return sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
    assert source.path is not None, "checked by the recipe"
    path = root / source.path
    if path.is_dir():
        found = [p for p in path.rglob("*") if p.is_file() and (_is_sound(p) or _is_shard(p) or p.suffix in TABLES)]
    else:
        base = Path("/") if path.is_absolute() else Path()
        found = [path] if path.is_file() else [p for p in base.glob(str(path).lstrip("/")) if p.is_file()]
    if not found:
        there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        remedy = nearest(path.name, there)[:300] if there else "its folder does not exist either"
        raise UserError(f"source {source.name}: no recordings at {path.absolute()}; {remedy}")
    return sorted(found)


def _is_sound(path: Path) -> bool:
    return path.suffix.lower() in SOUNDS


def _is_shard(path: Path) -> bool:
    return path.name.lower().endswith((".parquet", ".tar", ".tar.gz", ".tgz"))


def read_recordings(source: Source, root: Path, skip: int = 0) -> Iterator[Recording]:
    """Yield the recordings of a source in order, after the first `skip`.

    Raises UserError, naming file and remedy, for a file that cannot be read.
    """
    records = _hub(source, root) if source.hf is not None else _files(source, root)
    for number, record in enumerate(records):
        if number >= skip:
            yield record


def _files(source: Source, root: Path) -> Iterator[Recording]:
    assert source.audio is not None, "the caller's choice"
    files = audio_files(source, root)
    loose = [path for path in files if _is_sound(path) or path.suffix in TABLES]
    if loose:
        yield from _folder(loose, source, root)
    for file in (path for path in files if _is_shard(path)):
        name = _name(file, root)
        try:
            yield from _parquet(file, name, source.audio) if file.suffix == ".parquet" else _tar(file, name)
        except (pa.ArrowException, tarfile.TarError, EOFError, OSError) as error:
            raise UserError(f"source {source.name}: cannot read {file}: {error}. Fetch the file again.") from error
    unknown = [path for path in files if path not in loose and not _is_shard(path)]
    if unknown:
        raise UserError(f"source {source.name}: {unknown[0]} is no recording, .parquet or .tar")


def _folder(files: list[Path], source: Source, root: Path) -> Iterator[Recording]:
    """Yield a folder's recordings by name, then the rows of its table that name no file of it."""
    folder = root / source.path if source.path else root
    folder = folder if folder.is_dir() else files[0].parent
    rows, table = _read_table(files, folder, source)
    there = {path.absolute(): path for path in files if _is_sound(path)}
    texts: dict[Path, Mapping[str, Any]] = {}
    strangers: list[Recording] = []
    for number, row in enumerate(rows, 1):
        named = str(next((row[column] for column in FILES if row.get(column)), ""))
        place = f"{table}:row {number}"
        path = _inside(folder, named)
        if path is None:
            strangers.append(Recording(place, None, row, f"bad_path:{named!r} is not a name inside the folder"))
        elif path not in there:
            strangers.append(Recording(place, None, row, f"no_file:{named}"))
        elif path in texts:
            strangers.append(Recording(place, None, row, f"named_twice:{named}"))
        else:
            texts[path] = row
    for named_so, path in there.items():
        yield Recording(_name(path, root), path.read_bytes(), texts.get(named_so, {}))
    yield from strangers


def _inside(folder: Path, named: str) -> Path | None:
    """Return the path that an entry names in a folder; None for a name that leads out of it.

    By the name alone: what lies in the folder may be links, as in the Hub's cache.
    """
    if not named or PurePosixPath(named).is_absolute() or "\\" in named or "\0" in named:
        return None
    if ".." in (parts := PurePosixPath(named).parts):
        return None
    return folder.absolute().joinpath(*parts)


def _read_table(files: list[Path], folder: Path, source: Source) -> tuple[list[dict[str, Any]], str]:
    """Return the rows of a folder's table of texts, and its name; none where there is no table."""
    assert source.audio is not None, "the caller's choice"
    if source.audio.table:
        path = _inside(folder, source.audio.table)
        if path is None or not path.is_file():
            raise UserError(f"source {source.name}: audio.table: there is no {source.audio.table} in {folder}")
    else:
        tables = [p for p in files if p.suffix in TABLES and p.parent == folder]
        tables = [p for p in tables if p.stem in TABLE_NAMES] or tables
        if len(tables) > 1:
            raise UserError(
                f"source {source.name}: {folder} has several tables ({', '.join(p.name for p in tables[:5])}); "
                "name one: audio.table"
            )
        if not tables:
            return [], ""
        path = tables[0]
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            rows = [_object(line) for line in text.splitlines() if line.strip()]
        else:
            lines = io.StringIO(text)
            tabs = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows = list(tabs if path.suffix == ".tsv" else csv.DictReader(lines))
    except (ValueError, csv.Error) as error:
        raise UserError(f"source {source.name}: {path} cannot be read: {error}. Mend the table.") from error
    if rows and not any(column in rows[0] for column in FILES):
        raise UserError(f"source {source.name}: {path} has no column of file names ({', '.join(FILES)})")
    return rows, path.name


def _object(text: str | bytes) -> dict[str, Any]:
    """Return a JSON object. Raises ValueError for anything else."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{text[:40]!r} is no JSON object")
    return value


def _tar(file: Path, name: str) -> Iterator[Recording]:
    """Yield the samples of a WebDataset shard: consecutive members of one key, key.flac with key.txt or key.json."""
    key: str | None = None
    members: dict[str, bytes] = {}
    with tarfile.open(file, "r|*") as archive:  # a stream: nothing is ever extracted to disk
        for member in archive:
            if not member.isfile():
                continue
            path = PurePosixPath(member.name)
            stem, _, suffix = path.name.partition(".")
            here = str(path.parent / stem)
            if here != key and key is not None:
                yield _sample(f"{name}:{key}", members)
                members = {}
            opened = archive.extractfile(member)
            assert opened is not None, "it is a file"
            key, members[f".{suffix.lower()}"] = here, opened.read()
    if key is not None:
        yield _sample(f"{name}:{key}", members)


def _sample(place: str, members: Mapping[str, bytes]) -> Recording:
    columns: dict[str, Any] = {}
    try:
        if ".json" in members:
            columns |= _object(members[".json"])
        if ".txt" in members:
            columns["text"] = members[".txt"].decode("utf-8").strip()
    except ValueError as error:
        return Recording(place, None, {}, f"bad_text:{error}")
    sounds = [suffix for suffix in members if suffix in SOUNDS]
    if len(sounds) != 1:
        return Recording(place, None, columns, f"no_audio:{len(sounds)} recordings of this key")
    return Recording(place + sounds[0], members[sounds[0]], columns)


def _parquet(file: Path, name: str, audio: Audio) -> Iterator[Recording]:
    number = 0
    with pq.ParquetFile(file, pre_buffer=False) as parquet:
        if audio.column not in parquet.schema_arrow.names:
            raise UserError(f"{file} has no column {audio.column}; {nearest(audio.column, parquet.schema_arrow.names)}")
        for batch in parquet.iter_batches(batch_size=ROWS_AT_ONCE):
            for row in batch.to_pylist():
                yield _from_column(f"{name}:row {number}", row, audio, file.parent)
                number += 1


def _from_column(place: str, row: dict[str, Any], audio: Audio, folder: Path | None) -> Recording:
    """Return a row's recording: bytes, a struct of bytes and path, or the path of a file beside the Parquet file."""
    cell = row.pop(audio.column)
    sound = cell.get("bytes") if isinstance(cell, dict) else cell
    path = cell.get("path") if isinstance(cell, dict) else None
    if isinstance(sound, str):
        sound, path = None, sound
    if sound is None and path and folder is not None:
        inside = _inside(folder, path)
        if inside is None:
            return Recording(place, None, row, f"bad_path:{path!r} is not a name inside the folder")
        if not inside.is_file():
            return Recording(place, None, row, f"no_file:{path}")
        sound = inside.read_bytes()
    if not isinstance(sound, bytes):
        held = "no bytes" if sound is None else f"{type(sound).__name__}, not bytes"
        return Recording(place, None, row, f"no_audio:the column holds {held}")
    return Recording(place, sound, row)


def _hub(source: Source, root: Path) -> Iterator[Recording]:
    import datasets  # slow to import, and only some runs need it

    assert source.hf is not None and source.audio is not None, "checked by the caller"
    local = root / source.hf
    column = source.audio.column
    try:
        rows = datasets.load_dataset(
            str(local) if local.is_dir() else source.hf,
            source.config,
            split=source.split,
            revision=source.revision,
            streaming=source.streaming,
        )
        if rows.column_names and column not in rows.column_names:
            raise UserError(f"source {source.name}: no column {column}; {nearest(column, rows.column_names)}")
        undecoded = rows.cast_column(column, datasets.Audio(decode=False))
        for number, row in enumerate(chain.from_iterable(_batches(undecoded))):
            place = f"hf:{source.hf}[{source.split}]:row {number}"
            yield _from_column(place, dict(row), source.audio, local if local.is_dir() else None)
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"source {source.name}: cannot read the dataset {source.hf}: {error}") from error


def _batches(rows: Any) -> Iterator[list[dict[str, Any]]]:
    for table in rows.with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
        yield table.to_pylist()


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def text_of(columns: Mapping[str, Any], audio: Audio) -> str | None:
    """Return what is said in a recording, as its record has it; None where it has no text."""
    wanted = (audio.text,) if audio.text else TEXTS
    found = next((columns[column] for column in wanted if columns.get(column)), None)
    return str(found).strip() or None if found is not None else None
