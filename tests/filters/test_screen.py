"""Cues are necessary: what the search of whole columns passes over, the rules would not have found."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from filters.private import find_private, private_data
from filters.screen import rows_with, utf8_column
from filters.speakable import LOOKS, RULES, find_unspeakable, unspeakable

ROOT = Path(__file__).parents[2]
SIGNS = list("aZ1 .,:;?!'\"`()[]{}<>|/\\@#$%^&*_-+=~\n\té漢😀→α²İſK\u200b\x1c\ud800")


def own_texts() -> list[str]:
    labels = (ROOT / "tests" / "data" / "labels.jsonl").read_text("utf-8").splitlines()
    examples = (ROOT / "examples" / "instructions.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in labels]
    return texts + [json.loads(line)["messages"][0]["content"] for line in examples]


def mutated(seed: int, n: int) -> list[str]:
    """Return own texts spliced, cut, with signs put in, in other cases: the odd places of every rule."""
    draw, texts = random.Random(seed), own_texts()
    result = []
    for _ in range(n):
        text = draw.choice(texts)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(text) + 1)
            match draw.randrange(5):
                case 0:
                    text = text[:at] + "".join(draw.choices(SIGNS, k=draw.randint(1, 6))) + text[at:]
                case 1:
                    other = draw.choice(texts)
                    text = text[:at] + other[: draw.randrange(len(other) + 1)] + text[at:]
                case 2:
                    text = text[:at] + text[at + draw.randint(1, 5) :]
                case 3:
                    text = draw.choice((str.upper, str.lower, str.swapcase))(text[:at]) + text[at:]
                case _:
                    text = text[at:] + draw.choice(("\n", " ", ":", "")) + text[:at]
        result.append(text)
    return result


@pytest.mark.parametrize("seed", [1, 2])
def test_a_column_gets_the_verdicts_of_its_texts(seed: int) -> None:
    texts = own_texts() + mutated(seed, 6000)
    assert find_unspeakable(texts) == [unspeakable(text) for text in texts]
    assert private_data(texts) == [find_private(text) for text in texts]


@pytest.mark.parametrize("kind", RULES)
def test_a_text_without_a_cue_holds_no_evidence(kind: str) -> None:
    texts = own_texts() + mutated(3, 4000)
    column = utf8_column(texts)
    cued = {row for _, cues in LOOKS[kind] for row in rows_with(column, cues)}
    assert 0 < len(cued) < len(texts)
    assert [text for row, text in enumerate(texts) if row not in cued and RULES[kind](text) is not None] == []
