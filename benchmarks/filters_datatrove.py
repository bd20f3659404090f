"""The same filters and the removal of near duplicates, by speechmill and by datatrove, on the same rows.

    python -m venv DIRECTORY && DIRECTORY/bin/pip install -r benchmarks/requirements-datatrove.txt
    python benchmarks/generate_rows.py OUT --rows 1000000 --short 120 --data DATA
    python benchmarks/filters_datatrove.py OUT/rows --datatrove-python DIRECTORY/bin/python --repeats 3
    python benchmarks/filters_datatrove.py OUT/rows --datatrove-python DIRECTORY/bin/python --lean

All sides have the same Parquet files and as many workers, and take turns. Seconds are those of a whole command:
start-up, reading the input and writing what is kept are in them.

The rules are those of configs/speechmill_v1.yaml that look at a prompt by itself, and near duplicates; both sides
write rejected rows with their reason. datatrove's side is its documented one (examples/minhash_deduplication.py:
signatures, buckets, clusters, filter), with 16 buckets of 8 hashes over shingles of 5 words, and filters of one
document a time, as `BaseFilter` asks for: our rules of a single text, tiktoken's count, py3langid with our languages.
Half of its time goes to spaCy, which it cuts words with, so `datatrove-split` has `str.split` instead.
`datatrove-columns` is the best that it could be: `str.split`, and our functions of whole columns, 1,000 documents at a
time. Each does less than speechmill: exact duplicates have no pass of their own, prompts of fewer than 5 words get no
signature, so that their duplicates stay, candidates are not compared, and scores are not written.

`--lean` is the least that such a run does: for datatrove a rule of length, ten regular expressions, the same MinHash
and no rejected rows; for speechmill the rules `length`, `speakable` (14 kinds, more than the ten) and
`near_duplicate`. All other scores are computed there too.

Processor seconds are those of every process that a command starts, sampled: on a shared machine they tell more
than the clock. speechmill's start-up (imports, Ray and its workers) is told apart, and is in its seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import regex
from pyarrow.json import read_json

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from filters.language import CANDIDATES, detect_language  # noqa: E402
from filters.length import count_tokens, encode  # noqa: E402
from filters.private import find_private, private_data  # noqa: E402
from filters.seconds import MILLISECONDS, pair_table, predict_seconds  # noqa: E402
from filters.speakable import find_unspeakable, unspeakable  # noqa: E402
from filters.symbol_share import SYMBOL, symbol_shares  # noqa: E402

BELOW_TOKENS, ABOVE_ENGLISH = 64, 0.8  # the paper's
BELOW_SYMBOLS, BELOW_SECONDS = 0.1, 20  # as configs/speechmill_v1.yaml
START = "imports, Ray and its workers"
NEAR_DUPLICATE = "near_duplicate"  # the rule's name in a recipe
N_GRAMS, BUCKETS, HASHES_PER_BUCKET = 5, 16, 8  # finds most pairs above (1/16) ** (1/8) = 0.71 of shared shingles
SIDES = ("speechmill", "datatrove", "datatrove-split", "datatrove-columns")
MARK = "SPEECHMILL_BENCHMARK"  # in the environment of every process that is timed
SAMPLED_SECONDS = 0.2
BATCH = 1_000  # documents that a rule gets at a time, as many as a reader's batch
LEAN_WORDS = (3, 60)
LEAN_PATTERNS = [
    re.compile(pattern)
    for pattern in (
        r"https?://|www\.",
        r"[\w.+-]+@[\w-]+\.\w+",
        r"</?[a-zA-Z][^>]*>",
        r"```|^ {4}\S",
        r"\\[a-zA-Z]+\{|\$\$",
        r"^\s*(?:[-*•]|\d+[.)])\s",
        r"[{}|<>\\^~]{2}",
        r"\b(?:def|import|SELECT|function)\b.*[(;]",
        r"(?:\+?\d[ -]?){9,}",
        r"([^\w\s])\1{3}",
    )
]

Rule = Callable[[list[str]], list[bool]]  # texts -> which of them stay

COLUMN_RULES: dict[str, Rule] = {
    "private": lambda texts: [found is None for found in private_data(texts)],
    "speakable": lambda texts: [verdict is None for verdict in find_unspeakable(texts)],
    "symbol_share": lambda texts: [share < BELOW_SYMBOLS for share in symbol_shares(texts)],
    "length": lambda texts: [count < BELOW_TOKENS for count in count_tokens(texts)],
    "seconds": lambda texts: [seconds < BELOW_SECONDS for seconds in predict_seconds(texts)],
    "language": lambda texts: [english > ABOVE_ENGLISH for _, english in detect_language(texts)],
}
RULES: dict[str, Rule] = {  # of a document at a time
    "private": lambda texts: [find_private(text) is None for text in texts],
    "speakable": lambda texts: [unspeakable(text) is None for text in texts],
    "symbol_share": lambda texts: [len(_SYMBOL.findall(text)) < BELOW_SYMBOLS * len(text) for text in texts],
    "length": lambda texts: [len(encode(text)) < BELOW_TOKENS for text in texts],
    "seconds": lambda texts: [_seconds(text) < BELOW_SECONDS for text in texts],
    "language": lambda texts: [_english(text) > ABOVE_ENGLISH for text in texts],
}
LEAN_RULES: dict[str, Rule] = {
    "length": lambda texts: [LEAN_WORDS[0] <= len(text.split()) <= LEAN_WORDS[1] for text in texts],
    "patterns": lambda texts: [not any(pattern.search(text) for pattern in LEAN_PATTERNS) for text in texts],
}


_SYMBOL = regex.compile(SYMBOL)


@cache
def _costs() -> list[int]:
    return [int(cost) for cost in pair_table(MILLISECONDS)]


def _seconds(text: str) -> float:
    """Return the predicted speaking time of a text."""
    costs, line = _costs(), b"\0" + text.encode("utf-8", "replace") + b"\0"
    return sum([costs[before << 8 | here] for before, here in pairwise(line)]) / 1000


@cache
def _identifier() -> Any:
    from py3langid.langid import _load_identifier

    return _load_identifier(norm_probs=True, langs=list(CANDIDATES))


def _english(text: str) -> float:
    """Return py3langid's probability that a text is English."""
    language, probability = _identifier().classify(text)
    return float(probability) if language == "en" else 0.0


class SplitWords:
    """A word tokenizer for datatrove's signatures: what is between white space."""

    def word_tokenize(self, text: str) -> list[str]:
        """Return the words of a text."""
        return text.split()


@dataclass(frozen=True)
class Measured:
    """One run of one side."""

    name: str
    seconds: float  # of the whole command
    processor_seconds: float  # of all its processes
    kept: int
    stages: dict[str, float]  # seconds on the clock; they follow one another
    work: dict[str, float] = field(default_factory=dict)  # seconds of all workers together, by part


def in_datatrove(rows: Path, out: Path, workers: int, side: str, lean: bool) -> None:
    """Run datatrove's pipelines, in its environment; write what each took to OUT/measured.json."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.filters.base_filter import BaseFilter
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    class RuleFilter(BaseFilter):  # type: ignore[misc]
        """One rule, asked about a document at a time, or about a batch."""

        def __init__(self, name: str, rule: Rule) -> None:
            self.name, self.rule = name, rule
            super().__init__(rejects(name), BATCH if side == "datatrove-columns" else 1)

        def filter(self, doc: Any) -> bool | tuple[bool, str]:
            return self.rule([doc.text])[0] or (False, self.name)

        def filter_batch(self, batch: list[Any]) -> list[bool | tuple[bool, str]]:
            return [stays or (False, self.name) for stays in self.rule([doc.text for doc in batch])]

    stages: dict[str, float] = {}
    work: dict[str, float] = {}

    def run(stage: str, tasks: int, steps: list[Any]) -> None:
        started = time.monotonic()
        stats = LocalPipelineExecutor(steps, tasks=tasks, workers=workers, logging_dir=str(out / "logs" / stage)).run()
        stages[stage] = time.monotonic() - started
        for number, step in enumerate(stats.stats):
            plain_name = " ".join(re.findall(r"[\w:]+", step.name))  # without its pictures
            work[f"{stage} {number} {plain_name}"] = step.time_stats.total

    def rejects(name: str) -> Any:
        return None if lean else ParquetWriter(str(out / "rejects" / name), schema=schema_of("filter_reason"))

    def schema_of(*more: str) -> pa.Schema:
        metadata = pa.struct([(name, pa.string()) for name in ("answer", "file_path", *more)])
        return pa.schema([("text", pa.string()), ("id", pa.string()), ("metadata", metadata)])

    rules = LEAN_RULES if lean else COLUMN_RULES if side == "datatrove-columns" else RULES
    schema = schema_of()
    config = MinhashConfig(n_grams=N_GRAMS, num_buckets=BUCKETS, hashes_per_bucket=HASHES_PER_BUCKET)
    signatures = MinhashDedupSignature(str(out / "signatures"), config)
    if side != "datatrove":
        signatures.word_tokenizer = SplitWords()
    reader = ParquetReader(str(rows), text_key="prompt")
    filtered, pairs, remove, kept = (str(out / name) for name in ("filtered", "pairs", "remove", "kept"))
    chosen = [RuleFilter(name, rule) for name, rule in rules.items()]
    run("filters", workers, [reader, *chosen, ParquetWriter(filtered, schema=schema)])
    run("signatures", workers, [ParquetReader(filtered), signatures])
    run("buckets", BUCKETS, [MinhashDedupBuckets(str(out / "signatures"), pairs, config=config)])
    run("clusters", 1, [MinhashDedupCluster(pairs, remove, config=config)])
    run(
        "dedup",
        workers,
        [
            ParquetReader(filtered),
            MinhashDedupFilter(remove, rejects(NEAR_DUPLICATE)),
            ParquetWriter(kept, schema=schema),
        ],
    )
    (out / "measured.json").write_text(json.dumps({"stages": stages, "work": work}))


def datatrove(rows: Path, folder: Path, python: Path, workers: int, side: str, lean: bool) -> Measured:
    """Run datatrove's side in a process of its own environment."""
    options = ["--inside", str(folder), "--workers", str(workers), "--sides", side, *(["--lean"] if lean else [])]
    seconds, busy = timed([str(python), str(Path(__file__)), str(rows), *options], folder)
    measured = json.loads((folder / "measured.json").read_text())
    kept = sum(pq.read_metadata(path).num_rows for path in (folder / "kept").glob("*.parquet"))
    return Measured(side + ", lean" * lean, seconds, busy, kept, measured["stages"], measured["work"])


def speechmill(rows: Path, folder: Path, workers: int, near: bool, lean: bool) -> Measured:
    """Run speechmill's side as its command; a pass ends when its last record is written."""
    rules: list[Any] = ["speakable", {"length": {"below": BELOW_TOKENS}}]
    if not lean:
        rules = ["private", *rules, {"symbol_share": {"below": BELOW_SYMBOLS}}, {"seconds": {"below": BELOW_SECONDS}}]
        rules += [{"language": {"above": ABOVE_ENGLISH}}, "duplicate"]
    recipe = {
        "name": "speed",
        "sources": [{"name": "rows", "path": str(rows)}],
        "filter": {"rules": rules + [NEAR_DUPLICATE] * near},
        "mix": {"mixtures": {"all": {"parts": {"transcription": 100}}}},
    }
    path, run = folder / "recipe.yaml", folder / "run"
    path.write_text(json.dumps(recipe))  # JSON is YAML
    started = time.time()
    command = ["-m", "pipelines", "filter", str(path), "--run-dir", str(run), "--workers", str(workers)]
    seconds, busy = timed([sys.executable, *command], folder)
    ends: dict[str, float] = {}
    work: dict[str, float] = {}
    first = time.time()
    for record in run.glob("*/*.json"):
        if cost := json.loads(record.read_text()).get("cost"):  # else it is a manifest
            part, end = record.parent.name, record.stat().st_mtime
            ends[part] = max(ends.get(part, 0), end)
            work[part] = work.get(part, 0) + cost["seconds"]
            first = min(first, end - cost["seconds"])
    order = sorted(ends, key=ends.__getitem__)
    begins = [first, *(ends[part] for part in order)]
    stages = {START: first - started} | {part: ends[part] - at for part, at in zip(order, begins, strict=False)}
    kept = json.loads((run / "filter" / "manifest.json").read_text())["rows_kept"]
    name = "speechmill" if near else f"speechmill without {NEAR_DUPLICATE}"
    return Measured(name + ", lean" * lean, seconds, busy, kept, stages, work)


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command from the project's folder; return its seconds and those of the processors it kept busy.

    What it says goes to a file.
    """
    log, mark = folder / "log.txt", f"{MARK}={uuid.uuid4().hex}"
    environment = {**os.environ, **dict([mark.split("=")])}
    with log.open("w") as said:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT)
        busy: dict[str, float] = {}
        while process.poll() is None:
            sample(busy, mark.encode())
            with suppress(subprocess.TimeoutExpired):
                process.wait(SAMPLED_SECONDS)
        seconds = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed ({process.returncode}):\n{log.read_text()[-3000:]}")
    return seconds, sum(busy.values())


def sample(busy: dict[str, float], mark: bytes) -> None:
    """Note the processor seconds, so far, of each process that has the mark in its environment (Linux alone)."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is none of ours
            if folder.name in busy or mark in (folder / "environ").read_bytes():
                fields = (folder / "stat").read_text().rpartition(") ")[2].split()
                busy[folder.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def prepared(source: Path, rows: int | None, workers: int, folder: Path) -> tuple[Path, int]:
    """Return a folder of Parquet files, one a worker or more, and the number of rows in it.

    The source itself, where it is one; else its first rows are written to `folder`, (prompt, answer).
    """
    files = sorted(source.glob("*.*")) if source.is_dir() else [source]
    if not files:
        raise SystemExit(f"no file in {source}")
    if rows is None and len(files) >= workers and all(path.suffix == ".parquet" for path in files):
        return source, sum(pq.read_metadata(path).num_rows for path in files)
    schema = pa.schema([("prompt", pa.string()), ("answer", pa.string())])
    tables = (pq.read_table(path) if path.suffix == ".parquet" else read_json(path) for path in files)
    table = pa.concat_tables(tables).select(schema.names).cast(schema)
    table = table.slice(0, rows)
    part = -(-table.num_rows // workers)
    folder.mkdir()
    for worker in range(workers):
        pq.write_table(table.slice(worker * part, part), folder / f"part-{worker:05d}.parquet")
    return folder, table.num_rows


def print_stages(measured: Measured) -> None:
    """Print where one run's time went: stage by stage on the clock, and the work of all workers together."""
    print(f"\n{measured.name}: {measured.seconds:.1f} s, processors {measured.processor_seconds:.1f} s")
    other = measured.seconds - sum(measured.stages.values())
    for stage, seconds in [*measured.stages.items(), ("the rest", other)]:
        print(f"  {stage:<30} {seconds:8.1f} s on the clock")
    for part, seconds in measured.work.items():
        print(f"    {part:<40} {seconds:8.1f} s of work")


def print_table(runs: list[Measured], n_rows: int) -> None:
    """Print the best run of each side, and how many times as long (and as busy) as the first it is."""
    best = {run.name: run for run in sorted(runs, key=lambda run: -run.seconds)}
    ours = best[runs[0].name]
    print(f"\n| {n_rows:,} rows | seconds | rows/s | times as long | processor seconds | times as busy | rows kept |")
    print("|---|---|---|---|---|---|---|")
    for name in dict.fromkeys(run.name for run in runs):
        run = best[name]
        longer, busier = run.seconds / ours.seconds, run.processor_seconds / ours.processor_seconds
        print(
            f"| {name} | {run.seconds:.1f} | {n_rows / run.seconds:,.0f} | {longer:.1f} "
            f"| {run.processor_seconds:.1f} | {busier:.1f} | {run.kept:,} |"
        )
    if START in ours.stages:
        print(f"\n{ours.name} without {START}: {ours.seconds - ours.stages[START]:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="Parquet or JSON lines with prompt and answer: a file or a folder")
    parser.add_argument("--datatrove-python", type=Path, help="of the environment that has datatrove")
    parser.add_argument("--limit", type=int, help="take so many rows only")
    parser.add_argument("--workers", type=int, default=2, help="of each side (default 2)")
    parser.add_argument("--repeats", type=int, default=1, help="rounds, of which each side's best counts (default 1)")
    parser.add_argument("--sides", choices=SIDES, nargs="+", default=SIDES, help="who runs (default: all, in turn)")
    parser.add_argument("--lean", action="store_true", help="fewer and cheaper rules")
    parser.add_argument("--no-near", action="store_true", help=f"speechmill without {NEAR_DUPLICATE}")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        in_datatrove(given.rows, given.inside, given.workers, given.sides[0], given.lean)
        return
    if given.datatrove_python is None and given.sides != ["speechmill"]:
        parser.error("--datatrove-python is needed: python -m venv DIRECTORY, then DIRECTORY/bin/python")
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        rows, n_rows = prepared(given.rows.absolute(), given.limit, given.workers, Path(temporary, "rows"))
        for _ in range(given.repeats):
            for side in given.sides:
                with tempfile.TemporaryDirectory(dir=temporary) as name:
                    if side == "speechmill":
                        run = speechmill(rows, Path(name), given.workers, not given.no_near, given.lean)
                    else:
                        run = datatrove(rows, Path(name), given.datatrove_python, given.workers, side, given.lean)
                print_stages(run)
                runs.append(run)
    print_table(runs, n_rows)


if __name__ == "__main__":
    main()
