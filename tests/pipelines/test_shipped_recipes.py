"""The papers' recipes from the first step to the last, on stand-ins for their sets, models and servers."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.recipe import load_recipe
from tests.conftest import ROOT, assert_done, speechmill
from tests.pipelines.seeded_models import whisperspeech, write_models
from tests.pipelines.stand_ins import write_sets

sys.path.insert(0, str(ROOT / "tests/answers"))
from loopback_chat import QUICK, SERVED, LoopbackChat


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_OFFLINE", "1")
        environment.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run_recipe(name: str, folder: Path, limit: int, **more: Any) -> Path:
    """Run a shipped recipe on stand-ins of its sets, asking a chat server; return the run's folder."""
    path = ROOT / "configs" / f"{name}.yaml"
    changes: dict[str, Any] = {"limit": limit, **write_sets(load_recipe(path), folder, limit + 10), **more}
    with LoopbackChat() as server:
        for llm in load_recipe(path).llms:
            changes |= {f"llms.{llm}.{key}": value for key, value in {"base_url": server.base_url, **QUICK}.items()}
        options = [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]
        assert_done(speechmill("run", path, "--run-dir", folder / "run", "--workers", "0", *options))
        asked = server.requests.total()
        assert asked > 0
        assert_done(speechmill("run", path, "--run-dir", folder / "run", "--workers", "0", *options))
        assert server.requests.total() == asked, "a finished run asks nothing"
    assert_done(speechmill("verify", folder / "run"))
    return folder / "run"


EMBEDDED = {"tts.engine": "espeak", "quantize.tokenizer": "mel512"}


def pairs(run: Path, mixture: str) -> list[dict[str, Any]]:
    files = sorted((run / "dataset" / mixture).glob("*.parquet"))
    return [pair for path in files for pair in pq.read_table(path).to_pylist()]


def lock(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "mixture.json").read_bytes()))


def assert_exact(run: Path, mixture: str, shares: dict[str, float]) -> Counter[str]:
    """Assert that a mixture's parts are within a row of their shares of its total; return the rows of each."""
    counted = Counter(pair["task"] for pair in pairs(run, mixture))
    assert counted.keys() == shares.keys()
    for part, percent in shares.items():
        assert abs(counted[part] - counted.total() * percent / 100) < 1, part
    return counted


def test_ichigo_v03(tmp_path: Path) -> None:
    models = write_models(tmp_path / "models")
    said = yaml.safe_load((ROOT / "configs" / "ichigo_v0.3.yaml").read_text())["tts"]["whisperspeech"]
    small = {
        "tts.whisperspeech": {**said, **whisperspeech(models), "speakers": {"default": "default"}},
        "tts.batch_size": 16,
        "quantize": {
            "tokenizer": "whispervq",
            "model": str(models / "vq.model"),
            "whisper": str(models / "whisper.pt"),
        },
        "filter.rules.length.vocabulary": "gpt2",  # the recipe's is fetched
    }
    run = run_recipe("ichigo_v0.3", tmp_path, 30, **small)
    assert_exact(run, "stage2", {"speech_instruction": 70, "transcription": 20, "text_only": 10})
    assert_exact(run, "stage3", {"two_turn": 89, "four_turn": 6, "inaudible": 5})
    for pair in pairs(run, "stage3"):
        if pair["task"] == "inaudible":
            assert json.loads(pair["inaudible"])["kind"] == "independent"
            (by,) = pair["generated"]
            assert (by["task"], by["model"], by["template"][:10]) == ("refusal", SERVED, "refusal-1@")
            assert pair["answer"] == pair["conversations"][1]["content"]
        assert all("<|sound_start|>" in m["content"] for m in pair["conversations"] if m["role"] == "user")
    assert lock(run)["refusals"]["share"] <= 0.005
    assert all(p["tokenizer"].endswith("/no audio") for p in pairs(run, "stage2") if p["task"] == "speech_instruction")


def test_ichigo_v04(tmp_path: Path) -> None:
    run = run_recipe("ichigo_v0.4", tmp_path, 50, **EMBEDDED)
    shares = {
        "speech_instruction": 64.5, "transcription": 18.5, "text_only": 9.2, "two_turn": 6.8, "four_turn": 0.5,
        "inaudible": 0.3, "interrupted": 0.2,
    }  # fmt: skip
    assert_exact(run, "sft", shares)
    assert lock(run)["refusals"]["share"] <= 0.005
    (interrupted, *_) = [pair for pair in pairs(run, "sft") if pair["task"] == "interrupted"]
    turn = json.loads(interrupted["inaudible"])["turn"]
    said = interrupted["conversations"]
    assert [message["role"] for message in said] == ["user", "assistant"] * (len(said) // 2)
    assert all("<|sound_start|>" in message["content"] for message in said if message["role"] == "user")
    assert said[turn]["content"] != said[turn + 2]["content"], "what was not heard is noise, then the turn again"
    assert any(by["turn"] == turn + 1 and by["task"] == "refusal" for by in interrupted["generated"])
    kinds = Counter(json.loads(row["inaudible"])["kind"] for path in (run / "noise").glob("noise-*.parquet")
                    for row in pq.read_table(path, columns=["inaudible"]).to_pylist())  # fmt: skip
    assert len(kinds) >= 10


def test_instruct_s2s(tmp_path: Path) -> None:
    run = run_recipe("instruct_s2s", tmp_path, 100, **EMBEDDED)  # 200 rows have room for one refusal
    counted = assert_exact(run, "s2s", {"speech_instruction": 80, "transcription": 19.6, "inaudible": 0.4})
    assert counted["speech_instruction"] > 50
    tasks = Counter(by["task"] for pair in pairs(run, "s2s") for by in pair["generated"] or ())
    assert tasks["spoken"] >= counted["speech_instruction"]
    assert tasks["rewrite"] > 0
    for pair in pairs(run, "s2s"):
        for by in pair["generated"] or ():
            if by["task"] == "spoken":
                assert by["original"].startswith("You asked: ")
                assert pair["task"] != "speech_instruction" or pair["answer"] != by["original"]
