import re
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quantize.sound_string import SOUND_PATTERN, find_sounds, format_sound, parse_sound

IDS = st.lists(st.integers(0, 511), max_size=40)
PIECES = [
    "<|sound_start|>",
    "<|sound_end|>",
    "<|sound_0000|>",
    "<|sound_0511|>",
    "<|sound_0512|>",
    "<|sound_42|>",
    " ",
    "٣",
]


def test_the_strings_are_ichigos() -> None:
    assert format_sound([42, 0, 511]) == "<|sound_start|><|sound_0042|><|sound_0000|><|sound_0511|><|sound_end|>"
    assert format_sound([]) == "<|sound_start|><|sound_end|>"
    assert format_sound(np.array([7], np.uint16)) == "<|sound_start|><|sound_0007|><|sound_end|>"


@given(IDS)
def test_what_was_written_is_read_back(ids: list[int]) -> None:
    assert parse_sound(format_sound(ids)) == ids


@given(
    st.one_of(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), st.text(max_size=60), IDS.map(format_sound))
)
@example("<|sound_start|><|sound_0001|><|sound_0002|><|sound_end|>")
def test_what_is_read_is_written_back_identically(text: str) -> None:
    try:
        ids = parse_sound(text)
    except ValueError:
        return
    assert format_sound(ids) == text


@given(IDS, st.data())
def test_one_damaged_character_is_refused_or_is_another_id(ids: list[int], data: st.DataObject) -> None:
    text = format_sound(ids)
    place = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:place] + data.draw(st.characters().filter(lambda c: c != text[place])) + text[place + 1 :]
    try:
        assert parse_sound(damaged) != ids
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no <|sound_start|> at the beginning, but ''"),
        ("<|sound_start|>", "no <|sound_end|> at the end"),
        ("<|sound_0001|><|sound_end|>", "no <|sound_start|> at the beginning"),
        ("<|sound_start|><|sound_end|>\n", "no <|sound_end|> at the end"),
        (
            "<|sound_start|><|sound_0001|><|sound_0512|><|sound_end|>",
            "sound token 1 (character 29) is '<|sound_0512|>', not one of <|sound_0000|> to <|sound_0511|>",
        ),
        (
            "<|sound_start|><|sound_0001|> <|sound_0002|><|sound_end|>",
            "sound token 1 (character 29) is ' <|sound_0002|'",
        ),
        ("<|sound_start|>abc<|sound_end|>", "sound token 0 (character 15) is 'abc'"),
        ("<|sound_start|><|sound_start|><|sound_end|>", "sound token 0 (character 15) is '<|sound_start|'"),
    ],
)
def test_a_wrong_string_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_sound(text)


@pytest.mark.parametrize("wrong", [512, -1, 70_000])
def test_an_id_outside_is_never_written(wrong: int) -> None:
    with pytest.raises(ValueError, match=rf"sound id {wrong} at position 2 is not in 0\.\.511"):
        format_sound([1, 2, wrong, 4])


def test_sounds_are_found_in_longer_text() -> None:
    first, second = format_sound([1, 2]), format_sound([])
    text = f"<|user|>{first}\nand {second}<|sound_start|><|sound_0001|> cut"
    assert find_sounds(text) == [first, second]
    assert SOUND_PATTERN.sub("X", text) == "<|user|>X\nand X<|sound_start|><|sound_0001|> cut"


def test_a_million_tokens_a_second_each_way() -> None:
    ids = np.random.default_rng(0).integers(0, 512, 500_000).tolist()

    def best(work: object) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            work()  # type: ignore[operator]
            times.append(time.perf_counter() - start)
        return min(times)

    text = format_sound(ids)
    assert best(lambda: format_sound(ids)) < 0.5
    assert best(lambda: parse_sound(text)) < 0.5
