"""Rows that were made again: what `speechmill repair` notes beside a run, and a recipe may have in itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from pipelines.errors import UserError
from pipelines.options import Options

FILE = "repairs.json"  # in the run folder


class RepairedRow(Options):
    """One row that is made again."""

    id: str = Field(min_length=1, description="of the row, or of one of its readings: <id>/1")
    source: str = Field(description="of its text")
    row: int = Field(ge=0, description="its position among the rows that `read` kept of the source: finds its shard")
    tokens: tuple[int, ...] = Field(
        (), description="sound tokens of its turns before the first repair: lengths of noise are drawn from them"
    )


class Repair(Options):
    """Rows that are spoken by another voice, or with another seed than the run's."""

    where: str = Field(description="what named the rows; told, and not asked again")
    voice: str | None = Field(None, description="who speaks them; none: the voice that they had")
    seed: int | None = Field(None, ge=0, description="of what their speech draws, but for the voice; none: as before")
    rows: tuple[RepairedRow, ...] = Field(min_length=1, description="{id, source, row, tokens}")

    @model_validator(mode="after")
    def _changes_something(self) -> Repair:
        if self.voice is None and self.seed is None:
            raise ValueError("a repair has a voice or a seed: with neither it would make the same again")
        return self


def changes_of(repairs: Iterable[Repair]) -> dict[str, dict[str, Any]]:
    """Return row id -> {voice, seed}, as far as they are given: of several repairs of a row the last says each."""
    changes: dict[str, dict[str, Any]] = {}
    for repair in repairs:
        given = repair.model_dump(include={"voice", "seed"}, exclude_none=True)
        for row in repair.rows:
            changes[row.id] = {**changes.get(row.id, {}), **given}
    return changes


def changes_by_shard(repairs: Iterable[Repair], rows_per_shard: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Return shard -> row id -> {voice, seed}: whatever the size of shards, a row's is known without a look at it."""
    repairs = tuple(repairs)
    changes = changes_of(repairs)
    shards: dict[str, dict[str, dict[str, Any]]] = {}
    for repair in repairs:
        for row in repair.rows:
            shards.setdefault(f"{row.source}-{row.row // rows_per_shard:05d}", {})[row.id] = changes[row.id]
    return {shard: dict(sorted(rows.items())) for shard, rows in shards.items()}


def tokens_before(repairs: Iterable[Repair]) -> dict[str, list[int]]:
    """Return row id -> tokens of its turns before its first repair."""
    before: dict[str, list[int]] = {}
    for repair in repairs:
        for row in repair.rows:
            before.setdefault(row.id, list(row.tokens))
    return dict(sorted(before.items()))


def continued(own: tuple[Repair, ...], noted: tuple[Repair, ...]) -> tuple[Repair, ...]:
    """Return a recipe's repairs and those noted beside its run, in order.

    The recipe that a run has stored ends in those that were noted by then: they are not made twice.
    """
    most = min(len(own), len(noted))
    overlap = next(n for n in range(most, -1, -1) if own[len(own) - n :] == noted[:n])
    return own + noted[overlap:]


def noted_repairs(run_path: Path) -> list[dict[str, Any]]:
    """Return the repairs that are noted beside a run, as plain values. Raises UserError for a file that is none."""
    path = run_path / FILE
    try:
        return list(json.loads(path.read_bytes())["repairs"])
    except (FileNotFoundError, NotADirectoryError):  # a folder that is a file is told where it is made
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not what `speechmill repair` writes ({error!r}). Restore it, or remove it to do without its "
            "repairs"
        ) from error
