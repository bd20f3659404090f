"""The verdict: on labels of our own writing, and as a law on any text."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.private import find_private
from filters.speakable import RULES, unspeakable

LABELS = [
    json.loads(line) for line in (Path(__file__).parents[1] / "data" / "labels.jsonl").read_text("utf-8").splitlines()
]
SPEAKABLE = [row["text"] for row in LABELS if row["reason"] is None]
REJECTED = [row for row in LABELS if row["reason"] is not None]
SIGNS = st.text(alphabet="aA1 .,:;?!'\"`()[]{}<>|/\\@#$%^&*_-+=~\n\té漢😀→α²", max_size=80)


def kind_of(text: str) -> str | None:
    """Return what the pipeline would reject a text for: private data is looked for first."""
    if find_private(text):
        return "private"
    verdict = unspeakable(text)
    return None if verdict is None else verdict.split(":")[0]


def test_labels_are_enough_and_cover_every_kind() -> None:
    assert len(LABELS) >= 600
    assert {row["reason"] for row in REJECTED} == {*RULES, "private"}


def test_precision_and_recall_of_speakable_are_at_least_95_percent() -> None:
    kept_right = sum(kind_of(text) is None for text in SPEAKABLE)
    kept_wrong = sum(kind_of(row["text"]) is None for row in REJECTED)
    assert kept_right / len(SPEAKABLE) >= 0.95
    assert kept_right / (kept_right + kept_wrong) >= 0.95


def test_the_reason_given_is_the_labelled_one_in_nine_of_ten() -> None:
    right = sum(kind_of(row["text"]) in {row["reason"], *row.get("kinds", ())} for row in REJECTED)
    assert right / len(REJECTED) >= 0.9


@pytest.mark.parametrize(("kind", "n"), [(k, 15) for k in RULES])
def test_each_kind_is_found_by_its_own_rule(kind: str, n: int) -> None:
    found = sum(RULES[kind](row["text"]) is not None for row in REJECTED if row["reason"] == kind)
    assert found >= n


@pytest.mark.parametrize(
    ("missing", "there"),
    [
        ("Translate this sentence into French.", "The cat sat on the mat. Translate this sentence into French."),
        ("Rewrite the sentence in the passive voice.", "Rewrite the sentence she ate the cake in the passive voice."),
        ("What is the theme of the poem?", "Write a poem about rain. What is the theme of the poem?"),
        ("Find the longest of the given words.", "Write a function that finds the longest of the given words."),
        ("Convert the text to uppercase.", "How do I convert the text to uppercase?"),
        ("Which of these is a mammal?", "Which of these is a mammal, a shark or a whale?"),
        ("Rewrite the following in your own words.", "What happened in the following years?"),
        ("In the figure, what is the angle at A?", "I drew a figure. In the figure, a cat sleeps."),
        ("What does line 12 print?", "How often does line 4 of the metro run?"),
        ("Which of the above is cheaper?", "Tea costs two dollars and milk one. Which of the above is cheaper?"),
        ("What is the output of this program?", "Write a C program. The output of the program should be a sum."),
        ("Given the article, who won?", "Given the sentence, 'She sings well', name the verb."),
    ],
)
def test_what_the_prompt_names_is_missing_unless_it_holds_it(missing: str, there: str) -> None:
    assert kind_of(missing) == "missing_context"
    assert kind_of(there) is None


@pytest.mark.parametrize(
    ("kind", "read_wrongly", "said"),
    [
        ("symbols", "What does the § sign mean?", "Is it fine at 20 ± 5 degrees in the Nike® shop?"),
        ("symbols", "I miss my dog <3", "Is 5 <3 or not?"),
        ("scaffold", "She put the book on the _ and left.", "What does the _ key do?"),
        ("scaffold", "The sky is ...... today", "Hmm.... let me think..... what would you do?"),
        ("scaffold", "<|user|> tell me about whales <|assistant|>", "Is a user an assistant?"),
        ("formula", "What is 9! / 7!?", "I turned 40! Is that old?"),
        ("formula", "When is |x + 2| equal to six?", "Is it yes | no?"),
        ("formula", "Reduce 12xy/4x to lowest terms.", "Is 50km/h or 250mg/5ml more, 24/7?"),
        ("formula", "Is 2NaOH + H2SO4 balanced?", "Does 2FA + SMS or vitamin D3 + K2 help?"),
        ("url", "What is in src/components?", "Is a red/green/blue lamp a win/win?"),
    ],
)
def test_signs_that_a_voice_would_read_wrongly_are_told_from_those_it_can_say(
    kind: str, read_wrongly: str, said: str
) -> None:
    assert kind_of(read_wrongly) == kind
    assert kind_of(said) is None


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=200), SIGNS))
def test_any_text_gets_one_well_formed_verdict(text: str) -> None:
    verdict = unspeakable(text)
    assert verdict == unspeakable(text)
    if verdict is not None:
        kind, _, evidence = verdict.partition(":")
        assert kind in RULES
        assert len(evidence) <= 40
        assert "\n" not in evidence


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["what", "is", "the", "red", "house", "of", "rain"]), min_size=1))
def test_plain_words_are_always_speakable(words: list[str]) -> None:
    assert unspeakable(" ".join(words)) is None


@pytest.mark.parametrize("unit", ["a", "1", " ", "(", "a.", "a/", "1,", "a_", '"', "|", "A "])
def test_a_megabyte_of_anything_ends_within_a_second(unit: str) -> None:
    start = time.process_time()
    unspeakable(unit * (1_000_000 // len(unit)))
    assert time.process_time() - start < 1


def test_what_stands_at_the_end_of_a_long_prompt_is_seen() -> None:
    assert unspeakable("red house " * 3_000 + "and then:") == "dangling::"
