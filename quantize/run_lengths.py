"""Sound ids as text with run lengths: `<|duration_07|><|sound_0042|>` is id 42 seven times in a row.

Source: Ichigo v0.5, whose tokenizer has `<|duration_02|>` to `<|duration_49|>`; each stands before its
sound token, and an id that stands once has none. Its maximum leaves longer runs open: here such a run
is as many full ones as go into it, then the rest, so that every sequence of ids has one spelling.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby

from quantize.sound_string import END, START, TOKEN_LENGTH, inner_span, sound_tokens, spellings, token_ids

LONGEST = 49
DURATION_LENGTH = len("<|duration_02|>")


def format_runs(ids: Iterable[int], n_codes: int = 512, longest: int = LONGEST) -> str:
    """Write ids 0 .. n_codes-1 as one string, runs of up to `longest` (2 to 99) as one token with its duration.

    Raises ValueError as `format_sound` does.
    """
    durations = duration_tokens(longest)
    parts = []
    for token, same in groupby(sound_tokens(ids, n_codes)):
        full, rest = divmod(sum(1 for _ in same), longest)
        parts += [durations[-1], token] * full
        if rest > 1:
            parts.append(durations[rest - 2])
        if rest:
            parts.append(token)
    return START + "".join(parts) + END


def parse_runs(text: str, n_codes: int = 512, longest: int = LONGEST) -> list[int]:
    """Read one string of `format_runs` back. Raises ValueError with the place for anything that it would not write."""
    place, last = inner_span(text)
    id_of, count_of = token_ids(n_codes), _counts(longest)
    ids: list[int] = []
    open_id = None  # of a run that could have been longer, so that the next is of another id
    while place < last:
        count = count_of.get(text[place : place + DURATION_LENGTH], 1)
        if count > 1:
            place += DURATION_LENGTH
        value = id_of.get(text[place : place + TOKEN_LENGTH])
        if value is None:
            found = text[place : min(place + TOKEN_LENGTH, last)]
            or_duration = "" if count > 1 else f" or <|duration_02|> to <|duration_{longest:02d}|>"
            raise ValueError(f"at character {place} is {found!r}, not one of {spellings(n_codes)}{or_duration}")
        if value == open_id:
            raise ValueError(
                f"<|sound_{value:04d}|> at character {place} goes on with the run before it: "
                f"up to {longest} of an id are written as one"
            )
        ids += [value] * count
        open_id = value if count < longest else None
        place += TOKEN_LENGTH
    return ids


@lru_cache(maxsize=8)
def duration_tokens(longest: int = LONGEST) -> tuple[str, ...]:
    """Return `<|duration_02|>` up to the longest. Raises ValueError where two digits cannot say it."""
    if not 2 <= longest <= 99:
        raise ValueError(f"the longest run must be in 2..99 (two digits), not {longest}")
    return tuple(f"<|duration_{count:02d}|>" for count in range(2, longest + 1))


@lru_cache(maxsize=8)
def _counts(longest: int) -> dict[str, int]:
    return {text: count for count, text in enumerate(duration_tokens(longest), start=2)}
