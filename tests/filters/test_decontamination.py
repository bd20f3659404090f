"""Benchmark prompts among training prompts: what must be found, what must not, and the laws.

`slow_hits` says the three rules again in plain Python, on words instead of hashes.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.decontamination import Index, Match, build_index, find_hits
from filters.duplicates import normalise

BAKERY = (
    "Olga runs a bakery near the old harbour. Every morning she bakes 48 rolls and 15 loaves of rye bread. "
    "She sells two thirds of the rolls before noon and gives the rest to the school across the street. "
    "How many rolls does the school get in a week of five days?"
)
LIBRARY = (
    "The town library keeps 1,200 books on the upper floor and half as many in the cellar. After the flood "
    "of last spring, 75 books in the cellar could not be saved. How many books does the library have now?"
)
PASSAGE = (
    "The lighthouse at Grey Point was lit for the first time in 1871. Its keeper, a former whaler named "
    "Amos Field, lived there with his daughter, who was asked one evening to write a short story about a "
    "dog that saves a ship. The story was printed in the county paper and read aloud in every school of the "
    "coast. Decades later a copy was found behind a stove. In the passage above, what does the discovery "
    "of the copy behind the stove suggest about how the keeper regarded the story?"
)
SHORT = "What happens to a lithium battery below the freezing point?"
PROMPTS = [BAKERY, LIBRARY, PASSAGE, SHORT, "What is 2 + 2?", "Name the largest moon of Saturn."]
SPOKEN = [*PROMPTS[:4], "What is two plus two?", PROMPTS[5]]


def index_of(prompts: Sequence[str], **options: float) -> Index:
    return build_index([normalise(prompt) for prompt in prompts], Match(**options))


def hits_of(index: Index, *rows: str) -> list[int]:
    return [int(hit) for hit in find_hits(index, [normalise(row) for row in rows])]


INDEX = build_index([normalise(p) for p in PROMPTS], spoken=[normalise(p) for p in SPOKEN])


@pytest.mark.parametrize("number", range(len(PROMPTS)))
def test_a_prompt_as_written_as_spoken_and_as_typed_otherwise_is_found(number: int) -> None:
    prompt = PROMPTS[number]
    assert hits_of(INDEX, prompt, SPOKEN[number], f"  {prompt.upper()} !") == [number] * 3


@pytest.mark.parametrize(
    ("number", "row"),
    [
        (0, BAKERY.replace("Olga runs a bakery near the old harbour.", "Meet Ken, who never wanted to be a baker.")),
        (0, BAKERY + " Think step by step and end with the number alone."),
        (0, "You are a patient teacher. Solve this for a pupil of ten. " + BAKERY),
        (0, " ".join(reversed(BAKERY.replace("?", ".").split(". ")))),
        (0, BAKERY.replace("48", "60")),
        (1, LIBRARY.replace("town library", "village library").replace("last spring", "this autumn")),
        (2, PASSAGE[PASSAGE.index("In the passage") :]),
        (3, "Tell me briefly: " + SHORT + " My phone died on the mountain."),
    ],
    ids=["first sentence", "appended", "prepended", "order", "number", "two words", "question of passage", "short"],
)
def test_a_changed_prompt_is_found(number: int, row: str) -> None:
    assert hits_of(INDEX, row) == [number]


@pytest.mark.parametrize(
    "row",
    [
        "Write a short story about a dog that saves a ship.",
        "Write a short story about a dog.",
        "What happens to a lithium battery below the boiling point?",
        "What happens to a lithium battery?",
        "What is 2 + 3?",
        "What is two plus two and a half?",
        "Name the largest moon of Jupiter.",
        "Olga runs a bakery near the old harbour. Suggest three names for it and a slogan for each of them.",
        "How many books does the library have now?",
        "Describe the town library in the cellar and the flood of last spring as a poem in four lines.",
        "",
        " ",
        normalise("?!... ---"),
    ],
)
def test_what_is_no_benchmark_prompt_is_kept(row: str) -> None:
    assert hits_of(INDEX, row) == [-1]


OPENER = "Read the following statement with care, then answer in one word, true or false, and give no other reason:"
STATEMENTS = [
    f"{OPENER} {thing} was known in {place} before the year one thousand, as the oldest chronicles of that land say."
    for thing, place in (
        ("Glass", "Egypt"),
        ("Paper", "China"),
        ("Silk", "Persia"),
        ("Coffee", "Yemen"),
        ("Tea", "Japan"),
        ("Salt", "Mali"),
        ("Amber", "Prussia"),
        ("Copper", "Cyprus"),
        ("Tin", "Cornwall"),
        ("Rice", "Korea"),
        ("Wheat", "Syria"),
        ("Cotton", "India"),
    )
]


def test_a_template_alone_is_no_hit_and_does_not_hide_one() -> None:
    index = index_of(STATEMENTS)
    own = "the river Amazon flows from west to east through three countries."
    assert hits_of(index, f"{OPENER} {own}") == [-1]
    assert hits_of(index, f"{STATEMENTS[7]} Thank you.") == [-1], "of its own it has two words"
    assert hits_of(index, *STATEMENTS) == list(range(12))

    marked = [f"{OPENER} {own}", *STATEMENTS]
    index = index_of(marked)
    assert hits_of(index, f"Please judge whether {own}") == [0]
    assert hits_of(index, f"{OPENER} {own} Thank you.") == [0]

    few = index_of(STATEMENTS, most_prompts=12)
    assert hits_of(few, f"{OPENER} Steel was known in Spain before the year one thousand, as I say.")[0] >= 0


def test_forms_of_one_prompt_do_not_make_a_template() -> None:
    written = [f"{BAKERY} And {digit}?" for digit in range(10)]
    spoken = [f"{BAKERY} And {'one' * digit}?" for digit in range(1, 11)]
    index = build_index([normalise(p) for p in written], spoken=[normalise(p) for p in spoken])
    assert hits_of(index, BAKERY) == [0]
    eleven = [*written, f"{BAKERY} And 10?"]
    assert hits_of(index_of(eleven), BAKERY) == [-1]


def test_of_several_prompts_the_equal_one_then_the_nearest_then_the_first_is_named() -> None:
    longer = f"{LIBRARY} Give only the number of books."
    index = index_of([longer, BAKERY, LIBRARY, LIBRARY])
    assert hits_of(index, LIBRARY, longer, f"{longer} Hurry.", f"{LIBRARY} Hurry.") == [2, 0, 0, 0]
    assert hits_of(index_of([BAKERY, LIBRARY]), f"{BAKERY} {LIBRARY}") == [0]


def test_words_of_any_length_and_script_are_told_apart() -> None:
    words = [
        "naïve",
        "naive",
        "日本語" * 9,
        "日本語" * 8,
        "abcdefgh",
        "abcdefghi",
        "abcdefghabcdefgh",
        "\ud800",
        "a\0",
        "a",
    ]
    prompts = [" ".join(f"{word}{'x' * i}" for i in range(14)) for word in words]
    index = build_index(prompts)
    assert list(find_hits(index, prompts)) == list(range(len(words)))
    assert list(find_hits(index, [f"so {prompt} so" for prompt in prompts])) == list(range(len(words)))


def test_wrong_options_and_wrong_prompts_are_refused() -> None:
    for options in ({"n": 0}, {"n": 14}, {"share": 0.0}, {"share": 1.1}, {"most_prompts": 0}):
        with pytest.raises(ValueError, match="needs 1 <= n"):
            Match(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one for each"):
        build_index(["a", "b"], spoken=["a"])
    for empty in ([], ["", " "]):
        with pytest.raises(ValueError, match="has a word"):
            build_index(empty)
    assert list(find_hits(build_index(["", "a", " "]), ["", " ", "a"])) == [-1, -1, 1]
    assert find_hits(INDEX, []).dtype == np.int32


def test_an_index_survives_parquet(tmp_path: Path) -> None:
    index = index_of([*PROMPTS, *STATEMENTS], n=6, share=0.7)
    table = index.to_table()
    pq.write_table(table, tmp_path / "index.parquet", use_dictionary=False)
    loaded = Index.from_table(pq.read_table(tmp_path / "index.parquet"))
    assert loaded.match == index.match
    assert loaded.to_table().equals(table)
    rows = [*PROMPTS, *STATEMENTS, "Something else"]
    assert hits_of(loaded, *rows) == hits_of(index, *rows)
    with pytest.raises(ValueError, match="build it again"):
        Index.from_table(table.replace_schema_metadata({"format": "0"}))


def test_hashes_stay_what_saved_indexes_hold() -> None:
    """If this fails, an index in a file finds nothing any more: raise `_FORMAT` with the new numbers."""
    index = build_index(["one two three four five six seven internationalisation"])
    assert [int(index.hashes[0]), int(index.wholes[0])] == [HASH_OF_RUN, HASH_OF_TEXT]


HASH_OF_RUN, HASH_OF_TEXT = 4966542022503913796, 5305128426390018270


def slow_hits(prompts: Sequence[str], spoken: Sequence[str], match: Match, rows: Sequence[str]) -> list[int]:
    """The rules of `filters.decontamination`, read aloud."""

    def runs(words: list[str]) -> dict[tuple[str, ...], int]:
        places = range(len(words) - match.n + 1)
        return {tuple(words[i : i + match.n]): i for i in reversed(places)}  # the first place wins

    def counted(words: list[str]) -> set[int]:
        inside = set()
        for i in range(len(words) - match.n + 1):
            if tuple(words[i : i + match.n]) in templates:
                inside |= set(range(i, i + match.n))
        return set(range(len(words))) - inside

    texts: dict[str, int] = {}
    for number, forms in enumerate(zip(prompts, spoken, strict=True)):
        for form in forms:
            if form.strip():
                texts.setdefault(form, number)
    having: dict[tuple[str, ...], set[int]] = {}
    for text, number in texts.items():
        for run in runs(text.split()):
            having.setdefault(run, set()).add(number)
    templates = {run for run, numbers in having.items() if len(numbers) > match.most_prompts}

    def verdict(row: str) -> int:
        if row in texts:
            return texts[row]
        of_row, best = row.split(), (1, -1)
        for text, number in texts.items():
            of_text = text.split()
            both = (runs(of_row).keys() & runs(of_text).keys()) - templates
            in_row = {runs(of_row)[run] + k for run in both for k in range(match.n)} & counted(of_row)
            in_text = {runs(of_text)[run] + k for run in both for k in range(match.n)} & counted(of_text)
            own = len(counted(of_text))
            holds = len(in_text) >= max(match.share * own, min(max(own, match.n), match.least_words))
            part = len(in_row) >= max(match.share * len(counted(of_row)), match.least_words)
            if (holds or part) and (-len(in_row), number) < best:
                best = (-len(in_row), number)
        return best[1]

    return [verdict(row) for row in rows]


TEXTS = st.lists(st.text("abcd", max_size=12).map(" ".join), min_size=1, max_size=8)
MATCHES = st.builds(
    lambda n, more, share, most: Match(n, share, n + more, most),
    st.integers(1, 4),
    st.integers(0, 4),
    st.sampled_from([0.3, 0.5, 2 / 3, 1.0]),
    st.integers(1, 4),
)


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS, TEXTS, MATCHES)
def test_hits_are_those_of_the_slow_rules(prompts: list[str], spoken: list[str], rows: list[str], match: Match) -> None:
    prompts = [*prompts, "d c b a"]
    spoken = [spoken[i] if i < len(spoken) else prompt for i, prompt in enumerate(prompts)]
    index = build_index(prompts, match, spoken)
    rows = [*rows, *prompts, *(f"{a} {b}" for a, b in zip(rows, prompts, strict=False))]
    assert list(find_hits(index, rows)) == slow_hits(prompts, spoken, match, rows)


def test_a_row_s_answer_does_not_depend_on_the_others() -> None:
    rows = [normalise(text) for text in (*PROMPTS, *STATEMENTS, f"{BAKERY} Hurry.", "", "Something else", PASSAGE * 3)]
    index = index_of([*PROMPTS, *STATEMENTS[:4]])
    alone = [int(find_hits(index, [row])[0]) for row in rows]
    assert len(set(alone)) > 5
    order = np.random.default_rng(0).integers(len(rows), size=2500)
    assert list(find_hits(index, [rows[i] for i in order])) == [alone[i] for i in order]


def test_real_problems_all_hit_and_real_questions_do_not(shared_data: Path) -> None:
    lines = (shared_data / "text" / "gsm8k_train.jsonl").read_text().splitlines()[:2000]
    problems = [normalise(json.loads(line)["question"]) for line in lines]
    index = build_index(problems)
    assert list(find_hits(index, problems)) == list(range(2000))
    cut = [" ".join(problem.split()[:-4]) for problem in problems if problem.count(" ") > 25]
    assert (find_hits(index, cut) >= 0).all()
    lines = (shared_data / "text" / "nq_open_dev.jsonl").read_text().splitlines()
    assert (find_hits(index, [normalise(json.loads(line)["question"]) for line in lines]) == -1).all()
