"""An exported dataset in torchtune and TRL, unchanged: what they train on, and a tiny Llama that learns it by heart.

    python benchmarks/training.py --folder /tmp/training                        # makes a run: 64 rows of each task
    python benchmarks/training.py --folder /tmp/training --run runs/quickstart  # up to 64 rows of each mixture

In --folder it makes an environment (requirements-training.txt: Python 3.11, minutes), a small tokenizer of the
examples, of Qwen2.5's kind, extended by `speechmill extend-tokenizer --run`, and a Llama of two layers with random
weights. benchmarks/trainers.py then runs in that environment, offline, on the CPU. It stops at the first thing that is
not as docs/training.md says. Everything stays in the folder, so that a second call installs and speaks nothing again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES, TRUTH = ROOT / "examples" / "instructions.jsonl", ROOT / "examples" / "truth.jsonl"
REQUIREMENTS = ROOT / "benchmarks" / "requirements-training.txt"
ROWS = 64  # of each task
CHATS = 110  # of four exchanges, and as many of two: the examples have 17 and 74 that can be used
# Qwen2.5's: tokenizer.json of Qwen/Qwen2.5-0.5B-Instruct, and torchtune's PRETOKENIZE_REGEX
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = "lib/python*/site-packages/trl/chat_templates/qwen2_5.jinja"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PLAIN = ("<tool_call>", "</tool_call>")  # torchtune asks for them
VOCABULARY = 2000


def singles() -> Iterator[list[dict[str, str]]]:
    """Yield the exchange of each example that has one, no system message, and a prompt that the rules keep."""
    truth = TRUTH.read_text().splitlines()
    for line, known in zip(EXAMPLES.read_text().splitlines(), truth, strict=True):
        messages = json.loads(line).get("messages", [])
        if json.loads(known)["verdict"] == "keep" and [m["role"] for m in messages] == ["user", "assistant"]:
            yield messages


def chats() -> Iterator[list[dict[str, str]]]:
    """Yield chats of four exchanges, then of two: the examples put together, each of them once in either."""
    for number in (4, 2):
        exchanges = singles()
        for _ in range(CHATS):
            yield list(itertools.chain.from_iterable(itertools.islice(exchanges, number)))


def write_recipe(folder: Path) -> Path:
    """Write a recipe with a mixture of ROWS rows for each task, and the chats that it needs beside the examples."""
    (folder / "chats.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats()))
    recipe = yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text())
    chats_source = {"name": "chats", "path": str(folder / "chats.jsonl"), "license": "Apache-2.0", "turns": "all"}
    tasks = ("speech_instruction", "transcription", "text_only", "two_turn", "four_turn", "inaudible")
    changes: dict[str, Any] = {
        "name": "training",
        "root": str(ROOT),
        "run_dir": str(folder / "run"),
        "sources": [*recipe["sources"], chats_source],
        "noise": {"rows": ROWS, "ladder": {"rows": 20, "rungs": 4, "snr_db": [20, -5]}},
        "chats": {"inaudible": ROWS},
        "mix": {
            "max_refusal_share": 0.5,
            "mixtures": {
                task: {"parts": {task: 100}, "total": ROWS, "reuse_prompts": True}
                for task in (*tasks, "interrupted", "degraded")
            },
        },
        "export": {"audio": False},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**recipe, **changes}, sort_keys=False))
    return path


def write_tokenizer(folder: Path, template: Path) -> None:
    """Write a small byte-level BPE of the examples with the files, special tokens, words and template of Qwen2.5's."""
    folder.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    texts = [m["content"] for line in EXAMPLES.read_text().splitlines() for m in json.loads(line).get("messages", [])]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.model.save(str(folder))  # vocab.json and merges.txt: torchtune reads these
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens(list(PLAIN))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 131072,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copy(template, folder / "chat_template.jinja")


def speechmill(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pipelines", *map(str, arguments)], cwd=ROOT, check=True)


def environment(folder: Path) -> Path:
    """Return the Python of the trainers' environment, made where it is not there yet."""
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.is_file() or done.read_text() != REQUIREMENTS.read_text():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        torch = next(line for line in REQUIREMENTS.read_text().splitlines() if line.startswith("torch=="))
        subprocess.run([*install, torch], check=True)  # by itself first, as in the Makefile
        subprocess.run([*install, "--requirement", str(REQUIREMENTS)], check=True)
        subprocess.run([str(python), "-m", "pip", "check"], check=True)
        done.write_text(REQUIREMENTS.read_text())
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="environment, run, tokenizer, model: all go here")
    parser.add_argument("--run", type=Path, help="a finished run (default: one is made in the folder)")
    parser.add_argument("--mixtures", nargs="*", default=[], help="only these (default: all)")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python = environment(folder / "environment")
    run = arguments.run.resolve() if arguments.run else folder / "run"
    if not arguments.run:
        speechmill("run", write_recipe(folder), "--workers", "2")
    if not (folder / "tokenizer").is_dir():
        (template,) = python.parent.parent.glob(TEMPLATE)
        write_tokenizer(folder / "tokenizer", template)
    extended = folder / f"tokenizer-{run.name}"
    speechmill("extend-tokenizer", folder / "tokenizer", "--out", extended, "--run", run)
    # One thread: two that wait for each other take ten times as long where other work has the cores.
    apart = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    apart["HF_HOME"] = str(folder / "cache")
    order = [python, ROOT / "benchmarks" / "trainers.py", run / "dataset", extended, folder, *arguments.mixtures]
    subprocess.run([str(word) for word in order], env={**os.environ, **apart}, check=True)


if __name__ == "__main__":
    main()
