"""Workers, raylets and nodes die while units are at work: nothing is lost or doubled. Real Ray, several nodes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq
import pytest
from ray import cloudpickle
from rich.console import Console

from pipelines.errors import RunError
from pipelines.estimate.calibrate import ran_on
from pipelines.folders.run_folder import open_run_folder
from pipelines.graph import Outputs, Unit
from pipelines.recipe import SCORED_BY, Recipe, load_recipe
from pipelines.row import REJECTED_ROW, ROW
from pipelines.running import runner
from pipelines.running.events import Events
from pipelines.running.orders import Order, Tell
from pipelines.running.perform import InThisProcess, perform
from pipelines.running.pool import Times
from pipelines.running.progress import Progress
from pipelines.running.quarantine import GIVES_UP, quarantine
from pipelines.running.ray_pool import JOB, brought, ray_pool
from pipelines.shards import QUARANTINED, Counts, Record, read_record
from pipelines.steps import passes_for
from pipelines.steps.score import SCORED_ROW
from pipelines.telling.funnel import measure
from tests.answers.loopback_chat import LoopbackChat
from tests.conftest import ROOT, assert_done, content, speechmill, write_recipe
from tests.running import every_step
from tests.running.chaos import made
from tests.running.cluster import Cluster, cluster, kill
from tests.running.events_of import read_events
from tests.running.simulated import Told, orders, recipe_with

pytestmark = pytest.mark.long

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have our packages, and no tests


def sleepy(order: Order) -> Record:
    """Take as long as the unit says; a unit may kill its worker, or take long where it is tried first."""
    args = order.unit.args
    if args.get("kills"):
        print("about to go", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    first = args.get("slow") is not None and not Path(args["slow"]).exists()
    if first:
        Path(args["slow"]).touch()
    time.sleep(100 if first else args["seconds"])
    facts: dict[str, Any] = {"pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}
    if script := args.get("script"):
        said = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True, check=True)
        facts["said"] = said.stdout
    return Record("", {}, Counts(), {}, facts, {"seconds": args["seconds"]})


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A cluster of two nodes of two CPUs."""
    with cluster(2, cpus=2) as started:
        yield started


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return recipe_with(tmp_path_factory.mktemp("recipe"), tries=2)


def done(
    nodes: Cluster,
    told: Told,
    group: list[Order],
    meanwhile: Mapping[int, Callable[[], object]] = MappingProxyType({}),
    **times: float,
) -> list[Record]:
    """Perform orders on a cluster; `meanwhile` says what is done when so many of them are. Returns the records."""
    with ray_pool(None, nodes.address, told, sleepy, Times(**times)) as pool:
        for order in group:
            pool.submit(order)
        records = []
        while len(records) < len(group):
            meanwhile.get(len(records), lambda: None)()
            records.append(pool.wait())
    assert sorted(order.unit.name for order, _ in records) == sorted(order.unit.name for order in group)
    return [record for _, record in records]


def test_what_a_calibration_ran_on_is_asked_of_the_cluster(nodes: Cluster) -> None:
    found = ran_on(None, nodes.address)
    assert (found.cpus, found.gpus, found.nodes) == (2, 0, 2), "the head has no CPUs"
    assert found.memory_gib > 0
    fewer = ran_on(3, nodes.address)
    assert (fewer.cpus, fewer.gpus, fewer.nodes) == (3, 0, 1)


def test_work_goes_on_when_workers_raylets_and_nodes_die(nodes: Cluster, recipe: Recipe) -> None:
    told = Told()
    meanwhile = {
        5: lambda: kill(nodes.workers()[0]),
        10: lambda: nodes.kill_raylet(nodes.nodes[0]),
        20: lambda: nodes.add_node(cpus=2),
        50: lambda: nodes.kill_node(nodes.nodes[0]),
        60: lambda: nodes.add_node(cpus=2),
    }
    group = orders(recipe, "tts", 100, seconds=0.3)
    records = done(nodes, told, group, meanwhile)
    given = Counter(fields["shard"] for fields in told.of("shard_given"))
    retried = Counter(fields["shard"] for fields in told.of("shard_retried"))
    assert given == Counter(order.unit.name for order in group) + retried
    assert 2 <= retried.total() <= 8  # what was at work where something died
    assert len(told.of("node_joined")) == 2
    assert len({record.facts["pid"] for record in records}) >= 5
    assert not told.of("shard_quarantined")
    died = told.of("worker_died")
    assert any("process has died" in fields["why"] for fields in died)
    assert any("step" in fields for fields in died)
    late = {fields["node"] for fields in told.of("node_joined")}
    assert late & {fields["node"] for fields in told.of("shard_done")}


SHIPPED = """
import pathlib, filters.length, quantize.mel512
print(pathlib.Path(filters.length.__file__).parent.parent, filters.length.count_tokens(["two words"], "gpt2")[0])
"""


def test_nodes_need_no_installation_of_ours(nodes: Cluster, recipe: Recipe) -> None:
    """The packages come with the driver, data files among them, and are found from any folder before installed ones."""
    unit = Unit("tts-where", args={"seconds": 0, "script": SHIPPED})
    (record,) = done(nodes, Told(), [Order(recipe, "tts", unit, {}, "token")])
    place, tokens = str(record.facts["said"]).split()
    assert "/py_modules_files/" in place
    assert tokens == "2"
    assert record.facts["threads"] == "1"


def test_a_straggler_is_given_out_again(nodes: Cluster, recipe: Recipe, tmp_path: Path) -> None:
    group = orders(recipe, "tts", 12, seconds=0.2)
    slow = Unit("tts-slow", args={"seconds": 0.2, "slow": str(tmp_path / "tried")})
    group.append(Order(recipe, "tts", slow, {}, "token", group[0].needs))
    told = Told()
    started = time.monotonic()
    done(nodes, told, group, straggler=2.0)
    assert time.monotonic() - started < 60
    (fields,) = told.of("straggler_reissued")
    assert fields["shard"] == "tts-slow"
    assert fields["seconds"] >= 2


def test_a_worker_that_dies_says_what_it_wrote_last(nodes: Cluster, recipe: Recipe) -> None:
    told = Told()
    killer = Unit("bad", args={"seconds": 0, "kills": True})
    with pytest.raises(RunError, match="its worker died 2 times") as caught:
        done(nodes, told, [Order(recipe, "noise.sounds", killer, {}, "token")])
    assert "about to go" in str(caught.value)
    assert "[noise.sounds bad]" in str(caught.value)
    assert "about to go" in told.of("worker_died")[0]["log"]


# The command, with workers that some shards kill: what a text in them would do to an engine's process.
POISONED = """
import os, signal, sys
from ray import cloudpickle
from rich.console import Console
import pipelines.running.ray_pool as ray_pool
from pipelines.running.perform import perform

def poisoned(order):
    if [order.key, order.unit.name] in {poison}:
        os.kill(os.getpid(), signal.SIGKILL)
    return perform(order)

real = ray_pool.ray_pool
ray_pool.ray_pool = lambda workers, address, tell: real(workers, address, tell, poisoned)
sys.argv = ["speechmill", "run", {recipe!r}, "--workers", "2"]
from pipelines.cli import main
main()
"""


def test_a_shard_that_kills_its_worker_is_among_the_rejects_and_the_run_ends_with_code_3(tmp_path: Path) -> None:
    poison = [["tts", "examples-00002"], ["quantize", "examples-00004"]]
    path, run = write_recipe(tmp_path, workers={"tries": 2}), tmp_path / "run"
    script = POISONED.format(poison=poison, recipe=str(path))
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 3, result.stdout + result.stderr
    assert "2 shards that killed their worker each time (tts examples-00002, quantize examples-00004)" in result.stderr
    for key, unit in poison:
        record = read_record(run / key / f"{unit}.json")
        assert record is not None
        assert QUARANTINED in record.facts
        (taken,) = record.made_of["inputs"]
        rejects = pq.read_table(run / key / "rejects" / f"{unit}.parquet")
        assert rejects.num_rows == record.counts.rows_in == pq.read_metadata(run / taken).num_rows > 0
        assert all(f"{key}.quarantined:its worker died 2 times (" in reason for reason in rejects["reject"].to_pylist())
    told = Counter(event["kind"] for event in read_events(run))
    assert told["worker_died"] == 4
    assert told["shard_quarantined"] == 2
    assert_done(speechmill("verify", run))
    plan = speechmill("plan", path)
    assert "quarantined: its worker died 2 times" in plan.stdout


def test_a_job_has_brought_its_packages_and_what_it_sets_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(brought()) == {"env_vars", "py_modules", "excludes"}
    given = {"runtime_env": {"working_dir": "gcs://job.zip", "env_vars": {"OMP_NUM_THREADS": "4"}}}
    monkeypatch.setenv(JOB, json.dumps(given))
    assert set(brought()) == {"env_vars"}
    assert "OMP_NUM_THREADS" not in brought()["env_vars"]
    assert brought()["env_vars"]["POLARS_MAX_THREADS"] == "1"


@pytest.mark.parametrize("key", sorted(GIVES_UP))
def test_what_is_given_up_is_a_shard_without_rows_and_each_row_a_reject(
    key: str, finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    llm = {"m": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}}
    changes = {
        "llms": llm,
        "rewrite": {"llm": "m"},
        "chats": {"failed_turn": "shorten"},
        "answer": {"llm": "m", "how": "spoken"},
        "tts": {"per_prompt": 2, "augment": {"gain_db": [-6, 3]}},
    }
    recipe = load_recipe(write_recipe(tmp_path, **changes))
    before = {  # where that run has no answers, rewrites and shorter chats, what they would be of
        "score": "read", "rewrite": "score", "filter.shorten": "score", "filter": "score", "answer": "filter",
        "tts": "filter", "tts.augment": "tts", "quantize": "tts",
    }  # fmt: skip
    taken = before[key]
    unit = Unit("examples-00001", (f"{taken}/examples-00001.parquet",))
    rows = pq.read_table(run / unit.inputs[0])
    token = json.loads((run / "lock").read_text())["token"]
    record = quarantine(Order(recipe, key, unit, {"inputs": {}, "unit": unit.name}, token), "its worker died 4 times")
    rejects, kept = (pq.read_table(run / key / folder / "examples-00001.parquet") for folder in ("rejects", ""))
    readings = 2 if key == "tts" else 1
    assert rows.num_rows > 0
    assert (kept.num_rows, rejects.num_rows) == (0, readings * rows.num_rows)
    assert (kept.schema, rejects.schema) == (SCORED_ROW if key in SCORED_BY else ROW, REJECTED_ROW)
    assert set(rejects["reject"].to_pylist()) == {f"{key}.quarantined:its worker died 4 times"}
    assert record.counts == Counts(rejects.num_rows, 0, {f"{key}.quarantined": rejects.num_rows})
    of_rows = [row_id.partition("/")[0] for row_id in rejects["id"].to_pylist()]
    assert of_rows[::readings] == rows["id"].to_pylist()
    usual = read_record(finished / "run" / key / "examples-00001.json")
    others = {"answer": "answers", "rewrite": "rewritten", "filter.shorten": "shortened"}
    assert record.facts.keys() >= (usual.facts.keys() if usual else {"shards", others.get(key, "shards")})
    assert record.facts["shards"] == {"examples-00001": 0}
    assert read_record(run / key / "examples-00001.json") == record


def test_speech_that_is_removed_is_kept_for_what_was_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run needs it again: that of a shard whose tokens were given up, or its augmentation, is made again."""
    given_up = {("quantize", "examples-00000"), ("tts.augment", "examples-00001")}

    def perform_or_give_up(order: Order, tell: Tell) -> Record:
        if (order.key, order.unit.name) in given_up:
            return quarantine(order, "its worker died")
        return perform(order)

    def run_once(name: str) -> tuple[Path, Outputs]:
        run = tmp_path / name
        recipe = load_recipe(path, run_dir=str(run))
        events = Events(open_run_folder(recipe))
        progress = Progress(open_run_folder(recipe), Console(quiet=True), events)
        hands = nullcontext(InThisProcess(events.tell))
        return run, runner.run(recipe, passes_for("quantize"), hands, progress, events.tell, threads=False)

    changes: dict[str, Any] = {
        "tts": {"keep_audio": False, "augment": {"gain_db": [-6, 3]}},
        "export": {"audio": False},
    }
    sources = [{"name": "examples", "path": "examples/instructions.jsonl", "limit": 60}]
    path = write_recipe(tmp_path, sources=sources, **changes)
    monkeypatch.setattr("pipelines.running.perform.perform_here", perform_or_give_up)
    run, outputs = run_once("run")
    assert sorted(runner.quarantined(outputs)) == ["quantize examples-00000", "tts.augment examples-00001"]
    assert [file.stem for file in run.glob("tts.augment/*.parquet")] == ["examples-00000"]
    given_up.clear()
    run_once("run")
    undisturbed, _ = run_once("other")
    assert not list(run.glob("tts*/*.parquet"))
    assert content(run) == content(undisturbed)


def test_rows_that_are_given_up_before_the_filter_are_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard of each pass before `filter`: the run verifies, tells of them, and the next one makes all of it."""
    units = {"score": "asked-00001", "rewrite": "asked-00002", "filter.shorten": "chats-00001"}
    given_up = set(units.items())

    def perform_or_give_up(order: Order, tell: Tell) -> Record:
        if (order.key, order.unit.name) in given_up:
            return quarantine(order, "its worker died")
        return perform(order)

    def run_once(name: str) -> tuple[Path, Outputs]:
        path = every_step.write_recipe(tmp_path / "sources", tmp_path / name, server.base_url, {})
        recipe = load_recipe(path)
        folder = open_run_folder(recipe)
        events = Events(folder)
        hands = nullcontext(InThisProcess(events.tell))
        progress = Progress(folder, Console(quiet=True), events)
        return tmp_path / name, runner.run(recipe, passes_for(None), hands, progress, events.tell, threads=False)

    monkeypatch.setattr("pipelines.running.perform.perform_here", perform_or_give_up)
    every_step.write_sources(tmp_path / "sources", 60)
    with LoopbackChat() as server:
        run, outputs = run_once("run")
        assert sorted(runner.quarantined(outputs)) == sorted(f"{key} {unit}" for key, unit in units.items())
        assert_done(speechmill("verify", run))
        funnel = measure(outputs)
        rows = {key: outputs.records(key)[unit].counts.rows_in for key, unit in units.items()}
        assert all(funnel.steps[key]["rejected"] == {f"{key}.quarantined": n} for key, n in rows.items())
        assert funnel.rejected["asked"]["score.quarantined"] == rows["score"] == 10
        assert (
            "score, which the next run makes again (quarantined: its worker died)" in speechmill("funnel", run).stdout
        )
        (lost,) = pq.read_table(run / "score/rejects/asked-00001.parquet", columns=["id"]).slice(3, 1)["id"].to_pylist()
        assert "score.quarantined:its worker died" in speechmill("explain", run, lost).stdout
        given_up.clear()
        run_once("run")
        undisturbed, whole = run_once("other")
    assert made(run) == made(undisturbed)
    assert not measure(whole).steps.keys() & units.keys()  # they reject nothing by themselves
