"""Recipes for everybody: what they leave out, and that the rest is the same recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelines.errors import UserError
from pipelines.publish.places import check_given, left_out, published_card, published_recipe, reproduce
from pipelines.recipe import PLACES, load_recipe, parse_recipe
from tests.conftest import ROOT, recipe_of

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_published_recipe_is_the_recipe_but_for_its_places(config: Path, tmp_path: Path) -> None:
    recipe = load_recipe(config)
    text = published_recipe(recipe)
    (tmp_path / "recipe.yaml").write_text(text)
    missing = left_out(yaml.safe_load(text))
    sets = [f"{name}={'http://127.0.0.1:9/v1' if name.endswith('base_url') else ROOT}" for name in missing]
    again = load_recipe(tmp_path / "recipe.yaml", sets)
    assert again.model_dump(mode="json", exclude=PLACES) == recipe.model_dump(mode="json", exclude=PLACES)
    assert str(ROOT) not in text
    if missing:
        with pytest.raises(UserError, match=f"--set {missing[0]}="):
            check_given(yaml.safe_load(text), "hf://mara/spoken")


def test_all_shipped_recipes_are_tried() -> None:
    assert len(CONFIGS) >= 8


def test_models_of_the_hub_are_named_and_those_of_this_machine_asked_for(tmp_path: Path) -> None:
    (tmp_path / "vq.model").write_bytes(b"")
    raw = recipe_of(
        quantize={
            "tokenizer": "whispervq-v3-7lang",
            "model": str(tmp_path / "vq.model"),
            "whisper": "owner/name:medium.pt",
        },
        tts={
            "engine": "whisperspeech",
            "whisperspeech": {"speakers": {"mara": str(tmp_path / "vq.model"), "default": "default"}},
            "voices": [{"id": "mara", "cloned": False}],
        },
    )
    recipe = parse_recipe(raw, "a test")
    plain = yaml.safe_load(published_recipe(recipe))
    assert plain["quantize"]["model"] is None
    assert plain["quantize"]["whisper"] == "owner/name:medium.pt"
    assert plain["tts"]["whisperspeech"]["speakers"] == {"mara": None, "default": "default"}
    assert left_out(plain) == [
        "tts.whisperspeech.speakers.mara", "quantize.model", "sources.examples.path", "sources.broken.path",
    ]  # fmt: skip
    card = yaml.safe_load(published_recipe(recipe, models=False))
    assert "model" not in card["quantize"], "the card is the same wherever the models lay"


def test_shares_of_a_gpu_are_published_and_change_nothing_of_the_card() -> None:
    """No fingerprint has them: rows spoken with another share are not made again, and neither is the card."""
    shares = {"tts": {"gpus": 0.5}, "quantize": {"gpus": 1.0}}
    plain, shared = (parse_recipe(recipe_of(**changes), "a test") for changes in ({}, shares))
    assert shared.without_places() == plain.without_places()
    assert published_recipe(shared, models=False) == published_recipe(plain, models=False)
    published = yaml.safe_load(published_recipe(shared))
    assert {key: published[key] for key in shares} == shares
    assert left_out(published) == left_out(yaml.safe_load(published_recipe(plain)))


def test_the_card_says_how_to_make_it_again() -> None:
    recipe = parse_recipe(recipe_of(), "a test")
    command = reproduce(recipe)
    assert command == "`speechmill run recipe.yaml --set sources.examples.path=... --set sources.broken.path=...`"
    card = published_card(f'load_dataset("PATH/TO/THIS/FOLDER")\n{command}', "mara/spoken")
    assert card == f'load_dataset("mara/spoken")\n{command.replace("recipe.yaml", "hf://mara/spoken")}'
