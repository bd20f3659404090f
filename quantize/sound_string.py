"""Sound ids as text, spelled as Ichigo does: `<|sound_start|><|sound_0042|>...<|sound_end|>`.

Source: homebrewltd/ichigo `synthetic_data` (the strings its datasets and its tokenizer's added
tokens use).
"""

import re
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

START = "<|sound_start|>"
END = "<|sound_end|>"
TOKEN_LENGTH = len("<|sound_0000|>")
MOST_CODES = 10_000  # what four digits can say: for strings of a tokenizer whose size is not known

SOUND_PATTERN = re.compile(r"<\|sound_start\|>(?:(?:<\|duration_[0-9]{2}\|>)?<\|sound_[0-9]{4}\|>)*<\|sound_end\|>")


def format_sound(ids: Iterable[int], n_codes: int = 512) -> str:
    """Write ids 0 .. n_codes-1 as one string. Raises ValueError that names the first id outside and its position."""
    return START + "".join(sound_tokens(ids, n_codes)) + END


def parse_sound(text: str, n_codes: int = 512) -> list[int]:
    """Read one string of `format_sound` back. Raises ValueError with the place for anything that it would not write."""
    first, last = inner_span(text)
    id_of = token_ids(n_codes)
    places = range(first, last, TOKEN_LENGTH)
    try:
        return [id_of[text[place : place + TOKEN_LENGTH]] for place in places]
    except KeyError as error:
        position, place = next((i, p) for i, p in enumerate(places) if text[p : p + TOKEN_LENGTH] not in id_of)
        found = text[place : min(place + TOKEN_LENGTH, last)]
        raise ValueError(
            f"sound token {position} (character {place}) is {found!r}, not one of {spellings(n_codes)}"
        ) from error


def find_sounds(text: str) -> list[str]:
    """Return every sound string inside a longer text, in order; `parse_sound` (or `parse_runs`) reads each."""
    return SOUND_PATTERN.findall(text)


def sound_tokens(ids: Iterable[int], n_codes: int) -> list[str]:
    """Return the token of each id. Raises ValueError that names the first id outside and its position."""
    values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    text_of, _ = _tables(n_codes)
    try:
        return [text_of[value] for value in values]
    except KeyError as error:
        position = next(i for i, value in enumerate(values) if value not in text_of)
        raise ValueError(f"sound id {values[position]!r} at position {position} is not in 0..{n_codes - 1}") from error


def token_ids(n_codes: int) -> dict[str, int]:
    """Return the id of each token, to look up and not to change."""
    return _tables(n_codes)[1]


def inner_span(text: str) -> tuple[int, int]:
    """Return where the tokens of a sound string begin and end. Raises ValueError where its ends are not there."""
    if not text.startswith(START):
        raise ValueError(f"no {START} at the beginning, but {text[: len(START)]!r}")
    if not text.endswith(END):
        raise ValueError(f"no {END} at the end, but {text[-len(END) :]!r}")
    return len(START), len(text) - len(END)


def spellings(n_codes: int) -> str:
    """Return the first and the last token, as errors name them."""
    return f"<|sound_0000|> to <|sound_{n_codes - 1:04d}|>"


@lru_cache(maxsize=8)
def _tables(n_codes: int) -> tuple[dict[int, str], dict[str, int]]:
    """Both directions as dicts: an id or a token outside is a KeyError, and a look-up is the fastest there is."""
    if not 0 < n_codes <= MOST_CODES:
        raise ValueError(f"n_codes must be in 1..{MOST_CODES} (four digits), not {n_codes}")
    text_of = {value: f"<|sound_{value:04d}|>" for value in range(n_codes)}
    return text_of, {text: value for value, text in text_of.items()}
