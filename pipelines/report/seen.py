"""What lies in a run folder, finished or not: the passes, how far each is, the records of what is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.folders.run_folder import folder_at
from pipelines.graph import Outputs, Shard, plan_run
from pipelines.recipe import Recipe
from pipelines.shards import Record, read_record
from pipelines.steps import BY_KEY, PASSES
from pipelines.steps.augment import speech_shards
from pipelines.steps.noise_chats import SOUNDS
from pipelines.telling.funnel import Funnel, measure


@dataclass(frozen=True)
class State:
    """How far a pass is."""

    key: str
    units: int | None  # None: not known before what it needs is finished
    done: int
    why: str  # what it waits for, or why it will be made again; "" where it is finished or under way

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.units == self.done


@dataclass(frozen=True)
class Seen:
    """A run as its folder shows it. `outputs` holds the records that are done, of unfinished passes too."""

    recipe: Recipe
    outputs: Outputs
    states: Mapping[str, State]
    bring: Callable[[str], Path] | None = None  # of a run in a store, where not all of it was brought before

    def file(self, name: str) -> Path:
        """Return the local path of a file of the run."""
        return self.bring(name) if self.bring else self.folder / name

    def rejects(self, step: str) -> dict[str, Path]:
        """Return a step's files of rejects, by name."""
        names = [name for record in self.records(step).values() for name in record.files]
        return {name: self.file(name) for name in names if name.startswith(f"{step}/rejects/")}

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.recipe.run_path

    @property
    def finished(self) -> bool:
        """Whether the whole run is."""
        return all(state.finished for state in self.states.values())

    @cached_property
    def funnel(self) -> Funnel:
        """What became of the rows so far."""
        return measure(self.outputs)

    def records(self, key: str) -> Mapping[str, Record]:
        """Return a pass's records that are done, by unit."""
        return self.outputs.records(key) if self.outputs.has(key) else {}

    def missing(self, key: str) -> str:
        """Return what to say where a pass has left nothing yet, or not all; "" where it is finished."""
        state = self.states[key]
        if state.finished:
            return ""
        of = "" if state.units is None else f" of {state.units:,}"
        return f"{key} is not finished: {state.done:,}{of} units are done" + (f" ({state.why})" if state.why else "")

    def mixable(self) -> list[Shard]:
        """Return the shards that mixtures are made of, as far as they are there."""
        keys = [key for key in BY_KEY["mix"].needs if self.outputs.has(key)]
        shards = [s for s in self.outputs.shards(*keys) if not s.path.startswith(f"noise/{SOUNDS}")]
        return self._there(shards)

    def spoken(self) -> list[Shard]:
        """Return the shards of speech that are there: they may be removed once their tokens are safe."""
        keys = [key for key in speech_shards(self.recipe) if self.outputs.has(key)]
        return self._there(self.outputs.shards(*keys))

    def _there(self, shards: Iterable[Shard]) -> list[Shard]:
        folder = folder_at(self.folder)
        return [shard for shard in shards if folder.size(shard.path) is not None]

    def lock(self) -> dict[str, Any]:
        """Return the lockfile of the mixtures; empty where they are not chosen yet."""
        return dict(json.loads((self.folder / "mixture.json").read_bytes())) if self.outputs.has("mix") else {}


def look_at(recipe: Recipe) -> Seen:
    """Return what a run's folder shows, judged as `plan` does: what would be made again does not count.

    Raises UserError where nothing is read yet.
    """
    plans, outputs = plan_run(recipe, PASSES)
    states = {}
    for plan in plans:
        done = {u.unit.name: u.record for u in plan.units if u.state == "done" and u.record}
        if done and not outputs.has(plan.key):
            outputs.add(plan.key, done)
        whys = [f"waits for {plan.waits_for}"] if plan.waits_for else []
        whys += [f"to be made again: {u.why}" for u in plan.units if u.state == "stale" and not plan.waits_for][:1]
        units = None if plan.waits_for else len(plan.units)
        states[plan.key] = State(plan.key, units, len(done), "; ".join(whys))
    if not outputs.sources():
        raise UserError(f"{recipe.run_path} has read nothing yet: run the recipe first")
    return Seen(recipe, outputs, states)


def recorded(recipe: Recipe, bring: Callable[[str], Path]) -> Seen:
    """Return what the passes left that the card comes after: within a run, which has just written their manifests.

    Args:
        bring: returns the local path of a file that they left.
    """
    outputs, states = Outputs(), {}
    for key in BY_KEY:
        if key == "export.card":
            break
        manifest = recipe.run_path / key / "manifest.json"
        units = json.loads(manifest.read_bytes())["units"]
        records = {unit: read_record(manifest.parent / f"{unit}.json") for unit in units}
        done = {unit: record for unit, record in records.items() if record}
        outputs.add(key, done)
        states[key] = State(key, len(units), len(done), "")
    return Seen(recipe, outputs, states, bring)
