"""Sources of every kind and every kind of bad input: a named reject with its place, or one clear error."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import UserError
from pipelines.options import Exactly
from pipelines.recipe import load_recipe, parse_recipe
from pipelines.steps import passes_for
from tests.conftest import recipe_of, write_recipe
from tests.pipelines.in_process import run_quietly

PAIRS = [{"q": f"What is number {i}?", "a": f"It is {i}.", "kind": "even" if i % 2 == 0 else "odd"} for i in range(7)]


def read(folder: Path, *sources: dict[str, Any], rows_per_shard: int = 3, **read_options: Any) -> Path:
    """Read sources in this process; returns the folder of the step read."""
    options = {"rows_per_shard": rows_per_shard, **read_options}
    raw = recipe_of(root=str(folder), run_dir=str(folder / "run"), sources=list(sources), read=options)
    run_quietly(parse_recipe(raw, "test"), passes_for("read"))
    return folder / "run" / "read"


def rows(step: Path, kind: str = "") -> list[dict[str, Any]]:
    return [row for path in sorted((step / kind).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def manifest(step: Path) -> dict[str, Any]:
    return dict(json.loads((step / "manifest.json").read_bytes()))


def write(path: Path, records: list[dict[str, Any]], kind: str) -> Path:
    """Write records as a file of a kind."""
    if kind == "jsonl":
        data = "".join(json.dumps(r) + "\n" for r in records).encode()
    elif kind == "json":
        data = json.dumps(records, indent=1).encode()
    elif kind == "csv":
        lines = [",".join(records[0]), *(",".join(f'"{v}"' for v in r.values()) for r in records)]
        data = "\n".join(lines).encode()
    else:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(records), sink, row_group_size=2)
        data = sink.getvalue().to_pybytes()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_every_kind_of_file_gives_the_same_rows(kind: str, suffix: str, tmp_path: Path) -> None:
    name = write(tmp_path / f"pairs.{kind}{suffix}", PAIRS, kind).name
    step = read(tmp_path, {"name": "pairs", "path": name, "prompt": "q", "answer": "a", "license": "MIT"})
    found = rows(step)
    assert [r["messages"][0]["content"] for r in found] == [p["q"] for p in PAIRS]
    assert [r["messages"][1]["content"] for r in found] == [p["a"] for p in PAIRS]
    assert [r["index"] for r in found] == list(range(7))
    assert {(r["license"], r["source"], r["exchanges"], r["answered"]) for r in found} == {("MIT", "pairs", 1, True)}
    assert sorted(p.name for p in step.glob("*.parquet")) == [f"pairs-0000{i}.parquet" for i in range(3)]
    assert manifest(step)["rows_in"] == manifest(step)["rows_kept"] == 7


SHAPES = [
    ({"instruction": "Say hi", "input": "", "output": "hi"}, "alpaca", ["Say hi", "hi"]),
    ({"instruction": "Add", "input": "1, 2", "response": "3"}, "alpaca", ["Add\n\n1, 2", "3"]),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "sharegpt", ["a", "b"]),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "messages", ["a", "b"]),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, "messages", ["a"]),
    ({"conversations": [{"role": "user", "content": "a"}]}, "messages in conversations", ["a"]),
    ({"question": "who?", "answer": ["me", "I"]}, "question -> answer", ["who?", "me"]),
    ({"question": "who?", "answer": []}, "question -> answer", ["who?"]),
    ({"text": "only this"}, "text -> no answer", ["only this"]),
]


@pytest.mark.parametrize(("record", "said", "texts"), SHAPES)
def test_shapes_are_detected_and_said(record: dict[str, Any], said: str, texts: list[str], tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", [record], "jsonl")
    step = read(tmp_path, {"name": "x", "path": "x.jsonl", "turns": "all"})
    assert [m["content"] for m in rows(step)[0]["messages"]] == texts
    assert said in json.loads((step / "x.json").read_bytes())["facts"]["said"]


def test_first_turn_or_all(tmp_path: Path) -> None:
    roles = ["system", "user", "assistant", "user", "assistant"]
    write(
        tmp_path / "x.jsonl", [{"messages": [{"role": r, "content": f"{r} {i}"} for i, r in enumerate(roles)]}], "jsonl"
    )
    first = rows(read(tmp_path, {"name": "x", "path": "x.jsonl"}))[0]
    assert [m["content"] for m in first["messages"]] == ["system 0", "user 1", "assistant 2"]
    assert first["cut"] == "read.turns at exchange 2 of 2"
    both = rows(read(tmp_path, {"name": "x", "path": "x.jsonl", "turns": "all"}))[0]
    assert (len(both["messages"]), both["exchanges"]) == (5, 2)


def _chat(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": f"{role} {i}"} for i, role in enumerate(roles)]}


PAIR_OF_ROLES = ["user", "assistant"]


def test_so_many_exchanges_and_no_others(tmp_path: Path) -> None:
    chats = [_chat(*PAIR_OF_ROLES * n) for n in (1, 2, 3, 2)] + [_chat("system", *PAIR_OF_ROLES * 2)]
    write(tmp_path / "x.jsonl", [*chats, _chat(*PAIR_OF_ROLES * 2, "user"), _chat("user")], "jsonl")
    step = read(tmp_path, {"name": "x", "path": "x.jsonl", "turns": {"exactly": 2}})
    assert [(r["index"], r["exchanges"], r["cut"]) for r in rows(step)] == [(1, 2, None), (3, 2, None), (4, 2, None)]
    assert sorted((r["index"], r["reject"]) for r in rows(step, "rejects")) == [
        (0, "read.exchanges:1"),
        (2, "read.exchanges:3"),
        (5, "read.turn_order:the last user message has no answer"),
        (6, "read.exchanges:1"),
    ]


@pytest.mark.parametrize(
    ("roles", "kept", "cut"),
    [
        (PAIR_OF_ROLES * 5, 4, "read.turns at exchange 3 of 5"),
        (["system", *PAIR_OF_ROLES * 5], 5, "read.turns at exchange 3 of 5"),
        (PAIR_OF_ROLES * 2, 4, None),
        ([*PAIR_OF_ROLES, "user"], 2, "read.turns at exchange 2 of 2"),
        ([*PAIR_OF_ROLES * 2, "user"], 4, "read.turns at exchange 3 of 3"),
        (
            [*PAIR_OF_ROLES * 2, "assistant", "user"],
            4,
            "read.turns at exchange 3 of 3",
        ),
        (["user"], 1, None),
    ],
)
def test_chats_are_cut_at_the_border_of_an_exchange(
    roles: list[str], kept: int, cut: str | None, tmp_path: Path
) -> None:
    write(tmp_path / "x.jsonl", [_chat(*roles)], "jsonl")
    (row,) = rows(read(tmp_path, {"name": "x", "path": "x.jsonl", "turns": {"at_most": 2}}))
    assert [m["content"] for m in row["messages"]] == [f"{role} {i}" for i, role in enumerate(roles[:kept])]
    users = roles[:kept].count("user")
    assert (row["exchanges"], row["answered"], row["cut"]) == (users, roles[kept - 1] == "assistant", cut)


def test_an_exchange_within_the_border_must_be_whole(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", [_chat("user", "user", "assistant"), _chat("user")], "jsonl")
    step = read(tmp_path, {"name": "x", "path": "x.jsonl", "turns": {"at_most": 2}})
    assert manifest(step)["rejected"] == {"read.turn_order": 1}


@pytest.mark.parametrize("turns", [{"exactly": 0}, {"exactly": 2, "at_most": 3}, {"exact": 2}, "some", 2, None])
def test_turns_that_cannot_be_are_one_error(turns: Any) -> None:
    with pytest.raises(UserError, match=r"sources.0.turns: .* is none of: first, all, {exactly: 2}, {at_most: 4}"):
        parse_recipe(recipe_of(sources=[{"name": "x", "path": "x.jsonl", "turns": turns}]), "test")


def test_turns_are_set_whole_from_the_command_line(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    assert load_recipe(recipe, ["sources.examples.turns={exactly: 2}"]).sources[0].turns == Exactly(exactly=2)
    with pytest.raises(UserError, match=r"has no options; set it whole: --set 'sources.examples.turns={exactly: 2}'"):
        load_recipe(recipe, ["sources.examples.turns.exactly=2"])


def test_where_and_limit(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", PAIRS, "jsonl")
    source = {"name": "x", "path": "x.jsonl", "prompt": "q", "where": {"kind": ["even"]}, "limit": 3}
    step = read(tmp_path, source)
    assert [r["index"] for r in rows(step)] == [0, 2, 4]
    assert manifest(step)["rejected"] == {"read.where": 2}
    with pytest.raises(UserError, match="no column 'knd'; did you mean kind"):
        read(tmp_path, {**source, "where": {"knd": "even"}})


def test_where_not(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", [*PAIRS, {"q": "Which kind am I?", "kind": None}, {"q": "And I?"}], "jsonl")
    source = {"name": "x", "path": "x.jsonl", "prompt": "q", "where_not": {"kind": ["even", "none"]}}
    step = read(tmp_path, source)
    assert [r["index"] for r in rows(step)] == [1, 3, 5, 7, 8]
    assert manifest(step)["rejected"] == {"read.where_not": 4}
    assert [r["raw"] for r in rows(step, "rejects")] == [""] * 4
    both = {**source, "where": {"q": [p["q"] for p in PAIRS[1:4]]}, "where_not": {"kind": "even"}, "limit": 2}
    assert [r["index"] for r in rows(read(tmp_path, both))] == [1, 3]
    with pytest.raises(UserError, match="no column 'knd'; did you mean kind"):
        read(tmp_path, {**source, "where_not": {"knd": "even"}})


def test_a_column_of_system_messages(tmp_path: Path) -> None:
    systems = ["Be brief.", "", " \n", None]
    write(tmp_path / "x.jsonl", [{"s": s, "q": f"{i}?", "a": "yes"} for i, s in enumerate([*systems, 5])], "jsonl")
    source = {"name": "x", "path": "x.jsonl", "prompt": "q", "answer": "a", "system": "s"}
    step = read(tmp_path, source)
    assert [[m["role"][0] for m in r["messages"]] for r in rows(step)] == [["s", "u", "a"], *[["u", "a"]] * 3]
    assert rows(step)[0]["messages"][0]["content"] == "Be brief."
    assert manifest(step)["rejected"] == {"read.wrong_type": 1}
    assert json.loads((step / "x.json").read_bytes())["facts"]["said"] == "given s + q -> a"
    with pytest.raises(UserError, match="no column 'sys'"):
        read(tmp_path, {**source, "system": "sys"})
    with pytest.raises(UserError, match="system names a column, so prompt must too"):
        read(tmp_path, {"name": "x", "path": "x.jsonl", "system": "s"})


def test_rows_are_written_in_large_groups(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", [{"q": f"{i}?"} for i in range(11_000)] + [{}] * 5001, "jsonl")
    step = read(tmp_path, {"name": "x", "path": "x.jsonl", "prompt": "q"}, rows_per_shard=12_000)
    groups = {}
    for kind in ("", "rejects"):
        about = pq.read_metadata(step / kind / "x-00000.parquet")
        groups[kind] = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
    assert groups == {"": [10_000, 1000], "rejects": [1000, 1000, 1000, 1000, 1000, 1]}


def test_long_texts_end_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.steps.read.CHARS_PER_GROUP", 2500)
    write(tmp_path / "x.jsonl", [{"q": "why? " * 200} for _ in range(7)], "jsonl")  # a thousand characters each
    step = read(tmp_path, {"name": "x", "path": "x.jsonl", "prompt": "q"}, rows_per_shard=6)
    about = [pq.read_metadata(step / f"x-0000{shard}.parquet") for shard in (0, 1)]
    assert [[a.row_group(i).num_rows for i in range(a.num_row_groups)] for a in about] == [[3, 3], [1]]


def test_ids_survive_reordering_and_resharding(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", PAIRS, "jsonl")
    shuffled = random.Random(1).sample(PAIRS, len(PAIRS))
    write(tmp_path / "b.jsonl", shuffled, "jsonl")
    source = {"name": "x", "prompt": "q", "answer": "a"}
    one = {r["messages"][0]["content"]: r["id"] for r in rows(read(tmp_path, {**source, "path": "a.jsonl"}))}
    two = {
        r["messages"][0]["content"]: r["id"]
        for r in rows(read(tmp_path, {**source, "path": "b.jsonl"}, rows_per_shard=2))
    }
    assert one == two
    assert len(set(one.values())) == 7


def test_globs_folders_and_several_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "b.jsonl", PAIRS[:2], "jsonl")
    write(tmp_path / "in" / "a.parquet", PAIRS[2:], "parquet")
    for path in ("in", "in/*", "in/[ab].*"):
        found = rows(read(tmp_path, {"name": "x", "path": path, "prompt": "q"}))
        assert [r["messages"][0]["content"] for r in found] == [p["q"] for p in [*PAIRS[2:], *PAIRS[:2]]]


@pytest.mark.parametrize("streaming", [True, False])
def test_a_hugging_face_dataset_folder(streaming: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    write(folder / "test-0.parquet", PAIRS, "parquet")
    source = {"name": "x", "hf": "set", "split": "test", "streaming": streaming, "prompt": "q", "answer": "a"}
    found = rows(read(tmp_path, source))
    assert [r["messages"][0]["content"] for r in found] == [p["q"] for p in PAIRS]
    with pytest.raises(UserError, match="source x: cannot read the dataset set"):
        read(tmp_path, {**source, "split": "nosuch"})


@pytest.mark.parametrize("streaming", [True, False])
def test_columns_that_are_not_named_are_not_decoded(
    streaming: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Benchmarks of speech hold audio, which would need a decoder: a source that names its prompt does not touch it."""
    import datasets

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    features = datasets.Features({"q": datasets.Value("string"), "audio": datasets.Audio()})
    table = pa.table({"q": ["What is rain?"], "audio": [{"bytes": b"no audio at all", "path": None}]})
    (tmp_path / "set").mkdir()
    pq.write_table(table.cast(features.arrow_schema), tmp_path / "set" / "train.parquet")
    step = read(tmp_path, {"name": "x", "hf": "set", "streaming": streaming, "prompt": "q"})
    assert [row["messages"][0]["content"] for row in rows(step)] == ["What is rain?"]


@pytest.mark.parametrize("streaming", [True, False])
def test_a_dataset_of_mixed_types_is_decoded(streaming: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` stores columns and messages of several types as JSON text; rows hold the values again."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    chats = [[{"from": "human", "value": f"{i}?"}, {"from": "gpt", "value": "yes", **more}] for i, more in
             enumerate([{}, {"weight": 1}, {"weight": {"a": "b"}}])]  # fmt: skip
    metas = ["text", {"of": "text"}, [1, "two"]]
    (tmp_path / "set").mkdir()
    records = [{"conversations": chat, "meta": meta} for chat, meta in zip(chats, metas, strict=True)]
    write(tmp_path / "set" / "train.jsonl", records, "jsonl")
    step = read(tmp_path, {"name": "x", "hf": "set", "streaming": streaming, "where_not": {"meta": "text"}})
    assert [[m["content"] for m in r["messages"]] for r in rows(step)] == [["1?", "yes"], ["2?", "yes"]]
    assert manifest(step)["rejected"] == {"read.where_not": 1}


TEXT = json.dumps({"q": "fine?", "a": "yes"})
BAD_LINES = [
    ('{"q": "torn', "read.bad_json"),
    ("[1, 2]", "read.not_an_object"),
    ('{"q": 5, "a": "x"}', "read.wrong_type"),
    ('{"q": "x", "a": {"b": 1}}', "read.wrong_type"),
    ('{"a": "x"}', "read.missing_column"),
    ('{"q": "a \\ud83d b", "a": "x"}', "read.lone_surrogate"),
    ('{"q": "x", "a": "\\udc00"}', "read.lone_surrogate"),
    ('{"q": "a\\u0000b", "a": "x"}', "read.nul"),
    ('{"q": "", "a": "x"}', "read.empty_prompt"),
    ('{"q": " \\n", "a": "x"}', "read.empty_prompt"),
    (json.dumps({"q": "long " * 200_000, "a": "x"}), "read.prompt_too_large"),
    (b'{"q": "\xff\xfe", "a": "x"}', "read.bad_utf8"),
    ("9" * 5000, "read."),
    ("[" * 100_000, "read.bad_json"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_a_bad_record_is_a_reject_with_its_place(line: str | bytes, reason: str, tmp_path: Path) -> None:
    raw = line.encode() if isinstance(line, str) else line
    (tmp_path / "x.jsonl").write_bytes(TEXT.encode() + b"\n\n" + raw + b"\n" + TEXT.replace("fine", "good").encode())
    step = read(tmp_path, {"name": "x", "path": "x.jsonl", "prompt": "q", "answer": "a"})
    (reject,) = rows(step, "rejects")
    assert reject["reject"].startswith(reason)
    assert (reject["place"], reject["index"], reject["source"]) == ("x.jsonl:3", 1, "x")
    assert reject["raw"].startswith(raw.decode("utf-8", "backslashreplace")[:1000])
    assert len(rows(step)) == 2
    assert manifest(step)["rows_in"] == 3


def test_bad_csv_rows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b'q,a\nfine,yes\n"two\nlines",yes\none\n\xff,x\nlast,yes\n')
    step = read(tmp_path, {"name": "x", "path": "x.csv", "prompt": "q", "answer": "a"})
    assert [r["messages"][0]["content"] for r in rows(step)] == ["fine", "two\nlines", "last"]
    rejects = [(r["place"], r["reject"].split(":")[0]) for r in rows(step, "rejects")]
    assert rejects == [("x.csv:5", "read.bad_csv"), ("x.csv:6", "read.bad_utf8")]


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("name", "prepare", "message"),
    [
        ("x.parquet", torn, r"x.parquet:row 0: not readable as Parquet .* torn"),
        ("x.parquet.gz", torn, r"x.parquet.gz is torn: .*Fetch the file again"),
        ("x.jsonl.gz", torn, r"x.jsonl.gz is torn: .*Fetch the file again"),
        ("x.json", torn, r"x.json:\d+:\d+: .*The file is torn or not JSON; fetch it again"),
        ("x.jsonl", lambda p: p.write_bytes(b""), r"x.jsonl is empty \(0 bytes\)"),
        ("x.jsonl", lambda p: p.write_bytes(b"\n \n"), r"holds no records"),
        ("x.json", lambda p: p.write_bytes(b'{"a": 1}\n'), r"no column 'q'; valid: a"),
        ("x.json", lambda p: p.write_bytes(b'"text"'), r"a \.json source is a list of objects"),
        ("x.csv", lambda p: p.write_bytes(b'q,a\nx,y\n"open,y\nz,z\n'), r"x.csv:3: .*A quote in this record"),
        ("x.csv", lambda p: p.write_bytes(b"question,a\nx,y\n"), r"no column 'q'; did you mean|no column 'q'; valid"),
        ("x.txt", lambda p: p.write_bytes(b"hello"), r"x.txt is none of \.jsonl"),
    ],
)
def test_a_bad_file_is_one_clear_error(name: str, prepare: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    kind = name.split(".")[1]
    write(path, PAIRS, kind if kind != "txt" else "jsonl")
    prepare(path)
    with pytest.raises(UserError, match=message):
        read(tmp_path, {"name": "x", "path": name, "prompt": "q", "answer": "a"})


def test_of_two_parquet_columns_of_a_name_the_last_is_read(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([text]) for text in ("Who?", "I.", "You.")], names=["q", "a", "a"])
    pq.write_table(table, tmp_path / "x.parquet")
    found = rows(read(tmp_path, {"name": "x", "path": "x.parquet", "prompt": "q", "answer": "a"}))
    assert [[message["content"] for message in row["messages"]] for row in found] == [["Who?", "You."]]


ODD = ["What?", "", " ", None, "nul\0", "x" * 30, "é" * 30, "\u2003", "\x1f", "Who?"]


@pytest.mark.parametrize("changes", [{}, {"limit": 90}, {"turns": {"exactly": 2}}, {"where_not": {"q": "Who?"}}])
def test_columns_of_parquet_are_read_as_records_are(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.steps.read.ROWS_PER_GROUP", 4)
    pairs = [{"q": prompt, "a": answer, "n": [1]} for prompt in ODD for answer in ODD]
    found = {}
    for kind in ("jsonl", "parquet"):
        folder = tmp_path / kind
        (folder / "from").mkdir(parents=True)
        write(folder / "from" / f"1.{kind}", pairs, kind)
        write(folder / "from" / f"2.{kind}", [{"q": "Alone?"}, {"q": None}], kind)
        source = {"name": "x", "path": "from", "prompt": "q", "answer": "a", **changes}
        if "exactly" in str(changes):
            with pytest.raises(UserError, match="not one of its 102 records can be used"):
                read(folder, source, rows_per_shard=7, max_prompt_bytes=50)
        else:
            read(folder, source, rows_per_shard=7, max_prompt_bytes=50)
        step = folder / "run" / "read"
        rejected = [{**row, "raw": "", "place": ""} for row in rows(step, "rejects")]
        parts = [json.loads(part.read_bytes())["counts"] for part in sorted((step / "parts").glob("*.json"))]
        found[kind] = rows(step), rejected, parts
    assert found["jsonl"] == found["parquet"]
    assert found["jsonl"][1], "some are odd"


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_a_byte_order_mark_is_no_part_of_the_data(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"x.{kind}", PAIRS, kind)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    step = read(tmp_path, {"name": "x", "path": path.name, "prompt": "q", "answer": "a"})
    assert [r["messages"][0]["content"] for r in rows(step)] == [p["q"] for p in PAIRS]


def test_json_lines_named_json_after_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", PAIRS, "jsonl")
    path.write_bytes(b"\n\n" + path.read_bytes())
    assert len(rows(read(tmp_path, {"name": "x", "path": "x.json", "prompt": "q"}))) == 7


def test_the_shape_is_that_of_the_first_records_together(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", [{"error": "none"}, {"prompt": "one"}, {"prompt": "two", "answer": "2"}], "jsonl")
    step = read(tmp_path, {"name": "x", "path": "x.jsonl"})
    assert [r["answered"] for r in rows(step)] == [False, True]
    assert manifest(step)["rejected"] == {"read.missing_column": 1}


def test_odd_files_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub.json").mkdir(parents=True)
    write(tmp_path / "in" / "a.jsonl", PAIRS, "jsonl")
    assert len(rows(read(tmp_path, {"name": "x", "path": "in", "prompt": "q"}))) == 7
    (tmp_path / "in" / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"gone\.jsonl is a link to nothing"):
        read(tmp_path, {"name": "x", "path": "in", "prompt": "q"})
    (tmp_path / "in" / "gone.jsonl").unlink()
    (tmp_path / "in" / "a.jsonl").rename(tmp_path / "in" / os.fsdecode(b"\xff.jsonl"))
    assert len(rows(read(tmp_path, {"name": "x", "path": "in", "prompt": "q"}))) == 7


def test_parquet_that_breaks_its_own_types(tmp_path: Path) -> None:
    bad = pa.array([b"fine", b"\xff\xfe"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"q": bad}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x\.parquet:row 0: not readable as Parquet .*holds what its types do not"):
        read(tmp_path, {"name": "x", "path": "x.parquet", "prompt": "q"})


def test_a_role_that_cannot_be_written_is_a_reject(tmp_path: Path) -> None:
    good = json.dumps({"messages": [{"role": "user", "content": "a"}]})
    (tmp_path / "x.jsonl").write_text(good + "\n" + good.replace("user", "\\ud800"))
    assert manifest(read(tmp_path, {"name": "x", "path": "x.jsonl"}))["rejected"] == {"read.unknown_role": 1}


def test_a_source_of_which_nothing_can_be_used_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", [{"q": 1}, {"q": 2}], "jsonl")
    with pytest.raises(UserError, match=r"not one of its 2 records can be used \(read\.wrong_type 2; given q"):
        read(tmp_path, {"name": "x", "path": "x.jsonl", "prompt": "q"})


def test_where_compares_csv_by_text(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("q,n\none,1\ntwo,2\n")
    step = read(tmp_path, {"name": "x", "path": "x.csv", "prompt": "q", "where": {"n": 1}})
    assert [r["messages"][0]["content"] for r in rows(step)] == ["one"]


def test_an_old_record_never_vouches_for_new_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MIT, then a run for BSD that is killed after its first part, then MIT again: all rows are MIT."""
    from pipelines.steps import read as step

    write(tmp_path / "x.jsonl", PAIRS, "jsonl")
    source = {"name": "x", "path": "x.jsonl", "prompt": "q", "license": "MIT"}
    read(tmp_path, source)
    take = step._Reader._take

    def stop_at_4(reader: Any, record: Any, writer: Any) -> bool:
        if reader.position == 4:
            raise KeyboardInterrupt
        return take(reader, record, writer)

    with monkeypatch.context() as patched:
        patched.setattr(step._Reader, "_take", stop_at_4)
        with pytest.raises(KeyboardInterrupt):
            read(tmp_path, {**source, "license": "BSD"})
    assert {r["license"] for r in rows(read(tmp_path, source))} == {"MIT"}


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", PAIRS, "jsonl")
    with pytest.raises(UserError, match=r"no file at .*pair\.jsonl; did you mean pairs\.jsonl"):
        read(tmp_path, {"name": "x", "path": "pair.jsonl", "prompt": "q"})


def test_a_killed_read_goes_on_after_its_last_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop in the middle of a source: the parts that were finished are not written again."""
    from pipelines.steps import read as step

    write(tmp_path / "x.jsonl", PAIRS, "jsonl")
    source = {"name": "x", "path": "x.jsonl", "prompt": "q", "answer": "a"}
    undisturbed = rows(read(tmp_path, source))
    (tmp_path / "run" / "read" / "x.json").unlink()
    take, stopped = step._Reader._take, []

    def stop_at_5(reader: Any, record: Any, writer: Any) -> bool:
        if reader.position == 5 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        return take(reader, record, writer)

    for path in (tmp_path / "run").rglob("*.parquet"):
        path.unlink()
    monkeypatch.setattr(step._Reader, "_take", stop_at_5)
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, source)
    before = (tmp_path / "run" / "read" / "x-00000.parquet").stat()
    assert not (tmp_path / "run" / "read" / "x-00001.parquet").exists()
    step_dir = read(tmp_path, source)
    after = (step_dir / "x-00000.parquet").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert rows(step_dir) == undisturbed
