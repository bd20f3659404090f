"""`speechmill steps`: the reference manual of recipes, from the options' own declarations."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic_core import PydanticUndefined, to_jsonable_python

from answers.options import LlmOptions
from pipelines.answer_options import Answers, Refusals, Rewrite
from pipelines.estimate_options import Planning
from pipelines.noise_options import Ladder, Noise
from pipelines.options import Chats, Export, Mix, Mixture, Read, Score, Source
from pipelines.quantize_options import Quantize
from pipelines.recipe import Recipe
from pipelines.repair_options import Repair
from pipelines.rules import RULES, Filter
from pipelines.speech_options import PathLimits, Tts
from pipelines.tasks import TASKS
from pipelines.voice_options import Augment, Voice
from pipelines.worker_options import NAMES, StepWorkers, Workers
from quantize import TOKENIZERS
from tts import ENGINES
from tts.openai_speech_options import OpenAISpeechOptions
from tts.whisperspeech_options import WhisperSpeechOptions

SECTIONS: dict[str, Any] = {
    "recipe": Recipe, "sources": Source, "read": Read, "score": Score, "filter": Filter, "llms": LlmOptions,
    "rewrite": Rewrite, "answer": Answers, "chats": Chats, "tts": Tts,
    "tts.voices": Voice, "tts.augment": Augment, "tts.whisperspeech": WhisperSpeechOptions,
    "tts.openai_speech": OpenAISpeechOptions, "tts.compare_paths": PathLimits, "quantize": Quantize, "noise": Noise,
    "noise.ladder": Ladder, "noise.refusals": Refusals,
    "mix": Mix, "mix.mixtures": Mixture, "export": Export, "plan": Planning, "workers": Workers,
    "workers.tts": StepWorkers, "repairs": Repair,
}  # fmt: skip
MOST_SHOWN = 10  # items of a default


def reference(only: str | None = None) -> Iterator[str]:
    """Yield the lines of the reference; of one section alone where `only` names it."""
    sections = [name for name in SECTIONS if "." not in name]
    for name, model in SECTIONS.items():
        if only in (None, name):
            yield from _section(name, model, sections if name == "recipe" else [])
            if name == "filter":
                yield "  rules:"
                for rule, options in RULES.items():
                    yield from _section(f"filter.rules: {rule}", options, ["rule"], indent="    ")
            if name == "mix.mixtures":
                yield f"  tasks: {', '.join(TASKS)}"
            if name == "tts":
                yield f"  engines: {', '.join(ENGINES)}"
            if name == "quantize":
                yield f"  tokenizers: {', '.join(TOKENIZERS)}"
            if name == "workers":
                yield f"  <step>, as workers.tts: {', '.join(NAMES)}"
            yield ""


def _section(name: str, model: Any, skip: list[str], indent: str = "") -> Iterator[str]:
    about, described = _about(model)
    yield f"{indent}{name}: {about}"
    for key, (default, description) in described.items():
        if key not in skip:
            told = f"see {name}.{key}" if f"{name}.{key}" in SECTIONS else default
            yield f"{indent}  {key} ({told}): {description}".rstrip(": ")


def _about(model: Any) -> tuple[str, dict[str, tuple[str, str]]]:
    """Return what options are for, and of each its default and what it means."""
    text = inspect.getdoc(model) or ""
    if not dataclasses.is_dataclass(model):
        return " ".join(text.split()), {
            key: (
                "required" if field.is_required() else f"default {_show(field.get_default(call_default_factory=True))}",
                field.description or "",
            )
            for key, field in model.model_fields.items()
        }
    described = _described(text)
    defaults = {
        field.name: field.default_factory() if callable(field.default_factory) else field.default
        for field in dataclasses.fields(model)
    }
    return text.partition("\n")[0], {
        key: (
            "required" if default is dataclasses.MISSING else f"default {_show(default)}",
            described.get(key, ""),
        )
        for key, default in defaults.items()
    }


def _described(doc: str) -> dict[str, str]:
    """Return what a docstring says of each field: lines "name, other: text", and indented ones that go on.

    >>> _described("Options.\\n\\nlow, high: ends\\n    of the range\\nstep: how far")
    {'low': 'ends of the range', 'high': 'ends of the range', 'step': 'how far'}
    """
    found: dict[str, str] = {}
    names: list[str] = []
    for line in doc.splitlines()[1:]:
        if match := re.match(r"(\w+(?:, \w+)*):\s+(\S.*)", line):
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif line.startswith(" ") and names:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def _show(value: Any) -> str:
    if value is PydanticUndefined:
        return "none"
    if isinstance(value, tuple) and len(value) > MOST_SHOWN:
        return f"{len(value)} of them"
    return json.dumps(to_jsonable_python(value), ensure_ascii=False)
