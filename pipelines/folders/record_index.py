"""One file for the records of a pass: where there are very many, to open each is most of what a plan takes.

<run>/.records/<pass>.jsonl is written when a run finds or makes a pass finished, unless the one that is there still
fits; it may be deleted at any time. Its first line holds of each record what `stat` said of its file, and stands for
the file only as long as `stat` says the same; its second what their fingerprints are the digests of, which is read
where something has changed. It is of the file system that the records lie on (of a run in a store: of this machine's
copy), and no store has it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from pipelines.shards import Counts, Record, read_record, write_atomically

FOLDER = ".records"
FORMAT = 1
WORTH = 100  # units of a pass: fewer records are opened as soon
HELD = ("fingerprint", "files", "facts", "cost")  # of a record, beside its counts
SHARED = ("pass", "version", "options")  # of what units are made of: the same in most of a pass
# One for all that have nothing, units' arguments among it, so never written into; a plain dict, for those are pickled
# and written as JSON.
NOTHING: Mapping[str, Any] = {}


class Records:
    """Reads the records of a pass as they lie there now.

    Args:
        run_dir: the run folder, or this machine's copy of one in a store.
    """

    def __init__(self, run_dir: Path, key: str) -> None:
        self._folder = f"{run_dir}/{key}"
        first, _, self._second = _content(index_path(run_dir, key)).partition(b"\n")
        self._entries: dict[str, list[Any]] = _parsed(first).get("units", {})

    def read(self, unit: str, fingerprint: str | None = None, made_of: Mapping[str, Any] = NOTHING) -> Record | None:
        """Return a unit's record; None where there is none. To ask a second time opens its file.

        Args:
            fingerprint: that of the unit as it would be made today; None: nobody asks what the record is made of.
            made_of: what the unit would be made of today, so that it need not be read.
        """
        path, entry = f"{self._folder}/{unit}.json", self._entries.pop(unit, None)
        if entry is None:
            return read_record(path)
        stamp, counts, held = entry
        try:
            if stamp != _stamp(os.stat(path)):  # noqa: PTH116 - of very many a Path takes longer than the question
                return read_record(path)
        except FileNotFoundError:
            return None
        if fingerprint is not None and held["fingerprint"] != fingerprint:
            number, own = self._made_of.get(held["fingerprint"], (0, None))
            if own is None:
                return read_record(path)
            made_of = {**self._shared[number], **own}
        return _record(counts, held, made_of)

    def fit(self, units: Collection[str]) -> bool:
        """Tell whether the index has every one of these units' records as its file is now, and no other."""
        if self._entries.keys() != set(units):
            return False
        try:
            return all(e[0] == _stamp(os.stat(f"{self._folder}/{unit}.json")) for unit, e in self._entries.items())  # noqa: PTH116
        except FileNotFoundError:
            return False

    @cached_property
    def _shared(self) -> list[dict[str, Any]]:
        return list(self._last.get("shared", ()))

    @cached_property
    def _made_of(self) -> dict[str, list[Any]]:
        return dict(self._last.get("made_of", {}))

    @cached_property
    def _last(self) -> dict[str, Any]:
        return _parsed(self._second)


def _record(counts: dict[str, Any], held: dict[str, Any], made_of: Mapping[str, Any]) -> Record:
    """Return a record of the very values that were read: what `__init__` takes for many is a tenth of a plan."""
    record, counted = object.__new__(Record), object.__new__(Counts)
    object.__setattr__(counted, "__dict__", counts)
    held["counts"], held["made_of"] = counted, made_of
    object.__setattr__(record, "__dict__", held)
    return record


def index_path(run_dir: Path, key: str) -> Path:
    """Return where the index of a pass's records lies."""
    return run_dir / FOLDER / f"{key}.jsonl"


def write_index(run_dir: Path, key: str, units: Collection[str]) -> None:
    """Write the index of a pass's records, from their files, unless it still fits; of few records there is none."""
    path = index_path(run_dir, key)
    if len(units) < WORTH:
        path.unlink(missing_ok=True)
        return
    if Records(run_dir, key).fit(units):
        return
    entries: dict[str, list[Any]] = {}
    made_of: dict[str, list[Any]] = {}
    shared: dict[bytes, int] = {}
    for unit in units:
        try:
            with open(f"{run_dir}/{key}/{unit}.json", "rb", buffering=0) as file:  # noqa: PTH123
                stamp, raw = _stamp(os.fstat(file.fileno())), orjson.loads(file.read())
        except (FileNotFoundError, ValueError):  # gone, torn, or with numbers that are none: its file says what it is
            continue
        entries[unit] = [stamp, raw["counts"], {name: raw[name] for name in HELD}]
        of_all, own = halved(raw["made_of"])
        made_of[raw["fingerprint"]] = [shared.setdefault(orjson.dumps(of_all), len(shared)), own]
    first = {"format": FORMAT, "units": entries}
    last = {"format": FORMAT, "shared": [orjson.Fragment(of_all) for of_all in shared], "made_of": made_of}
    write_atomically(path, orjson.dumps(first) + b"\n" + orjson.dumps(last) + b"\n")


def halved(made_of: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a unit shares with all of its pass, and what is its own."""
    shared = {name: made_of[name] for name in SHARED if name in made_of}
    return shared, {name: value for name, value in made_of.items() if name not in SHARED}


def _stamp(about: os.stat_result) -> list[int]:
    """Return what is another when a file is: records are replaced, never written into."""
    return [about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _parsed(line: bytes) -> dict[str, Any]:
    """Return a line's values; nothing where it is torn or of another version."""
    try:
        found = orjson.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("format") == FORMAT else {}
