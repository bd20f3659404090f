"""A wrong recipe fails at once, with every error, each with its key and the nearest valid name."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.errors import UserError
from pipelines.recipe import load_recipe, parse_recipe
from pipelines.reference import SECTIONS, reference
from pipelines.rules import RULES
from tests.conftest import ROOT, recipe_of, speechmill, write_recipe


def test_all_errors_come_at_once_with_key_and_remedy() -> None:
    raw = recipe_of(
        tts={"voicess": ["en"], "engine": "espeek", "rate_wpm": [200, 100]},
        quantize={"tokenizer": "mel51"},
        filter={"rules": ["speakabel", {"length": {"belo": 3}}]},
        sources=[{"name": "a/b", "path": "x"}, {"name": "ok"}],
        mix={"mixtures": {"m": {"parts": {"speech": 50, "text_only": 49.9}}}},
        nois={},
    )
    with pytest.raises(UserError) as caught:
        parse_recipe(raw, "wrong.yaml")
    said = str(caught.value)
    for line in (
        "wrong.yaml cannot be used:",
        "tts.voicess: unknown option; did you mean voices",
        "tts.engine: engine 'espeek' is unknown; did you mean espeak",
        "quantize.tokenizer: tokenizer 'mel51' is unknown; did you mean mel512?",
        "filter.rules.0: rule 'speakabel' is unknown; did you mean speakable?",
        "filter.rules.1.length.belo: unknown option; did you mean below?",
        "sources.0.name: String should match pattern",
        "sources.1: give exactly one of path and hf",
        "mix.mixtures.m.parts.speech.[key]: task 'speech' is unknown; did you mean speech_instruction",
        "nois: unknown option; did you mean noise?",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tts": {"voices": ["en-uk"]}}, "espeak has no voice 'en-uk'; did you mean en"),
        ({"tts": {"rate_wpm": [200, 100]}}, r"rate_wpm: \[200, 100\] is not a range within \[80, 450\]"),
        ({"filter": {"rules": ["duplicate", "speakable"]}}, "duplicate must end the list"),
        ({"filter": {"rules": ["speakable", "speakable"]}}, "each rule stands once"),
        ({"mix": {"mixtures": {"m": {"parts": {"text_only": 99}}}}}, "the parts add up to 99 %, not 100 %"),
        ({"mix": {"mixtures": {"../m": {"parts": {"text_only": 100}}}}}, "String should match pattern"),
        ({"quantize": {"model": "nosuch.safetensors"}}, "there is no file /.*/nosuch.safetensors"),
        ({"export": {"shard_bytes": "2 parsecs"}}, "export.shard_bytes: Input should be a valid integer"),
        ({"sources": []}, "sources: Tuple should have at least 1 item"),
        ({"seed": 2**63}, "seed: Input should be less than or equal to 9223372036854775807"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_recipe(recipe_of(**change), "r.yaml")


def test_percents_are_exact_and_survive_being_written() -> None:
    parts: dict[str, Any] = {"speech_instruction": 33.3, "transcription": 33.3, "text_only": 33.4}
    recipe = parse_recipe(recipe_of(mix={"mixtures": {"m": {"parts": parts}}}), "r")
    assert recipe.mix.mixtures["m"].parts["text_only"] == Fraction("33.4")
    written = recipe.model_dump(mode="json")
    assert written["mix"]["mixtures"]["m"]["parts"] == parts
    assert parse_recipe(json.loads(json.dumps(written)), "r") == recipe


def test_set_changes_options_at_any_depth(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, filter={"rules": ["speakable", {"length": {"below": 64}}]})
    changes = ["filter.rules.length.below=32", "sources.examples.limit=7", "tts.voices=[en, en-us]", "seed=5",
               "mix.mixtures.stage3.total=20", "export.shard_bytes=3 MB", "sources.1.turns=first"]  # fmt: skip
    recipe = load_recipe(path, changes)
    assert recipe.filter.rules[1].model_dump() == {"rule": "length", "below": 32, "vocabulary": "gpt2"}
    assert (recipe.sources[0].limit, recipe.sources[1].turns, recipe.seed) == (7, "first", 5)
    assert ([voice.id for voice in recipe.tts.voices], recipe.export.shard_bytes) == (["en", "en-us"], 3_000_000)
    assert recipe.mix.mixtures["stage3"].total == 20
    defaults = load_recipe(write_recipe(tmp_path), ["filter.rules.language.above=0.5"])
    assert [rule.model_dump() for rule in defaults.filter.rules][2] == {"rule": "language", "above": 0.5}


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ("filter.rules.length.below=32", ["speakable", {"length": {"below": 32}}, "language"]),
        ("filter.rules.length={below: 32}", ["speakable", {"length": {"below": 32}}, "language"]),
        ("filter.rules.1={below: 32, rule: length}", ["speakable", {"length": {"below": 32}}, "language"]),
        ("filter.rules.language.above=0.5", ["speakable", "length", {"language": {"above": 0.5}}]),
    ],
)
def test_rules_are_set_by_name_bare_or_not(change: str, rules: list[Any], tmp_path: Path) -> None:
    path = write_recipe(tmp_path, filter={"rules": ["speakable", "length", "language"]})
    assert load_recipe(path, [change]).filter == parse_recipe(recipe_of(filter={"rules": rules}), "r").filter


@pytest.mark.parametrize("change", ["tts.voices=[a", "seed", "=3", "sources.nosuch.limit=3", "name.x=3"])
def test_a_wrong_set_says_how_it_is_written(change: str, tmp_path: Path) -> None:
    result = speechmill("plan", write_recipe(tmp_path), "--set", change)
    assert result.returncode == 2
    assert f"--set {change}" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid YAML"),
        ("a: 1\nb: 2\na: 3", "the key 'a' stands twice"),
        ("- a", "a recipe is a YAML mapping"),
        (None, "cannot read the recipe"),
    ],
)
def test_a_file_that_is_no_recipe(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    if text is not None:
        path.write_text(text)
    result = speechmill("plan", path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_yaml_is_read_safely(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_of()) + "root: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserError, match="is not valid YAML"):
        load_recipe(path)


def test_the_reference_names_every_option_and_rule() -> None:
    said = "\n".join(reference())
    for model in [*SECTIONS.values(), *RULES.values()]:
        names = model.model_fields if hasattr(model, "model_fields") else model.__dataclass_fields__
        for key in names:
            if key != "rule" and key not in SECTIONS:
                assert f"{key} (" in said, key
    result = speechmill("steps", "tts")
    assert result.returncode == 0
    assert 'too_long (default "reject")' in result.stdout
    assert "did you mean tts?" in speechmill("steps", "ttts").stderr


HELP = ["run", "read", "score", "rewrite", "filter", "answer", "tts", "quantize", "noise", "mix", "export", "plan",
        "status", "verify", "publish", "fit-codebook", "compare-paths", "extract-speaker", "steps", "funnel",
        "explain", "explain-text", "look", "report", "repair", "tokens", "calibrate", "extend-tokenizer"]  # fmt: skip


@pytest.mark.parametrize("verb", HELP)
def test_every_verb_teaches_by_an_example(verb: str) -> None:
    said = speechmill(verb, "--help").stdout
    assert "Example" in said
    assert f" speechmill {verb} " in said.partition("Example")[2]


def test_help_shows_every_verb_and_its_examples_are_real() -> None:
    said = speechmill("-h").stdout
    for verb in HELP:
        assert f"  {verb} " in said
    examples = [line.split()[1:3] for line in said.splitlines() if line.strip().startswith("speechmill ")]
    assert len(examples) >= 5
    assert all(verb in HELP for verb, _ in examples)
    assert all((ROOT / named).is_file() for _, named in examples if named.startswith("configs/"))
