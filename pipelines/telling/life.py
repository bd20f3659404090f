"""`speechmill explain`: a row's whole life, from the files of its run alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.compute as pc

from pipelines.errors import UserError
from pipelines.publish.files import versions
from pipelines.recipe import Recipe
from pipelines.repair_options import changes_of
from pipelines.row import ROW, UTTERANCE, Row
from pipelines.shards import Record, read_record, read_table
from pipelines.sources import place_of, source_digests
from pipelines.steps import PASSES
from pipelines.steps.mix import chosen_file
from pipelines.steps.noise_chats import FOLDER as CHATS
from pipelines.steps.noise_chats import SUFFIX
from pipelines.steps.speech import ENGINE as RECORDING
from pipelines.steps.tts import draw_seed
from pipelines.tasks import TASKS, Shape
from pipelines.telling.explain_text import verdicts
from pipelines.telling.whereabouts import (
    Place,
    Step,
    child_and_task,
    find_places,
    last_of,
    lives,
    record_of,
    row_of,
    source_of,
    steps_of,
)  # fmt: skip

Life = dict[str, Any]

COMPARING = ("duplicate", "near_duplicate", "benchmark")  # rules that look at more than the row
_SCORES = [field.name for field in ROW if field.name not in ("generated", "spoken")]


def explain_row(recipe: Recipe, wanted: str) -> Life:
    """Return all that the files of a run say of a row, plain values.

    Args:
        wanted: a row's id or the beginning of one, with what may follow it: a reading (/1), /inaudible, /ladder-2, and
            the task of a pair.

    Raises UserError for an id that is no row's, or several rows'.
    """
    run = recipe.run_path
    beginning, *rest = wanted.split("/")
    places = find_places(run, beginning)
    place = next((p for p in places if lives(run, p)), places[0])
    child, task = child_and_task(place, rest)
    steps = list(steps_of(recipe, place, child))
    key, row, reject = last_of(run, steps)
    if row["id"] != child.id_of(place.id) and reject is None:
        what = child.id_of("").removeprefix("/")
        raise UserError(f"{wanted}: the row {place.id} is there, and has no {what}; {_children(recipe, place)}")
    spoken_as = re.sub(r"/(inaudible|ladder-\d+)$", "", row["id"])
    record = record_of(run, "tts", place.shard)
    life: Life = {
        "id": row["id"],
        "task": task,
        "source": {**_source(recipe, place), "license": row["license"]},
        "same_record": [_told(run, other) for other in places if other is not place],
        "messages": row["messages"],
        "generated": row["generated"] or [],
        "cut": row["cut"],
        "inaudible": _parsed(row["inaudible"]),
        "degraded": _parsed(row["degraded"]),
        "rules": _rules(recipe, place),
        "spoken": [_utterance(utterance, spoken_as, record) for utterance in row["spoken"] or []],
        "repairs": _repairs(recipe, spoken_as),
        "ended": None if reject is None else {"step": key, "reject": reject},
    }
    serves = [] if reject is not None else [s for s in _serves(recipe, row["id"]) if task in (None, s["task"])]
    life["serves"] = serves
    life["may_serve"] = [] if reject is not None else _may_serve(row)
    life["in_no_mixture"] = None if serves or reject is not None else _why_nowhere(run, row["id"])
    life["audio"] = _audio(recipe, place, row["id"])
    life["made_by"] = list(_made_by(run, [*steps, *_behind(steps, serves)]))
    return life


def _children(recipe: Recipe, place: Place) -> str:
    """Return what to say of the rows that were made of one."""
    run = recipe.run_path
    files = [*(run / CHATS).glob("interruptions-*.parquet"), *(run / "noise").glob("ladder-*.parquet")]
    tables = [read_table(path, ["id"])["id"] for path in [*sorted(files), run / "quantize" / f"{place.shard}.parquet"]]
    ids = [i for table in tables for i in table.filter(pc.starts_with(table, f"{place.id}/")).to_pylist()]
    return f"there are {', '.join(ids)}" if ids else "nothing was made of it but itself"


def _source(recipe: Recipe, place: Place) -> dict[str, Any]:
    """Return where a row comes from; the place in the source's files as they are now, if they are what was read."""
    if place.key == "noise":
        return {"name": "noise", "index": place.index, "place": None, "why": "made by this run"}
    name = source_of(place.shard)
    said: dict[str, Any] = {"name": name, "index": place.index, "place": None, "why": ""}
    source = next((source for source in recipe.sources if source.name == name), None)
    record = record_of(recipe.run_path, place.key, name)
    if source is None or record is None:
        return {**said, "why": "the recipe has no such source any more"}
    try:
        known = record.facts["files"]
        now = source_digests(source, recipe.root_path, known)
        if {name: about[2] for name, about in now.items()} != {name: about[2] for name, about in known.items()}:
            return {**said, "why": "the source's files have changed since they were read"}
        if source.audio is None:
            return {**said, "place": place_of(source, recipe.root_path, place.index)}
        from pipelines.recordings import read_recordings

        recording = next(read_recordings(source, recipe.root_path, skip=place.index), None)
        return {**said, "place": recording.place if recording else None}
    except UserError as error:
        return {**said, "why": str(error)}


def _told(run: Path, place: Place) -> dict[str, Any]:
    """Return what became of another record of the same content."""
    rejected = row_of(run / "filter" / "rejects" / f"{place.shard}.parquet", place.id, place.index)
    return {
        "source": source_of(place.shard),
        "index": place.index,
        "reject": rejected["reject"] if rejected else None,
    }


def _parsed(said: str | None) -> Any:
    """Return what a column of JSON holds; a bare word as it is."""
    return json.loads(said) if said and said.startswith("{") else said


def _rules(recipe: Recipe, place: Place) -> list[dict[str, Any]]:
    """Return the verdict of each rule on the row as it was when `filter` decided, and by which scores."""
    path = recipe.run_path / recipe.scored_by / f"{place.shard}.parquet"
    if place.key != "read" or not path.is_file():
        return []
    table = read_table(path, ["id", "index"])
    same = pc.and_(pc.equal(table["id"], place.id), pc.equal(table["index"], place.index))
    at = pc.index(same, True).as_py()
    if at < 0:
        return []
    rejected = row_of(recipe.run_path / "filter/rejects" / f"{place.shard}.parquet", place.id, place.index)
    reject = rejected["reject"] if rejected else None
    ended_by = reject.partition(":")[0].removeprefix("filter.") if reject else None
    said = []
    for verdict in verdicts(read_table(path, _SCORES).slice(at, 1), recipe.filter):
        why, score, decided = verdict.reject, verdict.score, True
        if verdict.rule in COMPARING:
            why, decided = (reject if ended_by == verdict.rule else None), reject is None or ended_by == verdict.rule
            score = why or ("no such row was found" if decided else "not looked for: another rule had rejected it")
        said.append({"rule": verdict.rule, "score": score, "keeps": why is None if decided else None, "reject": why})
    return said


def _utterance(spoken: dict[str, Any], row_id: str, record: Record | None) -> dict[str, Any]:
    """Return an utterance as a row has it; its tokens as a number, what its engine drew from, and its models' digest.

    Args:
        row_id: under which the row was spoken; record: of the unit that did.
    """
    made_of = record.made_of if record and spoken["tts"] not in (None, RECORDING) else None
    said = {name: spoken[name] for name in UTTERANCE.names if name not in ("audio", "augmentation", "tokens")}
    said |= {"augmentation": _parsed(spoken["augmentation"])}
    said |= {"tokens": None if spoken["tokens"] is None else len(spoken["tokens"])}
    if made_of is None:
        return {**said, "seed": None, "models": None}
    seed = made_of["args"].get("repairs", {}).get(row_id, {}).get("seed", made_of["options"]["seed"])
    engine = next((v["engine"] for v in made_of["options"]["voices"] if v["voice"] == spoken["voice"]), "")
    models = made_of["options"]["engines"].get(engine, {}).get("models")
    return {**said, "seed": draw_seed(seed, row_id, spoken["turn"]), "models": models}


def _repairs(recipe: Recipe, row_id: str) -> list[dict[str, Any]]:
    """Return the repairs of a row, the first one first."""
    return [
        {"where": repair.where, **changes_of([repair])[row_id]}
        for repair in recipe.repairs
        if any(row.id == row_id for row in repair.rows)
    ]


def _may_serve(row: Row) -> list[str]:
    shape = Shape(row["exchanges"], row["answered"], row["inaudible"] is not None, row["degraded"] is not None)
    return [name for name, task in TASKS.items() if task.suits(shape)]


def _why_nowhere(run: Path, row_id: str) -> str:
    """Return why no mixture has a row that was kept."""
    if record_of(run, "mix", "mixtures") is None:
        return "mixtures are not chosen yet"
    copies = (run / CHATS).glob("*.parquet")
    if any(pc.any(pc.equal(read_table(path, ["id"])["id"], row_id + SUFFIX)).as_py() for path in copies):
        return f"withheld: it stands there interrupted, as {row_id}{SUFFIX}"
    return "in no mixture"


def _serves(recipe: Recipe, row_id: str) -> Iterator[dict[str, Any]]:
    """Yield the pairs that mixtures have of a row: mixture, task, file and row in it, where that was published."""
    run = recipe.run_path
    layout, laid_out = run / "export.layout/all.parquet", record_of(run, "export.layout", "all")
    published = versions(run)
    for mixture in recipe.mix.mixtures:
        path = run / chosen_file(mixture)
        chosen = pl.scan_parquet(path).filter(pl.col("id") == row_id).collect() if path.is_file() else pl.DataFrame()
        for pair in chosen.iter_rows(named=True):
            said = {"mixture": mixture, "task": pair["task"], "index": pair["order"], "of": pair["path"]}
            said |= {"file": None, "row": None}
            if laid_out and layout.is_file():
                said |= _file_of(layout, laid_out.facts["files"], mixture, pair)
            digest = _digest(run, mixture, said["file"])
            yield {**said, "published": list(_published(published, said["file"], digest))}


def _file_of(layout: Path, files: Sequence[str], mixture: str, pair: dict[str, Any]) -> dict[str, Any]:
    """Return the file of a pair, and its row there: files hold a mixture's pairs in order."""
    pairs = pl.scan_parquet(layout)
    mine = pairs.filter(path=pair["path"], row=pair["row"], task=pair["task"], order=pair["order"])
    numbers = [n for n in mine.select("file").collect()["file"] if files[n].startswith(f"dataset/{mixture}/")]
    if not numbers:
        return {}
    first = pairs.filter(file=numbers[0]).select(pl.col("order").min()).collect().item()
    return {"file": files[numbers[0]], "row": pair["order"] - first}


def _digest(run: Path, mixture: str, file: str | None) -> str | None:
    record = record_of(run, "export", f"{mixture}-{Path(file).stem}") if file else None
    return record.files.get(file or "", {}).get("digest") if record else None


def _published(published: Iterable[dict[str, Any]], file: str | None, digest: str | None) -> Iterator[dict[str, Any]]:
    """Yield the versions on the Hub that hold a file as it is here."""
    name = (file or "").removeprefix("dataset/")
    for entry in published:
        if digest is not None and entry["files"].get(name) == digest:
            yield {"repo": entry["published"], "version": entry["tag"], "commit": entry["commit"], "file": name}


def _audio(recipe: Recipe, place: Place, row_id: str) -> dict[str, Any] | None:
    """Return where the speech of a row stands in the config `audio`; None where it does not."""
    records = map(read_record, (recipe.run_path / "export.audio").glob(f"[0-9]*-{place.shard}.json"))
    name = next((name for record in records if record for name in record.files), None)
    if name is None:
        return None
    at = pc.index(read_table(recipe.run_path / name, ["id"])["id"], row_id).as_py()
    return None if at < 0 else {"file": name, "row": at}


def _behind(steps: Sequence[Step], serves: Sequence[dict[str, Any]]) -> Iterator[Step]:
    """Yield the passes over all rows that a row took part in, and those that wrote its pairs."""
    if any(step.key == "filter" for step in steps):
        yield Step("filter.duplicates", "all", None)
    for pair in serves:
        yield Step("mix", "mixtures", None)
        yield Step("export.layout", "all", None)
        yield Step("export.render", Path(pair["of"]).stem, None)
        if pair["file"]:
            yield Step("export", f"{pair['mixture']}-{Path(pair['file']).stem}", None)


def _made_by(run: Path, steps: Iterable[Step]) -> Iterator[dict[str, Any]]:
    """Yield the units that a row went through, in the order of the passes: what they were made of, when, on what."""
    order = {a_pass.key: number for number, a_pass in enumerate(PASSES)}
    units = dict.fromkeys((step.key, step.unit) for step in steps)
    for key, unit in sorted(units, key=lambda one: order[one[0]]):
        path = run / key / f"{unit}.json"
        if (record := read_record(path)) is None:
            continue
        options = record.made_of["options"]
        made = {name: record.facts[name] for name in ("device", "batch_size", "tokenizer") if name in record.facts}
        if key == "tts":
            made["engines"] = {
                name: {k: v for k, v in about.items() if k in ("version", "models", "precision", "batch_size", "model")}
                for name, about in options["engines"].items()
            }
        if key == "quantize":
            made |= {"model": options["model"], "precision": options["precision"]}
        yield {
            "pass": key,
            "unit": unit,
            "version": record.made_of["version"],
            "fingerprint": record.fingerprint,
            "when": datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds"),
            **made,
        }
