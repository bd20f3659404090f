"""What torchtune and TRL make of an exported dataset: run by benchmarks/training.py in an environment of its own.

For each mixture, torchtune's `chat_dataset` and `SFTDataset` and TRL's `SFTTrainer` read the files as they are, with
the extended tokenizer. Of every row it is asserted that

- the ids decode to the conversation in ChatML, with each role and message in its place, a system message first;
- each sound token, start, end and duration is one id, in order, and the codes are those of the column `tokens`;
- the loss is on the assistant's turns, each of them with its end, and on nothing else;

the last two with the component for Llama 3 in docs/training.md too.

Then both train a Llama of two layers from the same random weights on the first 64 rows: torchtune by its recipe
full_finetune_single_device, TRL by SFTTrainer.train. `deaf` is the lowest loss that a model could reach which sees
every written word and no sound: what is left to guess is which of the answers belongs to the row.
"""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import yaml
from tokenizers import Tokenizer
from torchtune.data import OpenAIToMessages
from torchtune.datasets import SFTDataset, chat_dataset
from torchtune.models.qwen2._tokenizer import bytes_to_unicode
from torchtune.models.qwen2_5 import qwen2_5_tokenizer
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer

Message = dict[str, str]

ROWS, BATCH = 64, 8
EPOCHS, EPOCHS_OF_CHATS = 30, 45  # of more than two answers a row, of which the sounds decide less
LEARNING_RATE = 3e-3
LAYERS, HEADS, HIDDEN, INNER = 2, 4, 128, 384
LEARNED = 0.1  # nats a trained token at most: nine in ten; where there are sounds, less than a deaf model can reach too
MASKED = -100
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."  # of Qwen2.5's chat template

MANUAL = Path(__file__).resolve().parents[1] / "docs" / "training.md"
LLAMA3 = "sound_llama3_tokenizer"
# The special tokens of Llama 3.1's tokenizer.json that torchtune asks for: it has no <|step_id|> and no <|image|>.
LLAMA3_1 = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|finetune_right_pad_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
)

_SOUND_TOKEN = re.compile(r"<\|(?:sound_(?:start|end|\d{4})|duration_\d\d)\|>")
_CODE = re.compile(r"<\|sound_(\d{4})\|>")
_SOUND = re.compile(r"<\|sound_start\|>.*?<\|sound_end\|>")


@dataclass(frozen=True)
class Seen:
    """What a trainer gets of one row: as many labels as ids, MASKED where there is no loss."""

    ids: list[int]
    labels: list[int]


def turn(role: str, content: str) -> str:
    return f"<|im_start|>{role}\n{content}<|im_end|>\n"


def torchtunes(messages: Sequence[Message]) -> tuple[str, list[str]]:
    """Return the text that torchtune is to see and the parts with loss: header and all, no newline at the very end."""
    text = "".join(turn(m["role"], m["content"]) for m in messages).removesuffix("\n")
    trained = [turn("assistant", m["content"]) for m in messages if m["role"] == "assistant"]
    return text, [*trained[:-1], trained[-1].removesuffix("\n")]


def trls(messages: Sequence[Message]) -> tuple[str, list[str]]:
    """Return the same for TRL with Qwen2.5's template, which adds a system message where there is none."""
    system = "" if messages[0]["role"] == "system" else turn("system", QWEN_SYSTEM)
    text = system + "".join(turn(m["role"], m["content"]) for m in messages)
    return text, [f"\n{m['content']}<|im_end|>\n" for m in messages if m["role"] == "assistant"]


def llama3s(messages: Sequence[Message]) -> list[str]:
    """Return the parts with loss of torchtune with Llama 3's tokenizer, which strips each message."""
    header = "<|start_header_id|>assistant<|end_header_id|>\n\n"
    return [f"{header}{m['content'].strip()}<|eot_id|>" for m in messages if m["role"] == "assistant"]


def trained_parts(seen: Seen) -> Iterator[list[int]]:
    """Yield each run of ids with loss."""
    part: list[int] = []
    for number, label in zip(seen.ids, seen.labels, strict=True):
        if label == MASKED:
            if part:
                yield part
            part = []
        else:
            assert label == number, f"label {label} at id {number}"
            part.append(number)
    if part:
        yield part


def check(row: dict[str, Any], seen: Seen, expected: tuple[str, list[str]], tokenizer: Tokenizer) -> None:
    """Assert that a trainer sees a row as it is, and that the loss is where it should be."""
    text, trained = expected
    where = row["id"]
    assert tokenizer.decode(seen.ids, skip_special_tokens=False) == text, where
    parts = [tokenizer.decode(part, skip_special_tokens=False) for part in trained_parts(seen)]
    assert parts == trained, where
    sounds = [s for m in row["conversations"] for s in _SOUND_TOKEN.findall(m["content"])]
    names = [tokenizer.id_to_token(number) for number in seen.ids]
    assert [name for name in names if _SOUND_TOKEN.fullmatch(name)] == sounds, where
    said = [m["content"] for m in row["conversations"] if m["role"] != "assistant"]
    assert sum(map(len, map(_SOUND_TOKEN.findall, said))) == len(sounds), f"{where}: an assistant that speaks"
    if row["tokens"] and not any(sound.startswith("<|duration") for sound in sounds):
        assert [int(code) for code in _CODE.findall("".join(sounds))] == row["tokens"], where


def deaf_loss(rows: Sequence[dict[str, Any]], trained: int) -> float:
    """Return the least nats a trained token for who reads all words and hears no sound: H(answers | words).

    Answers to the same words are told apart by nothing; the rows are all there is, so their shares are the truth.
    """
    answers: dict[tuple[str, ...], Counter[tuple[str, ...]]] = defaultdict(Counter)
    for row in rows:
        words = tuple(_SOUND.sub("", m["content"]) for m in row["conversations"] if m["role"] != "assistant")
        answers[words][tuple(m["content"] for m in row["conversations"] if m["role"] == "assistant")] += 1
    nats = sum(-n * math.log(n / group.total()) for group in answers.values() for n in group.values())
    return nats / trained


class Checked:
    """A mixture, both trainers' views of it asserted, and what training needs."""

    def __init__(self, dataset: Path, name: str, extended: Path, model: Path) -> None:
        self.dataset, self.name, self.extended, self.model = dataset, name, extended, model
        self.rows = datasets.load_dataset(str(dataset), name, split="train")
        if "conversations" not in self.rows.column_names:
            sys.exit(f"{name} holds no conversations: it is for pretraining. Name others by --mixtures")
        count = min(ROWS, len(self.rows)) // BATCH * BATCH  # torchtune drops the batch that is not full
        if not count:
            sys.exit(f"{name} has {len(self.rows)} rows: {BATCH} at least are needed. Name others by --mixtures")
        self.first = self.rows.select(range(count))
        self.tokenizer = Tokenizer.from_file(str(extended / "tokenizer.json"))
        answers = sum(m["role"] == "assistant" for row in self.first for m in row["conversations"])
        self.epochs = EPOCHS if answers <= 2 * count else EPOCHS_OF_CHATS

    def config_of_torchtune(self) -> dict[str, Any]:
        """Return torchtune's configuration of tokenizer and dataset, as docs/training.md has it."""
        tokenizer = {
            "_component_": "torchtune.models.qwen2_5.qwen2_5_tokenizer",
            "path": str(self.extended / "vocab.json"),
            "merges_file": str(self.extended / "merges.txt"),
            "special_tokens_path": str(self.extended / "tokenizer.json"),
            "max_seq_len": None,
        }
        dataset = {
            "_component_": "torchtune.datasets.chat_dataset",
            "source": str(self.dataset),
            "name": self.name,
            "split": f"train[:{len(self.first)}]",
            "conversation_column": "conversations",
            "conversation_style": "openai",
            "train_on_input": False,
        }
        return {"tokenizer": tokenizer, "dataset": dataset}

    def check_torchtune(self) -> list[Seen]:
        """Assert every row of the mixture as torchtune reads it; returns those of the first rows."""
        config = self.config_of_torchtune()
        reader = qwen2_5_tokenizer(**{k: v for k, v in config["tokenizer"].items() if k != "_component_"})
        options = {k: v for k, v in config["dataset"].items() if k not in ("_component_", "split")}
        chat = chat_dataset(reader, **options, split="train")
        direct = SFTDataset(
            source=str(self.dataset),
            name=self.name,
            split="train",
            message_transform=OpenAIToMessages(column_map={"messages": "conversations"}),
            model_transform=reader,
        )
        assert len(chat) == len(direct) == len(self.rows)
        found = []
        for number, row in enumerate(self.rows):
            item = chat[number]
            seen = Seen(list(map(int, item["tokens"])), list(map(int, item["labels"])))
            check(row, seen, torchtunes(row["conversations"]), self.tokenizer)
            same = direct[number]
            assert (same["tokens"], same["labels"]) == (item["tokens"], item["labels"])
            found.append(seen)
        return found[: len(self.first)]

    def check_llama3(self, folder: Path) -> None:
        """Assert every row as torchtune reads it with the component for Llama 3 that docs/training.md has."""
        (code,) = (
            block for block in re.findall(r"```python\n(.*?)```", MANUAL.read_text(), re.DOTALL) if LLAMA3 in block
        )
        component: dict[str, Any] = {}
        exec(code, component)
        reader = component[LLAMA3](*write_llama3(folder, self.extended))
        names = {number: token for token, number in reader.special_tokens.items()}
        items = chat_dataset(
            reader,
            source=str(self.dataset),
            name=self.name,
            split="train",
            conversation_column="conversations",
            conversation_style="openai",
        )
        for row, item in zip(self.rows, items, strict=True):
            seen = Seen(list(map(int, item["tokens"])), list(map(int, item["labels"])))
            parts = [reader.decode(p, skip_special_tokens=False, truncate_at_eos=False) for p in trained_parts(seen)]
            assert parts == llama3s(row["conversations"]), row["id"]
            sounds = [s for m in row["conversations"] for s in _SOUND_TOKEN.findall(m["content"])]
            known = [names.get(number, "") for number in seen.ids]
            assert [name for name in known if _SOUND_TOKEN.fullmatch(name)] == sounds, row["id"]

    def trainer(self, rows: datasets.Dataset, folder: Path) -> SFTTrainer:
        """Return TRL's trainer of these rows, as docs/training.md has it."""
        messages = rows.select_columns("conversations").rename_column("conversations", "messages")
        options = SFTConfig(
            output_dir=str(folder),
            assistant_only_loss=True,
            max_length=None,
            per_device_train_batch_size=BATCH,
            num_train_epochs=self.epochs,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            max_grad_norm=1.0,
            gradient_checkpointing=False,
            use_cpu=True,
            bf16=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
        )
        model = LlamaForCausalLM.from_pretrained(self.model)
        reader = AutoTokenizer.from_pretrained(self.extended)
        return SFTTrainer(model=model, args=options, train_dataset=messages, processing_class=reader)

    def check_trl(self, folder: Path) -> tuple[SFTTrainer, list[Seen]]:
        """Assert every row of the mixture as TRL reads it; returns the trainer of the first rows, and them."""
        read = self.trainer(self.rows, folder).train_dataset
        assert len(read) == len(self.rows)
        for row, item in zip(self.rows, read, strict=True):
            check(row, Seen(item["input_ids"], item["labels"]), trls(row["conversations"]), self.tokenizer)
        trainer = self.trainer(self.first, folder)
        return trainer, [Seen(item["input_ids"], item["labels"]) for item in trainer.train_dataset]

    def train_torchtune(self, folder: Path) -> list[float]:
        """Train by torchtune's own recipe; returns the loss of each step."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        vocabulary = LlamaConfig.from_pretrained(self.model).vocab_size
        config = {
            **self.config_of_torchtune(),
            "output_dir": str(folder),
            "model": {
                "_component_": "torchtune.models.llama3.llama3",
                "vocab_size": vocabulary,
                "num_layers": LAYERS,
                "num_heads": HEADS,
                "num_kv_heads": HEADS,
                "embed_dim": HIDDEN,
                "intermediate_dim": INNER,
                "max_seq_len": 4096,
                "rope_base": 10_000,
            },
            "checkpointer": {
                "_component_": "torchtune.training.FullModelHFCheckpointer",
                "checkpoint_dir": str(self.model),
                "checkpoint_files": ["model.safetensors"],
                "recipe_checkpoint": None,
                "output_dir": str(folder),
                "model_type": "LLAMA3",
            },
            "resume_from_checkpoint": False,
            "seed": 0,
            "shuffle": True,
            "batch_size": BATCH,
            "epochs": self.epochs,
            "optimizer": {"_component_": "torch.optim.AdamW", "lr": LEARNING_RATE, "weight_decay": 0.0},
            "loss": {"_component_": "torchtune.modules.loss.CEWithChunkedOutputLoss"},
            "max_steps_per_epoch": None,
            "gradient_accumulation_steps": 1,
            "optimizer_in_bwd": False,
            "clip_grad_norm": 1.0,
            "compile": False,
            "device": "cpu",
            "enable_activation_checkpointing": False,
            "enable_activation_offloading": False,
            "dtype": "fp32",
            "metric_logger": {
                "_component_": "torchtune.training.metric_logging.DiskLogger",
                "log_dir": str(folder / "logs"),
            },
            "log_every_n_steps": 1,
            "log_peak_memory_stats": False,
            "profiler": {"_component_": "torchtune.training.setup_torch_profiler", "enabled": False},
        }
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        tune = Path(sys.executable).parent / "tune"
        with (folder / "said.txt").open("w") as said:
            order = [str(tune), "run", "full_finetune_single_device", "--config", str(path)]
            subprocess.run(order, stdout=said, stderr=subprocess.STDOUT, check=True)
        (log,) = (folder / "logs").glob("log_*.txt")
        return [float(loss) for loss in re.findall(r"\bloss:(\S+)", log.read_text())]


def write_llama3(folder: Path, extended: Path) -> tuple[str, str]:
    """Write the tokenizer's words as Llama 3's tokenizer.model has them, Llama 3.1's special tokens and the sounds."""
    folder.mkdir(exist_ok=True)
    bytes_of = {character: byte for byte, character in bytes_to_unicode().items()}
    words = sorted(json.loads((extended / "vocab.json").read_bytes()).items(), key=lambda word: word[1])
    ranks = [(base64.b64encode(bytes(bytes_of[c] for c in word)).decode(), rank) for word, rank in words]
    (folder / "tokenizer.model").write_text("".join(f"{word} {rank}\n" for word, rank in ranks))
    added = json.loads((extended / "tokenizer.json").read_bytes())["added_tokens"]
    tokens = [*LLAMA3_1, *(e["content"] for e in added if _SOUND_TOKEN.fullmatch(e["content"]))]
    numbered = [{"content": token, "id": number} for number, token in enumerate(tokens, len(words))]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": numbered}))
    return str(folder / "tokenizer.model"), str(folder / "tokenizer.json")


def write_model(folder: Path, extended: Path) -> None:
    """Write a Llama with random weights and as many embeddings as the tokenizer needs, padded to 64."""
    size = Tokenizer.from_file(str(extended / "tokenizer.json")).get_vocab_size()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=-(-size // 64) * 64,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        dtype="float32",
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def ends(losses: Sequence[float], steps: int, epochs: int) -> tuple[float, float]:
    """Return the loss of the first step, and the mean of the last epoch's."""
    assert len(losses) == steps * epochs, f"{len(losses)} losses of {epochs} epochs of {steps} steps"
    return losses[0], sum(losses[-steps:]) / steps


def line(name: str, checked: Checked, folder: Path) -> str:
    """Check and train on a mixture; returns its row of the table. Raises AssertionError for the first thing amiss."""
    begun = time.perf_counter()
    tunes = checked.check_torchtune()
    checked.check_llama3(folder / "llama3")
    trainer, theirs = checked.check_trl(folder / f"trl-{name}")
    cells = []
    for seen, train in (
        (tunes, lambda: checked.train_torchtune(folder / f"torchtune-{name}")),
        (theirs, lambda: [e["loss"] for e in (trainer.train(), trainer.state.log_history)[1] if "loss" in e]),
    ):
        trained = sum(label != MASKED for row in seen for label in row.labels)
        deaf = deaf_loss(checked.first, trained)
        first, last = ends(train(), len(checked.first) // BATCH, checked.epochs)
        heard = any(_SOUND.search(m["content"]) for row in checked.first for m in row["conversations"])
        bound = min(LEARNED, deaf) if heard else LEARNED
        assert last < bound, f"{name}: the loss fell to {last:.4f} only, and not below {bound:.4f}"
        cells.append(f"{first:.2f} → {last:.4f} | {deaf:.3f}")
    system = sum(row["conversations"][0]["role"] == "system" for row in checked.rows)
    turns = sum(m["role"] == "assistant" for row in checked.rows for m in row["conversations"])
    counts = f"{len(checked.rows)} | {turns} | {system}"
    return f"| {name} | {counts} | {' | '.join(cells)} | {time.perf_counter() - begun:.0f} |"


def main() -> None:
    dataset, extended, folder = (Path(argument) for argument in sys.argv[1:4])
    model = folder / f"model-{extended.name}"
    write_model(model, extended)
    names = sys.argv[4:] or [n for n in datasets.get_dataset_config_names(str(dataset)) if n != "audio"]
    print("| mixture | rows | answers | system | torchtune | deaf | TRL | deaf | s |", flush=True)
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in names:
        print(line(name, Checked(dataset, name, extended, model), folder), flush=True)


if __name__ == "__main__":
    main()
