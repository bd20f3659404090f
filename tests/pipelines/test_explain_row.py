"""explain: what it tells of a row is what stands in the files; an id that is nobody's, or several rows', says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.arguments import load_run
from pipelines.errors import UserError
from pipelines.options import Source
from pipelines.recipe import Recipe
from pipelines.row import ROW, row_id
from pipelines.shards import read_record
from pipelines.sources import place_of, read_records
from pipelines.steps.tts import draw_seed
from pipelines.tasks import TASKS
from pipelines.telling.life import explain_row
from pipelines.telling.life_told import told
from tests.conftest import EXAMPLES, ROOT, write_recipe
from tests.pipelines.in_process import mill

FAMILIES: dict[str, Any] = {
    "sources": [{"name": "examples", "path": "examples/instructions.jsonl", "turns": "all", "limit": 60}],
    "tts": {"per_prompt": 2, "augment": {"gain_db": [-6, 0], "share": 1}},
    "chats": {"inaudible": 1},
    "noise": {"rows": 4, "ladder": {"rows": 2, "rungs": 3, "snr_db": [20, -20]}},
    "mix": {
        "max_refusal_share": 0.5,
        "mixtures": {
            "all": {"parts": {"speech_instruction": 80, "inaudible": 10, "degraded": 10}},
            "chats": {"parts": {"interrupted": 100}},
        },
    },
    "export": {"shard_bytes": 5_000},
}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A run with several readings of each row, ladders and an interrupted chat. Read only."""
    folder = tmp_path_factory.mktemp("families")
    mill("run", write_recipe(folder, **FAMILIES), "--workers", "0")
    return load_run(folder / "run")


@pytest.fixture(scope="module")
def small(finished: Path) -> Recipe:
    return load_run(finished / "run")


def table_of(folder: Path, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a folder's shards, each with the name of its file."""
    paths = sorted(folder.glob("*.parquet"))
    return [{**row, "shard": path.stem} for path in paths for row in pq.read_table(path, columns=columns).to_pylist()]


def test_every_row_has_its_life(small: Recipe) -> None:
    run = small.run_path
    read = {row["id"]: row for row in table_of(run / "read")}
    rejects = {row["id"]: row["reject"] for row in table_of(run / "filter" / "rejects", ["id", "reject"])}
    quantized = {row["id"]: row for row in table_of(run / "quantize")}
    lines = EXAMPLES.read_text().splitlines()
    assert len(read) > 100
    for number, (i, row) in enumerate(sorted(read.items())):
        if number % 4:  # a quarter of them, whose ids are no choice of ours
            continue
        life = explain_row(small, i)
        if row["source"] == "examples":
            place, _, line = life["source"]["place"].rpartition(":")
            assert place == "examples/instructions.jsonl"
            said = json.loads(lines[int(line) - 1])
            assert json.dumps(row["messages"][0]["content"])[1:-1] in json.dumps(said)
        assert (life["ended"] or {}).get("reject") == rejects.get(i)
        assert {rule["reject"] for rule in life["rules"]} - {None} >= {rejects.get(i)} - {None}
        assert [rule["keeps"] for rule in life["rules"]].count(False) == (i in rejects) or i in rejects
        spoken = quantized[i]["spoken"] if i in quantized else []
        assert [u["tokens"] for u in life["spoken"]] == [len(u["tokens"]) for u in spoken]
        for mine, utterance in zip(life["spoken"], spoken, strict=True):
            same = ("turn", "text", "voice", "rate_wpm", "pitch", "tts", "seconds", "tokenizer")
            assert {name: mine[name] for name in same} == {name: utterance[name] for name in same}
            assert mine["seed"] == draw_seed(small.seed, i, utterance["turn"])
        for made in life["made_by"]:
            record = read_record(run / made["pass"] / f"{made['unit']}.json")
            assert record is not None
            assert record.fingerprint == made["fingerprint"]


def test_every_pair_is_where_it_is_said_to_be(small: Recipe) -> None:
    run, checked = small.run_path, 0
    for mixture in small.mix.mixtures:
        for path in sorted((run / "dataset" / mixture).glob("*.parquet")):
            for row, pair in enumerate(pq.read_table(path, columns=["id", "index", "task"]).to_pylist()):
                if row % 7:
                    continue
                (serves,) = [s for s in explain_row(small, pair["id"])["serves"] if s["mixture"] == mixture]
                found = {name: serves[name] for name in ("task", "index", "file", "row")}
                assert found == {
                    "task": pair["task"],
                    "index": pair["index"],
                    "file": str(path.relative_to(run)),
                    "row": row,
                }
                checked += 1
    assert checked > 15
    heard = table_of(run / "dataset/audio", ["id", "turn"])
    life = explain_row(small, heard[0]["id"])
    (file, row) = life["audio"].values()
    assert pq.read_table(run / file, columns=["id"])["id"][row].as_py() == heard[0]["id"]


def test_an_id_may_be_short_and_must_be_one_rows(small: Recipe) -> None:
    ids = [row["id"] for row in table_of(small.run_path / "read", ["id"])]
    short = next(i for i in ids if sum(other.startswith(i[:6]) for other in ids) == 1)
    assert explain_row(small, short[:6]) == explain_row(small, short)
    digit = max("0123456789abcdef", key=lambda d: sum(i.startswith(d) for i in ids))
    unknown = next(f"{n:032x}" for n in range(100) if not any(i.startswith(f"{n:032x}") for i in ids))
    for wanted, message in (
        (digit, "rows have ids that begin so: "),
        (unknown, "no row of .* has an id that begins so"),
        ("examples", "is no id: 32 hexadecimal digits"),
        (f"{short}/transcribtion", "did you mean transcription"),
        (f"{short}/7", "has no 7"),
        (f"{short}/inaudible", "has no inaudible; nothing was made of it"),
    ):
        with pytest.raises(UserError, match=message):
            explain_row(small, wanted)


def test_json_is_the_same_and_words_tell_it(small: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    pair = table_of(small.run_path / "dataset/stage2", ["id"])[0]["id"]
    life = explain_row(small, pair)
    mill("explain", small.run_path, pair, "--json")
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(life))
    mill("explain", small.run_path, pair)
    said = capsys.readouterr().out
    assert said == "\n".join(told(life)) + "\n"
    assert said.startswith(f"{pair}\n\nfrom {life['source']['name']}: {life['source']['place']}, licence ")
    for utterance in life["spoken"]:
        assert f"voice {utterance['voice']}, rate_wpm {utterance['rate_wpm']}" in said
        assert f"seed {utterance['seed']}" in said
    for serves in life["serves"]:
        assert f"{serves['file']} row {serves['row']}" in said


def test_what_was_published_is_told_of_the_versions_that_hold_it(small: Recipe, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small.run_path, tmp_path / "run"))
    pair = table_of(run / "dataset/stage2", ["id"])[0]["id"]
    file = explain_row(load_run(run), pair)["serves"][0]["file"]
    record = read_record(run / "export" / f"stage2-{Path(file).stem}.json")
    assert record is not None
    name, digest = file.removeprefix("dataset/"), record.files[file]["digest"]
    entries = [
        {"accepted": name, "digest": digest, "sha256": "0", "bytes": 1},
        {"published": "mara/spoken", "commit": "a" * 40, "tag": "v1", "files": {name: "another"}},
        {"published": "mara/spoken", "commit": "b" * 40, "tag": "v2", "files": {name: digest}},
    ]
    (run / "publish").mkdir()
    (run / "publish/mara--spoken.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries) + '{"torn')
    life = explain_row(load_run(run), pair)
    assert life["serves"][0]["published"] == [
        {"repo": "mara/spoken", "version": "v2", "commit": "b" * 40, "file": name}
    ]
    assert f"  published: mara/spoken v2 (commit bbbbbbb), {name}" in list(told(life))


def test_children_have_lives_of_their_own(families: Recipe) -> None:
    run = families.run_path
    spoken = table_of(run / "quantize")[::3]  # of both readings
    rows = [*spoken, *table_of(run / "noise.chats"), *table_of(run / "noise")]
    rows = [row for row in rows if not row["shard"].startswith("interruptions") or "/" in row["id"]]
    kinds = set()
    for row in rows:
        life = explain_row(families, row["id"])
        assert life["id"] == row["id"]
        assert life["messages"] == row["messages"]
        assert [u["tokens"] for u in life["spoken"]] == [len(u["tokens"]) for u in row["spoken"]]
        child = row["id"].partition("/")[2].removeprefix("1/").partition("-")[0]
        kinds.add(child)
        passes = {made["pass"] for made in life["made_by"]}
        assert ("tts" in passes) == (row["source"] != "noise")
        assert ("noise" in passes) == (row["source"] == "noise" or child in ("ladder", "inaudible"))
        assert ("noise.chats" in passes) == (child == "inaudible")
        for utterance, mine in zip(row["spoken"], life["spoken"], strict=True):
            of = row["id"] if child in ("", "1") else row["id"].rpartition("/")[0]
            turn = utterance["turn"]
            if child == "inaudible" and turn > json.loads(row["inaudible"])["turn"]:
                continue
            assert mine["seed"] == (draw_seed(families.seed, of, turn) if utterance["tts"] else None)
            assert mine["augmentation"] == (
                json.loads(utterance["augmentation"]) if utterance["augmentation"] else None
            )
        for task in {serves["task"] for serves in life["serves"]}:
            again = explain_row(families, f"{row['id']}/{task}")
            assert again["id"] == row["id"]
            assert again["task"] == task
            assert task in TASKS
    assert kinds == {"", "1", "inaudible", "ladder"}
    chat = next(row["id"] for row in rows if row["id"].endswith("/inaudible"))
    of = chat.removesuffix("/inaudible")
    assert explain_row(families, of)["in_no_mixture"] == f"withheld: it stands there interrupted, as {chat}"
    assert explain_row(families, chat)["in_no_mixture"] is None


def test_a_record_that_stands_twice_is_told_once_with_its_other_place(tmp_path: Path) -> None:
    asked = ["What is a lighthouse for?", "Why is the sky blue today?", "What is a lighthouse for?", "What is 2^10?"]
    lines = [json.dumps({"prompt": prompt, "answer": "That is a long story."}) for prompt in asked]
    (tmp_path / "own.jsonl").write_text("\n\n".join(lines) + "\n")
    source = {"name": "own", "path": str(tmp_path / "own.jsonl"), "license": "MIT"}
    recipe = write_recipe(tmp_path, sources=[source], read={"rows_per_shard": 2})
    mill("filter", recipe, "--workers", "0")
    twice = [{"role": "user", "content": asked[0]}, {"role": "assistant", "content": "That is a long story."}]
    life = explain_row(load_run(recipe), row_id("own", twice))
    assert life["source"]["place"] == f"{tmp_path}/own.jsonl:1"
    assert life["same_record"] == [{"source": "own", "index": 2, "reject": f"filter.duplicate:{life['id']}"}]
    assert life["ended"] is None
    assert life["in_no_mixture"] == "mixtures are not chosen yet"
    (tmp_path / "own.jsonl").write_text("\n".join(lines) + "\n")
    life = explain_row(load_run(recipe), life["id"])
    assert life["source"]["place"] is None
    assert "have changed since they were read" in life["source"]["why"]
    assert any("record 0 (the source's files have changed" in line for line in told(life))


@pytest.mark.parametrize("path", ["examples/instructions.jsonl", "examples/broken.jsonl"])
def test_a_place_is_found_without_parsing_what_stands_before_it(path: str, tmp_path: Path) -> None:
    source = Source(name="x", path=path)
    places = [record.place for record in read_records(source, ROOT)]
    assert len(places) > 5
    assert [place_of(source, ROOT, index) for index in range(len(places))] == places
    assert place_of(source, ROOT, len(places)) is None


def test_places_in_tables_run_through_all_files_of_a_source(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt,answer\n"two\nlines",x\n\nb,y\n')
    (tmp_path / "c.jsonl").write_text('\n{"prompt": "d"}\n')
    (tmp_path / "d.json").write_text('[{"prompt": "e"}, {"prompt": "f"}]')
    pq.write_table(pa.table({"prompt": ["g", "h", "i"]}), tmp_path / "b.parquet")
    source = Source(name="x", path=str(tmp_path))
    places = [record.place for record in read_records(source, ROOT)]
    assert len(places) == 8
    assert [place_of(source, ROOT, index) for index in range(9)] == [*places, None]


def test_nothing_of_the_sound_is_read() -> None:
    from pipelines.telling.whereabouts import _COLUMNS

    assert {column.partition(".")[0] for column in _COLUMNS} == set(ROW.names)
    assert not [column for column in _COLUMNS if "audio" in column]
