"""What decontamination costs: the index of a benchmark's prompts, and rows per second on one core.

    python benchmarks/decontamination.py                       # the examples against the first half of them
    python benchmarks/decontamination.py gsm8k.jsonl --column question --rows rows.jsonl --rows-column prompt
    python benchmarks/decontamination.py --fill 300000         # with prompts of 60 words drawn from the others

Best of `--repeats` runs, in processor time; normalising is timed apart, for it is done by the caller.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from filters.decontamination import Index, build_index, find_hits  # noqa: E402
from filters.duplicates import normalise  # noqa: E402

EXAMPLES = ROOT / "examples" / "instructions.jsonl"


def read_prompts(path: Path, column: str) -> list[str]:
    """Return the texts of `column`, or of the first user message; other rows are skipped."""
    texts = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            said = [m["content"] for m in row.get("messages", ()) if m["role"] == "user"]
            text = row.get(column, said[0] if said else None)
            if isinstance(text, str):
                texts.append(text)
    return texts


def filler(prompts: list[str], n_prompts: int) -> list[str]:
    """Prompts of 60 words, each word drawn as often as in `prompts`: the same run is hardly drawn twice."""
    words = np.array(" ".join(prompts).split())
    random = np.random.default_rng(0)
    return [" ".join(words[random.integers(len(words), size=60)]) for _ in range(n_prompts)]


def best_seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return max(min(times), 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", nargs="?", type=Path, help="JSONL file with a benchmark's prompts")
    parser.add_argument("--column", default="prompt", help="column that holds them")
    parser.add_argument("--rows", type=Path, default=EXAMPLES, help="JSONL file with training prompts")
    parser.add_argument("--rows-column", default="prompt", help="column that holds them")
    parser.add_argument("--fill", type=int, default=0, help="prompts of drawn words to add to the index")
    parser.add_argument("--repeats", type=int, default=5, help="runs, of which the best counts")
    parser.add_argument("--show", type=int, default=0, help="hits to print that are no equal texts")
    options = parser.parse_args()

    raw = read_prompts(options.rows, options.rows_column)
    prompts = read_prompts(options.prompts, options.column) if options.prompts else raw[: len(raw) // 2]
    if not raw or not prompts:
        parser.error("no row has a text: name the columns with --column and --rows-column")
    rows = [normalise(text) for text in raw]
    benchmark = [normalise(text) for text in prompts]
    benchmark += filler(benchmark, options.fill)

    start = time.process_time()
    index = build_index(benchmark)
    build = time.process_time() - start
    table = index.to_table()
    n_bytes = table.nbytes + index.seen.nbytes
    print(
        f"index: {len(benchmark):,} prompts, {len(index.hashes):,} runs, {n_bytes / 1e6:.1f} MB, {build:.2f} s to build"
    )
    load = best_seconds(lambda: Index.from_table(table).seen, options.repeats)
    print(f"       {load:.3f} s from the table to the first look-up")

    hits = find_hits(index, rows)
    per_row = best_seconds(lambda: [normalise(text) for text in raw], options.repeats) / len(raw)
    print(f"rows:  {len(rows):,}, {np.count_nonzero(hits >= 0):,} of them hit; normalise: {per_row * 1e6:.1f} µs a row")
    kinds = {"all": rows, "without a hit": [row for row, hit in zip(rows, hits, strict=True) if hit < 0]}
    for kind, some in kinds.items():
        if some:
            rate = len(some) / best_seconds(partial(find_hits, index, some), options.repeats)
            words = sum(row.count(" ") + 1 for row in some) / len(some)
            print(f"       {kind}: {1e6 / rate:.1f} µs a row of {words:.0f} words, {rate:,.0f} rows/s")
    near = [(row, benchmark[hit]) for row, hit in zip(rows, hits, strict=True) if hit >= 0 and row != benchmark[hit]]
    for row, prompt in near[: options.show]:
        print(f"\nrow:       {row}\nbenchmark: {prompt}")


if __name__ == "__main__":
    main()
