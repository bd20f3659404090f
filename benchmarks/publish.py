"""Publishing through a Hub on the loopback: what a storm costs, what a dry run costs, how fast secrets are sought.

python benchmarks/publish.py --parts upload --files 8 --megabytes 128 --failing 0.1   # 1 GB, killed half-way
python benchmarks/publish.py --parts dry-run --shards 10000
python benchmarks/publish.py --parts scan

Stand-ins, as said: the files of `upload` are random bytes and go through `upload` alone, which is what `publish` does
once it has checked a run; those of `dry-run` are sparse, with manifests as a run leaves them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from pipelines.publish.files import CARD, LOCKFILE, RECIPE, File, Ledger  # noqa: E402
from pipelines.publish.secrets_scan import scan_parquet  # noqa: E402
from pipelines.recipe import load_recipe, parse_recipe  # noqa: E402
from pipelines.shards import Counts, Record  # noqa: E402
from tests.publish.loopback_hub import TOKEN, LoopbackHub  # noqa: E402

REPO = "mara/spoken"
KINDS = ("429", "500", "503", "cut", "lost", "500-after")
PIECE = 1 << 20


def storm(share: float, seed: int) -> Any:
    """Return a plan by which one of every 1 / share calls of each endpoint fails; which, and how, is drawn."""
    block = round(1 / share)

    def plan(endpoint: str, n: int) -> str:
        draw = random.Random(f"{seed} {endpoint} {n // block}")
        kinds = (*KINDS, "412") if endpoint == "commit" else KINDS
        return draw.choice(kinds) if n % block == draw.randrange(block) else "good"

    return plan


def stand_ins(folder: Path) -> list[File]:
    """Return the files that lie in a folder as publishing has them: recipe, lockfile, data, card."""
    texts = {RECIPE: b"name: random\n", LOCKFILE: b"{}", CARD: b"---\nlicense: mit\n---\n# Random\n"}
    made = {name: File(name, text, len(text), hashlib.blake2b(text).hexdigest()) for name, text in texts.items()}
    data = []
    for path in sorted(folder.glob("all/*.parquet")):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").hexdigest()
        data.append(File(f"all/{path.name}", path, path.stat().st_size, digest))
    return [made[RECIPE], made[LOCKFILE], *data, made[CARD]]


def child(folder: Path) -> None:
    """Upload, as a process of its own that can be killed."""
    from pipelines.publish.hub import Hub
    from pipelines.publish.publishing import upload

    hub = Hub(REPO, say=lambda line: print(line, flush=True))
    print(upload(stand_ins(folder), Ledger(folder, REPO), hub, False, None, print))


def measure_upload(folder: Path, files: int, megabytes: int, failing: float, seed: int) -> None:
    (folder / "all").mkdir()
    draw = random.Random(0)
    for number in range(files):
        with (folder / "all" / f"train-{number:05d}-of-{files:05d}.parquet").open("wb") as file:
            for _ in range(megabytes):
                file.write(draw.randbytes(PIECE))
    with LoopbackHub(folder / "hub", storm(failing, seed)) as server:
        environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, __file__, "--child", str(folder)]
        started = time.monotonic()
        process = subprocess.Popen(command, env=environment)
        while len(server.stored) < files // 2:
            if process.poll() is not None:
                raise SystemExit("it ended before it was killed half-way")
            time.sleep(0.01)
        process.kill()
        process.wait()
        time.sleep(1)  # what was on its way arrives
        killed = time.monotonic() - started
        before, calls = Counter(server.stored), server.calls.total()
        subprocess.run(command, env=environment, check=True)
        seconds = time.monotonic() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        wrong = [
            file.name
            for file in stand_ins(folder)
            if file.sha256() != hashlib.sha256(server.content(REPO, file.name)).hexdigest()
        ]
        print("| what | found |\n|---|---|")
        print(f"| files, bytes | {files} of {megabytes} MiB, {sum(f.size for f in stand_ins(folder)):,} |")
        print(f"| killed after | {killed:.1f} s, {calls} calls, {len(before)} files accepted |")
        print(f"| calls in all, that failed | {server.calls.total()}, {server.failures.total()} |")
        print(f"| of them, uploads, commits | {server.failures['put']}, {server.failures['commit']} |")
        print(f"| sent again after it was accepted | {len(server.resent)} |")
        print(f"| accepted more than once | {sum(count > 1 for count in server.stored.values())} |")
        print(f"| missing, or with another digest | {len(wrong)} |")
        print(f"| commits, tags | {len(server.repos[REPO].commits) - 1}, {server.repos[REPO].tags} |")
        print(f"| seconds in all, peak memory of the client | {seconds:.1f}, {peak:.0f} MiB |")


def measure_dry_run(folder: Path, shards: int) -> None:
    recipe = {
        "name": "many",
        "run_dir": str(folder),
        "sources": [{"name": "rows", "path": "rows.jsonl", "license": "MIT"}],
        "mix": {"mixtures": {"all": {"parts": {"speech_instruction": 100}}}},
    }
    (folder / "recipe.json").write_text(json.dumps(parse_recipe(recipe, "the benchmark").model_dump(mode="json")))
    made_of = {"options": {"recipe": load_recipe(folder / "recipe.json", run_dir=str(folder)).without_places()}}
    card = Record("0" * 32, made_of, Counts(), {}, {}, {})
    (folder / "export.card").mkdir()
    (folder / "export.card/README.json").write_text(json.dumps(asdict(card)))
    named = {
        "mix": {"all": {"mixture.json": b"{}"}},
        "export.audio": {},
        "export.card": {"README": {"dataset/README.md": b"---\nlicense: mit\n---\n# Many\n"}},
    }
    units: dict[str, dict[str, Any]] = {}
    for key, made in named.items():
        units[key] = {}
        for unit, files in made.items():
            for name, content in files.items():
                (folder / name).parent.mkdir(exist_ok=True, parents=True)
                (folder / name).write_bytes(content)
            about = {name: {"digest": hashlib.md5(c).hexdigest(), "bytes": len(c)} for name, c in files.items()}
            units[key][unit] = {"fingerprint": "0" * 32, "rows_in": 1, "rows_kept": 1, "rejected": {}, "files": about}
    for key in ("filter", "tts", "quantize"):
        units[key] = {}
        for number in range(shards):
            files = {f"{key}/rows-{number:05d}.parquet": {"digest": "0" * 32, "bytes": 10**6}}
            counts = {"rows_in": 5000, "rows_kept": 4999, "rejected": {f"{key}.silent": 1}}
            units[key][f"rows-{number:05d}"] = {"fingerprint": "0" * 32, **counts, "files": files}
    units["export"] = {}
    (folder / "dataset/all").mkdir(parents=True)
    for number in range(shards):
        name = f"dataset/all/train-{number:05d}-of-{shards:05d}.parquet"
        with (folder / name).open("wb") as file:
            file.truncate(256 * 10**6)
        about = {name: {"digest": hashlib.md5(name.encode()).hexdigest(), "bytes": 256 * 10**6}}
        unit = f"all-train-{number:05d}-of-{shards:05d}"
        counts = {"rows_in": 5000, "rows_kept": 5000, "rejected": {}}
        units["export"][unit] = {"fingerprint": "0" * 32, **counts, "files": about}
    for key, of_pass in units.items():
        (folder / key).mkdir(exist_ok=True)
        (folder / key / "manifest.json").write_text(json.dumps({"pass": key, "units": of_pass}, indent=1))
    command = [sys.executable, "-m", "pipelines", "publish", str(folder), "--repo", REPO, "--dry-run"]
    runs = []
    for _ in range(5):
        started = time.monotonic()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        runs.append((time.monotonic() - started, cpu))
    of_processor = min(cpu for _, cpu in runs)
    print(f"| dry run of {shards:,} shards, best of 5 | {min(runs)[0]:.2f} s; {of_processor:.2f} s of processor |")
    print(f"| lines printed | {len(said.splitlines()):,} |")


def measure_scan(folder: Path) -> None:
    draw = random.Random(0)
    words = (ROOT / "README.md").read_text().split()
    rows = []
    for _ in range(50_000):
        sound = "".join(f"<|sound_{draw.randrange(512):04d}|>" for _ in range(110))
        answer = " ".join(draw.choices(words, k=60))
        pair = [{"role": "user", "content": sound}, {"role": "assistant", "content": answer}]
        rows.append({"conversations": pair, "prompt": sound, "answer": answer, "tokens": [1] * 110})
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "rows.parquet", compression="zstd", row_group_size=1000)
    started = time.process_time()
    found = list(scan_parquet("rows.parquet", folder / "rows.parquet"))
    seconds = time.process_time() - started
    assert not found, found
    size = table.drop_columns("tokens").nbytes / 1e6
    print(f"| secrets sought in {size:.0f} MB of text | {seconds:.2f} s of processor, {size / seconds:.0f} MB/s |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["upload", "dry-run", "scan"])
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--megabytes", type=int, default=128, help="MiB of each file (default 128)")
    parser.add_argument("--failing", type=float, default=0.1, help="share of calls that fail (default 0.1)")
    parser.add_argument("--seed", type=int, default=0, help="of the storm")
    parser.add_argument("--shards", type=int, default=10_000, help="of the dry run (default 10000)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            if part == "upload":
                measure_upload(Path(folder), options.files, options.megabytes, options.failing, options.seed)
            elif part == "dry-run":
                measure_dry_run(Path(folder), options.shards)
            else:
                measure_scan(Path(folder))


if __name__ == "__main__":
    main()
