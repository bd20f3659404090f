"""The funnel of a run, from its manifests: rows in, rejected by reason, kept; speech; mixtures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.graph import Outputs
from pipelines.shards import Counts

ROW_STEPS = ("read", "filter", "tts", "quantize", "noise")


@dataclass(frozen=True)
class Funnel:
    """What became of the rows, as plain numbers."""

    steps: dict[str, dict[str, Any]]  # step -> rows_in, rows_kept, rejected
    sources: dict[str, dict[str, int]]  # source -> rows after each step, records read first
    seconds: float  # of speech
    tokens: int  # of speech


def measure(outputs: Outputs) -> Funnel:
    """Return the funnel of finished passes."""
    steps = {}
    for key in ROW_STEPS:
        counts = Counts.total(record.counts for record in outputs.records(key).values())
        steps[key] = {"rows_in": counts.rows_in, "rows_kept": counts.rows_kept, "rejected": dict(counts.rejected)}
    sources = {
        name: {"records": record.counts.rows_in, "read": record.counts.rows_kept}
        for name, record in outputs.records("read").items()
    }
    for key in ROW_STEPS[1:-1]:
        kept = {shard.name: shard.rows for shard in outputs.shards(key)}
        for name, record in outputs.records("read").items():
            sources[name][key] = sum(kept[shard] for shard in record.facts["shards"])
    speech = outputs.facts("quantize")
    return Funnel(steps, sources, round(sum(s["seconds"] for s in speech), 3), sum(s["tokens"] for s in speech))


def funnel_rows(funnel: Funnel) -> Iterable[tuple[str, str, int]]:
    """Yield (step, what, rows): in, rejected by reason, kept."""
    for step, counts in funnel.steps.items():
        yield step, "rows in", counts["rows_in"]
        for reason, rows in counts["rejected"].items():
            yield "", f"- {reason}", rows
        yield "", "kept", counts["rows_kept"]


def print_funnel(console: Console, funnel: Funnel, run_dir: Path) -> None:
    """Print what a finished run made and where it lies."""
    table = Table("step", "", "rows", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for step, what, rows in funnel_rows(funnel):
        table.add_row(step, what, f"{rows:,}")
    console.print(table)
    console.print(f"\nspeech: {funnel.seconds / 3600:.2f} hours, {funnel.tokens:,} sound tokens\n", soft_wrap=True)
    lock = json.loads((run_dir / "mixture.json").read_text())
    mixed = Table("mixture", "part", "percent", "quota", "chosen", "available", box=None, pad_edge=False)
    for column in mixed.columns[2:]:
        column.justify = "right"
    for name, mixture in lock["mixtures"].items():
        for part, about in mixture["parts"].items():
            cells = (f"{about['percent']:g}", *(f"{about[key]:,}" for key in ("quota", "chosen", "available")))
            mixed.add_row(name, part, *cells)
            name = ""
        mixed.add_row("", "total", "100", f"{mixture['total']:,}", "", "")
    console.print(mixed)
    for name, mixture in lock["mixtures"].items():
        if mixture.get("bound"):
            console.print(f"{name} is as large as it can be: for one more row {mixture['bound']}", soft_wrap=True)
    if unused := lock["rows_no_part_can_use"]:
        console.print(f"{unused:,} rows were spoken that no part can use (by exchanges, or for want of an answer)")
    refusals = lock["refusals"]
    console.print(
        f"\nrefusals: {refusals['rows']} of {refusals['of']:,} rows = {refusals['share']:.3%} "
        f"(ceiling {refusals['ceiling']:.3%})\n\ndataset: {run_dir / 'dataset'}",
        soft_wrap=True,
    )
    first = next(iter(lock["mixtures"]))
    console.print(
        f'load it: {sys.executable} -c "import datasets; '
        f"print(datasets.load_dataset('{run_dir / 'dataset'}', '{first}', split='train')[0])\"",
        soft_wrap=True,
        markup=False,
    )
