"""Near duplicates among all rows, in passes over shards, bands and parts; none holds all texts.

    score.signatures      a shard  -> each row's hash in each band
    score.buckets         a band   -> rows that share a bucket, whatever their shard
    score.families        all      -> connected components over the buckets: families, and families into parts
    score.members         a shard  -> its rows of each part, with their normalised text
    filter.near_duplicates  a part -> which rows a kept row makes superfluous, by exact similarity

All but the last know no threshold and no other rule, so that a changed one finds them done.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters.near_duplicates import BANDS, band_hashes, buckets, families, find_near_duplicates
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit
from pipelines.recipe import SCORED_BY, Recipe
from pipelines.rules import NearDuplicateRule, PrivateRule, SpeakableRule
from pipelines.shards import Counts, read_table
from pipelines.steps.filter import DUPLICATES, UNIQUE_FILE

ROWS_PER_PART = 200_000  # at most, but for larger families: their texts and shingles, 1 KB a row, are held by a worker
FAMILIES_FILE = "score.families/all.parquet"
_POSITION = pa.field("position", pa.int64())  # of a row among all rows, in the order of shards
_BUCKET = pa.schema([("bucket", pa.int64()), _POSITION])
_MEMBER = pa.schema([("part", pa.int32()), _POSITION, ("source", pa.string()), ("id", pa.string()),
                     ("shard", pa.string()), ("row", pa.int32()), ("normalised", pa.string())])  # fmt: skip


def _signature_file(shard: str) -> str:
    return f"score.signatures/{shard}.parquet"


def _bucket_file(band: int) -> str:
    return f"score.buckets/{band:02d}.parquet"


def _wanted(recipe: Recipe) -> bool:
    return recipe.has_texts and recipe.filter.find(NearDuplicateRule) is not None


def _sign(job: Job) -> Outcome:
    """Write the band hashes of a shard's rows; null for rows that no threshold can let pass."""
    ended = _ended_by(job.recipe)["null_in"]
    table = read_table(job.input(), columns=["normalised", *ended])
    texts = table["normalised"]
    scored = texts.is_valid().to_numpy()
    for name in ended:
        scored &= table[name].is_null().to_numpy()
    hashes = band_hashes(texts.filter(pa.array(scored)).to_pylist())
    columns = {}
    for band in range(BANDS):
        values = np.zeros(len(texts), np.uint32)
        values[scored] = hashes[band]
        columns[str(band)] = pa.array(values, mask=~scored)
    job.staged.table(_signature_file(job.unit.name), pa.table(columns))
    return Outcome(Counts(len(texts), len(texts)))


def _fill_buckets(job: Job) -> Outcome:
    """Write who shares a bucket of one band."""
    band = job.unit.args["band"]
    columns = [str(band), str((band + 1) % BANDS)]
    mine, following, positions, start = [], [], [], 0
    for name in job.unit.inputs:
        table = read_table(job.file(name), columns=columns)
        scored = table[0].is_valid()
        mine.append(table[0].filter(scored).to_numpy())
        following.append(table[1].filter(scored).to_numpy())
        positions.append(start + np.flatnonzero(scored.to_numpy()))
        start += table.num_rows
    bucket, position = buckets(np.concatenate(mine), np.concatenate(following), np.concatenate(positions))
    job.staged.table(_bucket_file(band), pa.table([bucket, position], schema=_BUCKET))
    return Outcome(facts={"rows": len(position), "buckets": int(bucket[-1]) + 1 if len(bucket) else 0})


def _read_buckets(job: Job, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    table = read_table(job.file(name))
    return table["bucket"].to_numpy(), table["position"].to_numpy()


def _divide(job: Job) -> Outcome:
    """Write the part of each row that shares a bucket: families stay together, parts are about even."""
    n_rows = job.unit.args["rows"]
    label = families([_read_buckets(job, name) for name in job.unit.inputs], n_rows)
    sizes = np.bincount(label, minlength=n_rows)
    of_many = sizes[label] > 1
    before = np.cumsum(np.where(sizes > 1, sizes, 0)) - sizes  # rows of the families before each
    position = np.flatnonzero(of_many)
    rows_per_part = max(1, -(-len(position) // max(1, count_parts(len(position)))))
    _, part = np.unique(before[label[position]] // rows_per_part, return_inverse=True)  # large families leave some out
    job.staged.table(FAMILIES_FILE, pa.table({"position": position, "part": part.astype(np.int32)}))
    largest = int(sizes.max()) if n_rows else 0
    return Outcome(facts={"rows": len(position), "parts": int(part.max()) + 1 if len(part) else 0, "largest": largest})


def count_parts(rows: int) -> int:
    """Return the number of parts of so many rows that share buckets: of several, four or a multiple of that.

    Two or four workers then end together.

    >>> [count_parts(rows) for rows in (0, 1, 200_000, 200_001, 900_000)]
    [0, 1, 1, 4, 8]
    """
    parts = -(-rows // ROWS_PER_PART)
    return parts if parts <= 1 else -(-parts // 4) * 4


@lru_cache(maxsize=1)
def _read_families(path: Path, digest: str) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return positions and parts of all rows that share buckets: read once by a worker for all its shards."""
    table = read_table(path)
    return table["position"].to_numpy(), table["part"].to_numpy()


def _gather_members(job: Job) -> Outcome:
    """Write a shard's rows that share buckets, a row group for each part."""
    start, rows = job.unit.args["start"], job.unit.rows
    position, part = _read_families(job.input(1), job.digests[FAMILIES_FILE])
    mine = slice(*np.searchsorted(position, [start, start + rows]))
    members = pl.DataFrame({"position": position[mine], "part": part[mine]})
    texts = pl.read_parquet(job.input(), columns=["source", "id", "normalised"])
    row = (members["position"] - start).cast(pl.Int32)
    members = members.with_columns(texts[row], shard=pl.lit(job.unit.name), row=row).sort("part", "position")
    with job.staged.parquet(f"score.members/{job.unit.name}.parquet", _MEMBER) as writer:
        for _, group in members.group_by("part", maintain_order=True):
            writer.write_table(group.select(_MEMBER.names).to_arrow().cast(_MEMBER))
    return Outcome(Counts(rows, rows), {"members": members.height})


def _find(job: Job) -> Outcome:
    """Write (shard, row, of): rows of a part that resemble a kept row, and that row's id."""
    part, sources = job.unit.args["part"], job.unit.args["sources"]
    unique = read_table(job.file(UNIQUE_FILE))["position"].to_numpy()
    names = [name for name in job.unit.inputs if name.startswith("score.members/")]
    members = pl.from_arrow(pa.concat_tables([_members_of(job.file(name), part) for name in names]))
    assert isinstance(members, pl.DataFrame), "a table becomes a frame"
    members = members.filter(pl.Series(np.isin(members["position"].to_numpy(), unique, assume_unique=True)))
    order = pl.col("source").replace_strict(sources, range(len(sources)), return_dtype=pl.Int32)
    members = members.sort(order, "id", "position")
    bucket, row = _shared_buckets(job, members["position"].to_numpy())
    rule = job.recipe.filter.find(NearDuplicateRule)
    assert rule is not None, "without the rule there is no unit"
    again, of = find_near_duplicates(members["normalised"].to_list(), bucket, row, rule.jaccard)
    found = members[again].select("shard", "row").with_columns(of=members["id"].gather(of))
    job.staged.table(f"filter.near_duplicates/{part:05d}.parquet", found.to_arrow())
    return Outcome(facts={"compared": members.height, "near_duplicates": found.height})


def _members_of(path: Path, part: int) -> pa.Table:
    """Return the row group of a part; nothing where the shard has no row of it."""
    with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            if file.metadata.row_group(group).column(0).statistics.min == part:
                return file.read_row_group(group, use_threads=False)
    return _MEMBER.empty_table()


def _shared_buckets(job: Job, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (bucket, number of the row in `positions`), sorted, of all bands; buckets of one are left out."""
    number = np.full(int(positions.max(initial=-1)) + 1, -1, np.int32)
    number[positions] = np.arange(len(positions))
    parts: list[NDArray[np.int64]] = []
    first = 0
    for name in job.unit.inputs:
        if not name.startswith("score.buckets/"):
            continue
        bucket, position = _read_buckets(job, name)
        near = position < len(number)
        row = number[position[near]]
        mine = row >= 0
        parts.append((first + bucket[near][mine]) << 32 | row[mine])  # sorted as one number, many times faster
        first += int(bucket[-1]) + 1 if len(bucket) else 0
    links = np.sort(np.concatenate(parts))
    key, row = links >> 32, links & 0xFFFFFFFF
    shared = np.bincount(key)[key] > 1 if len(key) else np.zeros(0, bool)
    return key[shared], row[shared]


def _signature_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    return [Unit(s.name, (s.path,), s.rows) for s in outputs.shards(recipe.scored_by)] if _wanted(recipe) else []


def _bucket_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    if not _wanted(recipe):
        return []
    shards = outputs.shards(recipe.scored_by)
    inputs = tuple(_signature_file(s.name) for s in shards)
    rows = sum(s.rows for s in shards)
    return [Unit(Path(_bucket_file(band)).stem, inputs, rows, {"band": band}) for band in range(BANDS)]


def _family_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    rows = sum(s.rows for s in outputs.shards(recipe.scored_by))
    inputs = tuple(_bucket_file(band) for band in range(BANDS))
    return [Unit("all", inputs, rows, {"rows": rows})] if _wanted(recipe) else []


def _member_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    units, start = [], 0
    for shard in outputs.shards(recipe.scored_by) if _wanted(recipe) else ():
        units.append(Unit(shard.name, (shard.path, FAMILIES_FILE), shard.rows, {"start": start}))
        start += shard.rows
    return units


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    if not _wanted(recipe):
        return []
    (facts,) = outputs.facts("score.families")
    members = [f"score.members/{s.name}.parquet" for s in outputs.shards(recipe.scored_by)]
    inputs = (UNIQUE_FILE, *(_bucket_file(band) for band in range(BANDS)), *members)
    sources = [source.name for source in recipe.sources]
    return [
        Unit(f"{part:05d}", inputs, -(-facts["rows"] // facts["parts"]), {"part": part, "sources": sources})
        for part in range(facts["parts"])
    ]


def _ended_by(recipe: Recipe) -> dict[str, list[str]]:
    """Return the scores that must be null for a row to be kept, whatever the thresholds."""
    rules = {"unspeakable": SpeakableRule, "private": PrivateRule}
    return {"null_in": [name for name, rule in rules.items() if recipe.filter.find(rule)]}


def _no_options(recipe: Recipe) -> dict[str, object]:
    return {}


def _jaccard(recipe: Recipe) -> dict[str, object]:
    rule = recipe.filter.find(NearDuplicateRule)
    return {"jaccard": rule.jaccard} if rule else {}


SIGNATURES = Pass(
    key="score.signatures",
    needs=SCORED_BY,
    version=2,
    options=_ended_by,
    units=_signature_units,
    run=_sign,
    one_to_one=True,
    follows=lambda recipe: (recipe.scored_by,),
)
BUCKETS = Pass(
    key="score.buckets",
    needs=(*SCORED_BY, "score.signatures"),
    version=1,
    options=_no_options,
    units=_bucket_units,
    run=_fill_buckets,
    reads_many=True,
)
FAMILIES = Pass("score.families", (*SCORED_BY, "score.buckets"), 2, _no_options, _family_units, _divide)
MEMBERS = Pass("score.members", (*SCORED_BY, "score.families"), 1, _no_options, _member_units, _gather_members)
PASS = Pass(
    key="filter.near_duplicates",
    needs=(*SCORED_BY, "score.buckets", "score.families", "score.members", DUPLICATES.key),
    version=1,
    options=_jaccard,
    units=_units,
    run=_find,
    light=True,
    reads_many=True,
)
