"""The report of a run of a million rows: its seconds, its peak memory, the size of the page.

    python benchmarks/report.py --folder /tmp/report

Writes a finished run of so many quantized rows, and as many rejects again for every two of them: every pass of
configs/quickstart.yaml is planned as it always is and "done" by a stand-in that commits rows of the real schema, with
drawn ids, tokens, voices, scores and short texts. The pass `mix` is the real one. There is no audio, as with
tts.keep_audio: false; what sounds cost is the same in a small run. Then `speechmill report` runs in its own process.
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
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # before this folder, where quantize.py is a benchmark

from rich.console import Console  # noqa: E402

from pipelines.folders.run_folder import RunFolder  # noqa: E402
from pipelines.graph import Job  # noqa: E402
from pipelines.recipe import Recipe, load_recipe  # noqa: E402
from pipelines.row import REJECTED_ROW, ROW  # noqa: E402
from pipelines.running.events import Events  # noqa: E402
from pipelines.running.orders import Executor, Needs, Order, nothing  # noqa: E402
from pipelines.running.perform import perform  # noqa: E402
from pipelines.running.progress import Progress  # noqa: E402
from pipelines.running.runner import run  # noqa: E402
from pipelines.shards import Counts, Record, Staged  # noqa: E402
from pipelines.steps import BY_KEY, PASSES  # noqa: E402
from pipelines.steps.filter import DUPLICATES_FILE, UNIQUE_FILE  # noqa: E402

PER_SHARD = 5000
SOURCES = 5
MEAN_TOKENS = 138  # 5.5 s at 25 a second, as 2,000 hours over 1.3 million pairs are
REASONS = ("filter.length:90", "filter.language:de english=0.1", "filter.speakable:code:x = 1", "filter.duplicate:")
KINDS = ("independent", "sticky")
REAL = frozenset(["mix"])  # passes that are performed and not stood in for


def ids_of(name: str, rows: int) -> list[str]:
    return [hashlib.blake2b(f"{name}/{row}".encode(), digest_size=16).hexdigest() for row in range(rows)]


def drawn(name: str, rows: int, voices: Sequence[str] | None, rejected: bool = False) -> pa.Table:
    """Return stand-in rows of one exchange: spoken by `voices`, inaudible for none of them, or not spoken at all."""
    rng = np.random.default_rng(list(name.encode()))
    counts = np.clip(rng.gamma(4, MEAN_TOKENS / 4, rows), 5, 750).astype(np.int32)
    fresh = rng.integers(0, 512, int(counts.sum())).astype(np.uint16)
    held = rng.random(len(fresh)) < 0.2
    fresh[1:][held[1:]] = fresh[:-1][held[1:]]
    ends = np.concatenate([[0], np.cumsum(counts)])
    utterance = ROW.field("spoken").type.value_type
    spoken = {
        "turn": pa.array(np.zeros(rows, np.int32)),
        "voice": pa.array(
            np.array(voices)[rng.integers(0, len(voices), rows)] if voices else [None] * rows, pa.string()
        ),
        "text": pa.array(["What is the capital of Peru?" if voices else None] * rows, pa.string()),
        "tts": pa.array(["stand-in"] * rows),
        "seconds": pa.array(counts / 25),
        "tokenizer": pa.array(["stand-in@0/fp32"] * rows),
        "tokens": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(fresh)),
    }
    said = pa.StructArray.from_arrays(
        [spoken.get(f.name, pa.nulls(rows, f.type)) for f in utterance], fields=list(utterance)
    )
    message = ROW.field("messages").type.value_type
    pair = [f"What is the capital of Peru, {name}?", "Lima."]
    texts = pa.StructArray.from_arrays(
        [pa.array(["user", "assistant"] * rows), pa.array(pair * rows)], fields=list(message)
    )
    place = np.arange(rows + 1, dtype=np.int32)
    english = rng.beta(0.5, 0.2, rows).astype(np.float32)
    ids = ids_of(name, rows)
    columns = {
        "id": pa.array(ids),
        "source": pa.array([name.rpartition("-")[0]] * rows),
        "license": pa.array(["Apache-2.0"] * rows),
        "index": pa.array(np.arange(rows)),
        "messages": pa.ListArray.from_arrays(pa.array(place * 2), texts, type=ROW.field("messages").type),
        "exchanges": pa.array(np.ones(rows, np.int32)),
        "answered": pa.array([True] * rows),
        "length": pa.array(rng.integers(3, 90 if rejected else 63, rows).astype(np.int32)),
        "english": pa.array(english),
        "predicted_seconds": pa.array((counts / 25).astype(np.float32)),
    }
    if voices is not None:
        columns["spoken"] = pa.ListArray.from_arrays(pa.array(place), said, type=ROW.field("spoken").type)
    if voices == ():
        columns["inaudible"] = pa.array([json.dumps({"kind": KINDS[row % 2]}) for row in range(rows)])
    if rejected:
        columns["reject"] = pa.array(
            [REASONS[row % 4] + (ids[row % 50] if row % 4 == 3 else "") for row in range(rows)]
        )
    schema = REJECTED_ROW if rejected else ROW
    return pa.table([columns.get(f.name, pa.nulls(rows, f.type)) for f in schema], schema=schema)


class StandIns:
    """Commits what each pass would have, but for the work."""

    size = 1

    def __init__(self, recipe: Recipe, rows: int) -> None:
        self._recipe, self._rows = recipe, rows
        self._voices = [voice.id for voice in recipe.tts.voices]
        self._orders: deque[Order] = deque()

    def check(self, needs: Mapping[str, Needs]) -> None:
        """It is here whatever is needed."""

    def submit(self, order: Order) -> None:
        """Take an order."""
        self._orders.append(order)

    def wait(self, look: Callable[[], object] = nothing) -> tuple[Order, Record]:
        """Return the next order with its record."""
        order = self._orders.popleft()
        return order, perform(order) if order.key in REAL else self._commit(order)

    def _commit(self, order: Order) -> Record:
        staged = Staged(self._recipe.run_path)
        job = Job(self._recipe, order.unit, staged, order.made_of, order.digests)
        counts, facts = self._make(order.key, job)
        cost = {"seconds": 1.0, "peak_mib": 100}
        return staged.commit(f"{order.key}/{order.unit.name}.json", order.made_of, counts, facts, cost)

    def _make(self, key: str, job: Job) -> tuple[Counts, dict[str, Any]]:
        name, rows = job.unit.name, job.unit.rows
        if key == "read":
            of_source = self._rows * 3 // 2 // SOURCES
            shards = {
                f"{name}-{n:05d}": min(PER_SHARD, of_source - s) for n, s in enumerate(range(0, of_source, PER_SHARD))
            }
            for shard in shards:
                job.staged.table(f"read/{shard}.parquet", pa.table({"rows": [0]}))
            return Counts(of_source, of_source), {"shards": shards, "said": "drawn", "files": {}}
        if key == "filter.duplicates":
            for file in (DUPLICATES_FILE, UNIQUE_FILE):
                job.staged.table(file, pa.table({"none": pa.nulls(0)}))
            return Counts(), {}
        if key == "filter":
            kept = rows * 2 // 3
            job.staged.table(f"filter/{name}.parquet", drawn(name, kept, None))
            rejects = drawn(f"{name}r", rows - kept, None, rejected=True)
            job.staged.table(f"filter/rejects/{name}.parquet", rejects)
            reasons = [reason.partition(":")[0] for reason in REASONS[:2]] + [
                "filter.speakable:code",
                "filter.duplicate",
            ]
            counted = {reason: len(range(n, rows - kept, 4)) for n, reason in enumerate(reasons)}
            return Counts(rows, kept, counted), {"shards": {name: kept}}
        if key == "quantize":
            table = drawn(name, rows, self._voices)
            with job.staged.parquet(f"quantize/{name}.parquet", ROW) as writer:
                writer.write_table(table, row_group_size=64)  # as rows come from an engine
            seconds = float(sum(u["seconds"] for row in table["spoken"].to_pylist() for u in row))
            facts = {
                "seconds": seconds,
                "tokens": round(seconds * 25),
                "mask_tokens": 0,
                "tokenizer": "stand-in@0/fp32",
            }
            facts |= {"tokens_per_second": 25, "n_codes": 512, "mask_code": None}
            return Counts(rows, rows), {"shards": {name: rows}, **facts}
        if key in ("noise.sounds", "noise"):
            job.staged.table(f"{key}/{name}.parquet", drawn(name, rows, ()))
            return Counts(rows, rows), {"shards": {name: rows}}
        if key == "export.layout":
            job.staged.table("export.layout/all.parquet", pa.table({"none": pa.nulls(0)}))
            files = [f"dataset/{mixture}/train-00000-of-00001.parquet" for mixture in self._recipe.mix.mixtures]
            return Counts(), {"files": files}
        if key == "export":
            mixture = Path(job.unit.args["file"]).parent.name
            tasks = pl.read_parquet(job.file(f"mix/{mixture}.parquet"), columns=["task"])
            job.staged.table(job.unit.args["file"], tasks.to_arrow().cast(pa.schema([("task", pa.string())])))
            return Counts(tasks.height, tasks.height), {}
        job.staged.table(f"{key}/{name}.parquet", pa.table({"none": pa.nulls(0)}))  # what nothing of the report reads
        return Counts(rows, rows), {"shards": {name: rows}} if BY_KEY[key].one_to_one else {}


def write_run(folder: Path, rows: int) -> None:
    """Bring the stand-in run up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [{"name": f"set{n}", "path": f"set{n}.jsonl", "license": "Apache-2.0"} for n in range(SOURCES)]
    for source in sources:
        (folder / source["path"]).write_text('{"prompt": "What is a hen?", "answer": "A bird."}\n')
    changes = [
        f"root={folder}", f"sources={json.dumps(sources)}", f"read.rows_per_shard={PER_SHARD}",
        f"noise.rows={rows // 100}", "tts.keep_audio=false", "export.audio=false",
        "mix.mixtures.stage3={parts: {speech_instruction: 99, inaudible: 1}, total: max}", "mix.max_refusal_share=0.02",
    ]  # fmt: skip
    recipe = load_recipe(ROOT / "configs" / "quickstart.yaml", changes, str(folder / "run"))
    stand_ins = StandIns(recipe, rows)

    @contextmanager
    def execute() -> Iterator[Executor]:
        yield stand_ins

    quiet = Console(quiet=True)
    passes = [a_pass for a_pass in PASSES if a_pass.key != "export.card"]
    run_folder = RunFolder(recipe.run_path)
    events = Events(run_folder)
    run(recipe, passes, execute(), Progress(run_folder, quiet, events), events.tell, threads=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the run is written; emptied first")
    parser.add_argument("--rows", type=int, default=1_000_000, help="quantized rows (default 1,000,000)")
    parser.add_argument("--again", action="store_true", help="keep what is there from before")
    args = parser.parse_args()
    started = time.monotonic()
    if not args.again:
        shutil.rmtree(args.folder, ignore_errors=True)
    write_run(args.folder, args.rows)
    print(f"stand-ins for {args.rows:,} quantized rows written in {time.monotonic() - started:.0f} s", flush=True)
    page = args.folder / "report.html"
    command = [sys.executable, "-m", "pipelines", "report", str(args.folder / "run"), "--out", str(page)]
    started = time.monotonic()
    subprocess.run(command, check=True, cwd=ROOT)
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"report: {seconds:.1f} s ({used.ru_utime + used.ru_stime:.1f} s of CPU), peak {used.ru_maxrss // 1024} MiB, "
        f"{page.stat().st_size / 1e6:.2f} MB (bars: 60 s, 2048 MiB, 15 MB)"
    )


if __name__ == "__main__":
    main()
