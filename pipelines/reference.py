"""`speechmill steps`: the reference manual of recipes, from the options' own declarations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import PydanticUndefined, to_jsonable_python

from pipelines.options import Export, Mix, Mixture, Noise, Options, Read, Score, Source
from pipelines.recipe import Recipe
from pipelines.rules import RULES, Filter
from pipelines.speech_options import Quantize, Tts
from pipelines.tasks import TASKS
from quantize import TOKENIZERS
from tts import ENGINES

SECTIONS: dict[str, type[Options]] = {
    "recipe": Recipe, "sources": Source, "read": Read, "score": Score, "filter": Filter, "tts": Tts,
    "quantize": Quantize, "noise": Noise, "mix": Mix, "mix.mixtures": Mixture, "export": Export,
}  # fmt: skip


def reference(only: str | None = None) -> Iterator[str]:
    """Yield the lines of the reference; of one section alone where `only` names it."""
    for name, model in SECTIONS.items():
        if only in (None, name):
            yield from _section(name, model, list(SECTIONS))
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
            yield ""


def _section(name: str, model: type[Options], skip: list[str], indent: str = "") -> Iterator[str]:
    about = " ".join((model.__doc__ or "").split())
    yield f"{indent}{name}: {about}"
    for key, field in model.model_fields.items():
        if key in skip:
            continue
        default = (
            "required" if field.is_required() else f"default {_show(field.get_default(call_default_factory=True))}"
        )
        yield f"{indent}  {key} ({default}): {field.description or ''}".rstrip(": ")


def _show(value: Any) -> str:
    if value is PydanticUndefined:
        return "none"
    return json.dumps(to_jsonable_python(value), ensure_ascii=False)
