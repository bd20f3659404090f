"""Recordings in: folders with tables, tar shards, Parquet, Hugging Face datasets; what is broken, where it ends."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml

from tests.conftest import ROOT, assert_done, command, content, speechmill

TEXTS = {f"clip{n}": f"this is clip number {n}" for n in range(12)}


def sound(seed: int, seconds: float = 0.5, form: str = "WAV") -> bytes:
    out = io.BytesIO()
    draw = np.random.default_rng(seed)
    rate = 48_000 if form == "OGG" else 16_000
    subtype = {"OGG": "OPUS", "MP3": "MPEG_LAYER_III"}.get(form)
    soundfile.write(
        out, draw.normal(0, 0.1, int(seconds * rate)).astype(np.float32), rate, format=form, subtype=subtype
    )
    return out.getvalue()


def recipe(folder: Path, source: dict[str, Any], **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    raw = {
        "name": "speech",
        "root": str(folder),
        "run_dir": str(folder / "run"),
        "sources": [{"name": "real", "license": "CC0-1.0", "audio": {}, **source}],
        "noise": {"rows": 0},
        "mix": {
            "mixtures": {
                "pretrain": {"parts": {"sound": 100}, "columns": ["index", "tokens", "text"], "most_tokens": 512},
                "asr": {"parts": {"transcription": 100}},
            }
        },
        "export": {"audio": True},
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


def write_folder(folder: Path) -> None:
    """Write 12 recordings of four formats in two folders, with their table."""
    forms = ("WAV", "FLAC", "MP3", "OGG")
    suffixes = {"WAV": "wav", "FLAC": "flac", "MP3": "mp3", "OGG": "opus"}
    (folder / "audio/deep").mkdir(parents=True)
    lines = ["file\ttext\tspeaker"]
    for number, (name, text) in enumerate(TEXTS.items()):
        form = forms[number % 4]
        path = f"{'deep/' if number % 3 == 0 else ''}{name}.{suffixes[form]}"
        (folder / "audio" / path).write_bytes(sound(number, form=form))
        lines.append(f"{path}\t{text}\ts{number % 2}")
    (folder / "audio/transcripts.tsv").write_text("\n".join(lines) + "\n")


def write_parquet(folder: Path) -> None:
    audio = [{"bytes": sound(n), "path": None} for n in range(12)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"audio": pa.array(audio, kind), "sentence": list(TEXTS.values()), "speaker": ["s0", "s1"] * 6})
    pq.write_table(table, folder / "rows.parquet", row_group_size=5)


def write_tar(folder: Path) -> None:
    with tarfile.open(folder / "shard-000.tar.gz", "w:gz") as archive:
        for number, (name, text) in enumerate(TEXTS.items()):
            members = {"wav": sound(number), "json": json.dumps({"text": text, "speaker": f"s{number % 2}"}).encode()}
            for suffix, data in members.items():
                about = tarfile.TarInfo(f"./{name}.{suffix}")
                about.size = len(data)
                archive.addfile(about, io.BytesIO(data))


FORMS = {"folder": (write_folder, "audio"), "parquet": (write_parquet, "rows.parquet"), "tar": (write_tar, "*.tar.gz")}


def rows_of(run: Path, step: str) -> list[dict[str, Any]]:
    return [row for path in sorted((run / step).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_goes_through_to_pairs(form: str, tmp_path: Path) -> None:
    write, path = FORMS[form]
    write(tmp_path)
    made = recipe(tmp_path, {"path": path, "audio": {"speaker": "speaker"}})
    assert_done(speechmill("run", made, "--workers", "0"))
    run = tmp_path / "run"
    rows = rows_of(run, "quantize")
    assert {row["messages"][0]["content"] for row in rows} == set(TEXTS.values())
    assert {(u["voice"], u["tts"]) for row in rows for u in row["spoken"]} == {("s0", "recording"), ("s1", "recording")}
    assert all(abs(len(u["tokens"]) - 25 * u["seconds"]) <= 1 for row in rows for u in row["spoken"])
    pretrain = pq.read_table(run / "dataset/pretrain")
    assert pretrain.column_names == ["index", "tokens", "text"]
    assert pretrain.num_rows == 12
    asr = pq.read_table(run / "dataset/asr").to_pylist()
    assert {pair["answer"] for pair in asr} == set(TEXTS.values())
    heard = pq.read_table(run / "dataset/audio").to_pylist()
    assert len(heard) == 12  # as they were encoded
    assert {row["audio"]["bytes"] for row in heard} == {
        u["audio"]["bytes"] for r in rows_of(run, "read.speech") for u in r["spoken"]
    }
    assert_done(speechmill("verify", run))
    assert_done(speechmill("funnel", run))


def test_a_hugging_face_dataset_with_an_audio_column(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    audio = [{"bytes": sound(n), "path": None} for n in range(6)]
    made = datasets.Dataset.from_dict({"audio": audio, "transcript": list(TEXTS.values())[:6]})
    made = made.cast_column("audio", datasets.Audio(decode=False))
    (tmp_path / "data").mkdir()
    made.to_parquet(tmp_path / "data/train-00000.parquet")
    assert_done(speechmill("run", recipe(tmp_path, {"hf": "data"}), "--workers", "0"))
    rows = rows_of(tmp_path / "run", "quantize")
    assert [row["messages"][0]["content"] for row in rows] == list(TEXTS.values())[:6]


def test_what_cannot_be_heard_is_rejected_with_its_place(tmp_path: Path) -> None:
    write_folder(tmp_path)
    folder = tmp_path / "audio"
    (folder / "empty.wav").write_bytes(b"")
    (folder / "torn.flac").write_bytes(sound(1, form="FLAC")[:20])
    (folder / "words.mp3").write_text("these are words")
    (folder / "silent.wav").write_bytes(sound(1, 0))
    (folder / "untold.wav").write_bytes(sound(2))
    (tmp_path / "secret.wav").write_bytes(sound(3))
    with (folder / "transcripts.tsv").open("a") as table:
        for name in ("empty.wav", "torn.flac", "words.mp3", "silent.wav", "../secret.wav", "/etc/passwd", "gone.wav"):
            table.write(f"{name}\ta text\ts1\n")
        table.write("clip1.flac\tanother text of clip1\ts1\n")
    assert_done(speechmill("quantize", recipe(tmp_path, {"path": "audio"}), "--workers", "0"))
    run = tmp_path / "run"
    rejects = rows_of(run, "read.speech/rejects")
    found = {
        (row["place"].removeprefix("audio/"), row["reject"].split(":")[0].removeprefix("read.")) for row in rejects
    }
    assert found == {
        ("empty.wav", "bad_audio"),
        ("torn.flac", "bad_audio"),
        ("words.mp3", "bad_audio"),
        ("silent.wav", "bad_audio"),
        ("untold.wav", "no_text"),
        ("transcripts.tsv:row 17", "bad_path"),
        ("transcripts.tsv:row 18", "bad_path"),
        ("transcripts.tsv:row 19", "no_file"),
        ("transcripts.tsv:row 20", "named_twice"),
    }
    assert {row["messages"][0]["content"] for row in rows_of(run, "quantize")} == set(TEXTS.values())
    manifest = json.loads((run / "read.speech/manifest.json").read_bytes())
    assert manifest["rows_in"] == manifest["rows_kept"] + sum(manifest["rejected"].values()) == 21


def test_tar_members_and_parquet_paths_stay_inside(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    (tmp_path / "sub").mkdir()
    (tmp_path / "outside.wav").write_bytes(sound(0))
    (tmp_path / "sub/inside.wav").write_bytes(sound(1))
    cells = [
        {"bytes": None, "path": path} for path in ("inside.wav", "../outside.wav", "/etc/passwd", "gone.wav", None)
    ]
    pq.write_table(pa.table({"audio": pa.array(cells, kind), "text": ["a"] * 5}), tmp_path / "sub/rows.parquet")
    with tarfile.open(tmp_path / "sub/shard.tar", "w") as archive:
        for name, data in (("../../evil.wav", sound(2)), ("../../evil.txt", b"text"), ("lone.txt", b"text")):
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
        link = tarfile.TarInfo("link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = set(tmp_path.parent.iterdir())
    assert_done(speechmill("read", recipe(tmp_path, {"path": "sub"}, noise={"rows": 0}), "--workers", "0"))
    reasons = [row["reject"].split(":")[0] for row in rows_of(tmp_path / "run", "read.speech/rejects")]
    assert sorted(reasons) == sorted(
        ["read.no_text"] + ["read.bad_path"] * 2 + ["read.no_file", "read.no_audio", "read.no_audio"]
    )
    assert set(tmp_path.parent.iterdir()) == before
    assert len(rows_of(tmp_path / "run", "read.speech")) == 2  # inside.wav, and the tar's member, which stays in memory


def test_links_are_taken_for_what_they_are_named(tmp_path: Path) -> None:
    """As in the Hub's cache: a folder of links to files elsewhere, of which two are the same."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "audio").mkdir()
    (tmp_path / "blobs/0a1b").write_bytes(sound(0))
    for name in ("one.wav", "two.wav"):
        (tmp_path / "audio" / name).symlink_to("../blobs/0a1b")
    (tmp_path / "audio/transcripts.tsv").write_text("file\ttext\none.wav\tfirst\ntwo.wav\tsecond\n")
    assert_done(speechmill("read", recipe(tmp_path, {"path": "audio"}), "--workers", "0"))
    rows = rows_of(tmp_path / "run", "read.speech")
    assert [row["messages"][0]["content"] for row in rows] == ["first", "second"]


def test_cells_and_members_of_another_kind_are_rejects(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    pq.write_table(pa.table({"audio": [10**12, 5], "text": ["a"] * 2}), tmp_path / "sub/rows.parquet")
    with tarfile.open(tmp_path / "sub/shard.tar", "w") as archive:
        members = {"x.wav": sound(2), "x.json": b"[1, 2]", "y.wav": sound(3), "y.json": b"{no", "z.wav": sound(4)}
        for name, data in {**members, "z.txt": b"good"}.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    assert_done(speechmill("read", recipe(tmp_path, {"path": "sub"}), "--workers", "0"))
    reasons = [row["reject"] for row in rows_of(tmp_path / "run", "read.speech/rejects")]
    assert [reason.split(":")[0] for reason in reasons] == ["read.no_audio"] * 2 + ["read.bad_text"] * 2
    assert "the column holds int, not bytes" in reasons[0]
    assert len(rows_of(tmp_path / "run", "read.speech")) == 1


def test_a_table_that_is_no_table_of_objects_says_so(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio/a.wav").write_bytes(sound(0))
    (tmp_path / "audio/metadata.jsonl").write_text('{"file": "a.wav", "text": "a"}\n["b.wav", "b"]\n')
    result = speechmill("read", recipe(tmp_path, {"path": "audio"}), "--workers", "0")
    assert result.returncode == 2, result.stderr
    assert "is no JSON object" in result.stderr


@pytest.mark.long
def test_a_killed_read_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    (tmp_path / "one/audio").mkdir(parents=True)
    for number in range(120):
        (tmp_path / f"one/audio/{number:03d}.wav").write_bytes(sound(number))
    options = {"audio": {"without_text": "keep"}, "path": "../one/audio"}
    mix = {"mixtures": {"pretrain": {"parts": {"sound": 100}}}}
    changes = {"read": {"rows_per_shard": 10}, "mix": mix}
    whole, killed = (recipe(tmp_path / name, options, **changes) for name in ("one", "two"))
    assert_done(speechmill("run", whole, "--workers", "0"))
    process = subprocess.Popen(command("run", killed, "--workers", "0"), cwd=ROOT)
    parts = tmp_path / "two/run/read.speech/parts"
    deadline = time.monotonic() + 60
    while len(list(parts.glob("*.json"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert_done(speechmill("run", killed, "--workers", "1"))

    def told(run: Path) -> dict[str, Any]:
        return {name: made for name, made in content(run).items() if name.endswith(".parquet")}

    assert told(tmp_path / "two/run") == told(tmp_path / "one/run")


def test_long_rows_take_no_part_where_most_tokens_says_so(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    for number, seconds in enumerate([1, 2, 3, 4]):
        (tmp_path / f"audio/{number}.wav").write_bytes(sound(number, seconds))
    mix = {"mixtures": {"short": {"parts": {"sound": 100}, "columns": ["index", "tokens"], "most_tokens": 55}}}
    made = recipe(tmp_path, {"path": "audio", "audio": {"without_text": "keep"}}, mix=mix, export={"audio": False})
    assert_done(speechmill("run", made, "--workers", "0"))
    lock = json.loads((tmp_path / "run/mixture.json").read_bytes())["mixtures"]["short"]
    assert (lock["total"], lock["rows_of_too_many_tokens"]) == (2, 2)
    assert sorted(map(len, pq.read_table(tmp_path / "run/dataset/short")["tokens"].to_pylist())) == [25, 50]
    assert_done(speechmill("verify", tmp_path / "run"))


def test_texts_and_recordings_in_one_run(tmp_path: Path) -> None:
    write_folder(tmp_path)
    texts = {"name": "examples", "path": str(ROOT / "examples/instructions.jsonl"), "limit": 20}
    made = recipe(tmp_path, {"path": "audio"})
    raw = yaml.safe_load(made.read_text())
    raw["sources"].append(texts)
    raw["mix"]["mixtures"] = {"asr": {"parts": {"transcription": 100}}}
    made.write_text(yaml.safe_dump(raw))
    assert_done(speechmill("run", made, "--workers", "0"))
    pairs = pq.read_table(tmp_path / "run/dataset/asr").to_pylist()
    assert {pair["source"] for pair in pairs} == {"real", "examples"}
    assert_done(speechmill("verify", tmp_path / "run"))


def test_every_real_recording_is_kept_or_rejected_with_its_path(shared_data: Path, tmp_path: Path) -> None:
    path = str(shared_data / "speech")
    mix = {"mixtures": {"pretrain": {"parts": {"sound": 100}}, "asr": {"parts": {"transcription": 100}}}}
    made = recipe(tmp_path, {"path": path, "audio": {"without_text": "keep"}}, mix=mix)
    assert_done(speechmill("run", made, "--workers", "0"))
    files = [p for p in (shared_data / "speech").rglob("*.*") if p.suffix != ".tsv"]
    kept = rows_of(tmp_path / "run", "quantize")
    gone = rows_of(tmp_path / "run", "read.speech/rejects") + rows_of(tmp_path / "run", "quantize/rejects")
    assert len(kept) + len(gone) == len(files) > 300
    assert len(gone) == 0
    assert {row["messages"][0]["content"] for row in kept if row["messages"]} == {
        line.split("\t")[1] for line in (shared_data / "speech/transcripts.tsv").read_text().splitlines()[1:]
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"path": "nowhere"}, "no recordings at"),
        ({"path": "audio", "audio": {"table": "no.tsv"}}, "audio.table: there is no no.tsv"),
        ({"path": "audio", "audio": {"table": "../secret.tsv"}}, "audio.table: there is no ../secret.tsv"),
        ({"path": "rows.parquet", "audio": {"column": "sound"}}, "has no column sound"),
        ({"path": "audio", "audio": {"colour": 1}}, "audio.colour: unknown option"),
    ],
)
def test_what_cannot_be_read_says_so(source: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_parquet(tmp_path)
    (tmp_path / "secret.tsv").write_text("file\ttext\n")
    result = speechmill("read", recipe(tmp_path, source), "--workers", "0")
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
