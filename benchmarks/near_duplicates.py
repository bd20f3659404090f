"""Near duplicates against brute force: recall of similar pairs, false merges, time.

    python benchmarks/near_duplicates.py                                       # examples/ with planted variants
    python benchmarks/near_duplicates.py --data ../shared/data/text --rows 20000

Brute force counts the common shingles of every pair. A pair of Jaccard 0.8 or more is *found* if not both of its rows
stay; a merge is *false* if the row that went resembles the row it went for by less than 0.7.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from real_rows import read_pairs

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from filters.duplicates import normalise_all  # noqa: E402
from filters.near_duplicates import BANDS, band_hashes, buckets, find_near_duplicates, shingle  # noqa: E402

SIMILAR, DIFFERENT = 0.8, 0.7


def read_texts(data: Path | None, rows: int) -> list[str]:
    if data is None:
        lines = (ROOT / "examples" / "instructions.jsonl").read_text("utf-8").splitlines()
        texts = [json.loads(line)["messages"][0]["content"] for line in lines]
        texts += [text.replace(" a ", " the ", 1) for text in texts if len(text) > 60]
    else:
        texts = [prompt for prompt, _ in read_pairs(data) if len(prompt) < 600]
    texts = list(dict.fromkeys(normalise_all(texts)))
    random.Random(1).shuffle(texts)
    return texts[:rows]


def brute_force(texts: list[str], least: float) -> tuple[NDArray[np.int64], float]:
    """Return every pair (i, j), i < j, of at least this similarity, and the seconds it took."""
    start = time.process_time()
    shingles = shingle(texts)
    sets = [np.unique(shingles.values[a : a + n]) for a, n in zip(shingles.starts, shingles.counts, strict=True)]
    sizes = np.array([len(s) for s in sets])
    owner = np.repeat(np.arange(len(sets)), sizes)
    _, number = np.unique(np.concatenate(sets), return_inverse=True)
    order = np.argsort(number, kind="stable")
    owners, firsts = owner[order], np.searchsorted(number[order], np.arange(number.max() + 2))
    ends = np.cumsum(sizes)
    pairs = []
    for row, end in enumerate(ends):
        mine = number[end - sizes[row] : end]
        common = np.bincount(np.concatenate([owners[firsts[k] : firsts[k + 1]] for k in mine]), minlength=len(sets))
        common[: row + 1] = 0
        others = np.flatnonzero(common)
        similar = others[common[others] >= least * (sizes[row] + sizes[others] - common[others])]
        pairs.append(np.stack([np.full(len(similar), row), similar], axis=1))
    return np.concatenate(pairs), time.process_time() - start


def ours(texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Return (row, of) as the passes find them, and the seconds it took."""
    start = time.process_time()
    hashes, rows, first = band_hashes(texts), np.arange(len(texts)), 0
    bucket, row = [], []
    for band in range(BANDS):
        b, r = buckets(hashes[band], hashes[(band + 1) % BANDS], rows)
        bucket.append(b + first)
        row.append(r)
        first += int(b.max(initial=-1)) + 1
    again, of = find_near_duplicates(texts, np.concatenate(bucket), np.concatenate(row), SIMILAR)
    return again, of, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of real rows; default: examples/")
    parser.add_argument("--rows", type=int, default=20_000)
    args = parser.parse_args()
    texts = read_texts(args.data, args.rows)
    again, of, our_seconds = ours(texts)
    pairs, seconds = brute_force(texts, SIMILAR)
    stays = np.ones(len(texts), bool)
    stays[again] = False
    missed = int((stays[pairs[:, 0]] & stays[pairs[:, 1]]).sum())
    near, _ = brute_force(texts, DIFFERENT)
    known = set(map(tuple, near.tolist()))
    false = sum((min(a, o), max(a, o)) not in known for a, o in zip(again.tolist(), of.tolist(), strict=True))
    print(
        "| rows | pairs of 0.8 or more | of them both stay | recall | rows rejected | false merges | ours s "
        "| brute force s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {len(texts):,} | {len(pairs):,} | {missed} | {1 - missed / max(len(pairs), 1):.2%} | {len(again):,} "
        f"| {false} | {our_seconds:.1f} | {seconds:.1f} |"
    )


if __name__ == "__main__":
    main()
