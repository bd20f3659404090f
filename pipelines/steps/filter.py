"""filter: rows -> rows that can be spoken. The rules read what `score` wrote, in the recipe's order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.graph import Job, Outcome, Outputs, Pass, Unit
from pipelines.recipe import SCORED_BY, Recipe
from pipelines.row import REJECTED_ROW, ROW
from pipelines.rules import BenchmarkRule, DuplicateRule, NearDuplicateRule
from pipelines.shards import Counts, read_table
from pipelines.steps.benchmarks import OVERLAP_PASS, overlap_file
from pipelines.verdicts import SCORES, columns_of, count_reasons, kept, rejects

DUPLICATES_FILE = "filter.duplicates/all.parquet"
UNIQUE_FILE = "filter.duplicates/unique.parquet"


def _scores(job: Job, shard: str, table: pa.Table) -> pl.DataFrame:
    """Return what rules look at in a shard's table, and the benchmark that each row's prompt is of."""
    scores = pl.from_arrow(table.select([name for name in table.column_names if name in SCORES]))
    assert isinstance(scores, pl.DataFrame), "a table becomes a frame"
    if job.recipe.filter.find(BenchmarkRule) is None:
        return scores
    found = pl.Series("benchmark", read_table(job.file(overlap_file(shard)))["benchmark"])
    return scores.with_columns(found)


def _find_duplicates(job: Job) -> Outcome:
    """Write (shard, row, of): rows that an earlier kept row makes superfluous, and that row's id.

    Records identical in a source are duplicates whatever the rules say, for they share their id. Also
    writes `unique`: the positions, among all rows, of those that are kept so far, for near duplicates.
    """
    key = "duplicate_key" if job.recipe.filter.find(DuplicateRule) else "id"
    names = [Path(name).stem for name in job.unit.inputs if name.startswith(f"{job.recipe.scored_by}/")]
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:  # one thread in a worker, which has one CPU
        read = list(pool.map(partial(_kept_keys, job, key), names))
    keys = [of_shard for of_shard, _, _ in read]
    places = [
        np.stack([np.full(len(rows), number), rows], axis=1).astype(np.int32)
        for number, (_, rows, _) in enumerate(read)
    ]
    ends = np.cumsum([0, *(height for _, _, height in read)])
    first = _first_of_equals(np.concatenate(keys))
    place = np.concatenate(places)
    again = np.flatnonzero(first != np.arange(len(first)))
    found = pl.DataFrame(
        {
            "shard": pl.Series([names[number] for number in place[again, 0]], dtype=pl.String),
            "row": place[again, 1],
            "of": pl.Series(_ids(job, names, place[first[again]]), dtype=pl.String),
        }
    )
    job.staged.table(DUPLICATES_FILE, found.to_arrow())
    unique = np.flatnonzero(first == np.arange(len(first)))
    positions = ends[place[unique, 0]] + place[unique, 1]
    job.staged.table(UNIQUE_FILE, pa.table({"position": pa.array(positions, pa.int64())}))
    return Outcome(facts={"compared": len(first), "duplicates": found.height})


def _kept_keys(job: Job, key: str, shard: str) -> tuple[NDArray[np.void], NDArray[np.int64], int]:
    """Return the keys of a shard's rows that no rule on single rows rejects, their places, and its number of rows."""
    rules = job.recipe.filter.rules
    table = read_table(job.file(f"{job.recipe.scored_by}/{shard}.parquet"), [key, *columns_of(rules)])
    stays = kept(_scores(job, shard, table), rules).to_numpy()
    return _as_bytes(table[key].combine_chunks(), stays), np.flatnonzero(stays), table.num_rows


def _as_bytes(hexadecimal: pa.Array, wanted: NDArray[np.bool_]) -> NDArray[np.void]:
    """Return a column of 32 hex digits as 16 bytes each: a quarter of the memory of strings, and sortable."""
    digits = "".join(hexadecimal.filter(pa.array(wanted)).to_pylist())
    return np.frombuffer(bytes.fromhex(digits), np.dtype([("high", "<u8"), ("low", "<u8")]))


def _first_of_equals(keys: NDArray[np.void]) -> NDArray[np.int64]:
    """Return for each key the position of the first equal one."""
    if not len(keys):
        return np.zeros(0, np.int64)
    order = np.lexsort((keys["low"], keys["high"]))  # stable: equal keys stay in the order of rows
    high, low = keys["high"][order], keys["low"][order]
    starts = np.flatnonzero(np.concatenate([[True], (high[1:] != high[:-1]) | (low[1:] != low[:-1])]))
    first = np.empty(len(keys), np.int64)
    first[order] = np.repeat(order[starts], np.diff(np.append(starts, len(keys))))
    return first


def _ids(job: Job, names: list[str], places: NDArray[np.int32]) -> list[str]:
    """Return the ids of rows given as (number of the shard, row)."""
    result = np.empty(len(places), object)
    for number in np.unique(places[:, 0]) if len(places) else ():
        mine = places[:, 0] == number
        ids = read_table(job.file(f"{job.recipe.scored_by}/{names[number]}.parquet"), columns=["id"])["id"]
        result[mine] = ids.take(pa.array(places[mine, 1])).to_pylist()
    return list(result)


_NONE = pl.DataFrame(schema={"row": pl.Int32, "reject": pl.String})


@lru_cache(maxsize=1)
def _superfluous(paths: tuple[Path, ...], rules: tuple[str, ...], digests: tuple[str, ...]) -> dict[str, pl.DataFrame]:
    """Return shard -> (row, reject) of all duplicates: read once by a worker for all its shards.

    Args:
        rules: that the files' rows break.
        digests: of the files, so that changed ones are read again.
    """
    tables = []
    for path, rule in zip(paths, rules, strict=True):
        tables.append(pl.read_parquet(path).with_columns(reject=pl.lit(f"{rule}:") + pl.col("of")))
    by_shard = pl.concat(tables).partition_by("shard", as_dict=True)
    return {str(shard): rows.select("row", "reject") for (shard,), rows in by_shard.items()}


def _run(job: Job) -> Outcome:
    shard, columns = job.unit.name, ROW.names
    table = read_table(job.input(), columns=columns)
    reject = rejects(_scores(job, shard, table), job.recipe.filter.rules)
    found = [name for name in job.unit.inputs if name.startswith(("filter.duplicates/", "filter.near_duplicates/"))]
    digests = tuple(job.digests[name] for name in found)
    rules = tuple(name.partition("/")[0].removesuffix("s") for name in found)
    again = _superfluous(tuple(map(job.file, found)), rules, digests).get(shard, _NONE)
    reject = reject.scatter(again["row"], again["reject"])
    stays = reject.is_null()
    dropped = table.filter((~stays).to_arrow()).append_column(
        "reject", reject.drop_nulls().to_arrow().cast(pa.string())
    )
    job.staged.table(f"filter/{shard}.parquet", table.filter(stays.to_arrow()).cast(ROW))
    job.staged.table(f"filter/rejects/{shard}.parquet", dropped.cast(REJECTED_ROW))
    rows = int(stays.sum())
    return Outcome(Counts(table.num_rows, rows, count_reasons(reject.drop_nulls())), {"shards": {shard: rows}})


def _duplicates_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    shards = outputs.shards(recipe.scored_by)
    overlaps = [overlap_file(s.name) for s in shards] if recipe.filter.find(BenchmarkRule) else []
    return [Unit("all", (*(s.path for s in shards), *overlaps), sum(s.rows for s in shards))] if shards else []


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    near = [name for record in outputs.records("filter.near_duplicates").values() for name in record.files]
    return [
        Unit(
            s.name,
            (
                s.path,
                DUPLICATES_FILE,
                *near,
                *([overlap_file(s.name)] if recipe.filter.find(BenchmarkRule) else []),
            ),
            s.rows,
        )
        for s in outputs.shards(recipe.scored_by)
    ]


def rule_options(recipe: Recipe) -> dict[str, Any]:
    """Return what decides about a row by itself and its copies: the rules, in order, but near duplicates."""
    return {
        "rules": {
            rule.rule: rule.model_dump(mode="json", exclude={"rule", "benchmarks", "missing", "vocabulary"})
            for rule in recipe.filter.rules
            if not isinstance(rule, NearDuplicateRule)
        }
    }


DUPLICATES = Pass(
    key="filter.duplicates",
    needs=(*SCORED_BY, OVERLAP_PASS.key),
    version=2,
    options=rule_options,
    units=_duplicates_units,
    run=_find_duplicates,
    light=True,
)
PASS = Pass(
    key="filter",
    needs=(*SCORED_BY, OVERLAP_PASS.key, "filter.duplicates", "filter.near_duplicates"),
    version=3,
    options=rule_options,
    units=_units,
    run=_run,
    one_to_one=True,
    light=True,
)
