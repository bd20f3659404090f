"""What several tests need: recipes at small size, the command, a run's files as they must be equal."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.forked import FORKS

# Threads of torch that wait for each other burn a core each; tests of the number of threads set it.
os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples" / "instructions.jsonl"
SHARED = ROOT.parent / "shared" / "data"

# Where pytest's processes share the files, what takes longest comes first: no process waits for another's last file.
LONGEST = [
    "running/", "test_runs.py", "pipelines/test_noise_sounds.py", "pipelines/test_engines.py",
    "quantize/test_whispervq.py", "pipelines/test_shipped_recipes.py", "pipelines/test_chats.py",
    "tts/test_whisperspeech_parity.py", "pipelines/test_quantize_step.py", "pipelines/test_augment_step.py",
    "pipelines/test_answer_step.py", "pipelines/test_repair.py", "pipelines/test_explain_row.py", "report/",
    "answers/test_llm.py", "tts/test_spoken_form.py", "tts/test_whisperspeech.py",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = str(item.path.relative_to(ROOT / "tests"))
        return next((n for n, long in enumerate(LONGEST) if name.startswith(long)), len(LONGEST))

    items.sort(key=place)


def recipe_of(**changes: Any) -> dict[str, Any]:
    """Return a small recipe of every step, over the first examples, in many shards."""
    recipe: dict[str, Any] = {
        "name": "small",
        "root": str(ROOT),
        "sources": [
            {"name": "examples", "path": "examples/instructions.jsonl", "turns": "all", "limit": 140},
            {"name": "broken", "path": "examples/broken.jsonl", "turns": "all"},
        ],
        "read": {"rows_per_shard": 20},
        "noise": {"rows": 30},
        "mix": {
            "max_refusal_share": 0.05,
            "mixtures": {
                "stage2": {
                    "parts": {"speech_instruction": 70, "transcription": 20, "text_only": 10},
                    "reuse_prompts": True,
                },
                "stage3": {"parts": {"two_turn": 60, "inaudible": 40}, "total": 10},
            },
        },
        "export": {"shard_bytes": 11_000, "audio": True},
    }
    return {**recipe, **changes}


def write_recipe(folder: Path, *, report: bool = False, **changes: Any) -> Path:
    """Write a small recipe whose run lies beside it; with the report on it, which takes seconds, where asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    recipe = recipe_of(**changes)
    export = {**recipe["export"], "report": report}
    path.write_text(yaml.safe_dump({**recipe, "export": export, "run_dir": str(folder / "run")}, sort_keys=False))
    return path


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of speechmill."""
    return [sys.executable, "-m", "pipelines", *map(str, arguments)]


def speechmill(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return FORKS.run([str(argument) for argument in arguments], cwd, environment, timeout=280)


@contextmanager
def two_threads() -> Iterator[None]:
    """Let torch have two threads in the commands that are run, as it has on a machine of two cores."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "2")
        yield


def assert_done(result: subprocess.CompletedProcess[str]) -> None:
    """Assert that a command ended well, showing what it said if not."""
    assert result.returncode == 0, result.stdout + result.stderr


def content(run: Path) -> dict[str, str]:
    """Return a digest of each file that must be the same however a run came about.

    That is all of them but: what only tells of the process (lock, progress, events, the recipe with its
    paths), and in the records what the work cost.
    """
    digests = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        of_process = ("lock", "progress.json", "events.jsonl", "recipe.json")
        if not path.is_file() or name in of_process or "/parts/" in name:
            continue
        data = path.read_bytes()
        if path.suffix == ".json":
            record = json.loads(data)
            record.pop("cost", None)
            record.get("facts", {}).pop("files", None)  # of read: times of the source files
            data = json.dumps(record, sort_keys=True).encode()
        digests[name] = hashlib.blake2b(data, digest_size=16).hexdigest()
    return digests


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small recipe and its undisturbed run, by the plain loop, made once for all processes of pytest.

    Read only.
    """
    mine = tmp_path_factory.getbasetemp()
    folder = (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "finished"
    with folder.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            assert_done(speechmill("run", write_recipe(folder, report=True), "--workers", "0"))
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is absent: it holds real instructions and recordings, never committed")
    return SHARED
