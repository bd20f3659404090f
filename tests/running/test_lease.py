"""One driver has a run in an object store: who takes it, who is alive, and what one does that has lost it."""

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
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import RunError, UserError
from pipelines.folders import lock
from pipelines.folders.lock import holds_lock, is_locked, lock_owner, lock_run
from pipelines.folders.run_folder import RunFolder
from pipelines.graph import Unit
from pipelines.recipe import parse_recipe
from pipelines.running import runner
from pipelines.running.orders import Needs, Order
from pipelines.shards import Counts, Record, to_json
from pipelines.steps import BY_KEY
from tests.conftest import ROOT, recipe_of, write_recipe
from tests.pipelines.in_process import Silent, mill, quiet, run_quietly
from tests.running.in_store import ONE, Machines, commit, lies_there, stage, until
from tests.running.s3_server import S3Server

A_DAY_AGO = 86_400


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

        def check(self, sure: Mapping[str, Needs], perhaps: Mapping[str, Needs]) -> None: ...

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
