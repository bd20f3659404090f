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
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 16
_MAGIC = b"ANSW"
_HEADER = len(_MAGIC) + KEY_BYTES + 16 + 8
_ENTRY_BYTES = KEY_BYTES + 8  # of .idx
_NONE: NDArray[np.uint64] = np.zeros((0, 3), np.uint64)  # head (half a key), segment, offset: 24 bytes an answer
_MERGE_AT = 10_000  # entries kept in a dict before they are sorted into the arrays


def answer_key(kind: str, question: Mapping[str, Any]) -> bytes:
    """Return the 16-byte key of a question: a digest of its JSON with sorted keys, and of what kind it is.

    Raises TypeError or ValueError for what JSON does not hold.
    """
    text = json.dumps([kind, question], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


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
        self._look()

    def get(self, key: bytes) -> bytes | None:
        """Return the answer stored under the key by any process, or None if there is none whose digest is right."""
        with self._lock:
            found = self._read(key)
            if found is None and self._look():
                found = self._read(key)
            return found

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

    def sync(self) -> None:
        """Make everything put so far durable (fsync)."""
        with self._lock:
            if self._mine is not None and self._mine.writer_pid == os.getpid():
                self._mine.sync()

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

    def _look(self) -> bool:
        """Take in what other processes have stored since. Returns whether there was any."""
        with os.scandir(self.folder) as entries:
            logs = sorted(entry.name for entry in entries if entry.name.endswith(".log"))
        for log in logs:
            if log not in self._numbers:
                self._add_segment(_Segment(self.folder / log))
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
    """One append-only file of records, and the index beside it. Only its writer holds it open."""

    def __init__(self, path: Path, writer_pid: int = 0, fd: int = -1) -> None:
        self.name = path.name
        self.writer_pid = writer_pid
        self._path = path
        self._index_path = path.with_suffix(".idx")
        self._fd = fd
        self._end = 0  # of the records known
        self._size = 0  # of the file, when last looked at
        self._unindexed: list[tuple[bytes, int]] = []

    @classmethod
    def create(cls, folder: Path) -> "_Segment":
        """Make an empty one, whose name sorts behind the older ones."""
        path = folder / f"{time.time_ns():020d}-{secrets.token_hex(6)}.log"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        folder_fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder_fd)  # of the new name
        finally:
            os.close(folder_fd)
        return cls(path, os.getpid(), fd)

    def append(self, key: bytes, answer: bytes) -> int:
        """Write one record and return its offset."""
        record = memoryview(_MAGIC + key + _digest(key, answer) + len(answer).to_bytes(8, "little") + answer)
        offset = self._end
        try:
            while record:
                written = os.pwrite(self._fd, record, self._end)
                self._end += written
                record = record[written:]
        except OSError:
            self._end = offset
            os.ftruncate(self._fd, offset)
            raise
        self._unindexed.append((key, offset))
        return offset

    def sync(self) -> None:
        """Fsync the records, then add them to the index: an entry never runs ahead of its record."""
        if not self._unindexed:
            return
        os.fsync(self._fd)
        with self._index_path.open("ab") as index:
            index.write(b"".join(key + offset.to_bytes(8, "little") for key, offset in self._unindexed))
        self._unindexed = []

    def news(self) -> NDArray[np.uint64]:
        """Return (n, 2), head and offset, of the records not told before: by the index at first, then by headers."""
        size = self._path.stat().st_size
        if size == self._size:
            return _NONE[:, :2]
        found = np.zeros((0, 2), np.uint64)
        if self._size == 0 and self._index_path.exists():
            data = self._index_path.read_bytes()
            entries = np.frombuffer(data[: len(data) // _ENTRY_BYTES * _ENTRY_BYTES], "<u8").reshape(-1, 3)
            found = entries[entries[:, 2] < size][:, [0, 2]].astype(np.uint64)
            if len(found):
                self._end = int(found[:, 1].max())  # the last record is told twice, which does no harm
        self._size = size
        return np.concatenate([found, self._scan(size)])

    def _scan(self, size: int) -> NDArray[np.uint64]:
        """Read headers from the last known record on, up to one that is torn or still being written."""
        found = []
        with self._path.open("rb", buffering=0) as file:
            while self._end + _HEADER <= size:
                header = os.pread(file.fileno(), _HEADER, self._end)
                end = self._end + _HEADER + int.from_bytes(header[-8:], "little")
                if not header.startswith(_MAGIC) or end > size:
                    break
                found.append((_head(header[len(_MAGIC) :]), self._end))
                self._end = end
        return np.array(found, np.uint64).reshape(-1, 2)

    def read(self, offset: int, key: bytes) -> bytes | None:
        """Return the answer of the record at an offset, or None if it is damaged or another key's."""
        with self._path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(offset)
            header = file.read(_HEADER)
            length = int.from_bytes(header[-8:], "little")
            if header[: 4 + KEY_BYTES] != _MAGIC + key or offset + _HEADER + length > size:
                return None
            answer = io.BufferedReader(file).read(length)
        return answer if header[4 + KEY_BYTES : -8] == _digest(key, answer) else None

    def close(self) -> None:
        """Give back the writer's file."""
        os.close(self._fd)
        self._fd = -1


def _digest(key: bytes, answer: bytes) -> bytes:
    return hashlib.blake2b(answer, digest_size=16, key=key).digest()


def _head(key: bytes) -> int:
    """Return the half of a key that is kept in memory; the record itself holds the whole one."""
    return int.from_bytes(key[:8], "little")
