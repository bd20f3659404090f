"""`speechmill funnel`: what became of the rows, by rule and by source, and what was rejected, in examples."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.row import user_turns
from pipelines.shards import read_table
from pipelines.telling.funnel import Funnel, print_steps, source_table
from pipelines.verdicts import SCORES, reason_column

SAMPLES = 10  # of each rule
SHOWN_SCORES = ("length", "predicted_seconds", "language", "english", "symbol_share", "answer_repeats")
_SHOWN_CHARS = 160


def print_explained(console: Console, funnel: Funnel, run_dir: Path) -> None:
    """Print the funnel, the funnel by source, and ten rejects of each reason."""
    print_steps(console, funnel)
    header, rows = source_table(funnel)
    console.print("\nby source", markup=False)
    for table in _turned(header, rows, console.width):
        console.print(table)
    for step, counts in funnel.steps.items():
        files = {path.name: path for path in (run_dir / step / "rejects").glob("*.parquet")}
        for reason, shown in sample_rejects(files).items():
            console.print(f"\n[bold]{reason}[/bold]: {counts['rejected'][reason]:,} rows", emoji=False)
            for row in shown:
                said = f"  [dim]{escape(row.reject)}[/dim]  {escape(one_line(row.text))}"
                console.print(said, soft_wrap=True, emoji=False)


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


@dataclass(frozen=True)
class Rejected:
    """A row, or a record, that ended."""

    reject: str  # "<step>.<rule>:<detail>"
    source: str
    text: str  # the user messages; of a record that could not be read, the record
    scores: Mapping[str, Any]  # what rules decide by, as far as it was computed


def sample_rejects(
    files: Mapping[str, Path], samples: int = SAMPLES, screened: bool = False
) -> dict[str, list[Rejected]]:
    """Return reason -> up to `samples` of a step's rejects.

    Which ones: the least ids, which are hashes, so a sample that is always the same. Records that could not
    be read have none: their first.

    Args:
        files: those of its rejects, by name, wherever they lie.
        screened: only those that private data was looked for in, and not found: texts that may be published.
    """
    chosen: dict[str, list[tuple[str, str, int]]] = {}
    for name in sorted(files):
        places = _places(name, files[name])
        for reason, group in places.filter(pl.col("screened") if screened else True).group_by("reason"):
            least = group.bottom_k(samples, by="id")
            found = [(row_id, name, row) for row_id, row in least.select("id", "row").iter_rows()]
            chosen.setdefault(str(reason[0]), []).extend(found)
        chosen = {reason: heapq.nsmallest(samples, rows) for reason, rows in chosen.items()}
    rows = _read(files, sorted({(name, row) for places in chosen.values() for _, name, row in places}))
    return {reason: [rows[name, row] for _, name, row in chosen[reason]] for reason in sorted(chosen)}


def _places(name: str, path: Path) -> pl.DataFrame:
    """Return (id, row, reason, screened) of a file of rejects; records have their number for an id."""
    known = [column for column in ("id", "private", "duplicate_key") if column in pq.read_schema(path).names]
    numbered = pl.read_parquet(path, columns=["reject", *known]).with_row_index("row")
    given = pl.col("id") if "id" in known else pl.lit(Path(name).stem) + pl.col("row").cast(pl.String).str.zfill(9)
    # What was not scored, too long or no row at all, has not been looked through.
    screened = pl.col("duplicate_key").is_not_null() & pl.col("private").is_null() if len(known) == 3 else pl.lit(False)
    return numbered.select(id=given, row="row", reason=reason_column(), screened=screened)


def _read(files: Mapping[str, Path], places: list[tuple[str, int]]) -> dict[tuple[str, int], Rejected]:
    """Return the rejects at places that are sorted, each file read once."""
    found = {}
    for file, group in groupby(places, key=itemgetter(0)):
        path, numbers = files[file], [row for _, row in group]
        names = [n for n in pq.read_schema(path).names if n in ("reject", "source", "messages", "raw", *SCORES)]
        rows = read_table(path, columns=names).take(pa.array(numbers)).to_pylist()
        for number, row in zip(numbers, rows, strict=True):
            text = row["raw"] if "raw" in row else " / ".join(said for _, said in user_turns(row["messages"]))
            scores = {name: row[name] for name in SHOWN_SCORES if row.get(name) is not None}
            found[file, number] = Rejected(row["reject"], row["source"], text, scores)
    return found


def one_line(text: str, chars: int = _SHOWN_CHARS) -> str:
    """Return a text on one line, cut after so many characters.

    >>> one_line("What is  this?\\nA test.", 16)
    'What is this?...'
    """
    text = " ".join(text.split())
    return text if len(text) <= chars else f"{text[: chars - 3]}..."
