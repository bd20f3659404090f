"""repair: the rows that are named are spoken again, everything else is as it was, and every run keeps it so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.arguments import load_run
from pipelines.errors import UserError
from pipelines.publish.places import published_recipe
from pipelines.recipe import Recipe, load_recipe, parse_recipe
from pipelines.repair import _check, parse_where
from pipelines.repair_options import Repair, RepairedRow, changes_by_shard, changes_of, continued, tokens_before
from pipelines.steps.tts import _with_repaired, stages
from pipelines.telling.life import explain_row
from pipelines.telling.verify import open_run, verify
from tests.conftest import assert_done, content, recipe_of, speechmill, write_recipe
from tests.pipelines.in_process import mill
from tts.engine import Request, SpeechError, Spoken, Voice

RECIPE: dict[str, Any] = {
    "sources": [{"name": "examples", "path": "examples/instructions.jsonl", "turns": "all", "limit": 60}],
    "read": {"rows_per_shard": 10},
    "noise": {"rows": 6},
    "mix": {
        "max_refusal_share": 0.2,
        "mixtures": {
            "single": {"parts": {"speech_instruction": 70, "transcription": 30}, "reuse_prompts": True},
            "other": {"parts": {"text_only": 50, "inaudible": 50}},
        },
    },
    "export": {"shard_bytes": 5_000},
}
WHERE = "seconds > 4.5"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was not repaired. Read only."""
    folder = tmp_path_factory.mktemp("first")
    mill("run", write_recipe(folder, **RECIPE), "--workers", "0")
    return folder / "run"


@pytest.fixture(scope="module")
def repaired(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, repaired once. Read only."""
    run = tmp_path_factory.mktemp("repaired") / "run"
    shutil.copytree(first, run)
    mill("repair", run, "--where", WHERE, "--seed", "7", "--workers", "0")
    return run


def rows(run: Path, step: str) -> dict[str, dict[str, Any]]:
    """Return the rows of a step, or the pairs of the dataset, by id."""
    tables = [pq.read_table(path) for path in sorted((run / step).glob("*.parquet"))]
    return {row["id"]: row for table in tables for row in table.to_pylist()}


def long_ones(run: Path) -> set[str]:
    return {i for i, row in rows(run, "quantize").items() if any(u["seconds"] > 4.5 for u in row["spoken"])}


def spoken_by(run: Path, row_id: str) -> dict[str, Any]:
    (utterance, *_) = rows(run, "tts")[row_id]["spoken"]
    return {name: utterance[name] for name in ("voice", "rate_wpm", "pitch")}


def test_the_named_rows_are_others_and_nothing_else_is(first: Path, repaired: Path) -> None:
    named = long_ones(first)
    assert 2 <= len(named) <= 12
    for step in ("tts", "quantize"):
        before, after = rows(first, step), rows(repaired, step)
        assert list(before) == list(after)
        assert {i for i in before if before[i] != after[i]} == named
    for i in named:
        one, other = (rows(run, "quantize")[i]["spoken"][0] for run in (first, repaired))
        assert one["tokens"] != other["tokens"]
        assert one["voice"] == other["voice"]
        one, other = (rows(run, "tts")[i]["spoken"][0] for run in (first, repaired))
        assert one["audio"]["bytes"] != other["audio"]["bytes"]
    exported = set()
    for mixture in ("single", "other"):
        before, after = (rows(run, f"dataset/{mixture}") for run in (first, repaired))
        assert list(before) == list(after)
        differ = {i for i in before if before[i] != after[i]}
        assert {i.partition("/")[0] for i in differ} <= named
        assert "/text_only" not in "".join(differ)
        exported |= differ
    assert exported
    old, new = content(first), content(repaired)
    same = {name for name in old if name.startswith(("noise/", "noise.sounds/", "mix/")) or name == "mixture.json"}
    same |= {f"{step}/{name}.parquet" for step in ("tts", "quantize") for name in untouched(first, named)}
    assert {name: new[name] for name in same if name.endswith(("parquet", "mixture.json"))} == {
        name: old[name] for name in same if name.endswith(("parquet", "mixture.json"))
    }
    assert not [line for promise in verify(open_run(repaired)) for line in promise.broken]


def untouched(run: Path, named: set[str]) -> list[str]:
    """Return the shards that hold no named row: at least one, else the test says nothing."""
    shards = {
        path.stem: set(pl.read_parquet(path, columns=["id"])["id"]) for path in (run / "quantize").glob("*.parquet")
    }
    found = [shard for shard, ids in shards.items() if ids.isdisjoint(named)]
    assert 0 < len(found) < len(shards)
    return found


def test_again_it_has_nothing_to_do(repaired: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in repaired.glob("*/*.parquet")}
    named = ", ".join(f"'{i}'" for i in sorted(rows_repaired(repaired)))
    mill("repair", repaired, "--where", f"id in ({named})", "--seed", "7")
    assert "Nothing to do: " in capsys.readouterr().out
    mill("run", repaired / "recipe.json", "--run-dir", repaired)
    assert "Nothing to do: everything is up to date." in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in repaired.glob("*/*.parquet")} == before


def rows_repaired(run: Path) -> set[str]:
    noted = json.loads((run / "repairs.json").read_bytes())["repairs"]
    return {row["id"] for repair in noted for row in repair["rows"]}


@pytest.mark.long
def test_a_recipe_with_its_repairs_gives_the_same_bytes_with_two_workers(repaired: Path, tmp_path: Path) -> None:
    noted = json.loads((repaired / "repairs.json").read_bytes())["repairs"]
    assert_done(speechmill("run", write_recipe(tmp_path, **RECIPE, repairs=noted), "--workers", "2"))
    old, new = content(repaired), content(tmp_path / "run")
    old.pop("repairs.json")
    assert new == old
    published = yaml.safe_load(published_recipe(load_run(repaired)))["repairs"]
    assert tuple(Repair.model_validate(one) for one in published) == load_run(repaired).repairs


def test_a_repair_of_a_repair_keeps_what_the_first_said(
    first: Path, repaired: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(repaired, tmp_path / "run"))
    row_id = min(rows_repaired(run))
    was, seeded = spoken_by(first, row_id), spoken_by(repaired, row_id)
    voice = "en+m3" if was["voice"] != "en+m3" else "en+f1"
    mill("repair", run, "--where", f"id = '{row_id}'", "--voice", voice, "--dry-run")
    said = capsys.readouterr().out
    assert f"{row_id}  {was['voice']}, " in said
    assert said.endswith(f"-> {voice}\n1 rows are made again, in 1 shards: {said.partition(' ')[0]}\n")
    assert content(run) == content(repaired)  # a dry run makes nothing
    mill("repair", run, "--where", f"id = '{row_id}'", "--voice", voice, "--workers", "0")
    assert spoken_by(run, row_id) == {**seeded, "voice": voice}
    others = {i: row for i, row in rows(run, "tts").items() if i != row_id}
    assert others == {i: row for i, row in rows(repaired, "tts").items() if i != row_id}
    assert content(run)["noise/noise-00000.parquet"] == content(first)["noise/noise-00000.parquet"]
    life = explain_row(load_run(run), row_id)
    assert life["repairs"] == [{"where": WHERE, "seed": 7}, {"where": f"id = '{row_id}'", "voice": voice}]
    assert life["spoken"][0]["seed"] != explain_row(load_run(first), row_id)["spoken"][0]["seed"]
    assert f"1 rows were spoken again by the voice `{voice}`" in (run / "dataset/README.md").read_text()
    assert "\nrepairs:" not in (run / "dataset/README.md").read_text()


def test_speech_that_was_removed_is_made_again_for_the_named_shards_alone(repaired: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, **RECIPE, tts={"keep_audio": False})
    mill("quantize", recipe, "--workers", "0")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run/tts").glob("*.json")}
    mill("repair", recipe, "--where", WHERE, "--seed", "7", "--workers", "0")
    assert not list((tmp_path / "run/tts").glob("*.parquet"))
    again = {p.stem for p in (tmp_path / "run/tts").glob("*.json") if p.stat().st_mtime_ns != before[p.name]}
    shards = {shard for shard in again if shard != "manifest"}
    assert shards == changes_by_shard(load_recipe(recipe).repairs, 10).keys()
    assert rows(tmp_path / "run", "quantize") == rows(repaired, "quantize")
    assert not (tmp_path / "run/dataset").exists()  # it was made as far as quantize, and still is


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("secnds > 20", "there is no column secnds; did you mean seconds"),
        ("seconds", "it is neither true nor false, but Float64"),
        ("seconds >", "unable to parse"),
        ("1 = 1", "it names no column"),
        ("seconds > (select max(seconds) from read_csv('x.csv'))", "no SELECT"),
        ("seconds > 'long'", "cannot compare"),
        ("messages is not null", "there is no column messages"),
        ("system('ls') > seconds", "unsupported function"),
    ],
)
def test_what_names_no_rows_says_why(where: str, message: str) -> None:
    with pytest.raises(UserError, match="--where") as caught:
        parse_where(where)
    assert message in str(caught.value)


def test_a_word_in_a_text_is_no_command() -> None:
    frame = pl.DataFrame({"text": ["please select one", "no"]})
    assert frame.select(parse_where("text like '%select%'")).to_series().to_list() == [True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", WHERE], "say what is to be different"),
        (["--where", WHERE, "--voice", "en+m33"], "no such voice; did you mean en+m3"),
        (["--where", "seconds > 400", "--seed", "7"], "no row is like that"),
        (["--where", "sum(seconds) > 4", "--seed", "7"], "of all utterances together"),
    ],
)
def test_a_repair_that_cannot_be_meant_says_why(first: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        mill("repair", first, *arguments)
    assert message in str(caught.value)
    assert not (first / "repairs.json").exists()


def test_a_run_that_is_not_what_its_recipe_says_is_not_repaired(first: Path, tmp_path: Path) -> None:
    changed = write_recipe(tmp_path, **{**RECIPE, "seed": 2})
    with pytest.raises(UserError, match=r"not up to date.*run the recipe first"):
        mill("repair", changed, "--run-dir", first, "--where", WHERE, "--seed", "7")


def recipe_with(**tts: Any) -> Recipe:
    return parse_recipe(recipe_of(tts=tts), "recipe.yaml")


def one_row(row_id: str, **changes: Any) -> Repair:
    return Repair(where="x", rows=(RepairedRow(id=row_id, source="examples", row=3),), **changes)


def test_voices_stay_apart_as_the_recipe_promises() -> None:
    ids = [f"{number:032x}" for number in range(40)]
    two = recipe_with(voices=["en", "en-us"], per_prompt=2)
    for row_id in ids[:5]:
        with pytest.raises(UserError, match="another reading of the row"):
            for voice in ("en", "en-us"):  # one of them is the other reading's
                _check(two, one_row(row_id, voice=voice))
    apart = recipe_with(voices=["en", {"id": "en-us", "held_out": True}], held_out_share=0.5, per_prompt=1)
    refused = 0
    for row_id in ids:
        try:
            _check(apart, one_row(row_id, voice="en-us"))
        except UserError as error:
            assert "training and evaluation would mix" in str(error)
            refused += 1
    assert 8 < refused < 32


@pytest.mark.parametrize(
    ("asked", "draws"),
    [({"speed": None}, False), ({"speed": None, "seed_field": "seed"}, True), ({"speed": [0.5, 2.0]}, True)],
)
def test_another_seed_must_be_another_question(asked: dict[str, Any], draws: bool) -> None:
    server = {"base_url": "http://127.0.0.1:9", "model": "m", **asked}
    recipe = recipe_with(engine="openai_speech", openai_speech=server, voices=["alloy"])
    if draws:
        _check(recipe, one_row("0" * 32, seed=7))
    else:
        with pytest.raises(UserError, match="draws nothing with these options"):
            _check(recipe, one_row("0" * 32, seed=7))


def test_a_repair_finds_its_row_whatever_the_size_of_shards() -> None:
    at, again = (RepairedRow(id="a", source="gsm-8k", row=41, tokens=tokens) for tokens in ((5, 6), (9,)))
    repairs = [Repair(where="x", seed=7, rows=(at,)), Repair(where="y", voice="en", rows=(again,))]
    assert changes_by_shard(repairs, 20) == {"gsm-8k-00002": {"a": {"seed": 7, "voice": "en"}}}
    assert list(changes_by_shard(repairs, 5000)) == ["gsm-8k-00000"]
    assert tokens_before(repairs) == {"a": [5, 6]}


def test_repairs_go_on_where_the_stored_recipe_ends() -> None:
    a, b, c = (one_row("a", seed=seed) for seed in (7, 8, 9))
    assert continued((), (a, b)) == (a, b)
    assert continued((a, b), (a, b)) == (a, b)
    assert continued((a, b), (a, b, a)) == (a, b, a)  # back to the first: what comes last counts
    assert continued((c, a), (a, b)) == (c, a, b)  # a published recipe's own come first
    assert continued((c,), (a, b)) == (c, a, b)
    assert changes_of(continued((a, b), (a, b, a)))["a"] == {"seed": 7}


def test_repairs_by_voices_that_are_gone_and_files_that_are_torn_say_so(tmp_path: Path) -> None:
    repair = one_row("a", voice="en+m3").model_dump(mode="json")
    recipe = write_recipe(tmp_path, tts={"voices": ["en", "en-us"]}, repairs=[repair])
    with pytest.raises(UserError, match=r"spoken by 'en\+m3', which is no voice of tts.voices"):
        load_recipe(recipe)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/repairs.json").write_text("[1")
    with pytest.raises(UserError, match="is not what `speechmill repair` writes"):
        load_recipe(write_recipe(tmp_path))


class Sociable:
    """An engine whose speech of a text depends on what is spoken beside it, as last bits on a GPU do."""

    name, version, sample_rate_hz, batch_size = "espeak", "sociable 1", 8000, 4
    voices: ClassVar[dict[str, Voice]] = {}
    usage: ClassVar[dict[str, float]] = {}

    def speak_all(self, requests: Sequence[Request]) -> list[Spoken | SpeechError]:
        company = sum(len(request.text) * request.delivery.rate_wpm for request in requests)
        return [Spoken(np.full(2000 + company % 1000, 900 + len(requests), np.int16)) for _ in requests]


def test_other_rows_keep_the_company_in_which_they_were_spoken() -> None:
    recipe, engines = recipe_with(), {"espeak": Sociable()}
    texts = [f"Please count to {'a very ' * number}large number." for number in range(10)]
    asked = [
        {"id": f"{number:032x}", "messages": [{"role": "user", "content": text}], "cut": None}
        for number, text in enumerate(texts)
    ]

    def speech(repairs: Mapping[str, Mapping[str, Any]]) -> list[Any]:
        spoken, again = stages(engines, recipe).run(asked), stages(engines, recipe, repairs)
        return [result for _, result in _with_repaired(spoken, again, repairs)]

    before = speech({})
    named = {asked[number]["id"]: {"seed": 9} for number in (0, 3, 9)}
    after = speech(named)
    assert all(isinstance(row, dict) for row in [*before, *after])
    assert [row["id"] for row, was in zip(after, before, strict=True) if row != was] == list(named)
    mixed = [result for _, result in stages(engines, recipe, named).run(asked)]  # what would not do
    assert len([row for row, was in zip(mixed, before, strict=True) if row != was]) > len(named)
