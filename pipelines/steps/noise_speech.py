"""noise.speech: the few rows of each shard of speech that inaudible ones are made of, kept where speech is removed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from noise.signal import Samples
from noise.sounds import FULL_SCALE
from noise.speech import trimmed
from pipelines.graph import Job, Outcome, Pass, shard_units
from pipelines.mixture import hash_rank
from pipelines.recipe import Recipe
from pipelines.row import ROW, Row
from pipelines.rowwise import read_rows
from pipelines.shards import ROWS_PER_GROUP
from pipelines.steps.augment import speech_shards
from quantize import AudioError

FOLDER = "noise.speech"
KEPT_OF = 50  # of so many rows of a shard one is kept,
KEPT_AT_LEAST = 32  # or so many rows; twice where there is a ladder: of all, and of the sentences it can take
MOST_UTTERANCES = 2000  # that sounds are made of: their speech is in memory at once
SECONDS = (1.0, 30.0)  # of an utterance
LEAVES = (
    "id", "exchanges", "answered",
    "spoken.list.element.seconds", "spoken.list.element.voice", "spoken.list.element.audio.path",
)  # fmt: skip


def ranks(ids: pl.Series, seed: int) -> pl.Series:
    """Return the rank of each row, from its id and the seed alone: the lowest are kept."""
    return pl.Series("rank", hash_rank(ids.to_list(), f"{seed}/{FOLDER}"))


def one_answered_exchange() -> pl.Expr:
    """Return whether a row's one prompt has an answer: a ladder can be made of it."""
    return (pl.col("exchanges") == 1) & pl.col("answered")


class Pool:
    """The utterances of this run that sounds are made of: those of the lowest ranks, the shortest first."""

    def __init__(self, paths: Sequence[Path], seed: int) -> None:
        leaves = ["id", "license", "spoken.list.element.seconds"]
        rows = pl.concat(
            pl.DataFrame(pq.ParquetFile(path).read(leaves)).with_row_index("row").with_columns(file=pl.lit(file))
            for file, path in enumerate(paths)
        )
        self._paths = paths
        self._table = (
            rows.with_columns(ranks(rows["id"], seed), part=pl.int_ranges(pl.col("spoken").list.len()))
            .explode("spoken", "part")
            .with_columns(seconds=pl.col("spoken").struct.field("seconds"))
            .sort("rank", "file", "row", "part")
            .head(MOST_UTTERANCES)
            .sort("seconds", "rank", "part")
        )
        self.seconds = self._table["seconds"].to_numpy()
        self._sounds: dict[int, bytes] = {}

    def of(self, position: int) -> tuple[str, str]:
        """Return the id and the license of an utterance's row."""
        row = self._table.row(position, named=True)
        return row["id"], row["license"]

    def read(self, wanted: set[int]) -> None:
        """Read the sound of the utterances at some positions."""
        places = self._table.select("file", "row", "part").rows()
        here = {places[position]: position for position in wanted}
        for file, path in enumerate(self._paths):
            if any(of == file for of, _, _ in here):
                for number, row in enumerate(read_rows(path, ["spoken"])):
                    for part, utterance in enumerate(row["spoken"]):
                        if (position := here.get((file, number, part))) is not None:
                            self._sounds[position] = utterance["audio"]["bytes"]

    def samples(self, position: int, rate_hz: int) -> Samples:
        """Return an utterance that was read, at a rate, in steps of int16, without the silence at its ends."""
        from quantize.audio import decode_audio, resample  # loads torch: in workers only

        samples, rate = decode_audio(self._sounds[position])
        return trimmed(resample(samples, rate, rate_hz).astype(np.float64) * FULL_SCALE)


def _run(job: Job) -> Outcome:
    options = job.made_of["options"]
    rows = _usable(job.input(), options["held_out"])
    kept = max(KEPT_AT_LEAST, pq.read_metadata(job.input()).num_rows // KEPT_OF)
    rows = rows.with_columns(ranks(rows["id"], options["seed"])).sort("rank", "row")
    chosen = set(rows.head(kept)["row"])
    if options["ladder"]:
        chosen |= set(rows.filter(one_answered_exchange()).head(kept)["row"])
    found = 0
    with job.staged.parquet(f"{FOLDER}/{job.unit.name}.parquet", ROW) as writer:
        heard = (row for number, row in enumerate(read_rows(job.input())) if number in chosen and _is_heard(row))
        while some := list(islice(heard, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(some, schema=ROW))
            found += len(some)
    return Outcome(facts={"shards": {job.unit.name: found}})


def _usable(path: Path, held_out: list[str]) -> pl.DataFrame:
    """Return (row, id, exchanges, answered) of a shard's rows that noise can be made of.

    Each of their utterances has a sound of 1 to 30 s, and no voice that speaks for evaluation.
    """
    rows = pl.DataFrame(pq.ParquetFile(path).read(list(LEAVES)))
    utterance = pl.element().struct
    suits = (
        utterance.field("audio").is_not_null()
        & utterance.field("seconds").is_between(*SECONDS)
        & ~utterance.field("voice").is_in(held_out).fill_null(False)
    )
    usable = (pl.col("spoken").list.len() > 0) & pl.col("spoken").list.eval(suits).list.all()
    return rows.with_row_index("row").filter(usable).select("row", "id", "exchanges", "answered")


def _is_heard(row: Row) -> bool:
    """Tell whether each of a row's utterances decodes to something that is not silence."""
    from quantize.audio import decode_audio  # loads torch: in workers only

    try:
        return all(decode_audio(utterance["audio"]["bytes"])[0].any() for utterance in row["spoken"])
    except AudioError:
        return False


def _applies(recipe: Recipe) -> bool:
    return recipe.noise_of_speech


PASS = Pass(
    key=FOLDER,
    needs=("tts", "read.speech", "tts.augment"),
    version=1,
    options=lambda recipe: {
        "seed": recipe.seed,
        "ladder": recipe.noise.ladder is not None,
        "held_out": recipe.tts.held_out,
    },
    units=lambda recipe, outputs: shard_units(*speech_shards(recipe))(recipe, outputs) if _applies(recipe) else [],
    run=_run,
    one_to_one=True,
    follows=speech_shards,
    applies=_applies,
)
