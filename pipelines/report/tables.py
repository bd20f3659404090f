"""The tables of the report that are more than what a manifest says: voices, the proof of exact mixtures, provenance."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from pipelines.report.rows import Rows
from pipelines.report.seen import Seen
from pipelines.report.tokens import Tokens
from pipelines.shards import digest_json
from tts.allocation import shares

MOST_VOICES = 200  # that are listed one by one: a set of recordings may have thousands


def voice_rows(seen: Seen, rows: Rows, tokens: Tokens) -> list[dict[str, Any]]:
    """Return what is known of each voice: attributes, utterances, its share and the share that is due to it.

    Voices of texts have a due share, among those that are held out or those that are not; speakers of
    recordings have none.
    """
    tts = seen.recipe.tts
    listed = {voice.id: voice for voice in tts.voices}
    by_voice = rows.utterances.group_by(pl.col("voice").cast(pl.String)).agg(pl.len(), pl.col("seconds").sum())
    counted = {voice: (count, seconds) for voice, count, seconds in by_voice.iter_rows()}
    due = {voice: share for held_out in (False, True) for voice, share in _due(seen, held_out).items()}
    group = {voice: listed[voice].held_out if voice in listed else None for voice in counted}
    whole = Counter[bool | None]()
    for voice, (count, _) in counted.items():
        whole[group[voice]] += count
    found = []
    for name in sorted(counted, key=lambda name: (-counted[name][0], name or "")):
        mine = listed.get(name)
        of = whole[group[name]]
        sampled = [h.voices[name] for h in tokens.heard.values() if name in h.voices]
        repeats, heard = sum(v.repeats for v in sampled), sum(v.tokens for v in sampled)
        about = tts.attributes(mine) if mine else {"gender": "", "accent": ""}
        found.append(
            {
                "voice": name or "unnamed", **about, "held_out": bool(mine and mine.held_out),
                "engine": (mine.engine or tts.engine) if mine else "recording",
                "license": (mine.license or "") if mine else "", "consent": (mine.consent or "") if mine else "",
                "utterances": counted[name][0], "hours": counted[name][1] / 3600, "of": of,
                "share": counted[name][0] / of, "due": due.get(name) if mine else None,
                "repeats": repeats / heard if heard else None, "sampled": heard,
            }
        )  # fmt: skip
    return found


def _due(seen: Seen, held_out: bool) -> dict[str, float]:
    candidates = seen.recipe.tts.candidates(held_out)
    whole = shares(candidates) if candidates else []
    return {c.voice: share / sum(whole) for c, share in zip(candidates, whole, strict=True)}


def by_attribute(voices: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return attribute -> value -> utterances, the most frequent first."""
    counted: dict[str, Counter[str]] = {"gender": Counter(), "accent": Counter(), "engine": Counter()}
    for voice in voices:
        for attribute, values in counted.items():
            values[voice[attribute] or "not said"] += voice["utterances"]
    return {attribute: dict(values.most_common()) for attribute, values in counted.items()}


def exactness(seen: Seen) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each mixture: its parts with the exact share of the total, the quota, and what its files hold."""
    for name, mixture in seen.lock().get("mixtures", {}).items():
        counted = _in_files(seen, name)
        total = mixture["total"]
        parts = []
        for part, about in mixture["parts"].items():
            percent = seen.recipe.mix.mixtures[name].parts[part]
            exact = Fraction(percent) * total / 100
            in_files = counted[part] if counted is not None else None
            off = abs(about["chosen"] - exact)
            parts.append({"part": part, **about, "exact": float(exact), "off": float(off), "in_files": in_files})
        rest = {key: mixture[key] for key in ("bound", "rows_of_too_many_tokens") if mixture.get(key)}
        yield name, {"total": total, "reuse_prompts": mixture["reuse_prompts"], "parts": parts, **rest}


def _in_files(seen: Seen, mixture: str) -> Counter[str] | None:
    """Return how many pairs of each task a mixture's files hold; None where they do not say, or are not there yet."""
    options = seen.recipe.mix.mixtures[mixture]
    tells = options.columns is None or "task" in options.columns
    if not seen.outputs.has("export") or not (tells or len(options.parts) == 1):
        return None
    counted: Counter[str] = Counter()
    files = [name for record in seen.records("export").values() for name in record.files]
    for file in (seen.file(name) for name in files if name.startswith(f"dataset/{mixture}/")):
        if tells:
            counted.update(dict(pl.read_parquet(file, columns=["task"]).group_by("task").len().iter_rows()))
        else:
            counted[next(iter(options.parts))] += pq.read_metadata(file).num_rows
    return counted


def provenance(seen: Seen) -> dict[str, Any]:
    """Return where the run comes from: sources with licences, fingerprints of passes, models, versions."""
    sources = [
        {
            "name": source.name, "from": source.hf or "files", "revision": source.revision or "",
            "license": source.license, "said": record.facts.get("said", "") if record else "not read yet",
            "rows": seen.funnel.sources.get(source.name, {}).get("read", 0),
            "used": seen.funnel.sources.get(source.name, {}).get("quantize"),
        }
        for source in seen.recipe.sources
        for record in [seen.outputs.sources().get(source.name)]
    ]  # fmt: skip
    passes = []
    for key in seen.states:
        if key != "export.card" and (records := seen.records(key)):  # which makes the published report: it cannot know
            made_of = next(iter(records.values())).made_of
            digest = digest_json([record.fingerprint for record in records.values()])
            passes.append({"key": key, "version": made_of.get("version", ""), "fingerprint": digest})
    return {
        "speechmill": importlib.metadata.version("speechmill"),
        "sources": sources,
        "passes": passes,
        "models": dict(_models(seen)),
    }


def _models(seen: Seen) -> Iterator[tuple[str, str]]:
    """Yield what spoke, listened and wrote, with version, digest and precision, as records and rows name it."""
    for record in list(seen.records("quantize").values())[:1]:
        if name := record.facts.get("tokenizer"):
            yield "tokenizer", name
    for record in list(seen.records("tts").values())[:1]:
        for engine, options in _engines(record.made_of.get("options", {})):
            yield f"engine {engine}", options
    for name, llm in seen.recipe.llms.items():
        yield f"language model {name}", llm.model


def _engines(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    makes = options.get("engines", {})
    for engine, about in makes.items() if isinstance(makes, Mapping) else ():
        known = [f"{key} {about[key]}" for key in ("version", "models", "model", "precision") if about.get(key)]
        yield engine, ", ".join(known)
