"""Which units can be done when: on passes that do nothing, in any order of their ends."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.graph import Job, Outcome, Outputs, Pass, Unit, shard_units
from pipelines.recipe import Recipe, parse_recipe
from pipelines.running.schedule import PassAtWork, Schedule
from pipelines.shards import Counts, Record, digest_json, to_json
from tests.conftest import recipe_of

SHARDS = 5


def nothing(job: Job) -> Outcome:
    raise AssertionError("no unit is performed here")


def a_pass(key: str, needs: tuple[str, ...], units: Any, **more: Any) -> Pass:
    return Pass(key=key, needs=needs, version=1, options=lambda recipe: {}, units=units, run=nothing, **more)


def sources(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    return [Unit("a"), Unit("b")]


def whole(*keys: str) -> Any:
    return lambda recipe, outputs: [Unit("all", tuple(s.path for s in outputs.shards(*keys)))]


def passes() -> list[Pass]:
    """Return a graph with all there is: shard by shard, beside, not applying, over all, last."""
    return [
        a_pass("read", (), sources),
        a_pass("score", ("read",), shard_units("read"), one_to_one=True, follows=lambda recipe: ("read",)),
        a_pass("rewrite", ("score",), shard_units("score"), follows=lambda recipe: ("score",), applies=lambda _: False),
        a_pass("index", (), lambda recipe, outputs: [Unit("index")]),
        a_pass("hits", ("score", "rewrite", "index"), shard_units("score"), follows=lambda recipe: ("score",)),
        a_pass("duplicates", ("score", "rewrite"), whole("score")),
        a_pass("filter", ("score", "hits", "duplicates"), shard_units("score"), one_to_one=True),
        a_pass("tts", ("filter",), shard_units("filter"), follows=lambda recipe: ("filter",)),
        a_pass("keep", ("tts",), shard_units("tts"), follows=lambda recipe: ("tts",)),
        a_pass("quantize", ("tts",), shard_units("tts"), follows=lambda recipe: ("tts",), beside=("keep",)),
        a_pass("mix", ("quantize",), whole("quantize")),
        a_pass("card", ("mix",), whole("mix"), last=True),
    ]


def recipe_in(folder: Path) -> Recipe:
    return parse_recipe(recipe_of(run_dir=str(folder)), "test")


def record_of(key: str, unit: str, made_of: Mapping[str, Any]) -> Record:
    """Return the record of a unit: a source has several shards, any other unit has one."""
    names = [f"{unit}-{number}" for number in range(SHARDS)] if key == "read" else [unit]
    files = {f"{key}/{name}.parquet": {"digest": digest_json([key, name]), "bytes": 0} for name in names}
    return Record(digest_json(made_of), made_of, Counts(1, 1), files, {"shards": dict.fromkeys(names, 1)}, {})


def part_of(source: str, number: int, made_of: Mapping[str, Any]) -> Record:
    """Return the record of one of a source's parts, which has one of its shards."""
    whole, name = record_of("read", source, made_of), f"{source}-{number}"
    files = {path: about for path, about in whole.files.items() if path == f"read/{name}.parquet"}
    return replace(whole, files=files, facts={"shards": {name: 1}})


class Run:
    """Takes what can be done in an order drawn from a seed, and notes what happened."""

    def __init__(self, folder: Path, seed: int = 0, graph: Sequence[Pass] | None = None) -> None:
        self.finished: dict[str, list[str]] = {}
        self.done: list[tuple[str, str]] = []
        self._draw = random.Random(seed)
        self.schedule = Schedule(recipe_in(folder), graph or passes(), self._finish)
        self.waiting = [(state.a_pass.key, planned) for state, planned in self.schedule.ready()]

    def _finish(self, state: PassAtWork, records: dict[str, Record], outputs: Outputs) -> None:
        self.finished[state.a_pass.key] = list(records)
        assert outputs.has(state.a_pass.key)

    def step(self) -> tuple[str, str, Record]:
        """End one of the units that can be done."""
        key, planned = self.waiting.pop(self._draw.randrange(len(self.waiting)))
        return self.end(key, planned.unit.name, record_of(key, planned.unit.name, planned.made_of))

    def end(self, key: str, unit: str, record: Record) -> tuple[str, str, Record]:
        self.schedule.done(key, unit, record)
        self.done.append((key, unit))
        self.waiting += [(state.a_pass.key, planned) for state, planned in self.schedule.ready()]
        return key, unit, record

    def take(self, key: str, unit: str) -> None:
        """End one unit, which must be among those that can be done."""
        (found,) = [one for one in self.waiting if (one[0], one[1].unit.name) == (key, unit)]
        self.waiting.remove(found)
        self.end(key, unit, record_of(key, unit, found[1].made_of))

    def part(self, source: str, number: int) -> None:
        """Commit the next part of a source that is being read."""
        (found,) = [planned for key, planned in self.waiting if (key, planned.unit.name) == ("read", source)]
        self.schedule.part("read", source, part_of(source, number, found.made_of))
        self.waiting += [(state.a_pass.key, planned) for state, planned in self.schedule.ready()]

    def can(self) -> set[tuple[str, str]]:
        return {(key, planned.unit.name) for key, planned in self.waiting}


def write(folder: Path, key: str, unit: str, record: Record) -> None:
    """Write what a unit leaves."""
    for name in record.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    about = {**vars(record), "counts": vars(record.counts)}
    (folder / key / f"{unit}.json").write_bytes(to_json(about))


SHARD_NAMES = [f"{source}-{number}" for source in "ab" for number in range(SHARDS)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_whatever_ends_first_each_unit_is_done_once_and_listed_in_the_plans_order(
    seed: int, tmp_path_factory: Any
) -> None:
    run = Run(tmp_path_factory.mktemp("run"), seed)
    while run.waiting:
        run.step()
    assert len(run.done) == len(set(run.done))
    assert run.finished == {
        **dict.fromkeys(("score", "hits", "filter", "tts", "keep", "quantize"), SHARD_NAMES),
        **{"read": ["a", "b"], "index": ["index"], "rewrite": []},
        **{key: ["all"] for key in ("duplicates", "mix", "card")},
    }
    assert list(run.finished)[-1] == "card"
    for shard in SHARD_NAMES:  # what is beside a unit ends before it
        assert run.done.index(("keep", shard)) < run.done.index(("quantize", shard))


def test_a_shard_goes_on_while_others_are_still_made(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.can() == {("read", "a"), ("read", "b"), ("index", "index")}
    run.take("read", "a")
    assert ("score", "a-0") in run.can()
    run.take("score", "a-0")
    assert ("hits", "a-0") not in run.can()  # the index is waited for whole
    run.take("index", "index")
    assert ("hits", "a-0") in run.can()
    assert not any(key == "duplicates" for key, _ in run.can())  # and so is every score
    while not any(key == "tts" for key, _ in run.can()):
        run.step()
    run.take("tts", "b-3")
    assert ("keep", "b-3") in run.can()
    assert ("quantize", "b-3") not in run.can()
    run.take("keep", "b-3")
    assert ("quantize", "b-3") in run.can()
    assert "tts" not in run.finished


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_parts_of_sources_change_nothing_but_when_what_follows_begins(seed: int, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("run")
    undisturbed, run, draw = Run(folder), Run(folder, seed), random.Random(seed)
    committed = {"a": 0, "b": 0}
    while run.waiting:
        reading = [unit for key, unit in run.can() if key == "read" and committed[unit] < SHARDS]
        if reading and draw.random() < 0.7:
            source = draw.choice(sorted(reading))
            run.part(source, committed[source])
            committed[source] += 1
        else:
            run.step()
    while undisturbed.waiting:
        undisturbed.step()
    assert sorted(run.done) == sorted(undisturbed.done)
    assert run.finished == undisturbed.finished
    assert {state.a_pass.key: (state.units, state.rows) for state in run.schedule.passes} == {
        state.a_pass.key: (state.units, state.rows) for state in undisturbed.schedule.passes
    }


def test_a_part_goes_on_while_its_source_is_still_read(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.part("a", 0)
    run.part("a", 1)
    assert {unit for key, unit in run.can() if key == "score"} == {"a-0", "a-1"}
    run.take("score", "a-0")
    run.take("index", "index")
    assert ("hits", "a-0") in run.can()
    states = {state.a_pass.key: state for state in run.schedule.passes}
    assert (states["read"].made, states["score"].units, states["score"].whole) == ({}, 2, False)
    run.take("read", "a")
    assert sorted(unit for key, unit in run.can() if key == "score") == ["a-1", "a-2", "a-3", "a-4"]
    assert "read" not in run.finished


def test_what_begins_late_takes_the_parts_that_are_there(tmp_path: Path) -> None:
    """hits, if it followed the sources themselves: it begins when the index is made."""
    graph = passes()
    position = [each.key for each in graph].index("hits")
    graph[position] = a_pass("hits", ("read", "index"), shard_units("read"), follows=lambda recipe: ("read",))
    run = Run(tmp_path, graph=graph)
    run.part("a", 0)
    assert not any(key == "hits" for key, _ in run.can())
    run.take("index", "index")
    assert {unit for key, unit in run.can() if key == "hits"} == {"a-0"}
    run.part("a", 1)
    run.take("read", "a")
    assert sorted(unit for key, unit in run.can() if key == "hits") == [f"a-{number}" for number in range(SHARDS)]


def test_what_an_earlier_run_made_of_a_part_is_not_done_again(tmp_path: Path) -> None:
    first = Run(tmp_path)
    first.part("a", 0)
    (planned,) = [planned for key, planned in first.waiting if key == "score"]
    write(tmp_path, "score", "a-0", record_of("score", "a-0", planned.made_of))
    again = Run(tmp_path)
    again.part("a", 0)
    assert not any(key == "score" for key, _ in again.can())
    again.take("index", "index")
    assert ("hits", "a-0") in again.can()


def test_what_an_earlier_run_finished_is_not_done_again(tmp_path: Path) -> None:
    first = Run(tmp_path, seed=1)
    while len(first.done) < 30:
        write(tmp_path, *first.step())
    again = Run(tmp_path, seed=2)
    states = {state.a_pass.key: state for state in again.schedule.passes}
    assert sum(state.before for state in states.values()) == 30
    while again.waiting:
        again.step()
    assert set(again.done).isdisjoint(first.done)
    assert again.finished["card"] == ["all"]
    assert again.finished["quantize"] == SHARD_NAMES


def test_what_is_done_waits_too_for_what_takes_something_of_its_shard_before(tmp_path: Path) -> None:
    """Else the shard would be let go before that has been taken."""
    first = Run(tmp_path, seed=1)
    while first.waiting:
        write(tmp_path, *first.step())
    for record in (tmp_path / "keep").glob("*.json"):
        record.unlink()
    again = Run(tmp_path, seed=2)
    assert again.can() == {("keep", shard) for shard in SHARD_NAMES}
    assert "quantize" not in again.finished
    while again.waiting:
        again.step()
    assert {key for key, _ in again.done} == {"keep"}
    assert again.finished["quantize"] == SHARD_NAMES
