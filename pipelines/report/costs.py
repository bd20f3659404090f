"""What a run cost, from the records of its units and from what the last command said; and what was resumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.report.seen import Seen
from pipelines.running.progress import read_progress, sum_usage
from pipelines.shards import Counts

LISTENS = ("tts", "tts.augment", "quantize")  # passes that go through the seconds of speech


@dataclass(frozen=True)
class Cost:
    """What one pass took."""

    key: str
    units: int
    rows: int
    worker_seconds: float  # of its units, one after another: on two workers, half of it passes on the clock
    wall_seconds: float | None  # of the last command that had something to do in it
    resumed: int | None  # units that the last command found done; None: it had nothing to do here
    real_time_factor: float | None  # worker seconds for a second of speech
    peak_mib: int
    usage: dict[str, float]

    @property
    def rows_per_second(self) -> float | None:
        """Rows of one worker in a second."""
        return self.rows / self.worker_seconds if self.rows and self.worker_seconds else None


def costs(seen: Seen) -> Iterator[Cost]:
    """Yield what each pass cost that has done anything."""
    said = read_progress(seen.folder)
    for key in seen.states:
        records = seen.records(key)
        if not records:
            continue
        seconds = sum(record.cost.get("seconds", 0.0) for record in records.values())
        now: dict[str, Any] = said.get(key, {})
        speech = seen.funnel.seconds if key in LISTENS else 0.0
        yield Cost(
            key,
            len(records),
            Counts.total(record.counts for record in records.values()).rows_in,
            round(seconds, 3),
            now.get("seconds"),
            now.get("units_before"),
            round(seconds / speech, 4) if speech else None,
            max(record.cost.get("peak_mib", 0) for record in records.values()),
            sum_usage(record.cost.get("usage", {}) for record in records.values()),
        )
