"""Re-reads what a run wrote and re-counts every promise, from the files alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.chats import opening
from pipelines.errors import UserError
from pipelines.graph import TOGETHER, Outputs, together
from pipelines.mixture import quotas
from pipelines.recipe import KEPT_BY, SCORED_BY, Recipe, parse_recipe
from pipelines.row import Message, Row, reason_of, user_turns
from pipelines.rowwise import read_rows
from pipelines.shards import Counts, Record, digest_file, digest_json, read_record, read_table
from pipelines.steps import BY_KEY
from pipelines.steps.augment import FOLDER as AUGMENT
from pipelines.steps.augment import speech_shards
from pipelines.steps.mix import chosen_file
from pipelines.steps.noise_chats import FOLDER as INTERRUPTED
from pipelines.steps.noise_chats import SUFFIX
from pipelines.tasks import REFUSALS
from pipelines.telling.funnel import ROW_STEPS
from pipelines.telling.verify_pairs import Pairs

SHOWN = 5  # failures of one promise that are shown


@dataclass(frozen=True)
class Promise:
    """One promise: how many things were checked, and what breaks it."""

    name: str
    checked: int
    broken: tuple[str, ...]


Checks = Iterator[str | None]  # one item a thing that was checked: None, or what is wrong with it


@dataclass(frozen=True)
class Run:
    """A run folder as verify reads it."""

    folder: Path
    recipe: Recipe
    records: dict[str, dict[str, Record]]  # pass -> unit -> record

    def shards(self, key: str) -> dict[str, Path]:
        """Return the shards of rows that a pass wrote."""
        names = [n for record in self.records.get(key, {}).values() for n in record.facts.get("shards", {})]
        return {name: self.folder / key / f"{name}.parquet" for name in names}

    def rows(self, key: str) -> dict[str, int]:
        """Return how many rows each shard of a pass holds; of removed speech, how many its record says."""
        said = {n: rows for r in self.records.get(key, {}).values() for n, rows in r.facts.get("shards", {}).items()}
        return {
            name: said[name] if self.is_spent(f"{key}/{name}.parquet") else pq.read_metadata(path).num_rows
            for name, path in self.shards(key).items()
        }

    def is_spent(self, name: str) -> bool:
        """Tell whether a file is a shard of speech that was removed once its tokens were safe."""
        folder, _, shard = name.partition("/")
        spent = not self.recipe.tts.keep_audio and folder in ("tts", AUGMENT) and "/" not in shard
        return spent and not (self.folder / name).exists()

    @property
    def pairs(self) -> Pairs:
        """How its pairs must be."""
        noted = [record.facts for record in self.records.get("quantize", {}).values()]
        sounds = {**noted[0], "mask_tokens": sum(facts["mask_tokens"] for facts in noted)} if noted else {}
        return Pairs(self.recipe, sounds)

    def dataset(self, mixture: str) -> list[Path]:
        """Return a mixture's files, as the records name them."""
        names = sorted(name for record in self.records["export"].values() for name in record.files)
        return [self.folder / name for name in names if name.startswith(f"dataset/{mixture}/")]


def open_run(folder: Path) -> Run:
    """Read a run folder's recipe and records. Raises UserError where it is none, or not finished."""
    recipe_path = folder / "recipe.json"
    if not recipe_path.is_file():
        raise UserError(f"{folder} is no run folder: it has no recipe.json")
    records = {}
    for manifest in sorted(folder.glob("*/manifest.json")):
        units = json.loads(manifest.read_bytes())["units"]
        found = {unit: read_record(manifest.parent / f"{unit}.json") for unit in units}
        records[manifest.parent.name] = {unit: record for unit, record in found.items() if record}
    if "export.card" not in records:
        raise UserError(f"{folder} is not finished: run the recipe to its end, then verify")
    return Run(folder, parse_recipe(json.loads(recipe_path.read_bytes()), str(recipe_path)), records)


def verify(run: Run) -> list[Promise]:
    """Check every promise of a finished run."""
    promises: list[tuple[str, Callable[[Run], Checks]]] = [
        ("files are whole: digests equal the records'", _digests),
        ("nothing else lies in the dataset's folder", _strangers),
        ("every file was made of the files that lie there", _provenance),
        ("conservation in every shard: in = kept + rejected, re-counted", _conservation),
        ("nothing between the steps: rows in = rows that the step before kept", _chain),
        ("manifests are the sums of their shards", _manifests),
        ("row ids differ", _row_ids),
        ("chats are whole, or beginnings that say why; every user turn has its sound", _chats),
        ("as many tokens as the seconds give, ids in range, in every utterance", _utterances),
        ("quotas are exact", _quotas),
        ("chosen ids are the lockfile's", _lockfile),
        ("refusals stay under the ceiling", _refusals),
        ("pairs: ids differ, sounds parse, columns agree with the task", _pairs),
    ]
    results = []
    for name, check in promises:
        found: list[str | None] = []
        try:
            found.extend(check(run))
        except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:  # a file that lies: it is named first
            found.append(f"could not be checked to its end: {error}")
        results.append(Promise(name, len(found), tuple(f for f in found if f is not None)))
    return results


def _unless(ok: bool, wrong: str) -> str | None:
    """Return None for what is well, else what is wrong."""
    return None if ok else wrong


def _digests(run: Run) -> Checks:
    for units in run.records.values():
        for record in units.values():
            for name, about in record.files.items():
                path = run.folder / name
                if run.is_spent(name):
                    continue
                whole = path.is_file() and digest_file(path) == about["digest"]
                yield _unless(whole, f"{name} is missing, or is not what was written")


def _strangers(run: Run) -> Checks:
    owned = {name for units in run.records.values() for record in units.values() for name in record.files}
    for path in (run.folder / "dataset").rglob("*"):
        if path.is_file():
            name = str(path.relative_to(run.folder))
            yield _unless(name in owned, f"{name} is of no unit of this run")


def _provenance(run: Run) -> Checks:
    records = [record for units in run.records.values() for record in units.values()]
    digests = {name: about["digest"] for record in records for name, about in record.files.items()}
    for key, units in run.records.items():
        shared = _shared_inputs(run, key) if any(TOGETHER in record.made_of for record in units.values()) else {}
        for unit, record in units.items():
            if TOGETHER in record.made_of:
                there = together({name: digests.get(name) for name in shared.get(unit, ())})
                yield _unless(there == record.made_of[TOGETHER], f"{key}/{unit} was made of other files than {there}")
                continue
            for name, digest in record.made_of["inputs"].items():
                yield _unless(digests.get(name) == digest, f"{key}/{unit} was made of another {name}")


def _shared_inputs(run: Run, key: str) -> dict[str, tuple[str, ...]]:
    """Return the names of the files that the units of a pass read, where their records hold one digest of them."""
    outputs = Outputs()
    for before in BY_KEY:
        if before in run.records:
            outputs.add(before, run.records[before])
    return {unit.name: unit.inputs for unit in BY_KEY[key].units(run.recipe, outputs)}


def _conservation(run: Run) -> Checks:
    for step in ROW_STEPS:
        for unit, record in run.records.get(step, {}).items():
            kept = 0
            rejected: Counter[str] = Counter()
            for name in record.facts["shards"]:
                kept += run.rows(step)[name]
                path = f"{step}/rejects/{name}.parquet"
                if step not in SCORED_BY or path in record.files:  # they reject only what was given up
                    rejects = pq.read_table(run.folder / path, columns=["reject"])
                    rejected.update(map(reason_of, rejects["reject"].to_pylist()))
            counts = record.counts
            same = (kept, dict(rejected)) == (counts.rows_kept, dict(counts.rejected))
            yield _unless(
                same and counts.rows_in == kept + rejected.total(),
                f"{step}/{unit}: {counts.rows_in} in, files hold {kept} kept and {rejected.total()} rejected",
            )


def _speech_chain(recipe: Recipe) -> list[tuple[str, str]]:
    (*speech,) = speech_shards(recipe)
    if speech == [AUGMENT]:
        return [("tts", AUGMENT), ("read.speech", AUGMENT), (AUGMENT, "quantize")]
    return [(step, "quantize") for step in speech]


def _chain(run: Run) -> Checks:
    texts = [key for key in ("read", *SCORED_BY, *KEPT_BY, "tts") if run.records.get(key)]
    for before, step in (*pairwise(texts), *_speech_chain(run.recipe)):
        for name, rows in run.rows(before).items():
            rows *= run.recipe.tts.per_prompt if step == "tts" else 1
            record = run.records[step].get(name)
            taken = record.counts.rows_in if record else 0
            yield _unless(rows == taken, f"{step}/{name} took {taken} of the {rows} rows that {before} kept")


def _manifests(run: Run) -> Checks:
    for key, units in run.records.items():
        manifest = json.loads((run.folder / key / "manifest.json").read_bytes())
        total = Counts.total(record.counts for record in units.values())
        said = Counts(manifest["rows_in"], manifest["rows_kept"], manifest["rejected"])
        conserved = said.rows_in == said.rows_kept + sum(said.rejected.values())
        yield _unless(said == total and conserved, f"{key}/manifest.json is not the sum of its {len(units)} records")


def _row_ids(run: Run) -> Checks:
    paths = [*run.shards("quantize").values(), *run.shards("noise").values(), *run.shards(INTERRUPTED).values()]
    ids = pl.concat(pl.read_parquet(path, columns=["id"]) for path in paths)["id"]
    twice = set(ids.filter(ids.is_duplicated()).to_list())
    for row_id in ids.to_list():
        yield _unless(row_id not in twice, f"{row_id} stands twice")


def _chats(run: Run) -> Checks:
    recipe = run.recipe
    if recipe.shortens_chats:
        yield from _beginnings(run, recipe.rewritten_by, recipe.scored_by)
    yield from _beginnings(run, recipe.kept_by, "quantize")
    for name, path in run.shards("quantize").items():
        for row in read_rows(path, ["id", "messages", "spoken.list.element.turn"]):
            turns, spoken = [turn for turn, _ in user_turns(row["messages"])], [u["turn"] for u in row["spoken"]]
            same = list(dict.fromkeys(spoken)) == turns or not turns  # recordings may have no text
            yield _unless(same, f"quantize/{name} {row['id']}: turns {spoken} are sounds, {turns} are the user's")
    yield from _interrupted(run)


def _beginnings(run: Run, before: str, after: str) -> Checks:
    """Check each chat of a pass against that of one before it."""
    columns, earlier = ["id", "messages", "exchanges", "cut"], run.shards(before)
    for name, path in run.shards(after).items():
        if name not in earlier:
            continue
        whole = {row["id"]: row for row in read_rows(earlier[name], columns) if row["exchanges"] > 1}
        for row in read_rows(path, columns):
            of = whole.get(row["id"].partition("/")[0])
            if of is not None:
                shorter = row["exchanges"] < of["exchanges"]
                same = row["messages"] == opening(of["messages"], row["exchanges"])
                said = shorter == (row["cut"] != of["cut"])
                yield _unless(
                    same and said, f"{after}/{name} {row['id']} is no beginning of that in {before}, or cut lies"
                )


def _interrupted(run: Run) -> Checks:
    """Check that each interrupted chat is the chat with one exchange put in, and that this stands in no mixture."""
    found = {row["id"]: row for path in run.shards(INTERRUPTED).values() for row in read_rows(path)}
    if not found:
        return
    chosen = {row_id for name in run.recipe.mix.mixtures for _, row_id in _pair_ids(run, name)}
    for path in run.shards("quantize").values():
        ids = pl.read_parquet(path, columns=["id"])["id"]
        mine = (ids + SUFFIX).is_in(list(found))
        for row in read_table(path).filter(mine.to_arrow()).to_pylist():
            again = found.pop(row["id"] + SUFFIX)
            yield _unless(_told(again) == _told(row), f"{again['id']} is not {row['id']} with one exchange put in")
            yield _unless(row["id"] not in chosen, f"{row['id']} stands in a mixture, and interrupted too")
    yield from (f"{row_id}: there is no such chat" for row_id in found)


def _told(row: Row) -> tuple[list[Message], list[tuple[int, list[int]]]]:
    """Return the messages and sounds of a chat, without an exchange that nobody hears."""
    messages, sounds = row["messages"], [(u["turn"], u["tokens"]) for u in row["spoken"]]
    if row["inaudible"] is None:
        return messages, sounds
    at = json.loads(row["inaudible"])["turn"]
    moved = [(turn - 2 * (turn > at), tokens) for turn, tokens in sounds if turn != at]
    return [*messages[:at], *messages[at + 2 :]], moved


def _utterances(run: Run) -> Checks:
    pairs = run.pairs
    for step in ("quantize", "noise", INTERRUPTED):
        for name, path in run.shards(step).items():
            for row in read_rows(path, ["id", "spoken"]):
                for utterance in row["spoken"]:
                    wrong = pairs.wrong_tokens(utterance["tokens"], utterance["seconds"])
                    yield f"{step}/{name} {row['id']}: {wrong}" if wrong else None


def _tasks(run: Run, mixture: str) -> Counter[str]:
    """Return how many pairs of each task a mixture's files hold."""
    return Counter(task for task, _ in _pair_ids(run, mixture))


def _pair_ids(run: Run, mixture: str) -> list[tuple[str, str]]:
    """Return the task and the row's id of each pair in a mixture's files; of files without them, as `mix` chose."""
    files = run.dataset(mixture)
    named = run.recipe.mix.mixtures[mixture].columns
    if named is None or {"id", "task"} <= set(named):
        pairs = pl.concat(pl.read_parquet(path, columns=["task", "id"]) for path in files)
        return [(task, pair_id.removesuffix(f"/{task}")) for task, pair_id in pairs.iter_rows()]
    chosen = pl.read_parquet(run.folder / chosen_file(mixture), columns=["task", "id"])
    rows = sum(pq.read_metadata(path).num_rows for path in files)
    return [(task, row_id) for task, row_id in chosen.head(rows).iter_rows()]


def _lock(run: Run) -> dict[str, Any]:
    return dict(json.loads((run.folder / "mixture.json").read_bytes()))


def _quotas(run: Run) -> Checks:
    lock = _lock(run)["mixtures"]
    for name, mixture in run.recipe.mix.mixtures.items():
        counted, total = _tasks(run, name), lock[name]["total"]
        wanted = quotas(total, mixture.parts)
        for part in dict.fromkeys([*wanted, *counted]):
            quota = wanted.get(part, 0)
            yield _unless(counted[part] == quota, f"{name}: {counted[part]} rows of {part}, the quota is {quota}")
        if isinstance(mixture.total, int) and not mixture.shrink:
            yield _unless(total == mixture.total, f"{name}: {total} rows, asked for {mixture.total}")


def _lockfile(run: Run) -> Checks:
    for name, mixture in _lock(run)["mixtures"].items():
        ids: dict[str, list[str]] = {}
        for task, row_id in _pair_ids(run, name):
            ids.setdefault(task, []).append(row_id)
        for part, about in mixture["parts"].items():
            same = digest_json(sorted(ids.get(part, []))) == about["digest"] and about["chosen"] == about["quota"]
            yield _unless(same, f"{name}: the rows of {part} are not those of mixture.json")


def _refusals(run: Run) -> Checks:
    counted = [_tasks(run, name) for name in run.recipe.mix.mixtures]
    refusals, total = sum(c[task] for c in counted for task in REFUSALS), sum(c.total() for c in counted)
    ceiling = Fraction(str(run.recipe.mix.max_refusal_share))
    yield _unless(refusals <= ceiling * total, f"{refusals} of {total} rows, above {float(ceiling):.2%}")


def _pairs(run: Run) -> Checks:
    pairs = run.pairs
    for name in run.recipe.mix.mixtures:
        yield from pairs.check(name, run.dataset(name), _pair_ids(run, name))
