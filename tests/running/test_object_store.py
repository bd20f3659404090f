"""A run in an object store: whole or absent, and the bytes of a run in a folder.

On moto's S3, on the loopback. What boto3 sees there counts, not what our own client believes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from answers.store import AnswerStore, answer_key
from pipelines import repair
from pipelines.arguments import load_run
from pipelines.errors import RunError, UserError
from pipelines.estimate.calibrate import calibrate_recipe
from pipelines.estimate.estimate import rates_of_recipe
from pipelines.estimate_options import Cluster
from pipelines.folders import store
from pipelines.folders.run_folder import RunFolder
from pipelines.graph import missing_files
from pipelines.recipe import load_recipe, parse_recipe
from pipelines.repair_options import Repair, RepairedRow
from pipelines.shards import Staged, read_record, to_json
from pipelines.steps import BY_KEY
from tests.conftest import ROOT, command, content, recipe_of, write_recipe
from tests.pipelines.in_process import mill, run_quietly
from tests.running.in_store import ONE, OTHER, Machines, commit, lies_there, stage
from tests.running.s3_server import BUCKET, KEY, SECRET, S3Server


def test_a_commit_is_in_the_store_and_another_machine_reads_it(machines: Machines, s3: S3Server) -> None:
    there = machines.become("there")
    record = commit(stage(there), ONE)
    assert lies_there(s3, there) == {
        "tts/a-00000.parquet": b"rows",
        "tts/rejects/a-00000.parquet": b"rejected rows",
        "tts/a-00000.json": to_json(asdict(record)),
    }
    here = machines.become("here")
    here.pull()
    assert read_record(here.path / "tts/a-00000.json") == record
    assert not missing_files(here.path, record)
    reader = Staged(here.path)
    path = reader.file("tts/a-00000.parquet", record.files["tts/a-00000.parquet"]["digest"])
    assert path.read_bytes() == b"rows"
    assert path.name == "a-00000.parquet"
    with pytest.raises(RunError, match="none of the unit's inputs"):
        reader.file("tts/a-00000.parquet", None)


def test_an_upload_that_fails_leaves_the_unit_to_do(
    folder: RunFolder, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(stage(folder, b"old"), OTHER)
    assert folder.copy
    upload = folder.copy.store.upload

    def fails(path: Path, name: str) -> None:
        if "rejects" in name:
            raise RunError("the line is cut")
        upload(path, name)

    monkeypatch.setattr(folder.copy.store, "upload", fails)
    with pytest.raises(RunError, match="the line is cut"):
        commit(stage(folder, b"new"), ONE)
    assert folder.record("tts/a-00000.json") is None, "the old record would vouch for the new file"
    assert lies_there(s3, folder) == {
        "tts/a-00000.parquet": b"new",
        "tts/rejects/a-00000.parquet": b"rejected old",
    }
    monkeypatch.undo()
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    commit(stage(folder, b"new"), ONE)
    assert lies_there(s3, folder)["tts/rejects/a-00000.parquet"] == b"rejected new"


def test_a_large_file_whose_upload_is_cut_is_never_seen(
    folder: RunFolder, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs.core

    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda size, chunksize=None: 5 << 20)
    call = s3fs.S3FileSystem._call_s3
    parts: list[int] = []

    async def cut(self: Any, method: str, *arguments: Any, **named: Any) -> Any:
        if method == "upload_part":
            parts.append(named["PartNumber"])
            if named["PartNumber"] == 3:
                raise OSError("the line is cut")
        return await call(self, method, *arguments, **named)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", cut)
    large = os.urandom(1 << 20) * 12
    with pytest.raises(RunError, match=r"cannot write tts/a-00000\.parquet: the line is cut"):
        commit(stage(folder, large), ONE)
    assert {1, 3} <= set(parts)
    assert lies_there(s3, folder) == {}
    assert "Uploads" not in s3.client().list_multipart_uploads(Bucket=BUCKET)
    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", call)
    record = commit(stage(folder, large), ONE)
    assert lies_there(s3, folder)["tts/a-00000.parquet"] == large
    assert record.files["tts/a-00000.parquet"]["bytes"] == 12 << 20


@pytest.mark.parametrize("where", ["folder", "store"])
def test_a_unit_that_was_given_out_twice_is_committed_once(
    where: str, folder: RunFolder, s3: S3Server, tmp_path: Path
) -> None:
    run = folder if where == "store" else RunFolder(tmp_path / "run")
    first, second = stage(run), stage(run)
    done = commit(first, ONE, seconds=1)
    assert commit(second, ONE, seconds=2) == done
    assert run.record("tts/a-00000.json") == done
    assert not list(run.path.rglob(".tmp-*"))
    changed = commit(stage(run, b"new"), OTHER, seconds=3)
    assert run.record("tts/a-00000.json") == changed != done
    if where == "store":
        assert lies_there(s3, run)["tts/a-00000.parquet"] == b"new"
        run.remove(["tts/a-00000.parquet"])
    else:
        (run.path / "tts/a-00000.parquet").unlink()
    again = commit(stage(run, b"new"), OTHER, seconds=4)  # its record is there, and its file is gone
    assert again.cost == {"seconds": 4}
    assert not run.missing(again)


def test_answers_are_asked_once_over_all_machines(machines: Machines) -> None:
    one = AnswerStore(machines.become("one").path / "answers" / "tts")
    keys = [answer_key("t", {"n": n}) for n in range(4)]
    one.put(keys[0], b"first")
    one.put(keys[1], b"second")
    one.sync()
    folder = machines.become("two")
    two = AnswerStore(folder.path / "answers" / "tts")
    assert len(two) == 2
    assert not list(two.folder.glob("*.log")), "records come when they are asked for"
    assert two.get(keys[1]) == b"second"
    one.put(keys[2], b"third")
    assert two.get(keys[2]) is None, "not taken there yet"
    one.sync()
    assert two.get(keys[2]) is None, "in passing, it looks every few seconds"
    two.look()
    assert two.get(keys[2]) == b"third"
    assert two.get(keys[0]) == b"first"
    two.put(keys[3], b"fourth")
    two.close()
    again = AnswerStore(machines.become("three").path / "answers" / "tts")
    assert [again.get(key) for key in keys] == [b"first", b"second", b"third", b"fourth"]
    restarted = AnswerStore(folder.path / "answers" / "tts")
    assert [restarted.get(key) for key in keys] == [b"first", b"second", b"third", b"fourth"]


def test_a_ceiling_wants_a_file_system() -> None:
    llms = {"m": {"base_url": "http://127.0.0.1:1/v1", "model": "m", "most_requests": 5}}
    with pytest.raises(UserError, match=r"llms\.m: most_requests .* s3://runs/small is no file system"):
        parse_recipe(recipe_of(run_dir="s3://runs/small", llms=llms), "test")
    assert parse_recipe(recipe_of(run_dir="/runs/small", llms=llms), "test").llms["m"].most_requests == 5


@pytest.mark.parametrize(("url", "extra"), [("s3://bucket/run", "s3"), ("gs://bucket/run", "gcs")])
def test_a_client_that_is_not_installed_is_named(url: str, extra: str, tmp_path: Path) -> None:
    code = "import sys; sys.modules.update(s3fs=None, gcsfs=None); from pipelines.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "run", write_recipe(tmp_path), "--run-dir", url],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 2
    assert f"pip install 'speechmill[{extra}]'" in result.stderr


def test_a_url_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UserError, match=r"s4://bucket/run: .*s4"):
        store.Store("s4://bucket/run")


def test_a_bucket_that_is_not_there_or_not_ours_is_said(
    s3: S3Server, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.url = "s3://no-such-bucket/run"
    with pytest.raises(
        UserError, match=r"s3://no-such-bucket/run cannot be listed: .*\. s3fs takes credentials from AWS"
    ):
        machines.become("here").reach()
    with pytest.raises(UserError, match="no-such-bucket/run cannot be listed"):
        load_run(Path(machines.url))
    with pytest.raises(UserError, match="no-such-bucket/run cannot be listed"):
        mill("status", machines.url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match=r"cannot be listed: Unable to locate credentials"):
        machines.become("there").reach()


def speechmill(s3: S3Server, cache: Path, *arguments: str | Path, **run: Any) -> subprocess.CompletedProcess[str]:
    """Run the command on a machine of its own, with the credentials in its environment alone."""
    environment = {**os.environ, **s3.environment, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)}
    return subprocess.run(
        command(*arguments), cwd=ROOT, env={**environment, "COLUMNS": "200"}, capture_output=True, text=True,
        timeout=200, check=False, **run,
    )  # fmt: skip


def content_there(s3: S3Server, prefix: str, folder: Path) -> dict[str, str]:
    """Return what `content` does of a run in the store; nothing there may hold a secret."""
    for name, data in s3.objects(prefix).items():
        assert KEY.encode() not in data and SECRET.encode() not in data, name
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return {name: digest for name, digest in content(folder).items() if not name.startswith("lock/")}


@pytest.mark.long
def test_a_killed_and_resumed_run_in_a_store_has_the_bytes_of_one_in_a_folder(
    s3: S3Server, finished: Path, tmp_path: Path
) -> None:
    recipe, url = write_recipe(tmp_path, report=True), f"s3://{BUCKET}/killed"
    cache = tmp_path / "cache"
    environment = {**os.environ, **s3.environment, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)}
    run = command("run", recipe, "--run-dir", url, "--workers", "0")
    process = subprocess.Popen(run, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    spoken: list[str] = []
    while len(spoken) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
        listed = s3.client().list_objects_v2(Bucket=BUCKET, Prefix="killed/tts/").get("Contents", [])
        spoken = [about["Key"] for about in listed if about["Key"].endswith(".json")]
    assert process.poll() is None, "it was to be killed half-way"
    process.kill()
    process.wait()
    before = {key: s3.client().head_object(Bucket=BUCKET, Key=key)["LastModified"] for key in spoken}
    results = [speechmill(s3, cache, "run", recipe, "--run-dir", url, "--workers", "0")]
    assert results[0].returncode == 0, results[0].stdout + results[0].stderr
    assert f"dataset: {url}/dataset" in results[0].stdout
    assert {key: s3.client().head_object(Bucket=BUCKET, Key=key)["LastModified"] for key in spoken} == before
    assert content_there(s3, "killed", tmp_path / "there") == content(finished / "run")

    elsewhere = tmp_path / "another machine"  # which has no copy, and is given nothing but the URL
    results.append(speechmill(s3, elsewhere, "status", url))
    for result in results:
        assert result.returncode == 0, result.stdout + result.stderr
        assert KEY not in result.stdout + result.stderr
        assert SECRET not in result.stdout + result.stderr
    assert f"{url}: not running" in results[1].stdout
    copies = [path for place in (cache, elsewhere) for path in place.rglob("*") if path.is_file()]
    assert len(copies) > 100
    assert not [path for path in copies if KEY.encode() in path.read_bytes() or SECRET.encode() in path.read_bytes()]


def test_commands_take_the_url_where_they_take_the_folder(
    machines: Machines, s3: S3Server, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = machines.become("here"), finished / "run"
    assert folder.copy
    paths = [path for path in run.rglob("*") if path.is_file() and path.name != "lock"]
    folder.copy.store.each(folder.copy.store.upload, paths, [str(path.relative_to(run)) for path in paths])
    row = pq.read_table(run / "quantize/examples-00001.parquet", columns=["id"])["id"][3].as_py()

    def said(*arguments: str) -> str:
        capsys.readouterr()
        mill(*arguments)
        return capsys.readouterr().out

    url = folder.place
    assert " promises are kept" in said("verify", url)
    assert f"{url}/report.html: " in said("report", url)
    assert lies_there(s3, folder)["report.html"].startswith(b"<!doctype html>")
    told = [json.loads(said("explain", where, row, "--json")) for where in (url, str(run))]
    whens = [[unit.pop("when") for unit in life["made_by"]] for life in told]
    assert told[0] == told[1]
    written = s3.client().head_object(Bucket=BUCKET, Key=f"{url.rpartition('/')[2]}/read/examples.json")["LastModified"]
    assert whens[0][0] == written.isoformat(timespec="seconds")
    assert "filter.speakable" in said("funnel", url)
    assert row in said("look", url, "--source", "examples", "-n", "200")
    planned = json.loads(said("plan", str(finished / "recipe.yaml"), "--run-dir", url, "--json"))
    assert planned["run"] == url
    assert {state["done"] == state["shards"] for state in planned["states"]} == {True}
    named = said("repair", url, "--where", f"id = '{row}'", "--seed", "7", "--dry-run")
    assert "1 rows are made again, in 1 shards: examples-00001" in named


def test_a_repair_is_noted_in_the_store(machines: Machines, s3: S3Server, finished: Path) -> None:
    folder = machines.become("here")
    folder.write("recipe.json", (finished / "run/recipe.json").read_bytes())
    recipe = load_run(Path(folder.place))
    assert recipe.run_url == folder.place
    repair.note(
        recipe, Repair(where="seconds > 20", rows=(RepairedRow(id="0" * 16, source="examples", row=3),), seed=7)
    )
    noted = json.loads(lies_there(s3, folder)["repairs.json"])["repairs"]
    assert [one["seed"] for one in noted] == [7]
    machines.become("there")
    assert [one.where for one in load_run(Path(folder.place)).repairs] == ["seconds > 20"]


def test_rates_of_a_calibration_are_found_from_every_machine(
    machines: Machines, s3: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_of(run_dir=machines.url)))
    machines.become("here")
    read = [BY_KEY["read"]]
    lines = list(calibrate_recipe(path, [], 8, None, lambda: Cluster(cpus=1), lambda small: run_quietly(small, read)))
    there = f"{machines.url}-calibration"
    assert lines[0].startswith(f"{there}/rates.json: rates of 1 passes; the runs are in {there}")
    assert lines[-1] == f"speechmill plan {path}"
    lie = s3.objects(there.removeprefix(f"s3://{BUCKET}/"))
    assert json.loads(lie["rates.json"])["passes"].keys() == {"read"}
    machines.become("there")
    capsys.readouterr()
    mill("plan", path, "--json")
    found = json.loads(capsys.readouterr().out)["estimate"]
    assert found["rates"]["measured"] == json.loads(lie["rates.json"])["measured"]
    (tmp_path / "there/speechmill/runs").rename(tmp_path / "deleted")  # as may be done at any time
    machines.become("there")
    assert rates_of_recipe(load_recipe(path), None) is not None
    s3.client().delete_object(Bucket=BUCKET, Key=f"{there.removeprefix(f's3://{BUCKET}/')}/rates.json")
    assert rates_of_recipe(load_recipe(path), None) is None


@pytest.mark.long
def test_workers_on_ray_give_the_same_bytes(s3: S3Server, finished: Path, tmp_path: Path) -> None:
    recipe, url = write_recipe(tmp_path, report=True), f"s3://{BUCKET}/on-ray"
    result = speechmill(s3, tmp_path / "cache", "run", recipe, "--run-dir", url, "--workers", "2")
    assert result.returncode == 0, result.stdout + result.stderr
    assert content_there(s3, "on-ray", tmp_path / "there") == content(finished / "run")


def test_a_run_by_file_url_lies_in_that_folder(s3: S3Server, finished: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/my%20run"
    recipe = write_recipe(tmp_path, report=True)
    result = speechmill(s3, tmp_path / "cache", "run", recipe, "--run-dir", url, "--workers", "0")
    assert result.returncode == 0, result.stdout + result.stderr
    assert content(tmp_path / "my run") == content(finished / "run")
    assert not (tmp_path / "cache" / "speechmill").exists(), "a folder needs no copy"
    result = speechmill(s3, tmp_path / "cache", "status", url)
    assert f"{tmp_path}/my run: not running" in result.stdout
