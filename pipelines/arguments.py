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


def load(path: Path, changes: list[str], run_dir: str | None, *, rows: bool = False) -> Recipe:
    """Return the recipe in a file; what is known of its run is brought to this machine, where it lies in a store.

    Args:
        rows: whether the command reads shards too, and not only JSON.
    Raises UserError where the recipe, or its run folder, cannot be used.
    """
    from pipelines.recipe import load_recipe

    recipe = load_recipe(path, changes, run_dir)
    if recipe.run_path.exists() and not recipe.run_path.is_dir():
        raise UserError(f"the run folder {recipe.run_path} is a file. Name a folder with --run-dir.")
    if recipe.run_url:
        from pipelines.folders.run_folder import open_run_folder

        open_run_folder(recipe).reach().pull(rows)
    return recipe


def load_run(path: Path, changes: list[str] | None = None, run_dir: str | None = None, *, rows: bool = False) -> Recipe:
    """Return the recipe of a run folder, or its URL, or of a recipe file; see `load`."""
    from pipelines.folders.places import folder_of, url_of
    from pipelines.folders.run_folder import folder_at, open_url

    url = url_of(str(path))
    if not url and not folder_of(str(path)).is_dir():
        return load(path, changes or [], run_dir, rows=rows)
    folder = open_url(url) if url else folder_at(folder_of(str(path)).absolute())
    folder.reach().bring("recipe.json")
    if not (folder.path / "recipe.json").is_file():
        raise UserError(f"{folder.place} is no run folder: it has no recipe.json")
    return load(folder.path / "recipe.json", changes or [], folder.place, rows=rows)
