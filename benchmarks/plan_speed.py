"""What `plan` costs on a run of many shards: finished, with a changed option, and before it has begun.

python benchmarks/plan_speed.py --shards 10000

A stand-in, as said: a recipe of eight shards is run; its records are then multiplied, each with the fingerprint that it
would have, and its files are sparse, of the size that the record says. Each file of the dataset is of 17 shards of
5,000 rows.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pipelines.folders.record_index import write_index  # noqa: E402
from pipelines.folders.run_folder import RunFolder  # noqa: E402
from pipelines.graph import Outputs, Pass, Unit  # noqa: E402
from pipelines.recipe import Recipe, load_recipe  # noqa: E402
from pipelines.shards import Record, digest_json, read_record, to_json  # noqa: E402
from pipelines.steps import PASSES  # noqa: E402

FEW = 8  # shards of the run that is multiplied
SHARDS_PER_FILE = 17  # of the dataset: 256 MB of Arrow, and 3 kB a pair; files of 256 MB on disk would be fewer


def speechmill(*arguments: str) -> tuple[float, float]:
    """Run the command; return its seconds, and those of processor."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "pipelines", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - started, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def write_recipe(folder: Path, name: str, shards: int) -> Path:
    lines = [
        f'{{"prompt": "Please tell me what the number {i} means to you.", "answer": "Much."}}' for i in range(shards)
    ]
    (folder / f"{name}.jsonl").write_text("\n".join(lines))
    recipe = {
        "name": name,
        "run_dir": str(folder / name),
        "sources": [{"name": "rows", "path": str(folder / f"{name}.jsonl")}],
        "read": {"rows_per_shard": 1},
        "noise": {"rows": 0},
        "mix": {"mixtures": {"all": {"parts": {"speech_instruction": 100}}}},
        "export": {"report": False},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def facts_of(a_pass: Pass, unit: Unit, like: Record, shards: int) -> dict[str, Any]:
    """Return the facts of a unit, those of the few shards put right for many."""
    facts = dict(like.facts)
    if a_pass.key == "read":
        facts["shards"] = {f"rows-{k:05d}": 1 for k in range(shards)}
    elif "shards" in facts:
        facts["shards"] = {unit.name: 1}
    if a_pass.key == "export.layout":
        count = max(1, shards // SHARDS_PER_FILE)
        facts["files"] = [f"dataset/all/train-{k:05d}-of-{count:05d}.parquet" for k in range(count)]
        facts["sections"] = [1] * count
    return facts


def multiply(few: Recipe, many: Recipe, shards: int) -> int:
    """Write the records of a run of many shards, with their files; return how many records there are."""
    outputs, written = Outputs(), 0
    run_dir, folder = many.run_path, RunFolder(many.run_path)
    for a_pass in PASSES:
        found = sorted(path for path in (few.run_path / a_pass.key).glob("*.json") if path.name != "manifest.json")
        records: dict[str, Record] = {}
        options = a_pass.options(many)
        for unit in a_pass.units(many, outputs) if found else ():
            like = read_record(found[0])
            assert like is not None, "it was just written"
            made_of = a_pass.made_of(many, unit, outputs, options)
            facts = facts_of(a_pass, unit, like, shards)
            names = [f"{a_pass.key}/{name}.parquet" for name in facts.get("shards", {unit.name: 1})]
            names = [unit.args["file"]] if a_pass.key == "export" else names
            names += [f"{a_pass.key}/rejects/{Path(name).name}" for name in names if "shards" in facts]
            files = {name: {"digest": digest_json(name), "bytes": 4096} for name in names}
            files |= {name: about for name, about in like.files.items() if "-" not in Path(name).stem}
            if a_pass.key == "read":
                facts["files"] = unit.notes["files"]
            for name, about in files.items():
                path = run_dir / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    file.truncate(about["bytes"])
            counts = replace(like.counts, rows_in=shards, rows_kept=shards) if a_pass.key == "read" else like.counts
            record = Record(digest_json(made_of), made_of, counts, files, facts, {**like.cost, "first": False})
            (run_dir / a_pass.key).mkdir(parents=True, exist_ok=True)
            (run_dir / a_pass.record_name(unit.name)).write_bytes(to_json(asdict(record)))
            records[unit.name] = replace(record, made_of={})
            written += 1
        outputs.add(a_pass.key, records)
        write_index(run_dir, a_pass.key, records)
    folder.write("recipe.json", to_json(many.model_dump(mode="json")))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=10_000, help="of every row-wise step (default 10000)")
    parser.add_argument("--times", type=int, default=5, help="that each is asked (default 5)")
    parser.add_argument("--keep", type=Path, help="a folder to work in and to leave")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        few, many = write_recipe(folder, "few", FEW), write_recipe(folder, "many", options.shards)
        if not (folder / "many" / "recipe.json").exists():
            speechmill("run", str(few), "--workers", "0")
            print(f"{multiply(load_recipe(few), load_recipe(many), options.shards):,} records")
        arguments = ["plan", str(many), "--rates", str(folder / "rates.json")]
        of_few = "from benchmarks.plan_speed import rates; import sys; rates(*sys.argv[1:])"
        subprocess.run([sys.executable, "-c", of_few, str(few), str(folder / "rates.json")], cwd=ROOT, check=True)
        print(f"load {os.getloadavg()[0]:.1f}")
        print(f"| plan of {options.shards:,} shards | seconds | of processor |\n|---|---|---|")
        for what, more in (
            ("nothing to do", []),
            ("another filter.rules", ["--set", "filter.rules.length.below=32"]),
            ("another tts.pitch", ["--set", "tts.pitch=[40, 60]"]),
            ("not begun", ["--run-dir", str(folder / "none"), "--rows", f"rows={options.shards}"]),
        ):
            asked = [speechmill(*arguments, *more) for _ in range(options.times)]
            print(f"| {what} | {min(asked)[0]:.2f} | {min(cpu for _, cpu in asked):.2f} |")


def rates(recipe: str, out: str) -> None:
    """Write the rates of the few shards."""
    from pipelines.estimate.rates import look_at, rates_of, save_rates

    save_rates(Path(out), rates_of([look_at(load_recipe(Path(recipe)))], "on eight shards"))


if __name__ == "__main__":
    main()
