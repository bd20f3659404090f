"""The filter step at scale: rows/s at growing sizes, memory, planted duplicates, a kill, a changed threshold.

    python benchmarks/filter_scale.py --data ../shared/data/text --rows 100000 1000000 6000000

For each size it generates rows (generate_rows.py), then runs `speechmill filter` on the rules of a recipe
(default configs/speechmill_v1.yaml, its sources and benchmarks replaced by local files) and prints: seconds, rows/s,
the peak memory of all processes together (proportional set size) and their processor seconds, both sampled each
second, the seconds of work per pass, and how many planted exact duplicates are left. Then the length threshold
changes and filter runs again; then, with --kill, the same run is made anew, killed (SIGKILL, every process) half-way
through scoring and resumed: its files must be byte-identical. Without --data, rows come from examples/.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from filters_datatrove import MARK, sample

ROOT = Path(__file__).resolve().parents[1]


def write_recipe(args: argparse.Namespace, rows: Path, run: Path) -> Path:
    recipe = yaml.safe_load(args.recipe.read_text())
    recipe["sources"] = [{"name": path.stem, "path": str(path)} for path in sorted((rows / "rows").iterdir())]
    for rule in recipe["filter"]["rules"]:
        if isinstance(rule, dict) and "benchmark" in rule:
            rule["benchmark"] = {"benchmarks": [{"name": p.stem.split(".")[0], "path": str(p)} for p in args.benchmark]}
    recipe["filter"]["rules"] = [r for r in recipe["filter"]["rules"] if args.benchmark or "benchmark" not in r]
    recipe.pop("published", None)
    recipe |= {"name": "scale", "run_dir": str(run), "root": "/"}
    path = run.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


class Watch:
    """Runs a command and samples the memory of it and of all that it starts."""

    def __init__(self, command: list[str]) -> None:
        self.mark = uuid.uuid4().hex
        environment = {
            **os.environ,
            MARK: self.mark,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        self.peak_bytes = 0
        self._busy: dict[str, float] = {}
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def processes(self) -> list[int]:
        """Return the process ids of the command and of all that it started."""
        found = []
        for folder in Path("/proc").iterdir():
            with suppress(OSError):
                if folder.name.isdigit() and f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def _sample(self) -> None:
        while self.process.poll() is None:
            total = 0
            for pid in self.processes():
                with suppress(OSError, IndexError, ValueError):
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                    total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
            self.peak_bytes = max(self.peak_bytes, total)
            sample(self._busy, f"{MARK}={self.mark}".encode())
            time.sleep(1)

    def wait(self) -> float:
        """Wait for the command's end; return its seconds."""
        if self.process.wait():
            raise SystemExit(f"the command failed: {self.process.args}")
        return time.monotonic() - self.started

    @property
    def processor_seconds(self) -> float:
        """Of all processes, as far as the last sample saw them."""
        return sum(self._busy.values())

    def kill(self) -> None:
        """Kill every process of the command at once."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def run_filter(recipe: Path, workers: int, *changes: str) -> Watch:
    sets = [part for change in changes for part in ("--set", change)]
    return Watch([sys.executable, "-m", "pipelines", "filter", str(recipe), "--workers", str(workers), *sets])


def pass_seconds(run: Path) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for path in run.glob("*/*.json"):
        cost = json.loads(path.read_bytes()).get("cost")
        if cost:
            seconds[path.parent.name] = seconds.get(path.parent.name, 0.0) + cost["seconds"]
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def digests(run: Path) -> dict[str, Any]:
    """Return the digest of every file that the records name, and every manifest."""
    found: dict[str, Any] = {}
    for path in sorted(run.glob("*/*.json")):
        content = json.loads(path.read_bytes())
        content.pop("cost", None)
        content.get("facts", {}).pop("files", None)  # of read: times of the source files
        found[str(path.relative_to(run))] = content
    return found


def exact_left(run: Path, rows: Path) -> tuple[int, int]:
    """Return how many exact duplicates were planted, and how many stand in filter/ beside their original."""
    files = sorted((run / "filter").glob("*.parquet"))
    kept = pl.scan_parquet(files).select("source", "index").collect()
    truth = pl.read_parquet(rows / "truth.parquet").filter(pl.col("kind") == "exact")
    stem = pl.col("file").str.replace(r"\..*$", ""), pl.col("of_file").str.replace(r"\..*$", "")
    pairs = truth.with_columns(
        file=stem[0], of_file=stem[1], row=pl.col("row").cast(pl.Int64), of_row=pl.col("of_row").cast(pl.Int64)
    )
    both = pairs.join(kept, left_on=["file", "row"], right_on=["source", "index"], how="semi")
    both = both.join(kept, left_on=["of_file", "of_row"], right_on=["source", "index"], how="semi")
    return truth.height, both.height


def counts(run: Path) -> dict[str, Any]:
    manifest = json.loads((run / "filter" / "manifest.json").read_bytes())
    return {key: manifest[key] for key in ("rows_in", "rows_kept", "rejected")}


def measure(args: argparse.Namespace, size: int, folder: Path) -> list[Any]:
    rows, run = folder / f"rows-{size}", folder / f"run-{size}"
    if not (rows / "truth.parquet").exists():
        command = [sys.executable, str(ROOT / "benchmarks/generate_rows.py"), str(rows), "--rows", str(size)]
        subprocess.run([*command, *(["--data", str(args.data)] if args.data else [])], check=True)
    shutil.rmtree(run, ignore_errors=True)
    recipe = write_recipe(args, rows, run)
    reading = Watch([sys.executable, "-m", "pipelines", "read", str(recipe), "--workers", str(args.workers)])
    read_seconds = reading.wait()
    first = run_filter(recipe, args.workers)
    seconds = first.wait()
    planted, left = exact_left(run, rows)
    print(f"\n{size:,} rows: {counts(run)}")
    print("seconds of work:", {key: round(value, 1) for key, value in pass_seconds(run).items()}, flush=True)
    before = digests(run)
    again = run_filter(recipe, args.workers, "filter.rules.length.below=48")
    again_seconds = again.wait()
    same = "-"
    if args.kill and size == max(args.rows):
        same = killed_and_resumed(args, recipe, run, before)
    peak = max(reading.peak_bytes, first.peak_bytes, again.peak_bytes) / 2**30
    return [
        size,
        read_seconds,
        seconds,
        size / seconds,
        peak,
        planted,
        left,
        again_seconds,
        seconds / again_seconds,
        first.processor_seconds,
        again.processor_seconds,
        first.processor_seconds / again.processor_seconds,
        same,
    ]


def killed_and_resumed(args: argparse.Namespace, recipe: Path, run: Path, before: dict[str, Any]) -> str:
    shutil.rmtree(run)
    subprocess.run(
        [sys.executable, "-m", "pipelines", "read", str(recipe)], check=True, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    shards = len(list((run / "read").glob("*.parquet")))
    killed = run_filter(recipe, args.workers)
    while len(list((run / "score").glob("*.json"))) < shards // 2:
        time.sleep(0.5)
    killed.kill()
    done = len(list((run / "score").glob("*.json")))
    seconds = run_filter(recipe, args.workers).wait()
    same = digests(run) == before
    print(
        f"killed with {done} of {shards} shards scored; resumed in {seconds:.0f} s; byte-identical: {same}", flush=True
    )
    return "yes" if same else "NO"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 6_000_000])
    parser.add_argument("--data", type=Path, help="folder of real rows; default: examples/")
    parser.add_argument("--recipe", type=Path, default=ROOT / "configs" / "speechmill_v1.yaml")
    parser.add_argument("--benchmark", type=Path, nargs="*", default=[], help="local files of benchmark prompts")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/filter_scale"))
    parser.add_argument("--kill", action="store_true", help="kill and resume the largest size")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    table = [measure(args, size, args.folder.absolute()) for size in args.rows]
    print(
        "\n| rows | read s | filter s | rows/s | peak GiB | exact planted | left | changed threshold s | faster "
        "| processors: first s | changed s | less | resumed equal |"
    )
    print("|---" * 13 + "|")
    for size, read, seconds, rate, peak, planted, left, again, ratio, busy, busy_again, less, same in table:
        print(
            f"| {size:,} | {read:.0f} | {seconds:.1f} | {rate:,.0f} | {peak:.2f} | {planted:,} | {left} "
            f"| {again:.1f} | {ratio:.1f} x | {busy:.0f} | {busy_again:.1f} | {less:.1f} x | {same} |"
        )


if __name__ == "__main__":
    main()
