"""Units that read the same many files hold one digest of them: redone when one of the files changes, and only then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipelines import graph
from pipelines.graph import TOGETHER, Outputs, PassPlan, Unit, differences, plan_run
from pipelines.recipe import Recipe, load_recipe
from pipelines.shards import Counts, Record, read_record
from pipelines.steps import BY_KEY, PASSES
from pipelines.telling.verify import open_run, verify
from tests.conftest import content, write_recipe
from tests.pipelines.in_process import run_quietly


@pytest.fixture
def recipe(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A finished run whose output files read more rendered shards than a record lists."""
    shutil.copytree(finished / "run", tmp_path / "run")
    monkeypatch.setattr(graph, "MANY", 3)
    return load_recipe(write_recipe(tmp_path))


def plan_of(recipe: Recipe, key: str) -> PassPlan:
    return next(plan for plan in plan_run(recipe, PASSES)[0] if plan.key == key)


def rewrite(path: Path, digest: str) -> None:
    """Let a record say that its file has other bytes of the same size."""
    raw = json.loads(path.read_bytes())
    (name,) = raw["files"]
    raw["files"][name]["digest"] = digest
    path.write_text(json.dumps(raw))


def broken(recipe: Recipe) -> list[str]:
    promises = {promise.name: promise.broken for promise in verify(open_run(recipe.run_path))}
    return list(promises["every file was made of the files that lie there"])


def test_a_run_of_before_is_told_and_redone_to_the_same_bytes(recipe: Recipe) -> None:
    files = {name: digest for name, digest in content(recipe.run_path).items() if name.startswith("dataset/stage")}
    before = plan_of(recipe, "export")
    assert {unit.state for unit in before.units} == {"stale"}
    assert all(unit.why.startswith("inputs: one by one -> ") and len(unit.why) < 100 for unit in before.units)
    run_quietly(recipe, [a_pass for a_pass in PASSES if a_pass.key != "export.card"])
    assert plan_of(recipe, "export").done
    record = read_record(recipe.run_path / BY_KEY["export"].record_name(before.units[0].unit.name))
    assert record is not None
    assert "inputs" not in record.made_of
    assert record.made_of[TOGETHER].endswith(f" of {len(before.units[0].unit.inputs)} files")
    assert files == {n: digest for n, digest in content(recipe.run_path).items() if n.startswith("dataset/stage")}
    assert broken(recipe) == []


def test_each_input_counts_for_plan_and_for_verify(recipe: Recipe) -> None:
    run_quietly(recipe, [a_pass for a_pass in PASSES if a_pass.key != "export.card"])
    rendered = sorted((recipe.run_path / "export.render").glob("*.json"))
    rendered = [path for path in rendered if path.name != "manifest.json"]
    units = {unit.unit.name for unit in plan_of(recipe, "export").units}
    assert len(rendered) > 3
    for path in (rendered[0], rendered[len(rendered) // 2], rendered[-1]):
        was = path.read_bytes()
        rewrite(path, "0" * 32)
        plan = plan_of(recipe, "export")
        assert {unit.unit.name for unit in plan.units if unit.state == "stale"} == units
        assert {line.partition(" was made of other files than ")[0] for line in broken(recipe)} == {
            f"export/{name}" for name in units
        }
        path.write_bytes(was)
        assert plan_of(recipe, "export").done
    assert broken(recipe) == []


def outputs_of(digests: dict[str, str]) -> Outputs:
    outputs = Outputs()
    files = {name: {"digest": digest, "bytes": 1} for name, digest in digests.items()}
    outputs.add("export.render", {"all": Record("", {}, Counts(), files, {}, {})})
    return outputs


def test_names_digests_and_order_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MANY", 2)
    digests = {"a": "1", "b": "2", "c": "3"}
    unit = Unit("all", tuple(digests))
    made_of = BY_KEY["export"].of_one(unit, outputs_of(digests))
    assert made_of == BY_KEY["export"].of_one(unit, outputs_of(dict(reversed(digests.items()))))
    others = [
        BY_KEY["export"].of_one(unit, outputs_of({**digests, "b": "3"})),
        BY_KEY["export"].of_one(Unit("all", ("a", "c", "b")), outputs_of(digests)),
        BY_KEY["export"].of_one(Unit("all", ("a", "b", "d")), outputs_of({**digests, "d": "3"})),
    ]
    assert all(differences(made_of, other) for other in others)
    assert len({str(other[TOGETHER]) for other in [made_of, *others]}) == 4
    few = BY_KEY["export"].of_one(Unit("all", ("a", "b")), outputs_of(digests))
    assert few["inputs"] == {"a": "1", "b": "2"}
    alone = BY_KEY["filter.duplicates"].of_one(unit, outputs_of(digests))
    assert alone["inputs"] == digests


def test_a_digest_is_taken_anew_when_more_is_finished() -> None:
    names = tuple(f"f{n}" for n in range(graph.MANY + 1))
    outputs = outputs_of(dict.fromkeys(names, "1"))
    first = outputs.together(names)
    files = {"f7": {"digest": "2", "bytes": 1}}
    outputs.add("export", {"x": Record("", {}, Counts(), files, {}, {})})
    assert outputs.together(names) != first
    assert outputs.digests(names)["f7"] == "2"
