import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quantize.run_lengths import LONGEST, duration_tokens, format_runs, parse_runs
from quantize.sound_string import MOST_CODES, find_sounds, format_sound

RUNS = st.lists(
    st.tuples(st.integers(0, 3) | st.integers(0, 511), st.integers(1, 9) | st.integers(1, 200)), max_size=12
)
IDS = RUNS.map(lambda runs: [value for value, count in runs for _ in range(count)])
LONGESTS = st.integers(2, 6) | st.integers(2, 99)
PIECES = [
    "<|sound_0000|>",
    "<|sound_0001|>",
    "<|sound_0512|>",
    "<|duration_01|>",
    "<|duration_02|>",
    "<|duration_03|>",
    "<|duration_3|>",
    "<|sound_start|>",
    "<|sound_end|>",
    " ",
]
INSIDE = st.lists(st.sampled_from(PIECES), max_size=7).map("".join)


def inside(text: str) -> str:
    return text.removeprefix("<|sound_start|>").removesuffix("<|sound_end|>")


def whole(text: str) -> str:
    return f"<|sound_start|>{text}<|sound_end|>"


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([], ""),
        ([7], "<|sound_0007|>"),
        ([194, 194], "<|duration_02|><|sound_0194|>"),
        ([1, 1, 1, 2, 1], "<|duration_03|><|sound_0001|><|sound_0002|><|sound_0001|>"),
        ([5] * 49, "<|duration_49|><|sound_0005|>"),
        ([5] * 50, "<|duration_49|><|sound_0005|><|sound_0005|>"),
        ([5] * 51, "<|duration_49|><|sound_0005|><|duration_02|><|sound_0005|>"),
        ([5] * 98, "<|duration_49|><|sound_0005|><|duration_49|><|sound_0005|>"),
    ],
)
def test_the_strings_are_ichigos(ids: list[int], text: str) -> None:
    assert format_runs(ids) == format_runs(np.array(ids, np.uint16)) == whole(text)
    assert parse_runs(whole(text)) == ids


@given(IDS, LONGESTS)
def test_what_was_written_is_read_back(ids: list[int], longest: int) -> None:
    assert parse_runs(format_runs(ids, longest=longest), longest=longest) == ids


@given(IDS, LONGESTS)
def test_each_piece_is_its_id_as_often_as_it_says(ids: list[int], longest: int) -> None:
    """As Ichigo's own reader does it: a duration, where there is one, repeats the token after it."""
    pieces = re.findall(r"(?:<\|duration_(\d\d)\|>)?(<\|sound_\d{4}\|>)", format_runs(ids, longest=longest))
    assert "".join(token * int(count or 1) for count, token in pieces) == inside(format_sound(ids))
    assert all(not count or 2 <= int(count) <= longest for count, _ in pieces)


@given(st.one_of(INSIDE.map(whole), INSIDE, st.text(max_size=60), IDS.map(lambda ids: format_runs(ids, longest=3))))
@example(whole("<|duration_03|><|sound_0001|><|sound_0001|>"))
@example(whole("<|sound_0001|><|sound_0001|>"))
def test_what_is_read_is_written_back_identically(text: str) -> None:
    try:
        ids = parse_runs(text, longest=3)
    except ValueError:
        return
    assert format_runs(ids, longest=3) == text


@given(IDS)
def test_without_repeats_it_is_the_plain_string(ids: list[int]) -> None:
    different = [value for place, value in enumerate(ids) if place == 0 or value != ids[place - 1]]
    assert format_runs(different) == format_sound(different)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<|sound_0001|>", "no <|sound_start|> at the beginning"),
        ("<|sound_start|><|duration_02|>", "no <|sound_end|> at the end"),
        (whole("<|duration_01|><|sound_0001|>"), "at character 15 is '<|duration_01|', not one of <|sound_0000|> to"),
        (whole("<|duration_50|><|sound_0001|>"), "at character 15 is '<|duration_50|', not one of <|sound_0000|> to"),
        (whole("<|duration_2|><|sound_0001|>"), "to <|sound_0511|> or <|duration_02|> to <|duration_49|>"),
        (whole("<|duration_02|>"), "at character 30 is '', not one of <|sound_0000|> to <|sound_0511|>"),
        (whole("<|duration_02|><|duration_02|><|sound_0001|>"), "at character 30 is '<|duration_02|', not one of"),
        (whole("<|sound_0001|><|sound_0512|>"), "at character 29 is '<|sound_0512|>', not one of"),
        (whole("<|sound_0001|><|sound_0001|>"), "<|sound_0001|> at character 29 goes on with the run before it"),
        (whole("<|duration_02|><|sound_0001|><|duration_03|><|sound_0001|>"), "<|sound_0001|> at character 59 goes on"),
        (whole("<|sound_0001|><|duration_49|><|sound_0001|>"), "<|sound_0001|> at character 44 goes on with the run"),
    ],
)
def test_a_wrong_string_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_runs(text)


def test_an_id_outside_is_never_written() -> None:
    with pytest.raises(ValueError, match=r"sound id 512 at position 2 is not in 0\.\.511"):
        format_runs([1, 1, 512])


def test_every_id_of_four_digits_can_be_written() -> None:
    ids = [0, 9999, 9999, 2560]
    assert parse_runs(format_runs(ids, MOST_CODES), MOST_CODES) == ids


@pytest.mark.parametrize("longest", [1, 0, 100])
def test_a_longest_run_that_two_digits_cannot_say_is_refused(longest: int) -> None:
    with pytest.raises(ValueError, match=f"must be in 2..99 .two digits., not {longest}"):
        format_runs([1], longest=longest)
    with pytest.raises(ValueError, match=f"not {longest}"):
        parse_runs(format_runs([]), longest=longest)


def test_the_durations_are_ichigos_48() -> None:
    assert (len(duration_tokens()), LONGEST) == (48, 49)
    assert (duration_tokens()[0], duration_tokens()[-1]) == ("<|duration_02|>", "<|duration_49|>")


def test_they_are_found_in_longer_text() -> None:
    text = format_runs([3] * 60)
    assert find_sounds(f"Listen: {text} and {format_sound([1])}<|duration_02|>") == [text, format_sound([1])]
