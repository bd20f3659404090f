"""What a finished run costs when asked again: `run`, `plan` and `status` over 200 shards.

python benchmarks/nothing_to_do.py --shards 200
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def speechmill(*arguments: str) -> float:
    """Run the command; return its seconds."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "pipelines", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=200, help="shards of every row-wise step (default 200)")
    shards = parser.parse_args().shards
    with tempfile.TemporaryDirectory() as folder:
        rows = 2 * shards
        lines = [
            f'{{"prompt": "Please tell me what the number {i} means to you.", "answer": "Much."}}' for i in range(rows)
        ]
        Path(folder, "rows.jsonl").write_text("\n".join(lines))
        recipe = {
            "name": "many",
            "run_dir": f"{folder}/run",
            "sources": [{"name": "rows", "path": f"{folder}/rows.jsonl"}],
            "read": {"rows_per_shard": 2},
            "noise": {"rows": 0},
            "mix": {"mixtures": {"all": {"parts": {"speech_instruction": 100}}}},
        }
        path = Path(folder, "recipe.yaml")
        path.write_text(yaml.safe_dump(recipe))
        first = speechmill("run", str(path))
        records = len(list(Path(folder, "run").glob("*/*.json")))
        print(f"| command | seconds ({shards} shards a step, {records} records) |\n|---|---|")
        print(f"| run, the first time | {first:.2f} |")
        for verb in ("run", "plan", "status"):
            print(f"| {verb}, nothing to do (best of 3) | {min(speechmill(verb, str(path)) for _ in range(3)):.2f} |")


if __name__ == "__main__":
    main()
