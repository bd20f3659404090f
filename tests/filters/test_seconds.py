"""Predicted seconds, against the engine that they foretell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.seconds import predict_seconds
from tts import ENGINES, Setup
from tts.engine import Delivery
from tts.spoken_form import spoken_form

EXAMPLES = Path(__file__).parents[2] / "examples" / "instructions.jsonl"


def test_the_error_is_small_on_prompts_that_were_not_fitted() -> None:
    rows = map(json.loads, EXAMPLES.read_text("utf-8").splitlines())
    prompts = [row["messages"][0]["content"] for row in rows if row["messages"][0]["content"].isascii()]
    prompts = [prompt for prompt in prompts if 10 < len(prompt) < 300][:120]
    engine = ENGINES["espeak"](Setup())
    voices = sorted(engine.voices)
    spoken = [
        len(engine.speak(spoken_form(prompt), Delivery(voices[i % len(voices)], 170, 50))) / engine.sample_rate_hz
        for i, prompt in enumerate(prompts)
    ]
    error = np.abs(np.array(predict_seconds(prompts)) / np.array(spoken) - 1)
    assert len(prompts) == 120
    assert error.mean() < 0.12


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=80), max_size=5))
def test_a_text_is_predicted_by_itself(texts: list[str]) -> None:
    together = predict_seconds(texts)
    assert together == [predict_seconds([text])[0] for text in texts]
    assert all(seconds >= 0 for seconds in together)
