"""Answers: boilerplate and repetition, one at a time and in columns."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.answers import boilerplate, boilerplates, repeated_share, repeated_shares

TEXTS = st.lists(st.text(alphabet="abc AI.,'’\né", max_size=60), max_size=5)


@pytest.mark.parametrize(
    "answer",
    [
        "As an AI language model, I do not have feelings.",
        "I'm sorry, but I cannot assist with that request.",
        "The tallest is Everest. I hope this helps!",
        "As of my knowledge cutoff in 2021, it is Berlin.",
    ],
)
def test_boilerplate_is_found(answer: str) -> None:
    found = boilerplate(answer)
    assert found
    assert len(found) <= 60


@pytest.mark.parametrize(
    "answer",
    [
        "A language model predicts the next word.",
        "OpenAI published GPT-2 in 2019.",
        "I'm sorry for your loss.",
        "He said that he could not help her.",
    ],
)
def test_an_answer_about_these_things_is_kept(answer: str) -> None:
    assert boilerplate(answer) is None


def test_shares_are_of_the_answer() -> None:
    prompt = "Name the three largest cities of France and say how many people live there"
    assert repeated_share(prompt, prompt.upper() + "!") == 1
    assert repeated_share(prompt, "") == 0
    longer = prompt + " and then we will see what else there is to be said of all this"
    assert 0.4 < repeated_share(prompt, longer) < 0.6
    assert repeated_share(prompt, "Paris, Marseille and Lyon are the three largest by far.") == 0


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.data())
def test_columns_are_their_texts(answers: list[str], data: st.DataObject) -> None:
    some = st.sampled_from([*answers, "a b c a b c"])
    prompts = data.draw(st.lists(some, min_size=len(answers), max_size=len(answers)))
    assert boilerplates(answers) == [boilerplate(answer) for answer in answers]
    assert repeated_shares(prompts, answers) == [repeated_share(p, a) for p, a in zip(prompts, answers, strict=True)]
    assert all(0 <= share <= 1 for share in repeated_shares(prompts, answers))
