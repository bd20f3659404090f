"""The paper's recipe reads every one of its sets as the Hub lays it out, and knows the published counts.

Each set is a folder of hand-written rows with the columns, the nesting and the configurations of the real
one (dataset cards and viewers, read in 2024 to 2026), among them rows that the set's own rule drops.
"""

# ruff: noqa: E501 - one line, one row of a data set
from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.options import Published
from pipelines.recipe import Recipe, load_recipe
from pipelines.steps import passes_for
from tests.conftest import ROOT
from tests.pipelines.in_process import run_quietly
from tests.pipelines.test_read import rows

LAYOUTS: dict[str, list[dict[str, Any]]] = {}  # source -> its rows
EXPECTED: dict[str, list[list[str]]] = {}  # source -> its conversations, "u:" user, "a:" assistant, "s:" system
REJECTED: dict[str, dict[str, int]] = {}  # source -> reason -> rows


def expect(source: str, records: list[dict[str, Any]], kept: list[list[str]], **rejected: int) -> None:
    LAYOUTS[source], EXPECTED[source] = records, kept
    REJECTED[source] = {f"read.{reason}": count for reason, count in rejected.items()}


def sharegpt(*turns: str, **more: Any) -> list[dict[str, Any]]:
    names = {"u": "human", "a": "gpt", "s": "system"}
    return [{"from": names[turn[0]], "value": turn[2:], **more} for turn in turns]


def openai(*turns: str) -> list[dict[str, Any]]:
    names = {"u": "user", "a": "assistant", "s": "system"}
    return [{"content": turn[2:], "role": names[turn[0]]} for turn in turns]


def hermes(*turns: str, **columns: Any) -> dict[str, Any]:
    empty = dict.fromkeys(
        ["custom_instruction", "topic", "model_name", "model", "skip_prompt_formatting", "category", "views", "language",
         "id", "title", "idx", "hash", "avatarUrl", "system_prompt"]
    )  # fmt: skip
    return {**empty, "conversations": sharegpt(*turns, weight=None), "source": "airoboros2.2", **columns}


expect(
    "openhermes",
    [
        hermes("u:Name a noble gas.", "a:Argon.", category="general", skip_prompt_formatting=False),
        hermes("s:You are a pirate.", "u:Say hello.", "a:Ahoy!", system_prompt="You are a pirate.", views=3),
        hermes("u:What is a haiku?", "a:A poem of three lines.", "u:Write one.", "a:Old pond ...", hash=[1, 2]),
        hermes("a:Hello, I am first.", "u:Who are you?", "a:An assistant.", idx="7"),
        hermes("u: ", "a:You said nothing.", custom_instruction=True),
    ],
    [
        ["u:Name a noble gas.", "a:Argon."],
        ["s:You are a pirate.", "u:Say hello.", "a:Ahoy!"],
        ["u:What is a haiku?", "a:A poem of three lines."],
    ],
    turn_order=1,
    empty_prompt=1,
)
expect(
    "orca_dpo_pairs",
    [
        {"system": system, "question": question, "chosen": chosen, "rejected": "No."}
        for system, question, chosen in [
            ("", "Is water wet?", "Most people say so."),
            ("You are terse.", "Two plus two?", "Four."),
            ("", "Answer with one word: sky?", "Blue"),
            ("", "", "There is no question."),
        ]
    ],
    [
        ["u:Is water wet?", "a:Most people say so."],
        ["u:Two plus two?", "a:Four."],
        ["u:Answer with one word: sky?", "a:Blue"],
    ],
    empty_prompt=1,
)
expect(
    "gpt4_dataset",
    [
        {"prompt": f"Prompt {i}", "source": ["en_ultrachat"], "gpt4_response": f"Strong {i}", "mixtral_response": "Weak",
         "mixtral_score": i}
        for i in range(1, 5)
    ],
    [[f"u:Prompt {i}", f"a:Strong {i}"] for i in range(1, 5)],
)  # fmt: skip
expect(
    "gpt4all_j",
    [{"prompt": f"How do I {verb}?", "response": f"You {verb}.", "source": "laion/unified_chip2"} for verb in ("knit", "swim")]
    + [{"prompt": "<p>Why?</p>", "response": "", "source": "pacovaldez/stackoverflow-questions"},
       {"prompt": "", "response": "Nothing was asked.", "source": "laion/unified_chip2"}],
    [["u:How do I knit?", "a:You knit."], ["u:How do I swim?", "a:You swim."], ["u:<p>Why?</p>"]],
    empty_prompt=1,
)  # fmt: skip
expect(
    "orca_math",
    [{"question": f"Ann has {i} pens and buys one. How many?", "answer": f"Ann has {i + 1} pens."} for i in range(4)],
    [[f"u:Ann has {i} pens and buys one. How many?", f"a:Ann has {i + 1} pens."] for i in range(4)],
)
HEADER = {"accept-language": "en-US", "user-agent": "Mozilla/5.0"}
MODERATION = [{"flagged": False, "categories": {"hate": False}, "category_scores": {"hate": 0.001}}]


def wildchat(model: str, language: str, turn: int, first: str) -> dict[str, Any]:
    said = [f"u:{first}", "a:Gladly."] + ["u:And then?", "a:Then more."] * (turn - 1)
    about = {"country": None, "hashed_ip": None, "header": HEADER, "language": language, "redacted": False, "state": None,
             "timestamp": datetime(2023, 4, 9, tzinfo=UTC), "toxic": False, "turn_identifier": 101001}  # fmt: skip
    return {
        "conversation_hash": f"c9ec{turn}", "model": model, "timestamp": datetime(2023, 4, 9, tzinfo=UTC),
        "conversation": [{**message, **about} for message in openai(*said)],
        "turn": turn, "language": language, "openai_moderation": MODERATION,
        "detoxify_moderation": [{"toxicity": 0.1}], "toxic": False, "redacted": False, "state": "Texas",
        "country": "United States", "hashed_ip": "22fd", "header": HEADER,
    }  # fmt: skip


expect(
    "wildchat",
    [
        wildchat("gpt-4-0314", "English", 1, "Plan a picnic."),
        wildchat("gpt-4-1106-preview", "English", 1, "Explain tides."),
        wildchat("gpt-3.5-turbo-0301", "English", 1, "Of another model."),
        wildchat("gpt-4-0314", "French", 1, "En français."),
        wildchat("gpt-4-0314", "English", 2, "Of two turns."),
        wildchat("gpt-4-0314", "English", 1, ""),
    ],
    [["u:Plan a picnic.", "a:Gladly."], ["u:Explain tides.", "a:Gladly."]],
    where=3,
    empty_prompt=1,
)
expect(
    "oo_gpt4",
    [
        {"id": f"flan.{i}", "system_prompt": system, "question": f"Question {i}?", "response": f"Response {i}."}
        for i, system in enumerate(["You are an AI assistant.", "", "Think step by step.", " "])
    ],
    [
        ["s:You are an AI assistant.", "u:Question 0?", "a:Response 0."],
        ["u:Question 1?", "a:Response 1."],
        ["s:Think step by step.", "u:Question 2?", "a:Response 2."],
        ["u:Question 3?", "a:Response 3."],
    ],
)
expect(
    "magpie_pro",
    [{"uuid": f"4f0c-{i}", "conversations": sharegpt(f"u:Ask {i}", f"a:Tell {i}")} for i in range(4)],
    [[f"u:Ask {i}", f"a:Tell {i}"] for i in range(4)],
)
expect(
    "pubmedqa",
    [
        {"pubid": 25429730 + i, "question": f"Does drug {i} help?", "long_answer": f"Drug {i} helps.",
         "context": {"contexts": ["It was given to forty patients."], "labels": ["METHODS"], "meshes": ["Humans"]},
         "final_decision": "yes"}
        for i in range(4)
    ],
    [[f"u:Does drug {i} help?", f"a:Drug {i} helps."] for i in range(4)],
)  # fmt: skip
expect(
    "capybara",
    [
        {"source": "Amplify", "conversations": sharegpt("u:Recommend a book.", "a:Dune.", "u:Why that one?", "a:The sand.")},
        {"source": "Amplify", "conversations": sharegpt("u:What is a monad?", "a:A monoid.")},
        {"source": "Amplify", "conversations": sharegpt("u:Tell me.", "a:What?", "u:Nothing.")},
        {"source": "Amplify", "conversations": sharegpt("u:Only a question")},
    ],
    [
        ["u:Recommend a book.", "a:Dune."],
        ["u:What is a monad?", "a:A monoid."],
        ["u:Tell me.", "a:What?"],
        ["u:Only a question"],
    ],
)  # fmt: skip
expect(
    "prism",
    [
        {"utterance_id": f"ut{i}", "interaction_id": f"int{i // 2}", "conversation_id": "c0", "user_id": "user0",
         "turn": 0, "within_turn_id": i % 2, "conversation_type": "unguided", "user_prompt": f"What of {i // 2}?",
         "model_response": f"Answer {i}", "model_name": "a", "model_provider": "b", "score": 50 + i, "if_chosen": i % 2 == 0,
         "included_in_balanced_subset": True}
        for i in range(6)
    ],
    [["u:What of 0?", "a:Answer 0"], ["u:What of 1?", "a:Answer 2"], ["u:What of 2?", "a:Answer 4"]],
    where=3,
)  # fmt: skip
expect(
    "infinity_instruct",
    [
        {"id": i, "conversations": sharegpt(f"u:Ask of {source}", "a:Told"), "source": source,
         "label": {"ability_en": ["math"], "ability_zh": ["数学"]}, "langdetect": "en", "reward": None}
        for i, source in enumerate(["flan", "OpenHermes-2.5", "Orca-math-word-problems-200k", "MetaMath", "OpenHermes-2.5"])
    ]
    + [{"id": 9, "conversations": sharegpt("u:Of no source", "a:Told"), "source": None}],
    [["u:Ask of flan", "a:Told"], ["u:Ask of MetaMath", "a:Told"], ["u:Of no source", "a:Told"]],
    where_not=3,
)  # fmt: skip
TWO = ["u:Find x.", "a:x is 2.", "u:And y?", "a:y is 3."]
FOUR = [*TWO, "u:Their sum?", "a:5.", "u:Thanks!", "a:You are welcome."]
expect("magpie_pro_mt", [{"uuid": "4f0c", "conversations": sharegpt(*TWO)}], [TWO])
expect("gsm8k_multiturn", [{"conversations": openai(*TWO)}, {"conversations": openai(*FOUR)}], [TWO, FOUR])
expect("everyday", [{"prompt": "?", "completion": "!", "full_topic": "Travel/Tips", "messages": openai(*FOUR)}], [FOUR])


def recipe_on_folders(name: str, folder: Path) -> Recipe:
    """Return a shipped recipe whose sets are folders, configurations and splits included."""
    recipe = load_recipe(ROOT / "configs" / f"{name}.yaml", run_dir=str(folder / "run"))
    for source in recipe.sources:
        place = folder / source.name / "data"
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(LAYOUTS[source.name]), place / f"{source.split}-00000-of-00001.parquet")
        files = [{"split": source.split, "path": f"data/{source.split}-*"}]
        configs = [{"config_name": source.config or "default", "data_files": files}]
        if source.config:  # one of several, so that it must be named
            configs.insert(0, {"config_name": "another", "data_files": [{"split": "train", "path": "another.parquet"}]})
            pq.write_table(
                pa.table({"question": ["Of another configuration"]}), folder / source.name / "another.parquet"
            )
        (folder / source.name / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
    sources = tuple(source.model_copy(update={"hf": source.name}) for source in recipe.sources)
    return recipe.model_copy(update={"root": str(folder), "sources": sources})


@pytest.mark.parametrize("name", ["ichigo_v0.3", "speechmill_v1"])
def test_every_set_is_read_as_the_hub_lays_it_out(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    recipe = recipe_on_folders(name, tmp_path)
    outputs = run_quietly(recipe, passes_for("read"))
    found: dict[str, list[list[str]]] = {source.name: [] for source in recipe.sources}
    for row in rows(tmp_path / "run" / "read"):
        found[row["source"]].append([f"{message['role'][0]}:{message['content']}" for message in row["messages"]])
        assert row["license"] == next(source.license for source in recipe.sources if source.name == row["source"])
    assert found == EXPECTED
    rejects = Counter((r["source"], r["reject"].partition(":")[0]) for r in rows(tmp_path / "run" / "read", "rejects"))
    assert rejects == {(source, reason): n for source, reasons in REJECTED.items() for reason, n in reasons.items()}
    for source, record in outputs.records("read").items():
        kept = len(EXPECTED[source])
        assert (record.counts.rows_in, record.counts.rows_kept) == (len(LAYOUTS[source]), kept)
        assert record.counts.rejected == REJECTED[source]


def test_both_recipes_have_the_same_sources() -> None:
    paper, ours = (load_recipe(ROOT / "configs" / f"{name}.yaml") for name in ("ichigo_v0.3", "speechmill_v1"))
    assert [source.model_dump() for source in paper.sources] == [source.model_dump() for source in ours.sources]


def test_the_published_counts_add_up() -> None:
    recipe = load_recipe(ROOT / "configs" / "ichigo_v0.3.yaml")
    counts: dict[str, Published] = {source.name: source.published for source in recipe.sources if source.published}
    assert len(counts) == 12
    read, *later = recipe.published
    assert set(read.sources) == counts.keys()
    assert sum(count.rows_kept or 0 for count in counts.values()) == read.rows == 5_380_500
    eleven = set(counts) - {"openhermes"}
    assert [(stage.after, stage.rows, set(stage.sources)) for stage in later] == [
        ("filter.length", 550_433, {"openhermes"}),
        ("filter.length", 3_024_117, eleven),
        ("filter.language", 2_356_547, eleven),
    ]
