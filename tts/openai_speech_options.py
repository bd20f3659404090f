"""The options of the engine `openai_speech`; looking at them loads neither the client nor an engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from answers.options import check_server, read_key

FORMATS = ("wav", "flac", "mp3", "opus", "pcm")  # aac is not read by libsndfile

# Letters and digits a second at speed 1. eSpeak at 175 words a minute: 13.0 in the median of 170 prompts, 6.8 to
# 16.6 in all English ones. Slower than 3 or faster than 25 is a wrong rate, a cut or runaway answer.
CHARACTERS_PER_SECOND = (3.0, 25.0)
_OURS = ("model", "input", "voice", "response_format", "speed")


@dataclass(frozen=True)
class OpenAISpeechOptions:
    """How to ask, and what to take for an answer.

    base_url:        up to and with `/v1`; no user, password or query in it
    model:           as the server knows it
    api_key_env:     name of the environment variable that holds the key; None where the server wants none
    response_format: wav, flac, mp3, opus or pcm
    server_rate_hz:  the rate of what the server sends: needed for pcm, which has no header; of other formats the
                     only rate that is taken, or None for any
    sample_rate_hz:  of the samples given back; others are resampled to it
    natural_wpm:     words a minute of the voices at speed 1: a delivery's rate_wpm / natural_wpm, rounded to
                     0.01, is the speed asked for
    speed:           lowest and highest speed that the server knows; None sends no speed, and the rate is the
                     server's own whatever the delivery says
    seed_field:      the body's field for the request's seed (of 31 bits), such as "seed"; None sends none
    concurrency:     requests under way at once, of each worker
    timeout_s:       for one whole answer
    attempts:        how often a text may be answered badly, or not, by its own fault
    patience_s:      how long the server may answer nobody before the run stops
    pauses_s:        first and longest back-off, before its jitter; a Retry-After that is longer holds
    characters_per_second: fewest and most letters and digits a second that are taken for speech at speed 1
    price_per_million_characters: for `usage`; the server's answer counts, good or bad
    extra:           further fields of the body, such as instructions, language or lang_code
    """

    base_url: str
    model: str
    api_key_env: str | None = None
    response_format: str = "wav"
    server_rate_hz: int | None = None
    sample_rate_hz: int = 24_000
    natural_wpm: int = 175
    speed: tuple[float, float] | None = (0.25, 4.0)
    seed_field: str | None = None
    concurrency: int = 16
    timeout_s: float = 120.0
    attempts: int = 6
    patience_s: float = 300.0
    pauses_s: tuple[float, float] = (0.5, 30.0)
    characters_per_second: tuple[float, float] = CHARACTERS_PER_SECOND
    price_per_million_characters: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError that names all that is wrong."""
        low, high = self.speed or (1.0, 1.0)
        slowest, fastest = self.characters_per_second
        wrong = [
            (self.response_format not in FORMATS, f"response_format {self.response_format!r} is none of {FORMATS}"),
            (self.response_format == "pcm" and not self.server_rate_hz, "pcm needs server_rate_hz, such as 24000"),
            (not 0 < low <= high, f"speed {self.speed} runs backwards or is not positive"),
            (not 0 < slowest < fastest, f"characters_per_second {self.characters_per_second} must grow, from above 0"),
            (self.seed_field in _OURS, f"seed_field {self.seed_field!r}: a field of another meaning"),
            (self.price_per_million_characters < 0, "price_per_million_characters is negative"),
            *((name in self.extra, f"extra.{name}: set by the engine") for name in (*_OURS, self.seed_field)),
        ]
        check_server(
            *(self.base_url, self.model, self.extra, self.concurrency, self.attempts, self.pauses_s),
            positive={
                name: getattr(self, name)
                for name in ("server_rate_hz", "sample_rate_hz", "natural_wpm", "timeout_s", "patience_s")
            },
            wrong=wrong,
        )

    def read_key(self) -> str:
        """Return the key that the environment holds, "" where none is wanted. Raises AskingError."""
        return read_key(self.api_key_env)
