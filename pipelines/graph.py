"""Passes over shards, their units of work, and which units are done, stale or to do.

A step (a verb of the CLI) is one pass, or a few: `filter` first looks for duplicates among all rows
(pass filter.duplicates), then goes through the shards (pass filter). Nothing is remembered but the
records that finished units leave beside their files.
"""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipelines.folders.record_index import NOTHING, Records, halved
from pipelines.folders.run_folder import RunFolder, folder_at
from pipelines.recipe import Recipe
from pipelines.shards import QUARANTINED, Counts, DigestOfMany, Record, Staged, digest_json, digest_strings, read_record

MANY = 1000  # inputs of a unit of a pass that reads many: of more, its record holds one digest
Shared = tuple[tuple[str, ...], Mapping[str, str], str]  # inputs of units that read the same; their digests; one of all
TOGETHER = "many_inputs"  # which stands in what it is made of in the place of "inputs"


class Shard(NamedTuple):  # like units a tuple: there are very many, and a frozen dataclass takes three times as long
    """A finished Parquet file of rows."""

    name: str  # "gsm8k-00003": the same in every step
    path: str  # from the run folder
    rows: int


class Unit(NamedTuple):
    """The work that is committed at once, named after what it makes."""

    name: str
    inputs: tuple[str, ...] = ()  # files it reads, from the run folder
    rows: int = 0  # rows it will read, for progress
    args: Mapping[str, Any] = NOTHING  # part of the fingerprint
    outside: Mapping[str, str] = NOTHING  # digests of what it reads elsewhere
    notes: Mapping[str, Any] = NOTHING  # for its work; changes nothing it makes


@dataclass(frozen=True)
class Job:
    """What a pass's function gets: the recipe, its unit, and where to stage files."""

    recipe: Recipe
    unit: Unit
    staged: Staged
    made_of: Mapping[str, Any]  # what the unit's fingerprint is the digest of
    digests: Mapping[str, str] = field(default_factory=dict)  # of the unit's inputs
    workers: int = 1  # that may do units of the pass at once, this one among them: they share what a server allows

    def file(self, name: str) -> Path:
        """Return the local path of a file that an earlier pass made, by its name from the run folder."""
        return self.staged.file(name, self.digests.get(name))

    def input(self, position: int = 0) -> Path:
        """Return the local path of one of the unit's inputs."""
        return self.file(self.unit.inputs[position])


@dataclass(frozen=True)
class Outcome:
    """What a unit did."""

    counts: Counts = field(default_factory=Counts)
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # committed before, in parts
    usage: Mapping[str, float] = field(default_factory=dict)  # what it cost beside time: requests, retries, money


class Outputs:
    """What the finished passes left: shards, facts, digests of files."""

    def __init__(self, looking: bool = False) -> None:
        self.looking = looking  # only a plan to look at: what is to do anyway needs no digest
        self._records: dict[str, dict[str, Record]] = {}
        self._digests: MutableMapping[str, str] = {}
        self._new: list[str] = []  # passes whose files are not among the digests yet: few ask
        self._shards: dict[str, list[Shard]] = {}  # of finished passes
        self._many: Shared | None = None  # as last asked for

    def of_one(self, keys: Iterable[str], key: str, unit: str, record: Record) -> Outputs:
        """Return what there would be if of some passes this unit of one of them were all that they left."""
        view = Outputs(self.looking)
        view._records = {**self._records, **{other: {} for other in keys}, key: {unit: record}}
        view._digests = ChainMap({name: about["digest"] for name, about in record.files.items()}, self._of_all())
        return view

    def add(self, key: str, records: Mapping[str, Record]) -> None:
        """Add a finished pass's records, in the order of its units."""
        self._records[key] = dict(records)
        self._shards.pop(key, None)
        self._many = None
        self._new.append(key)

    def has(self, key: str) -> bool:
        """Tell whether a pass is finished."""
        return key in self._records

    def records(self, key: str) -> Mapping[str, Record]:
        """Return a finished pass's records by unit."""
        return self._records[key]

    def all(self) -> Iterable[tuple[str, Mapping[str, Record]]]:
        """Return the finished passes with their records."""
        return self._records.items()

    def sources(self) -> Mapping[str, Record]:
        """Return the records of the sources, of texts and of speech, as far as they are read."""
        return {name: r for key in ("read", "read.speech") for name, r in self._records.get(key, {}).items()}

    def shards(self, *keys: str) -> list[Shard]:
        """Return the shards of rows that passes made, in order."""
        return [shard for key in keys for shard in self._shards_of(key)]

    def _shards_of(self, key: str) -> list[Shard]:
        if key not in self._shards:
            self._shards[key] = [
                Shard(name, f"{key}/{name}.parquet", rows)
                for record in self._records[key].values()
                for name, rows in record.facts.get("shards", {}).items()
            ]
        return self._shards[key]

    def facts(self, key: str) -> list[Mapping[str, Any]]:
        """Return the facts of a finished pass's units, in order."""
        return [record.facts for record in self._records[key].values()]

    def files(self, folder: str) -> list[str]:
        """Return the files below a folder that finished units own, from the run folder."""
        return [name for name in self._of_all() if name.startswith(f"{folder}/")]

    def digest(self, name: str) -> str:
        """Return the digest of a finished file."""
        return self._of_all()[name]

    def each(self, names: Iterable[str]) -> dict[str, str]:
        """Return the digests of finished files by name."""
        of = self.digest  # which a plan of what is not yet made tells in its own way
        return {name: of(name) for name in names}

    def _of_all(self) -> MutableMapping[str, str]:
        """Return the digests of all finished files."""
        if self._new:
            for key in self._new:
                for record in self._records[key].values():
                    for name, about in record.files.items():
                        self._digests[name] = about["digest"]
            self._new.clear()
        return self._digests

    def digests(self, names: tuple[str, ...]) -> Mapping[str, str]:
        """Return the digests of finished files by name; of many, one mapping for all units that read the same."""
        return self._of_many(names)[1] if len(names) > MANY else self.each(names)

    def together(self, names: tuple[str, ...]) -> str:
        """Return one digest of many finished files."""
        return self._of_many(names)[2]

    def _of_many(self, names: tuple[str, ...]) -> Shared:
        if self._many is None or self._many[0] is not names:
            digests = self.each(names)
            self._many = names, digests, together(digests)
        return self._many


def together(digests: Mapping[str, str | None]) -> str:
    """Return one digest of many files, of their names and their order too."""
    return f"{digest_strings(digests)} of {len(digests):,} files"


@dataclass(frozen=True)
class Pass:
    """One pass over shards: what it needs, what changes its result, its units and their work."""

    key: str  # "filter.duplicates"; also the name of its folder
    needs: tuple[str, ...]
    version: int  # raised when a change of the code changes what comes out
    options: Callable[[Recipe], Mapping[str, Any]]  # all that changes what comes out
    units: Callable[[Recipe, Outputs], list[Unit]]
    run: Callable[[Job], Outcome]
    one_to_one: bool = False  # shard k in, shard k out
    # The passes whose shard it takes as soon as that is made; it waits for the others that it needs to be finished.
    follows: Callable[[Recipe], tuple[str, ...]] = lambda recipe: ()
    last: bool = False  # it reads what all the others left
    in_parts: bool = False  # whether a unit commits its shards one by one, as `pipelines.parts` does
    reads_many: bool = False  # whether its units read the same files, or the files of all passes
    light: bool = False  # columns in, columns out: done in threads sooner than workers would start
    applies: Callable[[Recipe], bool] = lambda recipe: True  # whether a recipe has a use for it at all
    gpus: Callable[[Recipe], float] = lambda recipe: 0  # what each worker needs of a GPU
    most_workers: Callable[[Recipe], int | None] = lambda recipe: None  # that have something to do at once
    # The one-to-one passes behind it, up to the one that lets its shards be removed when that has made its own.
    spent_by: Callable[[Recipe], tuple[str, ...]] = lambda recipe: ()
    beside: tuple[str, ...] = ()  # one-to-one passes before it that take something of the shards that it may let go

    @property
    def step(self) -> str:
        """The verb that this pass belongs to."""
        return self.key.partition(".")[0]

    def record_name(self, unit: str) -> str:
        """Return the name of a unit's record, from the run folder."""
        return f"{self.key}/{unit}.json"

    def made_of(
        self, recipe: Recipe, unit: Unit, outputs: Outputs, options: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return all that a unit's result depends on; its digest is the unit's fingerprint.

        Args:
            options: what `options` returns, where it is known.
        """
        return {**self.of_all(recipe, options), **self.of_one(unit, outputs)}

    def of_all(self, recipe: Recipe, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what all units of the pass are made of; what each is made of begins with it."""
        return {
            "pass": self.key,
            "version": self.version,
            "options": dict(self.options(recipe) if options is None else options),
        }

    def of_one(self, unit: Unit, outputs: Outputs) -> dict[str, Any]:
        """Return what one unit is made of beside."""
        inputs: tuple[str, Any]
        if self.reads_many and len(unit.inputs) > MANY:
            inputs = TOGETHER, outputs.together(unit.inputs)
        else:
            inputs = "inputs", outputs.each(unit.inputs)
        return {"unit": unit.name, "args": dict(unit.args), inputs[0]: inputs[1], "outside": dict(unit.outside)}


def shard_units(*upstream: str) -> Callable[[Recipe, Outputs], list[Unit]]:
    """Return the units of a pass that makes one shard of each of another's, or of several others'."""
    return lambda recipe, outputs: [Unit(shard.name, (shard.path,), shard.rows) for shard in outputs.shards(*upstream)]


State = Literal["done", "stale", "to do"]


class UnitPlan(NamedTuple):
    """A unit with its state: what it would be made of, and why it is not done."""

    unit: Unit
    state: State
    why: str
    made_of: Mapping[str, Any]
    record: Record | None  # what its folder holds, current or not
    digests: Mapping[str, str] = NOTHING  # of its inputs, where it is to be done


@dataclass(frozen=True)
class PassPlan:
    """A pass with the states of its units; `waits_for` names what must be done before they are known."""

    key: str
    units: tuple[UnitPlan, ...]
    waits_for: str | None = None

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.waits_for is None and all(unit.state == "done" for unit in self.units)

    def count(self, state: State) -> int:
        """Return how many units are in a state."""
        return sum(unit.state == state for unit in self.units)


def plan_pass(recipe: Recipe, a_pass: Pass, outputs: Outputs) -> PassPlan:
    """Return the plan of a pass all of whose needs are finished (and added to `outputs`)."""
    units, of_all = a_pass.units(recipe, outputs), a_pass.of_all(recipe)
    digest, why = DigestOfMany(of_all), _Why()
    folder, records = folder_at(recipe.run_path), Records(recipe.run_path, a_pass.key)
    plans = []
    for unit in units:
        of_one = a_pass.of_one(unit, outputs)
        made_of = {**of_all, **of_one}
        fingerprint = digest(of_one, strings=not unit.args)
        record = records.read(unit.name, fingerprint, made_of)
        if record is not None and record.fingerprint == fingerprint and _is_whole(record, folder):
            plans.append(UnitPlan(unit, "done", "", made_of, record))
        else:
            state = _state(recipe, a_pass, record, made_of, fingerprint, why)
            plans.append(UnitPlan(unit, *state, made_of, record))
    return PassPlan(a_pass.key, tuple(plans))


def _is_whole(record: Record, folder: RunFolder) -> bool:
    return QUARANTINED not in record.facts and not folder.missing(record)


def plan_unit(recipe: Recipe, a_pass: Pass, unit: Unit, outputs: Outputs, options: Mapping[str, Any]) -> UnitPlan:
    """Return the plan of a unit whose inputs are there; `options` are those of the pass."""
    made_of = a_pass.made_of(recipe, unit, outputs, options)
    record = read_record(recipe.run_path / a_pass.record_name(unit.name))
    state, why = _state(recipe, a_pass, record, made_of, digest_json(made_of), _Why())
    digests = {} if state == "done" else outputs.digests(unit.inputs)
    return UnitPlan(unit, state, why, made_of, record, digests)


class _Why:
    """Says how what units of one pass are made of has changed: what they share is compared once."""

    def __init__(self) -> None:
        self._before: Mapping[str, Any] | None = None
        self._shared: list[str] = []

    def __call__(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
        (before, own), (now, own_now) = halved(old), halved(new)
        if before != self._before:
            self._before, self._shared = before, differences(before, _plain(now))
        of_own = [] if own == own_now else differences(own, _plain(own_now))
        return "; ".join([*self._shared, *of_own]) or "order of inputs changed"


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))  # a tuple and the list that a record holds of it are the same


def _state(
    recipe: Recipe, a_pass: Pass, record: Record | None, made_of: Mapping[str, Any], fingerprint: str, why: _Why
) -> tuple[State, str]:
    if record is None:
        return "to do", ""
    if record.fingerprint != fingerprint:
        return "stale", why(record.made_of, made_of)
    if reason := record.facts.get(QUARANTINED):
        return "stale", f"quarantined: {reason}"
    if gone := missing_files(recipe.run_path, record):
        shards = [f"{a_pass.key}/{name}.parquet" for name in record.facts.get("shards", {})]
        if not a_pass.spent_by(recipe) or set(gone) - set(shards):
            return "stale", f"{gone[0]} is missing or of another size"
        if (wanted := _wanted_again(recipe, a_pass, record)) is not None:
            return "stale", f"{gone[0]} was removed, and {wanted} needs it again"
    return "done", ""


def _wanted_again(recipe: Recipe, a_pass: Pass, record: Record) -> str | None:
    """Return which pass behind needs a unit's removed shard again; None where what they made of it is up to date."""
    from pipelines.steps import BY_KEY

    before, behind = a_pass.key, record
    for key in a_pass.spent_by(recipe):
        outputs = Outputs()
        outputs.add(before, {"": behind})
        (shard,) = outputs.shards(before)
        for reader in (key, *(name for name in BY_KEY[key].beside if BY_KEY[name].applies(recipe))):
            made_of = BY_KEY[reader].made_of(recipe, Unit(shard.name, (shard.path,)), outputs)
            found = read_record(recipe.run_path / BY_KEY[reader].record_name(shard.name))
            if found is None or found.fingerprint != digest_json(made_of) or QUARANTINED in found.facts:
                return reader
            if reader == key:
                before, behind = key, found
            elif missing_files(recipe.run_path, found):
                return reader
    return before if missing_files(recipe.run_path, behind) else None


def missing_files(run_dir: Path, record: Record) -> list[str]:
    """Return a record's files that are not there, or not as long as they were written."""
    return folder_at(run_dir).missing(record)


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Return what changed between two nested values, a line each: "options.below: 64 -> 32"."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = dict.fromkeys([*old, *new])
        nested = [differences(old.get(k), new.get(k), f"{place}.{k}" if place else str(k)) for k in keys]
        return [line for lines in nested for line in lines]
    if old == new:
        return []
    if place == "inputs":
        return []  # listed on one side alone
    if place == TOGETHER:
        return [f"inputs: {old or 'one by one'} -> {new or 'one by one'}"]
    if place.startswith(("inputs.", "outside.")):
        return [f"{place.partition('.')[2]} changed"]
    return [f"{place.removeprefix('options.')}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def plan_run(recipe: Recipe, passes: Iterable[Pass]) -> tuple[list[PassPlan], Outputs]:
    """Return the plan of every pass, from what lies in the run folder; runs nothing.

    Passes behind an unfinished one wait for it: what they hold is stale if it will change.
    """
    outputs = Outputs(looking=True)
    plans: dict[str, PassPlan] = {}
    for a_pass in passes:
        waits_for = next((need for need in a_pass.needs if not plans[need].done), None)
        if waits_for is None:
            plan = plan_pass(recipe, a_pass, outputs)
        else:
            plan = _waiting(recipe, a_pass, plans[waits_for])
        if plan.done:
            outputs.add(a_pass.key, {u.unit.name: u.record for u in plan.units if u.record})
        plans[a_pass.key] = plan
    return list(plans.values()), outputs


def _waiting(recipe: Recipe, a_pass: Pass, before: PassPlan) -> PassPlan:
    """Return the plan of a pass behind an unfinished one, as far as it can be told."""
    follows = a_pass.one_to_one and a_pass.applies(recipe)
    rows = {u.unit.name: u.unit.rows for u in before.units} if follows else {}
    folder = recipe.run_path / a_pass.key
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    names = [name.removesuffix(".json") for name in names if name.endswith(".json") and name != "manifest.json"]
    records = Records(recipe.run_path, a_pass.key)
    there = {name: records.read(name) for name in names}
    plans = []
    for name in dict.fromkeys([*rows, *there]):
        record = there.get(name)
        state: State = "to do" if record is None else "stale"
        size = rows.get(name) or (record.counts.rows_in if record else 0)
        why = f"follows {before.key}" if record else ""
        plans.append(UnitPlan(Unit(name, rows=size), state, why, {}, record))
    return PassPlan(a_pass.key, tuple(plans), waits_for=before.key)
