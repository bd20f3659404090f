"""What a run takes: on rates made by hand, on those of a finished run, for what is left to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.errors import UserError
from pipelines.estimate.calibrate import calibrate_recipe
from pipelines.estimate.estimate import Estimate, as_json, estimate
from pipelines.estimate.plan import parse_options
from pipelines.estimate.rates import load_rates, look_at, rates_of, save_rates
from pipelines.estimate_options import Cluster, Prices, Rates
from pipelines.graph import plan_run
from pipelines.recipe import Recipe, load_recipe
from pipelines.steps import PASSES
from tests.conftest import assert_done, speechmill, write_recipe
from tests.pipelines.in_process import run_quietly

TASKS = "speech_instruction transcription text_only"
BY_HAND: dict[str, Any] = {
    "passes": {
        "read": {"kept": 0.9, "rejected": 0.1, "shard_bytes": {"unit": 100, "row": 10}},
        "score": {},
        "filter.duplicates": {"shards": False},
        "filter": {"kept": {"faq": 0.5, "*": 1}, "other_bytes": {"row": 1}},
        "tts": {"seconds": {"row": 2}, "start_seconds": 10, "shard_bytes": {"row": 1000}, "processor": {"row": 1}},
        "quantize": {"seconds": {"row": 1}, "kept": 0.8, "audio_seconds": 3, "tokens": 75},
        "noise.lengths": {"shards": False},
        "mix": {"shards": False},
        "export.layout": {"shards": False},
        "export.render": {"shards": False},
        "export": {"shards": False, "other_bytes": {"unit": 50, "row": 100}},
        "export.card": {"shards": False, "seconds": {"unit": 4}},
    },
    "rows": {"faq": 10},
    "classes": {"faq": {"all": {TASKS: 10}}},
    "pair_file_bytes": 1000,
}


def small(folder: Path, **changes: Any) -> Path:
    """Write a recipe of 100 rows in shards of 40, and no noise."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faq.jsonl").write_text(
        "".join(f'{{"prompt": "How is it, {n}?", "answer": "Good."}}\n' for n in range(100))
    )
    recipe = {
        "name": "faq",
        "run_dir": str(folder / "run"),
        "sources": [{"name": "faq", "path": str(folder / "faq.jsonl")}],
        "read": {"rows_per_shard": 40},
        "noise": {"rows": 0},
        "mix": {"mixtures": {"all": {"parts": {"speech_instruction": 50, "transcription": 50}, "reuse_prompts": True}}},
        "export": {"shard_bytes": 20_000, "report": False},
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def estimated(recipe: Recipe, rates: Rates, **how: Any) -> Estimate:
    return estimate(recipe, plan_run(recipe, PASSES)[0], rates, how.pop("cluster", Cluster(cpus=2)), **how)


def steps(found: Estimate) -> dict[str, Any]:
    return {ahead.key: ahead for ahead in found.passes if ahead.pieces}


def test_rates_by_hand_give_what_one_reckons_by_hand(tmp_path: Path) -> None:
    recipe = load_recipe(small(tmp_path))
    found = estimated(recipe, Rates.model_validate(BY_HAND), prices=Prices(cpu_hour=36, gib_month=2))
    of = steps(found)
    assert (of["read"].whole.rows_in, of["read"].whole.rows_kept) == (100, 90)
    assert [piece.name for piece in of["score"].pieces] == ["faq-00000", "faq-00001", "faq-00002"]
    assert of["filter"].whole.rows_kept == 45  # of shards of 40, 40 and 10
    assert of["tts"].whole.seconds == 45 * 2 + 2 * 10
    assert of["tts"].whole.processor == 45 * 1 + 2 * 10
    assert of["quantize"].whole.rows_kept == 36
    assert found.whole.audio_seconds == 36 * 3
    assert found.whole.tokens == 36 * 75
    assert found.pairs == {"all": 72}  # each row as either task
    assert len(of["export"].pieces) == 4  # 72 kB in files of 20 kB
    assert found.whole.rows_kept == 72
    size = 3 * 100 + 90 * 10 + 90 + 45 * 1000 + 4 * 50 + 72 * 100
    assert found.whole.size == pytest.approx(size)
    # Both workers start, speak 40 s each, hear 20 s each; then one speaks the last 10 s and hears 5 s; the card.
    assert found.times_now.seconds == 10 + 40 + 20 + 10 + 5 + 4
    hours = (110 + 45 + 4) / 3600
    assert found.money(found.whole) == pytest.approx(36 * hours + 2 * size / 2**30)
    assert found.held(found.times_now) == pytest.approx(36 * 2 * 89 / 3600)
    assert found.rows["faq"] == (100, "counted")


def test_a_limit_ends_reading_and_where_makes_it_read_on(tmp_path: Path) -> None:
    rates = Rates.model_validate(BY_HAND)
    passed = rates.passes["read"].model_copy(update={"facts": {"passed": {"faq": 0.5}}})
    filtered = rates.model_copy(update={"passes": {**rates.passes, "read": passed}})
    recipe = load_recipe(small(tmp_path), ["sources.faq.limit=20"])
    assert steps(estimated(recipe, rates))["read"].whole.rows_in == 20
    assert steps(estimated(recipe, filtered))["read"].whole.rows_in == 40
    recipe = load_recipe(small(tmp_path), ["sources.faq.limit=80"])
    assert steps(estimated(recipe, filtered))["read"].whole.rows_in == 100


def test_speech_that_is_removed_again_is_not_on_disk_in_the_end(tmp_path: Path) -> None:
    recipe = load_recipe(small(tmp_path), ["tts.keep_audio=false"])
    found = steps(estimated(recipe, Rates.model_validate(BY_HAND)))["tts"].whole
    assert (found.size, found.spent) == (0, 45 * 1000)


def test_servers_are_paid_by_the_prices_of_the_recipe(tmp_path: Path) -> None:
    llms = {"m": {"base_url": "http://127.0.0.1:9/v1", "model": "m", "price_per_million_tokens": [1.0, 4.0]}}
    recipe = load_recipe(small(tmp_path, llms=llms, answer={"llm": "m", "how": "spoken"}))
    asked = {"usage": {"requests": 1.5, "prompt_tokens": 100, "completion_tokens": 50}}
    rates = Rates.model_validate({**BY_HAND, "passes": {**BY_HAND["passes"], "answer": asked}})
    found = estimated(recipe, rates)
    assert found.whole.usage["requests"] == 45 * 1.5
    assert found.money(found.whole) == pytest.approx(45 * (100 * 1e-6 + 50 * 4e-6))


def test_a_mixture_that_would_be_short_is_told_before_it_is_paid_for(tmp_path: Path) -> None:
    mix = {"mixtures": {"all": {"parts": {"speech_instruction": 50, "two_turn": 50}, "total": 100}}}
    found = estimated(load_recipe(small(tmp_path, mix=mix)), Rates.model_validate(BY_HAND))
    assert any("the step mix would end with" in note and "two_turn" in note for note in found.notes)


def test_what_has_no_rates_is_named(tmp_path: Path) -> None:
    passes = {key: of for key, of in BY_HAND["passes"].items() if key != "tts"}
    found = estimated(load_recipe(small(tmp_path)), Rates.model_validate({**BY_HAND, "passes": passes}))
    assert "not estimated, for there are no rates of them: tts" in found.notes


def test_more_than_is_known_is_refused(tmp_path: Path) -> None:
    rates = Rates.model_validate(BY_HAND)
    hub = load_recipe(small(tmp_path, sources=[{"name": "far", "hf": "owner/name"}]))
    with pytest.raises(UserError, match="--rows far=N"):
        estimated(hub, rates)
    assert steps(estimated(hub, rates, given={"far": 1000}))["read"].whole.rows_kept == 900
    with pytest.raises(UserError, match=r"tts: a worker needs 1 CPUs, 0\.5 GPUs"):
        estimated(load_recipe(small(tmp_path), ["tts.gpus=0.5"]), rates)
    with pytest.raises(UserError, match=r"--cluster cpus=0: cpus: .*It takes cpus=..., gpus=..., nodes=..."):
        parse_options("cluster", "cpus=0", Cluster, None)
    assert parse_options("price", "gpu_hour=2.5", Prices, Prices(cpu_hour=1)) == Prices(cpu_hour=1, gpu_hour=2.5)


@pytest.fixture(scope="module")
def measured(finished: Path) -> Rates:
    """The rates of the small recipe's finished run."""
    return load_rates(str(finished / "run"))


def totals(found: Estimate) -> dict[str, tuple[int, int]]:
    return {key: (round(of.whole.rows_in), round(of.whole.rows_kept)) for key, of in steps(found).items()}


def test_a_run_estimated_by_its_own_rates_is_that_run(finished: Path, measured: Rates, tmp_path: Path) -> None:
    there = load_recipe(finished / "recipe.yaml")
    again = load_recipe(finished / "recipe.yaml", run_dir=str(tmp_path / "none"))
    found, foreseen = estimated(there, measured), estimated(again, measured)
    assert foreseen.rows["examples"].how == "counted"
    assert found.now.seconds == 0
    for key, (rows_in, kept) in totals(found).items():
        if key != "export.card":  # counts nothing
            assert totals(foreseen)[key] == pytest.approx((rows_in, kept), abs=8, rel=0.02), key
    lock = json.loads((finished / "run" / "mixture.json").read_text())["mixtures"]
    assert found.pairs == {name: of["total"] for name, of in lock.items()}
    assert foreseen.pairs == pytest.approx(found.pairs, abs=4)
    for quantity in ("audio_seconds", "tokens", "size", "seconds", "processor"):
        assert getattr(foreseen.whole, quantity) == pytest.approx(getattr(found.whole, quantity), rel=0.05), quantity
    assert len(steps(foreseen)["quantize"].pieces) == len(steps(found)["quantize"].pieces)
    plain = json.loads(json.dumps(as_json(foreseen)))
    assert plain["whole"]["tokens"] == round(foreseen.whole.tokens)


def test_a_changed_option_costs_what_follows_it(finished: Path, measured: Rates) -> None:
    found = estimated(load_recipe(finished / "recipe.yaml", ["tts.pitch=[40, 60]"]), measured)
    of = steps(found)
    for key in ("read", "score", "filter.duplicates", "filter"):
        assert (of[key].now.seconds, of[key].now.rows_in, of[key].now.size) == (0, 0, 0), key
        assert of[key].whole.seconds > 0
    for key in ("tts", "quantize", "noise", "mix", "export", "export.card"):
        assert of[key].now.seconds == pytest.approx(of[key].whole.seconds), key
    assert found.now.seconds < found.whole.seconds
    assert 0 < found.times_now.seconds < found.times_whole.seconds
    assert any("tts: measured with other options (pitch" in note for note in found.notes)


def test_a_new_source_costs_its_own_rows_and_what_is_made_of_all(
    finished: Path, measured: Rates, tmp_path: Path
) -> None:
    raw = yaml.safe_load((finished / "recipe.yaml").read_text())
    (tmp_path / "more.jsonl").write_text('{"prompt": "Why is the sky blue?", "answer": "Light scatters."}\n' * 30)
    raw["sources"].append({"name": "more", "path": str(tmp_path / "more.jsonl")})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw))
    found = estimated(load_recipe(tmp_path / "recipe.yaml"), measured)
    of = steps(found)
    new = {piece.name for piece in of["score"].pieces if piece.state != "done"}
    assert new == {"more-00000", "more-00001"}
    assert all(piece.state != "done" for piece in of["filter"].pieces)  # duplicates are sought among all
    assert of["read"].now.rows_in == 30
    assert "these sources were not measured, and are taken to be like those that were: more" in found.notes


def test_rates_of_another_engine_or_tokenizer_are_refused(finished: Path, measured: Rates) -> None:
    recipe = load_recipe(finished / "recipe.yaml")
    for key, option, value in (("quantize", "tokenizer", "whispervq"), ("quantize", "model", "0" * 32)):
        options = {**(measured.passes[key].options or {}), option: value}
        of_pass = measured.passes[key].model_copy(update={"options": options})
        other = measured.model_copy(update={"passes": {**measured.passes, key: of_pass}})
        with pytest.raises(UserError, match=f"(?s)quantize: {option}: .*speechmill calibrate"):
            estimated(recipe, other)
    of_pass = measured.passes["tts"].model_copy(update={"gpus": 0.5})
    with pytest.raises(UserError, match="tts: measured on GPUs, and this recipe has it on CPUs"):
        estimated(recipe, measured.model_copy(update={"passes": {**measured.passes, "tts": of_pass}}))


def test_rates_are_the_same_read_from_their_file(measured: Rates, tmp_path: Path) -> None:
    save_rates(tmp_path / "rates.json", measured)
    assert load_rates(str(tmp_path / "rates.json")) == measured
    with pytest.raises(UserError, match=r"no such file or run\. Make one: speechmill calibrate"):
        load_rates(str(tmp_path / "nothing.json"))
    (tmp_path / "bad.json").write_text('{"passes": {"tts": {"seconds": -1}}}')
    with pytest.raises(UserError, match=r"bad.json: passes.tts.seconds"):
        load_rates(str(tmp_path / "bad.json"))
    old = json.loads((tmp_path / "rates.json").read_text())
    old["pair_bytes"] = old.pop("pair_file_bytes")  # before 0.7: uncompressed, several times as many
    (tmp_path / "old.json").write_text(json.dumps(old))
    with pytest.raises(UserError, match=r"old.json: pair_bytes: .*calibrate again"):
        load_rates(str(tmp_path / "old.json"))
    with pytest.raises(UserError, match="has read nothing yet"):
        rates_of([look_at(load_recipe(small(tmp_path)))], "")


def test_plan_tells_the_estimate_for_people_and_for_programs(finished: Path, tmp_path: Path) -> None:
    recipe = finished / "recipe.yaml"
    said = speechmill(
        "plan", recipe, "--rates", finished / "run", "--price", "cpu_hour=1", "--set", "tts.pitch=[40, 60]"
    )
    assert_done(said)
    assert "now: CPUs" in said.stdout
    assert "rows: examples 140 (read), broken" in said.stdout
    told = speechmill("plan", recipe, "--rates", finished / "run", "--json")
    assert_done(told)
    plain = json.loads(told.stdout)
    assert plain["estimate"]["now"]["cpu_hours"] == 0
    assert {state["step"]: state["done"] for state in plain["states"]}["read"] == 2
    without = speechmill("plan", write_recipe(tmp_path))
    assert_done(without)
    assert "No rates, so nothing is estimated: `speechmill calibrate`" in without.stdout


def test_memory_that_is_not_counted_is_noted(tmp_path: Path) -> None:
    recipe = load_recipe(small(tmp_path), ["workers={tts: {memory_gib: 12}}"])
    rates = Rates.model_validate(BY_HAND)
    cluster = Cluster(cpus=2)
    noted = [note for note in estimated(recipe, rates, cluster=cluster).notes if "memory of workers" in note]
    assert noted == [
        "memory of workers is not counted (tts 12 GiB): it may leave fewer of them room. Name what a node has for "
        "them: --cluster memory_gib=64"
    ]
    counted = estimated(recipe, rates, cluster=Cluster(cpus=2, memory_gib=16))
    assert not [note for note in counted.notes if "memory of workers" in note]
    assert counted.times_now.workers["tts"] == 1


def test_rates_are_those_of_the_cluster_that_was_joined_and_saved_before_anything_is_reckoned(tmp_path: Path) -> None:
    """From a machine that has no room for the workers that a cluster had."""
    path, large = small(tmp_path), "workers={tts: {cpus: 16}}"
    asked: list[Cluster] = []

    def calibrated(*clusters: Cluster) -> list[str]:
        answers = iter(clusters)

        def cluster() -> Cluster:
            asked.append(next(answers))
            return asked[-1]

        return list(calibrate_recipe(path, [large], 16, None, cluster, lambda r: run_quietly(r, list(PASSES))))

    there = tmp_path / "run-calibration"
    lines = calibrated(Cluster(cpus=2), Cluster(cpus=2))
    assert any("not measured: what a run takes beside its units" in line and "needs 16 CPUs" in line for line in lines)
    assert load_rates(str(there / "rates.json")).run_seconds == 0
    assert len(list((there / "many/tts").glob("faq-*.parquet"))) == 4, "two shards for each CPU"
    lines = calibrated(Cluster(cpus=2), Cluster(cpus=16, nodes=2))
    assert not any("not measured" in line for line in lines)
    assert load_rates(str(there / "rates.json")).measured.endswith("16 records a source, on 2 nodes of 16 CPUs")
    assert len(asked) == 4


def test_calibrate_measures_and_plan_finds_it(tmp_path: Path) -> None:
    path = small(tmp_path)
    assert_done(speechmill("calibrate", path, "--rows", "16", "--workers", "0"))
    rates = load_rates(str(tmp_path / "run-calibration" / "rates.json"))
    assert rates.passes["tts"].units == 4  # two runs, each of two shards
    assert rates.classes["faq"]["all"] == {TASKS + " sound": 16}
    said = speechmill("plan", path)
    assert_done(said)
    assert "rows: faq 100 (counted)" in said.stdout
