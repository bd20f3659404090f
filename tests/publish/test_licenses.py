"""Which licences may be published, which want to be allowed by name, and what the whole is under."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.publish.licenses import NEEDS_A_NAME, TABLE, known, refused, unused, whole
from pipelines.publish.publishing import check_licenses
from pipelines.recipe import load_recipe, parse_recipe
from tests.conftest import recipe_of

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize(
    "license", ["MIT", "mit", "Apache-2.0", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "ODC-By-1.0", "llama3 OR MIT"]
)
def test_free_licences_need_nothing(license: str) -> None:
    assert refused({"source a": license}, []) == []


def test_recordings_of_noise_are_asked_about_where_they_are_used() -> None:
    recipe = parse_recipe(recipe_of(noise={"rows": 1, "kinds": {"recordings": 1}, "recordings": "here"}), "test")
    with pytest.raises(UserError, match=r"noise\.recordings: unknown"):
        check_licenses(recipe.model_copy(update={"sources": ()}), [])
    check_licenses(recipe, ["unknown"])
    free = recipe.noise.model_copy(update={"recordings_license": "CC0-1.0"})
    check_licenses(recipe.model_copy(update={"sources": (), "noise": free}), [])


@pytest.mark.parametrize(
    ("license", "named"),
    [
        ("unknown", ["unknown"]),
        ("research-only", ["research-only"]),
        ("llama3", ["llama3"]),
        ("CC-BY-NC-4.0", ["CC-BY-NC-4.0"]),
        ("CC-BY-NC-SA-4.0", ["CC-BY-NC-SA-4.0"]),
        ("CC-BY-ND-4.0", ["CC-BY-ND-4.0"]),
        ("CC-BY-4.0 AND CC-BY-NC-4.0", ["CC-BY-NC-4.0"]),
        ("llama3 AND CC-BY-NC-4.0", ["llama3", "CC-BY-NC-4.0"]),
        ("llama3 OR unknown", ["llama3"]),
    ],
)
def test_others_must_be_allowed_by_name(license: str, named: list[str]) -> None:
    lines = refused({"source a": license, "source b": "MIT"}, [])
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == named
    assert all(
        line.startswith("source a: ") and f"(--allow {name})" in line for line, name in zip(lines, named, strict=True)
    )
    assert refused({"source a": license}, [name.upper() for name in named]) == []
    assert refused({"source a": license}, [license]) == [], "a whole expression may be named too"


def test_a_name_that_nothing_has_is_told() -> None:
    assert unused(["MIT", "CC-BY-4.0 AND CC-BY-NC-4.0"], ["cc-by-nc-4.0", "lama3"]) == ["lama3"]


@pytest.mark.parametrize(
    ("licenses", "hub"),
    [
        (["MIT", "MIT"], "mit"),
        (["unknown"], "unknown"),
        (["llama3"], "llama3"),
        (["ODC-By-1.0"], "odc-by"),
        (["CC0-1.0", "MIT"], "mit"),
        (["CC0-1.0", "PDDL-1.0"], "other"),
        (["MIT", "Apache-2.0"], "other"),
        (["MIT", "Apache-2.0", "CC-BY-SA-4.0"], "cc-by-sa-4.0"),
        (["CC-BY-SA-3.0", "CC-BY-SA-4.0"], "other"),
        (["MIT", "CC-BY-4.0 AND CC-BY-NC-4.0"], "cc-by-nc-4.0"),
        (["CC-BY-SA-4.0", "CC-BY-NC-4.0"], "other"),
        (["MIT", "llama3"], "other"),
        (["MIT OR llama3"], "mit"),
        (["research-only"], "other"),
    ],
)
def test_the_whole_is_under_what_asks_most_if_the_others_go_into_it(licenses: list[str], hub: str) -> None:
    metadata = whole(licenses)
    assert metadata["license"] == hub
    assert ("license_name" in metadata) == (hub == "other")


def test_every_licence_of_the_shipped_recipes_is_known_or_asked_for() -> None:
    found = {source.license for path in CONFIGS for source in load_recipe(path).sources}
    assert {"MIT", "llama3", "unknown", "CC-BY-4.0 AND CC-BY-NC-4.0", "ODC-By-1.0"} <= found
    for license in found:
        names = license.split(" AND ")
        asking = [name for name in names if known(name).asks in NEEDS_A_NAME]
        assert len(refused({"it": license}, [])) == len(asking), license
        assert all(name.lower() in TABLE or name in asking for name in names), license
