"""The options of language models behind servers; looking at them loads no client.

What any server's options share is checked here too: `tts.openai_speech_options` says the same of its server.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from answers.asking import AskingError

MOST_CONNECTIONS = 1000  # of the client: more would wait inside it, and fail by its timeout

CHANGES = ("model", "temperature", "top_p", "max_tokens", "seed", "extra", "tries")
"""Options that change what a model answers. The others say where it is and how it is asked."""

_OURS = ("model", "messages", "temperature", "top_p", "max_tokens", "seed", "n", "stream")


@dataclass(frozen=True)
class LlmOptions:
    """Which model to ask, how to sample from it, and how much of it to ask for.

    base_url:    up to and with `/v1`; no user, password or query in it
    model:       as the server knows it
    api_key_env: name of the environment variable that holds the key; None where the server wants none
    temperature: of sampling; 0 takes the likeliest token, and then another try asks for the same
    top_p:       share of the likeliest tokens that are sampled from
    max_tokens:  of one answer; one that needs more is cut off, and asked for again
    seed:        of the first try of every question; the next tries ask with the next seeds
    extra:       further fields of the body, such as top_k, repetition_penalty or chat_template_kwargs
    concurrency: requests under way at once, of all workers together
    timeout_s:   for one whole answer
    attempts:    how often a question may be answered badly, or not, by its own fault
    patience_s:  how long the server may answer nobody before the run stops
    pauses_s:    first and longest back-off, before its jitter; a Retry-After that is longer holds
    tries:       how often a question is asked, each time with another seed, until its answer passes the checks
    most_requests: ceiling of the run: requests, those that failed among them; None: no ceiling
    most_tokens:   ceiling of the run: tokens, of prompts and of answers; None: no ceiling
    price_per_million_tokens: of prompts and of answers, for `usage`
    """

    base_url: str
    model: str
    api_key_env: str | None = None
    temperature: float = 0.7
    top_p: float = 0.8
    max_tokens: int = 512
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 64
    timeout_s: float = 120.0
    attempts: int = 6
    patience_s: float = 300.0
    pauses_s: tuple[float, float] = (0.5, 30.0)
    tries: int = 4
    most_requests: int | None = None
    most_tokens: int | None = None
    price_per_million_tokens: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Raise ValueError that names all that is wrong."""
        last_seed = 2**31 - self.tries
        wrong = [
            (self.temperature < 0, f"temperature must be 0 or more, not {self.temperature:g}"),
            (not 0 < self.top_p <= 1, f"top_p must be above 0 and at most 1, not {self.top_p:g}"),
            (not 0 <= self.seed <= last_seed, f"seed must be from 0 to {last_seed}, not {self.seed}"),
            (min(self.price_per_million_tokens) < 0, f"price_per_million_tokens {self.price_per_million_tokens} < 0"),
            *((name in self.extra, f"extra.{name}: set by the other options") for name in _OURS),
        ]
        check_server(
            *(self.base_url, self.model, self.extra, self.concurrency, self.attempts, self.pauses_s),
            positive={
                name: getattr(self, name)
                for name in ("max_tokens", "timeout_s", "patience_s", "tries", "most_requests", "most_tokens")
            },
            wrong=wrong,
        )

    def read_key(self) -> str:
        """Return the key that the environment holds, "" where none is wanted. Raises AskingError."""
        return read_key(self.api_key_env)


def check_server(
    base_url: str,
    model: str,
    extra: Mapping[str, Any],
    concurrency: int,
    attempts: int,
    pauses_s: tuple[float, float],
    positive: Mapping[str, float | None],
    wrong: list[tuple[bool, str]],
) -> None:
    """Raise ValueError that names all that is wrong with a server's options.

    positive: options that must be above 0 unless they are None
    wrong:    what the caller has found: whether it is wrong, and the message
    """
    url = urlsplit(base_url)
    if "@" in url.netloc or url.query or url.fragment:  # alone, so that no other message repeats it
        raise ValueError("base_url holds a user, password or query: name a variable in api_key_env instead")
    found = [
        *(
            (_is_key(name), f"extra.{name}: recipes are kept and published; name a variable in api_key_env")
            for name in extra
        ),
        (url.scheme not in ("http", "https") or not url.hostname, f"base_url {base_url!r} is no http(s) address"),
        (not model, "model is empty"),
        *wrong,
        (attempts < 2, f"attempts must be 2 or more, not {attempts}: one failure is nobody's fault"),
        (not 0 < pauses_s[0] <= pauses_s[1], f"pauses_s {pauses_s} must grow, from above 0"),
        (concurrency > MOST_CONNECTIONS, f"concurrency {concurrency} is above {MOST_CONNECTIONS}"),
        *(
            (value is not None and value <= 0, f"{name} must be positive, not {value}")
            for name, value in {**positive, "concurrency": concurrency}.items()
        ),
    ]
    if messages := [message for is_wrong, message in found if is_wrong]:
        raise ValueError("; ".join(messages))
    try:
        json.dumps(dict(extra), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"extra is not JSON: {error}") from error


def _is_key(name: str) -> bool:
    """Tell whether a field of a body is named as a key would be."""
    return name.lower().replace("-", "_") in ("api_key", "apikey", "authorization", "access_token", "password")


def read_key(api_key_env: str | None) -> str:
    """Return the key that an environment variable holds, "" where no variable is named.

    Raises AskingError if it is missing, or cannot be sent: the client's own error would tell it.
    """
    if api_key_env is None:
        return ""
    key = os.environ.get(api_key_env, "").strip()
    if not key:
        raise AskingError(f"the environment variable {api_key_env} is empty: put the server's key there")
    if not (key.isascii() and key.isprintable()):
        raise AskingError(f"the environment variable {api_key_env} holds characters that no header can")
    return key
