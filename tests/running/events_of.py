"""All that a folder's runs have told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.running.events import FILE, parse, parts_of


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every event that a folder has, the oldest first."""
    for path in [*parts_of(folder), folder / FILE]:
        if path.is_file():
            yield from parse(path.read_bytes())
