"""answer: spoken, mended and own answers, exchange by exchange, each checked and noted; workers keep one limit."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from pipelines.card import written
from pipelines.publish.places import published_recipe
from pipelines.recipe import Recipe
from pipelines.row import ROW, Row
from pipelines.steps import BY_KEY
from tests.answers.loopback_chat import QUICK, LoopbackChat, Messages, at_random
from tests.conftest import ROOT, assert_done, command, content, recipe_of, speechmill
from tests.pipelines.llm_runs import asking_recipe, chat_row, do, made, rejected

AI = "As an AI language model, I cannot taste it. It is sour."
LONG = "Rain falls for these reasons:\n- air cools\n- drops grow"


def asked_for(messages: Messages) -> str:
    """Return the prompt in a request of any template."""
    text = messages[-1]["content"]
    return text.split("-" * 10 + "\n")[1].strip() if "-" * 10 in text else text


def numbered(messages: Messages, seed: int) -> str:
    """Answer with words of the prompt, and how many messages were in the request."""
    return f"That is {asked_for(messages).rstrip('?.').lower().split()[-1]}, of {len(messages)} messages, I would say."


def answered(folder: Path, server: LoopbackChat, how: str, *rows: Row, **changes: object) -> Recipe:
    chats = changes.pop("chats", {})
    recipe = asking_recipe(folder, server, answer={"llm": "m", "how": how, **changes}, chats=chats)
    table = pa.Table.from_pylist([{"language": "en", **row} for row in rows], schema=ROW)
    outcome = do("answer", recipe, {"filter/s-00000.parquet": table})
    assert outcome.counts.rows_in == len(rows)
    assert outcome.counts.rows_kept + sum(outcome.counts.rejected.values()) == len(rows)
    assert outcome.usage["requests"] == server.requests.total()
    return recipe


def test_spoken_answers_take_the_place_of_written_ones_and_the_old_are_noted(tmp_path: Path) -> None:
    row = chat_row("Why does it rain?", LONG)
    with LoopbackChat(rules=numbered) as server:
        recipe = answered(tmp_path, server, "spoken", row, chat_row("A prompt alone?"))
        assert LONG in server.bodies[0]["messages"][-1]["content"]
        assert server.requests.total() == 1
    after, alone = made(recipe, "answer")
    assert after["messages"][1]["content"] == "That is rain, of 2 messages, I would say."
    (note,) = after["generated"]
    assert (note["turn"], note["task"], note["original"], note["tries"]) == (1, "spoken", LONG, 1)
    assert note["model"] == "loopback-1" and note["template"].startswith("spoken-1@")
    assert (alone["generated"], alone["answered"], len(alone["messages"])) == (None, False, 1)


def test_mending_touches_boilerplate_alone(tmp_path: Path) -> None:
    chat = chat_row("Is it sour?", AI, "Why?", "It holds acid.", "And salt?", "I hope this helps!")
    with LoopbackChat(rules=numbered) as server:
        recipe = answered(tmp_path, server, "mend", chat, chat_row("Why does it rain?", LONG))
        assert server.requests.total() == 2
        assert "Why?" in server.bodies[1]["messages"][-1]["content"]  # what was said before
    mended, plain = made(recipe, "answer")
    assert plain["generated"] is None and plain["messages"][1]["content"] == LONG
    assert [m["content"] for m in mended["messages"]][3] == "It holds acid."
    assert [(n["turn"], n["original"]) for n in mended["generated"]] == [(1, AI), (5, "I hope this helps!")]


def test_own_answers_come_turn_by_turn_with_the_new_ones_before_them(tmp_path: Path) -> None:
    chat = chat_row("Is it sour?", AI, "Is it sweet?", "No.")
    with LoopbackChat(rules=numbered) as server:
        recipe = answered(tmp_path, server, "own", chat, chat_row("Does it rain?"), system="Be brief.")
        second = next(body["messages"] for body in server.bodies if len(body["messages"]) > 2)
    assert [m["role"] for m in second] == ["system", "user", "assistant", "user"]
    assert second[0]["content"] == "Be brief." and second[2]["content"].startswith("That is sour, of 2")
    whole, alone = made(recipe, "answer")
    assert [m["role"] for m in whole["messages"]] == ["user", "assistant"] * 2  # no row keeps the system message
    assert whole["messages"][3]["content"].startswith("That is sweet, of 4")
    assert alone["messages"][1]["content"].startswith("That is rain") and alone["answered"]
    assert alone["generated"][0]["original"] is None


@pytest.mark.parametrize(
    ("how", "said", "reason"),
    [
        ("own", AI, "answer.boilerplate"),
        ("spoken", "- one\n- two", "answer.unspeakable"),
        ("spoken", "Es regnet, weil die Luft sich abkühlt und Tropfen fallen.", "answer.language"),
        ("own", "Why does it rain?", "answer.repeats_prompt"),
        ("mend", "Here is the revised answer: it rains.", "answer.meta"),
        ("own", "a \0 nul", "answer.unwritable"),
        ("own", "<think>\nWhy, indeed?\n</think>\nAir cools and drops fall.", "answer.thoughts"),
    ],
)
def test_an_answer_that_stays_flawed_ends_its_row_with_the_flaw(
    tmp_path: Path, how: str, said: str, reason: str
) -> None:
    with LoopbackChat(rules=lambda messages, seed: f"{said}") as server:
        recipe = answered(tmp_path, server, how, chat_row("Why does it rain?", AI))
        assert server.requests.total() == 4  # tries
    assert made(recipe, "answer") == []
    (row,) = rejected(recipe, "answer")
    assert row["reject"].split(":")[0] == reason
    assert row["messages"][1]["content"] == AI


@pytest.mark.parametrize("behaviour", ["length", "filter", "blank", "null"])
def test_answers_that_a_server_cuts_off_or_leaves_empty_end_their_row(tmp_path: Path, behaviour: str) -> None:
    with LoopbackChat(rules=numbered, plan=lambda text, n: behaviour) as server:
        recipe = answered(tmp_path, server, "own", chat_row("Why does it rain?", AI))
    (row,) = rejected(recipe, "answer")
    assert row["reject"].split(":")[0] in ("answer.cut_off", "answer.empty")


@pytest.mark.parametrize("failed_turn", ["reject", "shorten"])
def test_a_chat_may_end_before_an_answer_that_fails(tmp_path: Path, failed_turn: str) -> None:
    def rules(messages: Messages, seed: int) -> str:
        return AI if "sweet" in messages[-1]["content"] else numbered(messages, seed)

    chat = chat_row("Is it sour?", "No.", "Is it sweet?", "No.", "Is it salty?", "No.")
    with LoopbackChat(rules=rules) as server:
        recipe = answered(tmp_path, server, "own", chat, chats={"failed_turn": failed_turn})
        assert server.requests.total() == 5
    if failed_turn == "reject":
        assert rejected(recipe, "answer")[0]["reject"].startswith("answer.boilerplate:As an AI")
        return
    (row,) = made(recipe, "answer")
    assert [m["content"] for m in row["messages"]] == ["Is it sour?", "That is sour, of 1 messages, I would say."]
    assert row["cut"] == "answer.boilerplate at exchange 2 of 3"
    assert [note["turn"] for note in row["generated"]] == [1]


def test_an_answer_in_the_language_that_the_source_answered_in_is_kept(tmp_path: Path) -> None:
    german = "Es regnet, weil die Luft sich abkühlt."
    with LoopbackChat(rules=lambda messages, seed: "Weil die Luft sich abkühlt, fallen die Tropfen.") as server:
        recipe = answered(tmp_path, server, "own", chat_row("Say in German why it rains.", german))
    assert len(made(recipe, "answer")) == 1


def test_the_same_bytes_whatever_concurrency_and_weather(tmp_path: Path) -> None:
    rows = [chat_row(f"Is {n} odd?", "Yes.", f"And {n + 1}?", "No.", index=n) for n in range(60)]
    storm = at_random({"429": 0.1, "500": 0.2, "truncated": 0.1, "no-message": 0.1, "cut": 0.1}, most=2)
    found = []
    for number, (concurrency, plan) in enumerate([(1, None), (64, storm)]):
        with LoopbackChat(rules=numbered) as server:
            server.plan = plan or server.plan
            recipe = asking_recipe(
                tmp_path / str(number), server, answer={"llm": "m", "how": "own"},
                llm={"concurrency": concurrency, "attempts": 6},
            )  # fmt: skip
            table = pa.Table.from_pylist([{"language": "en", **row} for row in rows], schema=ROW)
            do("answer", recipe, {"filter/s-00000.parquet": table})
            assert server.answered.total() == 120
            found.append((recipe.run_path / "answer" / "s-00000.parquet").read_bytes())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "Answers are as they were in the source."),
        (
            {"rewrite": {"llm": "m"}, "answer": {"llm": "m", "how": "spoken"}},
            "Prompts that could not be said as they stood were put in words by `m`. Answers were made short, plain and "
            "readable aloud by `m`. The column `generated` has of each what stood there before, and the "
            "model's own name.",
        ),
        ({"answer": {"llm": "m", "how": "own"}}, "Every answer was written anew by `m`. The column"),
        (
            {"noise": {"rows": 3, "refusals": {"llm": "m"}}},
            "Answers are as they were in the source. Replies to what nobody can understand were written by `m`.",
        ),
    ],
)
def test_the_card_says_what_models_wrote(tmp_path: Path, asked: dict, said: str) -> None:
    assert written(asking_recipe(tmp_path, LoopbackChat(), **asked)).startswith(said)


def test_how_a_model_is_asked_is_no_part_of_the_card(tmp_path: Path) -> None:
    """So that the card, too, has the same bytes whatever the concurrency."""
    how = {"concurrency": 3, "timeout_s": 5.0, "most_requests": 9, "price_per_million_tokens": (1.0, 2.0)}
    plain, other, warmer = (
        asking_recipe(tmp_path, LoopbackChat(), llm=llm, answer={"llm": "m", "how": "own"})
        for llm in ({}, how, {"temperature": 0.9})
    )
    card = BY_KEY["export.card"].options
    assert card(plain) == card(other) != card(warmer)
    assert published_recipe(plain, models=False) == published_recipe(other, models=False)


def command_recipe(folder: Path, rewriter: LoopbackChat, answerer: LoopbackChat, concurrency: int = 4) -> Path:
    """Write a recipe for the command: one model rewrites prompts, another all answers, a request at a time."""
    folder.mkdir(parents=True)
    many, one = ({"base_url": server.base_url, "model": "m", **QUICK} for server in (rewriter, answerer))
    llms = {"many": {**many, "concurrency": concurrency}, "one": {**one, "concurrency": 1}}
    asked = {"rewrite": {"llm": "many"}, "answer": {"llm": "one", "how": "spoken"}}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_of(run_dir=str(folder / "run"), llms=llms, **asked)))
    return path


def asked_content(path: Path) -> dict[str, str]:
    """Return digests of all that the two passes left, but costs."""
    return {
        name: digest
        for name, digest in content(path.parent / "run").items()
        if name.split("/")[0] in ("rewrite", "answer")
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the plain loop makes of the commands' recipe."""
    with LoopbackChat(latency_s=0.01) as server:
        path = command_recipe(tmp_path_factory.mktemp("undisturbed") / "plain", server, server)
        assert_done(speechmill("answer", path, "--workers", "0"))
        assert server.most_at_once == 4
    found = asked_content(path)
    assert len(found) >= 40  # shards, rejects, records
    return found


@pytest.mark.long
def test_workers_make_the_same_bytes_and_together_keep_each_limit(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    """Of a model that answers one request at a time, one worker of the two asks."""
    with LoopbackChat(latency_s=0.5) as rewriter, LoopbackChat(latency_s=0.02) as answerer:
        path = command_recipe(tmp_path / "recipe", rewriter, answerer)
        assert_done(speechmill("answer", path, "--workers", "2"))
        assert (rewriter.most_at_once, answerer.most_at_once) == (4, 1)
    assert asked_content(path) == undisturbed


def test_a_killed_command_goes_on_and_asks_nothing_again_that_was_answered(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    with LoopbackChat(latency_s=0.02) as server:
        path = command_recipe(tmp_path / "killed", server, server)
        process = subprocess.Popen(command("answer", path, "--workers", "0"), cwd=ROOT, stdout=subprocess.DEVNULL)
        while process.poll() is None and server.answered.total() < 70:
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert_done(speechmill("answer", path, "--workers", "0"))
        asked = Counter((body["messages"][-1]["content"], body["seed"]) for body in server.bodies)
    assert 0 <= asked.total() - len(asked) <= 1  # what was under way at the kill, of one at a time
    assert asked_content(path) == undisturbed
