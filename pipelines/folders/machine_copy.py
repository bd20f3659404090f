"""What one machine holds of a run that lies in an object store: a folder that may be deleted at any time.

<copy>/.url                         where the run lies
<copy>/<pass>/<unit>.json           records and other JSON, as the store has them; shards too, where a command asked
<copy>/.listing.json                of each of those files the size and the tag that the store gave it
<copy>/.records/<pass>.jsonl        this machine's index of a pass's records, as `stat` tells of them here
<copy>/.kept/<digest>/<file>        shards that units here read or made, checked by their digest; bounded
<copy>/.staged/, <copy>/.pins/      files that are being written; which shards units at work here have in hand
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.errors import RunError, UserError
from pipelines.folders.processes import is_alive, machine
from pipelines.folders.store import Stat, Store
from pipelines.shards import TEMPORARY, digest_file, write_atomically

LIMIT = "SPEECHMILL_COPY_GIB"  # how much of shards a machine keeps of one run
LIMIT_GIB = 20.0
LOOK_SHARE = 50  # the bound is looked at when a process has added a fiftieth of it
SHARED = re.compile(r"progress\.json|events(-\d+)?\.jsonl|publish/[^/]+\.jsonl")  # what is written as a command goes
UNKNOWN_SECONDS = 86_400  # after which what a process of another machine left in this folder is taken for dead


class MachineCopy:
    """This machine's copy of one run."""

    def __init__(self, path: Path, store: Store) -> None:
        self.path = path
        self.store = store
        self.sizes: dict[str, int] | None = None  # of all files of the run, once listed
        self._shared: dict[str, tuple[int, int]] = {}  # size and time of what was brought to the store
        self._added: int | None = None  # bytes since the bound was looked at

    def pull(self, rows: bool = False, shared: bool = True) -> None:
        """Bring what has changed in the store since the last time, and drop what is gone there.

        Args:
            rows: shards too, and not only JSON.
            shared: what a driver writes as it goes, too; False where it runs on this machine and has newer ones.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with _held(self.path / ".pull"):
            there = self.store.list()
            self.sizes = {name: stat.size for name, stat in there.items()}
            have = self._listing()
            wanted = {name: stat for name, stat in there.items() if _is_brought(name, rows, shared)}
            new = [name for name, stat in wanted.items() if have.get(name) != stat or not (self.path / name).is_file()]
            gone = [name for name in self._files() if name not in there and not SHARED.fullmatch(name)]
            for name in gone:
                (self.path / name).unlink(missing_ok=True)
            if new:
                self.store.each(self._bring, new, [wanted[name].time for name in new])
            for name in filter(SHARED.fullmatch, wanted):
                about = (self.path / name).stat()
                self._shared[name] = (about.st_size, about.st_mtime_ns)
            now = {name: stat for name, stat in {**have, **wanted}.items() if name in there}
            if now != have:
                write_atomically(self.path / ".listing.json", json.dumps(now).encode())

    def share(self) -> None:
        """Bring what the driver writes here as it goes to the store, as far as it has changed."""
        paths = [*self.path.glob("*.json*"), *self.path.glob("publish/*.jsonl")]
        for name in filter(SHARED.fullmatch, (str(path.relative_to(self.path)) for path in paths)):
            with suppress(FileNotFoundError):  # a full file of events gets another name
                about = (self.path / name).stat()
                if self._shared.get(name) != (stamp := (about.st_size, about.st_mtime_ns)):
                    self.store.write(name, (self.path / name).read_bytes())
                    self.note({name: about.st_size})
                    self._shared[name] = stamp

    def size(self, name: str) -> int | None:
        """Return the size of one of the run's files, as last listed or, where that was never done, as it is now."""
        return self.store.size(name) if self.sizes is None else self.sizes.get(name)

    def lists(self, name: str) -> bool:
        """Tell whether a file is known to be in the store."""
        return self.sizes is not None and name in self.sizes

    def note(self, sizes: Mapping[str, int]) -> None:
        """Take in that files were written since the run was listed."""
        if self.sizes is not None:
            self.sizes.update(sizes)

    def forget(self, names: Iterable[str]) -> None:
        """Take in that files were removed since the run was listed."""
        if self.sizes is not None:
            for name in names:
                self.sizes.pop(name, None)

    def fetch(self, name: str, digest: str, pins: Path) -> Path:
        """Return the path of a shard, which is brought if it is not here. It stays until its pins are removed.

        Raises RunError where the store has another file than its record says.
        """
        path = self.path / ".kept" / digest / Path(name).name
        pins.parent.mkdir(parents=True, exist_ok=True)
        with _held(self.path / ".kept.lock", fcntl.LOCK_SH):
            with pins.open("a") as file:
                file.write(f"{digest}\n")
            there = path.is_file()
        if there:
            os.utime(path)  # for who looks which was used last
            return path
        temporary = self.staged(name)
        try:
            self.store.get(name, temporary)
            if digest_file(temporary) != digest:
                raise RunError(
                    f"{self.store.url}/{name} is not the file that its record speaks of: its digest differs. Delete it "
                    "and run the same command again: it is made anew."
                )
            self._keep(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def keep(self, staged: Path, name: str, digest: str) -> None:
        """Keep a file that was just committed: the next pass may read it here."""
        self._keep(staged, self.path / ".kept" / digest / Path(name).name)

    def staged(self, name: str) -> Path:
        """Return a path for a file that is being written."""
        path = self.path / ".staged" / f"{_owner()}.{Path(name).name}"  # with its suffix, which some writers look at
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def pins(self) -> Path:
        """Return the path of a file that will name what a unit has in hand."""
        return self.path / ".pins" / _owner()

    def clean(self) -> None:
        """Remove what dead processes left."""
        for folder in (".staged", ".pins"):
            for path in (self.path / folder).glob("*"):
                if not _lives(path):
                    path.unlink(missing_ok=True)

    def evict(self) -> None:
        """Remove the shards that were used longest ago, down to the bound; never what a unit here has in hand."""
        self.clean()
        with _held(self.path / ".kept.lock"):
            pinned = {digest for path in (self.path / ".pins").glob("*") for digest in _pinned(path)}
            found = [(path.stat(), path) for path in (self.path / ".kept").glob("*/*")]
            total = sum(about.st_size for about, _ in found)
            for about, path in sorted(found, key=lambda one: one[0].st_mtime_ns):
                if total <= limit_bytes():
                    break
                if path.parent.name not in pinned:
                    path.unlink()
                    with suppress(OSError):  # files of other names may have the same bytes
                        path.parent.rmdir()
                    total -= about.st_size
        self._added = 0

    def _keep(self, temporary: Path, path: Path) -> None:
        size = temporary.stat().st_size
        with _held(self.path / ".kept.lock", fcntl.LOCK_SH):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(path)
        if self._added is None or (self._added + size) * LOOK_SHARE > limit_bytes():
            self.evict()
        else:
            self._added += size

    def _bring(self, name: str, written: float) -> None:
        self.store.download(name, self.path / name)
        os.utime(self.path / name, (written, written))  # `explain` tells when a record was written

    def _listing(self) -> dict[str, Stat]:
        try:
            raw = json.loads((self.path / ".listing.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return {name: Stat(*about) for name, about in raw.items()}

    def _files(self) -> Iterator[str]:
        """Yield the names of the files here that are the run's."""
        for folder, folders, files in os.walk(self.path):
            folders[:] = [name for name in folders if not name.startswith(".") and name != "answers"]
            for name in files:
                if not name.startswith("."):
                    yield str((Path(folder) / name).relative_to(self.path))


def _pinned(pins: Path) -> list[str]:
    """Return what a unit has in hand; nothing once it has let go, which it may do at any time."""
    try:
        return pins.read_text().split()
    except FileNotFoundError:
        return []


def limit_bytes() -> float:
    """Return how much of shards a machine keeps of one run. Raises UserError for what is no number."""
    said = os.environ.get(LIMIT, "")
    try:
        return float(said or LIMIT_GIB) * 2**30
    except ValueError as error:
        raise UserError(f"{LIMIT}={said}: it is a number of GiB, such as {LIMIT_GIB:g}") from error


def _is_brought(name: str, rows: bool, shared: bool) -> bool:
    if name.startswith(("lock/", "answers/")) or Path(name).name.startswith(TEMPORARY):
        return False
    return (shared or not SHARED.fullmatch(name)) and (rows or name.endswith((".json", ".jsonl")))


@contextmanager
def _held(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a file's lock among the processes of this machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, how)
        yield


def _owner() -> str:
    return f"{uuid.uuid4().hex}.{os.getpid()}.{machine()}"


def _lives(path: Path) -> bool:
    """Tell whether the process that a file is named after may still be at work."""
    _, pid, where = path.name.split(".")[:3]
    alive = is_alive(where, int(pid))
    if alive is None:
        with suppress(FileNotFoundError):
            return time.time() - path.stat().st_mtime < UNKNOWN_SECONDS
    return alive is True
