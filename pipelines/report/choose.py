"""Which rows are shown and heard: of every task, voice, length, inaudible kind and rung, the least ids (hashes)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipelines.report.rows import Rows, chosen_rows
from pipelines.report.seen import Seen
from pipelines.tasks import TASKS, Shape

PER_TASK = 6  # of a task in a mixture: two short, two middle, two long ones
PER_KIND = 2  # of an inaudible kind
MOST_VOICES = 40  # that get a sample for their own sake; a set of recordings may have thousands
LENGTHS = ("short", "middle", "long")  # thirds of a task's rows, by seconds
_LOOKED_AT = 200  # candidates among which voices not heard yet are sought


@dataclass(frozen=True)
class Choice:
    """A row to show, and as what."""

    path: str
    row: int
    id: str
    mixture: str  # "": no mixture has chosen yet
    task: str
    length: str  # one of LENGTHS
    kind: str  # of what cannot be heard; "" for speech
    rung: int | None = None  # of a ladder


def choose(seen: Seen, rows: Rows) -> list[Choice]:
    """Return the rows to show: by mixture and task, then of each kind, rung and voice that had none yet."""
    heard: Counter[str] = Counter()
    chosen: dict[tuple[str, str], Choice] = {}

    def add(mixture: str, row: dict[str, Any]) -> None:
        chosen.setdefault((row["task"], row["id"]), _choice(mixture, row))
        heard[row["voice"]] += row["task"] != "text_only"

    for name, pool in _pools(seen, rows):
        for task in sorted(pool["task"].unique().cast(pl.String).to_list()):
            mine = pool.filter(pl.col("task").cast(pl.String) == task)
            for row in _of_task(_with_length(mine), heard):
                add(name, row)
    rest = _with_length(_unmixed(rows))  # what no mixture took
    shown = {(choice.kind, choice.rung) for choice in chosen.values()}
    odd = rest.filter(pl.col("kind").is_not_null() | pl.col("rung").is_not_null())
    of_each = sorted(odd.group_by("kind", "rung"), key=lambda pair: str(pair[0]))  # polars yields them in any order
    for row in (row for _, group in of_each for row in group.bottom_k(1, by="id").to_dicts()):
        if (row["kind"] or "", row["rung"]) not in shown:
            add("", row)
    for row in _of_new_voices(rest.filter(pl.col("kind").is_null()), heard):
        add("", row)
    return sorted(chosen.values(), key=lambda choice: (choice.mixture == "", choice.mixture, choice.task))


def _pools(seen: Seen, rows: Rows) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield each mixture with its rows; before there is any, all rows, each with the first task it may serve."""
    if seen.outputs.has("mix"):
        yield from chosen_rows(seen, rows)
    else:
        yield "", _unmixed(rows)


def _unmixed(rows: Rows) -> pl.DataFrame:
    """Return all rows that may serve a task, each with the first that it may."""
    shapes = rows.table.select("exchanges", "answered", *(pl.col(name).is_not_null() for name in ("kind", "rung")))
    serves = {shape: _first_task(Shape(*shape)) for shape in shapes.unique().iter_rows()}
    tasks = pl.Series("task", [serves[shape] for shape in shapes.iter_rows()], pl.String)
    return rows.table.with_columns(tasks).filter(pl.col("task") != "")


def _first_task(shape: Shape) -> str:
    return next((name for name, task in TASKS.items() if task.suits(shape)), "")


def _with_length(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the third of their task that they are in, by seconds."""
    first, second = (pl.col("seconds").quantile(share).over("task") for share in (1 / 3, 2 / 3))
    short, middle, long = LENGTHS
    third = pl.when(pl.col("seconds") <= first).then(pl.lit(short)).when(pl.col("seconds") <= second)
    return rows.with_columns(third=third.then(pl.lit(middle)).otherwise(pl.lit(long)))


def _of_task(rows: pl.DataFrame, heard: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows to show of one task; where they cannot be heard, or are a ladder's, of each kind and rung."""
    by = "kind" if rows["kind"].is_not_null().any() else "rung" if rows["rung"].is_not_null().any() else "third"
    each = {"kind": PER_KIND, "rung": 1, "third": PER_TASK // len(LENGTHS)}[by]
    for _, group in sorted(rows.group_by(by), key=lambda pair: str(pair[0])):
        waiting = group.bottom_k(_LOOKED_AT, by="id").sort("id").to_dicts()
        for _ in range(min(each, len(waiting))):
            row = min(waiting, key=lambda row: (heard[row["voice"]], row["id"]))
            waiting.remove(row)
            yield row


def _of_new_voices(rows: pl.DataFrame, heard: Counter[str]) -> Iterator[dict[str, Any]]:
    new = rows.filter(
        pl.col("voice").is_not_null()
        & ~pl.col("voice").cast(pl.String).is_in([voice for voice, times in heard.items() if voice and times])
    )
    firsts = new.group_by("voice").agg(pl.all().sort_by("id").first()).sort("id")
    yield from firsts.head(MOST_VOICES).to_dicts()


def _choice(mixture: str, row: dict[str, Any]) -> Choice:
    return Choice(
        row["path"], row["row"], row["id"], mixture, row["task"], row["third"], row["kind"] or "", row["rung"]
    )
