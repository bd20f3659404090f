"""`status` tells of a run that is at work, that has ended, whose driver is dead; and watches one to its end."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.errors import RunError, UserError
from pipelines.folders.lock import lock_run
from pipelines.folders.run_folder import RunFolder
from pipelines.running.events import Events
from pipelines.running.progress import Progress
from pipelines.telling import status
from tests.conftest import ROOT, command, write_recipe
from tests.pipelines.in_process import mill


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the command in the background."""
    return subprocess.Popen(command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(path: Path, words: str, process: subprocess.Popen[str]) -> None:
    """Wait until a file of a run at work has words in it."""
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if path.exists() and words in path.read_text():
            return
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"{words} did not come: {process.communicate()}")


def test_a_run_is_watched_to_its_end(tmp_path: Path) -> None:
    recipe, run = write_recipe(tmp_path, read={"rows_per_shard": 3}), tmp_path / "run"
    working = start("filter", recipe, "--workers", "0")
    wait_for(run / "progress.json", '"score"', working)
    watching = start("status", run, "--watch", "--every", "0.1")
    as_json = start("status", run, "--watch", "--every", "0.1", "--json")
    said = watching.communicate(timeout=100)[0]
    documents = [json.loads(line) for line in as_json.communicate(timeout=100)[0].splitlines()]
    assert working.wait(timeout=100) == 0
    assert [watching.returncode, as_json.returncode] == [0, 0]
    lines = said.splitlines()
    looks = [line for line in lines if "shards" in line and line[2] == ":"]
    assert len(looks) > 2
    assert any(" left" in line for line in looks)
    end = lines.index(next(line for line in lines if line.startswith(str(run))))
    assert "the last run ended" in lines[end]
    assert lines[end].endswith(": done")
    assert {line.split()[0] for line in lines[end + 1 :]} == {"read", "score", "filter.duplicates", "filter"}
    assert len(documents) > 2
    assert {d["state"] for d in documents[:-1]} == {"running"}
    assert [documents[-1][k] for k in ("state", "code", "run")] == ["ended", 0, str(run)]
    done = [d["passes"]["score"]["units_done"] for d in documents]
    assert done == sorted(done)
    assert done[0] < done[-1]


def test_a_driver_that_was_killed_is_told_and_the_next_run_too(tmp_path: Path) -> None:
    recipe, run = write_recipe(tmp_path), tmp_path / "run"
    killed = start("run", recipe, "--workers", "0")
    wait_for(run / "events.jsonl", '"filter"', killed)
    wait_for(run / "progress.json", '"running": true', killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    code, said = run_of(recipe)
    assert code == 0
    assert f"stopped: its driver (process {killed.pid} on " in said
    assert ") is gone, last seen " in said
    assert " left" not in said
    code, said = run_of(run, "--watch")
    assert code == 1
    assert "is gone" in said
    mill("score", recipe, "--workers", "0")
    again = json.loads(run_of(recipe, "--json")[1])
    assert [again["state"], again["code"]] == ["ended", 0]


class Told:
    """A run folder of which a driver tells, without work."""

    def __init__(self, folder: Path) -> None:
        self.folder = RunFolder(folder)
        self.events = Events(self.folder)
        self.progress = Progress(self.folder, Console(file=io.StringIO()), self.events)

    def end(self, code: int) -> None:
        self.events.tell("run_ended", code=code, why="the server is gone" if code else None)
        self.progress.end(code)


def run_of(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run `status` in this process; returns its exit code and what it printed."""
    result = CliRunner().invoke(app, ["status", str(folder), *arguments])
    if isinstance(result.exception, UserError):
        return 2, str(result.exception)
    return result.exit_code, result.stdout


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "done"),
        (1, "failed, exit code 1: the server is gone"),
        (2, "failed, exit code 2: the server is gone"),
        (3, "done but for shards in quarantine"),
        (143, "stopped by signal 15"),
    ],
)
def test_watch_ends_with_the_code_of_the_run(code: int, said: str, tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.events.tell("run_started")
    told.end(code)
    assert run_of(tmp_path, "--watch")[0] == code
    assert run_of(tmp_path)[0] == 0
    assert run_of(tmp_path)[1].rstrip().endswith(f"ago: {said}")


def test_who_holds_the_folder_and_how_long_it_is_silent(tmp_path: Path) -> None:
    with lock_run(tmp_path):
        assert "running, process " in run_of(tmp_path)[1]  # of which nothing is said yet
        told = Told(tmp_path)
        told.events.tell("run_started")
        told.events.tell("worker_died", worker="w1", node="n1", step="tts", shard="a-1", why="SIGKILL")
        told.events.tell("shard_given", worker="w2", step="tts", shard="a-1")
        told.progress._write()
        said = run_of(tmp_path)[1].splitlines()
        assert said[0] == f"{tmp_path}: running, process {os.getpid()} on {os.uname().nodename}"
        assert said[-1][8:] == " worker died, worker w1, node n1, step tts, shard a-1, why SIGKILL"
        path = tmp_path / "progress.json"
        late = {**json.loads(path.read_bytes()), "updated": time.time() - 200}
        told.end(0)  # writes no more
        path.write_text(json.dumps({**late, "code": None}))
        assert "; it has been silent for 3:2" in run_of(tmp_path)[1]
        path.write_text(json.dumps({**late, "code": 0}))  # of the run before: another command holds the folder
        assert json.loads(run_of(tmp_path, "--json")[1])["state"] == "in use"


def test_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    code, said = run_of(tmp_path)
    assert [code, said] == [2, f"{tmp_path}: no run has begun there. `speechmill run` begins one."]
    (tmp_path / "progress.json").write_text('{"updated": 1.0, "passes": {}}')
    assert "an earlier version of speechmill made it" in run_of(tmp_path)[1]
    assert run_of(tmp_path / "none.yaml")[0] == 2


def test_a_folder_is_looked_at_where_its_recipe_cannot_be_read(tmp_path: Path) -> None:
    """On another machine, its files are not there."""
    told = Told(tmp_path)
    told.events.tell("run_started")
    told.end(0)
    (tmp_path / "recipe.json").write_text('{"name": "of another version"}')
    assert run_of(tmp_path)[0] == 0


def test_10000_shards_are_told_of_at_once(tmp_path: Path) -> None:
    """No record is read: these would be errors. Processor seconds, since the machine has other work too."""
    told = Told(tmp_path)
    told.events.tell("run_started")
    for key in ("read", "score", "filter", "tts", "quantize", "mix", "export"):
        (tmp_path / key).mkdir()
        told.progress.expect(key, 10_000, 5_000, 100_000)
    for n in range(10_000):
        (tmp_path / "tts" / f"examples-{n:05d}.json").write_text("no record")
    line = json.dumps({"time": time.time(), "kind": "shard_done", "step": "tts", "shard": "examples-00000"})
    (tmp_path / "events.jsonl").write_text(f"{line}\n" * 10_000)
    told.end(0)
    began = time.process_time()
    assert run_of(tmp_path)[0] == 0
    assert time.process_time() - began < 0.2  # 0.02 s here; imports are another 0.4 s
    assert (tmp_path / "progress.json").stat().st_size < 5_000


@pytest.mark.parametrize("as_json", [False, True])
def test_watch_goes_on_where_the_store_fails_for_a_while(
    as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Told(tmp_path)
    told.events.tell("run_started")
    told.progress._write()
    text, looks = io.StringIO(), []

    def see() -> dict:
        looks.append(None)
        if len(looks) in (1, 3, 4):
            raise RunError("s3://runs/a: cannot list lock: the line is cut")
        if len(looks) == 5:
            told.end(3)
        return {**status.look(told.folder), **({"state": "running"} if len(looks) < 5 else {})}

    code = status.watch(see, Console(file=text, width=120, highlight=False), 0.0, as_json)
    assert [code, len(looks)] == [3, 5]
    assert capsys.readouterr().err.count("cannot list lock: the line is cut") == 3
    lines = text.getvalue().splitlines()
    assert "cut" not in text.getvalue()
    assert not as_json or [json.loads(line)["state"] for line in lines] == ["running", "ended"]


def test_watch_gives_a_store_up_that_fails_for_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "PATIENCE_SECONDS", 0.2)
    looks: list[None] = []

    def see() -> dict:
        looks.append(None)
        if len(looks) == 3:  # one look that succeeds, and its patience is as long as before
            time.sleep(0.15)
            return {"state": "in use", "owner": "process 7 on far", "passes": {}}
        raise RunError("s3://runs/a: cannot list lock: the line is cut")

    began = time.monotonic()
    with pytest.raises(RunError, match="the line is cut"):
        status.watch(see, Console(file=io.StringIO()), 0.05, as_json=True)
    assert time.monotonic() - began > 0.4
    assert capsys.readouterr().err.count("trying again for up to") == len(looks) - 2


def test_watch_tries_a_store_again_however_seldom_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "PATIENCE_SECONDS", 0.01)
    in_use = {"state": "in use", "owner": "process 7 on far", "passes": {}}
    ended = {**in_use, "state": "ended", "run": "a", "silent": 1.0, "code": 3, "why": None, "events": []}
    seen: list[Any] = [in_use, RunError("the line is cut"), in_use, RunError("the line is cut"), ended]

    def see() -> dict[str, Any]:
        if isinstance(one := seen.pop(0), RunError):
            raise one
        return dict(one)

    assert status.watch(see, Console(file=io.StringIO()), 0.05, as_json=False) == 3


def test_watch_on_a_terminal_draws_in_place_and_leaves_the_end(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.events.tell("run_started")
    told.progress.expect("tts", 4, 1, 60)
    told.progress._write()
    text, looks = io.StringIO(), []

    def see() -> dict:
        looks.append(None)
        if len(looks) == 3:
            told.end(3)
        return {**status.look(told.folder), **({"state": "running"} if len(looks) < 3 else {})}

    code = status.watch(see, Console(file=text, force_terminal=True, width=120, highlight=False), 0.0, as_json=False)
    assert [code, len(looks)] == [3, 3]
    assert text.getvalue().count("tts                now") >= 2
    assert "tts                part   1/4 shards" in text.getvalue()
    assert text.getvalue().rindex("\x1b[?25h") > text.getvalue().rindex("\x1b[?25l")
