"""Markers, token counts and duplicate keys: tables and laws."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.duplicates import duplicate_key
from filters.length import count_tokens, encode, load_ranks
from filters.markers import strip_markers

PIECES = st.sampled_from(
    [
        "<|im_start|>",
        "<|im_",
        "end|>",
        "user",
        "<s>",
        "</s>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        " ",
        "USER: ",
        "ASSISTANT:",
        "### Human:",
        "### Response:",
        "\n",
        "rain",
        "<|eot_id|>",
        "<",
    ]
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "Hi"),
        ("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "Hi"),
        ("<s>[INST] <<SYS>> Be kind. <</SYS>> Hi [/INST] </s>", "Be kind.   Hi"),
        ("### Human: Hi ### Assistant:", "Hi"),
        ("### Instruction:\nSing\n\n### Response:", "Sing"),
        ("<start_of_turn>user\nHi<end_of_turn>", "Hi"),
        ("Hi<|endoftext|>", "Hi"),
        ("Is <s>old</s> new?", "Is <s>old</s> new?"),
        ("The USER: who is it?", "The USER: who is it?"),
        ("  plain text \n", "plain text"),
    ],
)
def test_markers_are_removed_and_text_is_not(raw: str, clean: str) -> None:
    assert strip_markers(raw) == clean


@settings(max_examples=300)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
def test_stripping_twice_changes_nothing_more(text: str) -> None:
    once = strip_markers(text)
    assert strip_markers(once) == once == once.strip()


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world", [15496, 995]),
        ("Hello, my dog is cute", [15496, 11, 616, 3290, 318, 13779]),
        ("", []),
        ("!", [0]),
    ],
)
def test_tokens_are_gpt2s(text: str, ids: list[int]) -> None:
    assert encode(text) == ids
    assert count_tokens([text]) == [len(ids)]


@given(st.lists(st.text(st.sampled_from("ab' \t\n\x0b\x1c\x85\u00a0\u30001.?é你\ud800")), max_size=8))
def test_a_column_counts_what_its_texts_hold(texts: list[str]) -> None:
    """Spaces of every kind beside each other are where parts of a text and its tokens could differ."""
    assert count_tokens(texts) == [len(encode(text)) for text in texts]


def test_the_vocabulary_is_whole() -> None:
    ranks = load_ranks()
    assert sorted(ranks.values()) == list(range(50_256))
    assert all(bytes([byte]) in ranks for byte in range(256))


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_tokens_give_the_text_back(text: str) -> None:
    token_of = {rank: token for token, rank in load_ranks().items()}
    assert b"".join(token_of[i] for i in encode(text)).decode() == text


@pytest.mark.parametrize("unit", ["a", " ", "漢", "ab1", "!"])
def test_a_megabyte_without_spaces_is_counted(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    assert 0 < count_tokens([text, "a b"])[0] <= 4 * len(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is  AI ?", "what is ai"),
        ("It’s late!", "its late"),
        ("“Hi”, he said…", "hi he said"),
        ("well-known", "well known"),
        ("1,000 dollars", "1000 dollars"),
        ("ｆｕｌｌ", "full"),
        ("a—b", "a b"),
    ],
)
def test_typing_differences_fold(one: str, other: str) -> None:
    assert duplicate_key(one) == duplicate_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("C#", "C"),
        ("C++", "C"),
        ("C++", "C#"),
        ("5", "-5"),
        ("1.5", "15"),
        ("3 + 4", "3 - 4"),
        ("3 + 4", "3 * 4"),
        ("$5", "5%"),
        ("5²", "52"),
        ("2*(3+4)", "2*3+4"),
        ("8:30", "830"),
        (".NET", "net"),
        ("😀", "😢"),
        ("résumé", "resume"),
        ("कल", "काल"),
    ],
)
def test_meaning_differences_do_not(one: str, other: str) -> None:
    assert duplicate_key(f"What is {one}?") != duplicate_key(f"What is {other}?")


@settings(max_examples=300)
@given(st.text())
def test_a_key_is_stable_and_blind_to_outer_space_and_case(text: str) -> None:
    key = duplicate_key(text)
    assert len(key) == 32
    assert int(key, 16) >= 0
    assert duplicate_key(f"  {text}\n") == key
