"""The paper's two mixtures at their full size: the step mix alone, on stand-in rows.

    python benchmarks/mix.py --folder /tmp/mix

Writes as many rows as the paper has (1.323 million spoken pairs, 140,620 chats of two exchanges, 9,480 of four,
11,000 inaudible rows; ids, sound tokens of 5.5 s on average and short texts are stand-ins) as finished shards of
`quantize` and `noise`, then runs the pass `mix` of configs/ichigo_v0.3.yaml on them in a process of its own and prints
its seconds, its peak memory, and the rows of each part beside those of arXiv 2410.15316. `--scale 0.01` takes fewer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # before this folder, where quantize.py is a benchmark

from pipelines.folders.lock import lock_run  # noqa: E402
from pipelines.graph import Outputs, plan_pass  # noqa: E402
from pipelines.mixture import quotas  # noqa: E402
from pipelines.recipe import Recipe, load_recipe  # noqa: E402
from pipelines.row import ROW  # noqa: E402
from pipelines.running.orders import Order  # noqa: E402
from pipelines.running.perform import perform  # noqa: E402
from pipelines.shards import Counts, Record, Staged, read_record  # noqa: E402
from pipelines.steps import BY_KEY  # noqa: E402

PAPER = {
    "stage2": {"speech_instruction": 1_323_000, "transcription": 378_000, "text_only": 189_000},
    "stage3": {"two_turn": 140_620, "four_turn": 9_480, "inaudible": 7_900},
}
# source -> (rows, exchanges, inaudible): what the paper's mixtures take, and no row more but of noise
ROWS = {"single": (1_323_000, 1, False), "two": (140_620, 2, False), "four": (9_480, 4, False)}
NOISE_ROWS = 11_000
PER_SHARD = 5000
MEAN_TOKENS = 138  # 5.5 s at 25 a second, what 2,000 hours over 1.3 million pairs come to


def shard(source: str, first: int, rows: int, exchanges: int, inaudible: bool) -> pa.Table:
    """Return a table of stand-in rows: real schema, ids of hashes, tokens drawn, one text for all."""
    rng = np.random.default_rng([len(source), first])
    turns = rows * exchanges
    counts = np.clip(rng.gamma(4, MEAN_TOKENS / 4, turns), 5, 750).astype(np.int32)
    tokens = pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32()),
        pa.array(rng.integers(0, 512, int(counts.sum())).astype(np.uint16)),
    )
    utterance = ROW.field("spoken").type.value_type
    spoken = {
        "turn": pa.array(np.tile(np.arange(exchanges) * 2, rows), pa.int32()),
        "text": pa.array(["What is the capital of Peru?"] * turns),
        "voice": pa.array(["en-us"] * turns),
        "tts": pa.array(["stand-in"] * turns),
        "seconds": pa.array(counts / 25),
        "tokenizer": pa.array(["stand-in"] * turns),
        "tokens": tokens,
    }
    said = pa.StructArray.from_arrays(
        [spoken.get(f.name, pa.nulls(turns, f.type)) for f in utterance], fields=list(utterance)
    )
    message = ROW.field("messages").type.value_type
    texts = pa.StructArray.from_arrays(
        [pa.array(["user", "assistant"] * turns), pa.array(["What is the capital of Peru?", "Lima."] * turns)],
        fields=list(message),
    )
    ends = np.arange(rows + 1, dtype=np.int32)
    names = (f"{source}/{number}".encode() for number in range(first, first + rows))
    columns = {
        "id": pa.array([hashlib.blake2b(name, digest_size=16).hexdigest() for name in names]),
        "source": pa.array([source] * rows),
        "license": pa.array(["Apache-2.0"] * rows),
        "index": pa.array(np.arange(first, first + rows)),
        "messages": pa.ListArray.from_arrays(pa.array(ends * 2 * exchanges), texts, type=ROW.field("messages").type),
        "exchanges": pa.array(np.full(rows, exchanges, np.int32)),
        "answered": pa.array([True] * rows),
        "inaudible": pa.array(['{"kind": "independent"}' if inaudible else None] * rows, pa.string()),
        "spoken": pa.ListArray.from_arrays(pa.array(ends * exchanges), said, type=ROW.field("spoken").type),
    }  # fmt: skip
    return pa.table([columns.get(f.name, pa.nulls(rows, f.type)) for f in ROW], schema=ROW)


def shards_of(source: str, rows: int, exchanges: int, inaudible: bool) -> Iterator[tuple[str, pa.Table]]:
    for number, first in enumerate(range(0, rows, PER_SHARD)):
        yield f"{source}-{number:05d}", shard(source, first, min(PER_SHARD, rows - first), exchanges, inaudible)


def write_rows(run_dir: Path, key: str, shards: Iterator[tuple[str, pa.Table]]) -> dict[str, Record]:
    """Commit shards as a pass would have; return their records."""
    records = {}
    for name, table in shards:
        staged = Staged(run_dir)
        staged.table(f"{key}/{name}.parquet", table)
        counts = Counts(table.num_rows, table.num_rows)
        records[name] = staged.commit(f"{key}/{name}.json", {}, counts, {"shards": {name: table.num_rows}}, {}, {})
    return records


def outputs_of(run_dir: Path) -> Outputs:
    """Return the stand-in shards as finished passes."""
    outputs = Outputs()
    for key in BY_KEY["mix"].needs:
        paths = sorted(p for p in (run_dir / key).glob("*.json") if p.name != "manifest.json")
        records = {path.stem: read_record(path) for path in paths}
        outputs.add(key, {name: record for name, record in records.items() if record})
    return outputs


def mix(recipe: Recipe) -> dict[str, Any]:
    """Run the pass and return what it took and made."""
    (plan,) = plan_pass(recipe, BY_KEY["mix"], outputs_of(recipe.run_path)).units
    started = time.monotonic()
    with lock_run(recipe.run_path) as hold:
        perform(Order(recipe, "mix", plan.unit, dict(plan.made_of), hold.token))
    seconds = time.monotonic() - started
    lock = json.loads((recipe.run_path / "mixture.json").read_bytes())
    return {
        "seconds": round(seconds, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "parts": {name: {part: a["chosen"] for part, a in m["parts"].items()} for name, m in lock["mixtures"].items()},
        "refusals": lock["refusals"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the stand-in rows are written; emptied first")
    parser.add_argument("--scale", type=float, default=1.0, help="of the paper's rows (default 1)")
    parser.add_argument("--only-mix", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    totals = [f"mix.mixtures.{name}.total={round(sum(parts.values()) * args.scale)}" for name, parts in PAPER.items()]
    recipe = load_recipe(ROOT / "configs" / "ichigo_v0.3.yaml", totals, str(args.folder))
    if args.only_mix:
        print(json.dumps(mix(recipe)))
        return
    shutil.rmtree(args.folder, ignore_errors=True)
    started = time.monotonic()
    for source, (rows, exchanges, inaudible) in ROWS.items():
        write_rows(args.folder, "quantize", shards_of(source, round(rows * args.scale), exchanges, inaudible))
    write_rows(args.folder, "noise", shards_of("noise", round(NOISE_ROWS * args.scale), 1, True))
    print(f"stand-in rows written in {time.monotonic() - started:.0f} s")
    command = [sys.executable, __file__, "--only-mix", "--folder", str(args.folder), "--scale", str(args.scale)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    print(f"mix alone: {told['seconds']} s, peak {told['peak_mib']} MiB (bars: 180 s, 4096 MiB)\n")
    print("| mixture | part | paper | by arithmetic | chosen |\n|---|---|---|---|---|")
    for name, parts in PAPER.items():
        percents = {part: Fraction(rows * 100, sum(parts.values())) for part, rows in parts.items()}
        sums = quotas(round(sum(parts.values()) * args.scale), percents)
        for part, rows in parts.items():
            print(f"| {name} | {part} | {rows:,} | {sums[part]:,} | {told['parts'][name][part]:,} |")
    share = told["refusals"]
    print(f"\nrefusals: {share['rows']:,} of {share['of']:,} = {share['share']:.2%}")


if __name__ == "__main__":
    main()
