"""Rows per second on one core: each filter alone, and the chain as the pipeline runs it.

    python benchmarks/filters.py                      # examples/instructions.jsonl
    python benchmarks/filters.py prompts.jsonl --column question --rows 20000

Best of `--repeats` runs, in processor time, so that other programs on the machine matter little.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from filters.duplicates import duplicate_key  # noqa: E402
from filters.language import detect_language  # noqa: E402
from filters.length import count_tokens  # noqa: E402
from filters.markers import strip_markers  # noqa: E402
from filters.speakable import RULES, unspeakable  # noqa: E402

Work = Callable[[Sequence[str]], object]


def each(rule: Callable[[str], object]) -> Work:
    return lambda texts: [rule(text) for text in texts]


def chain(texts: Sequence[str]) -> list[str]:
    """Everything, the cheap rules first, later rules on what earlier ones kept."""
    texts = [strip_markers(text) for text in texts]
    first = {duplicate_key(text): text for text in reversed(texts)}
    texts = [text for text in first.values() if unspeakable(text) is None]
    texts = [t for t, n in zip(texts, count_tokens(texts), strict=True) if n < 64]
    return [t for t, (_, p) in zip(texts, detect_language(texts), strict=True) if p > 0.8]


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
        "strip_markers": each(strip_markers),
        "duplicate_key": each(duplicate_key),
        "count_tokens": count_tokens,
        "detect_language": detect_language,
        "unspeakable": each(unspeakable),
        **{f"  {kind}": each(rule) for kind, rule in RULES.items()},
        "chain": chain,
    }
    print(f"{'filter':<20}{'rows/s':>12}")
    for name, function in work.items():
        rate = len(texts) / seconds(function, texts, options.repeats)
        print(f"{name:<20}{rate:>12,.0f}")


if __name__ == "__main__":
    main()
