"""The dataset loads typed and offline, and each kind of pair is what docs/data.md says."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import soundfile

from noise.refusals import REFUSALS
from pipelines.tasks import PAIR, TASKS, TRANSCRIPTION_INSTRUCTIONS
from quantize.sound_string import find_sounds, parse_sound
from tests.conftest import ROOT, assert_done, recipe_of, speechmill, write_recipe

Pair = dict[str, Any]


@pytest.fixture(scope="module")
def pairs(finished: Path) -> dict[str, list[Pair]]:
    """All pairs of the run, by task."""
    found: dict[str, list[Pair]] = {}
    for path in sorted((finished / "run" / "dataset").glob("stage*/*.parquet")):
        for pair in pq.read_table(path).to_pylist():
            found.setdefault(pair["task"], []).append(pair)
    return found


@pytest.fixture(scope="module")
def rows(finished: Path) -> dict[str, Pair]:
    """The quantized rows, by id."""
    paths = (finished / "run" / "quantize").glob("*.parquet")
    return {row["id"]: row for path in paths for row in pq.read_table(path).to_pylist()}


@pytest.mark.parametrize("mixture", ["stage2", "stage3"])
def test_datasets_loads_a_mixture_typed_and_offline(
    mixture: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loaded = datasets.load_dataset(str(finished / "run" / "dataset"), mixture, split="train", cache_dir=str(tmp_path))
    assert loaded.features.arrow_schema.remove_metadata() == PAIR
    lock = json.loads((finished / "run" / "mixture.json").read_bytes())
    assert len(loaded) == lock["mixtures"][mixture]["total"]
    assert loaded["index"][:] == list(range(len(loaded)))
    assert len(set(loaded["id"])) == len(loaded)


def test_the_audio_config_holds_the_speech(finished: Path, rows: dict[str, Pair], tmp_path: Path) -> None:
    folder = str(finished / "run" / "dataset")
    loaded = datasets.load_dataset(folder, "audio", split="train", cache_dir=str(tmp_path))
    assert isinstance(loaded.features["audio"], datasets.Audio)
    raw = loaded.cast_column("audio", datasets.Audio(decode=False))
    assert len(raw) == sum(len(row["spoken"]) for row in rows.values())
    for example in raw.select(range(0, len(raw), 20)):
        samples, rate = soundfile.read(io.BytesIO(example["audio"]["bytes"]))
        assert len(samples) / rate == pytest.approx(example["seconds"])
        assert abs(samples).max() > 0.01


def test_files_are_cut_by_size(finished: Path) -> None:
    files = sorted((finished / "run" / "dataset" / "stage2").iterdir())
    assert len(files) > 2
    assert [f.name for f in files] == [f"train-{i:05d}-of-{len(files):05d}.parquet" for i in range(len(files))]
    sizes = [pq.read_table(f).nbytes for f in files]
    assert all(35_000 < size < 85_000 for size in sizes[:-1]), sizes


def test_speech_instruction(pairs: dict[str, list[Pair]], rows: dict[str, Pair]) -> None:
    for pair in pairs["speech_instruction"]:
        row = rows[pair["id"].removesuffix("/speech_instruction")]
        written = [m["content"] for m in row["messages"] if m["role"] == "user"]
        assert [pair["text_prompt"]] == written
        assert parse_sound(pair["prompt"]) == pair["tokens"] == row["spoken"][0]["tokens"]
        assert [m["content"] for m in pair["conversations"] if m["role"] == "user"] == [pair["prompt"]]
        assert pair["conversations"][-1] == {"role": "assistant", "content": pair["answer"]} == row["messages"][-1]
        system = [m for m in row["messages"] if m["role"] == "system"]
        assert [m for m in pair["conversations"] if m["role"] == "system"] == system
        assert re.fullmatch(r"mel512@[0-9a-f]{12}/fp32", pair["tokenizer"])
        assert pair["tts"].startswith("espeak-ng ")


def test_transcription_is_words_then_sound_then_the_written_text(pairs: dict[str, list[Pair]]) -> None:
    assert len(set(TRANSCRIPTION_INSTRUCTIONS)) >= 8
    for pair in pairs["transcription"]:
        user, assistant = pair["conversations"]
        (sound,) = find_sounds(user["content"])
        instruction = user["content"].removesuffix(f" {sound}")
        assert sound == pair["prompt"]
        assert instruction in TRANSCRIPTION_INSTRUCTIONS
        assert assistant["content"] == pair["answer"] == pair["text_prompt"]
    used = {pair["conversations"][0]["content"].partition(" <|")[0] for pair in pairs["transcription"]}
    assert len(used) > 3


def test_text_only_has_no_sound(pairs: dict[str, list[Pair]]) -> None:
    for pair in pairs["text_only"]:
        assert [pair[c] for c in ("prompt", "tokens", "seconds", "voice", "tts", "tokenizer")] == [None] * 6
        assert not find_sounds(json.dumps(pair["conversations"]))
        assert pair["conversations"][-1]["content"] == pair["answer"]


def test_chats_speak_every_user_turn_and_nothing_else(pairs: dict[str, list[Pair]], rows: dict[str, Pair]) -> None:
    for pair in pairs["two_turn"]:
        row = rows[pair["id"].removesuffix("/two_turn")]
        assert len(pair["conversations"]) == len(row["messages"])
        for turn, (said, written) in enumerate(zip(pair["conversations"], row["messages"], strict=True)):
            if written["role"] == "user":
                (utterance,) = [u for u in row["spoken"] if u["turn"] == turn]
                assert parse_sound(said["content"]) == utterance["tokens"]
            else:
                assert said == written
        assert len({u["voice"] for u in row["spoken"]}) == 1
        assert [pair[c] for c in ("prompt", "text_prompt", "answer", "tokens", "seconds")] == [None] * 5


def test_inaudible_rows_are_random_ids_with_refusals(pairs: dict[str, list[Pair]], finished: Path) -> None:
    assert len(set(REFUSALS)) == len(REFUSALS) >= 40
    noise = [r for p in (finished / "run" / "noise").glob("*.parquet") for r in pq.read_table(p).to_pylist()]
    lengths = {
        sum(len(u["tokens"]) for u in row["spoken"] if u["turn"] == turn)
        for p in (finished / "run" / "quantize").glob("*.parquet")
        for row in pq.read_table(p).to_pylist()
        for turn in {u["turn"] for u in row["spoken"]}
    }
    for row in noise:
        tokens = row["spoken"][0]["tokens"]
        assert len(tokens) in lengths
        assert max(tokens) < 512
        repeats = sum(a == b for a, b in pairwise(tokens)) / len(tokens)
        assert repeats > 0.2 if json.loads(row["inaudible"])["kind"] == "sticky" else repeats < 0.2
    assert {json.loads(row["inaudible"])["kind"] for row in noise} == {"independent", "sticky"}
    for pair in pairs["inaudible"]:
        assert pair["answer"] in REFUSALS
        assert (pair["text_prompt"], pair["source"]) == (None, "noise")


def test_the_columns_are_those_of_the_manual() -> None:
    manual = (ROOT / "docs" / "data.md").read_text().partition("## The run folder")[0]
    assert re.findall(r"^\| `(\w+)` \| (?:string|int64|float64|list of)", manual, re.MULTILINE) == PAIR.names
    for task in TASKS:
        assert f"`{task}`" in manual


def test_the_card_tells_the_truth(finished: Path, pairs: dict[str, list[Pair]]) -> None:
    card = (finished / "run" / "dataset" / "README.md").read_text()
    lock = json.loads((finished / "run" / "mixture.json").read_bytes())
    filtered = json.loads((finished / "run" / "filter" / "manifest.json").read_bytes())
    for reason, count in filtered["rejected"].items():
        assert f"| - {reason} | {count:,} |" in card
    for name, mixture in lock["mixtures"].items():
        for part, about in mixture["parts"].items():
            assert f"| {name} | {part} | {about['percent']:g} % | {about['quota']:,} |" in card
    kinds = Counter(json.loads(pair["inaudible"])["kind"] for pair in pairs["inaudible"])
    assert kinds
    for kind, count in kinds.items():
        assert f"| inaudible | {kind} | {count:,} |" in card
    assert str(finished) not in card


def mixed(tmp_path: Path, **mix: Any) -> Any:
    """Run a recipe with other mixtures up to mix."""
    return speechmill("mix", write_recipe(tmp_path, **{**recipe_of(), "mix": mix}), "--workers", "0")


def test_a_part_that_is_short_is_an_error_with_the_arithmetic(tmp_path: Path) -> None:
    part = {"speech_instruction": 70, "transcription": 30}
    result = mixed(tmp_path, mixtures={"m": {"parts": part, "total": 10_000}})
    assert result.returncode == 2
    assert re.search(r"mix\.mixtures\.m: speech_instruction needs 7000 rows, and \d+ can serve it", result.stderr)
    assert re.search(r"speech_instruction 70 % of 10000 = 7000.*The largest total is \d+", result.stderr)
    most = int(re.findall(r"The largest total is (\d+)", result.stderr)[0])
    assert_done(mixed(tmp_path, mixtures={"m": {"parts": part, "total": most}}))
    assert mixed(tmp_path, mixtures={"m": {"parts": part, "total": most + 1}}).returncode == 2
    assert_done(mixed(tmp_path, mixtures={"m": {"parts": part, "total": 10_000, "shrink": True}}))
    lock = json.loads((tmp_path / "run" / "mixture.json").read_bytes())
    assert lock["mixtures"]["m"]["total"] == most


def test_a_part_without_any_row_is_an_error_even_for_max(tmp_path: Path) -> None:
    mix = {"mixtures": {"m": {"parts": {"speech_instruction": 99, "inaudible": 1}}}}
    result = speechmill("mix", write_recipe(tmp_path, noise={"rows": 0}, mix=mix), "--workers", "0")
    assert result.returncode == 2
    assert re.search(r"a part has no row at all; .*: speech_instruction: \d+, inaudible: 0", result.stderr)


def test_without_reuse_no_prompt_serves_two_parts(tmp_path: Path) -> None:
    part = {"speech_instruction": 40, "transcription": 35, "text_only": 25}
    assert_done(mixed(tmp_path, mixtures={"m": {"parts": part}}))
    ids = pq.read_table(tmp_path / "run" / "mix" / "m.parquet")["id"].to_pylist()
    assert len(set(ids)) == len(ids) > 50


def test_the_refusal_ceiling_is_enforced_over_all_mixtures(tmp_path: Path) -> None:
    mixtures = {
        "a": {"parts": {"inaudible": 50, "two_turn": 50}, "total": 10},
        "b": {"parts": {"text_only": 100}, "total": 60},
    }
    result = mixed(tmp_path, mixtures=mixtures, max_refusal_share=0.0625)
    assert result.returncode == 2
    assert "inaudible rows are 5 of 70 = 7.14% (a 5 of 10, b 0 of 60)" in result.stderr
    assert "allows 4. 5 of them need 80 rows in all" in result.stderr
    mixtures["b"]["total"] = 70
    assert_done(mixed(tmp_path, mixtures=mixtures, max_refusal_share=0.0625))


def test_a_mixture_that_may_shrink_shrinks_under_the_refusal_ceiling_but_not_below_half(tmp_path: Path) -> None:
    mixtures: dict[str, Any] = {
        "a": {"parts": {"inaudible": 50, "two_turn": 50}, "total": 10, "shrink": True},
        "b": {"parts": {"text_only": 100}, "total": 60},
    }
    assert_done(mixed(tmp_path, mixtures=mixtures, max_refusal_share=0.0625))
    lock = json.loads((tmp_path / "run" / "mixture.json").read_bytes())
    assert lock["mixtures"]["a"]["total"] == 8  # 5 of 9 + 60 would be above, 4 of 8 + 60 are not
    assert lock["mixtures"]["a"]["bound"] == "refusals would be above their ceiling of 6.25 %"
    result = mixed(tmp_path, mixtures=mixtures, max_refusal_share=0.03)
    assert result.returncode == 2
    assert "inaudible rows are 5 of 70" in result.stderr


@pytest.mark.parametrize("step", ["read", "score", "filter", "tts", "quantize"])
def test_a_manifest_counts_its_rows_by_source(step: str, finished: Path) -> None:
    manifest = json.loads((finished / "run" / step / "manifest.json").read_bytes())
    assert set(manifest["sources"]) == {"examples", "broken"}
    for count in ("rows_in", "rows_kept"):
        assert sum(source[count] for source in manifest["sources"].values()) == manifest[count] > 0
