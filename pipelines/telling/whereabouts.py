"""Where a row of a run stands, and what each pass has of it.

It is found by one column: the ids of the shards that were read. Its shard has the same name in every step, so that all
else is one file a pass, of which one row group is read; sound is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.options import nearest
from pipelines.recipe import Recipe
from pipelines.row import ROW, UTTERANCE, Row
from pipelines.shards import Record, read_record, read_table
from pipelines.steps.noise_chats import FOLDER as CHATS
from pipelines.steps.noise_chats import SUFFIX
from pipelines.tasks import TASKS

READ = ("read", "read.speech", "noise")  # passes whose shards hold the rows that are nobody's children
PATH = (
    "read", "read.speech", "score", "rewrite", "filter.shorten", "filter", "answer", "tts", "tts.augment", "quantize",
)  # fmt: skip
SHOWN = 5  # rows that an ambiguous id may mean
READERS = 8
_DERIVED = re.compile(r"inaudible|ladder-\d+")
_COLUMNS = [
    *(field.name for field in ROW if field.name != "spoken"),
    *(f"spoken.list.element.{field.name}" for field in UTTERANCE if field.name != "audio"),
]


@dataclass(frozen=True)
class Place:
    """Where a row was read, or made of nothing."""

    key: str  # one of READ
    shard: str
    id: str
    index: int


@dataclass(frozen=True)
class Step:
    """What a pass has of a row."""

    key: str
    unit: str
    row: Row | None
    reject: str | None = None


def find_places(run: Path, beginning: str) -> list[Place]:
    """Return the places of the row whose id begins so: several where a source has the same record twice."""
    if not re.fullmatch(r"[0-9a-f]{1,32}", beginning):
        raise UserError(f"{beginning!r} is no id: 32 hexadecimal digits, or the first of them")
    files = [(key, path) for key in READ for path in _shards(run, key)]
    if not files:
        raise UserError(f"{run} has read nothing yet: run the recipe first")
    with ThreadPoolExecutor(READERS) as pool:
        found = [place for some in pool.map(partial(_places, beginning), files) for place in some]
    ids = list(dict.fromkeys(place.id for place in found))
    if not ids:
        raise UserError(
            f"{beginning}: no row of {run} has an id that begins so. Records that could not be read have no id: see "
            "speechmill look --rule read"
        )
    if len(ids) > 1:
        more = f" and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else ""
        raise UserError(f"{beginning}: {len(ids):,} rows have ids that begin so: {', '.join(ids[:SHOWN])}{more}")
    return found


def _shards(run: Path, key: str) -> list[Path]:
    """Return the shards and, of noise that was rejected, the rejects that may hold a row that is nobody's child."""
    if key != "noise":
        return sorted((run / key).glob("*.parquet"))
    return [*sorted((run / key).glob("noise-*.parquet")), *sorted((run / key / "rejects").glob("noise-*.parquet"))]


def _places(beginning: str, file: tuple[str, Path]) -> list[Place]:
    key, path = file
    ids = read_table(path, ["id"])["id"]
    mine = pc.starts_with(ids, beginning)
    if not pc.any(mine).as_py():
        return []
    rows = read_table(path, ["id", "index"]).filter(mine).to_pylist()
    return [Place(key, path.stem, row["id"], row["index"]) for row in rows]


def lives(run: Path, place: Place) -> bool:
    """Tell whether a row, and no other of the same id, is what went on behind `filter`."""
    return place.key != "read" or row_of(run / "filter" / f"{place.shard}.parquet", place.id, place.index) is not None


@dataclass(frozen=True)
class Child:
    """What of a row is meant: the row, one of its further readings, or what noise made of either."""

    reading: str  # "1"; "": the first
    derived: str  # "inaudible", "ladder-2"; ""

    def id_of(self, row_id: str) -> str:
        """Return the id that it has in a row's family."""
        return "/".join(filter(None, (row_id, self.reading, self.derived)))


def child_and_task(place: Place, rest: Sequence[str]) -> tuple[Child, str | None]:
    """Return what of a row is meant, and of which task the pair is, if one is.

    Raises UserError for anything else behind an id.
    """
    family, parts = place.key != "noise", list(rest)
    reading = parts.pop(0) if family and parts and parts[0].isdecimal() else ""
    derived = parts.pop(0) if family and parts and _DERIVED.fullmatch(parts[0]) else ""
    if len(parts) > 1 or (parts and parts[0] not in TASKS):
        wrong = "/".join(parts)
        raise UserError(
            f"/{wrong}: behind an id stands a reading (/1), /inaudible, /ladder-2, or a task; "
            f"{nearest(wrong, list(TASKS))}"
        )
    return Child(reading, derived), parts[0] if parts else None


def steps_of(recipe: Recipe, place: Place, child: Child) -> Iterator[Step]:
    """Yield the passes that a row went through, in order, each with the row as it came out."""
    run = recipe.run_path
    if place.key == "noise":
        unit = place.shard if record_of(run, "noise", place.shard) else "all"
        for key, name in (("noise.lengths", "all"), ("noise.sounds", place.shard), ("noise", unit)):
            yield _step(run, key, place.shard, place.id, place.index, name)
        return
    reading = Child(child.reading, "").id_of(place.id)
    for key in PATH:
        if key in ("read", "read.speech"):
            if key == place.key:
                yield _step(run, key, place.shard, place.id, place.index, source_of(place.shard))
        elif record_of(run, key, place.shard):
            spoken = key in ("tts", "tts.augment", "quantize")
            step = _step(run, key, place.shard, reading if spoken else place.id, place.index, place.shard)
            yield step
            if step.reject is not None:
                return
    if child.derived:
        key, names = (CHATS, "interruptions-*") if f"/{child.derived}" == SUFFIX else ("noise", "ladder-*")
        for path in sorted((run / key).glob(f"{names}.parquet")):
            if (row := row_of(path, child.id_of(place.id))) is not None:
                sounds = path.stem if record_of(run, "noise", path.stem) else "all"
                yield Step("noise.sounds", path.stem, None)
                yield from [Step("noise", sounds, None)] if key != "noise" else []
                yield Step(key, path.stem if key != "noise" else sounds, row)


def source_of(shard: str) -> str:
    """Return the source of a shard, which is the unit of reading it.

    >>> source_of("gsm-8k-00003")
    'gsm-8k'
    """
    return shard.rpartition("-")[0]


def _step(run: Path, key: str, shard: str, row_id: str, index: int, unit: str) -> Step:
    row = row_of(run / key / f"{shard}.parquet", row_id, index)
    rejected = None if row else row_of(run / key / "rejects" / f"{shard}.parquet", row_id, index)
    return Step(key, unit, row or rejected, rejected["reject"] if rejected else None)


def row_of(path: Path, row_id: str, index: int | None = None) -> Row | None:
    """Return a row of a file, without its sound; None where the file, or the row in it, is not there."""
    if not path.is_file():
        return None
    with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
        names = file.schema_arrow.names
        if not {"id", "index"} <= set(names):
            return None
        keys = file.read(["id", "index"], use_threads=False)
        same = pc.equal(keys["id"], row_id)
        if index is not None:
            same = pc.and_(same, pc.equal(keys["index"], index))
        at = pc.index(same, True).as_py()
        if at < 0:
            return None
        ends = list(accumulate(file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)))
        group = next(n for n, end in enumerate(ends) if at < end)
        first = ends[group - 1] if group else 0
        columns = [column for column in _COLUMNS if column.partition(".")[0] in names]
        columns += ["reject"] if "reject" in names else []
        table = file.read_row_group(group, columns=columns, use_threads=False)
        (row,) = table.slice(at - first, 1).to_pylist()
    return {**dict.fromkeys(ROW.names), **row}


def last_of(run: Path, steps: Sequence[Step]) -> tuple[str, Row, str | None]:
    """Return the last pass that has a row, the row, and why it ended there, if it did."""
    found = [(step.key, step.row, step.reject) for step in steps if step.row is not None]
    if not found:
        raise UserError(f"{run}: its shards are being made again: try once the run is finished")
    key, row, reject = found[-1]
    return key, row, reject


def record_of(run: Path, key: str, unit: str) -> Record | None:
    """Return the record of a pass's unit, whether it is up to date or not."""
    return read_record(run / key / f"{unit}.json")
