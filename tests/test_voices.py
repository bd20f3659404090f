"""Voices in a whole run: several readings of a prompt, voices held out for evaluation, the card's table."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pyarrow.parquet as pq

from tests.conftest import assert_done, speechmill, write_recipe


def test_readings_and_held_out_voices_reach_the_datasets(tmp_path: Path) -> None:
    tts = {
        "voices": [
            "en",
            {"id": "en-us", "license": "GPL-3.0", "cloned": True, "consent": "nobody: a formant synthesiser"},
            {"id": "en-us+f3", "held_out": True},
            {"id": "en+f1", "held_out": True},
        ],
        "held_out_share": 0.3,
        "per_prompt": 2,
        "balance": ["gender"],
    }
    mixtures = {
        "train": {"parts": {"transcription": 100}},
        "eval": {"parts": {"transcription": 100}, "held_out": True},
    }
    recipe = write_recipe(tmp_path, tts=tts, noise={"rows": 0}, mix={"mixtures": mixtures})
    assert_done(speechmill("run", recipe, "--workers", "0"))
    run = tmp_path / "run"
    filtered, spoken = (json.loads((run / step / "manifest.json").read_bytes()) for step in ("filter", "tts"))
    assert spoken["rows_in"] == 2 * filtered["rows_kept"]
    train, evaluation = (pq.read_table(run / "dataset" / name).to_pylist() for name in mixtures)
    assert {pair["voice"] for pair in train} == {"en", "en-us"}
    assert {pair["voice"] for pair in evaluation} == {"en-us+f3", "en+f1"}
    parents = [{pair["id"].partition("/")[0] for pair in pairs} for pairs in (train, evaluation)]
    assert parents[0].isdisjoint(parents[1])
    for pairs in (train, evaluation):  # each prompt twice, by both voices
        by_prompt: dict[str, list[str]] = {}
        for pair in pairs:
            by_prompt.setdefault(pair["id"].partition("/")[0], []).append(pair["voice"])
        assert {len(set(voices)) for voices in by_prompt.values()} == {2}
    loaded = datasets.load_dataset(str(run / "dataset"), "eval", split="test", cache_dir=str(tmp_path / "cache"))
    assert list(loaded["id"]) == [pair["id"] for pair in evaluation]
    card = (run / "dataset/README.md").read_text()
    assert "| en-us | male | American |" in card
    assert "GPL-3.0; nobody: a formant synthesiser" in card
    assert "held out" in card
    assert_done(speechmill("verify", run))
