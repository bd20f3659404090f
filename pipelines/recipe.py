"""Recipes: one YAML file that says where rows come from, the steps with their options, the mixtures.

A wrong recipe fails at once, with every error, each with its key and the nearest valid name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from answers.options import CHANGES, LlmOptions
from noise import made_of
from pipelines.answer_options import Answers, Refusals, Rewrite
from pipelines.errors import UserError
from pipelines.estimate_options import Planning
from pipelines.folders.places import copy_path, folder_of, url_of
from pipelines.noise_options import Ladder, Noise
from pipelines.options import (
    FILE_NAME,
    Chats,
    Export,
    Mix,
    Mixture,
    Options,
    Published,
    PublishedStage,
    Read,
    Score,
    Source,
    nearest,
)
from pipelines.quantize_options import Quantize
from pipelines.repair_options import FILE as REPAIRS
from pipelines.repair_options import Repair, continued, noted_repairs
from pipelines.rules import RULES, AnswerRule, Filter, LengthRule
from pipelines.speech_options import PathLimits, Tts
from pipelines.voice_options import Augment, Voice
from pipelines.worker_options import StepWorkers, Workers
from tts.openai_speech_options import OpenAISpeechOptions
from tts.plausible import Plausible
from tts.whisperspeech_options import WhisperSpeechOptions

# One-to-one passes that each take the shards of the last before them that a recipe uses.
SCORED_BY = ("score", "rewrite", "filter.shorten")  # up to what `filter` decides on
KEPT_BY = ("filter", "answer")  # up to what is spoken

TAKEN = {"noise", "interruptions", "ladder", "manifest"}  # names of shards that are no source's

CARD_FILES = frozenset(["README.md", "report.html", "funnel.png", "mixtures.png"])  # beside the mixtures' folders

# Where things lie, how servers are asked and what a worker takes of a GPU, and so no part of what they are: left out of
# the card and its fingerprint.
PLACES: dict[str, Any] = {
    "run_dir": True,
    "root": True,
    "plan": True,
    "workers": True,
    "tts": {
        "whisperspeech": {"t2s", "s2a", "vocoder", "speakers"},
        "openai_speech": {"base_url", "api_key_env"},
        "augment": {"noise_folder"},
        "gpus": True,
    },
    "quantize": {"model", "whisper", "gpus"},
    "rewrite": {"template"},
    "answer": {"template"},
    "noise": {"recordings": True, "refusals": {"template"}},
    "sources": {"__all__": {"path"}},
    "llms": {"__all__": {field.name for field in fields(LlmOptions)} - {*CHANGES}},
}


class Recipe(Options):
    """A whole run."""

    name: str = Field(pattern=FILE_NAME, description="names the run and the dataset")
    run_dir: str = Field("", description="run folder, or its URL: s3://bucket/run (default: runs/<name>)")
    root: str = Field(".", description="folder that the sources' relative paths start from")
    seed: int = Field(1, ge=0, le=2**63 - 1, description="every draw derives from it and from the row")
    limit: int | None = Field(
        None, ge=1, description="a small run of a big recipe: records of each source, and rows of noise, at most"
    )
    sources: tuple[Source, ...] = Field(min_length=1)
    read: Read = Read()
    score: Score = Score()
    filter: Filter = Filter()
    llms: dict[Annotated[str, Field(pattern=FILE_NAME)], LlmOptions] = Field(
        {}, description="name: a server of OpenAI's protocol and a model that it serves"
    )
    rewrite: Rewrite | None = Field(None, description="prompts that are almost speakable; none: rejects, as they are")
    answer: Answers | None = Field(None, description="answers written anew; none: as the sources have them")
    chats: Chats = Chats()
    tts: Tts = Tts()
    quantize: Quantize = Quantize()
    noise: Noise = Noise()
    mix: Mix
    export: Export = Export()
    plan: Planning = Planning()
    workers: Workers = Workers()
    repairs: tuple[Repair, ...] = Field(
        (), description=f"rows that `speechmill repair` made again; those of <run>/{REPAIRS} are added"
    )
    published: tuple[PublishedStage, ...] = Field((), exclude=True, description="what another run counted, to compare")

    @model_validator(mode="after")
    def _published_of_known(self) -> Recipe:
        stages = ["read", "filter", *(f"filter.{rule}" for rule in RULES), "tts", "quantize"]
        sources = [source.name for source in self.sources]
        for stage in self.published:
            if stage.after not in stages:
                raise ValueError(f"published: there is no stage {stage.after!r}; {nearest(stage.after, stages)}")
            if unknown := [name for name in stage.sources if name not in sources]:
                raise ValueError(f"published: there is no source {unknown[0]!r}; {nearest(unknown[0], sources)}")
        return self

    @model_validator(mode="after")
    def _repaired_by_voices(self) -> Recipe:
        voices = [voice.id for voice in self.tts.voices]
        for repair in self.repairs:
            if repair.voice is not None and repair.voice not in voices:
                raise ValueError(
                    f"repairs: {len(repair.rows)} rows (where {repair.where}) are spoken by {repair.voice!r}, which is "
                    f"no voice of tts.voices; {nearest(repair.voice, voices)}"
                )
        return self

    @model_validator(mode="after")
    def _ceilings_have_a_file_system(self) -> Recipe:
        for name, options in self.llms.items():
            if self.run_url and (options.most_requests, options.most_tokens) != (None, None):
                raise ValueError(
                    f"llms.{name}: most_requests and most_tokens are counted in one file that all workers lock, and "
                    f"{self.run_url} is no file system: give the run a folder that every worker sees, or leave them out"
                )
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Recipe:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1} | (TAKEN & set(names)))
        if twice:
            taken = ", ".join(sorted(TAKEN))
            raise ValueError(f"source names must differ, and be none of {taken}: {', '.join(twice)}")
        if not CARD_FILES.isdisjoint(self.mix.mixtures):
            raise ValueError(f"no mixture may have the name of a file of the card: {', '.join(sorted(CARD_FILES))}")
        return self

    @model_validator(mode="after")
    def _interrupted_chats_have_a_part(self) -> Recipe:
        parts = {part for mixture in self.mix.mixtures.values() for part in mixture.parts}
        if self.chats.inaudible and "interrupted" not in parts:
            raise ValueError(
                f"chats.inaudible: {self.chats.inaudible} chats would be interrupted for no mixture: give one the part "
                "interrupted, or set chats.inaudible to 0"
            )
        return self

    @model_validator(mode="after")
    def _audio_is_taken(self) -> Recipe:
        if self.export.audio and "audio" in self.mix.mixtures:
            raise ValueError("export.audio makes a config named audio, so no mixture may have that name")
        if self.export.audio and not self.tts.keep_audio:
            raise ValueError("export.audio needs the speech that tts.keep_audio: false removes: give one of them up")
        if self.export.audio and self.has_texts and not self.tts.makes_audio:
            raise ValueError(f"export.audio: tts.engine {self.tts.engine} makes no audio")
        return self

    @model_validator(mode="after")
    def _speech_for_noise(self) -> Recipe:
        speaks = self.has_texts and self.tts.makes_audio
        if self.noise_of_speech and not speaks and all(source.audio is None for source in self.sources):
            what = "ladder" if self.noise.ladder else "kinds"
            raise ValueError(
                f"noise.{what}: it is made of this run's speech, and tts.engine {self.tts.engine} makes no audio: drop "
                "the ladder and the kinds babble, masked, fragment and reversed, or take another engine"
            )
        return self

    @model_validator(mode="after")
    def _lengths_are_scored(self) -> Recipe:
        length = self.filter.find(LengthRule)
        if length and length.below > self.score.most_tokens + 1:
            raise ValueError(
                f"filter.rules.length.below: {length.below} keeps prompts of {length.below - 1} tokens, but only those "
                f"of up to {self.score.most_tokens} are scored; raise score.most_tokens too"
            )
        return self

    @model_validator(mode="after")
    def _known_llms(self) -> Recipe:
        named = {"rewrite": self.rewrite, "answer": self.answer, "noise.refusals": self.noise.refusals}
        for place, options in named.items():
            if options is not None and options.llm not in self.llms:
                remedy = (
                    nearest(options.llm, list(self.llms)) if self.llms else "llms: {name: {base_url, model}} is empty"
                )
                raise ValueError(f"{place}.llm: there is no {options.llm!r} in llms; {remedy}")
        return self

    @model_validator(mode="after")
    def _answers_are_let_through(self) -> Recipe:
        rule, how = self.filter.find(AnswerRule), self.answer and self.answer.how
        if rule and how == "own":
            raise ValueError(
                "answer.how: own throws the sources' answers away: drop filter.rules.answer, which judges them"
            )
        if rule and ((how == "mend" and rule.boilerplate) or (how == "spoken" and rule.speakable)):
            option = "boilerplate" if how == "mend" else "speakable"
            raise ValueError(
                f"answer.how: {how} never sees the answers that filter.rules.answer rejects before it: set its "
                f"{option} to false"
            )
        return self

    def without_places(self) -> dict[str, Any]:
        """Return the recipe as plain values without where things lie: what the card is made of."""
        return self.model_dump(mode="json", exclude=PLACES)

    @property
    def scored_by(self) -> str:
        """The pass whose shards `filter` decides on."""
        return "filter.shorten" if self.shortens_chats else self.rewritten_by

    @property
    def shortens_chats(self) -> bool:
        """Whether `filter` may end chats early: by option, and where a source keeps more than one exchange."""
        return self.chats.failed_turn == "shorten" and any(source.turns != "first" for source in self.sources)

    @property
    def rewritten_by(self) -> str:
        """The pass that says last what users say: which of it can be said is decided behind it."""
        return "rewrite" if self.rewrite else "score"

    @property
    def kept_by(self) -> str:
        """The pass whose shards are spoken."""
        return "answer" if self.answer else "filter"

    @property
    def inaudible_kinds(self) -> Mapping[str, float]:
        """The kinds of what nobody can hear that are made, with their weights."""
        return self.noise.kinds if self.noise.rows or self.chats.inaudible else {}

    @property
    def noise_of_speech(self) -> bool:
        """Whether some noise is made of this run's speech."""
        return self.noise.ladder is not None or made_of(self.inaudible_kinds, "speech")

    @property
    def has_texts(self) -> bool:
        """Whether a source is of texts: recordings need no score, filter or speech."""
        return any(source.audio is None for source in self.sources)

    @property
    def root_path(self) -> Path:
        """The folder that the sources' relative paths start from."""
        return Path(self.root)

    @property
    def run_url(self) -> str | None:
        """The URL of a run that lies in an object store; None for one in a folder."""
        return url_of(self.run_dir)

    @property
    def run_place(self) -> str:
        """Where the run lies, for people."""
        return self.run_url or str(self.run_path)

    @property
    def run_path(self) -> Path:
        """The run folder, absolute; of a run in an object store, this machine's copy of it."""
        if self.run_url:
            return copy_path(self.run_url)
        return folder_of(self.run_dir or f"runs/{self.name}").absolute()


def load_recipe(path: Path, changes: Sequence[str] = (), run_dir: str | None = None) -> Recipe:
    """Read a recipe, with `--set key=value` changes applied; hf://owner/name is a published one.

    Raises UserError with all that is wrong with it.
    """
    where = str(path)
    if published := where.startswith("hf:"):
        from pipelines.publish.hub import fetch_recipe  # loads the Hub's client

        where = f"hf://{where.removeprefix('hf:').lstrip('/')}"  # of its two slashes a Path has lost one
        path = fetch_recipe(where)
    try:
        raw = _parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UserError(f"cannot read the recipe {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid UTF-8: {error}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a recipe is a YAML mapping (name, sources, mix, ...), not {type(raw).__name__}")
    for change in changes:
        _apply(raw, change)
    if published:
        from pipelines.publish.places import check_given

        check_given(raw, where)
    if run_dir is not None:
        raw["run_dir"] = run_dir
    recipe = parse_recipe(raw, str(path))
    if recipe.run_url:
        from pipelines.folders.run_folder import open_run_folder  # loads Arrow

        open_run_folder(recipe).bring(REPAIRS)
    return _anchored(_limited(_repaired(recipe, raw, str(path))))


def _repaired(recipe: Recipe, raw: dict[str, Any], where: str) -> Recipe:
    """Return the recipe with the repairs that are noted beside its run, behind its own."""
    if not (noted := noted_repairs(recipe.run_path)):
        return recipe
    parsed = parse_recipe({**raw, "repairs": noted}, f"{where} with {recipe.run_path / REPAIRS}").repairs
    return recipe.model_copy(update={"repairs": continued(recipe.repairs, parsed)})


def _limited(recipe: Recipe) -> Recipe:
    """Return the recipe with its limit on each source and on what is made beside them."""
    if (limit := recipe.limit) is None:
        return recipe
    sources = [s.model_copy(update={"limit": min(s.limit or limit, limit)}) for s in recipe.sources]
    ladder = recipe.noise.ladder
    shorter = ladder and ladder.model_copy(update={"rows": min(ladder.rows, limit)})
    noise = recipe.noise.model_copy(update={"rows": min(recipe.noise.rows, limit), "ladder": shorter})
    chats = recipe.chats.model_copy(update={"inaudible": min(recipe.chats.inaudible, limit)})
    return recipe.model_copy(update={"sources": tuple(sources), "noise": noise, "chats": chats})


def _anchored(recipe: Recipe) -> Recipe:
    """Return the recipe with absolute paths: a Ray worker's working directory may be another."""
    quantize = recipe.quantize.model_copy(
        update={role: _absolute(place) for role, place in recipe.quantize.files.items() if place}
    )
    speech = recipe.tts.whisperspeech
    speech = replace(
        speech,
        t2s=_absolute(speech.t2s),
        s2a=_absolute(speech.s2a),
        vocoder=_absolute(speech.vocoder),
        speakers={name: _absolute(place) for name, place in speech.speakers.items()},
    )
    tts = recipe.tts.model_copy(update={"whisperspeech": speech})
    paths = {
        "run_dir": recipe.run_url or str(recipe.run_path),
        "root": str(Path(recipe.root).absolute()),
        "quantize": quantize,
    }
    return recipe.model_copy(update={**paths, "tts": tts})


def _absolute(place: str) -> str:
    """Return a path that is there as an absolute one; the Hub's ids and names as they are."""
    return str(Path(place).absolute()) if Path(place).exists() else place


def parse_recipe(raw: dict[str, Any], where: str) -> Recipe:
    """Validate a recipe's plain values. Raises UserError with all that is wrong."""
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(e["loc"], e["msg"], e["type"]) for e in error.errors()]
        raise UserError("\n".join([f"{where} cannot be used:", *(f"  {line}" for line in lines)])) from error


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader, with an error for a key that stands twice: the last would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.YAMLError(f"the key {twice!r} stands twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _UniqueKeys)
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not valid YAML: {error}") from error


def _apply(raw: dict[str, Any], change: str) -> None:
    """Apply one `step.option=value`; a list's items are named by position, `name` or rule."""
    key, equals, value = change.partition("=")
    if not equals or not key:
        raise UserError(f"--set {change}: write it as step.option=value")
    place: Any = raw
    *parents, last = key.split(".")
    if key.startswith("filter.rules.") and "rules" not in raw.get("filter", {}):
        raw.setdefault("filter", {})["rules"] = [rule.rule for rule in Filter().rules]
    for part in parents:
        place = _enter(place, part, change)
    parsed = _parse_yaml(value, f"--set {change}")
    if isinstance(place, list):
        position = _position(place, last, change)
        item = place[position]
        named = last == item or (isinstance(item, dict) and last in item)  # a rule: its options are set
        place[position] = {last: parsed} if named else parsed
    else:
        place[last] = parsed


def _enter(place: Any, part: str, change: str) -> Any:
    """Return the mapping or list at a key of a mapping, or at an item of a list."""
    if isinstance(place, list):
        position = _position(place, part, change)
        if place[position] == part:  # a bare rule: speakable
            place[position] = {part: {}}
        place = place[position]
        if not isinstance(place, dict) or part not in place:
            return place
    inner = place.get(part)
    if inner is None:
        inner = place[part] = {}
    if not isinstance(inner, dict | list):
        key, _, value = change.partition("=")
        before, _, rest = key.partition(f"{part}.")
        raise UserError(
            f"--set {change}: {part!r} is {inner!r} and has no options; set it whole: "
            f"--set '{before}{part}={{{rest}: {value}}}'"
        )
    return inner


def _position(items: list[Any], part: str, change: str) -> int:
    for position, item in enumerate(items):
        names = (item.get("name"), item.get("rule"), *item) if isinstance(item, dict) else (item,)
        if part == str(position) or part in names:
            return position
    raise UserError(f"--set {change}: the list has no item {part!r}")


def _explain(place: tuple[int | str, ...], message: str, kind: str) -> str:
    """Return one line on one error: key, what is wrong, the nearest valid name."""
    key = ".".join(str(part) for part in place) or "recipe"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        names = _names_at(place[:-1])
        remedy = nearest(str(place[-1]), names) if names else ""
        return f"{key}: unknown option; {remedy}"
    return f"{key}: {message.removeprefix('Value error, ')}"


def _names_at(place: tuple[int | str, ...]) -> list[str]:
    """Return the names of the options that a key path leads to; none where it leads to no options."""
    if place[:1] == ("workers",) and len(place) > 1:
        return list(StepWorkers.model_fields)
    published = Published if "sources" in place else PublishedStage
    models: dict[str, Any] = {
        "sources": Source, "mixtures": Mixture, "published": published, "voices": Voice, "augment": Augment,
        "compare_paths": PathLimits, "plausible": Plausible, "whisperspeech": WhisperSpeechOptions,
        "openai_speech": OpenAISpeechOptions, "llms": LlmOptions, "rewrite": Rewrite, "answer": Answers,
        "repairs": Repair,
        "refusals": Refusals, "ladder": Ladder, **RULES,
        **{name: field.annotation for name, field in Recipe.model_fields.items() if isinstance(field.annotation, type)},
    }  # fmt: skip
    model: Any = next((models[str(part)] for part in reversed(place) if part in models), None if place else Recipe)
    if model is None:
        return []
    return list(model.model_fields) if issubclass(model, BaseModel) else [f.name for f in fields(model)]
