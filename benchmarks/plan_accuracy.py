"""How far `plan` is from what happens: a run of 20,000 rows, estimated by rates of a calibration on about 1,000.

python benchmarks/plan_accuracy.py --rows 20000                          # rows that generate_rows.py makes
python benchmarks/plan_accuracy.py --rows 20000 --data ../shared/data    # real instructions of three sources

Every step on the embedded engines (eSpeak, mel512). What is found is what the run's own records and files say, and the
clock of the whole command. Processor seconds do not depend on what else the machine does; time does: the load is said.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
QUANTITIES = ("rows_in", "rows_kept", "audio_hours", "tokens", "bytes", "cpu_hours", "processor_hours")


def speechmill(*arguments: str | Path, told: Path | None = None) -> str:
    """Run the command, its output to a file or returned."""
    command = [sys.executable, "-m", "pipelines", *map(str, arguments)]
    if told is None:
        return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    with told.open("w") as file:
        subprocess.run(command, cwd=ROOT, check=True, stdout=file)
    return ""


def sources_of(folder: Path, rows: int, data: Path | None) -> list[dict[str, Any]]:
    """Return sources of so many rows in all: generated ones, or those of the folder of real data."""
    if data is None:
        made = folder / "generated"
        subprocess.run(
            [sys.executable, ROOT / "benchmarks/generate_rows.py", made, "--rows", str(rows), "--format", "jsonl"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return [{"name": "generated", "path": str(made / "rows" / "*.jsonl")}]
    texts = data.absolute() / "text"
    few, some = min(3610, rows // 5), min(7473, 2 * rows // 5)
    return [
        {"name": "nq_open", "path": str(texts / "nq_open_dev.jsonl"), "limit": few},
        {"name": "gsm8k", "path": str(texts / "gsm8k_train.jsonl"), "limit": some},
        {"name": "t0", "path": str(texts / "t0_50k.jsonl.gz"), "limit": rows - few - some},
    ]


def write_recipe(folder: Path, rows: int, data: Path | None, rows_per_shard: int) -> Path:
    """Write a recipe of every step that needs no server."""
    rules: list[Any] = ["speakable", {"length": {"below": 64}}, {"language": {"above": 0.8}}, "duplicate"]
    recipe = {
        "name": "accuracy",
        "run_dir": str(folder / "run"),
        "sources": sources_of(folder, rows, data),
        "read": {"rows_per_shard": rows_per_shard},
        "filter": {"rules": [*rules, "near_duplicate"]},
        "tts": {"augment": {"snr_db": [10, 30]}},
        "noise": {"rows": rows // 100, "kinds": {"independent": 1, "babble": 1, "masked": 1}},
        "mix": {
            "max_refusal_share": 0.02,
            "mixtures": {
                "stage2": {"parts": {"speech_instruction": 70, "transcription": 20, "text_only": 10}},
                "stage3": {"parts": {"speech_instruction": 95, "inaudible": 5}, "total": rows // 25},
            },
        },
        "export": {"audio": True, "shard_bytes": "3 MB"},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def compared(name: str, expected: dict[str, Any], found: dict[str, Any], quantities: tuple[str, ...]) -> str:
    """Return a row of the table: expected, found and the difference of each quantity."""
    cells = []
    for quantity in quantities:
        one, other = expected.get(quantity, 0), found.get(quantity, 0)
        scale, unit = (3600, " s") if "hours" in quantity and quantity != "audio_hours" else (1, "")
        off = f"{(one - other) / other:+.1%}" if other else "–"
        cells.append(f"{one * scale:,.4g}{unit} / {other * scale:,.4g}{unit} ({off})" if one or other else "")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="of all sources (default 20000)")
    parser.add_argument("--calibrate", type=int, default=1000, help="rows of all sources that are measured (1000)")
    parser.add_argument("--rows-per-shard", type=int, default=1000, help="of the run (default 1000)")
    parser.add_argument("--data", type=Path, help="the folder with real instructions; none: generated ones")
    parser.add_argument("--workers", help="as run takes it (default: every CPU)")
    parser.add_argument("--keep", type=Path, help="a folder to work in and to leave")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        recipe = write_recipe(folder, options.rows, options.data, options.rows_per_shard)
        each = -(-options.calibrate // len(yaml.safe_load(recipe.read_text())["sources"]))
        workers = ["--workers", options.workers] if options.workers else []
        loads, started = [os.getloadavg()[0]], time.monotonic()
        speechmill("calibrate", recipe, "--rows", str(each), *workers, told=folder / "calibrate.log")
        calibrated = time.monotonic() - started
        cluster = ["--cluster", f"cpus={options.workers}"] if options.workers not in (None, "0") else []
        expected = json.loads(speechmill("plan", recipe, "--json", *cluster))["estimate"]
        (folder / "expected.json").write_text(json.dumps(expected, indent=1))
        loads.append(os.getloadavg()[0])
        started = time.monotonic()
        speechmill("run", recipe, *workers, told=folder / "run.log")
        seconds = time.monotonic() - started
        loads.append(os.getloadavg()[0])
        found = json.loads(speechmill("plan", recipe, "--json", *cluster))["estimate"]
        (folder / "found.json").write_text(json.dumps(found, indent=1))
    print(f"{each} rows of each source calibrated in {calibrated:.0f} s; load before, between, after: {loads}\n")
    print(f"| expected / found | {' | '.join(name.replace('_', ' ') for name in QUANTITIES)} |")
    print(f"|{'---|' * (len(QUANTITIES) + 1)}")
    for step, figures in found["steps"].items():
        print(compared(step, expected["steps"].get(step, {}).get("whole", {}), figures["whole"], QUANTITIES))
    print(compared("in all", expected["whole"], found["whole"], QUANTITIES))
    wall = expected["now"]["wall_seconds"]
    print(f"\ntime: {wall:.0f} s expected, {seconds:.0f} s found ({(wall - seconds) / seconds:+.1%})")


if __name__ == "__main__":
    main()
