"""A small recipe in which every pass has something to do: texts, chats, recordings, a language model, noise.

It is made for runs that are disturbed: small shards, so that there are many, and a chat server that takes its time.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from tests.answers.loopback_chat import QUICK
from tests.pipelines.stand_ins import THINGS, UNSPEAKABLE, answer, questions, turns

CONCURRENCY = 4  # requests under way at once: what a kill may have to ask again
RECORDINGS = 12
BENCHMARK = 3  # questions that a benchmark asks too


def write_sources(folder: Path, rows: int) -> None:
    """Write questions (so many), a fifth as many chats, a benchmark, recordings."""
    folder.mkdir(parents=True)
    _write_lines(folder / "asked.jsonl", _records(rows))
    chats = (turns(question, 2 + n % 2) for n, question in enumerate(islice(questions(500), rows // 5)))
    _write_lines(folder / "chats.jsonl", ({"messages": _messages(chat, n)} for n, chat in enumerate(chats)))
    _write_lines(folder / "benchmark.jsonl", ({"question": q} for q in islice(questions(0), BENCHMARK)))
    _write_recordings(folder / "speech")


def write_recipe(folder: Path, run: Path, base_url: str, changes: Mapping[str, Any]) -> Path:
    """Write the recipe of a run over the sources in a folder; returns its path.

    Args:
        changes: of options, by their dotted names.
    """
    recipe = _recipe(folder, run, base_url)
    for name, value in changes.items():
        *places, last = name.split(".")
        of: dict[str, Any] = recipe
        for place in places:
            of = of.setdefault(place, {})
        of[last] = value
    path = folder / f"{run.name}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def _recipe(folder: Path, run: Path, base_url: str) -> dict[str, Any]:
    rules: list[Any] = [
        *("private", "speakable", "length", "seconds", "language", "answer"),
        {"benchmark": {"benchmarks": [{"name": "asked_before", "path": "benchmark.jsonl"}]}},
        *("duplicate", {"near_duplicate": {"jaccard": 0.7}}),
    ]
    own = {"license": "Apache-2.0"}
    return {
        "name": "every_step",
        "root": str(folder),
        "run_dir": str(run),
        "sources": [
            {"name": "asked", "path": "asked.jsonl", **own},
            {"name": "chats", "path": "chats.jsonl", "turns": "all", **own},
            {"name": "heard", "path": "speech", "audio": {}, **own},
        ],
        "read": {"rows_per_shard": 10},
        "llms": {"m": {"base_url": base_url, "model": "m", "concurrency": CONCURRENCY, **QUICK}},
        "rewrite": {"llm": "m"},
        "filter": {"rules": rules},
        "answer": {"llm": "m", "how": "spoken"},
        "chats": {"failed_turn": "shorten", "inaudible": 2},
        "tts": {
            "augment": {"speed": [0.9, 1.1], "rt60_s": [0.2, 0.4], "snr_db": [10, 30], "gain_db": [-6, 3]},
        },
        "noise": {
            "rows": 24,
            "kinds": dict.fromkeys(("independent", "pink", "babble", "masked", "fragment", "reversed"), 1),
            "ladder": {"rows": 2, "rungs": 3, "snr_db": [20, -20]},
            "refusals": {"llm": "m"},
        },
        "mix": {
            "max_refusal_share": 0.5,
            "mixtures": {
                "stage2": {
                    "parts": {"speech_instruction": 60, "transcription": 20, "text_only": 20},
                    "reuse_prompts": True,
                },
                "stage3": {
                    "parts": {"two_turn": 40, "inaudible": 40, "interrupted": 10, "degraded": 10},
                    "total": 10,
                },
                "pretrain": {"parts": {"sound": 100}, "columns": ["index", "tokens", "text"]},
            },
        },
        "export": {"shard_bytes": 11_000, "audio": True, "report": False},
    }


def _records(rows: int) -> Iterator[dict[str, str]]:
    """Yield questions with answers: some that nobody could say, some twice, some nearly."""
    for n, question in enumerate(islice(questions(0), rows)):
        if n % 10 == 9:
            question = UNSPEAKABLE[n // 10 % len(UNSPEAKABLE)].format(THINGS[n % len(THINGS)])
        yield {"prompt": question, "answer": answer(question)}
        if n % 20 == 5:
            yield {"prompt": question.upper(), "answer": "The same again."}
            yield {"prompt": f"{question} Thanks", "answer": "Nearly the same again."}


def _messages(chat: list[str], n: int) -> list[dict[str, str]]:
    """Return a chat; in every fourth, nobody can say the last question."""
    roles = {"u": "user", "a": "assistant"}
    messages = [{"role": roles[said[0]], "content": said[2:]} for said in chat]
    if n % 4 == 3:
        messages[-2]["content"] = "And what is on https://example.org/more about it?"
    return messages


def _write_lines(path: Path, records: Iterator[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def _write_recordings(folder: Path) -> None:
    """Write recordings of a second each, with their table."""
    folder.mkdir(exist_ok=True)
    lines = ["file\ttext\tspeaker"]
    for n in range(RECORDINGS):
        draw, out = np.random.default_rng(n), io.BytesIO()
        soundfile.write(out, draw.normal(0, 0.1, 16_000).astype(np.float32), 16_000, format="WAV")
        (folder / f"clip{n}.wav").write_bytes(out.getvalue())
        lines.append(f"clip{n}.wav\tthis is clip number {n}\ts{n % 2}")
    (folder / "transcripts.tsv").write_text("\n".join(lines) + "\n")
