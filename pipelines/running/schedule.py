"""Which units can be done now: passes as a graph, several of them at work at once, some shard by shard.

A pass begins when what it needs is finished. One that follows another takes each shard as soon as that is made, so
that speaking and quantizing go on at the same time; where a unit makes many shards, part by part, as a source does that
is read, it takes those of each part. Whatever the order, a unit is made of the same files, and a manifest lists its
units in the order of the plan: the bytes do not tell how it went.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.graph import Outputs, Pass, Unit, UnitPlan, plan_unit
from pipelines.recipe import Recipe
from pipelines.shards import Record


@dataclass
class PassAtWork:
    """How far a pass is.

    made:   records of the units that are done, in any order
    parts:  of units at work, records of what they have committed so far
    before: how many of them an earlier run had done
    units:  how many are known so far; all of them when `whole`
    rows:   that the units to be done will read
    """

    a_pass: Pass
    follows: tuple[str, ...]
    waits: frozenset[str]  # passes that must be finished before it begins
    options: Mapping[str, Any] = field(default_factory=dict)
    begun: bool = False
    whole: bool = False
    finished: bool = False
    units: int = 0
    before: int = 0
    rows: int = 0
    made: dict[str, Record] = field(default_factory=dict)
    parts: dict[str, list[Record]] = field(default_factory=dict)


Finish = Callable[[PassAtWork, dict[str, Record], Outputs], None]


class Schedule:
    """Units in the order in which they can be done.

    Args:
        passes: in order; what one needs stands before it.
        finish: called when all units of a pass are done, with their records in the plan's order and what is finished,
            before what waits for the pass begins.
    """

    def __init__(self, recipe: Recipe, passes: Sequence[Pass], finish: Finish) -> None:
        self.outputs = Outputs()
        self._recipe = recipe
        self._finish = finish
        self._ready: list[tuple[PassAtWork, UnitPlan]] = []
        self._at_work: dict[str, PassAtWork] = {}
        self._beside: dict[str, list[PassAtWork]] = {}  # by pass: those whose units wait for the same unit of it
        self._held: dict[tuple[str, str], UnitPlan] = {}  # by pass and unit: they wait for that
        self._followers: dict[str, list[PassAtWork]] = {}
        for a_pass in passes:
            self._add(a_pass)
        for state in self._at_work.values():
            self._begin(state)

    @property
    def passes(self) -> Iterable[PassAtWork]:
        """Every pass, with how far it is."""
        return self._at_work.values()

    def ready(self) -> Iterator[tuple[PassAtWork, UnitPlan]]:
        """Yield the units that can be done now and were not yielded before."""
        while self._ready:
            yield self._ready.pop()

    def done(self, key: str, unit: str, record: Record) -> None:
        """Take in that a unit is done: others may follow."""
        state = self._at_work[key]
        self._made(state, unit, record)
        self._end(state)

    def part(self, key: str, unit: str, record: Record) -> None:
        """Take in that a unit at work has committed a part of its shards: what follows need not wait for the rest."""
        state, record = self._at_work[key], replace(record, made_of={})
        state.parts.setdefault(unit, []).append(record)
        self._follow_on(key, unit, record)

    def _add(self, a_pass: Pass) -> None:
        applies = a_pass.applies(self._recipe)
        follows = tuple(key for key in a_pass.follows(self._recipe) if key in self._at_work) if applies else ()
        needs = set(self._at_work) if a_pass.last else {key for key in a_pass.needs if key in self._at_work}
        state = PassAtWork(a_pass, follows, frozenset(needs - self._behind(follows)) if applies else frozenset())
        for key in follows:
            self._followers.setdefault(key, []).append(state)
        for key in self._beside_of(state) if applies else ():
            self._beside.setdefault(key, []).append(state)
        self._at_work[a_pass.key] = state

    def _behind(self, keys: Iterable[str]) -> set[str]:
        """Return passes and those whose shards they follow, and so on."""
        return {key for one in keys for key in (one, *self._behind(self._at_work[one].follows))}

    def _beside_of(self, state: PassAtWork) -> list[str]:
        """Return the passes that must have done a unit of the same name first."""
        beside = [key for key in state.a_pass.beside if key in self._at_work]
        return [key for key in beside if self._at_work[key].a_pass.applies(self._recipe)]

    def _begin(self, state: PassAtWork) -> None:
        """Begin a pass if all that it waits for is finished."""
        if state.begun or not all(self._at_work[key].finished for key in state.waits):
            return
        state.begun = True
        if state.a_pass.applies(self._recipe):
            state.options = state.a_pass.options(self._recipe)
            if state.follows:
                for key in state.follows:
                    followed = self._at_work[key]
                    parts = [(unit, part) for unit, records in followed.parts.items() for part in records]
                    for unit, record in [*followed.made.items(), *parts]:
                        self._follow(state, key, unit, record)
            else:
                self._plan(state, state.a_pass.units(self._recipe, self.outputs), self.outputs)
        self._end(state)

    def _follow(self, state: PassAtWork, key: str, unit: str, record: Record) -> None:
        """Plan the units of a pass that are made of one unit of a pass that it follows, or of a part of it."""
        view = self.outputs.of_one(state.follows, key, unit, record)
        self._plan(state, state.a_pass.units(self._recipe, view), view)

    def _plan(self, state: PassAtWork, units: Sequence[Unit], outputs: Outputs) -> None:
        state.units += len(units)  # before any is found done: the pass must not end too soon
        for unit in units:
            planned = plan_unit(self._recipe, state.a_pass, unit, outputs, state.options)
            if planned.state == "done":
                state.before += 1
            else:
                state.rows += unit.rows
            if self._is_due(state, unit.name):
                self._give(state, planned)
            else:
                self._held[state.a_pass.key, unit.name] = planned

    def _is_due(self, state: PassAtWork, unit: str) -> bool:
        """Tell whether what comes before a unit, beside its inputs, is done."""
        return all(unit in self._at_work[key].made for key in self._beside_of(state))

    def _give(self, state: PassAtWork, planned: UnitPlan) -> None:
        """Let a unit be done, unless it is."""
        if planned.state == "done" and planned.record is not None:
            self._made(state, planned.unit.name, planned.record)
        else:
            self._ready.append((state, planned))

    def _made(self, state: PassAtWork, unit: str, record: Record) -> None:
        key = state.a_pass.key
        state.made[unit] = replace(record, made_of={})  # the record on disk has it; for all units it would be much
        for other in self._beside.get(key, ()):
            held = (other.a_pass.key, unit)
            if held in self._held and self._is_due(other, unit):
                self._give(other, self._held.pop(held))
                self._end(other)
        self._follow_on(key, unit, _rest(state.made[unit], state.parts.pop(unit, ())))

    def _follow_on(self, key: str, unit: str, record: Record) -> None:
        """Plan what follows from one unit of a pass, or from a part of it."""
        for follower in self._followers.get(key, ()):
            if follower.begun:
                self._follow(follower, key, unit, record)

    def _end(self, state: PassAtWork) -> None:
        """Finish a pass if all its units are done, and begin what waited for it."""
        if state.finished or not state.begun or not all(self._at_work[key].finished for key in state.follows):
            return
        state.whole = True
        if len(state.made) < state.units:
            return
        records = {}
        if state.a_pass.applies(self._recipe):
            units = state.a_pass.units(self._recipe, self.outputs)  # in the plan's order
            records = {unit.name: state.made[unit.name] for unit in units}
        self.outputs.add(state.a_pass.key, records)
        self._finish(state, records, self.outputs)
        state.finished = True
        for follower in self._followers.get(state.a_pass.key, ()):
            self._end(follower)
        for other in self._at_work.values():
            if state.a_pass.key in other.waits:
                self._begin(other)


def _rest(whole: Record, parts: Sequence[Record]) -> Record:
    """Return the record of a unit without the shards of its parts."""
    taken = {name for part in parts for name in part.facts["shards"]}
    if not taken:
        return whole
    shards = whole.facts["shards"]
    assert taken <= shards.keys(), "a unit has the shards of all its parts"
    return replace(whole, facts={**whole.facts, "shards": {n: rows for n, rows in shards.items() if n not in taken}})
