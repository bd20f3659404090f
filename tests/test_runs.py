"""A run ends in the same bytes, whoever did it and however often it was killed."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, assert_done, command, content, speechmill, two_threads, write_recipe

SEED = int(os.environ.get("SPEECHMILL_CHAOS_SEED", time.time_ns() % 10**6))  # printed on failure


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the command in the background, in a session of its own."""
    return subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_units(run: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until a run has committed this many units, or ended."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(run.glob("*/*.json"))) >= count:
            return
        time.sleep(0.01)


def workers_of(driver: int) -> list[int]:
    """Return the process ids of a driver's Ray workers."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                names[int(entry.name)] = (entry / "cmdline").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat[1])
    found = []
    for pid, name in names.items():
        above = pid
        while above in parents and above != driver:
            above = parents[above]
        if above == driver and name.startswith("ray::_Worker"):
            found.append(pid)
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run without the report, by the plain loop. Read only."""
    folder = tmp_path_factory.mktemp("plain")
    with two_threads():  # others have one
        assert_done(speechmill("run", write_recipe(folder), "--workers", "0"))
    return folder


def test_ray_gives_the_bytes_of_the_plain_loop(finished: Path, tmp_path: Path) -> None:
    assert_done(speechmill("run", write_recipe(tmp_path, report=True), "--workers", "2"))
    assert content(tmp_path / "run") == content(finished / "run")


def test_five_kills_and_the_end_is_the_same(finished: Path, tmp_path: Path) -> None:
    """SIGKILL the driver, or one of its workers, at random moments; then run to the end."""
    print(f"SPEECHMILL_CHAOS_SEED={SEED}")
    chance = random.Random(SEED)
    recipe, run = write_recipe(tmp_path, report=True), tmp_path / "run"
    total = len(list((finished / "run").glob("*/*.json")))
    kills = []
    for attempt in range(5):
        process = start("run", recipe, "--workers", str(2 * (attempt % 2)))  # the plain loop and Ray in turn
        wait_for_units(run, chance.randrange(total * attempt // 5, total * (attempt + 1) // 5 + 1), process)
        time.sleep(chance.random() / 10)
        workers = workers_of(process.pid)
        if workers and attempt % 4 == 1:
            os.kill(chance.choice(workers), signal.SIGKILL)
            output, _ = process.communicate(timeout=200)
            assert process.returncode == 0, output  # a dead worker's unit is given out again
            kills.append("worker")
            for path in run.glob("mix/*.json"):  # so that the next attempt has something to do
                path.unlink()
        else:
            os.killpg(process.pid, signal.SIGKILL) if attempt % 2 else process.kill()
            process.wait()
            kills.append("driver")
    before = {p: p.stat().st_mtime_ns for p in run.glob("t*/*.parquet")}
    assert_done(speechmill("run", recipe, "--workers", "0"))
    assert content(run) == content(finished / "run"), f"after {kills}, SPEECHMILL_CHAOS_SEED={SEED}"
    done_before = {p for p in before if p.with_suffix(".json").exists()}
    assert all(p.stat().st_mtime_ns == before[p] for p in done_before if p in before)


def test_the_mixtures_are_the_same_whatever_the_shards(plain: Path, tmp_path: Path) -> None:
    assert_done(speechmill("run", write_recipe(tmp_path, read={"rows_per_shard": 64}), "--workers", "0"))
    one, other = content(plain / "run"), content(tmp_path / "run")
    mixtures = [name for name in one if name.startswith("dataset/stage")] + ["mixture.json"]
    assert len(mixtures) > 3
    assert {name: other.get(name) for name in mixtures} == {name: one[name] for name in mixtures}


@pytest.mark.parametrize("rules", [[], ["duplicate"], ["length", "duplicate"]])
def test_any_list_of_rules_runs(rules: list[str], tmp_path: Path) -> None:
    assert_done(speechmill("filter", write_recipe(tmp_path, filter={"rules": rules}), "--workers", "0"))
    rejected = json.loads((tmp_path / "run" / "filter" / "manifest.json").read_bytes())["rejected"]
    always = {"filter.duplicate", "filter.too_long"}  # equal records share their id; what is too long has no scores
    assert set(rejected) <= always | {f"filter.{rule}" for rule in rules}


def test_a_dropped_mixture_leaves_the_dataset(finished: Path, tmp_path: Path) -> None:
    recipe, run = write_recipe(tmp_path, report=True), tmp_path / "run"
    shutil.copytree(finished / "run", run)
    assert (run / "dataset" / "audio").is_dir()
    mixtures = {"stage2": {"parts": {"transcription": 100}}}
    write_recipe(tmp_path, report=True, mix={"mixtures": mixtures}, export={"audio": False})
    assert_done(speechmill("run", recipe, "--workers", "0"))
    found = sorted(p.name for p in (run / "dataset").iterdir())
    assert found == ["README.md", "funnel.png", "mixtures.png", "report.html", "stage2"]
    assert_done(speechmill("verify", run))


def test_what_is_done_is_not_done_again(plain: Path, tmp_path: Path) -> None:
    recipe, run = write_recipe(tmp_path), tmp_path / "run"
    assert_done(speechmill("tts", recipe, "--workers", "0"))
    spoken = {p: p.stat().st_mtime_ns for p in run.glob("tts/*.parquet")}
    assert spoken
    (run / "tts" / "examples-00003.json").unlink()
    assert_done(speechmill("run", recipe, "--workers", "0"))
    again = [p.stem for p, time_ns in spoken.items() if p.stat().st_mtime_ns != time_ns]
    assert again == ["examples-00003"]
    assert content(run) == content(plain / "run")
    result = speechmill("run", recipe)
    assert_done(result)
    assert "Nothing to do" in result.stdout


def test_a_changed_option_redoes_what_follows_and_says_so(plain: Path, tmp_path: Path) -> None:
    recipe, run = write_recipe(tmp_path), tmp_path / "run"
    shutil.copytree(plain / "run", run)
    scored = {p: p.stat().st_mtime_ns for p in run.glob("score/*.parquet")}
    change = ["--set", "filter.rules=[speakable, {length: {below: 20}}, language, duplicate]"]
    plan = speechmill("plan", recipe, *change)
    assert_done(plan)
    assert "rules.length.below: 64 -> 20" in plan.stdout
    assert "follows filter" in plan.stdout
    changed = speechmill("run", recipe, *change, "--workers", "0")
    assert_done(changed)
    assert "will be made again (rules.length.below: 64 -> 20)" in changed.stdout
    assert all(p.stat().st_mtime_ns == time_ns for p, time_ns in scored.items())
    lengths = [r["rejected"].get("filter.length", 0) for r in (manifest(run), manifest(plain / "run"))]
    assert lengths[0] > lengths[1]
    back = speechmill("run", recipe, "--workers", "0")
    assert_done(back)
    assert content(run) == content(plain / "run")


def manifest(run: Path) -> dict[str, dict[str, int]]:
    """Return the manifest of a run's filter."""
    return dict(json.loads((run / "filter" / "manifest.json").read_bytes()))


def test_a_changed_source_is_read_again_and_an_untouched_one_is_not(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"Please tell me something about the colour {c}.", "answer": "Gladly."}) for c in
             ("red", "blue", "green", "yellow", "purple", "orange", "black", "white", "brown", "pink")]  # fmt: skip
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines).replace("Please", f"Now, for {name}, please"))
    sources = [{"name": name, "path": f"{name}.jsonl"} for name in ("one", "two")]
    mix = {"mixtures": {"all": {"parts": {"speech_instruction": 100}}}}
    recipe = write_recipe(tmp_path, root=str(tmp_path), sources=sources, mix=mix)
    assert_done(speechmill("run", recipe, "--workers", "0"))
    one = (tmp_path / "run" / "tts" / "one-00000.parquet").stat().st_mtime_ns
    os.utime(tmp_path / "one.jsonl")  # touched, but the same
    (tmp_path / "two.jsonl").write_text((tmp_path / "two.jsonl").read_text().replace("pink", "grey"))
    result = speechmill("run", recipe, "--workers", "0")
    assert_done(result)
    assert "read: 1 of 2 shards will be made again (two.jsonl changed)" in result.stdout
    assert (tmp_path / "run" / "tts" / "one-00000.parquet").stat().st_mtime_ns == one


def test_a_second_process_is_refused_and_status_sees_the_first(tmp_path: Path) -> None:
    everything = [{"name": "examples", "path": "examples/instructions.jsonl", "turns": "all"}]  # long enough to look at
    recipe = write_recipe(tmp_path, sources=everything)
    first = start("run", recipe, "--workers", "0")
    wait_for_units(tmp_path / "run", 80, first)
    second = speechmill("run", recipe, "--workers", "0")
    now = re.compile(r"^[\w.]+ +now .* rows/s", re.MULTILINE)
    for _ in range(5):  # between two passes there is none
        seen = speechmill("status", recipe)
        if now.search(seen.stdout):
            break
    assert first.poll() is None
    first.terminate()
    first.communicate(timeout=60)
    assert second.returncode == 2
    assert f"is in use by another speechmill process (process {first.pid} on" in second.stderr
    assert f"running, process {first.pid}" in seen.stdout
    assert now.search(seen.stdout)
    after = speechmill("status", tmp_path / "run")
    assert "not running" in after.stdout
    assert re.search(r"^score +done ", after.stdout, re.MULTILINE)


@pytest.mark.parametrize(("workers", "number"), [("0", signal.SIGINT), ("2", signal.SIGTERM)])
def test_a_run_that_is_stopped_says_so_and_leaves_nothing_behind(
    workers: str, number: signal.Signals, tmp_path: Path
) -> None:
    process = start("run", write_recipe(tmp_path), "--workers", workers)
    wait_for_units(tmp_path / "run", 30, process)
    children = workers_of(process.pid)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "stopped. What was finished is kept" in output
    assert "Traceback" not in output
    assert not list((tmp_path / "run").rglob(".tmp-*"))
    assert bool(children) == (workers == "2")
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists() and "Z" not in state_of(pid)]


def state_of(pid: int) -> str:
    """Return a process's state letter."""
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]


def limited(kib: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command where no file may grow beyond a size, as on a full disk."""
    shell = ["bash", "-c", f'ulimit -f {kib}; exec "$@"', "bash", *command(*arguments)]
    return subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


def test_a_disk_that_is_full_loses_nothing_that_was_finished(plain: Path, tmp_path: Path) -> None:
    recipe, run = write_recipe(tmp_path), tmp_path / "run"
    assert_done(speechmill("filter", recipe, "--workers", "0"))
    result = limited(1000, "run", recipe, "--workers", "0")
    assert result.returncode == 1, result.stdout
    assert "cannot write to" in result.stderr
    assert "What was finished is safe" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(run.glob("filter/*.parquet"))
    assert not list(run.rglob(".tmp-*"))
    assert_done(speechmill("run", recipe, "--workers", "0"))
    assert content(run) == content(plain / "run")


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    result = speechmill("run", write_recipe(tmp_path), "--workers", "0", "--run-dir", "/proc/run")
    assert result.returncode == 1
    assert "cannot write the run folder /proc/run" in result.stderr
    assert "Traceback" not in result.stderr
    (tmp_path / "run").write_text("a file where the folder should be")
    result = speechmill("run", tmp_path / "recipe.yaml", "--workers", "0")
    assert result.returncode == 2
    assert "is a file. Name a folder with --run-dir" in result.stderr
