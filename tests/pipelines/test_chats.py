"""Conversations: which follow-ups pass, where a chat ends, that every turn is spoken once, in its place."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.chats import opening, shortened
from pipelines.errors import UserError
from pipelines.recipe import Recipe, parse_recipe
from pipelines.row import ROW, Row, reason_of_cut, user_turns
from pipelines.rowwise import Reject
from pipelines.rules import Filter
from pipelines.steps import quantize, tts
from pipelines.steps.score import score
from pipelines.steps.shorten import shorten
from pipelines.tasks import written_turns
from pipelines.telling.verify import open_run, verify
from pipelines.verdicts import SCORES, rejects
from tests.answers.loopback_chat import QUICK, LoopbackChat
from tests.conftest import ROOT, assert_done, content, recipe_of, speechmill, two_threads, write_recipe
from tests.test_verify import edit
from tts.engine import Request, SpeechError, Spoken

CHATS = ROOT / "tests" / "data" / "chats.jsonl"
RULES = Filter(rules=["private", "speakable", {"length": {"below": 40}}, "language", "duplicate"])  # type: ignore[arg-type]


def own_chats() -> list[list[dict[str, str]]]:
    return [json.loads(line)["messages"] for line in CHATS.read_text("utf-8").splitlines()]


def rows_of(chats: Sequence[list[dict[str, str]]], **more: Any) -> list[Row]:
    return [
        {
            "id": f"{number:032x}",
            "source": "own",
            "license": "MIT",
            "index": number,
            "messages": messages,
            "exchanges": len(user_turns(messages)),
            "answered": messages[-1]["role"] == "assistant",
            "spoken": [],
            **more,
        }
        for number, messages in enumerate(chats)
    ]


def scored(chats: Sequence[list[dict[str, str]]]) -> pa.Table:
    return score(pa.Table.from_pylist(rows_of(chats), schema=ROW), RULES, 128)


def verdicts(table: pa.Table) -> list[str | None]:
    frame = pl.from_arrow(table.select(list(SCORES)))
    assert isinstance(frame, pl.DataFrame)
    return rejects(frame, RULES.rules).to_list()


def said(user: str, answer: str = "Gladly, here it is.") -> list[dict[str, str]]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]


# Each as the second user message, and as the only one.
FOLLOW_UPS = [
    ("Is the second one in the list above cheaper than the first?", None, "missing_context:list above"),
    ("What is the main idea of the passage?", None, "missing_context:of the passage"),
    ("Translate this sentence into simple words.", None, "missing_context:Translate this sentence"),
    (
        "What is meant by the following phrase",
        "missing_context:the following phrase",
        "missing_context:the following phrase",
    ),
    ("Translate it into French:", "dangling::", "dangling::"),
    ("And what is on https://example.org?", "url:https://", "url:https://"),
    ("Why is that?", None, None),
]


@pytest.mark.parametrize(("text", "later", "alone"), FOLLOW_UPS)
def test_a_follow_up_may_point_back_and_an_opening_may_not(text: str, later: str | None, alone: str | None) -> None:
    opener = said("Name three things that I should buy for a party.")
    table = scored([[*opener, *said(text)], said(text), [*said(text), *opener]])
    assert table["unspeakable"].to_pylist() == [later, alone, alone]


def test_every_user_turn_is_judged_by_length_seconds_and_private_data() -> None:
    long = "Tell me about " + ", ".join(["my garden"] * 30) + "."
    table = scored([
        [*said("What is rain?"), *said(long)], [*said("What is rain?"), *said("Write to bob@mail.example.org, please.")]
    ])  # fmt: skip
    assert table["length"].to_pylist()[0] > 60
    assert table["predicted_seconds"].to_pylist()[0] > 15
    assert table["private"].to_pylist() == [None, "email"]


def test_chats_are_duplicates_as_a_whole() -> None:
    one, other = said("What is rain?"), said("What is snow?")
    keys = scored([one, [*one, *other], [*one, *other], [*one, *said("What is hail?")]])["duplicate_key"].to_pylist()
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3


def test_chats_end_before_what_cannot_be_said() -> None:
    table, reasons = shorten(scored(own_chats()), RULES, 128)
    before = scored(own_chats())
    cut = {row["index"]: (row["exchanges"], row["cut"]) for row in table.to_pylist() if row["cut"]}
    assert cut == {
        10: (2, "filter.speakable:url at exchange 3 of 4"),
        11: (1, "filter.speakable:missing_context at exchange 2 of 2"),
        12: (1, "filter.private:email at exchange 2 of 2"),
    }
    assert reasons == Counter({reason.partition(" at ")[0]: 1 for _, reason in cut.values()})
    assert table["id"].to_pylist() == before["id"].to_pylist()
    assert [reject for reject in verdicts(table) if reject] == [
        "filter.speakable:url:https://"
    ]  # of the first exchange
    assert table.schema == before.schema


def test_a_benchmark_question_is_found_in_any_turn(tmp_path: Path) -> None:
    """Also a short one, which would be no hit as a part of a longer text."""
    asked = ["Who wrote Dracula?", "Where is Peru?"]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps({"question": text}) + "\n" for text in asked))
    opener, other = said("I like old novels, tell me about one."), said("And what else is worth a look?")
    chats = [
        [*opener, *other],
        [*opener, *said("who wrote dracula"), *other],
        [*opener, *said("Where is Peru?"), *said("Who wrote Dracula?")],
        said("Who wrote Dracula?"),
    ]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    rule = {"benchmark": {"benchmarks": [{"name": "asked", "path": "asked.jsonl"}]}}
    sources = [{"name": "own", "path": "chats.jsonl", "turns": "all"}]
    recipe = write_recipe(tmp_path, root=str(tmp_path), sources=sources, filter={"rules": [rule]})
    assert_done(speechmill("filter", recipe, "--workers", "0"))
    found = {row["index"]: row["reject"] for row in rows_in(tmp_path / "run", "filter/rejects")}
    assert found == {
        1: "filter.benchmark:asked:0", 2: "filter.benchmark:asked:1", 3: "filter.benchmark:asked:0"
    }  # fmt: skip


TURNS = st.sampled_from(
    [
        "What is the capital of Peru?",
        "Is it a large city?",
        "Why is that so?",
        "Tell me more about the people who live there.",
        "How long does it take to get there by train?",
        "What should I see when I am there in winter?",
        "Thank you, that helps me a lot.",
        "And the one in the list above?",
        "Open https://example.org now.",
        "Write to bob@mail.example.org, please.",
        "Wie geht es dir heute, mein lieber Freund, und was machst du morgen Abend?",
        "Describe " + "one more thing, " * 20 + "please.",
        "word" + " word" * 200,
    ]
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(TURNS, min_size=2, max_size=6)), min_size=3, max_size=6))
def test_a_chat_keeps_its_longest_beginning_that_the_rules_keep(drawn: list[tuple[bool, list[str]]]) -> None:
    """Against each beginning scored on its own."""
    system = [{"role": "system", "content": "Be brief."}]
    chats = [[*(system if has else []), *(m for turn in turns for m in said(turn))] for has, turns in drawn]
    before = scored(chats)
    found, reasons = shorten(before, RULES, 128)
    expected = []
    for chat, whole in zip(chats, verdicts(before), strict=True):
        n = len(user_turns(chat))
        kept = [k for k in range(1, n) if verdicts(scored([list(opening(chat, k))])) == [None]]
        expected.append(max(kept) if whole and kept else n)
    assert found["exchanges"].to_pylist() == expected
    rows = found.to_pylist()
    assert sum(reasons.values()) == sum(row["cut"] is not None for row in rows)
    assert found.num_rows == before.num_rows
    for chat, row, n in zip(chats, rows, expected, strict=True):
        assert row["messages"] == list(opening(chat, n))
        assert (row["cut"] is not None) == (n < len(user_turns(chat)))
    again = score(found.select(ROW.names), RULES, 128)
    for column in SCORES:
        assert again[column].to_pylist() == found[column].to_pylist(), column


def test_what_is_known_of_a_lost_end_is_lost_with_it() -> None:
    chat = [m for text in ("What is rain?", "Why?", "And snow?") for m in said(text)]
    notes, spoken = ([{"turn": turn, "tokens": [turn]} for turn in turns] for turns in ((1, 3, 4), (0, 2, 4)))
    (row,) = rows_of([chat], generated=notes, cut="read.turns at exchange 4 of 7")
    row["spoken"] = spoken
    two = shortened(row, 2, "tts.too_long:31.0 s")
    assert (two["messages"], two["exchanges"], two["answered"]) == (chat[:4], 2, True)
    assert two["generated"] == notes[:2]
    assert two["spoken"] == spoken[:2]
    assert two["cut"] == "read.turns at exchange 4 of 7; tts.too_long at exchange 3 of 3"
    assert reason_of_cut(two["cut"]) == "tts.too_long"
    assert shortened({**row, "generated": notes[2:]}, 1, "tts.silent")["generated"] is None


class FakeEngine:
    """Says each text as 320 samples a letter, all of the value of its first; refuses what it is told to."""

    name, version, sample_rate_hz, usage = "espeak", "fake 1", 16_000, Counter[str]()

    def __init__(self, refused: set[str], broken: set[str], batch_size: int) -> None:
        self.refused, self.broken, self.batch_size = refused, broken, batch_size
        self.asked: list[str] = []

    def speak_all(self, requests: Sequence[Request]) -> list[Spoken | SpeechError]:
        self.asked += [request.text for request in requests]
        if any(request.text in self.broken for request in requests):
            raise ValueError("the fake cannot bear this text")
        return [
            SpeechError("the fake will not") if r.text in self.refused else Spoken(loud(r.text), None) for r in requests
        ]


def loud(text: str) -> Any:
    return np.full(320 * len(text), 1000 + 50 * ord(text[0]), np.int16)


def made(failed_turn: str, **more: Any) -> Recipe:
    return parse_recipe(recipe_of(chats={"failed_turn": failed_turn}, **more), "test")


NAMES = ("Anna", "Bert", "Carla", "Dora", "Emil", "Frida", "Gerd", "Hanna")
THINGS = ("bread", "winter", "horses", "rivers", "chess")


@st.composite
def failing_chats(draw: st.DrawFn) -> tuple[list[Row], set[str], set[str]]:
    """Chats whose texts all differ; texts that the engine refuses; texts at which it breaks."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=8))
    texts = [[f"{name} asks about {thing}" for thing in THINGS[:n]] for name, n in zip(NAMES, sizes, strict=False)]
    flat = [text for chat in texts for text in chat]
    refused = set(draw(st.lists(st.sampled_from(flat), max_size=5)))
    broken = set(draw(st.lists(st.sampled_from(flat), max_size=2))) - refused
    systems = draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    chats = [
        [*([{"role": "system", "content": "Be brief."}] if has else []), *(m for t in chat for m in said(t, f"To {t}"))]
        for has, chat in zip(systems, texts, strict=True)
    ]
    return rows_of(chats, cut=None, generated=None), refused, broken


def check_speech(row: Row, spoken: list[dict[str, Any]]) -> None:
    """Assert that a chat alternates, and that each user turn has one utterance, of its own text, in order."""
    start = row["messages"][0]["role"] == "system"
    roles = [m["role"] for m in row["messages"][start:]]
    assert roles == ["user", "assistant"] * (len(roles) // 2)
    turns = user_turns(row["messages"])
    assert (row["exchanges"], row["answered"]) == (len(turns), True)
    assert [u["turn"] for u in spoken] == [turn for turn, _ in turns]
    for (_, text), utterance in zip(turns, spoken, strict=True):
        assert utterance["text"] == text
        assert len(utterance["audio"]["bytes"]) > 0


@settings(max_examples=40, deadline=None)
@given(failing_chats(), st.integers(1, 7), st.sampled_from(["reject", "shorten"]))
def test_a_retry_cannot_double_a_turn(
    drawn: tuple[list[Row], set[str], set[str]], batch: int, failed_turn: str
) -> None:
    """Engines that refuse a text, or break in a batch so that each text is asked for again by itself."""
    rows, refused, broken = drawn
    engine = FakeEngine(refused, broken, batch)
    recipe = made(failed_turn)
    stages = tts.stages({"espeak": engine}, recipe)  # type: ignore[dict-item]
    done = list(stages.run(iter(rows)))
    assert [row["id"] for row, _ in done] == [row["id"] for row in rows]
    for row, result in done:
        texts = [text for _, text in user_turns(row["messages"])]
        bad = next((k for k, text in enumerate(texts) if text in refused | broken), None)
        if bad is None:
            assert not isinstance(result, Exception)
            assert (result["messages"], result["cut"]) == (row["messages"], None)
            check_speech(result, result["spoken"])
        elif failed_turn == "shorten" and bad > 0 and texts[bad] in refused:
            assert not isinstance(result, Exception), result
            assert result["messages"] == list(opening(row["messages"], bad))
            assert result["cut"] == f"tts.not_spoken at exchange {bad + 1} of {len(texts)}"
            assert result["length"] == row_length(result)
            check_speech(result, result["spoken"])
        else:
            assert isinstance(result, Reject if texts[bad] in refused else ValueError)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [("***", "nothing_to_say"), ("word after word " * 8, "too_long:2.5 s"), ("Refuse.", "not_spoken")],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_ends_a_chat_in_speech(bad: str, reason: str, place: int) -> None:
    texts = ["What is rain?", "Why is that?", "Thank you."]
    texts[place] = bad
    (row,) = rows_of([[m for text in texts for m in said(text)]], cut=None, generated=None)
    ends = {}
    for failed_turn in ("reject", "shorten"):
        recipe = made(failed_turn, tts={"max_seconds": 1.0}, export={})
        engine = FakeEngine({"Refuse."}, set(), 2)
        stages = tts.stages({"espeak": engine}, recipe)  # type: ignore[dict-item]
        ((_, ends[failed_turn]),) = stages.run([row])
        assert bad != "***" or not set(texts[place:]) & set(engine.asked)  # what stands behind it is not even asked for
    assert isinstance(ends["reject"], Reject)
    assert str(ends["reject"]).startswith(reason)
    if place == 0:
        assert str(ends["shorten"]) == str(ends["reject"])
    else:
        assert ends["shorten"]["cut"] == f"tts.{reason.partition(':')[0]} at exchange {place + 1} of 3"
        check_speech(ends["shorten"], ends["shorten"]["spoken"])
        assert ends["shorten"]["exchanges"] == place


def row_length(row: Row) -> int:
    return int(score(pa.Table.from_pylist([{**row, "spoken": []}], schema=ROW), RULES, 128)["length"][0].as_py())


class FakeTokenizer:
    """A token for each 640 samples: their first one, in thousandths of full scale; breaks at clips of some values."""

    name, digest, precision, device = "fake", "0" * 32, "fp32", "cpu"
    n_codes, mask_code = 1001, None
    sample_rate_hz, tokens_per_second, max_seconds = 16_000, 25, 30.0

    def __init__(self, batch_size: int, broken: set[int]) -> None:
        self.batch_size, self.broken = batch_size, broken

    def encode(self, clips: Sequence[Any]) -> list[Any]:
        ids = [np.round(32_768 / 100 * clip[: clip.size // 640 * 640 : 640]).astype(np.uint16) for clip in clips]
        if any(self.broken.intersection(i.tolist()) for i in ids):
            raise ValueError("the fake cannot bear this clip")
        return ids


def heard(text: str) -> list[int]:
    """The tokens of what the fake engine says."""
    return [round((1000 + 50 * ord(text[0])) / 100)] * (320 * len(text) // 640)


@settings(max_examples=40, deadline=None)
@given(failing_chats(), st.integers(1, 7), st.sampled_from(["reject", "shorten"]))
def test_sounds_belong_to_their_turns(
    drawn: tuple[list[Row], set[str], set[str]], batch: int, failed_turn: str
) -> None:
    """In quantize: files that are no audio, and a model that breaks at the clips of one chat."""
    rows, torn, _ = drawn
    recipe = made(failed_turn)
    engine = FakeEngine(set(), set(), 3)
    spoken = [row for _, row in tts.stages({"espeak": engine}, recipe).run(iter(rows))]  # type: ignore[dict-item]
    for row in spoken:
        assert not isinstance(row, Exception)
        for utterance in row["spoken"]:
            utterance["tokens"] = None
            if utterance["text"] in torn:
                utterance["audio"]["bytes"] = b"no audio"
    tokenizer: Any = FakeTokenizer(batch, set(heard("Bert")) if batch % 2 else set())

    def finish(row: Row, clips: list[Any], ids: list[Any]) -> Row:
        result, _ = quantize.with_tokens(row, clips, ids, tokenizer, recipe.quantize, recipe.chats.failed_turn)
        return result

    def split(row: Row) -> list[quantize.Clip]:
        return quantize._clips(row, tokenizer, recipe.quantize, recipe.chats.failed_turn)

    stages = quantize.stages(tokenizer, split, finish, finish if failed_turn == "shorten" else None)
    done: Iterator[Any] = stages.run(row for row in spoken if isinstance(row, dict))
    for number, (row, result) in enumerate(done):
        texts = [text for _, text in user_turns(row["messages"])]
        bad = next((k for k, text in enumerate(texts) if text in torn), None)
        breaks = batch % 2 and number == 1
        if breaks and bad != 0:  # what is unforeseen ends the row, whatever the option
            assert isinstance(result, ValueError | Reject)
            assert isinstance(result, ValueError) or failed_turn == "reject"
        elif bad is None or (failed_turn == "shorten" and bad > 0):
            assert result["messages"] == list(opening(row["messages"], len(texts) if bad is None else bad))
            wanted = [(turn, heard(text)) for turn, text in user_turns(result["messages"])]
            assert [(u["turn"], u["tokens"]) for u in result["spoken"]] == wanted
            assert all(u["audio"] is None for u in result["spoken"])
            assert bool(result["cut"]) == (bad is not None)
        else:
            assert isinstance(result, Reject)
            assert str(result).startswith("bad_audio:")


WHOLE = {
    "sources": [{"name": "own", "path": "tests/data/chats.jsonl", "license": "MIT", "turns": {"at_most": 4}}],
    "read": {"rows_per_shard": 12},
    "filter": {"rules": ["private", "speakable", "length", "language", "duplicate"]},
    "tts": {"augment": {"share": 0.6, "speed": [0.9, 1.1], "snr_db": [0, 20]}},
    "noise": {"rows": 3, "kinds": {"sticky": 1, "pink": 1, "masked": 1}},
    "chats": {"failed_turn": "shorten", "written_turns": 0.5, "inaudible": 7},
    "mix": {
        "max_refusal_share": 1,
        "mixtures": {"chats": {"parts": {"two_turn": 40, "interrupted": 60}}, "all": {"parts": {"transcription": 100}}},
    },
    "export": {"audio": False},
}


@pytest.fixture(scope="module")
def chats_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a recipe of chats and its run. Read only."""
    folder = tmp_path_factory.mktemp("chats")
    with two_threads():  # workers have one
        assert_done(speechmill("run", write_recipe(folder, **WHOLE), "--workers", "0"))
    return folder


@pytest.mark.long
def test_ray_gives_the_bytes_of_the_plain_loop(chats_run: Path, tmp_path: Path) -> None:
    assert_done(speechmill("run", write_recipe(tmp_path, **WHOLE), "--workers", "2"))
    assert content(tmp_path / "run") == content(chats_run / "run")


def test_a_chat_is_said_in_one_room_and_one_noise(chats_run: Path) -> None:
    """What augments speech is drawn for a row: its turns share speed, noise and SNR, each in noise of its own."""
    kinds = Counter[str]()
    for row in rows_in(chats_run / "run", "tts.augment"):
        done = [json.loads(u["augmentation"]) if u["augmentation"] else None for u in row["spoken"]]
        kinds["clean" if None in done else "noisy"] += len(done) > 1
        assert len({json.dumps([d["speed"], d["noise"]]) if d else "clean" for d in done}) == 1
        assert not any(d is None for d in done) or not any(done)
    assert kinds["clean"]
    assert kinds["noisy"]


def rows_in(run: Path, step: str) -> list[Row]:
    return [row for path in sorted((run / step).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def pairs_in(run: Path, mixture: str) -> list[Row]:
    return rows_in(run / "dataset", mixture)


def test_a_run_of_chats_keeps_its_promises_and_counts_what_it_shortened(chats_run: Path) -> None:
    assert_done(speechmill("verify", chats_run / "run"))
    funnel = speechmill("funnel", chats_run / "run")
    assert_done(funnel)
    for line in ("shortened: filter.private:email", "shortened: filter.speakable:url"):
        assert line in funnel.stdout
    facts = [json.loads(path.read_bytes())["facts"] for path in (chats_run / "run/filter.shorten").glob("own-*.json")]
    assert sum(sum(f["shortened"].values()) for f in facts) == 3
    cut = {row["index"]: row["cut"] for row in rows_in(chats_run / "run", "quantize") if row["cut"]}
    assert cut == {
        9: "read.turns at exchange 5 of 5",
        10: "filter.speakable:url at exchange 3 of 4",
        11: "filter.speakable:missing_context at exchange 2 of 2",
        12: "filter.private:email at exchange 2 of 2",
    }
    transcribed = {pair["text_prompt"] for pair in pairs_in(chats_run / "run", "all")}
    assert "How do I greet somebody in a letter?" in transcribed  # one exchange is left, which serves other tasks
    assert "7 chats are interrupted" in speechmill("run", chats_run / "recipe.yaml", "--workers", "0").stdout


def test_a_shard_without_chats_goes_on_as_it_is(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"What is {n} plus one? Write to me@x.org", "answer": "More."}) for n in range(5)]
    (tmp_path / "singles.jsonl").write_text("\n".join(lines))
    source = {"name": "own", "path": str(tmp_path / "singles.jsonl"), "license": "MIT", "turns": "all"}
    recipe = write_recipe(tmp_path, sources=[source], filter={"rules": ["length"]}, chats={"failed_turn": "shorten"})
    assert_done(speechmill("filter", recipe, "--workers", "0"))
    (scored,) = (tmp_path / "run/score").glob("*.parquet")
    (shard,) = (tmp_path / "run/filter.shorten").glob("*.parquet")
    assert shard.read_bytes() == scored.read_bytes()
    table, reasons = shorten(pq.read_table(scored), RULES, 128)  # which the private address breaks
    assert table.equals(pq.read_table(shard))
    assert not reasons


def test_a_chat_whose_sound_is_broken_ends_before_it(tmp_path: Path) -> None:
    chats = {"failed_turn": "shorten"}
    mix = {"mixtures": {"all": {"parts": {"two_turn": 100}}}}
    changes = {**WHOLE, "tts": {}, "noise": {"rows": 0}, "chats": chats, "mix": mix, "export": {"audio": True}}
    recipe, run = write_recipe(tmp_path, **changes), tmp_path / "run"
    assert_done(speechmill("tts", recipe, "--workers", "0"))
    (broken,) = [row for row in rows_in(run, "tts") if row["index"] == 5]  # of three exchanges, after a system message

    def tear(rows: list[Row]) -> None:
        row = next(row for row in rows if row["id"] == broken["id"])
        row["spoken"][2]["audio"]["bytes"] = b"torn"

    edit(run / "tts" / "own-00000.parquet", tear)
    assert_done(speechmill("run", recipe, "--workers", "0"))
    assert_done(speechmill("verify", run))
    (row,) = [row for row in rows_in(run, "quantize") if row["index"] == 5]
    assert row["cut"] == "quantize.bad_audio at exchange 3 of 3"
    assert row["messages"] == broken["messages"][:5]
    assert [u["turn"] for u in row["spoken"]] == [1, 3]
    heard = [u for u in pairs_in(run, "audio") if u["id"] == row["id"]]
    assert [u["turn"] for u in heard] == [1, 3]
    funnel = speechmill("funnel", run)
    assert "shortened: quantize.bad_audio" in funnel.stdout
    assert f"{row['id']}/two_turn" in {pair["id"] for pair in pairs_in(run, "all")}


def test_what_nobody_hears_is_put_into_chats(chats_run: Path) -> None:
    run = chats_run / "run"
    spoken = {row["id"]: row for row in rows_in(run, "quantize")}
    sounds = {str(u["tokens"]) for row in rows_in(run, "noise") if row["exchanges"] == 1 for u in row["spoken"]}
    found = rows_in(run, "noise.chats")
    assert len(found) == 7
    for row in found:
        chat, said = spoken[row["id"].removesuffix("/inaudible")], json.loads(row["inaudible"])
        at = said["turn"]
        assert said["kind"] in ("sticky", "pink", "masked")
        users = [turn for turn, _ in user_turns(chat["messages"])]
        assert at in users[1:]
        assert row["messages"][:at] == chat["messages"][:at]
        assert row["messages"][at] == {"role": "user", "content": ""}
        assert row["messages"][at + 2 :] == chat["messages"][at:]
        assert row["exchanges"] == chat["exchanges"] + 1
        assert [u["turn"] for u in row["spoken"]] == [turn for turn, _ in user_turns(row["messages"])]
        (unheard,) = [u for u in row["spoken"] if u["turn"] == at]
        assert str(unheard["tokens"]) in sounds
        assert [u["tokens"] for u in row["spoken"] if u["turn"] != at] == [u["tokens"] for u in chat["spoken"]]
    lock = json.loads((run / "mixture.json").read_bytes())
    assert lock["chats_withheld_as_interrupted"] == 7
    pairs = pairs_in(run, "chats")
    originals = {row["id"].removesuffix("/inaudible") for row in found}
    assert originals.isdisjoint(pair["id"].partition("/")[0] for pair in pairs if pair["task"] != "interrupted")
    assert all(pair["voice"] for pair in pairs)


def swap_a_sound(rows: list[Row]) -> None:
    rows[0]["spoken"][0]["tokens"] = rows[0]["spoken"][-1]["tokens"]


def say_what_nobody_hears(rows: list[Row]) -> None:
    rows[0]["inaudible"] = json.dumps({**json.loads(rows[0]["inaudible"]), "turn": 0})


def write_another_turn(rows: list[Row]) -> None:
    """Make text of a sound that was drawn to be one: no user turn is ever allowed to be that unless drawn."""
    pair = next(row for row in rows if row["task"] == "two_turn")
    place = next(m for m in pair["conversations"] if m["role"] == "user" and m["content"].startswith("<|sound"))
    place["content"] = "What is rain?"


@pytest.mark.parametrize(
    ("promise", "pattern", "change"),
    [
        ("chats are whole", "noise.chats/*.parquet", swap_a_sound),
        ("chats are whole", "noise.chats/*.parquet", say_what_nobody_hears),
        ("pairs:", "dataset/chats/*.parquet", write_another_turn),
    ],
)
def test_verify_finds_what_is_wrong_with_chats(
    promise: str, pattern: str, change: Any, chats_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(chats_run / "run", tmp_path / "run")
    edit(min((tmp_path / "run").glob(pattern)), change)
    broken = [p.name for p in verify(open_run(tmp_path / "run")) if p.broken]
    assert any(name.startswith(promise) for name in broken), broken


def test_some_user_turns_are_written_and_one_at_least_is_spoken(chats_run: Path) -> None:
    texts = {m["content"] for chat in own_chats() for m in chat if m["role"] == "user"}
    written = 0
    for pair in pairs_in(chats_run / "run", "chats"):
        users = [(turn, m["content"]) for turn, m in enumerate(pair["conversations"]) if m["role"] == "user"]
        sounds = {turn for turn, content in users if content.startswith("<|sound_start|>")}
        assert sounds
        assert all(turn in sounds or content in texts for turn, content in users)
        if pair["task"] == "interrupted":
            at = json.loads(pair["inaudible"])["turn"]
            assert {at, at + 2} <= sounds
        written += len(users) - len(sounds)
    assert written > 3


def test_what_a_model_wrote_stays_with_its_turn(tmp_path: Path) -> None:
    """Rewritten prompts, answers and refusals in chats that are shortened and interrupted."""
    with LoopbackChat() as server:
        asked = {
            "llms": {"m": {"base_url": server.base_url, "model": "m", **QUICK}},
            "rewrite": {"llm": "m"},
            "answer": {"llm": "m", "how": "spoken"},
            "noise": {"rows": 3, "kinds": {"sticky": 1}, "refusals": {"llm": "m"}},
        }
        assert_done(speechmill("run", write_recipe(tmp_path, **{**WHOLE, **asked}), "--workers", "0"))
    assert_done(speechmill("verify", tmp_path / "run"))
    spoken = {row["id"]: row for row in rows_in(tmp_path / "run", "quantize")}
    found = rows_in(tmp_path / "run", "noise.chats")
    assert found
    for row in found:
        at, of = json.loads(row["inaudible"])["turn"], spoken[row["id"].removesuffix("/inaudible")]
        tasks = {note["turn"]: note["task"] for note in row["generated"]}
        assert tasks.pop(at + 1) == "refusal"
        assert tasks == {n["turn"] + 2 * (n["turn"] >= at): n["task"] for n in of["generated"]}
        for note in row["generated"]:
            role = "user" if note["task"] == "rewrite" else "assistant"
            assert row["messages"][note["turn"]]["role"] == role
    assert {note["task"] for row in spoken.values() for note in row["generated"]} >= {"spoken"}
    assert any(row["cut"] for row in spoken.values())


def test_written_turns_speak_nothing_again(chats_run: Path, tmp_path: Path) -> None:
    shutil.copytree(chats_run / "run", tmp_path / "run")
    recipe = write_recipe(tmp_path, **{**WHOLE, "chats": {**WHOLE["chats"], "written_turns": 0.0}})  # type: ignore[dict-item]
    plan = speechmill("plan", recipe)
    assert_done(plan)
    again = {line.split()[0] for line in plan.stdout.splitlines() if "written_turns" in line}
    assert "export.render" in again
    assert not [key for key in again if key.startswith(("read", "score", "filter", "tts", "quantize", "noise", "mix"))]
    assert_done(speechmill("run", recipe, "--workers", "0"))
    assert_done(speechmill("verify", tmp_path / "run"))
    for pair in pairs_in(tmp_path / "run", "chats"):
        assert all(m["content"].startswith("<|sound_start|>") for m in pair["conversations"] if m["role"] == "user")


def test_too_many_interruptions_are_an_error_with_its_arithmetic(tmp_path: Path) -> None:
    few = {**WHOLE, "chats": {"inaudible": 40}}
    result = speechmill("run", write_recipe(tmp_path, **few), "--workers", "0")
    assert result.returncode == 2
    assert "40 chats are to get a turn that nobody can hear, but of 12 rows only 10 have" in result.stderr
    assert "Set chats.inaudible=10, or read more chats" in result.stderr
    assert_done(speechmill("run", tmp_path / "recipe.yaml", "--workers", "0", "--set", "limit=40"))
    assert_done(speechmill("verify", tmp_path / "run"))
    assert len(rows_in(tmp_path / "run", "noise.chats")) == 5  # a small run of a big recipe: half of what it has


def test_interruptions_need_a_part() -> None:
    with pytest.raises(UserError, match="3 chats would be interrupted for no mixture"):
        parse_recipe(recipe_of(chats={"inaudible": 3}), "test")


@settings(max_examples=60)
@given(st.integers(0, 99), st.integers(2, 8), st.floats(0.01, 0.99))
def test_the_draw_of_written_turns(seed: int, n: int, share: float) -> None:
    messages = [m for k in range(n) for m in said(f"turn {k}")]
    found = written_turns(seed, "0" * 32, messages, None, share)
    assert found <= {2 * k for k in range(n)}
    assert len(found) < n
    more = written_turns(seed, "0" * 32, messages, None, min(0.99, share * 1.5))
    assert found <= more or len(more) == n - 1  # a larger share writes no other turns first
    unheard = json.dumps({"kind": "pink", "turn": 2})
    assert written_turns(seed, "0" * 32, messages, unheard, share).isdisjoint({2, 4})


@pytest.mark.parametrize(("n", "share"), [(2, 0.5), (2, 0.2), (4, 0.5), (4, 0.9)])
def test_the_share_that_comes_out_is_what_the_docs_say(n: int, share: float) -> None:
    messages = [m for k in range(n) for m in said(f"turn {k}")]
    written = sum(len(written_turns(1, f"{row:032x}", messages, None, share)) for row in range(4000))
    assert abs(written / (4000 * n) - (share - share**n / n)) < 0.012
