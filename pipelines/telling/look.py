"""`speechmill look`: rows of a run in the terminal, kept or rejected, and one of them through the loudspeakers."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.text import Text

from pipelines.errors import RunError, UserError
from pipelines.options import nearest
from pipelines.report.seen import Seen
from pipelines.report.sounds import Shards
from pipelines.row import Row, reason_of
from pipelines.rowwise import read_rows
from pipelines.steps.mix import chosen_file
from pipelines.tasks import TASKS, Shape
from pipelines.telling.samples import SHOWN_SCORES, one_line

# Players of a WAV file: the command, to which the file's name is added.
PLAYERS: tuple[tuple[str, ...], ...] = (
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"), ("afplay",), ("paplay",), ("aplay", "-q"),
)  # fmt: skip
MOST_CHARS = 1_000  # of a message that are shown


@dataclass(frozen=True)
class Wanted:
    """Which rows are asked for; None: any."""

    task: str | None = None
    rule: str | None = None  # rejects, whose reason begins so
    grep: str | None = None  # a regular expression, found in a message whatever the case
    source: str | None = None
    voice: str | None = None

    def fits(self, row: Row) -> bool:
        """Tell whether a row is asked for by what stands in it."""
        if self.source is not None and row["source"] != self.source:
            return False
        if self.voice is not None and all(spoken["voice"] != self.voice for spoken in row.get("spoken") or []):
            return False
        said = [message["content"] for message in row["messages"]] if "messages" in row else [row["raw"]]
        return self.grep is None or any(re.search(self.grep, text, re.IGNORECASE) for text in said)

    def rejected(self, reject: str) -> bool:
        """Tell whether a reject, or a reason, is asked for.

        >>> [Wanted(rule=rule).rejected("filter.speakable:url:x.org") for rule in ("speakable", "url", "filter", "u")]
        [True, True, True, False]
        """
        assert self.rule is not None, "asked for by a rule"
        return f":{self.rule.replace('.', ':', 1)}:" in f":{reason_of(reject).replace('.', ':', 1)}:"


@dataclass(frozen=True)
class Found:
    """A row, and as what it was found."""

    row: Row
    path: str  # of its shard, from the run folder
    what: str  # the tasks that it serves, or why it was rejected


def check(seen: Seen, wanted: Wanted) -> None:
    """Raise UserError for what this run cannot have, with the nearest that it has."""
    sources = [*(source.name for source in seen.recipe.sources), "noise"]
    voices = [voice.id for voice in seen.recipe.tts.voices]
    speakers = any(source.audio for source in seen.recipe.sources)  # of recordings: known when they are read
    for option, name, names in (
        ("task", wanted.task, list(TASKS)),
        ("source", wanted.source, sources),
        ("voice", None if speakers else wanted.voice, voices),
    ):
        if name is not None and name not in names:
            raise UserError(f"--{option} {name}: there is none; {nearest(name, names)}")
    if wanted.rule is not None:
        reasons = sorted({reason for counts in seen.funnel.steps.values() for reason in counts["rejected"]})
        if not any(map(wanted.rejected, reasons)):
            remedy = nearest(wanted.rule, reasons) if reasons else "no row was rejected at all"
            raise UserError(f"--rule {wanted.rule}: no row was rejected for that; {remedy}")
        if wanted.task is not None:
            raise UserError("--rule asks for rejects, --task for rows that were kept: give one of them")
    try:
        re.compile(wanted.grep or "")
    except re.error as error:
        raise UserError(f"--grep {wanted.grep}: no regular expression: {error}") from error


def find(seen: Seen, wanted: Wanted, most: int) -> list[Found]:
    """Return the first rows that are asked for: always the same ones, of shards in the order of their names' hashes."""
    return list(islice(_kept(seen, wanted) if wanted.rule is None else _rejects(seen, wanted), most))


def _rank(path: str) -> bytes:
    return hashlib.blake2b(path.encode(), digest_size=8).digest()


def _rejects(seen: Seen, wanted: Wanted) -> Iterator[Found]:
    for step, counts in seen.funnel.steps.items():
        files = (
            (seen.folder / step / "rejects").glob("*.parquet") if any(map(wanted.rejected, counts["rejected"])) else ()
        )
        for path in sorted((str(file.relative_to(seen.folder)) for file in files), key=_rank):
            for row in read_rows(seen.folder / path):
                if wanted.rejected(row["reject"]) and wanted.fits(row):
                    yield Found(row, path, row["reject"])


def _kept(seen: Seen, wanted: Wanted) -> Iterator[Found]:
    serves = _serves(seen)
    for path in sorted(_furthest(seen), key=_rank):
        tasks_of = serves(path)
        for number, row in enumerate(read_rows(seen.folder / path)):
            tasks = tasks_of(number, row)
            named = {task.partition(" ")[0] for task in tasks}
            if (wanted.task is None or wanted.task in named) and wanted.fits(row):
                yield Found(row, path, ", ".join(tasks) or "in no mixture")


def _furthest(seen: Seen) -> list[str]:
    """Return the shards of the last step that has left any: quantized, or spoken, or kept, or read."""
    shards = seen.mixable() or seen.spoken()
    for key in (seen.recipe.kept_by, "filter", "read"):
        shards = shards or (seen.outputs.shards(key) if seen.outputs.has(key) else [])
    return [shard.path for shard in shards]


def _serves(seen: Seen) -> Callable[[str], Callable[[int, Row], list[str]]]:
    """Return what tells, of a shard and then of a row, which tasks it serves; before the mixtures: which it may."""
    if not seen.outputs.has("mix"):
        return lambda path: lambda number, row: [name for name, task in TASKS.items() if task.suits(_shape(row))]
    chosen = pl.concat(
        pl.read_parquet(seen.folder / chosen_file(name), columns=["task", "path", "row"]).with_columns(
            pl.col("path").cast(pl.Categorical), pl.concat_str("task", pl.lit(f" in {name}")).alias("task")
        )
        for name in seen.recipe.mix.mixtures
    )

    def of_shard(path: str) -> Callable[[int, Row], list[str]]:
        tasks: dict[int, list[str]] = {}
        for row, task in chosen.filter(pl.col("path").cast(pl.String) == path).select("row", "task").iter_rows():
            tasks.setdefault(row, []).append(task)
        return lambda number, row: tasks.get(number, [])

    return of_shard


def _shape(row: Row) -> Shape:
    return Shape(row["exchanges"], row["answered"], row["inaudible"] is not None, row["degraded"] is not None)


def show(console: Console, found: Found) -> None:
    """Print a row: what it is, its messages with what was spoken, what was measured. Never as markup."""
    row = found.row
    console.rule(Text(visible(found.what), "bold"), align="left")
    console.print(Text(f"{row['source']} {row.get('id', row.get('place', ''))}  {found.path}", "dim"))
    if "messages" not in row:
        console.print(Text(visible(row["raw"])))
        return
    written = {about["turn"]: about for about in row["generated"] or []}
    spoken = row["spoken"] or []
    for turn, message in enumerate(row["messages"]):
        console.print(Text.assemble((f"{message['role']}: ", "bold cyan"), visible(message["content"])))
        if about := written.get(turn):
            instead = f", instead of: {one_line(visible(about['original']))}" if about["original"] else ""
            console.print(Text(f"  written by {about['model']} ({about['task']}){instead}", "dim"))
        _show_spoken(console, [u for u in spoken if u["turn"] == turn], message["content"])
    _show_spoken(console, [u for u in spoken if u["turn"] >= len(row["messages"])], "")  # a recording without a text
    measured = {name: row[name] for name in (*SHOWN_SCORES, "inaudible", "degraded", "cut") if row[name] is not None}
    told = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in measured.items()
    ]
    if told:
        console.print(Text("  ".join(told), "dim"))


def _show_spoken(console: Console, utterances: list[Row], written: str) -> None:
    for spoken in utterances:
        if spoken["text"] not in (None, written):
            console.print(Text(f"  spoken as: {one_line(visible(spoken['text']))}", "dim"))
        tokens = f", {len(spoken['tokens'])} sound tokens" if spoken["tokens"] else ""
        console.print(Text(f"  {spoken['voice'] or 'no voice named'}, {spoken['seconds'] or 0:.2f} s{tokens}", "dim"))


def visible(text: str) -> str:
    """Return a text with its controls as U+XXXX, lest it steers the terminal.

    >>> visible("a\\x1b[2Jb")
    'a<U+001B>[2Jb'
    """
    cut = text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]}... ({len(text):,} characters)"
    return "".join(c if c == "\n" or c.isprintable() else f"<U+{ord(c):04X}>" for c in cut)


def play(seen: Seen, found: Found) -> None:
    """Play a row's utterances, one after another.

    Raises UserError where there is no player, or nothing to play; RunError where the player fails.
    """
    import soundfile

    from quantize.audio import decode_audio  # loads torch

    command = next((command for command in PLAYERS if shutil.which(command[0])), None)
    if command is None:
        names = ", ".join(command[0] for command in PLAYERS)
        raise UserError(
            f"--play: none of {names} is on this machine's PATH. speechmill report makes a page that plays."
        )
    heard = [audio for audio in Shards(seen).speech(found.path, found.row) if audio] if found.row.get("spoken") else []
    if not heard:
        raise UserError("--play: this row has no audio (none was made, or it was removed: tts.keep_audio)")
    with tempfile.TemporaryDirectory() as folder:
        for number, audio in enumerate(heard):
            samples, rate_hz = decode_audio(audio)
            path = Path(folder) / f"{number}.wav"
            soundfile.write(path, samples, rate_hz, subtype="PCM_16")
            done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RunError(f"{command[0]} could not play: {done.stderr.strip() or f'exit code {done.returncode}'}")
