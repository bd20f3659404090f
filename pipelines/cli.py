"""The command speechmill: `run`, a verb for each step, and what tells about runs."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines import tell
from pipelines.arguments import Changes, RecipePath, RunDir, RunPath, load, load_run
from pipelines.errors import Quarantined, RunError, UserError, exit_code
from tts import WITHOUT_AUDIO

if TYPE_CHECKING:
    from pipelines.graph import Outputs, PassPlan
    from pipelines.recipe import Recipe

EXAMPLES = """
\b
Examples:
  speechmill plan configs/quickstart.yaml             what would run, and why
  speechmill run configs/quickstart.yaml              everything, on all cores
  speechmill tts configs/quickstart.yaml --workers 1  speaking, and what it needs
  speechmill run configs/quickstart.yaml --set filter.rules.length.below=32
  speechmill status configs/quickstart.yaml           from another shell
  speechmill explain-text "What is 2^10?"             each rule's verdict on a text
  speechmill funnel runs/quickstart                   what was rejected, and why, with examples
  speechmill report runs/quickstart                   one HTML file: see and hear it all
  speechmill look runs/quickstart --rule speakable    rows in the terminal
  speechmill verify configs/quickstart.yaml           re-count every promise
  speechmill explain runs/quickstart a5727571         a row's whole life
  speechmill repair runs/quickstart --where "seconds > 20" --seed 7
  speechmill publish runs/quickstart --repo me/name   the dataset on the Hub
  speechmill tokens hello.wav                         the sound tokens of a recording
  speechmill extend-tokenizer qwen --out qwen-sound   sound tokens for a language model
  speechmill extract-speaker mara.flac --out mara.npy a voice from a recording
"""

app = typer.Typer(
    help="Text instructions in, spoken-instruction training data out.\n" + EXAMPLES,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Workers = Annotated[
    int | None, typer.Option(min=0, help="Ray workers, one CPU each (default: all CPUs); 0: no Ray, a plain loop")
]
Address = Annotated[str | None, typer.Option(help="of a running Ray cluster, such as auto or ray://head:10001")]


def _execute(recipe: Recipe, step: str | None, workers: int | None, address: str | None) -> Outputs:
    from pipelines.folders.run_folder import open_run_folder
    from pipelines.graph import plan_run
    from pipelines.running.events import Events
    from pipelines.running.progress import Progress, make_console
    from pipelines.running.runner import executor, quarantined, run
    from pipelines.steps import BY_KEY, passes_for
    from pipelines.telling.funnel import measure, print_funnel

    if step and not BY_KEY[step].applies(recipe):
        raise UserError(f"the recipe has no {step}: `speechmill steps {step}` says what it takes")
    console = make_console()
    passes = passes_for(step)
    _fetch_models(recipe, {a_pass.key for a_pass in passes})
    plans, _ = plan_run(recipe, passes)
    for line in _stale_lines(plans):
        console.print(line, markup=False)
    if all(plan.done for plan in plans):
        console.print("Nothing to do: everything is up to date.")
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _stop)
    folder = open_run_folder(recipe)
    events = Events(folder)
    execute = executor(workers, address, events, recipe.name)
    outputs = run(recipe, passes, execute, Progress(folder, console, events), events.tell, threads=workers != 0)
    if step is None:
        console.print("")
        print_funnel(console, measure(outputs), recipe.run_path)
    else:
        console.print(f"{step} is done: {recipe.run_place}/{step}")
    if shards := quarantined(outputs):
        named = ", ".join(shards[:5]) + (", ..." if len(shards) > 5 else "")
        raise Quarantined(
            f"all is done but for {len(shards)} shards that killed their worker each time ({named}): their rows are "
            "among the rejects. The same command tries them again."
        )
    return outputs


def _fetch_models(recipe: Recipe, keys: set[str]) -> None:
    """Fetch the models' files from the Hub, where they are not here yet: fingerprints hold their digest.

    Raises UserError for what is nowhere, recordings of noise among it.
    """
    from pipelines.steps.augment import check_noise

    engines = recipe.tts.engines if recipe.has_texts and "tts" in keys else ()
    if "tts.augment" in keys:
        check_noise(recipe)
    try:
        for engine in engines:
            recipe.tts.model_files(engine, download=True)
        if "quantize" in keys or not WITHOUT_AUDIO.isdisjoint(engines):
            recipe.quantize.local_files(download=True)
    except ValueError as error:
        raise UserError(f"{'quantize' if not engines else 'tts, quantize'}: {error}") from error


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
    _execute(load(recipe, set_ or [], run_dir), None, workers, address)


def _verb(step: str, about: str, of: str = "quickstart") -> None:
    """Add the verb of a step: it makes the step, and what it needs that is not there yet."""

    def command(
        recipe: RecipePath,
        set_: Changes = None,
        run_dir: RunDir = None,
        workers: Workers = None,
        address: Address = None,
    ) -> None:
        _execute(load(recipe, set_ or [], run_dir), step, workers, address)

    example = f"Example: speechmill {step} configs/{of}.yaml"
    command.__doc__ = f"{about}\n\nWhat it needs and is not there yet is made first.\n\n{example}"
    app.command(step)(command)


_verb("read", "Read the sources into shards of rows; broken records go to read/rejects.")
_verb("score", "Measure each row: BPE length, language, speakability, duplicate key.")
_verb("rewrite", "Put prompts that are almost speakable in words, by a language model.", "instruct_s2s")
_verb("filter", "Keep the rows that can be spoken, by the recipe's rules.")
_verb("answer", "Write the answers anew, by a language model: spoken, mended or its own.", "instruct_s2s")
_verb("tts", "Speak every user message.")
_verb("quantize", "Turn the speech into sound tokens.")
_verb("noise", "Make inaudible rows with refusals.")
_verb("mix", "Choose the rows of each mixture, in exact shares.")
_verb("export", "Write the mixtures as Parquet with a dataset card.")


@app.command()
def repair(
    where: RunPath,
    rows: Annotated[
        str, typer.Option("--where", help="SQL over the columns of rows and utterances", metavar="EXPRESSION")
    ],
    voice: Annotated[str | None, typer.Option(help="who speaks them instead")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="of what their speech draws, but for the voice, instead of the run's")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list the rows and their shards; make nothing")] = False,
    run_dir: RunDir = None,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """Speak only some rows again, with another seed or voice; everything else stays as it is, to the byte.

    Columns are those of docs/data.md, and `reject`. What was repaired is noted in the run folder (repairs.json): every
    later run of the recipe there keeps it.

    \b
    Examples:
      speechmill repair runs/quickstart --where "seconds > 20" --seed 7 --dry-run
      speechmill repair runs/quickstart --where "voice = 'en+f1' and text like '%kilometers%'" --voice en+m3
      speechmill repair runs/quickstart --where "reject like 'tts.silent%'" --voice en-us
    """
    from pipelines.repair import note, plan_repair, told

    recipe = load_run(where, run_dir=run_dir, rows=True)
    planned, named = plan_repair(recipe, rows, voice, seed)
    if planned is None:
        typer.echo(f"Nothing to do: {len(named):,} rows are like that, and made so already.")
        return
    for line in told(recipe, planned, named, None if dry_run else 10):
        typer.echo(line)
    if not dry_run:
        whole = (recipe.run_path / "export.card" / "manifest.json").is_file()
        note(recipe, planned)
        _execute(load_run(where, run_dir=run_dir), None if whole else "quantize", workers, address)


@app.command()
def calibrate(
    recipe: RecipePath,
    rows: Annotated[int, typer.Option(min=4, help="records of each source")] = 1000,
    out: Annotated[
        Path | None, typer.Option(help="the file to write (default: rates.json in <run folder>-calibration)")
    ] = None,
    set_: Changes = None,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """Measure what rows of a recipe take, in two small runs, for `plan` to estimate by.

    They lie in <run folder>-calibration, to be looked at; they read the first records of each source, and mixtures are
    as large as these allow. Run it on machines like those of the whole, as many workers at once as there.

    Example: speechmill calibrate configs/quickstart.yaml --rows 200
    """
    from pipelines.estimate.calibrate import calibrate_recipe, ran_on

    def execute(small: Recipe) -> None:
        _execute(small, None, workers, address)

    for line in calibrate_recipe(recipe, set_ or [], rows, out, lambda: ran_on(workers, address), execute):
        typer.echo(line)


@app.command("compare-paths")
def compare_paths(
    recipe: RecipePath,
    set_: Changes = None,
    run_dir: RunDir = None,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """Speak a sample both ways, with audio and straight to sound tokens; exit code 1 where they differ too much.

    It makes what the step filter makes, where that is not there yet, and speaks tts.compare_paths.rows texts of it. The
    limits stand in the recipe: speechmill steps tts.compare_paths

    Example: speechmill compare-paths recipe.yaml --set tts.compare_paths.rows=200
    """
    from pipelines.compare_paths import compare

    loaded = load(recipe, set_ or [], run_dir)
    figures = compare(loaded, _execute(loaded, "filter", workers, address))
    for line in figures.lines():
        typer.echo(line)
    if broken := figures.broken(loaded.tts.compare_paths):
        raise RunError(f"tokens without audio are not those with: {'; '.join(broken)}")
    typer.echo("within the recipe's limits")


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


@app.command("extract-speaker")
def extract_speaker(
    recording: Annotated[
        Path, typer.Argument(help="of one person speaking: wav, flac, mp3, ogg; 1 s, better 10 s or more")
    ],
    out: Annotated[Path, typer.Option(help="the .npy file to write; its name becomes the voice's id")],
    model: Annotated[
        str, typer.Option(help="a folder with embedding_model.ckpt, or owner/name or owner/name@revision on the Hub")
    ] = "speechbrain/spkrec-ecapa-voxceleb",
) -> None:
    """Make a voice for the engine whisperspeech of a recording, with its speaker's consent.

    The voice is 192 numbers that SpeechBrain's ECAPA-TDNN makes of the first 30 s. What to write in a recipe is
    printed; a recipe refuses a cloned voice that names no consent.

    \b
    Example, with the model in a folder of its own, for machines without a network:
      hf download speechbrain/spkrec-ecapa-voxceleb embedding_model.ckpt --local-dir ecapa
      speechmill extract-speaker mara.flac --out mara.npy --model ecapa
    """
    from pipelines.extract_speaker import extract

    for line in extract(recording, out, model):
        typer.echo(line)


@app.command("extend-tokenizer")
def extend_tokenizer(
    folder: Annotated[Path, typer.Argument(help="a language model's tokenizer: a folder with tokenizer.json")],
    out: Annotated[Path, typer.Option(help="the folder to write")],
    codes: Annotated[
        int | None, typer.Option(min=1, help="how many sound tokens, from <|sound_0000|> on (default: 512)")
    ] = None,
    run_: Annotated[
        Path | None,
        typer.Option("--run", help="as many as this run's tokenizer has; with durations if its strings have"),
    ] = None,
    mask: Annotated[bool, typer.Option("--mask", help="one more, Ichigo's padding: <|sound_0512|> after 512")] = False,
    durations: Annotated[
        bool, typer.Option("--durations", help="also <|duration_02|> to <|duration_49|>, for export.run_lengths")
    ] = False,
) -> None:
    """Add the sound tokens to a language model's tokenizer, and say how many embeddings it needs.

    <|sound_start|> and <|sound_end|> become special tokens, the sound tokens plain ones, each of one id. All other
    files but weights are copied. Ichigo v0.3 has 512 codes and the mask, v0.5 also durations.

    \b
    Example, on the tokenizer alone of a model from the Hub:
      hf download Qwen/Qwen2.5-0.5B-Instruct --include "tokenizer*" config.json --local-dir qwen
      speechmill extend-tokenizer qwen --out qwen-sound --mask
      speechmill extend-tokenizer qwen --out qwen-mine --run runs/quickstart
    """
    from pipelines.extend_tokenizer import extend, of_run, vocabulary

    if run_ and (codes or mask):
        raise UserError("--run says how many sound tokens there are, a mask among them: leave out --codes and --mask")
    count, runs = of_run(run_) if run_ else (codes or 512, False)
    extended = extend(folder, out, vocabulary(count, mask, durations or runs))
    for line in extended.said(out):
        typer.echo(line)


@app.command()
def publish(
    where: RunPath,
    repo: Annotated[str, typer.Option(help="the dataset repository on the Hub, owner/name; made if it is not there")],
    private: Annotated[bool, typer.Option("--private", help="make it a private one")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what would be sent; send nothing")] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="a licence whose terms you have read and that lets you (repeatable)"),
    ] = None,
    tag: Annotated[str | None, typer.Option(help="the version's name (default: v1, v2, ...)")] = None,
    without_quarantined: Annotated[
        bool,
        typer.Option("--without-quarantined", help="although rows of shards that killed their workers are missing"),
    ] = False,
    run_dir: RunDir = None,
) -> None:
    """Publish a finished run's dataset on the Hugging Face Hub; what the Hub has is not sent again.

    A recipe names its run; what is published is what lies there, if this very recipe made it.
    The run is verified, the licences of its sources are looked up, and its texts are searched for secrets before
    anything is sent. The token is HF_TOKEN, or that of `hf auth login`.

    Example: speechmill publish runs/quickstart --repo mara/spoken-quickstart --dry-run
    """
    from pipelines.publish import publishing

    asked = load_run(where, run_dir=run_dir)
    publishing.check_repo(repo)
    if dry_run:
        typer.echo("\n".join(publishing.dry_run(asked, repo, allow or [], without_quarantined)))
        return
    from pipelines.publish.hub import Hub

    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, _stop)
    hub = Hub(repo, say=typer.echo)
    version = publishing.publish(asked, hub, private, allow or [], tag, typer.echo, without_quarantined)
    typer.echo(f"published: {hub.url}, version {version}")


app.add_typer(tell.app)


def main() -> None:
    """Run the command; exit with 0 done, 1 the run failed, 2 the user's mistake, 3 done but for some shards."""
    gc.set_threshold(100_000)  # imports and records make many objects and few cycles
    try:
        app(standalone_mode=True)
    except (UserError, RunError, Quarantined) as error:
        typer.echo("\n".join([f"speechmill: {error}", *getattr(error, "__notes__", [])]), err=True)
        sys.exit(exit_code(error))
