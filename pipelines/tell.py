"""The commands that tell: about recipes, runs and single texts. None of them changes anything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.arguments import Changes, RecipePath, RunDir, RunPath, load, load_run
from pipelines.errors import RunError, UserError

app = typer.Typer()


@app.command()
def plan(
    recipe: RecipePath,
    set_: Changes = None,
    run_dir: RunDir = None,
    rates: Annotated[
        str | None, typer.Option(help="estimate by them: a file of `calibrate`, or a finished run's folder")
    ] = None,
    rows: Annotated[
        list[str] | None, typer.Option(help="records of a source that nobody can count (repeatable)", metavar="NAME=N")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="cpus, gpus, memory_gib of each node, nodes; default: this machine", metavar="cpus=N,..."),
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="cpu_hour, gpu_hour, gib_month, in one currency", metavar="cpu_hour=X,...")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="the same as JSON")] = False,
) -> None:
    """Say what `run` would do: per step shards done, stale, to do, rows, and why; what that will take. Runs nothing.

    With rates it estimates rows, speech, tokens, disk, CPU- and GPU-hours, money and time, of the whole run and of what
    is to do. Rates are measured by `calibrate`, or read from a finished run.

    \b
    Examples:
      speechmill plan configs/quickstart.yaml --set tts.too_long=split
      speechmill plan configs/quickstart.yaml --rates runs/quickstart-calibration/rates.json
      speechmill plan recipe.yaml --cluster cpus=32,gpus=8,nodes=2 --price cpu_hour=0.04,gpu_hour=2
      speechmill plan configs/local_sets.yaml --rows hermes=1000000 --json
    """
    from pipelines.estimate.plan import tell_plan

    tell_plan(load(recipe, set_ or [], run_dir), rates, rows or [], cluster, price, json_)


@app.command()
def status(
    where: RunPath,
    run_dir: RunDir = None,
    watch: Annotated[bool, typer.Option("--watch", help="until the run ends; the exit code is the run's")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="seconds between two looks of --watch")] = 2,
    json_: Annotated[bool, typer.Option("--json", help="a JSON document a look, each on a line")] = False,
) -> None:
    """Say how a run goes, from any shell that sees its folder: shards, rows/s, time left, rejects, retries per step.

    It looks at what the run says, and plans nothing: what would be made again, `speechmill plan` says.

    \b
    Examples:
      speechmill status configs/quickstart.yaml
      speechmill status runs/quickstart --watch --every 10
      speechmill status runs/quickstart --json | jq '.passes | map_values(.rows_per_second)'
    """
    from pipelines.running.progress import make_console
    from pipelines.telling import status as told

    folder = told.run_at(str(where), run_dir)
    console = make_console()
    if watch:
        raise typer.Exit(told.watch(lambda: told.look(folder), console, every, json_))
    told.show(told.look(folder), console, json_)


@app.command()
def verify(where: RunPath, run_dir: RunDir = None) -> None:
    """Re-read what a finished run wrote and re-count every promise; exit code 1 if one is broken.

    Example: speechmill verify runs/quickstart
    """
    from pipelines.running.progress import make_console
    from pipelines.telling.verify import SHOWN, open_run
    from pipelines.telling.verify import verify as check

    console = make_console()
    promises = check(open_run(load_run(where, run_dir=run_dir, rows=True).run_path))
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


@app.command()
def funnel(where: RunPath, run_dir: RunDir = None) -> None:
    """Say what became of the rows, by rule and by source, with ten rejects of each reason.

    Example: speechmill funnel runs/quickstart
    """
    from pipelines.graph import plan_run
    from pipelines.running.progress import make_console
    from pipelines.steps import PASSES
    from pipelines.telling.funnel import measure
    from pipelines.telling.samples import print_explained

    recipe = load_run(where, run_dir=run_dir, rows=True)
    plans, outputs = plan_run(recipe, PASSES)
    if not outputs.has("read"):
        raise UserError(f"{recipe.run_place} has read nothing yet: run the recipe first")
    console = make_console()
    print_explained(console, measure(outputs), recipe.run_path)
    stale = [(plan.key, u.why) for plan in plans if plan.waits_for is None for u in plan.units if u.state == "stale"]
    for key, why in stale[:1]:
        console.print(f"\nnot shown: {key}, which the next run makes again ({why}), and what follows it", markup=False)


@app.command()
def report(
    where: RunPath,
    run_dir: RunDir = None,
    out: Annotated[Path | None, typer.Option(help="the HTML file (default: report.html in the run folder)")] = None,
) -> None:
    """Write the report of a run, finished or not: one HTML file to read, see and hear it. It loads nothing.

    \b
    Examples:
      speechmill report runs/quickstart
      speechmill report runs/quickstart --out quickstart.html
    """
    from pipelines.folders.run_folder import open_run_folder
    from pipelines.report.page import write_page
    from pipelines.report.seen import look_at
    from pipelines.shards import write_atomically

    seen = look_at(load_run(where, run_dir=run_dir, rows=True))
    if out and out.is_dir():
        raise UserError(f"--out {out} is a folder: name the file")
    page, path = write_page(seen), out or f"{seen.recipe.run_place}/report.html"
    try:
        if out:
            write_atomically(out, page)
        else:
            open_run_folder(seen.recipe).write("report.html", page)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    typer.echo(f"{path}: {len(page) / 1e6:.1f} MB")


@app.command()
def look(
    where: RunPath,
    run_dir: RunDir = None,
    task: Annotated[str | None, typer.Option(help="rows that serve it, such as transcription")] = None,
    rule: Annotated[str | None, typer.Option(help="rejects of it: length, speakable:url, read.bad_json")] = None,
    grep: Annotated[str | None, typer.Option(help="a regular expression in a message, whatever the case")] = None,
    source: Annotated[str | None, typer.Option(help="rows of it")] = None,
    voice: Annotated[str | None, typer.Option(help="rows that it speaks")] = None,
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, help="how many to show")] = 5,
    play: Annotated[bool, typer.Option("--play", help="play the first one")] = False,
) -> None:
    """Show rows of a run: those that were kept, as far as they are, or those that a rule rejected.

    \b
    Examples:
      speechmill look runs/quickstart --task transcription -n 3
      speechmill look runs/quickstart --rule speakable:url
      speechmill look runs/quickstart --grep "apple|pear" --play
    """
    from pipelines.report.seen import look_at
    from pipelines.running.progress import make_console
    from pipelines.telling.look import Wanted, check, find, show
    from pipelines.telling.look import play as play_row

    seen = look_at(load_run(where, run_dir=run_dir, rows=True))
    wanted = Wanted(task, rule, grep, source, voice)
    check(seen, wanted)
    found = find(seen, wanted, rows)
    if not found:
        raise UserError("no row is like that")
    console = make_console()
    for row in found:
        show(console, row)
    if play:
        play_row(seen, found[0])


@app.command()
def explain(
    where: RunPath,
    row_id: Annotated[
        str,
        typer.Argument(
            help="of a row, or its beginning; of a pair: ID/TASK; of a reading, an interrupted chat, a rung: "
            "ID/1, ID/inaudible, ID/ladder-2",
            metavar="ID",
        ),
    ],
    json_: Annotated[bool, typer.Option("--json", help="the same as JSON")] = False,
    run_dir: RunDir = None,
) -> None:
    """Tell a row's whole life: its source, rules, texts, speech, tokens, who made it, where it is, where it went.

    \b
    Examples:
      speechmill explain runs/quickstart a5727571
      speechmill explain runs/quickstart a5727571/transcription --json
    """
    import json

    from pipelines.telling.life import explain_row
    from pipelines.telling.life_told import told

    life = explain_row(load_run(where, run_dir=run_dir, rows=True), row_id)
    for line in [json.dumps(life, indent=1, ensure_ascii=False)] if json_ else told(life):
        typer.echo(line)


@app.command("explain-text")
def explain_text(
    text: Annotated[str, typer.Argument(help="a prompt, in quotes; - reads it from the standard input")],
    recipe: Annotated[Path | None, typer.Option(help="its rules and thresholds; default: every rule's own")] = None,
    answer: Annotated[str | None, typer.Option(help="the answer, for the rules that look at it")] = None,
    set_: Changes = None,
) -> None:
    """Print each rule's score and verdict for a text; exit code 0 whatever they are.

    Example: speechmill explain-text "Visit https://example.com and tell me what it says:"
    """
    from rich.table import Table

    from pipelines.running.progress import make_console
    from pipelines.telling.explain_text import ALL, explain

    if set_ and recipe is None:
        raise UserError("--set changes a recipe: name it with --recipe")
    options = load(recipe, set_ or [], None).filter if recipe else ALL
    table = Table("rule", "verdict", "score", box=None, pad_edge=False)
    for verdict in explain(sys.stdin.read() if text == "-" else text, answer, options):
        table.add_row(verdict.rule, "keep" if verdict.reject is None else "reject", verdict.score)
    make_console().print(table, markup=False)


@app.command()
def tokens(
    audio: Annotated[list[Path], typer.Argument(help="recordings: wav, flac, mp3, opus, ...", metavar="AUDIO...")],
    tokenizer: Annotated[str, typer.Option(help="as --compare takes it")] = "mel512",
    compare: Annotated[
        tuple[str, str] | None, typer.Option(help="two tokenizers instead: how far their tokens agree", metavar="A B")
    ] = None,
) -> None:
    """Print the sound tokens of recordings, or how far two tokenizers, or two precisions of one, agree.

    A tokenizer is NAME, or NAME:option=value,...: of the options of `quantize`, such as model, whisper, precision.

    \b
    Examples:
      speechmill tokens hello.wav
      speechmill tokens hello.wav --tokenizer whispervq:model=vq.model,whisper=medium.pt
      speechmill tokens a.wav b.flac --compare whispervq-v3-7lang whispervq-v3-7lang:precision=bf16
    """
    from pipelines.tokens import compared, listed, load

    if compare is None:
        lines = listed(audio, load(tokenizer))
    else:
        lines = compared(audio, load(compare[0]), load(compare[1]))
    for line in lines:
        typer.echo(line)
