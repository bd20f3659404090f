"""A run in an object store: whole or absent, one driver at a time, and the bytes of a run in a folder.

On moto's S3, on the loopback. What boto3 sees there counts, not what our own client believes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
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
from pipelines.folders import lock, machine_copy, run_folder, store
from pipelines.folders.lock import holds_lock, is_locked, lock_owner, lock_run
from pipelines.folders.run_folder import RunFolder, open_url
from pipelines.graph import Unit, missing_files
from pipelines.recipe import load_recipe, parse_recipe
from pipelines.repair_options import Repair, RepairedRow
from pipelines.running import runner
from pipelines.running.orders import Needs, Order
from pipelines.shards import Counts, Record, Staged, digest_file, read_record, to_json
from pipelines.steps import BY_KEY
from tests.conftest import ROOT, command, content, recipe_of, write_recipe
from tests.pipelines.in_process import Silent, mill, quiet, run_quietly
from tests.running.s3_server import BUCKET, KEY, SECRET, S3Server, s3_server

ONE = {"pass": "tts", "unit": "a-00000", "options": {"seed": 1}}
OTHER = {**ONE, "options": {"seed": 2}}
A_DAY_AGO = 86_400


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


class Machines:
    """This process as one machine after another: each with a copy of its own."""

    def __init__(self, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, self._folder, self._monkeypatch = url, folder, monkeypatch

    def become(self, name: str) -> RunFolder:
        """Be a machine; returns its run folder, which was never opened before."""
        self._monkeypatch.setenv("XDG_CACHE_HOME", str(self._folder / name))
        run_folder._copied.cache_clear()
        store.store_at.cache_clear()
        return open_url(self.url)


@pytest.fixture
def machines(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lock, "LEASE_SECONDS", 1.0)
    return Machines(f"s3://{BUCKET}/{tmp_path.name}", tmp_path, monkeypatch)


@pytest.fixture
def folder(machines: Machines) -> RunFolder:
    return machines.become("here")


def stage(folder: RunFolder, text: bytes = b"rows", may_commit: Any = lambda: True) -> Staged:
    staged = Staged(folder.path, may_commit)
    staged.bytes("tts/a-00000.parquet", text)
    staged.bytes("tts/rejects/a-00000.parquet", b"rejected " + text)
    return staged


def commit(staged: Staged, made_of: dict[str, Any], seconds: float = 1.0) -> Record:
    try:
        return staged.commit("tts/a-00000.json", made_of, Counts(1, 1), {}, {"seconds": seconds})
    finally:
        staged.discard()


def lies_there(s3: S3Server, folder: RunFolder) -> dict[str, bytes]:
    return s3.objects(folder.place.removeprefix(f"s3://{BUCKET}/"))


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


def test_a_worker_of_a_driver_that_was_taken_over_commits_nothing(
    folder: RunFolder, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "is_alive", lambda machine, pid: False)  # the first driver is dead
    with lock_run(folder.path) as old:
        zombie = stage(folder, may_commit=lambda: holds_lock(folder.path, old.token))
        assert holds_lock(folder.path, old.token)
        with lock_run(folder.path) as new:
            assert holds_lock(folder.path, new.token)
            assert not holds_lock(folder.path, old.token)
            before = lies_there(s3, folder)
            with pytest.raises(RunError, match="another process has taken over s3://"):
                commit(zombie, ONE)
            assert not [name for name in lies_there(s3, folder) if name.startswith("tts/")]
            assert [name for name in before if name.startswith("lock/")] == ["lock/00000002.json"]
            assert not zombie._pins or not zombie._pins.exists()


def test_a_run_that_is_held_is_refused_as_soon_as_its_holder_shows_life(folder: RunFolder) -> None:
    assert not is_locked(folder.path)
    with lock_run(folder.path):
        assert is_locked(folder.path)
        assert lock_owner(folder.path).startswith(f"process {os.getpid()} on ")
        with (
            pytest.raises(UserError, match=rf"s3://.* is in use by another speechmill process \(process {os.getpid()}"),
            lock_run(folder.path),
        ):
            pass
    assert not is_locked(folder.path)
    with lock_run(folder.path) as hold:  # given back: taken at once
        assert hold.token.startswith("2.")


def put_lease(folder: RunFolder, **about: Any) -> None:
    holder = {"token": "7.t", "pid": 7, "host": "far", "machine": "far-away", "beat": 3, "released": False}
    folder.copy and folder.copy.store.write("lock/00000007.json", to_json({**holder, **about}))


@contextmanager
def beating(folder: RunFolder, **about: Any) -> Iterator[None]:
    """Be a holder on another machine, which beats."""
    ended = threading.Event()

    def beat() -> None:
        number = 3
        while not ended.wait(lock.BEAT_SECONDS):
            put_lease(folder, beat=(number := number + 1), **about)

    put_lease(folder, **about)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("behind", [45, -A_DAY_AGO])
def test_whether_a_driver_elsewhere_is_alive_is_told_by_its_beat(behind: float, folder: RunFolder) -> None:
    """By no clock: an earlier version wrote its own into the lease, which may be behind or ahead."""
    about = {"time": time.time() - behind}
    with beating(folder, **about):
        assert is_locked(folder.path)
    assert not is_locked(folder.path)
    put_lease(folder, released=True, **about)
    began = time.monotonic()
    assert not is_locked(folder.path)
    assert time.monotonic() - began < lock.LEASE_SECONDS, "it was given back: there is nothing to wait for"


def test_the_lease_of_a_dead_driver_elsewhere_is_taken_when_its_beat_stands_still(
    folder: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    put_lease(folder)
    began = time.monotonic()
    with lock_run(folder.path) as hold:
        assert hold.token.startswith("8.")
    assert time.monotonic() - began > lock.LEASE_SECONDS
    assert "is held by process 7 on far, which is silent: waiting up to 1 s" in capfd.readouterr().err


def test_the_lease_of_a_dead_driver_of_this_machine_is_taken_at_once(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEASE_SECONDS", 100.0)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    put_lease(folder, machine=lock.machine(), pid=dead.pid)
    assert not is_locked(folder.path)
    with lock_run(folder.path) as hold:
        assert hold.token.startswith("8.")


def test_of_many_that_take_a_lease_over_one_gets_it(folder: RunFolder) -> None:
    put_lease(folder, released=True)
    assert folder.copy
    barrier = threading.Barrier(8)

    def take(_: int) -> int:
        barrier.wait()
        try:
            return lock._take(folder.copy.store)[0] if folder.copy else 0
        except UserError as error:
            assert "is in use by another speechmill process" in str(error)
            return 0

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(take, range(8))) == [0] * 7 + [8]


def test_a_store_without_conditional_writes_is_refused(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder.copy
    client = folder.copy.store._fs
    write = client.pipe_file
    monkeypatch.setattr(client, "pipe_file", lambda path, content, mode="overwrite": write(path, content))
    with pytest.raises(UserError, match="two runs could not be kept apart"), lock_run(folder.path):
        pass


def test_a_driver_that_was_taken_over_no_longer_beats(folder: RunFolder, s3: S3Server) -> None:
    with lock_run(folder.path):
        time.sleep(3 * lock.BEAT_SECONDS)
        put_lease(folder)
        time.sleep(3 * lock.BEAT_SECONDS)
    held = {name: json.loads(data) for name, data in lies_there(s3, folder).items() if name.startswith("lock/")}
    assert held["lock/00000001.json"]["beat"] > 0
    assert held["lock/00000001.json"]["released"] is False
    assert held["lock/00000007.json"]["token"] == "7.t"


class Outage:
    """The store's client, whose listings fail while it is on."""

    def __init__(self, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        assert folder.copy
        client = folder.copy.store._fs
        self.on, self.failed, self._find = False, 0, client.find
        monkeypatch.setattr(client, "find", self._listed)

    def _listed(self, *arguments: Any, **named: Any) -> Any:
        if self.on:
            self.failed += 1
            raise OSError("the line is cut")
        return self._find(*arguments, **named)


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def held(s3: S3Server, folder: RunFolder) -> dict[str, Any]:
    return dict(json.loads(lies_there(s3, folder)["lock/00000001.json"]))


def test_listings_that_fail_for_a_while_end_neither_the_lease_nor_the_run_as_a_mistake(
    folder: RunFolder, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(folder, monkeypatch)
    with lock_run(folder.path) as hold:
        outage.on = True
        until(lambda: outage.failed >= 3)
        with pytest.raises(RunError, match=r"s3://.*: cannot list lock: the line is cut\. What was finished is safe"):
            commit(stage(folder, may_commit=lambda: holds_lock(folder.path, hold.token)), ONE)
        outage.on = False
        beat = held(s3, folder)["beat"]
        until(lambda: held(s3, folder)["beat"] > beat)
        assert commit(stage(folder, may_commit=lambda: holds_lock(folder.path, hold.token)), ONE).counts.rows_in == 1
    assert held(s3, folder)["released"] is True


def test_an_outage_at_the_end_does_not_hide_what_went_wrong(
    folder: RunFolder, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(folder, monkeypatch)
    with pytest.raises(RunError, match="a worker has died four times"), lock_run(folder.path):
        outage.on = True
        raise RunError("a worker has died four times")
    assert held(s3, folder)["released"] is False  # it expires


def test_a_driver_that_was_taken_over_brings_nothing_to_the_store(
    folder: RunFolder, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SHARE_SECONDS", 0.1)
    assert folder.copy
    progress = folder.path / "progress.json"
    with lock_run(folder.path) as hold:
        progress.write_text('{"of": "the first"}')
        until(lambda: lies_there(s3, folder).get("progress.json") == b'{"of": "the first"}')
        hold.check()
        put_lease(folder)
        folder.copy.store.write("progress.json", b'{"of": "the second"}')
        progress.write_text('{"of": "the first, and later"}')
        until(lambda: hold.lost)
        with pytest.raises(RunError, match=r"another process \(process 7 on far\) has taken over s3://"):
            hold.check()
        time.sleep(5 * lock.SHARE_SECONDS)
    assert lies_there(s3, folder)["progress.json"] == b'{"of": "the second"}'


@pytest.mark.parametrize("when", ["before its manifest", "while it lists"])
def test_a_run_that_was_taken_over_removes_nothing_of_who_has_it_now(
    when: str, machines: Machines, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = machines.become("here")
    finish, names = runner._Finisher.finish, RunFolder.names

    def take_over() -> None:
        put_lease(folder)
        folder.write("score/of-the-second.parquet", b"rows")

    def finished(finisher: runner._Finisher, state: Any, *arguments: Any) -> None:
        if state.a_pass.key == "score" and when == "before its manifest":
            take_over()
        finish(finisher, state, *arguments)

    def listed(run: RunFolder, below: str) -> list[str]:
        if below == "score" and when == "while it lists":
            take_over()
        return names(run, below)

    monkeypatch.setattr(runner._Finisher, "finish", finished)
    monkeypatch.setattr(RunFolder, "names", listed)
    with pytest.raises(RunError, match=r"another process \(process 7 on far\) has taken over s3://"):
        mill("score", write_recipe(tmp_path), "--run-dir", folder.place, "--workers", "0")
    there = lies_there(s3, folder)
    assert there["score/of-the-second.parquet"] == b"rows"
    assert "score/examples-00000.json" in there
    assert ("score/manifest.json" in there) == (when == "while it lists")


def test_a_run_that_was_taken_over_removes_no_parts_of_who_has_it_now(
    machines: Machines, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = machines.become("here")

    class TakenOver(runner.PartsAtWork):
        def __init__(self, where: RunFolder) -> None:
            super().__init__(where)
            put_lease(folder)
            folder.write("read/parts/examples-00099.json", b"{}\n")

    monkeypatch.setattr(runner, "PartsAtWork", TakenOver)
    recipe = parse_recipe(recipe_of(run_dir=folder.place), "test")
    with pytest.raises(RunError, match="has taken over s3://"):
        run_quietly(recipe, [BY_KEY["read"]])
    assert "read/parts/examples-00099.json" in lies_there(s3, folder)


def test_a_driver_that_was_taken_over_ends_while_its_workers_are_at_work(machines: Machines) -> None:
    folder = machines.become("here")

    class AtWork:
        """Performs nothing, for so long that another process takes the run over."""

        size = 1

        def check(self, needs: Mapping[str, Needs]) -> None: ...

        def submit(self, order: Order) -> None: ...

        def wait(self, look: Callable[[], object]) -> tuple[Order, Record]:
            put_lease(folder)
            until(look)
            raise AssertionError("it looks, and is told nothing")

    recipe = parse_recipe(recipe_of(run_dir=folder.place), "test")
    with pytest.raises(RunError, match="has taken over s3://"):
        runner.run(recipe, [BY_KEY["read"]], nullcontext(AtWork()), Silent(), quiet, threads=False)  # type: ignore[arg-type]


def test_a_driver_that_was_taken_over_lets_no_audio_go(tmp_path: Path) -> None:
    recipe = parse_recipe(recipe_of(tts={"keep_audio": False}, export={"audio": False}, run_dir=str(tmp_path)), "test")
    audio = tmp_path / "tts" / "a-00000.parquet"
    audio.parent.mkdir()
    audio.write_bytes(b"of who has the run now")
    with lock_run(tmp_path) as hold:
        finisher = runner._Finisher(recipe, list(BY_KEY.values()), RunFolder(tmp_path), hold, Silent(), quiet)  # type: ignore[arg-type]
        order = Order(recipe, "quantize", Unit("a-00000"), {}, hold.token)
        record = Record("f", {}, Counts(), {}, {}, {})
        mine = (tmp_path / "lock").read_text()
        (tmp_path / "lock").write_text('{"token": "t", "pid": 7, "host": "far"}')  # a file system lost our lock
        with pytest.raises(RunError, match=r"another process \(process 7 on far\) has taken over"):
            finisher.take(order, record)
        assert audio.is_file()
        (tmp_path / "lock").write_text(mine)
    with lock_run(tmp_path) as hold:
        finisher = runner._Finisher(recipe, list(BY_KEY.values()), RunFolder(tmp_path), hold, Silent(), quiet)  # type: ignore[arg-type]
        finisher.take(order, record)
        assert not audio.exists()


SLEEPER = """
import os, signal
from pipelines.cli import main
from pipelines.folders import lock
from pipelines.running import runner
lock.BEAT_SECONDS, lock.LEASE_SECONDS = 0.1, 1.0
take = runner._Finisher.take
def takes(finisher, order, record):
    if order.key == "score" and order.unit.name == "examples-00002":
        os.kill(os.getpid(), signal.SIGSTOP)
    take(finisher, order, record)
runner._Finisher.take = takes
main()
"""


def test_a_driver_that_was_stopped_while_another_took_its_run_changes_nothing(
    machines: Machines, s3: S3Server, tmp_path: Path
) -> None:
    """As a laptop that sleeps: SIGSTOP, a whole other run of a changed recipe, SIGCONT."""
    there, recipe = machines.become("there"), write_recipe(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "asleep")}
    run = ["score", recipe, "--run-dir", there.place, "--workers", "0", "--set", "read.rows_per_shard=8"]
    asleep = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, *run, "--set", "limit=40"],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        os.waitid(os.P_PID, asleep.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        mill(*run, "--set", "limit=30")
        left = lies_there(s3, there)
        os.kill(asleep.pid, signal.SIGCONT)
        said = asleep.communicate(timeout=60)[1]
    finally:
        asleep.kill()
    assert asleep.returncode == 1, said
    assert "another process" in said
    assert "has taken over s3://" in said
    assert left.pop("lock/00000002.json")
    now = {name: data for name, data in lies_there(s3, there).items() if not name.startswith("lock/")}
    assert now == left


def test_a_second_look_lists_and_fetches_what_changed(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    there = machines.become("there")
    assert there.copy
    names = [f"tts/a-{number:05d}.json" for number in range(120)]  # two pages of a listing
    there.copy.store.each(there.copy.store.write, names, [b"{}\n"] * len(names))
    here = machines.become("here")
    assert here.copy
    brought: list[str] = []
    bring = here.copy._bring
    monkeypatch.setattr(here.copy, "_bring", lambda name, time: (brought.append(name), bring(name, time)))
    here.pull()
    assert len(brought) == 120
    brought.clear()
    here.pull()
    assert brought == []
    there.write("tts/a-00007.json", b'{"changed": 1}\n')
    there.remove(["tts/a-00008.json"])
    here.pull()
    assert brought == ["tts/a-00007.json"]
    assert not (here.path / "tts/a-00008.json").exists()
    assert (here.path / "tts/a-00007.json").read_bytes() == b'{"changed": 1}\n'
    there.keep_only("tts", ["tts/a-00007.json"], lambda: None)
    here.pull()
    assert [path.name for path in here.path.glob("tts/*")] == ["a-00007.json"]


def test_a_file_that_is_not_what_its_record_says_is_not_read(machines: Machines) -> None:
    there = machines.become("there")
    record = commit(stage(there), ONE)
    assert there.copy
    there.copy.store.write("tts/a-00000.parquet", b"rowz")
    reader = Staged(machines.become("here").path)
    with pytest.raises(RunError, match="its digest differs"):
        reader.file("tts/a-00000.parquet", record.files["tts/a-00000.parquet"]["digest"])
    assert not list((reader.folder.path / ".kept").rglob("*.parquet"))


def test_workers_that_fetch_one_file_at_once_see_it_whole(machines: Machines) -> None:
    large = os.urandom(1 << 20) * 4
    record = commit(stage(machines.become("there"), large), ONE)
    about = record.files["tts/a-00000.parquet"]
    here = machines.become("here")

    def read(_: int) -> str:
        return digest_file(Staged(here.path).file("tts/a-00000.parquet", about["digest"]))

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(read, range(12))) == {about["digest"]}


def test_what_a_machine_keeps_is_bounded_and_what_is_in_hand_stays(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(machine_copy.LIMIT, str(3 / 1024))  # 3 MiB
    names, digests = [f"tts/b-{n}.parquet" for n in range(8)], {}
    for number, name in enumerate(names):
        staged = Staged(folder.path)
        staged.bytes(name, bytes([number]) * (1 << 20))
        digests[name] = staged.commit(f"tts/b-{number}.json", {"n": number}, Counts(), {}, {}).files[name]["digest"]
    kept = lambda: {path.name for path in (folder.path / ".kept").glob("*/*")}  # noqa: E731
    assert len(kept()) == 3
    unit = Staged(folder.path)
    first = unit.file(names[0], digests[names[0]])
    other = Staged(folder.path)
    for name in names[1:]:
        other.file(name, digests[name])
        other.discard()
    assert first.is_file(), "a unit at work has it in hand"
    assert len(kept()) == 3
    unit.discard()
    for name in names[1:5]:
        other.file(name, digests[name])
        other.discard()
    assert not first.exists()
    monkeypatch.setenv(machine_copy.LIMIT, "many")
    with pytest.raises(UserError, match="SPEECHMILL_COPY_GIB=many"):
        machine_copy.limit_bytes()


def test_what_is_let_go_while_the_bound_is_looked_at_is_no_error(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(machine_copy.LIMIT, "0")
    assert folder.copy
    commit(stage(folder), ONE)
    pins = folder.copy.pins()
    pins.parent.mkdir(exist_ok=True)
    pins.symlink_to(folder.path / "gone")  # as one that was removed after it was listed: found, and not to be opened
    folder.copy.evict()
    assert not list((folder.path / ".kept").glob("*/*"))


def test_what_a_killed_process_left_in_the_copy_goes(folder: RunFolder) -> None:
    code = (
        "import os, sys; from pipelines.folders.run_folder import open_url; from pipelines.shards import Staged\n"
        f"staged = Staged(open_url({folder.place!r}).path); staged.bytes('tts/c.parquet', b'half')\n"
        "staged._pins.parent.mkdir(exist_ok=True); staged._pins.write_text('digest'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60)
    mine = stage(folder)
    assert len(list((folder.path / ".staged").iterdir())) == 3
    with lock_run(folder.path):
        assert len(list((folder.path / ".staged").iterdir())) == 2
        assert not list((folder.path / ".pins").iterdir())
    commit(mine, ONE)


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
