"""rewrite: every row goes on; what words can mend is mended, scored anew and noted, and the rest is as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from answers.templates import find_request
from filters.speakable import RULES as KINDS
from pipelines.answer_options import PROBLEMS
from pipelines.errors import RunError, UserError
from pipelines.recipe import Recipe
from pipelines.row import Row
from pipelines.steps.rewrite import PASS, judged, single_row_rules
from tests.answers.loopback_chat import QUICK, LoopbackChat, Messages, at_random
from tests.conftest import assert_done, recipe_of, speechmill, write_recipe
from tests.pipelines.llm_runs import asking_recipe, chat_row, do, made, scored

LIST = "Sort these by size:\n- pears\n- apples\n- 12 plums"
LIST_SAID = "Sort these by size: pears, apples and twelve plums."
URL = "Summarise https://example.org/page for me"
PLAIN = "What is the tallest mountain of Peru?"
RULES = [
    "private", "speakable", {"length": {"below": 64}}, {"language": {"above": 0.8}}, "duplicate",
]  # fmt: skip


def quoted(messages: Messages) -> str:
    found = re.search(r"^-{10}\n(.*?)\n-{10}$", messages[-1]["content"], re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def mender(**said: str) -> LoopbackChat:
    """A server that puts lists in words, and what `said` names (by its first word) as told; else it says it again."""

    def rules(messages: Messages, seed: int) -> str:
        text = quoted(messages)
        first = text.partition(" ")[0]
        if first in said:
            return said[first].replace("SEED", str(seed))
        head, *items = text.splitlines()
        return f"{head} {', '.join(item.removeprefix('- ') for item in items)}." if items else text

    return LoopbackChat(rules=rules)


def recipe_with(folder: Path, server: LoopbackChat, **rewrite: object) -> Recipe:
    chats = rewrite.pop("chats", {})
    return asking_recipe(folder, server, rewrite={"llm": "m", **rewrite}, filter={"rules": RULES}, chats=chats)


def rewritten(folder: Path, server: LoopbackChat, *rows: Row, **rewrite: object) -> tuple[list[Row], dict, Recipe]:
    recipe = recipe_with(folder, server, **rewrite)
    outcome = do("rewrite", recipe, {"score/s-00000.parquet": scored(recipe, rows)})
    assert (outcome.counts.rows_in, outcome.counts.rows_kept) == (len(rows), len(rows))
    return made(recipe, "rewrite"), dict(outcome.facts["rewritten"]), recipe


def test_what_words_can_mend_is_mended_scored_and_noted_and_the_rest_stays(tmp_path: Path) -> None:
    rows = [chat_row(text, "An answer.", index=n) for n, text in enumerate([PLAIN, LIST, URL])]
    with mender() as server:
        after, yields, recipe = rewritten(tmp_path, server, *rows)
        assert server.requests.total() == 1
    before = scored(recipe, rows).to_pylist()
    assert (after[0], after[2]) == (before[0], before[2])
    row = after[1]
    assert row["messages"][0]["content"] == LIST_SAID.replace("and twelve", "12").replace("apples 12", "apples, 12")
    assert row["messages"][1] == rows[1]["messages"][1]
    assert row["id"] == rows[1]["id"]
    (note,) = row["generated"]
    assert note["original"] == LIST
    assert (note["turn"], note["task"], note["model"], note["tries"]) == (0, "rewrite", "loopback-1", 1)
    assert note["template"].startswith("rewrite-1@")
    assert note["prompt_tokens"] > 50 and note["completion_tokens"] > 5
    fresh = scored(recipe, [{**row, "generated": None}]).to_pylist()[0]
    assert {**row, "generated": None} == fresh  # all scores are those of the new text
    assert yields == {"speakable:list": {"tried": 1, "rewritten": 1, "passed": 1}}


def test_what_is_still_rejected_is_asked_for_again_and_then_stays_as_it_was(tmp_path: Path) -> None:
    long = chat_row("Explain " + "the long and winding history of the river " * 9 + ".", "Yes.")
    with mender(Explain="Explain " + "the long and winding history of the river " * 8 + "SEED.") as server:
        after, yields, recipe = rewritten(tmp_path, server, long)
        assert server.requests.total() == recipe.llms["m"].tries == 4  # it is 66 tokens, each time
        assert "in one go; say it in at most 48 words\n" in server.bodies[0]["messages"][-1]["content"]
    assert after == scored(recipe, [long]).to_pylist()
    assert yields == {"length": {"tried": 1, "rewritten": 1, "passed": 0}}


def test_a_rewrite_that_says_something_else_is_none(tmp_path: Path) -> None:
    with mender(Sort="Sort the fruit by size, pears and apples and plums.") as server:
        after, yields, recipe = rewritten(tmp_path, server, chat_row(LIST, "Yes."))
    assert after == scored(recipe, [chat_row(LIST, "Yes.")]).to_pylist()  # 12 is lost
    assert yields == {"speakable:list": {"tried": 1, "rewritten": 0, "passed": 0}}


@pytest.mark.parametrize(
    "text", [PLAIN, URL, "Wie hoch ist der höchste Berg?\n- in Metern\n- in Fuß", "Call 555-867-5309\n- a\n- b"]
)
def test_what_words_cannot_mend_is_not_asked_for(tmp_path: Path, text: str) -> None:
    with mender() as server:
        _, yields, _ = rewritten(tmp_path, server, chat_row(text, "Yes."))
        assert (server.requests.total(), yields) == (0, {})


def test_what_is_wrong_can_be_told_of_each_kind_of_speakable() -> None:
    assert [reason for reason in PROBLEMS if ":" in reason] == [f"speakable:{kind}" for kind in KINDS]


def test_a_step_that_the_recipe_does_not_have_is_told(tmp_path: Path) -> None:
    result = speechmill("rewrite", write_recipe(tmp_path), "--workers", "0")
    assert result.returncode == 2
    assert "the recipe has no rewrite: `speechmill steps rewrite` says what it takes" in result.stderr


def test_only_named_kinds_are_asked_for(tmp_path: Path) -> None:
    with mender() as server:
        _, yields, _ = rewritten(tmp_path, server, chat_row(LIST, "Yes."), kinds=["speakable:markup"])
        assert (server.requests.total(), yields) == (0, {})


def test_in_a_chat_only_the_turns_that_fail_are_rewritten(tmp_path: Path) -> None:
    chat = chat_row(PLAIN, "Huascarán.", LIST, "Plums first.", "And **now** the *other* way round?", "Pears first.")
    with mender(And="And now the other way round?") as server:
        ((row,), yields, _) = rewritten(tmp_path, server, chat)
        assert server.requests.total() == 2
    kept = [0, 1, 3, 5]
    assert [row["messages"][n] for n in kept] == [chat["messages"][n] for n in kept]
    assert row["messages"][4]["content"] == "And now the other way round?"
    assert [(note["turn"], note["original"]) for note in row["generated"]] == [
        (n, chat["messages"][n]["content"]) for n in (2, 4)
    ]
    assert {k: v["passed"] for k, v in yields.items()} == {"speakable:list": 1, "speakable:markup": 1}


@pytest.mark.parametrize("failed_turn", ["reject", "shorten"])
def test_a_later_turn_that_words_cannot_mend_spoils_the_chat_unless_chats_may_end_before_it(
    tmp_path: Path, failed_turn: str
) -> None:
    chat = chat_row(LIST, "Plums first.", URL, "No.")
    with mender() as server:
        ((row,), yields, _) = rewritten(tmp_path, server, chat, chats={"failed_turn": failed_turn})
    mends = failed_turn == "shorten"
    assert (row["generated"] is not None) is mends
    assert (row["messages"][0]["content"] != LIST) is mends
    assert row["messages"][2]["content"] == URL
    assert yields["speakable:list"] == {"tried": 1, "rewritten": 1, "passed": int(mends)}


def some_rows(count: int) -> list[Row]:
    """Return rows of which each third has a list, and some of these an URL as well."""
    rows = []
    for n in range(count):
        text = f"Name the {n} largest rivers" + ("\n- by length\n- by depth" if n % 3 == 0 else " of the world.")
        rows.append(chat_row(text + (" http://x.org" if n % 9 == 0 else ""), f"Answer {n}.", index=n))
    return rows


def test_the_same_bytes_whatever_concurrency_and_weather_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    rows = some_rows(120)
    digests, asked = [], []
    storm = at_random({"429": 0.1, "500": 0.2, "truncated": 0.1, "empty-choices": 0.1, "cut": 0.1}, most=2)
    for number, (concurrency, plan) in enumerate([(1, None), (64, None), (64, storm)]):
        server = mender()
        if plan:
            server.plan = plan
        with server:
            recipe = asking_recipe(
                tmp_path / str(number), server, rewrite={"llm": "m"}, filter={"rules": RULES},
                llm={"concurrency": concurrency, "attempts": 6},
            )  # fmt: skip
            outcome = do("rewrite", recipe, {"score/s-00000.parquet": scored(recipe, rows)})
            digests.append((recipe.run_path / "rewrite" / "s-00000.parquet").read_bytes())
            asked.append(server.answered.total())
            yields = outcome.facts["rewritten"]
            do("rewrite", recipe, {"score/s-00000.parquet": scored(recipe, rows)})
            assert server.answered.total() == asked[-1]  # another start asks nothing again
    assert digests[0] == digests[1] == digests[2]
    after = made(recipe, "rewrite")
    changed = [row for row in after if row["generated"]]
    passed = sum(counts["passed"] for counts in yields.values())
    assert len(changed) == passed == sum(counts["tried"] for counts in yields.values()) == 26  # 40 lists, 14 with URLs
    table = pq.read_table(recipe.run_path / "rewrite" / "s-00000.parquet")
    still = [reject for reject in judged(table, single_row_rules(recipe)) if reject]
    assert len(still) == 14 and all("url" in reject for reject in still)


def test_a_server_that_refuses_the_model_stops_the_run_with_its_name(tmp_path: Path) -> None:
    with mender() as server:
        recipe = asking_recipe(
            tmp_path, server, rewrite={"llm": "m"}, filter={"rules": RULES}, llm={"model": "mistyped"}
        )
        with pytest.raises(RunError, match=r"llms\.m: .*mistyped"):
            do("rewrite", recipe, {"score/s-00000.parquet": scored(recipe, [chat_row(LIST, "Yes.")])})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rewrite": {"llm": "n"}}, r"rewrite\.llm: there is no 'n' in llms; did you mean|valid: m"),
        ({"rewrite": {"llm": "m", "kinds": ["speakable:lists"]}}, "did you mean speakable:list"),
        ({"rewrite": {"llm": "m", "kinds": ["language"]}}, "kind 'language' is unknown"),
        ({"rewrite": {"llm": "m", "template": "rewrite-9"}}, "there is no template 'rewrite-9'; bundled: "),
        ({"rewrite": {"llm": "m", "template": "spoken-1"}}, "is no variable of it; it is given text, problem"),
        ({"answer": {"llm": "m", "how": "own", "template": "spoken-1"}}, "how: own asks the prompts themselves"),
        ({"answer": {"llm": "m", "how": "mend", "system": "Be kind."}}, "how: mend asks by its template"),
        (
            {"answer": {"llm": "m", "how": "mend"}, "filter": {"rules": ["answer"]}},
            "mend never sees the answers that filter.rules.answer rejects before it: set its boilerplate to false",
        ),
        (
            {"answer": {"llm": "m", "how": "spoken"}, "filter": {"rules": [{"answer": {"speakable": True}}]}},
            "set its speakable to false",
        ),
        ({"answer": {"llm": "m", "how": "own"}, "filter": {"rules": ["answer"]}}, "drop filter.rules.answer"),
    ],
)
def test_a_wrong_recipe_is_told_before_anything_is_asked(tmp_path: Path, changes: dict, told: str) -> None:
    with pytest.raises(UserError, match=told):
        asking_recipe(tmp_path, LoopbackChat(), **changes)


def test_a_changed_template_or_model_does_the_pass_again_and_another_address_does_not(tmp_path: Path) -> None:
    mine = tmp_path / "mine-1.j2"
    mine.write_text("{% block user %}{{ text }}{% endblock %}")
    here, there = LoopbackChat(port=1), LoopbackChat(port=2)
    same = PASS.options(recipe_with(tmp_path, here))
    assert PASS.options(recipe_with(tmp_path, there)) == same
    own = PASS.options(recipe_with(tmp_path, here, template=str(mine)))
    assert own != same
    mine.write_text("{% block user %}Say: {{ text }}{% endblock %}")
    find_request.cache_clear()  # as in another process
    assert PASS.options(recipe_with(tmp_path, here, template=str(mine))) != own


def test_other_words_do_not_hide_a_benchmark_s_question(tmp_path: Path) -> None:
    asked = "Which of these fruits ripens first in the valleys of northern Peru?\n- pears\n- apples\n- plums"
    for name, texts in {"mine": [asked, LIST, PLAIN], "bench": [asked]}.items():
        lines = [json.dumps({"prompt": text, "answer": "Yes."}) for text in texts]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    said = (
        "Tell me what ripens earliest up north in Peru, among pears or apples or plums, of the fruits in these valleys."
    )
    rule = {"benchmark": {"benchmarks": [{"name": "bench", "path": "bench.jsonl"}]}}
    with mender(Which=said) as server:
        raw = recipe_of(
            root=str(tmp_path), run_dir=str(tmp_path / "run"),
            rewrite={"llm": "m"}, filter={"rules": ["speakable", rule]},
            llms={"m": {"base_url": server.base_url, "model": "m", **QUICK}},
            sources=[{"name": "mine", "path": "mine.jsonl"}],
        )  # fmt: skip
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw))
        assert_done(speechmill("filter", tmp_path / "recipe.yaml", "--workers", "0"))
    shard = tmp_path / "run" / "filter" / "rejects" / "mine-00000.parquet"
    (row,) = pq.read_table(shard).to_pylist()
    assert row["messages"][0]["content"] == said and row["generated"][0]["original"] == asked
    assert row["reject"].startswith("filter.benchmark:bench")
