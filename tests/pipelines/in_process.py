"""The command in this process: a test of many commands need not load torch for each."""

from __future__ import annotations

import signal
from pathlib import Path

from pipelines.cli import app


def mill(*arguments: str | Path) -> None:
    """Run a command. Raises what it ends with."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        app([str(argument) for argument in arguments], standalone_mode=False)
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
