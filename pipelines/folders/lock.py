"""One process holds a run; the workers of a dead one commit nothing into it.

In a folder that is `flock` on its file `lock`. An object store has no locks, so there it is a lease:

    lock/<number>.json    {"token", "pid", "host", "machine", "beat", "released"}

The highest number holds. To take the run over is to create the next number, which a store lets one process do ("put if
absent"). The holder writes its file anew every few seconds, with another beat. Whoever finds the lease held watches it:
one whose beat stands still for LEASE_SECONDS is of a dead process. No two clocks are compared.

A holder that stood still itself, as a suspended machine does, may have lost the run without knowing. So its workers ask
before they commit, and itself before it removes or overwrites what lies there: `Hold.check`.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pipelines.errors import RunError, UserError
from pipelines.folders.machine_copy import MachineCopy
from pipelines.folders.processes import is_alive, machine
from pipelines.folders.run_folder import RunFolder, folder_at
from pipelines.folders.store import Store
from pipelines.shards import TEMPORARY, to_json

BEAT_SECONDS = 5.0
LEASE_SECONDS = 30.0
SHARE_SECONDS = 10.0  # between two uploads of what the driver writes as it goes


class Hold:
    """A run that this process holds, unless another has taken it over.

    token: that its workers' commits check
    lost:  whether that other is known of; a driver at work knows it within a beat
    """

    def __init__(self, run_dir: Path, token: str) -> None:
        self.token = token
        self.lost = False
        self._run_dir = run_dir

    def check(self) -> None:
        """Raise RunError where another process has taken the run over."""
        self.lost = self.lost or not holds_lock(self._run_dir, self.token)
        if self.lost:
            raise RunError(
                f"another process ({lock_owner(self._run_dir)}) has taken over {folder_at(self._run_dir).place}, since "
                "this one was silent for long. What was finished is that one's now; nothing else was changed."
            )


@contextmanager
def lock_run(run_dir: Path) -> Iterator[Hold]:
    """Hold a run for this process alone.

    Raises UserError where another process holds it, RunError where it cannot be written.
    """
    folder = folder_at(run_dir)
    with _lease(folder, folder.copy) if folder.copy else _file_lock(run_dir) as hold:
        yield hold


@contextmanager
def _file_lock(run_dir: Path) -> Iterator[Hold]:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = (run_dir / "lock").open("a+")
    except OSError as error:
        raise RunError(
            f"cannot write the run folder {run_dir}: {error.strerror}. Choose another with --run-dir."
        ) from error
    with file:
        if not _try_lock(file):
            raise _in_use(str(run_dir), lock_owner(run_dir))
        token = uuid.uuid4().hex
        file.truncate(0)
        file.write(json.dumps({"token": token, "pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        remove_leftovers(run_dir)
        try:
            yield Hold(run_dir, token)
        finally:
            remove_leftovers(run_dir)  # of workers that a stop has ended


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
    folder = folder_at(run_dir)
    if folder.copy:
        return max(_numbers(folder.copy.store), default=0) == _number_of(token)
    return token in (run_dir / "lock").read_text()


def is_locked(run_dir: Path) -> bool:
    """Tell whether a process is at work in the run folder; in a store that takes until its next beat.

    Raises RunError where the store cannot be asked.
    """
    folder = folder_at(run_dir)
    if folder.copy:
        number, holder = _last(folder.copy.store)
        return bool(holder) and not _is_over(holder) and _beats(folder.copy.store, number, holder)
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
    folder = folder_at(run_dir)
    try:
        owner = _last(folder.copy.store)[1] if folder.copy else json.loads((run_dir / "lock").read_text())
        return _named(owner)
    except (OSError, ValueError, KeyError):
        return "owner unknown"


def holder_is_here(store: Store) -> bool:
    """Tell whether the process that holds a run in a store is at work on this machine."""
    _, holder = _last(store)
    return bool(holder) and not holder["released"] and is_alive(holder["machine"], holder["pid"]) is True


def remove_leftovers(run_dir: Path) -> None:
    """Delete temporary files that killed processes left. Call only while holding the lock."""
    for path in run_dir.rglob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)


@contextmanager
def _lease(folder: RunFolder, copy: MachineCopy) -> Iterator[Hold]:
    """Hold a run in a store: take the lease, keep it by a thread, give it back."""
    number, holder = _take(copy.store)
    hold, ended = Hold(folder.path, holder["token"]), threading.Event()
    keeper = threading.Thread(target=_keep, args=(copy.store, holder, hold, ended), name="lease", daemon=True)
    sharer = threading.Thread(target=_share, args=(copy, hold, ended), name="share", daemon=True)
    try:
        keeper.start()
        copy.clean()
        copy.pull()
        sharer.start()
        yield hold
    finally:
        ended.set()
        for thread in (keeper, sharer):
            if thread.ident is not None:
                thread.join()
        with suppress(RunError):  # else it expires, or is another's
            hold.check()
            copy.share()
            copy.store.write(_name(number), to_json({**holder, "released": True}))


def _take(store: Store) -> tuple[int, dict[str, Any]]:
    """Take the lease; returns its number, and what stands in it. Raises UserError where another process holds it."""
    last, holder = _last(store)
    if holder and not _is_over(holder) and _beats(store, last, holder):
        raise _in_use(store.url, _named(holder))
    number = last + 1
    token = f"{number}.{uuid.uuid4().hex}"
    mine = {"token": token, "pid": os.getpid(), "host": socket.gethostname(), "machine": machine()}
    mine |= {"beat": 0, "released": False}
    store.create(_name(number), to_json(mine))
    there = store.read(_name(number))
    if there is None or json.loads(there)["token"] != token or max(_numbers(store)) != number:
        raise _in_use(store.url, _named(_last(store)[1]))  # another was sooner
    if store.create(_name(number), to_json(mine)):
        raise UserError(
            f"{store.url}: the store writes a file that is to be written only if it is absent, though it is there: "
            "two runs could not be kept apart. Choose a store with conditional writes (docs/run_folders.md)."
        )
    store.remove(_name(old) for old in _numbers(store) if old < number)
    return number, mine


def _beats(store: Store, number: int, holder: dict[str, Any]) -> bool:
    """Tell whether who holds a run is alive: True as soon as its beat moves, False once it has stood still for long."""
    began, told = time.monotonic(), False
    while (waited := time.monotonic() - began) < LEASE_SECONDS:
        if not told and waited > 2 * BEAT_SECONDS:
            print(
                f"{store.url} is held by {_named(holder)}, which is silent: waiting up to {LEASE_SECONDS:.0f} s to see "
                "whether it is alive",
                file=sys.stderr,
            )
            told = True
        time.sleep(min(1.0, BEAT_SECONDS / 2))
        last, now = _last(store)
        if last != number:
            return last > number
        if _is_over(now):
            return False
        if now["beat"] != holder["beat"]:
            return True
    return False


def _keep(store: Store, holder: dict[str, Any], hold: Hold, ended: threading.Event) -> None:
    """Write the lease anew, with another beat, until the end or until another process has taken it over."""
    while not ended.wait(BEAT_SECONDS) and not hold.lost:
        with suppress(RunError):  # the store fails: the next beat may come through
            hold.check()
            holder |= {"beat": holder["beat"] + 1}
            store.write(_name(_number_of(hold.token)), to_json(holder))


def _share(copy: MachineCopy, hold: Hold, ended: threading.Event) -> None:
    """Bring what the driver writes as it goes to the store, now and then; seldom where it has grown large."""
    pause = SHARE_SECONDS
    while not ended.wait(pause) and not hold.lost:
        began = time.monotonic()
        with suppress(RunError):
            hold.check()
            copy.share()
        pause = max(SHARE_SECONDS, 10 * (time.monotonic() - began))


def _last(store: Store) -> tuple[int, dict[str, Any]]:
    """Return the highest number and who has it; (0, {}) where the run was never held."""
    while numbers := _numbers(store):
        content = store.read(_name(max(numbers)))
        if content is not None:
            return max(numbers), json.loads(content)
    return 0, {}


def _numbers(store: Store) -> list[int]:
    return [int(Path(name).stem) for name in store.list("lock") if name.endswith(".json")]


def _name(number: int) -> str:
    return f"lock/{number:08d}.json"


def _number_of(token: str) -> int:
    return int(token.partition(".")[0])


def _is_over(holder: dict[str, Any]) -> bool:
    """Tell whether a lease is known to be nobody's: given back, or of a dead process of this machine."""
    if holder["released"]:
        return True
    return is_alive(holder["machine"], holder["pid"]) is False


def _named(holder: dict[str, Any]) -> str:
    return f"process {holder['pid']} on {holder['host']}"


def _in_use(place: str, owner: str) -> UserError:
    return UserError(
        f"{place} is in use by another speechmill process ({owner}). "
        "Wait for it, stop it, or choose another folder with --run-dir."
    )
