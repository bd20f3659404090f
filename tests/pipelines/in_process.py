"""The command in this process: a test of many commands need not load torch for each."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from pathlib import Path

from pipelines.cli import app
from pipelines.graph import Outputs, Pass
from pipelines.recipe import Recipe
from pipelines.running.perform import InThisProcess
from pipelines.running.runner import run


def mill(*arguments: str | Path) -> None:
    """Run a command. Raises what it ends with."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        app([str(argument) for argument in arguments], standalone_mode=False)
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


class Silent:
    """A Progress that says nothing."""

    def expect(self, key: str, units: int, done: int, rows: int) -> None: ...
    def advance(self, key: str, unit: object, record: object) -> None: ...
    def finish(self, key: str) -> None: ...
    def end(self, code: int) -> None: ...


def quiet(kind: str, **fields: object) -> None:
    """Take an event and say nothing."""


def run_quietly(recipe: Recipe, passes: list[Pass]) -> Outputs:
    """Run passes by the plain loop."""
    return run(recipe, passes, nullcontext(InThisProcess(quiet)), Silent(), quiet, threads=False)  # type: ignore[arg-type]
