"""One file for the records of a pass: where there are very many, to open each is most of what a plan takes.

<run>/.records/<pass>.json is written when a pass is finished, and may be deleted at any time. It holds of each record
what `stat` said of its file, and stands for the file only as long as `stat` says the same. It is of the file system
that the records lie on (of a run in a store: of this machine's copy), and no store has it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from pipelines.shards import Counts, Record, read_record, write_atomically

FOLDER = ".records"
FORMAT = 1
WORTH = 100  # units of a pass: fewer records are opened as soon
HELD = ("fingerprint", "files", "facts", "cost")  # of a record, beside its counts


class Records:
    """Reads the records of a pass as they lie there now.

    Args:
        run_dir: the run folder, or this machine's copy of one in a store.
    """

    def __init__(self, run_dir: Path, key: str) -> None:
        self._folder = f"{run_dir}/{key}"
        self._entries = _read(index_path(run_dir, key))

    def read(
        self, unit: str, fingerprint: str | None = None, made_of: Mapping[str, Any] | None = None
    ) -> Record | None:
        """Return a unit's record; None where there is none.

        Args:
            fingerprint: that of the unit as it would be made today; a record of another one comes from its own file.
                None: any will do, and nobody asks what it is made of.
            made_of: what the unit would be made of today.
        """
        path, entry = f"{self._folder}/{unit}.json", self._entries.get(unit)
        if entry is not None and fingerprint in (None, entry[2]["fingerprint"]):
            try:
                stamp = _stamp(os.stat(path))  # noqa: PTH116 - of very many a Path takes longer than the question
            except FileNotFoundError:
                return None
            if entry[0] == stamp:
                return _record(entry[1], entry[2], made_of or {})
        return read_record(path)


def _record(counts: dict[str, Any], held: dict[str, Any], made_of: Mapping[str, Any]) -> Record:
    """Return a record of the very values that were read: what `__init__` takes for many is a tenth of a plan."""
    record, counted = object.__new__(Record), object.__new__(Counts)
    object.__setattr__(counted, "__dict__", counts)
    held["counts"], held["made_of"] = counted, made_of
    object.__setattr__(record, "__dict__", held)
    return record


def index_path(run_dir: Path, key: str) -> Path:
    """Return where the index of a pass's records lies."""
    return run_dir / FOLDER / f"{key}.json"


def write_index(run_dir: Path, key: str, units: Collection[str]) -> None:
    """Write the index of a pass's records, from their files; of few records there is none."""
    path = index_path(run_dir, key)
    if len(units) < WORTH:
        path.unlink(missing_ok=True)
        return
    entries = b",\n".join(_entries(f"{run_dir}/{key}", units))
    write_atomically(path, b'{"format":%d,"units":{\n%b}}\n' % (FORMAT, entries))


def _entries(folder: str, units: Collection[str]) -> Iterator[bytes]:
    """Yield a line for each record that is there."""
    for unit in units:
        try:
            with open(f"{folder}/{unit}.json", "rb", buffering=0) as file:  # noqa: PTH123
                stamp, raw = _stamp(os.fstat(file.fileno())), orjson.loads(file.read())
        except (FileNotFoundError, ValueError):  # gone, torn, or with numbers that are none: its file says what it is
            continue
        yield orjson.dumps(unit) + b":" + orjson.dumps([stamp, raw["counts"], {name: raw[name] for name in HELD}])


def _stamp(about: os.stat_result) -> list[int]:
    """Return what is another when a file is: records are replaced, never written into."""
    return [about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino]


def _read(path: Path) -> dict[str, list[Any]]:
    """Return an entry of each unit; nothing where there is no index that can be read."""
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found["units"] if isinstance(found, dict) and found.get("format") == FORMAT else {}
