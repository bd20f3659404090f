"""What a pool knows of a cluster: its nodes, how to start and end workers on them, what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pipelines.recipe import Recipe
from pipelines.running.room import Kind, Room
from pipelines.running.waiting import Task
from pipelines.shards import Record


@dataclass(frozen=True)
class Node:
    """A node that is alive: its name for people, and all that it has."""

    name: str
    room: Room


@dataclass(frozen=True)
class Ready:
    """A worker has started, on a node (by its id)."""

    worker: str
    pid: int
    node: str


@dataclass(frozen=True)
class Done:
    """A worker has done a unit."""

    worker: str
    record: Record


@dataclass(frozen=True)
class Died:
    """A worker is no more.

    alone: its process died; else its node went, or the way to it
    log:   the last lines that it wrote, where they can be read here
    """

    worker: str
    alone: bool
    why: str
    log: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """A worker's work ends the run."""

    worker: str
    error: BaseException


Event = Ready | Done | Died | Failed


class Fleet(Protocol):
    """What starts and ends workers. Nothing of it waits, but `next`."""

    def now(self) -> float:
        """Return the time, in seconds of some clock."""

    def start(self, worker: str, kind: Kind, recipe: Recipe) -> None:
        """Start a worker, as soon as there is room for it; then it is Ready, or has Died."""

    def perform(self, worker: str, task: Task) -> None:
        """Let a worker do a unit, or reject its rows; then it is Done, or has Died or Failed."""

    def end(self, worker: str) -> None:
        """End a worker at once, whatever it does. One that is dead already is well."""

    def nodes(self) -> Mapping[str, Node]:
        """Return the nodes that are alive, by id."""

    def free_cpus(self) -> float:
        """Return the CPUs that no job holds."""

    def next(self, seconds: float) -> Event | None:
        """Return what happened next; None where nothing does within some seconds."""
