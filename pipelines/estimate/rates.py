"""From the records of finished units to rates: what a row takes and makes in each pass, source by source."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.errors import UserError
from pipelines.estimate.fit import Point, line, shares
from pipelines.estimate_options import OTHERS, PAIR_BYTES, Classes, PassRates, Rates
from pipelines.folders.places import url_of
from pipelines.folders.run_folder import folder_at
from pipelines.graph import Pass, PassPlan, Unit, differences, plan_run
from pipelines.recipe import Recipe
from pipelines.shards import Record, to_json

BESIDE = ("noise", "interruptions", "ladder")  # shards that are no source's
BY_PAIRS = ("export.render", "export")  # whose work grows with the pairs that they write
FACTS = ("prompts", "missing", "tokenizer", "tokens_per_second", "n_codes", "mask_code", "device")
WHO = ("engines", "voices", "tokenizer", "model", "precision", "llm")  # options that say who does the work
NOT_HERE = "not fetched yet"  # the digest of a model that this machine lacks
MOST_SHARDS = 50  # of a source, whose rows are looked at for the tasks that they serve


@dataclass(frozen=True)
class Run:
    """A run's units as its folder holds them, done or not."""

    recipe: Recipe
    plans: Sequence[PassPlan]

    def units(self, key: str) -> list[tuple[Unit, Record]]:
        """Return a pass's finished units with their records."""
        plan = next(plan for plan in self.plans if plan.key == key)
        return [(u.unit, u.record) for u in plan.units if u.state == "done" and u.record is not None]


def look_at(recipe: Recipe) -> Run:
    """Return the units of a recipe's run."""
    from pipelines.steps import PASSES

    return Run(recipe, plan_run(recipe, PASSES)[0])


def source_of(recipe: Recipe, key: str, unit: Unit) -> str:
    """Return whose rows a unit is of: a source, what is made beside them, a mixture; "*" for all together."""
    if key in ("read", "read.speech"):
        return unit.name
    if key == "export":
        return Path(unit.args["file"]).parent.name
    name = unit.name.partition("-")[2] if key == "export.audio" else unit.name
    source = name.rpartition("-")[0]
    return source if source in {*BESIDE, *(s.name for s in recipe.sources)} else OTHERS


def rows_of(key: str, unit: Unit, record: Record) -> int:
    """Return the rows (or pairs) that a finished unit's work grows with."""
    return record.counts.rows_in if key in BY_PAIRS else unit.rows or record.counts.rows_in


def rows_out(record: Record) -> int:
    """Return how many rows a finished unit passes on."""
    shards = record.facts.get("shards")
    return record.counts.rows_kept if shards is None else sum(shards.values())


def rates_of(runs: Sequence[Run], measured: str, run_seconds: float = 0.0) -> Rates:
    """Return the rates of what runs found, the largest last: shares of rows are its alone.

    Units of several sizes tell what a unit takes from what a row takes. Raises UserError where nothing is finished.
    """
    from pipelines.steps import BY_KEY

    passes = {}
    for key in BY_KEY:
        of_runs = [(run.recipe, *done) for run in runs for done in run.units(key)]
        last = [(unit, record) for unit, record in runs[-1].units(key)]
        if of_runs and last:
            passes[key] = _pass_rates(runs[-1].recipe, BY_KEY[key], of_runs, last)
    if "read" not in passes and "read.speech" not in passes:
        raise UserError(f"{runs[-1].recipe.run_path} has read nothing yet, so there is nothing to measure by")
    speech = _speech(runs[-1])
    for key, made in speech.items():
        if key in passes:
            passes[key] = passes[key].model_copy(update=made)
    rows, classes = _classes(runs[-1]) if "mix" in passes else ({}, {})
    return Rates(
        measured=measured,
        run_seconds=round(run_seconds, 3),
        passes=passes,
        rows=rows,
        classes=classes,
        pair_file_bytes=_pair_file_bytes(runs[-1]),
    )


def _pass_rates(
    recipe: Recipe,
    a_pass: Pass,
    of_runs: Sequence[tuple[Recipe, Unit, Record]],
    last: Sequence[tuple[Unit, Record]],
) -> PassRates:
    """Return the rates of a pass: times and bytes from the units of all runs, shares from those of the last."""
    key = a_pass.key
    places = [(source_of(of, key, unit), rows_of(key, unit, record), record) for of, unit, record in of_runs]
    seconds, start = line(
        [Point(source, n, r.cost.get("seconds", 0.0), r.cost.get("first", False)) for source, n, r in places]
    )
    busy = [
        Point(source, n, r.cost["cpu_seconds"], r.cost.get("first", False))
        for source, n, r in places
        if "cpu_seconds" in r.cost
    ]
    processor, processor_start = line(busy) if busy else (None, None)
    shards = any("shards" in record.facts for _, _, record in places)
    here = [(source_of(recipe, key, unit), rows_of(key, unit, record), record) for unit, record in last]
    used: Counter[str] = Counter()
    for _, _, record in here:
        used.update(record.cost.get("usage", {}))
    n_rows = sum(n for _, n, _ in here)
    return PassRates(
        version=a_pass.version,
        options=json.loads(json.dumps(dict(a_pass.options(recipe)))),
        gpus=a_pass.gpus(recipe),
        units=len(places),
        start_seconds=start,
        seconds=seconds,
        processor=processor,
        processor_start=processor_start,
        kept=shares([(source, n, rows_out(r)) for source, n, r in here]),
        rejected=shares([(source, n, sum(r.counts.rejected.values())) for source, n, r in here]),
        shards=shards,
        shard_bytes=line([Point(source, *of) for source, _, r in places for of in _shards(key, r)])[0],
        other_bytes=line([Point(source, n, _other_bytes(key, r)) for source, n, r in places])[0],
        usage={name: amount / n_rows for name, amount in used.items() if amount and n_rows},
        facts={**{name: here[0][2].facts[name] for name in FACTS if name in here[0][2].facts}, **_shares(key, here)},
    )


def _shards(key: str, record: Record) -> list[tuple[int, int]]:
    """Return rows and bytes of each shard of rows that a unit made."""
    shards = {f"{key}/{name}.parquet": rows for name, rows in record.facts.get("shards", {}).items()}
    return [(rows, record.files[file]["bytes"]) for file, rows in shards.items() if file in record.files]


def _other_bytes(key: str, record: Record) -> int:
    """Return the bytes of a unit's other files."""
    of_all: int = sum(about["bytes"] for about in record.files.values())
    return of_all - sum(size for _, size in _shards(key, record))


def _shares(key: str, here: Sequence[tuple[str, int, Record]]) -> dict[str, Any]:
    """Return shares that one pass alone has: of near duplicates' families, of records that `where` lets pass."""
    if key == "score.families":
        return {"share": sum(r.facts["rows"] for _, _, r in here) / max(sum(n for _, n, _ in here), 1)}
    if key in ("read", "read.speech"):
        left_out = [sum(c for why, c in r.counts.rejected.items() if why.startswith("read.where")) for _, _, r in here]
        return {"passed": shares([(source, n, n - out) for (source, n, _), out in zip(here, left_out, strict=True)])}
    return {}


def _speech(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """Return the seconds of speech, and tokens, of a row that `quantize` passes on, for the passes that have them."""
    parts = [
        (source_of(run.recipe, "quantize", unit), rows_out(record), record) for unit, record in run.units("quantize")
    ]
    if not parts:
        return {}
    seconds = shares([(source, n, r.facts["seconds"]) for source, n, r in parts])
    tokens = shares([(source, n, r.facts["tokens"]) for source, n, r in parts])
    speech = {"audio_seconds": seconds}
    of_noise = {"audio_seconds": {OTHERS: seconds.get(OTHERS, 0.0)}, "tokens": {OTHERS: tokens.get(OTHERS, 0.0)}}
    return {
        **dict.fromkeys(("read.speech", "tts", "tts.augment"), speech),
        "quantize": {**speech, "tokens": tokens},
        "noise.sounds": of_noise,  # as long as the prompts of the run
    }


def takes(held_out: bool, most_tokens: int | None) -> str:
    """Return how rates name the mixtures that take rows of some voices and lengths."""
    return f"{'held out' if held_out else 'all'}{f', {most_tokens} tokens' if most_tokens is not None else ''}"


def _classes(run: Run) -> tuple[dict[str, int], dict[str, dict[str, Classes]]]:
    """Return the rows of each source that were looked at, and how many of them may serve which tasks."""
    from pipelines.steps.mix import candidates_of

    wanted = {takes(m.held_out, m.most_tokens): (m.held_out, m.most_tokens) for m in run.recipe.mix.mixtures.values()}
    shards: dict[str, list[str]] = {}
    for key in ("quantize", "noise", "noise.chats"):
        for _, record in run.units(key):
            for name in record.facts.get("shards", {}):
                source = source_of(run.recipe, key, Unit(name))
                if key != "noise" or source != "interruptions":
                    shards.setdefault(source, []).append(f"{key}/{name}.parquet")
    rows: dict[str, int] = {}
    classes: dict[str, dict[str, Classes]] = {}
    for source, names in shards.items():
        some = names[:: -(-len(names) // MOST_SHARDS)]
        table = candidates_of(run.recipe, {name: run.recipe.run_path / name for name in some})
        rows[source] = table.height
        classes[source] = {}
        for who, (held_out, most_tokens) in wanted.items():
            mine = table.filter(table["held_out"] == held_out)
            mine = mine if most_tokens is None else mine.filter(mine["tokens"] <= most_tokens)
            classes[source][who] = dict(sorted(Counter(mine["serves"].to_list()).items()))
    return rows, classes


def _pair_file_bytes(run: Run) -> dict[str, float]:
    """Return the bytes that a pair of each mixture takes in its files."""
    parts = [
        (source_of(run.recipe, "export", unit), record.counts.rows_kept, sum(a["bytes"] for a in record.files.values()))
        for unit, record in run.units("export")
    ]
    return shares(parts) or {OTHERS: PAIR_BYTES}


def load_rates(said: str | Rates) -> Rates:
    """Return the rates in a file, or those of a finished run's folder. Raises UserError for what is neither."""
    if isinstance(said, Rates):
        return said
    path = Path(said)
    if path.is_dir() or url_of(said):
        from pipelines.arguments import load_run

        run = look_at(load_run(path, rows=True))
        return rates_of([run], f"in the run {url_of(said) or path}")
    try:
        return Rates.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"rates {path}: there is no such file or run. Make one: speechmill calibrate RECIPE") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"rates {path}: {place or 'the file'}: {first['msg']}. Mend it, or calibrate again") from error


def save_rates(path: Path, rates: Rates) -> None:
    """Write rates as JSON, for people too; to the store as well, where the path lies in a copy of what is there."""
    folder_at(path.parent).write(path.name, to_json(rates.model_dump(mode="json", exclude_defaults=True)))


def check(recipe: Recipe, rates: Rates) -> list[str]:
    """Return how the recipe differs from what was measured, a line each; passes that no rates are for among them.

    Raises UserError where another engine, tokenizer or model would do the work, or with GPUs instead of CPUs.
    """
    from pipelines.steps import PASSES

    said, wrong = [], []
    for a_pass in PASSES:
        key = a_pass.key
        if key not in rates.passes or not a_pass.applies(recipe):
            continue
        of_pass = rates.passes[key]
        options = json.loads(json.dumps(dict(a_pass.options(recipe))))
        if bool(of_pass.gpus) != bool(a_pass.gpus(recipe)) and of_pass.version is not None:
            wrong.append(
                f"{key}: measured on {_on(of_pass.gpus)}, and this recipe has it on {_on(a_pass.gpus(recipe))}"
            )
        if of_pass.version not in (None, a_pass.version):
            said.append(f"{key}: its rates are of version {of_pass.version}, and this is {a_pass.version}")
        if of_pass.options is None:
            continue
        for name in options.keys() & of_pass.options.keys() & set(WHO) - {"voices"}:
            changed = differences(of_pass.options[name], options[name], name)
            if changed := [line for line in changed if NOT_HERE not in line]:
                wrong.append(f"{key}: {changed[0]}")
        skipped = ("rows_per_shard", "limited", "seed", *WHO)
        then, now = ({k: v for k, v in of.items() if k not in skipped} for of in (of_pass.options, options))
        if a_pass.step not in ("mix", "export") and (changed := differences(then, now)):
            said.append(f"{key}: measured with other options ({'; '.join(changed[:2])}): rows kept may differ")
    known = {name for key in ("read", "read.speech") if key in rates.passes for name in rates.passes[key].kept}
    if strange := [source.name for source in recipe.sources if known > {OTHERS} and source.name not in known]:
        said.append(f"these sources were not measured, and are taken to be like those that were: {', '.join(strange)}")
    if wrong:
        raise UserError(
            "these rates are not of this recipe:\n"
            + "\n".join(f"  {line}" for line in wrong)
            + "\nMeasure again: speechmill calibrate RECIPE"
        )
    return said


def _on(gpus: float) -> str:
    return "GPUs" if gpus else "CPUs"
