"""What may be spent, over all workers of a run: no request is sent that could go above the ceiling.

A file of two numbers beside the answers, requests and tokens, changed under `flock`. They are raised *before* a
request is sent, by the most that it can cost, and lowered by what it did not: what a killed worker had taken counts
as spent. So that hundreds of workers do not queue for one file, each takes a little ahead, at most a hundredth of
what is left, and gives back what it has not used when its questions are answered; near the ceiling it takes requests
one by one.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from answers.asking import AskingError

AHEAD = 32  # requests that are taken at once, at most
PART = 100  # of what is left, that a worker takes ahead at most
_BYTES = 16  # requests, tokens: each 8, little-endian


class CeilingReached(AskingError):
    """What the options allow is spent. All answers are stored."""


class Ledger:
    """One worker's hand on the file. For one thread; not to be used on both sides of a fork."""

    def __init__(self, path: Path, most_requests: int | None, most_tokens: int | None) -> None:
        """Open the file, making it and its folder if need be. Raises OSError, or AskingError if it is damaged."""
        self._path = path
        self._most = (most_requests, most_tokens)
        self._mine = [0, 0]  # taken from the file, and not spent yet: requests, tokens
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.spent()

    def take(self, most_tokens: int) -> bool:
        """Take one request that costs at most so many tokens. Returns whether the ceiling allows it."""
        cost = (1, most_tokens)
        if any(one > mine for one, mine in zip(cost, self._mine, strict=True)) and not self._draw(cost):
            return False
        self._mine = [mine - one for mine, one in zip(self._mine, cost, strict=True)]
        return True

    def settle(self, most_tokens: int, tokens: int) -> None:
        """Say what a request that was taken has cost; the rest serves the next ones."""
        self._mine[1] += most_tokens - tokens

    def give_back(self) -> None:
        """Give what is not spent to the others, and make the numbers last through a loss of power."""
        if any(self._mine):
            with self._locked() as spent:
                self._write([one - mine for one, mine in zip(spent, self._mine, strict=True)])
            self._mine = [0, 0]
        os.fsync(self._fd)

    def spent(self) -> tuple[int, int]:
        """Return the requests and tokens that all workers have spent or taken. Raises AskingError if damaged."""
        with self._locked() as spent:
            return spent

    def reached(self) -> CeilingReached:
        """Return the error that says what was spent."""
        told = [
            f"{spent:,} of {most:,} {what}"
            for what, spent, most in zip(("requests", "tokens"), self.spent(), self._most, strict=True)
            if most is not None
        ]
        return CeilingReached(
            f"the ceiling is reached: {', '.join(told)} are spent or taken, and the next request could exceed it. "
            "All answers are stored: raise most_requests or most_tokens and resume, which asks for none of them again"
        )

    def close(self) -> None:
        """Give back what is not spent, and the file."""
        self.give_back()
        os.close(self._fd)

    def _draw(self, cost: tuple[int, int]) -> bool:
        """Raise the numbers in the file by what is missing, and a little ahead."""
        with self._locked() as spent:
            draw = []
            for one, mine, done, most in zip(cost, self._mine, spent, self._most, strict=True):
                missing = max(0, one - mine)
                left = None if most is None else most - done - missing
                if left is not None and left < 0 and missing:
                    return False
                ahead = AHEAD * one if left is None else min(AHEAD * one, max(0, left) // PART)
                draw.append(missing + ahead if missing else 0)
            self._write([done + more for done, more in zip(spent, draw, strict=True)])
            self._mine = [mine + more for mine, more in zip(self._mine, draw, strict=True)]
            return True

    @contextmanager
    def _locked(self) -> Iterator[tuple[int, int]]:
        """Hold the file, and give what stands in it. Its lock goes with the process."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            data = os.pread(self._fd, _BYTES + 1, 0)
            if len(data) not in (0, _BYTES):
                raise AskingError(
                    f"{self._path} has {len(data)} bytes instead of {_BYTES}: what was spent cannot be read. "
                    "Delete it to count from 0 again"
                )
            yield int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _write(self, spent: list[int]) -> None:
        os.pwrite(self._fd, b"".join(max(0, one).to_bytes(8, "little") for one in spent), 0)
