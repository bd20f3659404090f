"""export: mixtures -> shuffled Parquet of a given size, with a dataset card.

The rows of one output file lie in many shards. So each shard is rendered once, its pairs sorted by the section of an
output file that they go to (one row group each), and each output file then gathers its row groups, section by section.
"""

from __future__ import annotations

from itertools import accumulate, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.card import card_unit, write_card
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit
from pipelines.options import Mixture
from pipelines.recipe import Recipe
from pipelines.row import AUDIO
from pipelines.rowwise import read_rows, rows_at
from pipelines.shards import ROWS_PER_GROUP, Counts, parquet_writer
from pipelines.steps.augment import speech_shards
from pipelines.steps.mix import chosen_file
from pipelines.steps.noise_chats import FOLDER as INTERRUPTED
from pipelines.steps.noise_chats import mixed_shards
from pipelines.tasks import ALL_COLUMNS, PAIR, Writing, render
from quantize.run_lengths import DURATION_LENGTH, LONGEST
from quantize.sound_string import TOKEN_LENGTH

LAYOUT = "export.layout/all.parquet"
RENDERED = ALL_COLUMNS.append(pa.field("section", pa.int32()))
ROW_BYTES = 300  # ids, roles, names and offsets of one pair
PAIRS_PER_GROUP = 1000
SECTION_BYTES = 256 * 10**6  # uncompressed, of a file's pairs that a worker has in memory at once

AUDIO_ROW = pa.schema(
    [
        ("id", pa.string()),  # of the row; pairs made of it are "<id>/<task>"
        ("turn", pa.int32()),
        ("text_prompt", pa.string()),
        ("spoken_text", pa.string()),
        ("voice", pa.string()),
        ("seconds", pa.float64()),
        ("audio", AUDIO),
    ]
)


def _lay_out(job: Job) -> Outcome:
    """Write, for each chosen row, the output file it goes to, and the section of that.

    A file ends where it would take more than `export.shard_bytes` on disk, as its mixture's first pairs tell.
    """
    mixtures = list(job.recipe.mix.mixtures)
    chosen = pl.concat(
        pl.read_parquet(job.file(chosen_file(name))).with_columns(mixture=pl.lit(name)) for name in mixtures
    )
    paths = [name for name in job.unit.inputs if name not in map(chosen_file, mixtures)]
    sizes = pl.concat([_sizes(job.file(path), path, job.recipe.export.run_lengths) for path in paths])
    sized = chosen.join(sizes, on=["path", "row"], how="left", maintain_order="left")
    sound = pl.col("sound_bytes") * 2 + pl.col("tokens") * 8  # `prompt` and `conversations`; `tokens`
    spoken = pl.when(pl.col("task") == "text_only").then(0).otherwise(sound)
    sized = sized.with_columns(size=(pl.col("text_bytes") * 2 + spoken + ROW_BYTES))
    layout: list[pl.DataFrame] = []
    names: list[str] = []
    sections: list[int] = []
    before = pl.col("size").cum_sum().sub(pl.col("size"))
    for name in mixtures:
        mine = sized.filter(pl.col("mixture") == name)
        of_file = _uncompressed(job, name, mine.head(PAIRS_PER_GROUP))
        place = pl.struct(file=before // of_file, part=before % of_file // SECTION_BYTES)
        mine = mine.with_columns(
            file=((before // of_file).rle_id() + len(names)).cast(pl.Int32),
            section=(place.rle_id() + sum(sections)).cast(pl.Int32),
        )
        of_files = mine.group_by("file", maintain_order=True).agg(pl.col("section").n_unique())["section"].to_list()
        split, count = job.recipe.mix.mixtures[name].split, len(of_files)
        names += [f"dataset/{name}/{split}-{k:05d}-of-{count:05d}.parquet" for k in range(count)]
        sections += of_files
        layout.append(mine.select("path", "row", "task", "order", "file", "section"))
    job.staged.table(LAYOUT, pl.concat(layout).sort("path", "section", "order").to_arrow())
    return Outcome(facts={"files": names, "sections": sections})


def _uncompressed(job: Job, mixture: str, first: pl.DataFrame) -> int:
    """Return how many uncompressed bytes of a mixture's pairs make a file of the wanted size.

    Its first pairs are written, as many as a row group has, to see how much they shrink. They may lie in as many
    shards, of which no more than their row groups is read.

    Args:
        first: (path, row, task, order, size) of them.
    """
    pairs = []
    for (path,), wanted in first.group_by("path", maintain_order=True):
        rows = rows_at(job.file(path), wanted["row"])
        pairs += [
            render(rows[row], task, order, _writing(job.recipe))
            for row, task, order in wanted.select("row", "task", "order").iter_rows()
        ]
    schema = pair_schema(job.recipe.mix.mixtures[mixture])
    table = pa.Table.from_pylist(sorted(pairs, key=itemgetter("index")), schema=schema)
    buffer = pa.BufferOutputStream()
    with parquet_writer(buffer, schema) as writer:
        writer.write_table(table, row_group_size=PAIRS_PER_GROUP)
    written: int = buffer.getvalue().size
    return max(1, job.recipe.export.shard_bytes * int(first["size"].sum()) // written)


def _sizes(file: Path, path: str, run_lengths: bool) -> pl.DataFrame:
    """Return (path, row, text_bytes, tokens, sound_bytes) of a shard's rows."""
    rows = pl.read_parquet(file, columns=["messages", "spoken"])
    content = pl.element().struct.field("content").str.len_bytes()
    tokens = pl.element().struct.field("tokens")
    count = tokens.list.len().cast(pl.Int64)
    written = tokens.list.eval(run_bytes()).list.sum() if run_lengths else count * TOKEN_LENGTH
    return rows.select(
        pl.lit(path).alias("path"),
        pl.int_range(pl.len(), dtype=pl.Int32).alias("row"),
        pl.col("messages").list.eval(content).list.sum().cast(pl.Int64).alias("text_bytes"),
        pl.col("spoken").list.eval(count).list.sum().cast(pl.Int64).alias("tokens"),
        pl.col("spoken").list.eval(written).list.sum().cast(pl.Int64).alias("sound_bytes"),
    )


def run_bytes() -> pl.Expr:
    """Return the bytes that `format_runs` writes for each run of a list of ids."""
    run = pl.element().rle().struct.field("len").cast(pl.Int64)
    written = (run + LONGEST - 1) // LONGEST
    bare = (run % LONGEST == 1).cast(pl.Int64)  # the last token of a run that stands without a duration
    return written * TOKEN_LENGTH + (written - bare) * DURATION_LENGTH


def _render(job: Job) -> Outcome:
    """Write the pairs made of one shard, a row group for each section of an output file."""
    source, layout = job.unit.inputs[0], pl.read_parquet(job.input(1))
    wanted = layout.filter(pl.col("path") == source)
    rows = list(read_rows(job.input()))
    name = job.unit.name
    with job.staged.parquet(f"export.render/{name}.parquet", RENDERED) as writer:
        for (section,), group in wanted.group_by("section", maintain_order=True):
            pairs = [
                {**render(rows[row], task, order, _writing(job.recipe)), "section": section}
                for row, task, order in group.select("row", "task", "order").iter_rows()
            ]
            writer.write_table(pa.Table.from_pylist(pairs, schema=RENDERED))
    return Outcome(Counts(wanted.height, wanted.height))


def _writing(recipe: Recipe) -> Writing:
    return Writing(recipe.seed, recipe.export.run_lengths, recipe.chats.written_turns)


def pair_schema(mixture: Mixture) -> pa.Schema:
    """Return the schema of a mixture's files."""
    return pa.schema([ALL_COLUMNS.field(column) for column in mixture.columns]) if mixture.columns else PAIR


def _gather(job: Job) -> Outcome:
    """Write one output file: its pairs from every rendered shard, in the mixture's order."""
    first, sections, name = (job.unit.args[key] for key in ("first", "sections", "file"))
    mixture = job.recipe.mix.mixtures[Path(name).parent.name]
    schema = pair_schema(mixture)
    needed = list(dict.fromkeys([*schema.names, "index", "seconds"]))
    written, seconds = 0, 0.0
    with job.staged.parquet(name, schema) as writer:
        for section in range(first, first + sections):
            pieces = [
                pq.read_table(job.file(path), filters=[("section", "=", section)], columns=needed, schema=RENDERED)
                for path in job.unit.inputs
            ]
            pairs = pa.concat_tables(pieces).sort_by("index")
            writer.write_table(pairs.select(schema.names), row_group_size=PAIRS_PER_GROUP)
            written += pairs.num_rows
            seconds += sum(pairs["seconds"].drop_null().to_pylist())
    return Outcome(Counts(written, written), {"seconds": round(seconds, 3)})


def _audio(job: Job) -> Outcome:
    """Write one file of the config `audio`: each utterance of a shard's quantized rows, with its speech."""
    columns = ["id", "spoken.list.element.turn"]  # of a chat that `quantize` shortened, its last turns are left out
    kept = {row["id"]: {u["turn"] for u in row["spoken"]} for row in read_rows(job.input(1), columns)}
    name = f"dataset/audio/train-{job.unit.args['number']:05d}-of-{job.unit.args['count']:05d}.parquet"
    written = 0
    with job.staged.parquet(name, AUDIO_ROW) as writer:
        wanted = (row for row in read_rows(job.input()) if row["id"] in kept)
        while batch := list(islice(wanted, ROWS_PER_GROUP)):
            utterances = [
                _audio_row(row, spoken)
                for row in batch
                for spoken in row["spoken"]
                if spoken["audio"] and spoken["turn"] in kept[row["id"]]
            ]
            writer.write_table(pa.Table.from_pylist(utterances, schema=AUDIO_ROW))
            written += len(batch)
    return Outcome(Counts(len(kept), written))


def _audio_row(row: dict[str, Any], utterance: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "turn": utterance["turn"],
        "text_prompt": next((m["content"] for m in row["messages"][utterance["turn"] :]), None),
        "spoken_text": utterance["text"],
        "voice": utterance["voice"],
        "seconds": utterance["seconds"],
        "audio": utterance["audio"],
    }


def _layout_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    shards = mixed_shards(outputs)
    chosen = [chosen_file(name) for name in recipe.mix.mixtures]
    return [Unit("all", (*chosen, *(s.path for s in shards)), sum(s.rows for s in shards))]


def _render_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    return [Unit(s.name, (s.path, LAYOUT), s.rows) for s in mixed_shards(outputs)]


def _gather_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    (layout,) = outputs.facts("export.layout")
    rendered = tuple(f"export.render/{name}.parquet" for name in outputs.records("export.render"))
    places = zip(layout["files"], accumulate(layout["sections"], initial=0), layout["sections"], strict=False)
    return [
        Unit(
            f"{Path(file).parent.name}-{Path(file).stem}", rendered, args={"file": file, "first": first, "sections": n}
        )
        for file, first, n in places
    ]


def _audio_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    shards = outputs.shards("quantize") if recipe.export.audio else []
    spoken = {s.name: s.path for s in outputs.shards(*speech_shards(recipe))}
    return [
        Unit(
            f"{number:05d}-{s.name}",
            (spoken[s.name], s.path),
            s.rows,
            {"number": number, "count": len(shards)},
        )
        for number, s in enumerate(shards)
    ]


def _run_lengths(recipe: Recipe) -> dict[str, bool]:
    """Return the option where it is on: a run without it stays what it was before there was one."""
    return {"run_lengths": True} if recipe.export.run_lengths else {}


def _written_turns(recipe: Recipe) -> dict[str, float]:
    """Return the option where it is on, as `_run_lengths` does."""
    return {"written_turns": recipe.chats.written_turns} if recipe.chats.written_turns else {}


LAYOUT_PASS = Pass(
    key="export.layout",
    needs=("mix", "quantize", "noise", INTERRUPTED),
    version=2,
    options=lambda recipe: {"shard_bytes": recipe.export.shard_bytes, **_run_lengths(recipe)},
    units=_layout_units,
    run=_lay_out,
)
RENDER_PASS = Pass(
    key="export.render",
    needs=("export.layout", "quantize", "noise", INTERRUPTED),
    version=3,
    options=lambda recipe: {"seed": recipe.seed, **_run_lengths(recipe), **_written_turns(recipe)},
    units=_render_units,
    run=_render,
)
PASS = Pass(
    key="export",
    needs=("export.layout", "export.render"),
    version=3,
    options=lambda recipe: {},
    units=_gather_units,
    run=_gather,
    reads_many=True,
)
AUDIO_PASS = Pass(
    key="export.audio",
    needs=("tts", "read.speech", "tts.augment", "quantize"),
    version=1,
    options=lambda recipe: {},
    units=_audio_units,
    run=_audio,
)
CARD_PASS = Pass(
    key="export.card",
    needs=("export", "export.audio", "mix"),
    version=5,
    options=lambda recipe: {"recipe": recipe.without_places()},
    units=card_unit,
    run=write_card,
    last=True,
    reads_many=True,
)
