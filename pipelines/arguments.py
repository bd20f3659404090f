"""Arguments that several commands take, and the recipe that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.recipe import Recipe

RecipePath = Annotated[
    Path, typer.Argument(help="a recipe, such as configs/quickstart.yaml, or hf://owner/name", metavar="RECIPE")
]
RunPath = Annotated[Path, typer.Argument(help="a recipe, or the folder of its run", metavar="RECIPE|RUN")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="change an option: --set tts.too_long=split (repeatable)", metavar="STEP.OPTION=VALUE"),
]
RunDir = Annotated[str | None, typer.Option(help="run folder, instead of the recipe's")]


def load(path: Path, changes: list[str], run_dir: str | None) -> Recipe:
    """Return the recipe in a file. Raises UserError where it, or its run folder, cannot be used."""
    from pipelines.recipe import load_recipe

    recipe = load_recipe(path, changes, run_dir)
    if recipe.run_path.exists() and not recipe.run_path.is_dir():
        raise UserError(f"the run folder {recipe.run_path} is a file. Name a folder with --run-dir.")
    return recipe


def load_run(path: Path, changes: list[str] | None = None, run_dir: str | None = None) -> Recipe:
    """Return the recipe of a run folder, or of a recipe file."""
    if not path.is_dir():
        return load(path, changes or [], run_dir)
    if not (path / "recipe.json").is_file():
        raise UserError(f"{path} is no run folder: it has no recipe.json")
    return load(path / "recipe.json", changes or [], str(path))
