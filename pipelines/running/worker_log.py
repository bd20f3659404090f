"""What a worker process writes to its log: every line says which step and shard it is about."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LINES = 20  # of a log that are shown,
CHARACTERS = 300  # and of each line
TAIL_BYTES = 16 << 10  # in which they are looked for

log = logging.getLogger("speechmill")


class _Named(logging.Formatter):
    now = "idle"  # what the process is at: it does one unit at a time, and so do its threads

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines, each with the step and the shard."""
        return "\n".join(f"[{self.now}] {line}" for line in super().format(record).splitlines())


_NAMED = _Named("%(asctime)s %(levelname)s %(name)s: %(message)s")


def name_lines() -> None:
    """Let all that is logged in this process, libraries' warnings among it, go to stderr by step and shard."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_NAMED)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    log.setLevel(logging.INFO)


@contextmanager
def naming_lines(step: str, shard: str) -> Iterator[None]:
    """Let lines be about a unit, and say when it begins and ends."""
    _NAMED.now = f"{step} {shard}"
    log.info("begins")
    try:
        yield
        log.info("done")
    except Exception as error:
        log.error("%s: %s", type(error).__name__, error)
        raise
    finally:
        _NAMED.now = _Named.now


def last_lines(path: Path | None) -> tuple[str, ...]:
    """Return the last lines of a log; none where it is not on this machine."""
    if path is None:
        return ()
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - TAIL_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()[-LINES:]
            return tuple(line[:CHARACTERS] for line in lines)
    except OSError:
        return ()
