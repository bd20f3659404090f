"""Commands in forks of a process that has loaded the libraries: each a process of its own, and none loads torch again.

`python -m tests.forked` is that process. A line of its standard input is a command, as JSON; the answer is its
status, once it has ended. The process ends when its standard input does.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
# What a run loads for 3 seconds. None of ours; nor polars, whose threads a fork would lack.
LIBRARIES = ("torch", "datasets", "openai", "matplotlib.pyplot", "ray", "jinja2", "rich", "soundfile")


class Forks:
    """Runs commands in forks of one process, which starts with the first of them and has its environment."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None
        self._environment: dict[str, str] = {}

    def run(
        self, arguments: list[str], cwd: Path, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m pipelines` with arguments, to its end. Raises subprocess.TimeoutExpired.

        Libraries look at the environment as they are loaded: for another one they are loaded again.
        """
        environment = {name: value for name, value in environment.items() if name != "PYTEST_CURRENT_TEST"}
        if self._server is None or environment != self._environment:
            self.end()
            self._server, self._environment = _start(environment), environment
        server, self._server = self._server, None  # until the command has ended
        assert server.stdin
        assert server.stdout
        try:
            with TemporaryDirectory() as folder:
                said, complained = Path(folder, "stdout"), Path(folder, "stderr")
                order = {"arguments": arguments, "cwd": str(cwd), "stdout": str(said), "stderr": str(complained)}
                server.stdin.write(json.dumps(order) + "\n")
                if not select([server.stdout], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(arguments, timeout)
                code = os.waitstatus_to_exitcode(int(server.stdout.readline()))
                self._server = server
                return subprocess.CompletedProcess(arguments, code, said.read_text(), complained.read_text())
        finally:
            if self._server is not server:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()

    def end(self) -> None:
        """End the process, if there is one."""
        if self._server is not None:
            self._server.communicate()
            self._server = None


def _start(environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.forked"],
        cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        start_new_session=True,
    )  # fmt: skip


FORKS = Forks()
atexit.register(FORKS.end)


def serve() -> None:
    """Load the libraries, then fork for each command; the fork is the command."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # a collection in a fork would copy all of it
    while line := sys.stdin.readline():
        order = json.loads(line)
        if (pid := os.fork()) == 0:
            become(order["arguments"], order["cwd"], (os.devnull, order["stdout"], order["stderr"]))
            return
        print(os.waitpid(pid, 0)[1], flush=True)


def become(arguments: list[str], cwd: str, files: tuple[str, str, str]) -> None:
    """Do as `python -m pipelines` in a folder, with files as standard input, output and error."""
    for number, name in enumerate(files):
        file = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.argv = ["pipelines", *arguments]
    runpy.run_module("pipelines", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve()
