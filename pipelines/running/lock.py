"""One process holds a run folder; the workers of a dead one commit nothing into it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipelines.errors import RunError, UserError
from pipelines.shards import TEMPORARY


@contextmanager
def lock_run(run_dir: Path) -> Iterator[str]:
    """Hold a run folder for this process alone; yields the token that its workers' commits check.

    Raises UserError where another process holds it, RunError where it cannot be written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = (run_dir / "lock").open("a+")
    except OSError as error:
        raise RunError(
            f"cannot write the run folder {run_dir}: {error.strerror}. Choose another with --run-dir."
        ) from error
    with file:
        if not _try_lock(file):
            raise UserError(
                f"{run_dir} is in use by another speechmill process ({lock_owner(run_dir)}). "
                "Wait for it, stop it, or choose another folder with --run-dir."
            )
        token = uuid.uuid4().hex
        owner = {"token": token, "pid": os.getpid(), "host": socket.gethostname()}
        file.truncate(0)
        file.write(json.dumps(owner))
        file.flush()
        remove_leftovers(run_dir)
        yield token


def _try_lock(file: IO[str]) -> bool:
    """Lock a file for this process; a few tries, because `status` holds it for an instant."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def holds_lock(run_dir: Path, token: str) -> bool:
    """Tell whether the run still belongs to the process that made the token."""
    return token in (run_dir / "lock").read_text()


def is_locked(run_dir: Path) -> bool:
    """Tell whether a process is at work in the run folder."""
    path = run_dir / "lock"
    if not path.exists():
        return False
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def lock_owner(run_dir: Path) -> str:
    """Return who holds (or held) the lock, for people."""
    try:
        owner = json.loads((run_dir / "lock").read_text())
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError):
        return "owner unknown"


def remove_leftovers(run_dir: Path) -> None:
    """Delete temporary files that killed processes left. Call only while holding the lock."""
    for path in run_dir.rglob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)
