"""What a machine keeps of a run in an object store: what changed is brought, and shards within a bound."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.errors import RunError, UserError
from pipelines.folders import machine_copy
from pipelines.folders.lock import lock_run
from pipelines.folders.run_folder import RunFolder
from pipelines.shards import Counts, Staged, digest_file
from tests.conftest import ROOT
from tests.running.in_store import ONE, Machines, commit, stage


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
