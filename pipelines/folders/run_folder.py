"""A run's files: what is written, removed and listed in a run folder, wherever that is.

A run folder is a folder on a file system that every worker sees, or a URL of an object store. Of a run in a store each
machine has a copy (`machine_copy`), whose path stands for the run on that machine: code that reads JSON reads it there,
and what is written goes to the store first.
"""

from __future__ import annotations

import os
import stat
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.folders.places import copy_path
from pipelines.shards import Record, digest_file, read_record, record_of, sync_path, to_json, write_atomically

if TYPE_CHECKING:
    from pipelines.folders.machine_copy import MachineCopy
    from pipelines.recipe import Recipe

MARK = ".url"  # in a machine's copy: where the run lies


@dataclass(frozen=True)
class RunFolder:
    """A run's files.

    path: absolute; the folder itself, or this machine's copy of what lies in a store
    copy: None for a folder that every worker sees
    """

    path: Path
    copy: MachineCopy | None = None

    @property
    def place(self) -> str:
        """Where the run lies, for people."""
        return self.copy.store.url if self.copy else str(self.path)

    def reach(self) -> RunFolder:
        """Return this folder; what a command asks first. Raises UserError for a store that does not answer."""
        if self.copy:
            self.copy.store.reach()
        return self

    def pull(self, rows: bool = False) -> None:
        """Bring what changed in the store to this machine's copy: JSON, and shards where rows are to be read.

        Raises RunError where the store cannot be listed, or a file not be brought.
        """
        if self.copy:
            from pipelines.folders.lock import holder_is_here

            self.copy.pull(rows, shared=not holder_is_here(self.copy.store))

    def bring(self, name: str) -> None:
        """Bring one small file to this machine's copy, or drop it there if it is gone."""
        content = self.copy.store.read(name) if self.copy else None
        if content is not None:
            write_atomically(self.path / name, content)
        elif self.copy:
            (self.path / name).unlink(missing_ok=True)

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that a reader sees the old one or the new one, whole; the same content is left alone."""
        path = self.path / name
        known = self.copy is None or self.copy.lists(name)  # else the file may be here and gone there
        if known and path.is_file() and path.read_bytes() == content:
            return
        if self.copy:
            self.copy.store.write(name, content)
            self.copy.note({name: len(content)})
        write_atomically(path, content)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, where they are there."""
        names = list(names)
        if self.copy:
            self.copy.store.remove(names)
            self.copy.forget(names)
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def keep_only(self, folder: str, owned: Iterable[str], check: Callable[[], object]) -> None:
        """Remove the files below a folder that no finished unit owns: what earlier recipes left.

        Args:
            check: called before the first is removed; raises where the run is another process's.
        """
        there = self.names(folder) if self.copy else ()
        check()
        if self.copy:
            self.remove(set(there) - set(owned))
        keep = {self.path / name for name in owned}
        for path in sorted((self.path / folder).rglob("*"), reverse=True):  # files before the folders that hold them
            if path.is_file() and path not in keep:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def names(self, folder: str) -> list[str]:
        """Return the files below a folder, by name from the run folder."""
        if self.copy:
            return sorted(self.copy.store.list(folder))
        return sorted(str(p.relative_to(self.path)) for p in (self.path / folder).rglob("*") if p.is_file())

    def record(self, name: str) -> Record | None:
        """Return a unit's record as it lies there now; None where there is none."""
        if self.copy:
            content = self.copy.store.read(name)
            return None if content is None else record_of(content)
        return read_record(self.path / name)

    def note(self, name: str, record: Record) -> None:
        """Take in a record that a worker has committed, maybe on another machine."""
        if self.copy:
            content = to_json(asdict(record))
            self.copy.note({name: len(content), **{file: about["bytes"] for file, about in record.files.items()}})
            if not (self.path / name).is_file() or (self.path / name).read_bytes() != content:
                write_atomically(self.path / name, content)

    def missing(self, record: Record) -> list[str]:
        """Return a record's files that are not there, or not as long as they were written."""
        if self.copy:
            return [name for name, about in record.files.items() if self.copy.size(name) != about["bytes"]]
        gone, ask, folder = [], os.stat, self._opened
        for name, about in record.files.items():  # of very many each call counts
            try:
                found = ask(name, dir_fd=folder)
            except OSError:
                gone.append(name)
                continue
            if found.st_size != about["bytes"] or not stat.S_ISREG(found.st_mode):
                gone.append(name)
        return gone

    def has(self, record: Record) -> bool:
        """Tell whether a record's files are there, as it says, to the digest where it can be told without reading."""
        if self.missing(record):
            return False
        if self.copy:
            return True
        return all(digest_file(self.path / name) == about["digest"] for name, about in record.files.items())

    def put(self, staged: Mapping[str, Path], digests: Mapping[str, str]) -> None:
        """Move files of this machine to their names, each whole or not at all."""
        if self.copy:
            for name, path in staged.items():
                self.copy.store.upload(path, name)
                self.copy.note({name: path.stat().st_size})
                self.copy.keep(path, name, digests[name])
            return
        for path in staged.values():
            sync_path(path)
        for name, path in staged.items():
            path.replace(self.path / name)
        for folder in {(self.path / name).parent for name in staged}:
            sync_path(folder)

    def size(self, name: str) -> int | None:
        """Return the size of a file; None where there is none."""
        return self.copy.size(name) if self.copy else _size(self._before + name)

    @cached_property
    def _opened(self) -> int:
        """The folder, open: of very many names each is found sooner from it than from the root."""
        opened = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, opened)
        return opened

    @cached_property
    def _before(self) -> str:
        return f"{self.path}/"


def _size(path: str) -> int | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - of very many a Path takes longer than the question
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def open_run_folder(recipe: Recipe) -> RunFolder:
    """Return where a recipe's run lies. Raises UserError for a URL that cannot be used."""
    return open_url(recipe.run_url) if recipe.run_url else RunFolder(recipe.run_path)


def open_url(url: str) -> RunFolder:
    """Return the run at a URL of an object store, with this machine's copy of it."""
    path = copy_path(url)
    if not (path / MARK).is_file():
        write_atomically(path / MARK, url.encode())
    return folder_at(path)


def folder_at(path: Path) -> RunFolder:
    """Return the run folder at a path: a folder, or this machine's copy of a run in a store."""
    mark = path / MARK
    return _copied(path, mark.read_text()) if mark.is_file() else RunFolder(path)


@lru_cache(maxsize=8)
def _copied(path: Path, url: str) -> RunFolder:
    from answers.store import kept_elsewhere
    from pipelines.folders.answers_between import AnswersBetween
    from pipelines.folders.machine_copy import MachineCopy
    from pipelines.folders.store import store_at

    store = store_at(url)
    kept_elsewhere(path / "answers", AnswersBetween(path, store))
    return RunFolder(path, MachineCopy(path, store))
