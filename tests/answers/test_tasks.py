"""What is asked for: refusals that vary and fit their sound, prompts and answers as tasks of distilabel, judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from answers.chat_model import ChatModel
from answers.refusal_requests import SITUATIONS, draw_refusal_request
from answers.reply import Reply
from answers.tasks import Own, Refusal, Rewording, Rewrite, unwrapped
from answers.templates import GIVEN, find_request
from noise import NOISE_KINDS
from noise.refusals import REFUSALS

KINDS = [*NOISE_KINDS, "ladder"]
PARAMETERS: dict[str, dict[str, Any]] = {
    "masked": {"snr_db": -22.3, "noise": "pink", "of": "a"},
    "babble": {"talkers": 9, "level_dbfs": -20.0},
    "fragment": {"seconds": 0.31, "at": "start"},
    "ladder": {"band_hz": 700.0},
    "white": {"level_dbfs": -20.0},
}


def request(row: int, kind: str, seed: int = 1) -> dict[str, Any]:
    return draw_refusal_request(seed, f"{row:032x}", {"kind": kind, **PARAMETERS.get(kind, {})})


@pytest.mark.parametrize("kind", KINDS)
def test_of_ten_thousand_requests_hardly_any_agree(kind: str) -> None:
    asked = find_request("refusal-1")
    chats = {tuple(m["content"] for m in asked.render(request(row, kind))) for row in range(10_000)}
    assert len(chats) >= 9_500


def test_a_request_is_the_row_s_own_and_the_run_s() -> None:
    assert request(7, "hum") == request(7, "hum")
    assert request(7, "hum") != request(8, "hum")
    assert request(7, "hum") != request(7, "hum", seed=2)


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_is_drawn_and_the_situation_fits_the_sound(kind: str) -> None:
    drawn = [request(row, kind) for row in range(2_000)]
    heard = {d["situation"].partition(" (")[0] for d in drawn}
    assert heard == set(SITUATIONS[kind])
    assert min(len({d[name] for d in drawn}) for name in GIVEN["refusal"]) > 4


def test_what_the_sound_was_made_with_is_said() -> None:
    def said(kind: str) -> str:
        return " ".join(request(row, kind)["situation"] for row in range(50))

    assert "22 decibels louder" in said("masked")
    assert "about 9 voices" in said("babble")
    assert "0.3 seconds" in said("fragment")
    assert "above 700 hertz" in said("ladder")
    assert "it is loud" in said("white") and "it is faint" not in said("white")


def test_a_kind_without_situations_of_its_own_is_asked_for_as_well() -> None:
    assert draw_refusal_request(1, "a", {"kind": "whale song"})["situation"]


def test_the_bank_answers_every_request() -> None:
    task = Refusal()
    for row, text in enumerate(REFUSALS):
        given = {**request(row, "pink"), "most_words": 70}
        assert task.format_output(f' "{text}"\n', given) == {"text": text, "flaw": None}
    assert [m["role"] for m in task.format_input(given)] == ["system", "user"]
    assert task.template == find_request("refusal-1").name


def test_a_reply_longer_than_its_request_asks_for_is_flawed() -> None:
    given = {**request(1, "pink"), "most_words": 8}
    assert (
        Refusal().format_output("I could not hear you at all. Please say it again.", given)["flaw"] == "length:11 words"
    )


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('"Sorry?"', "Sorry?"), ("“Sorry?”", "Sorry?"), ("'I didn't hear you.'", "I didn't hear you."),
        ("  Sorry?\n", "Sorry?"), ('"Yes" or "no"?', '"Yes" or "no"?'), ('He said "yes"', 'He said "yes"'),
        ("'tis so", "'tis so"), ('"', '"'), ("", ""), ("“Yes” and “no”", "“Yes” and “no”"),
    ],
)  # fmt: skip
def test_quotation_marks_around_all_of_it_go(written: str, text: str) -> None:
    assert unwrapped(written) == text


def test_a_rewrite_and_a_rewording_are_judged_by_what_they_came_from() -> None:
    rewrite = Rewrite()
    given = {"text": "Sort:\n- 2 pears\n- apples", "problem": "a list"}
    assert given["text"] in rewrite.format_input(given)[-1]["content"]
    assert rewrite.format_output("Sort two pears and apples.", given)["flaw"] is None
    assert rewrite.format_output("Sort pears and apples.", given)["flaw"] == "number:2"
    spoken = Rewording(how="spoken", file="spoken-1")
    before = [{"prompt": "Hi!", "answer": "Hello."}]
    asked = {"prompt": "Why does it rain?", "answer": "- Air cools", "before": before, "languages": ("en",)}
    assert "Hello." in spoken.format_input(asked)[-1]["content"]
    assert spoken.format_output("- Air\n- cools", asked)["flaw"] == "unspeakable:list:- A"
    assert spoken.format_output("Because the air cools.", asked)["flaw"] is None


def test_the_model_s_own_answer_is_asked_for_with_the_conversation_as_it_stands() -> None:
    chat = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Why?"},
    ]
    plain, briefed = Own(), Own(system="Be brief.")
    assert plain.format_input({"messages": chat}) == chat
    assert briefed.format_input({"messages": chat}) == [{"role": "system", "content": "Be brief."}, *chat]
    told = [{"role": "system", "content": "Be long."}, *chat]
    assert briefed.format_input({"messages": told}) == told  # the source's own stays
    assert plain.template == "own" and briefed.template.startswith("own@")
    assert plain.format_output("Why?", {"messages": chat, "languages": ("en",)})["flaw"] == "repeats_prompt"


def test_a_file_with_variables_of_another_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="problem is no variable of it"):
        Refusal(file="rewrite-1")
    mine = tmp_path / "short-1.j2"
    mine.write_text("{% block user %}Shorter: {{ text }}{% endblock %}")
    assert Rewrite(file=str(mine)).format_input({"text": "a", "problem": "b"}) == [
        {"role": "user", "content": "Shorter: a"}
    ]


def test_half_a_surrogate_pair_neither_ends_a_run_nor_gets_into_a_row() -> None:
    model = ChatModel(model="m", base_url="http://127.0.0.1", api_key="none")
    said = {"choices": [{"message": {"content": "It is \ud83d here."}, "finish_reason": "stop"}], "model": "\udc00"}
    reply = Reply.load(model._read(said)["reply"].dump())
    assert reply.text.startswith("It is \ufffd") and reply.model.startswith("\ufffd")
    asked = {"messages": [{"role": "user", "content": "Where?"}], "languages": ("en",)}
    assert Own().format_output(reply.text, asked)["flaw"] == "unwritable"
    whole = {"choices": [{"message": {"content": "Good \U0001f600"}}]}
    assert model._read(whole)["reply"].text == "Good \U0001f600"
