"""Decontamination, for the rule `benchmark`: an index of benchmark prompts, the rows that match, the report.

Prompts are compared written and as spoken. A row's spoken form is sought only where it can be another (it
has digits or signs) and where the row can be spoken at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters.decontamination import Index, build_index, find_hits
from filters.duplicates import normalise, normalise_all
from filters.markers import strip_markers
from pipelines.errors import UserError
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit
from pipelines.messages import Texts
from pipelines.options import Source
from pipelines.recipe import SCORED_BY, Recipe
from pipelines.row import ROW, Row, user_turns
from pipelines.rules import BenchmarkRule
from pipelines.shapes import BadRecord, checked, find_shape
from pipelines.shards import Counts, read_table, to_json
from pipelines.sources import read_records, source_digests
from tts.spoken_form import spoken_form

INDEX_FILE = "score.benchmarks/index.parquet"
PROMPTS_FILE = "score.benchmarks/prompts.parquet"
REPORT_FILE = "decontamination.json"
_HIT = pa.schema([*(ROW.field(name) for name in ("id", "source", "index", "messages")), ("benchmark", pa.string())])
_LOOK_AT = 200  # records, to find a benchmark's columns
_SPOKEN_OTHERWISE = r"[^\p{L}\s.,;:?!'\"’“”()\-]"


def overlap_file(shard: str) -> str:
    """Return the file that says which benchmark each row of a shard is of."""
    return f"score.overlap/{shard}.parquet"


def _hits_file(shard: str) -> str:
    return f"score.overlap/hits/{shard}.parquet"


def _index_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    rule = recipe.filter.find(BenchmarkRule)
    if rule is None:
        return []
    outside: dict[str, str] = {}
    for source in rule.benchmarks:
        try:
            digests = source_digests(source, Path(recipe.root), {})
        except UserError:
            if rule.missing == "error":
                raise
            digests = {}
        outside |= {f"{source.name}: {name}": digest for name, (_, _, digest) in digests.items()}
    args = {"benchmarks": [source.model_dump(mode="json") for source in rule.benchmarks], "missing": rule.missing}
    return [Unit("index", args=args, outside=outside)]


def _write_index(job: Job) -> Outcome:
    """Write the index of all benchmark prompts, and the prompts by number."""
    found: list[tuple[str, str]] = []
    missing = {}
    for source in map(Source.model_validate, job.unit.args["benchmarks"]):
        try:
            prompts = list(_prompts(source, job.recipe))
        except UserError as error:
            if job.unit.args["missing"] == "error":
                raise UserError(
                    f"benchmark {error}. Mend it, or let runs go on without it: "
                    "--set filter.rules.benchmark.missing=skip"
                ) from error
            missing[source.name] = str(error)
            continue
        found += [(source.name, prompt) for prompt in prompts]
    texts = [prompt for _, prompt in found]
    normalised = normalise_all(texts)
    if any(normalised):
        index = build_index(normalised, spoken=normalise_all([spoken_form(text) for text in texts]))
        pq.write_table(index.to_table(), job.staged.path(INDEX_FILE), use_dictionary=False)
    names = pa.array([name for name, _ in found], pa.string())
    job.staged.table(PROMPTS_FILE, pa.table({"benchmark": names, "prompt": pa.array(texts, pa.string())}))
    return Outcome(facts={"prompts": sum(map(bool, normalised)), "missing": missing})


def _prompts(source: Source, recipe: Recipe) -> Iterator[str]:
    """Yield the first user message of each record; records without one are passed over."""
    root = Path(recipe.root)
    columns: dict[str, Any] = {}
    for record in islice(read_records(source, root), _LOOK_AT):
        if isinstance(record.value, dict):
            columns.update({c: v for c, v in record.value.items() if columns.get(c) is None})
    shape = find_shape(source, columns)
    for record in islice(read_records(source, root), source.limit):
        try:
            if not isinstance(record.value, dict):
                continue
            messages = checked(shape.convert(record.value), "first", recipe.read.max_prompt_bytes)
        except BadRecord:
            continue
        yield strip_markers(next(text for role, text in messages if role == "user"))


def _overlap_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    if recipe.filter.find(BenchmarkRule) is None:
        return []
    (facts,) = outputs.facts("score.benchmarks")
    index = (INDEX_FILE,) if facts["prompts"] else ()
    return [Unit(s.name, (s.path, PROMPTS_FILE, *index), s.rows) for s in outputs.shards(recipe.scored_by)]


def _first_hits(index: Index, said: Texts) -> NDArray[np.int32]:
    """Return of each row the hit of its first user message that has one by itself, or -1."""
    hits = find_hits(index, normalise_all(said.texts))
    result = np.full(said.n_rows, -1, np.int32)
    backwards = np.flatnonzero(hits >= 0)[::-1]  # of several messages of a row the first is written last, and stays
    result[said.row[backwards]] = hits[backwards]
    return result


def _find_overlap(job: Job) -> Outcome:
    """Write for each row of a shard the benchmark prompt that it is: "name:number", or null."""
    if INDEX_FILE not in job.unit.inputs:
        nothing = pa.table({"benchmark": pa.nulls(job.unit.rows, pa.string())})
        job.staged.table(overlap_file(job.unit.name), nothing)
        job.staged.table(_hits_file(job.unit.name), _HIT.empty_table())
        return Outcome(Counts(job.unit.rows, job.unit.rows), {"hits": 0})
    index = Index.from_table(read_table(job.input(2)))
    benchmarks = read_table(job.input(1), columns=["benchmark"])["benchmark"].to_pylist()
    first = {name: benchmarks.index(name) for name in dict.fromkeys(benchmarks)}
    columns = ["id", "source", "index", "messages", "exchanges", "generated", "normalised", "unspeakable", "private"]
    table = read_table(job.input(), columns)
    rows = pl.DataFrame({name: pl.Series(table[name]) for name in ("normalised", "unspeakable", "private")})
    hits = find_hits(index, rows["normalised"].fill_null("").to_list())
    other = (
        rows["normalised"].str.contains(_SPOKEN_OTHERWISE).fill_null(False).to_numpy()
        & rows["unspeakable"].is_null().to_numpy()
        & rows["private"].is_null().to_numpy()
        & (hits < 0)
    )
    if other.any():
        messages = table["messages"].filter(pa.array(other)).to_pylist()
        spoken = [" ".join(normalise(spoken_form(text)) for _, text in user_turns(m)) for m in messages]
        hits[np.flatnonzero(other)] = find_hits(index, spoken)
    rewritten = np.flatnonzero(table["generated"].is_valid().to_numpy() & (hits < 0))
    if rewritten.size:  # other words do not make another question of it
        hits[rewritten] = find_hits(index, [_as_read(row) for row in table.take(pa.array(rewritten)).to_pylist()])
    chats = np.flatnonzero((table["exchanges"].to_numpy() > 1) & (hits < 0))
    if chats.size:  # nor do other turns hide it, where it is short and stands alone in one
        hits[chats] = _first_hits(index, Texts(table["messages"].take(pa.array(chats)), "user"))
    found = pa.array(
        [f"{benchmarks[hit]}:{hit - first[benchmarks[hit]]}" if hit >= 0 else None for hit in hits.tolist()],
        pa.string(),
    )
    job.staged.table(overlap_file(job.unit.name), pa.table({"benchmark": found}))
    hit_rows = table.select(["id", "source", "index", "messages"]).filter(found.is_valid())
    hit_rows = hit_rows.append_column("benchmark", found.drop_null())
    job.staged.table(_hits_file(job.unit.name), hit_rows)
    return Outcome(Counts(rows.height, rows.height), {"hits": hit_rows.num_rows})


def _as_read(row: Row) -> str:
    """Return what a row's user says, normalised, as it was before a language model put it in other words."""
    originals = {note["turn"]: note["original"] for note in row["generated"]}
    return " ".join(normalise(originals.get(turn, text)) for turn, text in user_turns(row["messages"]))


def _report_units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    if recipe.filter.find(BenchmarkRule) is None:
        return []
    (facts,) = outputs.facts("score.benchmarks")
    inputs = (PROMPTS_FILE, *(_hits_file(s.name) for s in outputs.shards(recipe.scored_by)))
    return [Unit("all", inputs, args={"missing": facts["missing"]})]


def _report(job: Job) -> Outcome:
    """Write decontamination.json: per benchmark the prompts checked, the hits, and the hits themselves."""
    prompts = pl.read_parquet(job.input()).with_row_index("at")
    prompts = prompts.with_columns(number=pl.col("at") - pl.col("at").min().over("benchmark"))
    texts = {(name, number): text for _, name, text, number in prompts.iter_rows()}
    hits: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for name in job.unit.inputs[1:]:
        for row in read_table(job.file(name)).to_pylist():
            benchmark, _, number = row.pop("benchmark").rpartition(":")
            said = "\n".join(text for _, text in user_turns(row.pop("messages")))
            hits.setdefault((benchmark, int(number)), []).append({**row, "prompt": said})
    benchmarks: dict[str, Any] = {}
    for benchmark, size in prompts.group_by("benchmark", maintain_order=True).len().iter_rows():
        mine = sorted(key for key in hits if key[0] == benchmark)
        benchmarks[benchmark] = {
            "prompts": size,
            "prompts_hit": len(mine),
            "rows_hit": sum(len(hits[key]) for key in mine),
            "hits": [{"number": key[1], "prompt": texts[key], "rows": hits[key]} for key in mine],
        }
    content = {"benchmarks": benchmarks, "not_checked": job.unit.args["missing"]}
    job.staged.bytes(REPORT_FILE, to_json(json.loads(json.dumps(content))))
    return Outcome(facts={"rows_hit": sum(b["rows_hit"] for b in benchmarks.values())})


INDEX_PASS = Pass(
    key="score.benchmarks",
    needs=(),
    version=2,
    options=lambda recipe: {"max_prompt_bytes": recipe.read.max_prompt_bytes},
    units=_index_units,
    run=_write_index,
)
OVERLAP_PASS = Pass(
    key="score.overlap",
    needs=(*SCORED_BY, "score.benchmarks"),
    version=3,
    options=lambda recipe: {},
    units=_overlap_units,
    run=_find_overlap,
    one_to_one=True,
    follows=lambda recipe: (recipe.scored_by,),
)
REPORT_PASS = Pass(
    key="filter.decontamination",
    needs=(*SCORED_BY, "score.benchmarks", "score.overlap"),
    version=1,
    options=lambda recipe: {},
    units=_report_units,
    run=_report,
    light=True,
)
