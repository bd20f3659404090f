"""A cluster that cannot be joined is said with the remedy; one that is full is waited for."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import ray

from pipelines.errors import UserError
from pipelines.recipe import load_recipe
from pipelines.running import runner
from pipelines.running.orders import Needs
from pipelines.running.perform import perform
from pipelines.running.ray_pool import ray_pool
from pipelines.running.schedule import Schedule
from pipelines.steps import passes_for
from pipelines.worker_options import GIB
from tests.conftest import ROOT, assert_done, speechmill, write_recipe
from tests.running.simulated import Told


def test_an_address_where_nothing_listens_is_said_at_once(tmp_path: Path) -> None:
    result = speechmill("run", write_recipe(tmp_path), "--address", "127.0.0.1:9")
    assert result.returncode == 2
    assert "--address 127.0.0.1:9: nothing answers there" in result.stderr


def test_a_token_that_is_not_here_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("HOME", str(tmp_path))  # a token may lie in the real one
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        result = speechmill("run", write_recipe(tmp_path), "--address", address)
    assert result.returncode == 2, result.stderr
    assert f"--address {address}: the cluster's token is not here" in result.stderr
    assert "RAY_AUTH_TOKEN_PATH" in result.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (  # after a minute's search for a raylet on this machine
            RuntimeError("No node info found matching attributes: '192.0.2.1' when trying to resolve node."),
            "No node info found matching attributes: '192.0.2.1' when trying to resolve node.). With HOST:PORT a "
            "driver must be on one of the cluster's nodes; from elsewhere use ray://HOST:10001, or `ray job submit`.",
        ),
        (  # what a busy head's client server says
            ConnectionError("Initialization failure from server:\nTraceback:\n  File\nRuntimeError: it failed.\n"),
            "--address auto: no Ray cluster answers (RuntimeError: it failed.). Start one",
        ),
    ],
)
def test_what_ray_raises_is_told_with_the_remedy(error: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(UserError) as caught, ray_pool(None, "auto", Told(), perform):
        pass
    assert said in str(caught.value)


def test_a_full_cluster_is_waited_for_and_workers_are_a_limit(tmp_path: Path) -> None:
    """A cluster whose CPUs another job holds for a while: the sums, and as many workers as there is room for then."""
    script = (
        "import ray, subprocess, sys, time\n"
        "head = ray.init(address='local', num_cpus=2, include_dashboard=False, log_to_driver=False)\n"
        "@ray.remote(num_cpus=1)\n"
        "class Hog:\n"
        "    def ready(self): return 1\n"
        "hogs = [Hog.remote(), Hog.remote()]\n"
        "ray.get([h.ready.remote() for h in hogs])\n"
        "time.sleep(1)\n"
        "run = subprocess.Popen([sys.executable, '-m', 'pipelines', 'run', sys.argv[1], '--workers', '100',"
        " '--address', head.address_info['address']])\n"
        "time.sleep(10)\n"
        "assert run.poll() is None, run.returncode\n"
        "list(map(ray.kill, hogs))\n"
        "sys.exit(run.wait())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(write_recipe(tmp_path))],
        cwd=ROOT, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert_done(result)
    assert " has 2 CPUs, of which 0 are free" in result.stdout


def test_what_never_fits_is_said_before_anything_is_done(tmp_path: Path) -> None:
    """The passes of this run are all looked at when the pool is up, not each when its first shard is due."""
    changes = {"tts": {"memory_gib": 9000}, "quantize": {"memory_gib": 8000}}
    result = speechmill("run", write_recipe(tmp_path, workers=changes), "--workers", "1")
    assert result.returncode == 2, result.stdout
    for key, gib in (("tts", 9000), ("quantize", 8000)):
        assert f"workers.{key}: a worker wants 1 CPU, {gib} GiB, all on one node" in result.stderr
    assert "tts.augment" not in result.stderr  # it does not apply
    assert not list((tmp_path / "run").glob("*/*.parquet"))


def test_what_is_done_or_may_have_nodes_to_come_need_not_fit(finished: Path, tmp_path: Path) -> None:
    workers = {"tts": {"memory_gib": 9000}, "mix": {"memory_gib": 2}, "export": {"memory_gib": 9000, "max": 2}}
    path = write_recipe(tmp_path, workers=workers, mix={"mixtures": {"other": {"parts": {"transcription": 100}}}})
    recipe = load_recipe(path, run_dir=str(finished / "run"))
    schedule = Schedule(recipe, passes_for(None), lambda state, records, outputs: None)
    sure, perhaps = runner._to_come(recipe, schedule.passes)
    assert sure == {"mix": Needs(memory_bytes=2 * GIB)}
    assert "tts" not in perhaps


def test_what_may_turn_out_to_be_done_need_not_fit(finished: Path, tmp_path: Path) -> None:
    """Spoken where there are GPUs, read again where there are none: whether there is more to say is not known yet."""
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    (run / "read" / "examples.json").unlink()
    (run / "quantize" / "manifest.json").unlink()  # it was never finished
    recipe = load_recipe(write_recipe(tmp_path, workers={"tts": {"memory_gib": 9000}}))
    schedule = Schedule(recipe, passes_for("quantize"), lambda state, records, outputs: None)
    sure, perhaps = runner._to_come(recipe, schedule.passes)
    assert {"read", "quantize"} <= sure.keys()
    assert perhaps["tts"] == Needs(memory_bytes=9000 * GIB)
