"""The dataset card: README.md with the YAML that `datasets` reads, and what is in the set and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from pipelines.graph import Job, Outcome, Outputs, Unit
from pipelines.publish.licenses import whole
from pipelines.publish.places import FOLDER, published_recipe, reproduce
from pipelines.recipe import Recipe
from pipelines.repair_options import Repair
from pipelines.shards import Counts, digest_json
from pipelines.telling.funnel import Funnel, funnel_rows, measure, source_table
from quantize.run_lengths import LONGEST
from tts import WITHOUT_AUDIO

README = "dataset/README.md"
REPORT = "dataset/report.html"
FUNNEL_PICTURE, MIXTURES_PICTURE = "dataset/funnel.png", "dataset/mixtures.png"
SEEN_AND_HEARD = (
    f"[{Path(REPORT).name}]({Path(REPORT).name}), beside this card, has all of it to see and to hear: download it and "
    "open it in a browser. It loads nothing."
)

# What neither the card nor the report looks into.
ANSWERS = {  # what became of the sources' answers, by `how`
    "spoken": "Answers were made short, plain and readable aloud",
    "mend": "Answers that spoke of being a language model were put right",
    "own": "Every answer was written anew",
}
_NOT_READ = frozenset(["export.layout", "export.render", "export.card"])
_UNHEARD = {"task": pl.String(), "inaudible": pl.String()}
UNHEARD = "Sounds that nobody can understand, and that are answered by a refusal; `inaudible` says how each was made:"
WRITTEN_TURNS = (
    "User turns of chats stay text with a probability of {:g}, and one at least is a sound: never by accident, only so."
)
RUN_LENGTHS = (
    "Sound strings have run lengths: `<|duration_07|>` before a sound token says that it stands 7 times; 2 to "
    f"{LONGEST} are written so, longer runs in pieces, single tokens bare. The column `tokens` holds every id. "
    "A model needs the duration tokens in its vocabulary: `speechmill extend-tokenizer --durations`."
)

NO_AUDIO = (
    "Where `tokenizer` ends in `/no audio`, a model of text wrote the sound tokens directly (the T2S that `tts` "
    "names): nobody spoke them and there is no recording; they have no speaker and no acoustics."
)


def card_unit(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    """Return the one unit of the card and the report: they look into what all steps left, and know the funnel."""
    from pipelines.steps import BY_KEY

    exported = [name for key in ("export", "export.audio") for r in outputs.records(key).values() for name in r.files]
    steps = [key for key in BY_KEY if key not in _NOT_READ and not key.startswith("score.") and outputs.has(key)]
    left = [name for key in steps for record in outputs.records(key).values() for name in record.files]
    left = [name for name in left if not name.startswith("score/") or name.startswith("score/rejects/")]
    files = dict.fromkeys(["mixture.json", *exported, *left])
    said = {name: record.facts["said"] for name, record in outputs.sources().items()}
    args = {"funnel": asdict(measure(outputs)), "said": said, "exported": len(exported)}
    return [Unit("README", tuple(files), args=args)]


def write_card(job: Job) -> Outcome:
    """Write the card, its pictures and the report; nothing in them depends on when or where they were made."""
    if job.recipe.export.report:
        _write_report(job)
    header = yaml.safe_dump(_header(job), sort_keys=False, allow_unicode=True, width=1000)
    job.staged.bytes(README, f"---\n{header}---\n\n{_body(job)}".encode())
    return Outcome(Counts())


def _write_report(job: Job) -> None:
    from pipelines.report.charts import funnel_bars, mixture_bars, png  # loads matplotlib
    from pipelines.report.page import write_page
    from pipelines.report.seen import recorded

    job.staged.folder.pull()  # of a run in a store: records; of shards what is looked into, one by one
    seen = recorded(job.recipe, job.file)
    job.staged.bytes(REPORT, write_page(seen, with_costs=False))
    job.staged.bytes(FUNNEL_PICTURE, png(funnel_bars(seen.funnel), "From source rows to pairs"))
    job.staged.bytes(MIXTURES_PICTURE, png(mixture_bars(seen.lock()), "Mixtures, in rows"))


def _header(job: Job) -> dict[str, Any]:
    from datasets import Audio, Features  # slow to import; the card is one unit
    from datasets.info import DatasetInfo, DatasetInfosDict
    from huggingface_hub import DatasetCardData

    from pipelines.steps.export import AUDIO_ROW, pair_schema

    recipe = job.recipe
    features = {name: Features.from_arrow_schema(pair_schema(m)) for name, m in recipe.mix.mixtures.items()}
    if recipe.export.audio:
        features["audio"] = Features({**Features.from_arrow_schema(AUDIO_ROW), "audio": Audio()})
    data = DatasetCardData()
    infos = {name: DatasetInfo(features=columns, config_name=name) for name, columns in features.items()}
    DatasetInfosDict(infos).to_dataset_card_data(data)
    splits = {"audio": "train", **{name: mixture.split for name, mixture in recipe.mix.mixtures.items()}}
    return {
        "pretty_name": recipe.name,
        "language": ["en"],
        **whole([*(source.license for source in recipe.sources), *_of_noise(recipe)]),
        "task_categories": ["text-generation", "automatic-speech-recognition"],
        "tags": ["speech", "sound-tokens", "spoken-instructions", "speechmill"],
        "configs": [
            {"config_name": name, "data_files": [{"split": splits[name], "path": f"{name}/{splits[name]}-*.parquet"}]}
            for name in features
        ],
        **data.to_dict(),
    }


def _body(job: Job) -> str:
    recipe = job.recipe
    funnel = Funnel(**job.unit.args["funnel"])
    lock = json.loads(job.input().read_bytes())
    first, mixture = next(iter(recipe.mix.mixtures.items()))
    recorded = [source.name for source in recipe.sources if source.audio]
    speech = "synthetic speech" if not recorded else "recordings" if len(recorded) == len(recipe.sources) else "speech"
    sections = [
        f"# {recipe.name}",
        f"Sound tokens of {funnel.seconds / 3600:.2f} hours of {speech}: {funnel.tokens:,}, made by speechmill.",
        f'```python\nimport datasets\ndatasets.load_dataset("{FOLDER}", "{first}", split="{mixture.split}")\n```',
        *([SEEN_AND_HEARD] if recipe.export.report else []),
        "## Mixtures",
        *([f"![The parts of each mixture, in rows]({Path(MIXTURES_PICTURE).name})"] if recipe.export.report else []),
        _mixtures(lock),
        *_unheard(job),
        *([WRITTEN_TURNS.format(recipe.chats.written_turns)] if recipe.chats.written_turns else []),
        "## From source rows to pairs",
        *([f"![Rows that each step kept and rejected]({Path(FUNNEL_PICTURE).name})"] if recipe.export.report else []),
        _table(("step", "what", "rows"), ((step, what, f"{rows:,}") for step, what, rows in funnel_rows(funnel))),
        "## Sources",
        _sources(recipe, job.unit.args["said"]),
        _table(*source_table(funnel)),
        f"Records whose answer is a list were given the first answer. {written(recipe)}",
        "## Voices",
        _voices(job),
        "A voice made after a living person is refused unless the recipe names their consent.",
        "## How it was made",
        f"Sound tokens of two tokenizers do not mix: this set's are of `{recipe.quantize.tokenizer}`; the column "
        "`tokenizer` names it with the digest of its model file. "
        + (f"Sources of recordings: {', '.join(recorded)}; other speech" if recorded else "Speech")
        + " is synthetic. What answers say was not checked.",
        *([RUN_LENGTHS] if recipe.export.run_lengths else []),
        *([] if WITHOUT_AUDIO.isdisjoint(recipe.tts.engines) or not recipe.has_texts else [NO_AUDIO]),
        *map(_repaired, recipe.repairs),
        f"Reproduce: {reproduce(recipe)}",
        f"Recipe (fingerprint `{digest_json(job.made_of['options'])}`; null: a file or a server of your own):",
        f"```yaml\n{published_recipe(recipe, models=False)}```",
    ]
    return "\n\n".join(sections) + "\n"


def written(recipe: Recipe) -> str:
    """Return what language models wrote, and which."""

    def by(name: str) -> str:
        return f"by `{recipe.llms[name].model}`"

    said = []
    if recipe.rewrite:
        said.append(f"Prompts that could not be said as they stood were put in words {by(recipe.rewrite.llm)}.")
    if recipe.answer:
        said.append(f"{ANSWERS[recipe.answer.how]} {by(recipe.answer.llm)}.")
    if recipe.noise.refusals:
        said.append(f"Replies to what nobody can understand were written {by(recipe.noise.refusals.llm)}.")
    if said:
        said.append("The column `generated` has of each what stood there before, and the model's own name.")
    return " ".join([*([] if recipe.answer else ["Answers are as they were in the source."]), *said])


def _repaired(repair: Repair) -> str:
    """Return what is said of rows that were made again."""
    changes = [f"by the voice `{repair.voice}`"] if repair.voice is not None else []
    changes += [f"with the seed {repair.seed}"] if repair.seed is not None else []
    return (
        f"{len(repair.rows):,} rows were spoken again {' and '.join(changes)} (where `{repair.where}`); the recipe's "
        "`repairs` names them."
    )


def _mixtures(lock: dict[str, Any]) -> str:
    rows = [
        (name, part, f"{about['percent']:g} %", f"{about['quota']:,}", f"{about['available']:,}", about["digest"][:12])
        for name, mixture in lock["mixtures"].items()
        for part, about in mixture["parts"].items()
    ]
    refusals = lock["refusals"]
    table = _table(("mixture", "part", "share", "rows", "of available", "digest of ids"), rows)
    return (
        f"{table}\n\nRefusals: {refusals['rows']:,} of {refusals['of']:,} rows = {refusals['share']:.3%} "
        f"(ceiling {refusals['ceiling']:.3%})."
    )


def _unheard(job: Job) -> list[str]:
    """Return what is said of the pairs that nobody can understand: how many of which kind; nothing where none is."""
    pairs = pl.concat([pl.DataFrame(schema=_UNHEARD), *_of_pairs(job, list(_UNHEARD))]).drop_nulls("inaudible")
    kinds = pairs.group_by("task", kind=pl.col("inaudible").str.json_path_match("$.kind")).len().sort("task", "kind")
    rows = [(task, kind, f"{count:,}") for task, kind, count in kinds.iter_rows()]
    return [UNHEARD, _table(("task", "kind of sound", "pairs"), rows)] if rows else []


def _of_pairs(job: Job, columns: list[str]) -> list[pl.DataFrame]:
    """Return some columns of each file of pairs that has them."""
    exported = job.unit.inputs[1 : 1 + job.unit.args["exported"]]
    files = [job.file(name) for name in exported if "/audio/" not in name]
    return [pl.read_parquet(f, columns=columns) for f in files if set(columns) <= set(pl.read_parquet_schema(f))]


def _of_noise(recipe: Recipe) -> list[str]:
    """Return the licence of the recordings of noise, where rows are made of them."""
    return [recipe.noise.recordings_license] if "recordings" in recipe.inaudible_kinds else []


def _sources(recipe: Recipe, said: dict[str, str]) -> str:
    rows = [(s.name, s.hf or "files", s.license, said[s.name]) for s in recipe.sources]
    rows += [("recordings of noise", "files", license, "") for license in _of_noise(recipe)]
    return _table(("source", "from", "licence", "shape"), rows)


def _voices(job: Job) -> str:
    tables = _of_pairs(job, ["voice", "tts", "seconds"])
    if not tables:
        return "The files name no voices."
    pairs = pl.concat(tables).drop_nulls("voice")
    counted = pairs.group_by("voice", "tts").agg(pl.len(), pl.col("seconds").sum()).sort("voice")
    tts = job.recipe.tts
    listed = {voice.id: voice for voice in tts.voices}
    rows = []
    for voice, engine, count, seconds in counted.iter_rows():
        mine = listed.get(voice)  # nothing is known of who speaks in a recording
        about = tts.attributes(mine) if mine else {"gender": "", "accent": ""}
        notes = [mine.license or "", mine.consent or "", "held out" if mine.held_out else ""] if mine else []
        said = "; ".join(filter(None, notes))
        rows.append((voice, *about.values(), engine, f"{count:,}", f"{seconds / 3600:.2f}", said))
    header = ("voice", "gender", "accent", "engine", "pairs", "hours (single exchanges)", "licence, consent")
    return _table(header, rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)
