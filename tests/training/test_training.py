"""Trainers read a dataset as it is: what their chat classes ask of the column, and of the files beside the tokenizer.

What torchtune and TRL themselves make of it is run by benchmarks/training.py, in an environment of its own.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from tokenizers import Tokenizer

from pipelines.extend_tokenizer import extend, vocabulary
from pipelines.recipe import load_recipe
from pipelines.tasks import PAIR, TASKS
from quantize.sound_string import find_sounds, sound_tokens
from tests.conftest import ROOT

MANUAL = (ROOT / "docs" / "training.md").read_text()
PINS = re.compile(r"^([A-Za-z0-9_-]+)==(\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def training() -> Any:
    """The script benchmarks/training.py, as a module."""
    spec = importlib.util.spec_from_file_location("training", ROOT / "benchmarks" / "training.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["stage2", "stage3"])
def loaded(request: pytest.FixtureRequest, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A mixture of the small run as `datasets` loads it."""
    cache = str(tmp_path_factory.mktemp("cache"))
    return datasets.load_dataset(str(finished / "run" / "dataset"), request.param, split="train", cache_dir=cache)


def test_the_column_is_one_of_messages_as_openai_has_them(loaded: Any) -> None:
    """TRL and torchtune look a message up by `role` and `content`, both strings; the tasks stand beside it."""
    message = loaded.features["conversations"].feature
    assert {key: value.dtype for key, value in message.items()} == {"role": "string", "content": "string"}
    assert set(loaded["task"]) <= TASKS.keys()


def test_every_conversation_passes_the_strictest_reader(loaded: Any) -> None:
    """torchtune's validate_messages, and chat templates that want user and assistant in turn."""
    for messages in loaded["conversations"]:
        roles = [message["role"] for message in messages]
        turns = roles[roles[0] == "system" :]
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert len(turns) >= 2
        assert all(message["content"].strip() for message in messages)
        assert all(first != second for first, second in pairwise(roles))


def test_what_is_trained_on_is_text_and_what_is_masked_holds_the_sound(loaded: Any) -> None:
    for row in loaded:
        spoken = [find_sounds(message["content"]) for message in row["conversations"] if message["role"] == "user"]
        others = [message["content"] for message in row["conversations"] if message["role"] != "user"]
        assert not [text for text in others if "<|sound" in text]
        assert all(len(sounds) == (row["task"] != "text_only") for sounds in spoken)


def test_the_recipe_of_the_benchmark_has_every_task_that_holds_conversations(training: Any, tmp_path: Path) -> None:
    recipe = load_recipe(training.write_recipe(tmp_path))
    parts = {name: set(mixture.parts) for name, mixture in recipe.mix.mixtures.items()}
    assert parts == {task: {task} for task in TASKS.keys() - {"sound"}}
    assert {mixture.total for mixture in recipe.mix.mixtures.values()} == {training.ROWS}
    chats = [json.loads(line)["messages"] for line in (tmp_path / "chats.jsonl").read_text().splitlines()]
    assert [len(chat) for chat in chats] == [8] * training.CHATS + [4] * training.CHATS
    assert all([m["role"] for m in chat] == ["user", "assistant"] * (len(chat) // 2) for chat in chats)


def test_torchtunes_files_lie_beside_the_extended_tokenizer(training: Any, tmp_path: Path) -> None:
    """torchtune reads words from vocab.json and merges.txt, and every added token from tokenizer.json."""
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}")
    training.write_tokenizer(tmp_path / "plain", template)
    made = extend(tmp_path / "plain", tmp_path / "extended", vocabulary(512, mask=False, durations=False))
    extended = tmp_path / "extended"
    words = json.loads((extended / "vocab.json").read_bytes())
    added = {e["content"]: e["id"] for e in json.loads((extended / "tokenizer.json").read_bytes())["added_tokens"]}
    assert made.ids.items() <= added.items()
    assert sorted([*words.values(), *added.values()]) == list(range(made.rows))
    tokenizer = Tokenizer.from_file(str(extended / "tokenizer.json"))
    for token in sound_tokens(range(512), 512):
        assert tokenizer.encode(f"say{token} it").ids.count(added[token]) == 1
    assert (extended / "merges.txt").is_file()
    assert (extended / "chat_template.jinja").read_text() == "{{ messages }}"


def test_the_manual_names_a_mixture_and_a_column_that_there_are() -> None:
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", MANUAL, re.DOTALL)]
    torchtune, axolotl = blocks
    mixtures = yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text())["mix"]["mixtures"]
    for read, column in ((torchtune["dataset"], "conversation_column"), (axolotl["datasets"][0], "field_messages")):
        assert read["name"] in mixtures
        assert read["split"] == "train"
        assert read[column] == "conversations"
        assert read[column] in PAIR.names
    llama3, trl = re.findall(r"```python\n(.*?)```", MANUAL, re.DOTALL)
    for code in (llama3, trl):
        compile(code, "docs/training.md", "exec")
    assert "def sound_llama3_tokenizer(" in llama3  # benchmarks/trainers.py runs it
    assert 'select_columns("conversations").rename_column("conversations", "messages")' in trl


def test_trainers_get_the_versions_that_the_project_has() -> None:
    ours = dict(PINS.findall((ROOT / "constraints.txt").read_text()))
    theirs = dict(PINS.findall((ROOT / "benchmarks" / "requirements-training.txt").read_text()))
    assert {"torch", "torchtune", "torchao", "trl", "transformers", "datasets", "tokenizers"} <= theirs.keys()
    for name in ("torch", "datasets", "tokenizers"):
        assert theirs[name] == ours[name]
    for name in ("torch", "torchtune", "torchao", "trl", "transformers"):
        assert f"{name} {theirs[name]}" in MANUAL
