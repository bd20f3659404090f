"""A loopback object store for the tests of a module, and this process as machines that know it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.folders import lock
from pipelines.folders.run_folder import RunFolder
from tests.running.in_store import Machines
from tests.running.s3_server import BUCKET, S3Server, s3_server


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def machines(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lock, "LEASE_SECONDS", 1.0)
    return Machines(f"s3://{BUCKET}/{tmp_path.name}", tmp_path, monkeypatch)


@pytest.fixture
def folder(machines: Machines) -> RunFolder:
    return machines.become("here")
