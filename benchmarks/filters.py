"""Rows per second on one core: each score and rule alone, and the chain as the pipeline runs it.

    python benchmarks/filters.py                      # examples/instructions.jsonl
    python benchmarks/filters.py prompts.jsonl --column question --rows 20000

Columns of 5,000 rows, as a shard has. Best of `--repeats` runs, in processor time, so that other programs on
the machine matter little. The chain is every score of a prompt, its band hashes, and the verdicts.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["POLARS_MAX_THREADS"] = "1"  # as in a worker
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402

from filters.duplicates import key_of, normalise_all  # noqa: E402
from filters.language import detect_language  # noqa: E402
from filters.length import count_tokens  # noqa: E402
from filters.markers import strip_all  # noqa: E402
from filters.near_duplicates import band_hashes  # noqa: E402
from filters.private import private_data  # noqa: E402
from filters.seconds import predict_seconds  # noqa: E402
from filters.speakable import RULES, find_unspeakable, unspeakable  # noqa: E402
from filters.symbol_share import symbol_shares  # noqa: E402
from pipelines.row import ROW  # noqa: E402
from pipelines.rules import (  # noqa: E402
    Filter,
    LanguageRule,
    LengthRule,
    PrivateRule,
    SecondsRule,
    SpeakableRule,
    SymbolShareRule,
)  # fmt: skip
from pipelines.steps.score import score  # noqa: E402
from pipelines.verdicts import SCORES, rejects  # noqa: E402

ROWS = 5_000
OPTIONS = Filter(rules=(PrivateRule(), SpeakableRule(), SymbolShareRule(), LengthRule(), SecondsRule(), LanguageRule()))
Work = Callable[[Sequence[str]], object]


def each(rule: Callable[[str], object]) -> Work:
    return lambda texts: [rule(text) for text in texts]


def in_columns(work: Work) -> Work:
    return lambda texts: [work(texts[k : k + ROWS]) for k in range(0, len(texts), ROWS)]


def chain(texts: Sequence[str]) -> pl.Series:
    """Score a column of prompts, hash it for near duplicates, decide."""
    empty = dict.fromkeys(ROW.names)
    rows = [{**empty, "messages": [{"role": "user", "content": text}], "spoken": []} for text in texts]
    table = score(pa.Table.from_pylist(rows, schema=ROW), OPTIONS, 128)
    band_hashes(table["normalised"].drop_null().to_pylist())
    scores = pl.from_arrow(table.select(list(SCORES)))
    assert isinstance(scores, pl.DataFrame), "a table becomes a frame"
    return rejects(scores, OPTIONS.rules)


def seconds(work: Work, texts: Sequence[str], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        work(texts)
        best = min(best, time.process_time() - start)
    return max(best, 1e-9)


def read_prompts(path: Path, column: str, rows: int) -> list[str]:
    """Up to `rows` texts of `column`, or of the first user message; other rows are skipped."""
    texts: list[str] = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            said = [m["content"] for m in row.get("messages", ()) if m["role"] == "user"]
            text = row.get(column, said[0] if said else None)
            if isinstance(text, str):
                texts.append(text)
            if len(texts) == rows:
                break
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = ROOT / "examples" / "instructions.jsonl"
    parser.add_argument("prompts", nargs="?", type=Path, default=default, help="JSONL file")
    parser.add_argument("--column", default="prompt", help="column that holds the text")
    parser.add_argument("--rows", type=int, default=20_000, help="rows read at most")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the best counts")
    options = parser.parse_args()
    if not options.prompts.is_file():
        parser.error(f"{options.prompts} is not there: name a JSONL file with prompts")
    texts = read_prompts(options.prompts, options.column, options.rows)
    if not texts:
        parser.error(f"no row of {options.prompts} has a text in column {options.column!r}")

    detect_language(texts[:1]), count_tokens(texts[:1])  # load the models outside the clock
    n_chars = sum(map(len, texts))
    print(f"{len(texts):,} prompts, {n_chars / len(texts):.0f} characters on average, one core\n")
    work: dict[str, Work] = {
        "strip_all": strip_all,
        "count_tokens": count_tokens,
        "predict_seconds": predict_seconds,
        "detect_language": detect_language,
        "symbol_shares": symbol_shares,
        "private_data": private_data,
        "find_unspeakable": find_unspeakable,
        "  one text at a time": each(unspeakable),
        **{f"  {kind} alone, one at a time": each(rule) for kind, rule in RULES.items()},
        "normalise_all": normalise_all,
        "key_of": each(key_of),
        "band_hashes": band_hashes,
        "chain": chain,
    }
    print(f"{'work':<38}{'rows/s':>12}")
    for name, function in work.items():
        rate = len(texts) / seconds(in_columns(function), texts, options.repeats)
        print(f"{name:<38}{rate:>12,.0f}")


if __name__ == "__main__":
    main()
