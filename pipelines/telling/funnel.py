"""The funnel of a run, from its manifests: rows in, rejected by reason, kept; speech; mixtures."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.folders.run_folder import folder_at
from pipelines.graph import Outputs
from pipelines.recipe import SCORED_BY
from pipelines.shards import Counts, Record

ROW_STEPS = (
    *("read", "read.speech", *SCORED_BY, "filter", "answer", "tts", "tts.augment", "quantize", "noise", "noise.chats"),
)


@dataclass(frozen=True)
class Funnel:
    """What became of the rows, as plain numbers."""

    steps: dict[str, dict[str, Any]]  # step -> rows_in, shortened, rejected, rows_kept
    sources: dict[str, dict[str, int]]  # source -> rows after each step, records read first
    rejected: dict[str, dict[str, int]]  # source -> rows rejected by each rule up to filter, kinds together
    seconds: float  # of speech
    tokens: int  # of speech
    rewritten: dict[str, dict[str, int]]  # reason -> prompts that a model was to mend: tried, rewritten, passed


def measure(outputs: Outputs) -> Funnel:
    """Return the funnel of the passes that are finished; steps that are not are left out.

    So are the passes before `filter` where nothing was given up in them: they reject nothing else.
    """
    steps = {}
    for key in ROW_STEPS:
        if not (outputs.has(key) and outputs.records(key)):
            continue
        counts = Counts.total(record.counts for record in outputs.records(key).values())
        if key in SCORED_BY and not counts.rejected:
            continue
        steps[key] = {
            "rows_in": counts.rows_in,
            "shortened": {} if key in SCORED_BY else _shortened(outputs, key),  # `filter` tells it
            "rejected": dict(counts.rejected),
            "rows_kept": counts.rows_kept,
        }
    sources = {
        name: {"records": record.counts.rows_in, "read": record.counts.rows_kept}
        for name, record in outputs.sources().items()
    }
    rejected = {name: by_rule(record.counts.rejected) for name, record in outputs.sources().items()}
    for key in steps:
        if key in ("read", "read.speech", "noise", "noise.chats"):
            continue
        for name, counts in by_source(outputs, outputs.records(key)).items():
            sources[name][key] = counts.rows_kept
            if key in (*SCORED_BY, "filter"):
                rejected[name] |= by_rule(counts.rejected)
    speech = outputs.facts("quantize") if outputs.has("quantize") else []
    seconds, tokens = sum(s["seconds"] for s in speech), sum(s["tokens"] for s in speech)
    facts = outputs.facts("rewrite") if outputs.has("rewrite") else []
    return Funnel(steps, sources, rejected, round(seconds, 3), tokens, yields(f["rewritten"] for f in facts))


def yields(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Return the sums of several counts of rewrites, by reason.

    >>> yields([{"length": {"tried": 2, "passed": 1}}, {"length": {"tried": 1, "passed": 1}}])
    {'length': {'tried': 3, 'passed': 2}}
    """
    total: dict[str, dict[str, int]] = {}
    for part in parts:
        for reason, counts in part.items():
            of_reason = total.setdefault(reason, dict.fromkeys(counts, 0))
            for what, prompts in counts.items():
                of_reason[what] += prompts
    return dict(sorted(total.items()))


def _shortened(outputs: Outputs, step: str) -> dict[str, int]:
    """Return how many chats a step ended earlier than they came, by reason; `filter` has a pass of its own for that."""
    counted: Counter[str] = Counter()
    for key in (step, f"{step}.shorten"):
        for facts in outputs.facts(key) if outputs.has(key) else ():
            counted.update(facts.get("shortened", {}))
    return dict(sorted(counted.items()))


def by_source(outputs: Outputs, records: Mapping[str, Record]) -> dict[str, Counts]:
    """Return the counts of a pass over shards, or of reading, for each source."""
    result = {}
    for source, read in outputs.sources().items():
        names = [source] if records.get(source) is read else read.facts["shards"]
        result[source] = Counts.total(records[name].counts for name in names if name in records)
    return result


def by_rule(rejected: Mapping[str, int]) -> dict[str, int]:
    """Return counts of reasons as counts of rules: the kinds of one rule together.

    >>> by_rule({"filter.length": 2, "filter.speakable:url": 3, "filter.speakable:code": 1})
    {'filter.length': 2, 'filter.speakable': 4}
    """
    counted: Counter[str] = Counter()
    for reason, rows in rejected.items():
        counted[reason.partition(":")[0]] += rows
    return dict(counted)


def funnel_rows(funnel: Funnel) -> Iterable[tuple[str, str, int]]:
    """Yield (step, what, rows): in, chats that were shortened (which stay), rejected by reason, kept."""
    for step, counts in funnel.steps.items():
        yield step, "rows in", counts["rows_in"]
        for reason, rows in counts["shortened"].items():
            yield "", f"shortened: {reason}", rows
        for reason, rows in counts["rejected"].items():
            yield "", f"- {reason}", rows
        yield "", "kept", counts["rows_kept"]


def print_steps(console: Console, funnel: Funnel) -> None:
    """Print what each step took, rejected and kept."""
    table = Table("step", "", "rows", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for step, what, rows in funnel_rows(funnel):
        table.add_row(step, what, f"{rows:,}")
    console.print(table)
    if funnel.rewritten:
        console.print()
        console.print(rewritten_table(funnel))


def rewritten_table(funnel: Funnel) -> Table:
    """Return what rewriting brought: of each reason the prompts tried, rewritten, and kept by the rules then."""
    table = Table("rewritten", "tried", "answered", "passed", "yield", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for reason, counts in funnel.rewritten.items():
        numbers = [counts[what] for what in ("tried", "rewritten", "passed")]
        table.add_row(reason, *(f"{number:,}" for number in numbers), f"{counts['passed'] / counts['tried']:.0%}")
    return table


def source_table(funnel: Funnel) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table: for each source its records, rejects by rule, rows after each step."""
    rules = list(dict.fromkeys(rule for counts in funnel.rejected.values() for rule in counts))
    steps = list(dict.fromkeys(step for counts in funnel.sources.values() for step in counts))
    header = ["source", "records", *rules, *(f"after {step}" for step in steps if step != "records")]
    rows = []
    for source, counts in funnel.sources.items():
        numbers = [counts["records"], *(funnel.rejected[source].get(rule, 0) for rule in rules)]
        numbers += [counts.get(step, 0) for step in steps if step != "records"]
        rows.append([source, *(f"{number:,}" for number in numbers)])
    return header, rows


def print_funnel(console: Console, funnel: Funnel, run_dir: Path) -> None:
    """Print what a finished run made and where it lies."""
    print_steps(console, funnel)
    console.print(f"\nspeech: {funnel.seconds / 3600:.2f} hours, {funnel.tokens:,} sound tokens\n", soft_wrap=True)
    folder = folder_at(run_dir)
    folder.bring("mixture.json")
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
    if withheld := lock["chats_withheld_as_interrupted"]:
        console.print(f"{withheld:,} chats are interrupted by what nobody can hear, and stand nowhere as they were")
    if unused := lock["rows_no_part_can_use"]:
        console.print(f"{unused:,} rows were spoken that no part can use (by exchanges, or for want of an answer)")
    refusals = lock["refusals"]
    console.print(
        f"\nrefusals: {refusals['rows']} of {refusals['of']:,} rows = {refusals['share']:.3%} "
        f"(ceiling {refusals['ceiling']:.3%})\n\ndataset: {folder.place}/dataset",
        soft_wrap=True,
    )
    first = next(iter(lock["mixtures"]))
    split = Path(folder.names(f"dataset/{first}")[0]).name.partition("-")[0]
    what = f"'{folder.place}/dataset', '{first}', split='{split}'"
    if folder.copy:
        what = f"'parquet', data_files='{folder.place}/dataset/{first}/*.parquet', split='train'"
    console.print(
        f'load it: {sys.executable} -c "import datasets; print(datasets.load_dataset({what})[0])"',
        soft_wrap=True,
        markup=False,
    )
