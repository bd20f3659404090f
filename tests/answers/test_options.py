"""The options of language models: all that is wrong is named, before anything is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from answers.asking import AskingError
from answers.options import LlmOptions

URL = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_url": "127.0.0.1:8000"}, "base_url '127.0.0.1:8000' is no http"),
        ({"model": ""}, "model is empty"),
        ({"temperature": -0.1}, "temperature must be 0 or more, not -0.1"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"top_p": 1.5}, "top_p must be above 0"),
        ({"max_tokens": 0}, "max_tokens must be positive, not 0"),
        ({"seed": -1}, "seed must be from 0 to"),
        ({"seed": 2**31 - 1}, "seed must be from 0 to"),  # the tries after the first need seeds too
        ({"extra": {"stream": True}}, "extra.stream: set by the other options"),
        ({"extra": {"messages": []}}, "extra.messages: set by the other options"),
        ({"extra": {"x": {1, 2}}}, "extra is not JSON"),
        ({"extra": {"API-key": "sk-1"}}, "extra.API-key: recipes are kept and published"),
        ({"concurrency": 0}, "concurrency must be positive, not 0"),
        ({"concurrency": 1001}, "concurrency 1001 is above 1000"),
        ({"timeout_s": 0}, "timeout_s must be positive"),
        ({"attempts": 1}, "attempts must be 2 or more, not 1"),
        ({"patience_s": -5}, "patience_s must be positive, not -5"),
        ({"pauses_s": (2.0, 1.0)}, "pauses_s"),
        ({"tries": 0}, "tries must be positive, not 0"),
        ({"most_requests": 0}, "most_requests must be positive, not 0"),
        ({"most_tokens": -1}, "most_tokens must be positive, not -1"),
        ({"price_per_million_tokens": (0.1, -1.0)}, "price_per_million_tokens"),
    ],
)
def test_a_wrong_option_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LlmOptions(**{"base_url": URL, "model": "qwen", **changes})


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"model is empty; .*tries must be positive") as error:
        LlmOptions(URL, "", tries=0, top_p=2, attempts=0)
    assert all(name in str(error.value) for name in ("model", "tries", "top_p", "attempts"))


@pytest.mark.parametrize("url", ["http://me:hunter2@127.0.0.1/v1", "http://127.0.0.1/v1?api_key=hunter2"])
def test_a_password_is_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="user, password or query") as error:
        LlmOptions(url, "")
    assert "hunter2" not in str(error.value)


def test_a_key_is_read_from_the_variable_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_KEY", " sk-1 \n")
    assert LlmOptions(URL, "qwen", api_key_env="LLM_KEY").read_key() == "sk-1"
    assert LlmOptions(URL, "qwen").read_key() == ""
    for value in ("", " ", "sk-ü", "sk\x01"):
        monkeypatch.setenv("LLM_KEY", value)
        with pytest.raises(AskingError, match=r"LLM_KEY (is empty|holds characters)") as error:
            LlmOptions(URL, "qwen", api_key_env="LLM_KEY").read_key()
        assert not value.strip() or value not in str(error.value)


@pytest.mark.parametrize("module", ["answers.options", "answers.llm"])
def test_looking_at_options_loads_no_client(module: str) -> None:
    script = f"import sys, {module}\nassert not {{'openai', 'distilabel', 'datasets'}} & set(sys.modules)"
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
