"""Which recipe made a dataset: what differs is told, and so is the order of what has names."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.publish.made_by import recipe_that_made
from pipelines.recipe import parse_recipe
from pipelines.shards import Counts, Record, to_json
from tests.conftest import recipe_of


@pytest.mark.parametrize(
    ("turn", "line"),
    [
        (lambda raw: raw["sources"].reverse(), "  sources: in the order examples, broken -> broken, examples\n"),
        (
            lambda raw: raw["mix"].update(mixtures=dict(reversed(raw["mix"]["mixtures"].items()))),
            "  mix.mixtures: in the order stage2, stage3 -> stage3, stage2\n",
        ),
    ],
    ids=["sources", "mixtures"],
)
def test_a_recipe_in_another_order_did_not_make_the_data(
    turn: Callable[[dict[str, Any]], None], line: str, tmp_path: Path
) -> None:
    """The card is of the order: names of files, tables, the fingerprint."""
    raw = {**recipe_of(), "run_dir": str(tmp_path)}
    made = parse_recipe(raw, "a test")
    made_of = {"options": {"recipe": made.without_places()}}
    (tmp_path / "export.card").mkdir()
    (tmp_path / "export.card/README.json").write_bytes(to_json(asdict(Record("", made_of, Counts(), {}, {}, {}))))
    (tmp_path / "recipe.json").write_text(json.dumps(made.model_dump(mode="json")))
    assert recipe_that_made(made).without_places() == made.without_places()
    turn(raw)
    with pytest.raises(UserError, match="was not made by this recipe") as caught:
        recipe_that_made(parse_recipe(raw, "a test"))
    assert line in str(caught.value)
