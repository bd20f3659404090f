"""The options of estimates: rates, the cluster, prices. None of them changes what a run makes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipelines.options import Options

PAIR_BYTES = 450.0  # of 3 s of speech, where nothing is known
OTHERS = "*"  # of rates: every source that is not named


def _for_all(value: Any) -> Any:
    """Take one number for that of every source."""
    return {OTHERS: value} if isinstance(value, int | float) else value


BySource = Annotated[dict[str, Annotated[float, Field(ge=0)]], BeforeValidator(_for_all)]
NONE: dict[str, float] = {OTHERS: 0.0}
ALL: dict[str, float] = {OTHERS: 1.0}


class Line(Options):
    """What grows with the rows of a unit: a fixed part, and so much for each row, a source's own where it has one."""

    unit: float = Field(0.0, ge=0, description="of each unit, however many rows it has")
    row: BySource = Field(NONE, description="for each row: a number, or {source: number}; * stands for the others")

    def of(self, source: str, rows: float) -> float:
        """Return the amount for a unit of a source.

        >>> Line(unit=2, row={"long": 3, "*": 1}).of("long", 10), Line(unit=2, row=0.5).of("any", 10)
        (32.0, 7.0)
        """
        return self.unit + rate(self.row, source) * rows


def rate(rates: dict[str, float], source: str) -> float:
    """Return a source's own rate, or that of the others."""
    return rates.get(source, rates.get(OTHERS, 0.0))


class PassRates(Options):
    """What one pass was found to take and to make."""

    version: int | None = Field(None, description="of the pass, as it was measured")
    options: dict[str, Any] | None = Field(None, description="of the pass, as it was measured: others are told")
    gpus: float = Field(0.0, ge=0, description="of each worker that was measured")
    units: int = Field(0, ge=0, description="that were measured")
    start_seconds: float = Field(0.0, ge=0, description="more that a worker's first unit takes: imports, models")
    seconds: Line = Field(Line(), description="of a worker")
    processor: Line | None = Field(None, description="seconds of processor; none: a worker's are all busy")
    processor_start: float | None = Field(None, ge=0, description="and of its start; none: all of that")
    kept: BySource = Field(ALL, description="rows that go on, for each row that comes")
    rejected: BySource = Field(NONE, description="rows that end here, for each row that comes")
    shards: bool = Field(True, description="whether the pass makes shards of rows")
    shard_bytes: Line = Field(Line(), description="of a shard, by the rows in it")
    other_bytes: Line = Field(Line(), description="of a unit's other files, by the rows that come")
    audio_seconds: BySource = Field(NONE, description="of speech, for each row that goes on")
    tokens: BySource = Field(NONE, description="sound tokens, for each row that goes on")
    usage: dict[str, float] = Field({}, description="requests, tokens, characters of servers, for each row that comes")
    facts: dict[str, Any] = Field({}, description="what the passes behind it go by")

    @property
    def busy(self) -> Line:
        """Return the seconds of processor."""
        return self.seconds if self.processor is None else self.processor

    @property
    def busy_start(self) -> float:
        """Return those of a worker's start."""
        return self.start_seconds if self.processor_start is None else self.processor_start


Classes = dict[str, int]  # "speech_instruction transcription": rows that may serve just these tasks


class Rates(Options):
    """What rows of a recipe were found to take: of `speechmill calibrate`, of a finished run, or a table by hand."""

    measured: str = Field("", description="on what, for people")
    run_seconds: float = Field(0.0, ge=0, description="of a run, beside its units: workers that start")
    passes: dict[str, PassRates] = Field({}, description="pass: its rates")
    rows: dict[str, int] = Field({}, description="source: rows of `classes`")
    classes: dict[str, dict[str, Classes]] = Field({}, description="source: who may take rows: tasks that they serve")
    pair_file_bytes: BySource = Field({OTHERS: PAIR_BYTES}, description="of a pair in its file, by mixture")


class Cluster(Options):
    """What work is to be done on: nodes of one kind."""

    cpus: int = Field(ge=1, description="of each node")
    gpus: int = Field(0, ge=0, description="of each node")
    nodes: int = Field(1, ge=1, description="how many")
    memory_gib: float = Field(0.0, ge=0, description="of each node, for workers (`ray status`); 0: not counted")


class Prices(Options):
    """What machines cost, in whatever currency; those of language models stand in `llms`."""

    cpu_hour: float = Field(0.0, ge=0, description="of one CPU for an hour")
    gpu_hour: float = Field(0.0, ge=0, description="of one GPU for an hour")
    gib_month: float = Field(0.0, ge=0, description="of a GiB (2^30 bytes) kept for a month")


class Planning(Options):
    """What `plan` estimates by: rates, a cluster, prices. They change nothing that a run makes."""

    rates: str | Rates | None = Field(
        None, description="a file of `calibrate`, a finished run's folder, or a table; none: <run folder>-calibration"
    )
    cluster: Cluster | None = Field(
        None, description="{cpus, gpus, memory_gib, nodes}: of each node; none: this machine"
    )
    prices: Prices = Field(Prices(), description="{cpu_hour, gpu_hour, gib_month}, in one currency")
