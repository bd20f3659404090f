"""A run as a Ray job: the code goes along in the working directory, nothing is installed but the environment."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, assert_done, content, speechmill, write_recipe

pytestmark = pytest.mark.long

PACKAGES = ("pipelines", "filters", "answers", "tts", "quantize", "noise", "examples")
needs_job_server = pytest.mark.skipif(
    importlib.util.find_spec("aiohttp_cors") is None,
    reason="Ray's job server is not installed: pip install -c constraints.txt '.[cluster]'",
)


def free_ports(count: int) -> list[str]:
    """Return ports that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def ray(*arguments: str | Path) -> list[str]:
    """Return the command line of Ray's own command."""
    return [sys.executable, "-m", "ray.scripts.scripts", *map(str, arguments)]


def descendants(pid: int) -> list[int]:
    """Return the process ids below a process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, above = [], [pid]
    while above:
        below = [child for child, parent in parents.items() if parent in above]
        found += below
        above = below
    return found


@dataclass(frozen=True)
class JobServer:
    """A Ray head on 127.0.0.1 to which jobs can be submitted.

    gcs:     where drivers join it
    session: the folder of its sessions; short, since sockets lie in it
    env:     of whoever asks it: where its token lies
    """

    address: str
    gcs: str
    session: Path
    env: dict[str, str]

    def submit(self, *arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Submit a job and wait for its end."""
        return subprocess.run(
            ray("job", "submit", f"--address={self.address}", "--log-style=record", *arguments),
            cwd=cwd, env=self.env, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def job_server() -> Iterator[JobServer]:
    """A Ray head with its job server; it and all that it started is ended by process id."""
    session = Path(tempfile.mkdtemp(prefix="ray-job-"))
    (session / "token").write_text("5f" * 32)
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(session / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    gcs, dashboard, client, agent = free_ports(4)
    with (session / "head.log").open("w") as log:
        head = subprocess.Popen(
            ray(
                *("start", "--head", "--block", "--num-cpus=2", "--object-store-memory=100000000"),
                *(f"--port={gcs}", f"--temp-dir={session}", f"--ray-client-server-port={client}"),
                *("--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={agent}"),
                *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
            ),
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_port(int(dashboard), head, session / "head.log")
        yield JobServer(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", session, env)
    finally:
        below = descendants(head.pid)
        head.terminate()
        head.wait(30)
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(session)


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a process listens at a port."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(log.read_text())


@needs_job_server
def test_a_submitted_job_makes_the_bytes_of_a_local_run(job_server: JobServer, finished: Path, tmp_path: Path) -> None:
    """The checkout goes along without what .gitignore names; driver and workers run its code."""
    checkout, imported = tmp_path / "checkout", tmp_path / "imported"
    imported.mkdir()
    for package in PACKAGES:
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", checkout)
    for ignored in (".venv", "runs"):
        (checkout / ignored).mkdir()
        (checkout / ignored / "large").write_bytes(b"0" * 1000)
    with (checkout / "pipelines" / "steps" / "__init__.py").open("a") as file:  # each process tells where its code lies
        file.write(f"\nimport os, pathlib\n(pathlib.Path({str(imported)!r}) / str(os.getpid())).write_text(__file__)\n")
    (checkout / "recipe.yaml").write_text(write_recipe(tmp_path, report=True, root=".").read_text())
    run = tmp_path / "run"
    assert_done(
        job_server.submit(
            *("--working-dir=.", "--", "python", "-m", "pipelines", "run", "recipe.yaml"),
            cwd=checkout,
        )
    )
    assert content(run) == content(finished / "run")
    (package,) = (job_server.session / "session_latest/runtime_resources/working_dir_files").glob("*/")
    places = {file.name: Path(file.read_text()) for file in imported.iterdir()}
    assert len(places) > 1, "the driver and a worker at least"
    assert {place.parents[2].resolve() for place in places.values()} == {package.resolve()}
    assert {path.name for path in package.iterdir()} == {*PACKAGES, ".gitignore", "recipe.yaml"}


@needs_job_server
def test_a_job_with_a_mistake_ends_badly_and_says_why(job_server: JobServer, tmp_path: Path) -> None:
    mistake = ("run", write_recipe(tmp_path), "--address", "auto", "--set", "tts.engine=nobody")
    submitted = job_server.submit("--working-dir=pipelines", "--", "python", "-m", "pipelines", *mistake)
    assert submitted.returncode != 0
    assert "tts.engine" in submitted.stdout + submitted.stderr
    assert not (tmp_path / "run" / "read").exists()


@needs_job_server
def test_who_knows_of_no_token_is_told_of_it(
    job_server: JobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself only says, for 20 s, that it did not connect."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    result = speechmill("run", write_recipe(tmp_path), "--address", job_server.gcs)
    assert result.returncode == 2
    assert f"--address {job_server.gcs}: no Ray cluster answers" in result.stderr
    assert "asks for a token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH" in result.stderr


@needs_job_server
@pytest.mark.parametrize(("code", "good"), [(2, False), (3, True)])
def test_a_rayjob_that_ends_with_quarantined_shards_is_not_given_again(
    code: int, good: bool, job_server: JobServer
) -> None:
    """The entrypoint of examples/cluster, as KubeRay submits it: as text of a shell script."""
    entrypoint = yaml.safe_load((ROOT / "examples/cluster/rayjob.yaml").read_text())["spec"]["entrypoint"]
    ends = re.sub(r"'python .* \|\| ", f"'(exit {code}) || ", entrypoint)
    assert ends != entrypoint
    submit = shlex.join(ray("job", "submit", f"--address={job_server.address}", "--log-style=record"))
    script = f"{submit} -- {ends} ;"
    env = job_server.env
    result = subprocess.run(["bash", "-ce", script], env=env, capture_output=True, text=True, timeout=200, check=False)
    assert (result.returncode == 0) is good, result.stdout + result.stderr
