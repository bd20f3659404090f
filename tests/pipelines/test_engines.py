"""Engines in whole runs: WhisperSpeech with audio and without, servers, several at once, audio that is removed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipelines.compare_paths import divergence, edit_distance, figures
from pipelines.errors import UserError
from pipelines.recipe import parse_recipe
from pipelines.speech_options import PathLimits
from quantize.vocabulary import same_vocabulary
from tests.conftest import ROOT, assert_done, content, recipe_of, speechmill, two_threads, write_recipe
from tests.pipelines.seeded_models import whisperspeech, write_models

sys.path.insert(0, str(ROOT / "tests/tts"))
import seeded_speech
from loopback_speech import LoopbackSpeech, at_random

ROWS = {
    "sources": [{"name": "examples", "path": "examples/instructions.jsonl", "limit": 40}],
    "noise": {"rows": 0},
    "mix": {"mixtures": {"all": {"parts": {"speech_instruction": 100}}}},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))


def speaking(models: Path, engine: str, vq: str = "vq.model", **more: Any) -> dict[str, Any]:
    """Return a recipe's steps tts and quantize for models of one family, or of two."""
    voices = ["default", {"id": "mine", "cloned": False, "gender": "female", "license": "CC0-1.0"}]
    options = whisperspeech(models, **more.pop("whisperspeech", {}))
    return {
        **ROWS,
        "tts": {"engine": engine, "voices": voices, "batch_size": 4, "whisperspeech": options, **more},
        "quantize": {
            "tokenizer": "whispervq",
            "model": str(models / vq),
            "whisper": str(models / "whisper.pt"),
        },
        "export": {},
    }


def utterances(run: Path, step: str) -> list[dict[str, Any]]:
    tables = [pq.read_table(path, columns=["spoken"]) for path in sorted((run / step).glob("*.parquet"))]
    return [utterance for table in tables for spoken in table["spoken"].to_pylist() for utterance in spoken]


@pytest.mark.long
def test_whisperspeech_speaks_the_same_with_any_workers(models: Path, tmp_path: Path) -> None:
    recipes = {n: write_recipe(tmp_path / n, **speaking(models, "whisperspeech")) for n in ("0", "2")}
    with two_threads():  # workers have one
        for workers, recipe in recipes.items():
            assert_done(speechmill("run", recipe, "--workers", workers))
    assert content(tmp_path / "0/run") == content(tmp_path / "2/run")
    spoken = utterances(tmp_path / "0/run", "tts")
    assert {u["voice"] for u in spoken} == {"default", "mine"}
    assert {u["pitch"] for u in spoken} == {None}  # it has none
    assert {150 <= u["rate_wpm"] <= 190 for u in spoken} == {True}
    assert {u["sample_rate"] for u in spoken} == {24_000}
    assert all(u["tts"].startswith("whisperspeech ") and u["tts"].endswith("/fp32") for u in spoken)
    card = (tmp_path / "0/run/dataset/README.md").read_text()
    assert "| mine | female |" in card
    assert "CC0-1.0" in card
    assert str(models) not in card
    assert_done(speechmill("verify", tmp_path / "0/run"))
    said = speechmill("status", tmp_path / "0/run").stdout  # the recipe as it was stored is the recipe that ran
    assert "stale" not in said
    assert "used: texts" in said


def test_tokens_without_audio_say_so_and_need_one_vocabulary(models: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, **speaking(models, "whisperspeech_tokens", keep_audio=False))
    assert_done(speechmill("run", recipe, "--workers", "0"))
    written, kept = utterances(tmp_path / "run", "tts"), utterances(tmp_path / "run", "quantize")
    assert written == []  # spent: the shards of tts are gone, the tokens stand in those of quantize
    assert kept
    for utterance in kept:
        assert utterance["audio"] is None
        assert utterance["tokenizer"].startswith("whispervq@")
        assert utterance["tokenizer"].endswith("/no audio")
        assert utterance["tts"].startswith("whisperspeech-t2s ")
        assert abs(utterance["seconds"] - len(utterance["tokens"]) / 25) < 0.5
    assert "hold sound tokens" not in (tmp_path / "run/dataset/README.md").read_text()
    assert "there is no recording" in (tmp_path / "run/dataset/README.md").read_text()
    assert_done(speechmill("verify", tmp_path / "run"))

    other = write_recipe(tmp_path / "other", **speaking(models, "whisperspeech_tokens", vq="other.model"))
    refused = speechmill("tts", other, "--workers", "0")
    assert refused.returncode == 2
    assert "writes other sound tokens than quantize.tokenizer whispervq hears: 513 of 513 rows" in refused.stderr
    acoustic = write_recipe(
        tmp_path / "acoustic", **{**speaking(models, "whisperspeech_tokens"), "quantize": {"tokenizer": "mel512"}}
    )
    refused = speechmill("tts", acoustic, "--workers", "0")
    assert refused.returncode == 2
    assert "the tokenizer mel512 has no codebook that a T2S shares" in refused.stderr


def test_vocabularies_are_equal_in_any_stored_precision_alone() -> None:
    rows = seeded_speech.codebook()
    half = torch.from_numpy(rows).half().float().numpy()
    assert same_vocabulary(rows, rows) is None
    assert same_vocabulary(half, rows) is None
    assert same_vocabulary(torch.from_numpy(rows).bfloat16().float().numpy(), rows) is None
    moved = rows.copy()
    moved[7, 3] += 0.01
    assert (same_vocabulary(moved, rows) or "").startswith("1 of 513 rows")
    assert (same_vocabulary(rows[:512], rows) or "").startswith("512 codes of width 64, and the tokenizer has 513")


def test_compare_paths_tells_and_refuses(models: Path, tmp_path: Path) -> None:
    limits = {"rows": 12, "agreement_above": 0, "divergence_below": 1, "length_within": 9, "repeats_within": 1}
    recipe = write_recipe(tmp_path, **speaking(models, "whisperspeech_tokens", compare_paths=limits))
    said = speechmill("compare-paths", recipe, "--workers", "0")
    assert_done(said)
    assert "texts spoken both ways: 12, failed one way or both: 0" in said.stdout
    assert "within the recipe's limits" in said.stdout
    refused = speechmill("compare-paths", recipe, "--workers", "0", "--set", "tts.compare_paths.agreement_above=0.9")
    assert refused.returncode == 1
    assert "(agreement_above: 0.9)" in refused.stderr
    again = speechmill("compare-paths", recipe, "--workers", "0")
    assert again.stdout.partition("texts spoken")[2] == said.stdout.partition("texts spoken")[2]
    espeak = speechmill("compare-paths", write_recipe(tmp_path / "espeak", **ROWS), "--workers", "0")
    assert espeak.returncode == 2
    assert "espeak knows one way alone" in espeak.stderr


def test_figures_of_two_ways() -> None:
    one = [np.array([1, 1, 2, 3], np.uint16), np.array([4, 5], np.uint16)]
    other = [np.array([1, 2, 3], np.uint16), np.array([4, 6], np.uint16)]
    found = figures(one, other)
    assert (found.rows, found.tokens, found.distinct) == (2, (6, 5), (5, 5))
    assert found.agreement == pytest.approx(1 - 2 / 6)
    assert found.repeats == (1 / 6, 0)
    assert found.length_ratio == pytest.approx(6 / 5)
    same = figures(one, one)
    assert (same.agreement, same.divergence) == (1, 0)
    assert same.broken(PathLimits()) == []
    assert found.broken(PathLimits(agreement_above=0.9))[0].endswith("(agreement_above: 0.9)")
    assert divergence(np.array([3, 1]), np.array([1, 3])) == pytest.approx(0.1887, abs=1e-4)
    for a, b in ([[], [1, 2]], [[1, 2, 3], [3, 1, 2]], [[5] * 9, [5] * 4], [[1, 2, 3, 4], [2, 3, 4, 5]]):
        assert edit_distance(np.array(a, np.uint16), np.array(b, np.uint16)) == plainly(a, b)


def plainly(a: list[int], b: list[int]) -> int:
    """Return the edit distance by its definition."""
    if not a or not b:
        return len(a) + len(b)
    return min(plainly(a[1:], b) + 1, plainly(a, b[1:]) + 1, plainly(a[1:], b[1:]) + (a[0] != b[0]))


def test_a_server_is_asked_once_for_each_text_and_status_tells_what_it_cost(tmp_path: Path) -> None:
    unreliable = at_random({"500": 0.1, "429": 0.05, "garbage": 0.05})
    with LoopbackSpeech(unreliable) as server:
        asking = {
            "base_url": server.base_url, "model": "espeak", "price_per_million_characters": 15, "patience_s": 20,
            "timeout_s": 5, "pauses_s": [0.01, 0.05], "api_key_env": "SPEECHMILL_TEST_KEY",
        }  # fmt: skip
        tts = {
            "engine": "openai_speech",
            "openai_speech": asking,
            "voices": [{"id": "en-us", "gender": "male"}, {"id": "en+f1", "engine": "espeak"}],
        }
        recipe = write_recipe(tmp_path, **{**ROWS, "tts": tts, "export": {"audio": True}})
        missing = speechmill("tts", recipe, "--workers", "0")
        assert missing.returncode == 2
        assert "SPEECHMILL_TEST_KEY is empty" in missing.stderr
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("SPEECHMILL_TEST_KEY", "sk-loopback-0123456789")
            assert_done(speechmill("run", recipe, "--workers", "2"))
            asked = sum(server.answered.values())
            assert set(server.answered.values()) == {1}
            # The same speech in another format: the shards are made again, of the answers that are stored.
            assert_done(speechmill("run", recipe, "--workers", "0", "--set", "tts.audio_format=opus"))
            assert sum(server.answered.values()) == asked
        said = speechmill("status", tmp_path / "run").stdout
        assert "from store" in said
    run = tmp_path / "run"
    spoken = utterances(run, "tts")
    assert {(u["voice"], u["tts"].split()[0]) for u in spoken} == {("en-us", "openai_speech"), ("en+f1", "espeak-ng")}
    assert asked == sum(u["voice"] == "en-us" for u in spoken)
    assert_done(speechmill("verify", run))
    for path in run.rglob("*"):
        if path.is_file():
            assert b"sk-loopback" not in path.read_bytes(), path


def test_audio_is_removed_once_its_tokens_are_safe_and_made_again_where_it_is_wanted(tmp_path: Path) -> None:
    louder = {"augment": {"gain_db": [-6, 0]}}  # a pass between speaking and listening, whose speech goes too
    kept = write_recipe(tmp_path / "kept", **{**ROWS, "export": {}, "tts": louder})
    recipe = write_recipe(tmp_path / "removed", **{**ROWS, "export": {}, "tts": {**louder, "keep_audio": False}})
    assert_done(speechmill("run", kept, "--workers", "0"))
    assert_done(speechmill("run", recipe, "--workers", "2"))
    run = tmp_path / "removed/run"
    digests, whole = content(run), content(tmp_path / "kept/run")
    spoken = {name for name in whole if name.startswith(("tts/", "tts.augment/")) and name.endswith(".parquet")}
    gone = {name for name in spoken if "/rejects/" not in name}
    assert {name.partition("/")[0] for name in gone} == {"tts", "tts.augment"}
    same = {name for name in whole if "README" not in name and "export.card" not in name}
    assert {name: digests.get(name) for name in same - gone} == {name: whole[name] for name in same - gone}
    assert gone.isdisjoint(digests)
    assert_done(speechmill("verify", run))
    again = speechmill("run", recipe, "--workers", "0")
    assert "Nothing to do: everything is up to date." in again.stdout
    # Another tokenizer's ids need the speech again, and so it is spoken again.
    said = speechmill("plan", recipe, "--set", "quantize.too_long=reject").stdout
    assert "was removed, and quantize needs it again" in said
    assert_done(speechmill("run", recipe, "--workers", "0", "--set", "quantize.too_long=reject"))
    assert gone.isdisjoint(content(run))
    assert_done(speechmill("verify", run))


def test_workers_on_gpus_that_are_not_there_say_which_option_wants_them(models: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here, and the test is about none")
    recipe = write_recipe(tmp_path, **speaking(models, "whisperspeech", gpus=0.5))
    refused = speechmill("tts", recipe, "--workers", "1")
    assert refused.returncode == 2
    assert "tts.gpus: workers of 0.5 GPUs each want 0.5; this cluster has 0" in refused.stderr


@pytest.mark.parametrize(
    ("tts", "message"),
    [
        ({"engine": "openai_speech", "voices": ["alloy"]}, "says which server speaks, and is missing"),
        ({"engine": "whisperspeech", "whisperspeech": {"t2s": "nowhere.model"}}, "there is no file"),
        ({"engine": "whisperspeech", "whisperspeech": {"temprature": 1}}, "did you mean temperature"),
        ({"engine": "whisperspeech", "rate_wpm": [150, 260]}, "not within [0, 200], what whisperspeech can"),
        ({"engine": "whisperspeech", "voices": ["anna"]}, "whisperspeech has no voice 'anna'"),
        (
            {"engine": "whisperspeech", "whisperspeech": {"speakers": {"anna": "anna.npy"}}},
            "anna is made after a recording: say cloned: true",
        ),
        (
            {"engine": "whisperspeech_tokens", "augment": {"gain_db": [-3, 0]}},
            "makes no audio that could be augmented",
        ),
        ({"keep_audio": False}, "export.audio needs the speech that tts.keep_audio: false removes"),
    ],
)
def test_what_an_engine_cannot_be_says_why(tts: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=r"recipe\.yaml cannot be used") as caught:
        parse_recipe(json.loads(json.dumps(recipe_of(tts=tts))), "recipe.yaml")
    assert message in str(caught.value)
