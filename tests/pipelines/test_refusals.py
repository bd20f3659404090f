"""noise: refusals of a language model, each for its own sound, none too often, the same whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from filters.duplicates import normalise
from noise.refusals import REFUSALS
from pipelines.errors import RunError, UserError
from pipelines.recipe import Recipe
from pipelines.row import ROW, Row, row_id
from tests.answers.loopback_chat import LoopbackChat, Messages, Plan, at_random, good
from tests.pipelines.llm_runs import asking_recipe, do, made, rejected

STORM = at_random({"429": 0.1, "500": 0.2, "truncated": 0.1, "empty-choices": 0.1, "cut": 0.1}, most=2)
SHARDS = {"noise-00000": 40, "noise-00001": 40, "interruptions-00000": 10}


def inaudible(index: int, kind: str = "white") -> Row:
    messages = [{"role": "user", "content": ""}]
    sound = {"turn": 0, "tokens": [index % 500, 1, 2], "seconds": 0.12, "tokenizer": "t"}
    about = {"id": row_id(f"noise {index}", messages), "source": "noise", "license": "Apache-2.0", "index": index}
    how = json.dumps({"kind": kind, "level_dbfs": -20.0})
    return {**about, "messages": messages, "exchanges": 1, "answered": False, "inaudible": how, "spoken": [sound]}


def sounds() -> dict[str, pa.Table]:
    """Return the shards of `noise.sounds`: inaudible rows, and among them two rungs of a ladder that are heard."""
    files, start = {}, 0
    for shard, rows in SHARDS.items():
        of_shard = [inaudible(start + n) for n in range(rows)]
        start += rows
        files[f"noise.sounds/{shard}.parquet"] = pa.Table.from_pylist(of_shard, schema=ROW)
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    heard = {
        **inaudible(999),
        "id": "heard",
        "inaudible": None,
        "degraded": "{}",
        "messages": messages,
        "answered": True,
    }
    files["noise.sounds/ladder-00000.parquet"] = pa.Table.from_pylist([heard, inaudible(1000), heard], schema=ROW)
    return files


def few_wordings(wordings: int) -> LoopbackChat:
    """A server that knows few good refusals, and writes them in capitals or not."""

    def rules(messages: Messages, seed: int) -> str:
        digest = hashlib.blake2b(f"{seed}{messages}".encode(), digest_size=4).digest()
        text = SHORT[int.from_bytes(digest[:2]) % wordings]
        return text if digest[2] % 2 else f'"{text.replace(".", " .")}"'

    return LoopbackChat(rules=rules)


SHORT = [text for text in REFUSALS if len(text.split()) <= 13][:12]  # short enough for every request


def asked(folder: Path, server: LoopbackChat, most_repeats: int = 3, plan: Plan = good, **llm: object) -> Recipe:
    server.plan = plan
    refusals = {"llm": "m", "most_repeats": most_repeats}
    recipe = asking_recipe(folder, server, noise={"rows": 90, "refusals": refusals}, llm=llm)
    outcome = do("noise", recipe, sounds())
    assert outcome.counts.rows_in == 93 == outcome.counts.rows_kept + sum(outcome.counts.rejected.values())
    return recipe


def rows_of(recipe: Recipe) -> list[Row]:
    return [row for shard in [*SHARDS, "ladder-00000"] for row in made(recipe, "noise", shard)]


def refused(recipe: Recipe) -> list[Row]:
    return [row for shard in [*SHARDS, "ladder-00000"] for row in rejected(recipe, "noise", shard)]


def test_every_inaudible_row_gets_a_refusal_of_the_model_and_what_is_heard_stays(tmp_path: Path) -> None:
    with LoopbackChat() as server:
        recipe = asked(tmp_path, server, most_repeats=9)
        assert len(server.requests) >= 90  # all differ
    rows = rows_of(recipe)
    assert [row["id"] for row in rows if row["inaudible"] is None] == ["heard", "heard"]
    for row in rows:
        if row["inaudible"] is None:
            assert row["generated"] is None and len(row["messages"]) == 2
            continue
        (note,) = row["generated"]
        assert row["answered"] and [m["role"] for m in row["messages"]] == ["user", "assistant"]
        assert (note["turn"], note["task"], note["original"], note["model"]) == (1, "refusal", None, "loopback-1")
        assert note["template"].startswith("refusal-1@") and note["completion_tokens"] > 5


def test_no_wording_stands_more_often_than_allowed_over_all_shards_and_the_first_rows_keep_it(tmp_path: Path) -> None:
    with few_wordings(len(SHORT)) as server:
        recipe = asked(tmp_path, server, most_repeats=3, tries=8)
    given = Counter(normalise(row["messages"][1]["content"]) for row in rows_of(recipe) if row["inaudible"])
    assert len(given) == len(SHORT) and max(given.values()) == 3
    repeated = refused(recipe)
    assert len(repeated) == 91 - given.total() and {row["reject"] for row in repeated} == {"noise.repeated"}
    assert given.total() == 3 * len(SHORT)


def test_who_comes_too_late_for_a_wording_asks_until_another_is_free(tmp_path: Path) -> None:
    with few_wordings(10) as server:
        recipe = asked(tmp_path, server, most_repeats=10, tries=40)
    given = Counter(normalise(row["messages"][1]["content"]) for row in rows_of(recipe) if row["inaudible"])
    tries = [row["generated"][0]["tries"] for row in rows_of(recipe) if row["inaudible"]]
    assert given.total() == 91 and max(given.values()) == 10
    assert tries[:10] == [1] * 10 and 1 < max(tries) <= 40


def test_what_is_no_refusal_is_asked_for_again_and_ends_its_row(tmp_path: Path) -> None:
    with LoopbackChat(rules=lambda messages, seed: "You asked about trains, but I missed the rest.") as server:
        recipe = asked(tmp_path, server)
        assert server.requests.total() == 4 * len(server.requests)
    assert [row["id"] for row in rows_of(recipe)] == ["heard", "heard"]
    assert {row["reject"] for row in refused(recipe)} == {"noise.pretends:You asked about"}


def test_the_same_bytes_whatever_concurrency_and_weather_and_a_second_start_asks_nothing(tmp_path: Path) -> None:
    found = []
    for number, (concurrency, plan) in enumerate([(1, good), (64, good), (64, STORM)]):
        with few_wordings(len(SHORT)) as server:
            recipe = asked(tmp_path / str(number), server, plan=plan, concurrency=concurrency, attempts=6)
            if plan is STORM:
                answered = server.answered.total()
                asked(tmp_path / str(number), server, plan=plan, concurrency=concurrency, attempts=6)
                assert server.answered.total() == answered
        shards = sorted((recipe.run_path / "noise").rglob("*.parquet"))
        found.append({path.name: path.read_bytes() for path in shards})
    assert len(found[0]) == 4 and found[0] == found[1] == found[2]


def test_without_a_model_the_bank_answers(tmp_path: Path) -> None:
    with LoopbackChat() as server:
        recipe = asking_recipe(tmp_path, server, noise={"rows": 90})
        (name, table), *_ = sounds().items()
        do("noise", recipe, {name: table})
        assert server.requests.total() == 0
    rows = made(recipe, "noise", "noise-00000")
    assert {row["messages"][1]["content"] for row in rows} <= set(REFUSALS)
    assert all(row["generated"] is None and row["answered"] for row in rows)


def test_a_ceiling_stops_the_run_and_says_so_and_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    with LoopbackChat() as server:
        with pytest.raises(RunError, match=r"llms\.m: .*most_requests"):
            asked(tmp_path, server, most_requests=40, concurrency=8)
        assert server.requests.total() == 40
        asked(tmp_path, server, most_requests=400, most_repeats=9)
        assert max(server.requests.values()) <= 4  # once for each try, at most


def test_a_key_that_is_missing_is_told_with_the_model_s_name(tmp_path: Path) -> None:
    with LoopbackChat() as server, pytest.raises(UserError, match=r"llms\.m: .*NO_SUCH_VARIABLE"):
        asked(tmp_path, server, api_key_env="NO_SUCH_VARIABLE")
