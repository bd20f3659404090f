"""Answers that were paid for, kept by the content of the question: a resume asks nothing twice.

Append-only segments, one per process that writes, rather than a file per answer or SQLite: two
million small files burden a file system (and every copy and deletion of the run), and SQLite's
write-ahead log needs shared memory, which the network file systems under a cluster's run folder do
not have. A segment has one writer and never changes behind its end, so no lock is needed.

    <folder>/<time>-<random>.log   records: b"ANSW", key (16), digest (16), length (u64, little-endian), answer
    <folder>/<time>-<random>.idx   of each record: key (16), offset (u64); only saves reading the segment through

`put` hands the record to the kernel before it returns, so a killed process loses nothing that was
put; `sync` makes it last through a loss of power. What lies behind the last index entry is found by
its headers; a torn tail is left alone, and a record whose digest differs is as if it were not there.
Others' answers are looked for at `look`, and at a question without an answer once a second: with
hundreds of writers on a network file system, to look each time would take longer than to ask.

Where processes of several machines have no folder in common, each machine has one, and an `Elsewhere` that all reach
goes between: segments are taken there when they have grown, indexes of others' are brought when this one looks, and
the records of a segment when one of them is asked for.
"""

import hashlib
import io
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 16
_MAGIC = b"ANSW"
_HEADER = len(_MAGIC) + KEY_BYTES + 16 + 8
_ENTRY_BYTES = KEY_BYTES + 8  # of .idx
_NONE: NDArray[np.uint64] = np.zeros((0, 3), np.uint64)  # head (half a key), segment, offset: 24 bytes an answer
_LOOK_EVERY_S = 1.0
_SEND_EVERY_S = 10.0  # to an Elsewhere; and whenever answers are made to last
_SEGMENT_BYTES = 16 << 20  # then another is begun: a segment is sent, and fetched, whole
_MERGE_AT = 10_000  # entries kept in a dict before they are sorted into the arrays


def answer_key(kind: str, question: Mapping[str, Any]) -> bytes:
    """Return the 16-byte key of a question: a digest of its JSON with sorted keys, and of what kind it is.

    Raises TypeError or ValueError for what JSON does not hold.
    """
    text = json.dumps([kind, question], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


class Elsewhere(Protocol):
    """What goes between folders of answers on several machines. All of it raises what ends a run."""

    def bring(self, folder: Path, in_passing: bool) -> None:
        """Bring the indexes of segments that others took there, as far as they are new; in passing: now and then."""

    def fetch(self, path: Path, offset: int) -> None:
        """Bring a segment's records, unless the one at an offset is here."""

    def send(self, path: Path) -> None:
        """Take a segment there: its records, then its index."""


_between: dict[Path, Elsewhere] = {}


def kept_elsewhere(folder: Path, elsewhere: Elsewhere) -> None:
    """Say what goes between this machine's folder, and those in it, and other machines'."""
    _between[folder] = elsewhere


class AnswerStore:
    """Answers of any kind (audio, text) in one folder, by key. Safe for threads, and for processes on one folder."""

    def __init__(self, folder: Path) -> None:
        """Open a folder, making it if need be. Raises OSError if it cannot be read."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = threading.RLock()
        self._segments: list[_Segment] = []
        self._numbers: dict[str, int] = {}  # of the segments, by name
        self._heads: NDArray[np.uint64] = np.zeros(0, np.uint64)  # sorted; beside it where each record lies
        self._places: NDArray[np.uint64] = np.zeros((0, 2), np.uint64)  # segment, offset
        self._fresh: dict[int, list[tuple[int, int]]] = {}  # head -> the same, newest last
        self._mine: _Segment | None = None
        self._elsewhere = next((way for above, way in _between.items() if folder.is_relative_to(above)), None)
        self._sent_at = time.monotonic()
        self.look()

    def get(self, key: bytes) -> bytes | None:
        """Return the answer stored under the key, or None if there is none whose digest is right.

        What another process stored less than a second ago may be missed: see `look`.
        """
        with self._lock:
            found = self._read(key)
            if found is None and time.monotonic() - self._looked_at > _LOOK_EVERY_S and self.look(in_passing=True):
                found = self._read(key)
            return found

    def look(self, in_passing: bool = False) -> bool:
        """Take in what other processes have stored since the last time. Returns whether there was any.

        Args:
            in_passing: what other machines have stored is looked for only now and then.
        """
        with self._lock:
            if self._elsewhere is not None:
                self._elsewhere.bring(self.folder, in_passing)
            self._looked_at = time.monotonic()
            with os.scandir(self.folder) as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith((".log", ".idx")))
            for log in dict.fromkeys(name[:-4] + ".log" for name in names):
                if log not in self._numbers:
                    self._add_segment(_Segment(self.folder / log, elsewhere=self._elsewhere))
            tables = [_NONE]
            for number, segment in enumerate(self._segments):
                if segment is not self._mine and len(news := segment.news()):
                    tables.append(np.insert(news, 1, number, axis=1))
            table = np.concatenate(tables)
            if len(table) < _MERGE_AT:
                for head, number, offset in table.tolist():
                    self._remember(head, number, offset)
            else:
                self._merge(table)
            return len(table) > 0

    def put(self, key: bytes, answer: bytes) -> None:
        """Store an answer; a second one under the same key takes the place of the first (of the older segment's).

        It survives this process from here on, and the machine from the next `sync`. Raises OSError, such as
        for a full disk, and then leaves no half record.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}: use answer_key")
        with self._lock:
            if self._mine is None or self._mine.writer_pid != os.getpid():  # a fork must not write its parent's
                self._mine = _Segment.create(self.folder)
                self._add_segment(self._mine)
            offset = self._mine.append(key, answer)
            self._remember(_head(key), self._numbers[self._mine.name], offset)
            if time.monotonic() - self._sent_at > _SEND_EVERY_S:
                self._send()

    def sync(self) -> None:
        """Make everything put so far durable (fsync), and known to other machines."""
        with self._lock:
            if self._mine is not None and self._mine.writer_pid == os.getpid():
                self._mine.sync()
                self._send()

    def close(self) -> None:
        """Sync, and give back the file that is written. What is put afterwards goes into a new one."""
        with self._lock:
            self.sync()
            if self._mine is not None:
                self._mine.close()
            self._mine = None

    def __len__(self) -> int:
        """Return the number of records known, those that were replaced among them."""
        with self._lock:
            return len(self._heads) + sum(map(len, self._fresh.values()))

    def _send(self) -> None:
        """Let other machines have what this process has put."""
        if self._elsewhere is None or self._mine is None:
            return
        if self._mine.grown():
            self._elsewhere.send(self._mine.path)
        self._sent_at = time.monotonic()
        if self._mine.end > _SEGMENT_BYTES:
            self._mine.sync()
            self._mine.close()
            self._mine = None

    def _read(self, key: bytes) -> bytes | None:
        head = _head(key)
        first = np.searchsorted(self._heads, np.uint64(head), "left")
        end = np.searchsorted(self._heads, np.uint64(head), "right")
        for number, offset in [*self._places[first:end].tolist(), *self._fresh.get(head, [])][::-1]:
            segment: _Segment = self._segments[number]
            answer = segment.read(offset, key)
            if answer is not None:
                return answer
        return None

    def _remember(self, head: int, number: int, offset: int) -> None:
        self._fresh.setdefault(head, []).append((number, offset))
        if len(self._fresh) >= _MERGE_AT:
            self._merge(_NONE)

    def _merge(self, table: NDArray[np.uint64]) -> None:
        """Sort the fresh entries, then these, in behind the older ones of equal heads."""
        fresh = [(head, *place) for head, places in self._fresh.items() for place in places]
        table = np.concatenate([np.array(fresh, np.uint64).reshape(-1, 3), table])
        heads = np.concatenate([self._heads, table[:, 0]])
        order = np.argsort(heads, kind="stable")
        self._heads = heads[order]
        self._places = np.concatenate([self._places, table[:, 1:]])[order]
        self._fresh = {}

    def _add_segment(self, segment: "_Segment") -> None:
        self._numbers[segment.name] = len(self._segments)
        self._segments.append(segment)


class _Segment:
    """One append-only file of records, and the index beside it. Only its writer holds them open."""

    def __init__(
        self, path: Path, writer_pid: int = 0, fds: tuple[int, int] = (-1, -1), elsewhere: Elsewhere | None = None
    ) -> None:
        self.name = path.name
        self.path = path
        self.writer_pid = writer_pid
        self._elsewhere = elsewhere
        self._fds = fds  # of the records, of the index
        self.end = 0  # of the records known
        self._size = 0  # of the file, when last looked at
        self._entries = 0  # of the index, known or written
        self._indexed_to = -1  # the offset of the last of them that was read
        self._told = 0  # bytes when `grown` was asked last

    @classmethod
    def create(cls, folder: Path) -> "_Segment":
        """Make an empty one, whose name sorts behind the older ones."""
        path = folder / f"{time.time_ns():020d}-{secrets.token_hex(6)}.log"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fds = os.open(path, flags, 0o644), os.open(path.with_suffix(".idx"), flags, 0o644)
        folder_fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder_fd)  # of the new names
        finally:
            os.close(folder_fd)
        return cls(path, os.getpid(), fds)

    def append(self, key: bytes, answer: bytes) -> int:
        """Write one record, then its index entry, and return its offset."""
        record = _MAGIC + key + _digest(key, answer) + len(answer).to_bytes(8, "little") + answer
        offset = self.end
        try:
            _write(self._fds[0], record, offset)
            _write(self._fds[1], key + offset.to_bytes(8, "little"), self._entries * _ENTRY_BYTES)
        except OSError:
            os.ftruncate(self._fds[0], offset)
            raise
        self.end += len(record)
        self._entries += 1
        return offset

    def sync(self) -> None:
        """Fsync the records, then the index."""
        for fd in self._fds:
            os.fsync(fd)

    def grown(self) -> bool:
        """Tell whether it is longer than when this was asked last."""
        grown, self._told = self.end > self._told, self.end
        return grown

    def news(self) -> NDArray[np.uint64]:
        """Return (n, 2), head and offset, of the records not told before: by the index, then by headers."""
        try:
            file = self.path.open("rb", buffering=0)  # a network file system tells the true size when it opens
        except FileNotFoundError:  # its records are elsewhere
            indexed = self._indexed(None)
            self.end = int(indexed[-1, 1]) if len(indexed) else self.end
            return indexed
        with file:
            size = os.fstat(file.fileno()).st_size
            if size == self._size:
                return _NONE[:, :2]
            self._size = size
            indexed = self._indexed(size)
            if len(indexed) == 0:
                return self._scan(file, size)
            self.end = int(indexed[-1, 1])
            found = self._scan(file, size)  # whose first is the last one indexed, unless the index is damaged
            again = len(found) > 0 and np.array_equal(found[0], indexed[-1])
            return np.concatenate([indexed, found[again:]])

    def _indexed(self, size: int | None) -> NDArray[np.uint64]:
        """Read the index on, up to an entry that is torn, or that was never written because the power went.

        Args:
            size: of the records; None where they are not here.
        """
        try:
            with self.path.with_suffix(".idx").open("rb") as index:
                index.seek(self._entries * _ENTRY_BYTES)
                data = index.read()
        except FileNotFoundError:
            return _NONE[:, :2]
        entries = np.frombuffer(data[: len(data) // _ENTRY_BYTES * _ENTRY_BYTES], "<u8").reshape(-1, 3)
        offsets = entries[:, 2].astype(np.int64)
        in_order = np.diff(offsets, prepend=self._indexed_to) > 0
        if size is not None:
            in_order &= offsets < size
        count = len(offsets) if in_order.all() else int(in_order.argmin())
        self._entries += count
        self._indexed_to = int(offsets[count - 1]) if count else self._indexed_to
        return entries[:count, [0, 2]][offsets[:count] >= self.end].astype(np.uint64)

    def _scan(self, file: io.FileIO, size: int) -> NDArray[np.uint64]:
        """Read headers from the last known record on, up to one that is torn or still being written."""
        found = []
        while self.end + _HEADER <= size:
            header = os.pread(file.fileno(), _HEADER, self.end)
            end = self.end + _HEADER + int.from_bytes(header[-8:], "little")
            if not header.startswith(_MAGIC) or end > size:
                break
            found.append((_head(header[len(_MAGIC) :]), self.end))
            self.end = end
        return np.array(found, np.uint64).reshape(-1, 2)

    def read(self, offset: int, key: bytes) -> bytes | None:
        """Return the answer of the record at an offset, or None if it is damaged or another key's."""
        if self._elsewhere is not None:
            self._elsewhere.fetch(self.path, offset)
        try:
            file = self.path.open("rb", buffering=0)
        except FileNotFoundError:
            return None
        with file:
            size = os.fstat(file.fileno()).st_size
            header = os.pread(file.fileno(), _HEADER, offset)
            length = int.from_bytes(header[-8:], "little")
            if header[: 4 + KEY_BYTES] != _MAGIC + key or offset + _HEADER + length > size:
                return None
            file.seek(offset + _HEADER)
            answer = io.BufferedReader(file).read(length)
        return answer if header[4 + KEY_BYTES : -8] == _digest(key, answer) else None

    def close(self) -> None:
        """Give back the writer's files."""
        for fd in self._fds:
            os.close(fd)


def _write(fd: int, data: bytes, offset: int) -> None:
    """Write all of the data at an offset. Raises OSError."""
    left = memoryview(data)
    while left:
        written = os.pwrite(fd, left, offset)
        offset += written
        left = left[written:]


def _digest(key: bytes, answer: bytes) -> bytes:
    return hashlib.blake2b(answer, digest_size=16, key=key).digest()


def _head(key: bytes) -> int:
    """Return the half of a key that is kept in memory; the record itself holds the whole one."""
    return int.from_bytes(key[:8], "little")
