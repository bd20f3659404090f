"""Is it English? Shares kept and rejected by language and length, on the labelled prompts, and rows per second.

    python benchmarks/languages.py                                              # tests/filters/data/*.jsonl
    python benchmarks/languages.py --english FILE.jsonl --column question       # how much real English is lost

A prompt is kept where the probability of English is above 0.8, as the rule `language` does by default.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from filters.language import detect_language  # noqa: E402

ABOVE = 0.8
LENGTHS = {"1-3 words": range(1, 4), "4-12 words": range(4, 13), "more": range(13, 10_000)}
DATA = ROOT / "tests" / "filters" / "data"


def kept(texts: Sequence[str]) -> int:
    return sum(probability > ABOVE for _, probability in detect_language(texts))


def by_length(texts: Sequence[str]) -> dict[str, list[str]]:
    return {name: [text for text in texts if len(text.split()) in words] for name, words in LENGTHS.items()}


def show(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    print(f"\n{path.name}: {len(rows)} prompts")
    for name, texts in by_length([row["text"] for row in rows if row["language"] == "en"]).items():
        print(f"  English, {name}: {kept(texts)} of {len(texts)} kept")
    for name, texts in by_length([row["text"] for row in rows if row["language"] != "en"]).items():
        print(f"  other languages, {name}: {len(texts) - kept(texts)} of {len(texts)} rejected")
    languages = sorted({row["language"] for row in rows} - {"en"})
    cells = []
    for language in languages:
        texts = [row["text"] for row in rows if row["language"] == language]
        cells.append(f"{language} {len(texts) - kept(texts)}/{len(texts)}")
    print(f"  rejected / all, {len(languages)} languages: {', '.join(cells)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--english", type=Path, help="JSONL of prompts that are English")
    parser.add_argument("--column", default="text")
    args = parser.parse_args()
    for path in (DATA / "languages.jsonl", DATA / "languages_heldout.jsonl"):
        show(path)
    if args.english:
        texts = [json.loads(line)[args.column] for line in args.english.read_text("utf-8").splitlines()]
        for name, some in by_length(texts).items():
            print(f"{args.english.name}, {name}: {kept(some):,} of {len(some):,} kept")
    texts = [json.loads(line)["text"] for line in (DATA / "languages.jsonl").read_text("utf-8").splitlines()] * 5
    start = time.process_time()
    detect_language(texts)
    print(f"\n{len(texts) / (time.process_time() - start):,.0f} rows/s on one core")


if __name__ == "__main__":
    main()
