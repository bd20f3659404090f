"""A unit of work as a worker gets it, and what performs such orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipelines.graph import Unit
from pipelines.recipe import Recipe
from pipelines.shards import Record

LOOK_SECONDS = 0.2  # between two looks for Ctrl-C: polars, once imported, has it wait for the end of a wait without one


@dataclass(frozen=True)
class Needs:
    """What a worker needs of a machine."""

    cpus: float = 1
    gpus: float = 0
    memory_bytes: int = 0  # 0: not counted


@dataclass(frozen=True)
class Order:
    """One unit of work as a worker gets it.

    digests:  of the unit's inputs
    token:    of the lock, so that a worker of a dead driver commits nothing
    least:    workers that its pass keeps while there is work for it to come
    most:     workers that may do units of its pass at once; None: as many as there are
    workers:  that share what a server allows, where a pass asks one
    asks:     whether it asks a server: never more than `workers` at once then, and no unit by two of them
    priority: the highest first
    """

    recipe: Recipe
    key: str
    unit: Unit
    made_of: Mapping[str, object]
    token: str
    needs: Needs = Needs()
    least: int = 0
    most: int | None = None
    workers: int = 1
    asks: bool = False
    priority: int = 0
    digests: Mapping[str, str] = field(default_factory=dict)


class Tell(Protocol):
    """Takes an event, as `pipelines.running.events` says."""

    def __call__(self, kind: str, **fields: Any) -> None:
        """Take an event of a kind, with fields of plain values."""


def nothing() -> None:
    """Do nothing while an order is performed."""


class Executor(Protocol):
    """Performs orders of several passes, in any order. Tells shard_given and shard_done of each."""

    @property
    def size(self) -> int:
        """How many orders it performs at once, at most."""

    def check(self, sure: Mapping[str, Needs], perhaps: Mapping[str, Needs]) -> None:
        """Raise UserError where workers that will be wanted can never start, warn of those that may be wanted.

        Args:
            sure, perhaps: what workers need, by pass.
        """

    def submit(self, order: Order) -> None:
        """Take an order; return at once."""

    def wait(self, look: Callable[[], object] = nothing) -> tuple[Order, Record]:
        """Return an order that is done, with its record. Raises what ends the run.

        Args:
            look: called now and then while nothing is done; it may submit orders.
        """
