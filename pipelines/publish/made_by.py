"""Which recipe made the dataset that lies in a run folder, and which rows are missing from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from pipelines.errors import UserError
from pipelines.graph import differences
from pipelines.publish.files import unfinished
from pipelines.recipe import Recipe, load_recipe
from pipelines.running.quarantine import GIVES_UP
from pipelines.shards import QUARANTINED, read_record

SHOWN = 10


def recipe_that_made(asked: Recipe) -> Recipe:
    """Return the recipe that made a run's dataset, as its folder has it.

    Raises UserError where the run is not finished, or the recipe that is asked for, or that of a run that has begun
    since, is another one: its licences, its seed would be told of data that it did not make.
    """
    path = asked.run_path / "recipe.json"
    card = read_record(asked.run_path / "export.card" / "README.json")
    if card is None or not path.is_file():
        raise unfinished(asked.run_place)
    made = load_recipe(path, run_dir=asked.run_place)
    for recipe in (asked, made):
        options = {"recipe": json.loads(json.dumps(recipe.without_places()))}
        then, now = _by_name(card.made_of["options"]), _by_name(options)
        if changed := [*differences(then, now), *_reordered(then, now)]:
            lines = "".join(f"\n  {line.removeprefix('recipe.')}" for line in changed[:SHOWN])
            raise UserError(
                f"the dataset in {asked.run_place} was not made by this recipe, which differs:{lines}\n"
                "Run it to its end, then publish; or publish the run folder, if it is that of another recipe."
            )
    return made


def _by_name(value: Any) -> Any:
    """Return nested values with lists of named things as mappings, so that a difference says of which it is."""
    if isinstance(value, Mapping):
        return {key: _by_name(inner) for key, inner in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, Mapping) and "name" in item for item in value):
        return {item["name"]: _by_name(item) for item in value}
    return value


def _reordered(old: Any, new: Any, place: str = "") -> list[str]:
    """Return where what stands in both of two nested values has another order, a line each: no difference tells it."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return []
    then, now = [key for key in old if key in new], [key for key in new if key in old]
    here = [f"{place}: in the order {', '.join(then)} -> {', '.join(now)}"] if then != now else []
    nested = [_reordered(old[key], new[key], f"{place}.{key}" if place else key) for key in then]
    return [*here, *(line for lines in nested for line in lines)]


def quarantined_rows(run_dir: Path) -> dict[str, int]:
    """Return the shards whose rows were rejected because they killed their workers: "tts examples-00003" -> rows."""
    found: dict[str, int] = {}
    for key in GIVES_UP:
        manifest, reason = run_dir / key / "manifest.json", f"{key}.{QUARANTINED}"
        units = orjson.loads(manifest.read_bytes())["units"] if manifest.is_file() else {}
        found |= {f"{key} {name}": u["rejected"][reason] for name, u in units.items() if reason in u["rejected"]}
    return found
