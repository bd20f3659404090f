"""Whether inaudible rows are as long as what is spoken: Kolmogorov and Smirnov's two-sample D, by kind and in all.

    python benchmarks/noise_lengths.py OUT --data DIRECTORY [--rows 12000]

Speaks real questions (DIRECTORY holds nq_open_dev.jsonl, gsm8k_train.jsonl and
instructionwild_seed_en.jsonl as ../shared/data/text does),
makes as many inaudible rows, of every kind but recordings, with the embedded engines, and counts tokens in OUT/run.
D is the largest distance between the two distribution functions; two samples of n of one distribution stay under
1.36 * sqrt(2 / n) in 95 of 100 cases.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
KINDS = (
    "independent", "sticky", "shuffled", "white", "pink", "brown", "hum", "clicks", "silence", "babble", "masked",
    "fragment", "reversed",
)  # fmt: skip


def largest_distance(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Return the largest distance between the distribution functions of two samples, (n,) and (m,)."""
    at = np.union1d(one, other)
    below = [np.searchsorted(np.sort(sample), at, side="right") / sample.size for sample in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


def write_recipe(out: Path, data: Path, rows: int) -> Path:
    recipe = {
        "name": "lengths",
        "root": str(data),
        "run_dir": str(out / "run"),
        "sources": [
            {"name": "nq", "path": "nq_open_dev.jsonl", "prompt": "question"},
            {"name": "gsm8k", "path": "gsm8k_train.jsonl", "prompt": "question"},
            {"name": "wild", "path": "instructionwild_seed_en.jsonl"},
        ],
        "read": {"rows_per_shard": 2000},
        "filter": {"rules": ["speakable", {"length": {"below": 129}}]},
        "noise": {"rows": rows, "kinds": dict.fromkeys(KINDS, 1)},
        "mix": {"max_refusal_share": 1, "mixtures": {"all": {"parts": {"inaudible": 100}}}},
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def spoken_lengths(run: Path) -> NDArray[np.int64]:
    """Return the tokens of every spoken prompt."""
    lengths = [
        pl.read_parquet(path, columns=["id", "spoken"])
        .with_row_index("row")
        .explode("spoken")
        .select("row", pl.col("spoken").struct.field("turn"), tokens=pl.col("spoken").struct.field("tokens").list.len())
        .group_by("row", "turn")
        .agg(pl.col("tokens").sum())["tokens"]
        for path in sorted((run / "quantize").glob("*.parquet"))
    ]
    return pl.concat(lengths).to_numpy().astype(np.int64)


def inaudible_lengths(run: Path) -> dict[str, NDArray[np.int64]]:
    """Return the tokens of every inaudible row, by kind."""
    found: dict[str, list[int]] = defaultdict(list)
    for path in sorted((run / "noise.sounds").glob("noise-*.parquet")):
        for how, spoken in pl.read_parquet(path, columns=["inaudible", "spoken"]).iter_rows():
            found[json.loads(how)["kind"]].append(sum(len(utterance["tokens"]) for utterance in spoken))
    return {kind: np.array(lengths) for kind, lengths in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--workers", default="1")
    args = parser.parse_args()
    recipe = write_recipe(args.out.absolute(), args.data.absolute(), args.rows)
    started = time.monotonic()
    command = [sys.executable, "-m", "pipelines", "noise", str(recipe), "--workers", args.workers]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    print(f"run: {time.monotonic() - started:.0f} s")
    run = args.out / "run"
    spoken, inaudible = spoken_lengths(run), inaudible_lengths(run)
    everything = np.concatenate(list(inaudible.values()))
    print(f"\n| rows | n | median tokens | longest | D to the {spoken.size:,} spoken prompts |\n|---|---|---|---|---|")
    print(f"| spoken | {spoken.size:,} | {np.median(spoken):.0f} | {spoken.max()} | |")
    for kind, lengths in {"all inaudible": everything, **inaudible}.items():
        distance = largest_distance(spoken, lengths)
        print(f"| {kind} | {lengths.size:,} | {np.median(lengths):.0f} | {lengths.max()} | {distance:.4f} |")
    rejected = [json.loads(path.read_bytes())["counts"] for path in sorted((run / "noise.sounds").glob("noise-*.json"))]
    print(f"\nrejected: {sum(sum(counts['rejected'].values()) for counts in rejected)} of {args.rows:,}")


if __name__ == "__main__":
    main()
