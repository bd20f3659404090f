"""A row's life in words: what `speechmill explain` prints. Texts are shown without their controls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.telling.life import Life
from pipelines.telling.look import visible

SHOWN = 12  # digits of fingerprints and digests


def told(life: Life) -> Iterator[str]:
    """Yield the lines of a row's life."""
    yield life["id"] + (f"/{life['task']}" if life["task"] else "")
    yield ""
    yield from _source(life)
    yield from _messages(life)
    if life["rules"]:
        yield "rules"
        width = max(len(rule["rule"]) for rule in life["rules"])
        for rule in life["rules"]:
            verdict = {True: "keep", False: "reject", None: ""}[rule["keeps"]]
            yield f"  {rule['rule']:<{width}}  {verdict:<6}  {visible(rule['score'])}"
        yield ""
    yield from _end(life)
    yield "made by"
    width = max(len(made["pass"]) for made in life["made_by"])
    for made in life["made_by"]:
        about = {name: value for name, value in made.items() if name not in ("pass", "unit", "fingerprint", "when")}
        said = _pairs({**about, "version": made["version"]})
        yield f"  {made['pass']:<{width}}  {made['when']}  {made['fingerprint'][:SHOWN]}  {made['unit']}  {said}"


def _source(life: Life) -> Iterator[str]:
    source = life["source"]
    where = source["place"] or f"record {source['index']} ({source['why'] or 'not found'})"
    yield f"from {source['name']}: {where}, licence {source['license']}"
    for other in life["same_record"]:
        yield f"  the same record again: {other['source']}, record {other['index']}: {other['reject'] or 'kept'}"
    for name in ("inaudible", "degraded"):
        if life[name] is not None:
            yield f"{name}: {_pairs(life[name]) if isinstance(life[name], dict) else life[name]}"
    if life["cut"]:
        yield f"cut: {life['cut']}"
    yield ""


def _messages(life: Life) -> Iterator[str]:
    for turn, message in enumerate(life["messages"]):
        yield f"{message['role']}: {visible(message['content'])}"
        for about in life["generated"]:
            if about["turn"] == turn:
                asked = _pairs({name: about[name] for name in ("model", "template", "tries")})
                yield f"  written by a language model ({about['task']}): {asked}"
                if about["original"] is not None:
                    yield f"  instead of: {visible(about['original'])}"
        for spoken in life["spoken"]:
            if spoken["turn"] == turn:
                yield from _utterance(spoken)
    for spoken in life["spoken"]:
        if spoken["turn"] >= len(life["messages"]):  # a recording without a text
            yield from _utterance(spoken)
    for repair in life["repairs"]:
        changes = _pairs({name: repair[name] for name in ("voice", "seed") if name in repair})
        yield f"spoken again: {changes} (repair where {repair['where']})"
    yield ""


def _utterance(spoken: dict[str, Any]) -> Iterator[str]:
    if spoken["text"] is not None:
        yield f"  spoken as: {visible(spoken['text'])}"
    names = ("voice", "rate_wpm", "pitch", "seed", "tts", "models")
    if said := _pairs({name: spoken[name] for name in names}):
        yield f"  by {said}"
    if spoken["augmentation"]:
        yield f"  augmented: {_pairs(spoken['augmentation'])}"
    seconds = {"seconds": round(spoken["seconds"], 3), "sample_rate": spoken["sample_rate"]}
    yield f"  {_pairs({**seconds, 'tokens': spoken['tokens'], 'tokenizer': spoken['tokenizer']})}"


def _end(life: Life) -> Iterator[str]:
    if life["ended"]:
        yield f"ended: {visible(life['ended']['reject'])}"
    elif not life["serves"]:
        as_task = f" as {life['task']}" if life["task"] else ""
        yield f"{life['in_no_mixture']}{as_task}; it may serve {', '.join(life['may_serve']) or 'no task'}"
    for pair in life["serves"]:
        where = f"{pair['file']} row {pair['row']}" if pair["file"] else "not exported yet"
        yield f"{pair['task']} in {pair['mixture']}, index {pair['index']}: {where} (of {pair['of']})"
        for version in pair["published"]:
            commit = version["commit"][:7]
            yield f"  published: {version['repo']} {version['version']} (commit {commit}), {version['file']}"
    if life["audio"]:
        yield f"audio: {life['audio']['file']} row {life['audio']['row']}"
    yield ""


def _pairs(about: dict[str, Any]) -> str:
    """Return names and values on a line; digests by their first digits, nulls left out.

    >>> _pairs({"voice": "en", "seed": None, "engines": {"espeak": {"version": "1.52"}}})
    'voice en, espeak: version 1.52'
    """
    parts = []
    for name, value in about.items():
        if name == "engines":
            parts += [f"{engine}: {_pairs(options)}" for engine, options in value.items()]
        elif value is not None:
            digest = name in ("model", "models") and len(str(value)) == 32
            parts.append(f"{name} {value[:SHOWN] if digest else value}")
    return ", ".join(parts)
