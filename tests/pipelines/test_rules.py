"""The rules of `filter` in runs: who is rejected and why, duplicates across shards, thresholds, decontamination."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines.recipe import load_recipe
from pipelines.steps import passes_for
from pipelines.telling.funnel import Funnel
from pipelines.telling.samples import _turned, print_explained
from tests.conftest import assert_done, content, recipe_of, speechmill, write_recipe
from tests.pipelines.in_process import run_quietly

PLAIN = [
    ("What is the capital of Mongolia?", "Ulaanbaatar."),
    ("Explain how a suspension bridge carries the weight of the cars that cross it every day.", "By cables."),
    ("Please tell me a short story about a fox who wants to learn how to swim in the sea.", "Once upon a time."),
    ("How many planets does the solar system have?", "Eight."),
]
MOONS = "Which planet of the solar system is the largest one, and how many moons does it have?"
NEAR = "Please tell me a short story about a fox who wants to learn how to swim in the ocean."
BROKEN = [
    ("Send the invoice to mary.smith@example.com before noon, please.", "Done.", "filter.private:email"),
    ("Summarise https://example.org/news for me.", "No.", "filter.speakable:url"),
    ("Wie heißt die Hauptstadt von Frankreich und wie groß ist sie?", "Paris.", "filter.language"),
    ("Tell me " + "very " * 70 + "much about bridges.", "Yes.", "filter.length"),
    ("Tell me " + "very " * 200 + "much about bridges.", "Yes.", "filter.length"),
    ("Who painted the Sistine Chapel?", "As an AI language model, I cannot know.", "filter.answer:boilerplate"),
    ("How high is the highest mountain of Africa?", "...", "filter.answer:empty"),
    ("what is the capital of mongolia", "Ulaanbaatar", "filter.duplicate"),
    (NEAR, "Once.", "filter.near_duplicate"),
    (MOONS, "Jupiter.", "filter.benchmark:astronomy"),
    ("What is two plus two?", "Four.", "filter.benchmark:astronomy"),
]  # fmt: skip
BENCHMARK = ["What is 2 + 2?", MOONS]
RULES: list[Any] = [
    "private", "speakable", "symbol_share", "length", {"seconds": {"below": 20}}, "language", "answer",
    {"benchmark": {"benchmarks": [{"name": "astronomy", "path": "benchmark.jsonl"}]}}, "duplicate", "near_duplicate",
]  # fmt: skip


def write_rows(folder: Path, **changes: Any) -> Path:
    """Write a source of rows, a benchmark and a recipe with every rule."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [*PLAIN, *((prompt, answer) for prompt, answer, _ in BROKEN)]
    lines = [json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in pairs]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    (folder / "benchmark.jsonl").write_text("\n".join(json.dumps({"question": prompt}) for prompt in BENCHMARK))
    recipe = {
        "root": str(folder),
        "sources": [{"name": "rows", "path": "rows.jsonl"}],
        "filter": {"rules": RULES},
        "mix": {"mixtures": {"all": {"parts": {"speech_instruction": 100}}}},
        **changes,
    }
    return write_recipe(folder, **recipe)


def kept_prompts(run: Path) -> list[str]:
    return [row["messages"][0]["content"] for path in shards(run, "filter") for row in pq.read_table(path).to_pylist()]


def rejects(run: Path) -> dict[str, str]:
    """Return prompt -> reject of a run's filter."""
    rows = [row for path in shards(run, "filter/rejects") for row in pq.read_table(path).to_pylist()]
    return {row["messages"][0]["content"]: row["reject"] for row in rows}


def shards(run: Path, folder: str) -> list[Path]:
    return sorted((run / folder).glob("*.parquet"))


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of every rule, up to filter. Read only."""
    folder = tmp_path_factory.mktemp("ruled")
    assert_done(speechmill("filter", write_rows(folder), "--workers", "0"))
    return folder


def test_each_rule_rejects_what_it_is_for_and_nothing_else(ruled: Path) -> None:
    found = rejects(ruled / "run")
    # Of near duplicates the row with the lesser id stays, which may be either of the two.
    (near,) = [prompt for prompt, reject in found.items() if reject.startswith("filter.near_duplicate")]
    assert near in (NEAR, PLAIN[2][0])
    kept = {prompt for prompt, _ in PLAIN} | {NEAR}
    assert set(kept_prompts(ruled / "run")) == kept - {near}
    for prompt, _, reason in BROKEN:
        if prompt != NEAR:
            assert found[prompt].startswith(reason), (prompt, found[prompt])
    assert len(found) == len(BROKEN)


def test_rejected_rows_hold_their_scores(ruled: Path) -> None:
    (path,) = shards(ruled / "run", "filter/rejects")
    for row in pq.read_table(path).to_pylist():
        assert row["length"] > 0
        scored = row["length"] <= 128
        for score in ("predicted_seconds", "language", "english", "symbol_share", "duplicate_key"):
            assert (row[score] is not None) == scored, score


def test_decontamination_json_names_the_hits(ruled: Path) -> None:
    report = json.loads((ruled / "run" / "decontamination.json").read_text())
    about = report["benchmarks"]["astronomy"]
    assert (about["prompts"], about["prompts_hit"], about["rows_hit"]) == (2, 2, 2)
    assert [hit["prompt"] for hit in about["hits"]] == BENCHMARK
    assert [hit["rows"][0]["prompt"] for hit in about["hits"]] == [BROKEN[10][0], BROKEN[9][0]]
    assert report["not_checked"] == {}


def test_a_benchmark_that_is_not_there_stops_the_run_or_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path)
    (tmp_path / "benchmark.jsonl").unlink()
    result = speechmill("filter", path, "--workers", "0")
    assert result.returncode == 2
    assert "astronomy" in result.stderr
    assert_done(speechmill("filter", path, "--workers", "0", "--set", "filter.rules.benchmark.missing=skip"))
    report = json.loads((tmp_path / "run" / "decontamination.json").read_text())
    assert list(report["not_checked"]) == ["astronomy"]
    assert BROKEN[9][0] in kept_prompts(tmp_path / "run")


def test_a_threshold_changes_verdicts_and_no_score(tmp_path: Path) -> None:
    path = write_rows(tmp_path, score={"most_tokens": 100})
    assert_done(speechmill("filter", path, "--workers", "0"))
    scores = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").glob("score*/**/*") if p.is_file()}
    assert len(scores) > 15
    changes = ["--set", "filter.rules.length.below=90", "--set", "filter.rules.seconds.below=60"]
    result = speechmill("filter", path, "--workers", "0", *changes)
    assert_done(result)
    assert "below: 64 -> 90" in result.stdout
    assert {p: p.stat().st_mtime_ns for p in scores} == scores
    found = rejects(tmp_path / "run")
    assert BROKEN[3][0] not in found
    assert found[BROKEN[4][0]].startswith("filter.length:")
    assert_done(speechmill("filter", path, "--workers", "0", "--set", "filter.rules=[duplicate]"))
    assert rejects(tmp_path / "run")[BROKEN[4][0]].startswith("filter.too_long:")


def test_a_length_beyond_what_is_scored_is_an_error(tmp_path: Path) -> None:
    path = write_rows(tmp_path)
    result = speechmill("plan", path, "--set", "filter.rules.length.below=200")
    assert result.returncode == 2
    assert "raise score.most_tokens" in result.stderr


ABOUT = (
    "Name the lighthouse that is the best known of all",
    "How would a gardener prune an old apple tree",
    "Why do violins sound warmer than trumpets",
    "Describe a market on a rainy morning for somebody who has never seen one",
)
SEAS = ("in Europe", "in Europe today", "in all Europe", "by the sea", "by the same sea", "of all time")


@pytest.mark.long
def test_near_duplicates_are_the_same_whatever_the_shards_and_workers(tmp_path: Path) -> None:
    """Rows of examples with planted variants: 1 shard or 9, in this process or on Ray."""
    rules = ["speakable", "length", "language", "duplicate", "near_duplicate"]
    lines = (Path(recipe_of()["root"]) / "examples" / "instructions.jsonl").read_text().splitlines()
    prompts = [json.loads(line)["messages"][0]["content"] for line in lines]
    near = [prompt.replace(" the ", " that ", 1) for prompt in prompts if " the " in prompt and len(prompt) > 70]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"prompt": p, "answer": "Yes."}) for p in prompts + near))
    results = []
    for name, rows_per_shard, workers in (("one", 1000, "0"), ("many", 60, "0"), ("ray", 60, "2")):
        path = write_recipe(
            tmp_path / name,
            root=str(tmp_path),
            sources=[{"name": "rows", "path": "rows.jsonl"}],
            read={"rows_per_shard": rows_per_shard},
            filter={"rules": rules},
        )
        assert_done(speechmill("filter", path, "--workers", workers))
        results.append((kept_prompts(tmp_path / name / "run"), rejects(tmp_path / name / "run")))
    assert results[0] == results[1] == results[2]
    assert content(tmp_path / "many" / "run") == content(tmp_path / "ray" / "run")
    assert sum(reject.startswith("filter.near_duplicate") for reject in results[0][1].values()) > 15


def test_near_duplicates_are_the_same_however_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [f"{about} {sea}?" for about in ABOUT for sea in SEAS]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"prompt": p, "answer": "Yes."}) for p in prompts))
    results = []
    for most in (200_000, 5):
        monkeypatch.setattr("pipelines.steps.near_duplicates.ROWS_PER_PART", most)
        path = write_recipe(
            tmp_path / str(most),
            root=str(tmp_path),
            sources=[{"name": "rows", "path": "rows.jsonl"}],
            read={"rows_per_shard": 10},
            filter={"rules": ["near_duplicate"]},
        )
        run_quietly(load_recipe(path), passes_for("filter"))
        run = tmp_path / str(most) / "run"
        results.append((kept_prompts(run), rejects(run)))
        parts = len(list((run / "filter.near_duplicates").glob("0*.json")))
        assert parts == 1 if most == 200_000 else parts > 1
    assert results[0] == results[1]
    assert len(results[0][1]) > len(ABOUT)


def test_the_funnel_tells_rules_sources_and_samples(ruled: Path) -> None:
    result = speechmill("funnel", ruled / "run")
    assert_done(result)
    assert "filter.speakable:url: 1 rows" in result.stdout
    assert "Summarise https://example.org/news for me." in result.stdout
    assert "decontamination" not in result.stdout
    manifest = json.loads((ruled / "run" / "filter" / "manifest.json").read_text())
    about = manifest["sources"]["rows"]
    assert about["rows_in"] == about["rows_kept"] + sum(about["rejected"].values()) == len(PLAIN) + len(BROKEN)
    assert about["rejected"]["filter.private:email"] == 1


def test_the_table_by_source_is_whole_however_many_sources_there_are() -> None:
    header = ["source", "records", "filter.near_duplicate"]
    rows = [[f"source_{number}", "1,000,000", f"{number:,}"] for number in range(1000, 1009)]
    said = io.StringIO()
    tables = list(_turned(header, rows, width=80))
    for table in tables:
        Console(file=said, width=80).print(table)
    assert len(tables) == 3  # 21 characters for the rule, 13 for each of four sources
    assert all(f"source_{number}" in said.getvalue() for number in range(1000, 1009))
    assert all(f"{number:,}" in said.getvalue() for number in range(1000, 1009))
    assert said.getvalue().count("filter.near_duplicate") == len(tables)


@pytest.mark.parametrize("step", ["score", "filter.shorten", "noise.chats"])
def test_rejects_of_every_step_of_the_funnel_are_shown(step: str, finished: Path, tmp_path: Path) -> None:
    rejects = pl.read_parquet(finished / "run" / "filter" / "rejects" / "examples-00000.parquet")
    (tmp_path / step / "rejects").mkdir(parents=True)
    lost = rejects.with_columns(reject=pl.lit(f"{step}.quarantined:its worker died"))
    lost.write_parquet(tmp_path / step / "rejects" / "examples-00000.parquet")
    rows = len(lost)
    counts = {"rows_in": rows, "shortened": {}, "rejected": {f"{step}.quarantined": rows}, "rows_kept": 0}
    said = io.StringIO()
    print_explained(Console(file=said, width=200), Funnel({step: counts}, {}, {}, 0, 0, {}), tmp_path)
    assert rows > 0
    assert f"{step}.quarantined: {rows:,} rows" in said.getvalue()
    assert said.getvalue().count(f"{step}.quarantined:its worker died") == min(rows, 10)


def test_the_funnel_says_what_it_does_not_show(ruled: Path, tmp_path: Path) -> None:
    changed = [{"length": {"below": 32}} if rule == "length" else rule for rule in RULES]
    path = write_rows(tmp_path, filter={"rules": changed})
    result = speechmill("funnel", path, "--run-dir", ruled / "run")
    assert_done(result)
    assert "filter.speakable:url" not in result.stdout
    assert "not shown: filter.duplicates, which the next run makes again" in result.stdout
    assert "64 -> 32" in result.stdout


def test_explain_text_gives_each_rule_its_say(tmp_path: Path) -> None:
    result = speechmill(
        "explain-text", "Visit https://example.com and say what 2 → 3 means:", "--answer", "It depends."
    )
    assert_done(result)
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "reject" in lines["speakable"]
    assert all(kind in lines["speakable"] for kind in ("url:", "symbols:", "dangling:"))
    assert "keep" in lines["length"] and "below 64" in lines["length"]
    path = write_rows(tmp_path)
    strict = speechmill("explain-text", "What is rain?", "--recipe", path, "--set", "filter.rules.length.below=3")
    assert "reject" in next(line for line in strict.stdout.splitlines() if line.startswith("length"))
    assert "needs a run" in next(line for line in strict.stdout.splitlines() if line.startswith("near_duplicate"))


def test_duplicate_rules_end_the_list(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, filter={"rules": ["near_duplicate", "duplicate"]})
    result = speechmill("plan", path)
    assert result.returncode == 2
    assert "must end the list" in result.stderr
    path = write_recipe(tmp_path, filter={"rules": ["length", "duplicate", "near_duplicate"]})
    assert [rule.rule for rule in load_recipe(path).filter.rules] == ["length", "duplicate", "near_duplicate"]
