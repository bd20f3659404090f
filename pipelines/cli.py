"""The command speechmill: `run`, a verb for each step, and what tells about runs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import RunError, UserError

if TYPE_CHECKING:
    from pipelines.graph import PassPlan
    from pipelines.recipe import Recipe

EXAMPLES = """
\b
Examples:
  speechmill plan configs/quickstart.yaml             what would run, and why
  speechmill run configs/quickstart.yaml              everything, on all cores
  speechmill tts configs/quickstart.yaml --workers 1  speaking, and what it needs
  speechmill run configs/quickstart.yaml --set filter.rules.length.below=32
  speechmill status configs/quickstart.yaml           from another shell
  speechmill verify configs/quickstart.yaml           re-count every promise
"""

app = typer.Typer(
    help="Text instructions in, spoken-instruction training data out.\n" + EXAMPLES,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipePath = Annotated[Path, typer.Argument(help="a recipe, such as configs/quickstart.yaml", metavar="RECIPE")]
RunPath = Annotated[Path, typer.Argument(help="a recipe, or the folder of its run", metavar="RECIPE|RUN")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="change an option: --set tts.too_long=split (repeatable)", metavar="STEP.OPTION=VALUE"),
]
RunDir = Annotated[str | None, typer.Option(help="run folder, instead of the recipe's")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Ray workers, one CPU each (default: all CPUs); 0: no Ray, a plain loop")
]
Address = Annotated[str | None, typer.Option(help="of a running Ray cluster, such as auto or ray://head:10001")]


def _load(path: Path, changes: list[str], run_dir: str | None) -> Recipe:
    from pipelines.recipe import load_recipe

    recipe = load_recipe(path, changes, run_dir)
    if recipe.run_path.exists() and not recipe.run_path.is_dir():
        raise UserError(f"the run folder {recipe.run_path} is a file. Name a folder with --run-dir.")
    return recipe


def _load_run(path: Path, changes: list[str] | None = None, run_dir: str | None = None) -> Recipe:
    """Return the recipe of a run folder, or of a recipe file."""
    if not path.is_dir():
        return _load(path, changes or [], run_dir)
    if not (path / "recipe.json").is_file():
        raise UserError(f"{path} is no run folder: it has no recipe.json")
    return _load(path / "recipe.json", changes or [], str(path))


def _execute(recipe: Recipe, step: str | None, workers: int | None, address: str | None) -> None:
    from pipelines.funnel import measure, print_funnel
    from pipelines.graph import plan_run
    from pipelines.progress import Progress, make_console
    from pipelines.runner import executor, run
    from pipelines.steps import passes_for

    console = make_console()
    passes = passes_for(step)
    plans, _ = plan_run(recipe, passes)
    for line in _stale_lines(plans):
        console.print(line, markup=False)
    if all(plan.done for plan in plans):
        console.print("Nothing to do: everything is up to date.")
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _stop)
    outputs = run(recipe, passes, executor(workers, address), Progress(recipe.run_path, console))
    if step is None:
        console.print("")
        print_funnel(console, measure(outputs), recipe.run_path)
    else:
        console.print(f"{step} is done: {recipe.run_path / step}")


def _stop(signal_number: int, _frame: object) -> None:
    """End the command in good order: Ray is shut down, the lock is given back."""
    typer.echo("speechmill: stopped. What was finished is kept: the same command goes on from there.", err=True)
    sys.exit(128 + signal_number)


def _stale_lines(plans: list[PassPlan]) -> Iterator[str]:
    """Yield what will be made again, and why."""
    for plan in plans:
        if stale := plan.count("stale"):
            why = next(u.why for u in plan.units if u.state == "stale")
            yield f"{plan.key}: {stale} of {len(plan.units)} shards will be made again ({why})"


@app.command()
def run(
    recipe: RecipePath, set_: Changes = None, run_dir: RunDir = None, workers: Workers = None, address: Address = None
) -> None:
    """Run a whole recipe; what is done and still valid is not done again.

    Example: speechmill run configs/quickstart.yaml --workers 2
    """
    _execute(_load(recipe, set_ or [], run_dir), None, workers, address)


def _verb(step: str, about: str) -> None:
    """Add the verb of a step: it makes the step, and what it needs that is not there yet."""

    def command(
        recipe: RecipePath,
        set_: Changes = None,
        run_dir: RunDir = None,
        workers: Workers = None,
        address: Address = None,
    ) -> None:
        _execute(_load(recipe, set_ or [], run_dir), step, workers, address)

    example = f"Example: speechmill {step} configs/quickstart.yaml"
    command.__doc__ = f"{about}\n\nWhat it needs and is not there yet is made first.\n\n{example}"
    app.command(step)(command)


_verb("read", "Read the sources into shards of rows; broken records go to read/rejects.")
_verb("score", "Measure each row: BPE length, language, speakability, duplicate key.")
_verb("filter", "Keep the rows that can be spoken, by the recipe's rules.")
_verb("tts", "Speak every user message.")
_verb("quantize", "Turn the speech into sound tokens.")
_verb("noise", "Make inaudible rows with refusals.")
_verb("mix", "Choose the rows of each mixture, in exact shares.")
_verb("export", "Write the mixtures as Parquet with a dataset card.")


@app.command()
def plan(recipe: RecipePath, set_: Changes = None, run_dir: RunDir = None) -> None:
    """Say what `run` would do: per step shards done, stale, to do, rows, and why. Runs nothing.

    Example: speechmill plan configs/quickstart.yaml --set tts.too_long=split
    """
    from rich.table import Table

    from pipelines.graph import plan_run
    from pipelines.progress import make_console
    from pipelines.steps import PASSES

    loaded = _load(recipe, set_ or [], run_dir)
    plans, _ = plan_run(loaded, PASSES)
    table = Table("step", "shards", "done", "stale", "to do", "rows", "why", box=None, pad_edge=False)
    for p in plans:
        known = p.waits_for is None or p.units
        whys = list(dict.fromkeys(u.why for u in p.units if u.why))
        if p.waits_for and not p.count("stale"):
            whys.append(f"waits for {p.waits_for}")
        rows = sum(u.unit.rows for u in p.units)
        cells = (
            str(len(p.units)) if known else "?",
            str(p.count("done")),
            str(p.count("stale")),
            str(p.count("to do")) if known else "?",
        )
        table.add_row(p.key, *cells, f"{rows:,}" if rows else "?" if not p.done else "", "; ".join(whys[:3]))
    console = make_console()
    console.print(f"run folder: {loaded.run_path}", markup=False)
    console.print(table, markup=False)


@app.command()
def status(where: RunPath, run_dir: RunDir = None) -> None:
    """Say how far a run is, from any shell that sees its folder: progress, rows/s, time left per step.

    Example: speechmill status configs/quickstart.yaml
    """
    from pipelines.graph import plan_run
    from pipelines.lock import is_locked, lock_owner
    from pipelines.progress import describe, make_console, read_progress
    from pipelines.steps import PASSES

    recipe = _load_run(where, run_dir=run_dir)
    console = make_console()
    alive = is_locked(recipe.run_path)
    if alive and not where.is_dir():  # as it runs: with the --set of the other shell
        recipe = _load_run(recipe.run_path)
    console.print(
        f"{recipe.run_path}: {'running, ' + lock_owner(recipe.run_path) if alive else 'not running'}", markup=False
    )
    said = read_progress(recipe.run_path)
    plans, _ = plan_run(recipe, PASSES)
    for p in plans:
        now = said.get(p.key)
        if now and now["running"] and alive:
            console.print(f"{p.key:<18} now   {describe(now)}", markup=False)
        elif p.done:
            before = f"  {describe({**now, 'running': False})}" if now else ""
            console.print(f"{p.key:<18} done {before}", markup=False)
        else:
            console.print(
                f"{p.key:<18} {p.count('done')}/{len(p.units) or '?'} shards done, {p.count('stale')} stale",
                markup=False,
            )


@app.command()
def verify(where: RunPath, run_dir: RunDir = None) -> None:
    """Re-read what a finished run wrote and re-count every promise; exit code 1 if one is broken.

    Example: speechmill verify runs/quickstart
    """
    from pipelines.progress import make_console
    from pipelines.verify import SHOWN, open_run
    from pipelines.verify import verify as check

    console = make_console()
    promises = check(open_run(_load_run(where, run_dir=run_dir).run_path))
    for promise in promises:
        console.print(
            f"{'BROKEN' if promise.broken else 'kept  '}  {promise.name} ({promise.checked:,} checked)", markup=False
        )
        for line in promise.broken[:SHOWN]:
            console.print(f"        {line}", markup=False)
    broken = sum(bool(promise.broken) for promise in promises)
    if broken:
        raise RunError(f"{broken} of {len(promises)} promises are broken")
    console.print(f"all {len(promises)} promises are kept")


@app.command("fit-codebook")
def fit_codebook(
    out: Annotated[Path, typer.Option(help="the safetensors file to write")],
    audio: Annotated[
        list[Path] | None, typer.Argument(help="audio files and folders; none: the shipped codebook again")
    ] = None,
    seed: Annotated[int, typer.Option(help="of k-means and the order of batches")] = 0,
) -> None:
    """Fit a mel512 codebook on any audio (at least 205 s); use it as quantize.model.

    Example: speechmill fit-codebook recordings/ --out mine.safetensors
    """
    from pipelines.fit import fit

    codebook = fit(audio or [], out, seed)
    seconds = int(codebook.usage.sum()) / 25
    typer.echo(f"{out}: {len(codebook.rows)} codes, perplexity {codebook.perplexity:.1f}, fitted on {seconds:.0f} s")


@app.command()
def steps(name: Annotated[str | None, typer.Argument(help="one section alone, such as tts")] = None) -> None:
    """Print the reference of recipes: every step and rule with its options.

    Example: speechmill steps tts
    """
    from pipelines.options import nearest
    from pipelines.reference import SECTIONS, reference

    if name is not None and name not in SECTIONS:
        raise UserError(f"no section {name!r}; {nearest(name, list(SECTIONS))}")
    for line in reference(name):
        typer.echo(line)


def main() -> None:
    """Run the command; exit with 0 done, 1 the run failed, 2 the user's mistake."""
    try:
        app(standalone_mode=True)
    except UserError as error:
        typer.echo(f"speechmill: {error}", err=True)
        sys.exit(2)
    except RunError as error:
        typer.echo(f"speechmill: {error}", err=True)
        sys.exit(1)
