"""How a run grows: workers that sleep like a GPU step, many shards for one driver, and what would bind beyond that.

    python benchmarks/weak_scaling.py                                  # all parts: about nine minutes on two cores
    python benchmarks/weak_scaling.py --parts weak --workers 1 2 4     # fewer
    python benchmarks/weak_scaling.py --parts schedule --units 10000

weak      1, 2, 4, 8, 16 workers on a Ray that counts as many CPUs as it is told: so many shards for each worker, of two
          seconds that are slept, as if a GPU computed. Efficiency is the seconds slept over workers x wall, from the
          first shard's begin to the last one's end; all workers are up before. Beside it what the driver spent since.
driver    1,000 to 10,000 units that write 1 KB and do nothing else, with four workers: real schedule, pool, events,
          progress and commits. Seconds and driver CPU of each, peak memory, and the same command again: nothing to do.
schedule  the schedule alone: 10,000, 100,000, 1,000,000 units in two passes of which one follows the other, and no Ray.
disk      what else a driver and a file system do for a shard: commits, records read, names listed.

Workers take this script's passes for those of `pipelines.steps`, so that none loads an engine: sixteen of them on two
cores would measure imports. Each measurement is a process of its own; all end by themselves. The load of the machine
(average of the last minute) stands above each table: on a busy one the absolute times are the neighbours' too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # before this folder, whose scripts have names of packages

from pipelines.graph import Job, Outcome, Outputs, Pass, Unit, shard_units  # noqa: E402
from pipelines.recipe import Recipe, parse_recipe  # noqa: E402
from pipelines.running.orders import Order  # noqa: E402
from pipelines.running.perform import perform  # noqa: E402
from pipelines.running.runner import run  # noqa: E402
from pipelines.shards import Counts, Record, Staged, digest_json, read_record, to_json  # noqa: E402

PARTS = ("weak", "driver", "schedule", "disk")
SLEPT_SECONDS, SHARDS_OF_A_WORKER = 2.0, 20
DRIVERS_WORKERS = 4
START_SECONDS = 180
COMMITS, RECORDS, NAMES = 1000, 10_000, 100_000


def asked(name: str) -> float:
    """Return what the measurement is asked for: units are planned in the driver, which has it in its environment."""
    return float(os.environ.get(f"WEAK_{name.upper()}", "0"))


def warm_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    """Return a unit for each worker."""
    workers = int(asked("workers"))
    return [Unit(f"warm-{n:05d}", args={"workers": workers}) for n in range(workers)]


def warm(job: Job) -> Outcome:
    """Wait until each worker has such a unit."""
    folder = job.recipe.run_path.parent / "up"
    folder.mkdir(exist_ok=True)
    (folder / job.unit.name).touch()
    deadline = time.monotonic() + START_SECONDS
    while (up := sum(1 for _ in folder.iterdir())) < job.unit.args["workers"]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{up} of {job.unit.args['workers']} workers are up")
        time.sleep(0.05)
    return Outcome()


def made_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    """Return the units that are asked for."""
    return [Unit(f"s-{n:07d}", args={"seconds": asked("seconds")}) for n in range(int(asked("shards")))]


def sleep(job: Job) -> Outcome:
    """Sleep, and leave a file."""
    began, name = time.time(), job.unit.name
    time.sleep(job.unit.args.get("seconds", 0.0))
    job.staged.bytes(f"{job.made_of['pass']}/{name}.parquet", name.encode() * 100)
    return Outcome(Counts(1, 1), {"shards": {name: 1}, "began": began, "ended": time.time()})


WARM = Pass("warm", (), 1, lambda recipe: {}, warm_units, warm)
MADE = Pass("made", ("warm",), 1, lambda recipe: {}, made_units, sleep)
FOLLOWED = Pass(
    *("followed", ("made",), 1, lambda recipe: {}, shard_units("made"), sleep),
    one_to_one=True,
    follows=lambda recipe: ("made",),
)
PASSES = (WARM, MADE, FOLLOWED)
BY_KEY = {a_pass.key: a_pass for a_pass in PASSES}


def work(order: Order) -> Record:
    """Do a unit, in a worker."""
    steps = ModuleType("pipelines.steps")
    steps.BY_KEY = BY_KEY  # type: ignore[attr-defined]
    sys.modules.setdefault("pipelines.steps", steps)
    return perform(order)


def recipe_in(folder: Path) -> Recipe:
    """Return a recipe that reads nothing; its passes are the ones above."""
    mix = {"mixtures": {"all": {"parts": {"transcription": 100}}}}
    return parse_recipe(
        {
            "name": "weak",
            "sources": [{"name": "none", "path": "none.jsonl"}],
            "run_dir": str(folder / "run"),
            "mix": mix,
        },
        "weak_scaling",
    )


def run_passes(folder: Path, workers: int, keys: Sequence[str]) -> dict[str, float]:
    """Run passes on a Ray of so many workers; return what it cost the driver, and how long the shards took."""
    from rich.console import Console

    from pipelines.folders.run_folder import open_run_folder
    from pipelines.running.events import Events
    from pipelines.running.progress import Progress
    from pipelines.running.ray_pool import ray_pool

    recipe = recipe_in(folder)
    run_folder = open_run_folder(recipe)
    events = Events(run_folder)
    warmed: list[float] = []  # CPU seconds of the driver when all workers were up

    def tell(kind: str, **fields: Any) -> None:
        events.tell(kind, **fields)
        if (kind, fields.get("step")) == ("pass_done", "warm"):
            warmed.append(cpu_seconds())

    with (folder / "said.txt").open("a") as said:
        progress = Progress(run_folder, Console(file=said), events)
        began, before = time.monotonic(), cpu_seconds()
        outputs = run(
            recipe,
            [BY_KEY[key] for key in keys],
            ray_pool(workers, None, tell, work),
            progress,
            tell,
        )
    wall, cpu = time.monotonic() - began, cpu_seconds() - (warmed or [before])[0]
    facts = [one for key in keys if key != "warm" for one in outputs.facts(key)]
    return {
        "wall": wall,
        "cpu": cpu,
        "units": len(facts),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "slept_wall": max(one["ended"] for one in facts) - min(one["began"] for one in facts),
    }


def cpu_seconds() -> float:
    """Return the CPU seconds of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rss_mib() -> float:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def run_schedule(folder: Path, units: int) -> dict[str, float]:
    """Take units through the schedule as fast as it gives them out; half of them follow the other half."""
    from pipelines.running.schedule import Schedule

    os.environ["WEAK_SHARDS"] = str(units // 2)
    before, began, used = rss_mib(), time.monotonic(), cpu_seconds()
    done = 0
    first = 0.0
    schedule = Schedule(recipe_in(folder), (MADE, FOLLOWED), lambda state, records, outputs: None)
    waiting = list(schedule.ready())
    planned_s = time.monotonic() - began
    while waiting:
        following = []
        for state, planned in waiting:
            name = f"{state.a_pass.key}/{planned.unit.name}.parquet"
            files = {name: {"digest": digest_json(name), "bytes": 1}}
            facts = {"shards": {planned.unit.name: 1}}
            record = Record(digest_json(planned.made_of), planned.made_of, Counts(1, 1), files, facts, {"seconds": 1.0})
            schedule.done(state.a_pass.key, planned.unit.name, record)
            done += 1
            following += schedule.ready()
            first = first or time.monotonic() - began
        waiting = following
    assert done == units, (done, units)
    return {
        "wall": time.monotonic() - began,
        "cpu": cpu_seconds() - used,
        "units": done,
        "grown_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before,
        "first_s": planned_s,
    }


def run_disk(folder: Path) -> dict[str, float]:
    """Commit, read records, list names; return how long one takes of each."""

    def timed(count: int, do: Callable[[int], object]) -> float:
        began = time.monotonic()
        for n in range(count):
            do(n)
        return (time.monotonic() - began) / count

    def commit(n: int) -> None:
        staged = Staged(folder)
        staged.bytes(f"made/s-{n}.parquet", b"0" * 1000)
        staged.commit(f"made/s-{n}.json", {"unit": n}, Counts(1, 1), {}, {})

    committed = timed(COMMITS, commit)
    one = read_record(folder / "made/s-0.json")
    assert one is not None
    content = to_json({**vars(one), "counts": vars(one.counts)})
    (folder / "records").mkdir()
    for n in range(RECORDS):
        (folder / "records" / f"s-{n}.json").write_bytes(content)
    read = timed(RECORDS, lambda n: read_record(folder / "records" / f"s-{n}.json"))
    (folder / "names").mkdir()
    for n in range(NAMES):
        (folder / "names" / f"s-{n}.json").touch()
    listed = timed(1, lambda n: [entry.name for entry in os.scandir(folder / "names")]) / NAMES
    return {"commit": committed, "read": read, "listed": listed}


def measure(part: str, **wanted: float) -> dict[str, float]:
    """Take one measurement in a process of its own, in a folder of its own; return what it says."""
    folder = Path(tempfile.mkdtemp(prefix="weak-"))
    try:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            **{f"WEAK_{name.upper()}": str(value) for name, value in wanted.items()},
        }
        said = subprocess.run(
            [sys.executable, __file__, "--measure", part, "--folder", str(folder)],
            env=environment, stdout=subprocess.PIPE, text=True, timeout=1800, check=True,
        ).stdout  # fmt: skip
        return dict(json.loads(said.splitlines()[-1]))
    finally:
        shutil.rmtree(folder)


def take(part: str, folder: Path) -> dict[str, float]:
    """Take the measurement that this process was started for."""
    if part == "weak":
        return run_passes(folder, int(asked("workers")), ("warm", "made"))
    if part == "driver":
        first = run_passes(folder, int(asked("workers")), ("warm", "made", "followed"))
        again = run_passes(folder, int(asked("workers")), ("warm", "made", "followed"))
        return {**first, "again": again["wall"], "again_cpu": again["cpu"]}
    return run_schedule(folder, int(asked("units"))) if part == "schedule" else run_disk(folder)


def heading(title: str) -> None:
    print(f"\n{title}; load {os.getloadavg()[0]:.1f}\n", flush=True)


def print_weak(workers: Sequence[int], seconds: float, shards: int) -> None:
    heading(f"weak: {shards} shards of {seconds:g} s for each worker")
    print("| workers | shards | wall, s | efficiency | with Ray's start, s | driver: CPU ms a shard | driver: MiB |")
    print("|---|---|---|---|---|---|---|")
    for count in workers:
        found = measure("weak", workers=count, shards=count * shards, seconds=seconds)
        efficiency = shards * seconds / found["slept_wall"]
        print(
            f"| {count} | {count * shards} | {found['slept_wall']:.1f} | {efficiency:.1%} | {found['wall']:.1f} "
            f"| {found['cpu'] / found['units'] * 1e3:.1f} | {found['peak_mib']:.0f} |",
            flush=True,
        )


def print_driver(counts: Sequence[int]) -> None:
    heading(f"driver: units that do nothing, {DRIVERS_WORKERS} workers")
    print("| units | wall, s | ms each | driver: CPU ms each | driver: MiB | nothing to do, s | of it CPU, ms a unit |")
    print("|---|---|---|---|---|---|---|")
    for count in counts:
        found = measure("driver", workers=DRIVERS_WORKERS, shards=count // 2, seconds=0)
        units = found["units"]
        print(
            f"| {count:,} | {found['slept_wall']:.1f} | {found['slept_wall'] / units * 1e3:.2f} "
            f"| {found['cpu'] / units * 1e3:.2f} | {found['peak_mib']:.0f} | {found['again']:.1f} "
            f"| {found['again_cpu'] / units * 1e3:.2f} |",
            flush=True,
        )


def print_schedule(counts: Sequence[int]) -> None:
    heading("schedule: without Ray, half of the units follow the other half")
    print("| units | until the first is given out, s | wall, s | CPU µs each | memory, bytes each |")
    print("|---|---|---|---|---|")
    for count in counts:
        found = measure("schedule", units=count)
        print(
            f"| {count:,} | {found['first_s']:.1f} | {found['wall']:.1f} | {found['cpu'] / count * 1e6:.0f} "
            f"| {found['grown_mib'] * 2**20 / count:,.0f} |",
            flush=True,
        )


def print_disk() -> None:
    heading("disk: one process, the folder for temporary files")
    found = measure("disk")
    print("| what | time of one |\n|---|---|")
    print(f"| commit of a file of 1 KB and its record, fsynced | {found['commit'] * 1e3:.2f} ms |")
    print(f"| a record read | {found['read'] * 1e6:.0f} µs |")
    print(f"| a name listed, of {NAMES:,} in a folder | {found['listed'] * 1e6:.2f} µs |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4, 8, 16], help="of weak")
    parser.add_argument("--seconds", type=float, default=SLEPT_SECONDS, help="of weak: that a shard sleeps")
    parser.add_argument("--shards", type=int, default=SHARDS_OF_A_WORKER, help="of weak: for each worker")
    parser.add_argument("--drivers", nargs="+", type=int, default=[1000, 2000, 5000, 10_000], help="of driver: units")
    parser.add_argument("--units", nargs="+", type=int, default=[10_000, 100_000, 1_000_000], help="of schedule")
    parser.add_argument("--measure", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(take(args.measure, args.folder)))
        return
    began = time.monotonic()
    if "weak" in args.parts:
        print_weak(args.workers, args.seconds, args.shards)
    if "driver" in args.parts:
        print_driver(args.drivers)
    if "schedule" in args.parts:
        print_schedule(args.units)
    if "disk" in args.parts:
        print_disk()
    print(f"\nin {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
