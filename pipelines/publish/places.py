"""What a recipe says of its maker's machine: left out where it is published, asked for where it is run again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import UserError
from pipelines.recipe import PLACES, Recipe
from pipelines.rules import Rule

FOLDER = "PATH/TO/THIS/FOLDER"  # on the card of a dataset that is not published
RUN_HERE = "speechmill run recipe.yaml"
HERE_ALWAYS = frozenset(["path", "base_url", "noise_folder"])  # the others are places only if they are absolute paths
DROPPED = frozenset(["run_dir", "root", "api_key_env"])  # where and how, of no use elsewhere


def published_recipe(recipe: Recipe, models: bool = True) -> str:
    """Return a recipe's YAML for everybody: null in the place of each file, folder or server of this machine.

    Args:
        models: also say where models come from, if that is the Hub; null if it is a path. The card does not: it is the
            same wherever the same models lay, and whatever a worker took of a GPU, which is published as a hint. Nor
            does it list the rows that were made again.
    """
    elsewhere = {"plan", "workers"} if models else {"plan", "workers", "repairs"}
    plain = recipe.model_dump(mode="json", exclude_defaults=True, exclude=elsewhere)
    if "rules" in plain.get("filter", {}):
        plain["filter"]["rules"] = [_rule(rule) for rule in recipe.filter.rules]
    for holder, key in list(_places(plain, PLACES)):
        if key in DROPPED or not holder[key] or (key not in HERE_ALWAYS and not models):
            del holder[key]
        elif key in HERE_ALWAYS or Path(str(holder[key])).is_absolute():
            holder[key] = None
    plain = {key: of for key, of in plain.items() if of != {}}  # a section of places alone
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def left_out(raw: dict[str, Any]) -> list[str]:
    """Return the options that a published recipe leaves to whoever runs it, as `--set` names them."""
    return [name for name, value in _named(raw, PLACES) if value is None]


def check_given(raw: dict[str, Any], where: str) -> None:
    """Raise UserError where a published recipe still lacks what its maker's machine had."""
    if missing := left_out(raw):
        sets = " ".join(f"--set {name}=..." for name in missing)
        raise UserError(f"{where} was made of files or servers that are not published. Name yours: {sets}")


def reproduce(recipe: Recipe) -> str:
    """Return the command that makes the dataset again."""
    sets = "".join(f" --set {name}=..." for name in left_out(yaml.safe_load(published_recipe(recipe, models=False))))
    return f"`{RUN_HERE}{sets}`"


def published_card(card: str, repo: str) -> str:
    """Return a card that names the repository it stands in."""
    return card.replace(FOLDER, repo).replace(RUN_HERE, f"speechmill run hf://{repo}")


def _rule(rule: Rule) -> str | dict[str, Any]:
    """Return a rule as recipes write it: speakable, or length: {below: 64}."""
    options = rule.model_dump(mode="json", exclude_defaults=True, exclude={"rule"})
    return {rule.rule: options} if options else rule.rule


def _places(plain: Any, places: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each mapping and key of a dumped recipe that PLACES names and that is there."""
    for inner, key, _ in _walk(plain, places, ""):
        yield inner, key


def _named(plain: Any, places: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name of each of them, as `--set` takes it, and its value."""
    for inner, key, name in _walk(plain, places, ""):
        yield name, inner[key]


def _walk(plain: Any, places: Any, before: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    if "__all__" in places:
        items = plain.items() if isinstance(plain, dict) else ((item["name"], item) for item in plain)
        for name, item in items:
            yield from _walk(item, places["__all__"], f"{before}{name}.")
        return
    for key in places if isinstance(places, dict) else sorted(places):
        if key not in plain:
            continue
        if isinstance(places, dict) and isinstance(places[key], dict | set):
            if plain[key] is not None:
                yield from _walk(plain[key], places[key], f"{before}{key}.")
        elif isinstance(plain[key], dict):  # speakers: a place each
            yield from ((plain[key], name, f"{before}{key}.{name}") for name in plain[key])
        else:
            yield plain, key, f"{before}{key}"
