"""A run's files: what is written, removed and listed in a run folder, wherever that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.shards import write_atomically


@dataclass(frozen=True)
class RunFolder:
    """A run's folder on a file system that every worker sees.

    path: absolute
    """

    path: Path

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that a reader sees the old one or the new one, whole; the same content is left alone."""
        path = self.path / name
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, where they are there."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def keep_only(self, folder: str, owned: Iterable[str]) -> None:
        """Remove the files below a folder that no finished unit owns: what earlier recipes left."""
        keep = {self.path / name for name in owned}
        for path in sorted((self.path / folder).rglob("*"), reverse=True):  # files before the folders that hold them
            if path.is_file() and path not in keep:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
