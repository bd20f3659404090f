"""`speechmill repair`: only the rows that an expression names are spoken again, with another seed or voice.

The expression is SQL over a row's columns and those of its utterances; polars parses it and nothing else runs. Which
rows it named is noted, not the expression: a row that is no longer like that stays repaired.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from noise import NOISE_KINDS
from pipelines.errors import UserError
from pipelines.folders.lock import lock_run
from pipelines.folders.run_folder import open_run_folder
from pipelines.graph import Outputs, plan_run
from pipelines.options import nearest
from pipelines.recipe import Recipe
from pipelines.repair_options import FILE, Repair, RepairedRow, changes_of, noted_repairs, tokens_before
from pipelines.row import ROW, UTTERANCE
from pipelines.shards import read_table, to_json
from pipelines.speech_options import WHISPERSPEECH, Tts
from pipelines.steps import passes_for
from pipelines.steps.tts import delivery_of
from tts.delivery import is_held_out

# What an expression may name: columns of the row, and of each of its utterances; `tokens` is how many they are.
ROW_COLUMNS = {field.name: field.type for field in ROW if field.name not in ("messages", "generated", "spoken")}
SPOKEN_COLUMNS = {field.name: field.type for field in UTTERANCE if field.name != "audio"} | {"tokens": pa.uint32()}
COLUMNS: dict[str, pa.DataType] = {**ROW_COLUMNS, "reject": pa.string(), **SPOKEN_COLUMNS}
REJECTED_BY = ("tts", "tts.augment", "quantize")  # of what these rejected, another voice may be kept
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_LEAF = "spoken.list.element"


@dataclass(frozen=True)
class Named:
    """A row to be made again, as it is now."""

    id: str
    source: str
    shard: str
    row: int  # its position among the rows that `read` kept of its source
    tokens: tuple[int, ...]  # of each of its turns
    voice: str | None  # None: it has no speech
    seconds: float
    reject: str | None


def parse_where(where: str) -> pl.Expr:
    """Return an expression that is true or false of each utterance. Raises UserError for anything else."""
    if re.search(r"\bselect\b", _QUOTED.sub("", where), re.IGNORECASE):
        raise UserError(f"--where {where}: it looks at one utterance after another: no SELECT")
    try:
        expression = pl.sql_expr(where)
        names = expression.meta.root_names()
        if unknown := [name for name in names if name not in COLUMNS]:
            raise UserError(f"--where {where}: there is no column {unknown[0]}; {nearest(unknown[0], list(COLUMNS))}")
        if not names:
            raise UserError(f"--where {where}: it names no column; {nearest(where, list(COLUMNS))}")
        empty = pl.from_arrow(pa.schema(list(COLUMNS.items())).empty_table())
        assert isinstance(empty, pl.DataFrame), "a table becomes a frame"
        kind = empty.select(named=expression).schema["named"]
    except pl.exceptions.PolarsError as error:
        raise UserError(f"--where {where}: {str(error).splitlines()[0]}") from error
    if kind != pl.Boolean:
        raise UserError(f"--where {where}: it is neither true nor false, but {kind}: compare it, as in seconds > 20")
    return expression


def plan_repair(recipe: Recipe, where: str, voice: str | None, seed: int | None) -> tuple[Repair | None, list[Named]]:
    """Return the repair of the rows that an expression names, and these rows; None where they are so already.

    Raises UserError for an expression, a voice or a seed that cannot be meant, and for a run that is not up to date.
    """
    if voice is None and seed is None:
        raise UserError("say what is to be different: --voice, --seed, or both")
    expression = parse_where(where)
    voices = [one.id for one in recipe.tts.voices]
    if voice is not None and voice not in voices:
        raise UserError(f"--voice {voice}: the recipe has no such voice; {nearest(voice, voices)}")
    plans, outputs = plan_run(recipe, passes_for("quantize"))
    if late := next((plan for plan in plans if not plan.done), None):
        whys = [unit.why for unit in late.units if unit.why]
        why = f" ({whys[0]})" if whys else ""
        raise UserError(f"{recipe.run_path}: {late.key} is not up to date{why}: run the recipe first, then repair")
    named = list(_named(recipe, outputs, where, expression))
    if not named:
        raise UserError(f"--where {where}: no row is like that")
    given = {name: value for name, value in (("voice", voice), ("seed", seed)) if value is not None}
    changes, before = changes_of(recipe.repairs), tokens_before(recipe.repairs)
    todo = [row for row in named if {**changes.get(row.id, {}), **given} != changes.get(row.id)]
    if not todo:
        return None, named
    rows = [RepairedRow(id=r.id, source=r.source, row=r.row, tokens=before.get(r.id, r.tokens)) for r in todo]
    repair = Repair(where=where, voice=voice, seed=seed, rows=tuple(rows))
    _check(recipe, repair)
    return repair, todo


def _named(recipe: Recipe, outputs: Outputs, where: str, expression: pl.Expr) -> Iterator[Named]:
    """Yield the rows that an expression is true of, or of one of their utterances: by source, shard, position.

    Of all shards it reads the ids and the columns that the expression names; of those that hold named rows a few more.
    """
    places = [
        (source, shard, number * recipe.read.rows_per_shard, path)
        for source, record in outputs.records("read").items()
        for number, shard in enumerate(record.facts["shards"])
        for folder in ("quantize", *(f"{step}/rejects" for step in REJECTED_BY))
        if (path := recipe.run_path / folder / f"{shard}.parquet").is_file()
    ]
    wanted = frozenset(expression.meta.root_names())
    table = pl.concat([_utterances(path, at, wanted) for at, (*_, path) in enumerate(places)])
    true_of = table.select(named=expression)["named"]
    if len(true_of) != table.height:
        raise UserError(f"--where {where}: it says something of all utterances together: compare each, seconds > 20")
    for (at,), found in table.filter(true_of).group_by("at", maintain_order=True):
        source, shard, first, path = places[at]
        yield from _rows(recipe.run_path, path, found["id"].unique().to_list(), source, shard, first)


def _utterances(path: Path, at: int, wanted: frozenset[str]) -> pl.DataFrame:
    """Return `at`, the id and the wanted columns of a shard's rows; a line an utterance if it is asked about them."""
    spoken = sorted(wanted & SPOKEN_COLUMNS.keys())
    of_rows = sorted((wanted | {"id"}) & (ROW_COLUMNS.keys() | {"reject"}))
    there = set(pq.read_schema(path).names)
    table = _read(path, [*(name for name in of_rows if name in there), *(f"{_LEAF}.{name}" for name in spoken)])
    if "reject" in wanted - there:
        table = table.with_columns(reject=pl.lit(None, pl.String))
    if spoken:
        table = table.explode("spoken").unnest("spoken")
    if "tokens" in spoken:
        table = table.with_columns(pl.col("tokens").list.len())
    return table.select(pl.lit(at).alias("at"), *of_rows, *spoken)


def _rows(run: Path, path: Path, ids: Sequence[str], source: str, shard: str, first: int) -> Iterator[Named]:
    columns = ["id", "index", *(f"{_LEAF}.{name}" for name in ("turn", "voice", "seconds", "tokens"))]
    rejects = path.parent.name == "rejects"
    found = _read(path, [*columns, *(["reject"] if rejects else [])]).filter(pl.col("id").is_in(ids))
    read = read_table(run / "read" / f"{shard}.parquet", ["id", "index"]).to_pylist()
    places = {(row["id"], row["index"]): place for place, row in enumerate(read)}
    for row in found.iter_rows(named=True):
        turns: dict[int, int] = {}
        for utterance in row["spoken"] or []:
            turns[utterance["turn"]] = turns.get(utterance["turn"], 0) + len(utterance["tokens"] or [])
        yield Named(
            id=row["id"],
            source=source,
            shard=shard,
            row=first + places[row["id"].partition("/")[0], row["index"]],
            tokens=() if rejects else tuple(turns.values()),
            voice=row["spoken"][0]["voice"] if row["spoken"] else None,
            seconds=sum(utterance["seconds"] for utterance in row["spoken"] or []),
            reject=row.get("reject"),
        )


def _read(path: Path, columns: list[str]) -> pl.DataFrame:
    table = pl.from_arrow(read_table(path, columns))
    assert isinstance(table, pl.DataFrame), "a table becomes a frame"
    return table


def _check(recipe: Recipe, repair: Repair) -> None:
    """Raise UserError where a repair would break what the recipe promises of voices, or change nothing at all."""
    tts, changes = recipe.tts, changes_of([*recipe.repairs, repair])
    held_out = {voice.id for voice in tts.voices if voice.held_out}
    for row in repair.rows:
        parent = row.id.partition("/")[0]
        readings = [parent, *(f"{parent}/{reading}" for reading in range(1, tts.per_prompt))]
        voices = [delivery_of(reading, recipe, changes.get(reading, {})).voice for reading in readings]
        mine = delivery_of(row.id, recipe, changes[row.id]).voice
        if (mine in held_out) != is_held_out(recipe.seed, parent, tts.held_out_share):
            what = "is held out, and the row is not" if mine in held_out else "is not held out, and the row is"
            raise UserError(
                f"--voice {mine}: it {what} ({row.id}): training and evaluation would mix. Name rows of such voices "
                "alone: and voice in ('...')"
            )
        if len(set(voices)) < len(voices):
            raise UserError(f"--voice {mine}: another reading of the row {row.id} has it: name a voice of none of them")
        if repair.voice is None and not _draws(tts, tts.engine_of(mine)):
            raise UserError(
                f"--seed {repair.seed}: the row {row.id} is spoken by {mine}, whose engine {tts.engine_of(mine)} draws "
                "nothing with these options: the same would be made again. Give a --voice"
            )


def _draws(tts: Tts, engine: str) -> bool:
    """Tell whether an engine's speech depends on a seed: by the rate or the pitch of a row, or by its own draws."""
    ranges = {"rate_wpm": tts.rate_wpm, "pitch": tts.pitch}
    if any(ranges[name][0] < ranges[name][1] for name in tts.heeds(engine)):
        return True
    asking = tts.openai_speech
    if engine == "openai_speech":
        return asking is not None and asking.seed_field is not None
    return engine in WHISPERSPEECH and tts.whisperspeech.temperature > 0


def told(recipe: Recipe, repair: Repair, rows: Iterable[Named], most: int | None = None) -> Iterator[str]:
    """Yield the rows that are made again, at most so many, the shards that are, and what may follow."""
    rows = list(rows)
    changes = [repair.voice] if repair.voice is not None else []
    changes += [f"seed {repair.seed}"] if repair.seed is not None else []
    for row in rows[:most]:
        now = row.reject or f"{row.voice}, {row.seconds:.2f} s"
        yield f"{row.shard}  {row.id}  {now} -> {', '.join(changes)}"
    if most is not None and len(rows) > most:
        yield f"and {len(rows) - most:,} more"
    shards = dict.fromkeys(row.shard for row in rows)
    yield f"{len(rows):,} rows are made again, in {len(shards):,} shards: {', '.join(shards)}"
    kinds = [kind for kind in recipe.inaudible_kinds if NOISE_KINDS[kind] in ("tokens", "speech")]
    if made := [*kinds, *(["ladder"] if recipe.noise.ladder else [])]:
        yield f"noise ({', '.join(made)}) is made of this run's speech: what is made of these rows follows them"


def note(recipe: Recipe, repair: Repair) -> None:
    """Note a repair beside the run: every later run of the recipe in this folder makes it too."""
    with lock_run(recipe.run_path):
        noted: list[dict[str, Any]] = [*noted_repairs(recipe.run_path), repair.model_dump(mode="json")]
        open_run_folder(recipe).write(FILE, to_json({"repairs": noted}))
