"""Answers that were paid for, between the machines of a run in an object store: `answers.store.Elsewhere`."""

from __future__ import annotations

import time
from pathlib import Path

from pipelines.folders.store import Store

LOOK_SECONDS = 10.0  # between two listings in passing


class AnswersBetween:
    """Goes between a machine's copy of a run and the store.

    A segment has one writer, which takes it to the store whole: a file that is longer there is another machine's.
    """

    def __init__(self, copy: Path, store: Store) -> None:
        self._copy = copy
        self._store = store
        self._listed: dict[Path, tuple[float, float]] = {}  # when a folder was, and how long that took

    def bring(self, folder: Path, in_passing: bool) -> None:
        """Bring the indexes of segments that others took there, as far as they are new; in passing: now and then."""
        began = time.monotonic()
        at, took = self._listed.get(folder, (-LOOK_SECONDS, 0.0))
        if in_passing and began - at < max(LOOK_SECONDS, 10 * took):
            return
        there = self._store.list(self._name(folder))
        self._listed[folder] = time.monotonic(), time.monotonic() - began
        paths = {self._copy / name: stat.size for name, stat in there.items() if name.endswith(".idx")}
        new = [path for path, size in paths.items() if not path.exists() or path.stat().st_size < size]
        self._store.each(self._bring, new)

    def _bring(self, index: Path) -> None:
        index.with_suffix(".log").unlink(missing_ok=True)  # of its records here, some are missing
        self._store.download(self._name(index), index)

    def fetch(self, path: Path, offset: int) -> None:
        """Bring a segment's records, unless the one at an offset is here."""
        if path.exists() and path.stat().st_size > offset:
            return
        size = self._store.size(self._name(path))
        if size is not None and size > offset:
            self._store.download(self._name(path), path)

    def send(self, path: Path) -> None:
        """Take a segment there: its records, then its index, which may name fewer of them but never more."""
        index = path.with_suffix(".idx").read_bytes()
        self._store.write(self._name(path), path.read_bytes())
        self._store.write(self._name(path.with_suffix(".idx")), index)

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._copy))
