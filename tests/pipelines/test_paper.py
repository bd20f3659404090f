"""Published counts stand beside ours, before a run and after it, and are no part of what is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.graph import plan_run
from pipelines.recipe import Recipe, parse_recipe
from pipelines.steps import PASSES, passes_for
from pipelines.telling.paper import compare
from tests.conftest import recipe_of
from tests.pipelines.in_process import run_quietly

LONG = "Please say the word again and again " * 6
ONE = [
    {"q": "What is the capital of the country of France?", "kind": "good"},
    {"q": "How do I bake a loaf of bread at home?", "kind": "good"},
    {"q": LONG, "kind": "good"},
    {"q": "Was ist die Hauptstadt von Frankreich, und wie viele Menschen wohnen dort?", "kind": "good"},
    {"q": "This one is dropped by where", "kind": "bad"},
]
TWO = [{"q": "Which planet is the largest of them all?"}, {"q": f"Once more: {LONG}"}, {"q": ""}]


def recipe(folder: Path, published: list[dict[str, Any]], counts: dict[str, int] | None) -> Recipe:
    for name, records in (("one", ONE), ("two", TWO)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    one = {"name": "one", "path": "one.jsonl", "prompt": "q", "where": {"kind": "good"}, "published": counts}
    two = {"name": "two", "path": "two.jsonl", "prompt": "q"}
    rules = ["length", "language", "duplicate"]
    changes = {"sources": [one, two], "filter": {"rules": [{"length": {"below": 30}}, *rules[1:]]}}
    places = {"root": str(folder), "run_dir": str(folder / "run")}
    return parse_recipe(recipe_of(read={"rows_per_shard": 2}, published=published, **places, **changes), "test")


STAGES: list[dict[str, Any]] = [
    {"after": "read", "rows": 60},
    {"after": "filter.speakable", "rows": 50},  # a rule that this recipe has not
    {"after": "filter.length", "rows": 40},
    {"after": "filter.length", "rows": 30, "sources": ["one"]},
    {"after": "filter.language", "rows": 20},
    {"after": "filter", "rows": 10, "sources": ["one", "two"]},
    {"after": "tts", "rows": 5, "sources": ["two"]},
]
SAID = [
    ("one: records", 100), ("one: read", 90),
    ("after read", 60), ("after filter.speakable", 50), ("after filter.length", 40), ("after filter.length (one)", 30),
    ("after filter.language", 20), ("after filter (2 of 2 sources)", 10), ("after tts (two)", 5),
]  # fmt: skip


def test_published_counts_beside_ours_before_and_after(tmp_path: Path) -> None:
    made = recipe(tmp_path, STAGES, {"rows_in": 100, "rows_kept": 90})

    def ours(passes: Any) -> list[int | None]:
        rows = compare(made, plan_run(made, passes)[0])
        assert [(row.stage, row.published) for row in rows] == SAID
        return [row.ours for row in rows]

    assert ours(PASSES) == [None] * 9
    for step, expected in [
        ("read", [5, 4, 6, None, None, None, None, None, None]),
        ("filter", [5, 4, 6, None, 4, 3, 3, 3, None]),
    ]:
        run_quietly(made, passes_for(step))
        assert ours(PASSES) == expected
    assert compare(made, plan_run(made, PASSES)[0])[0].cells() == ("one: records", "100", "5")
    (tmp_path / "one.jsonl").write_text(json.dumps(ONE[0]) + "\n")  # stale: of another source than today's
    assert ours(PASSES) == [None] * 9


def test_published_counts_are_no_part_of_what_is_made(tmp_path: Path) -> None:
    without = recipe(tmp_path, [], None)
    run_quietly(without, passes_for("filter"))
    given = recipe(tmp_path, STAGES, {"rows_in": 1_000})
    assert compare(without, plan_run(without, PASSES)[0]) == []
    assert all(plan.done for plan in plan_run(given, passes_for("filter"))[0])
    assert given.model_dump(mode="json") == without.model_dump(mode="json")


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"after": "filter.lenght", "rows": 1}, "there is no stage 'filter.lenght'; did you mean filter.length"),
        ({"after": "read", "rows": 1, "sources": ["won"]}, "there is no source 'won'; did you mean two or one"),
        ({"after": "read", "row": 1}, "published.0.row: unknown option; did you mean rows"),
    ],
)
def test_a_misspelt_stage_is_an_error(stage: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        recipe(tmp_path, [stage], None)
