"""Which units can be done when: on passes that do nothing, in any order of their ends."""

from __future__ import annotations

import random
from collections.abc import Mapping
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


class Run:
    """Takes what can be done in an order drawn from a seed, and notes what happened."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.finished: dict[str, list[str]] = {}
        self.done: list[tuple[str, str]] = []
        self._draw = random.Random(seed)
        self.schedule = Schedule(recipe_in(folder), passes(), self._finish)
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
