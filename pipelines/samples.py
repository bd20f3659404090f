"""`speechmill funnel`: what became of the rows, by rule and by source, and what was rejected, in examples."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.funnel import Funnel, print_steps, source_table
from pipelines.row import reason_of, user_turns
from pipelines.shards import read_table

SAMPLES = 10  # of each rule
_SHOWN_CHARS = 160
_STEPS = ("read", "read.speech", "filter", "tts", "tts.augment", "quantize")


def print_explained(console: Console, funnel: Funnel, run_dir: Path) -> None:
    """Print the funnel, the funnel by source, and ten rejects of each reason."""
    print_steps(console, funnel)
    header, rows = source_table(funnel)
    console.print("\nby source", markup=False)
    for table in _turned(header, rows, console.width):
        console.print(table)
    for step in _STEPS:
        if step in funnel.steps:
            for reason, shown in sample_rejects(run_dir / step / "rejects").items():
                console.print(f"\n[bold]{reason}[/bold]: {funnel.steps[step]['rejected'][reason]:,} rows", emoji=False)
                for detail, text in shown:
                    console.print(f"  [dim]{escape(detail)}[/dim]  {escape(text)}", soft_wrap=True, emoji=False)


def _turned(header: list[str], rows: list[list[str]], width: int) -> Iterator[Table]:
    """Yield tables, rules down (their names are long) and sources across, as many as stand in `width` characters."""
    left = max(map(len, header))
    while rows:
        ends = accumulate((2 + max(map(len, row)) for row in rows), initial=left)
        n = max(1, sum(end <= width for end in ends) - 1)
        table = Table("", *(row[0] for row in rows[:n]), box=None, pad_edge=False)
        for number, name in enumerate(header[1:], 1):
            table.add_row(name, *(row[number] for row in rows[:n]))
        table.columns[0].no_wrap = True
        for column in table.columns[1:]:
            column.justify = "right"
        yield table
        rows = rows[n:]


def sample_rejects(folder: Path, samples: int = SAMPLES) -> dict[str, list[tuple[str, str]]]:
    """Return reason -> up to ten (reject, text) of a step's rejects.

    Which ones: the least ids, which are hashes, so a sample that is always the same. Records that could not
    be read have none: their first.
    """
    chosen: dict[str, list[tuple[str, Path, int]]] = {}
    for path in sorted(folder.glob("*.parquet")):
        names = pq.read_schema(path).names
        table = read_table(path, columns=["reject", *(["id"] if "id" in names else [])])
        ids = table["id"].to_pylist() if "id" in names else [f"{path.stem}{row:09d}" for row in range(len(table))]
        for row, (reject, row_id) in enumerate(zip(table["reject"].to_pylist(), ids, strict=True)):
            chosen.setdefault(reason_of(reject), []).append((row_id, path, row))
        chosen = {reason: heapq.nsmallest(samples, rows) for reason, rows in chosen.items()}
    return {reason: list(_texts(chosen[reason])) for reason in sorted(chosen)}


def _texts(rows: list[tuple[str, Path, int]]) -> Iterator[tuple[str, str]]:
    for _, path, row in rows:
        names = pq.read_schema(path).names
        column = "messages" if "messages" in names else "raw"
        found = read_table(path, columns=["reject", column]).slice(row, 1).to_pylist()[0]
        yield found["reject"], _one_line(found[column])


def _one_line(value: Any) -> str:
    text = value if isinstance(value, str) else " / ".join(said for _, said in user_turns(value))
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."
