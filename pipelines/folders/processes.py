"""Which process on which machine: whether one that left something behind is still alive."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """Return what tells this machine (or container) from others: its boot, and whose process numbers it has.

    A host's name would not do: two containers may share it, and each has a process 7.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    numbers = Path("/proc/self/ns/pid")
    known = [boot.read_text().strip() if boot.exists() else "", str(numbers.readlink()) if numbers.exists() else ""]
    return "".join(c for c in "-".join(known) if c.isalnum() or c == "-") or os.uname().nodename


def is_alive(where: str, pid: int) -> bool | None:
    """Tell whether a process is alive; None for one of another machine, of which nothing is known here."""
    if where != machine():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # of another user
    return True
