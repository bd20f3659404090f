"""A run folder in an object store, seen from one machine after another, and units committed there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.folders import run_folder, store
from pipelines.folders.run_folder import RunFolder, open_url
from pipelines.shards import Counts, Record, Staged
from tests.running.s3_server import BUCKET, S3Server

ONE = {"pass": "tts", "unit": "a-00000", "options": {"seed": 1}}
OTHER = {**ONE, "options": {"seed": 2}}


class Machines:
    """This process as one machine after another: each with a copy of its own."""

    def __init__(self, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self._folder, self._monkeypatch = url, folder, monkeypatch

    def become(self, name: str) -> RunFolder:
        """Be a machine; returns its run folder, which was never opened before."""
        self._monkeypatch.setenv("XDG_CACHE_HOME", str(self._folder / name))
        run_folder._copied.cache_clear()
        store.store_at.cache_clear()
        return open_url(self.url)


def stage(folder: RunFolder, text: bytes = b"rows", may_commit: Any = lambda: True) -> Staged:
    staged = Staged(folder.path, may_commit)
    staged.bytes("tts/a-00000.parquet", text)
    staged.bytes("tts/rejects/a-00000.parquet", b"rejected " + text)
    return staged


def commit(staged: Staged, made_of: dict[str, Any], seconds: float = 1.0) -> Record:
    try:
        return staged.commit("tts/a-00000.json", made_of, Counts(1, 1), {}, {"seconds": seconds})
    finally:
        staged.discard()


def lies_there(s3: S3Server, folder: RunFolder) -> dict[str, bytes]:
    return s3.objects(folder.place.removeprefix(f"s3://{BUCKET}/"))


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
