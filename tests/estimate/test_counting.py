"""How many records a source has: every format, files that are too long, what nobody can count."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import UserError
from pipelines.estimate import counting
from pipelines.estimate.counting import count, parse_rows
from pipelines.options import Source
from pipelines.shards import Counts, Record
from pipelines.sources import read_records

LINES = [json.dumps({"prompt": f"What is {n} and {n}?", "answer": str(2 * n)}) for n in range(57)]


def source_of(folder: Path, name: str = ".", **more: Any) -> Source:
    return Source.model_validate({"name": "some", "path": str(folder / name), **more})


def write(folder: Path, name: str) -> None:
    text = "\n".join(LINES)
    if name.endswith(".json"):
        text = f"[{','.join(LINES)}]"
    elif ".csv" in name:
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(["prompt", "answer"])
        writer.writerows([f"two\nlines, {n}", str(n)] for n in range(57))
        text = out.getvalue()
    elif name.endswith("blank.jsonl"):
        text = "\ufeff" + "\n\n".join(LINES) + "\n   \n"
    data = text.encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


@pytest.mark.parametrize("name", ["a.jsonl", "blank.jsonl", "a.jsonl.gz", "a.json", "a.csv", "a.csv.gz"])
def test_what_is_counted_is_what_is_read(name: str, tmp_path: Path) -> None:
    write(tmp_path, name)
    source = source_of(tmp_path, name)
    assert count(source, tmp_path, None, None) == (57, "counted")
    assert sum(1 for _ in read_records(source, tmp_path)) == 57


def test_json_lines_may_be_named_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("\n".join(LINES))
    assert count(source_of(tmp_path, "a.json"), tmp_path, None, None) == (57, "counted")


def test_parquet_is_counted_by_its_footer_and_files_add_up(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"] * 1000}), tmp_path / "a.parquet")
    write(tmp_path, "b.jsonl")
    assert count(source_of(tmp_path), tmp_path, None, None) == (1057, "counted")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv"])
def test_a_long_file_is_counted_by_its_size(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(1)  # what cannot be compressed to nothing
    texts = [
        f'{{"prompt": "{draw.randbytes(50).hex()}"}}' if "json" in name else "How is it,well" for _ in range(22_800)
    ]
    text = "\n".join(texts if "json" in name else ["prompt,answer", *texts])
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else data)
    monkeypatch.setattr(counting, "LOOK_AT_BYTES", len(data) // 5)
    rows, how = count(source_of(tmp_path, name), tmp_path, None, None)
    assert rows == pytest.approx(22_800, rel=0.1)
    assert rows is not None
    assert how.startswith("by size, from the first")


def test_files_behind_those_that_were_looked_at_count_by_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        write(tmp_path, f"{number}.jsonl")
    monkeypatch.setattr(counting, "LOOK_AT_BYTES", (tmp_path / "0.jsonl").stat().st_size)
    (tmp_path / "4.jsonl").write_text("torn {")  # it is not even opened
    rows, how = count(source_of(tmp_path), tmp_path, None, None)
    assert rows == round(57 * sum(p.stat().st_size for p in tmp_path.iterdir()) / (tmp_path / "0.jsonl").stat().st_size)
    assert how.startswith("by size")


def recordings(folder: Path) -> None:
    folder.mkdir()
    for n in range(7):
        (folder / f"{n}.flac").write_bytes(b"not looked at")
    (folder / "transcripts.tsv").write_text("file\ttext\n0.flac\tHello\n")
    for suffix in ("tar", "tar.gz"):
        with tarfile.open(folder / f"more.{suffix}", f"w:{'gz' if suffix.endswith('gz') else ''}") as archive:
            for n in range(5):
                for part in ("flac", "txt"):
                    info = tarfile.TarInfo(f"s/{n}.{part}")
                    info.size = 3
                    archive.addfile(info, io.BytesIO(b"abc"))
    pq.write_table(pa.table({"audio": [b"x"] * 11, "text": ["y"] * 11}), folder / "more.parquet")


def test_recordings_are_counted_in_folders_tars_and_tables(tmp_path: Path) -> None:
    recordings(tmp_path / "sounds")
    source = source_of(tmp_path, "sounds", audio={})
    assert count(source, tmp_path, None, None) == (7 + 5 + 5 + 11, "counted")


def test_where_a_number_comes_from_is_said(tmp_path: Path) -> None:
    hub = {"name": "far", "hf": "owner/name"}
    far, limited = Source.model_validate(hub), Source.model_validate({**hub, "limit": 30})
    told = Source.model_validate({**hub, "published": {"rows_in": 900}})
    picky = Source.model_validate({**hub, "limit": 30, "where": {"lang": "en"}})
    read = Record("", {}, Counts(12, 12), {}, {}, {})
    assert count(far, tmp_path, None, 77) == (77, "given")
    assert count(far, tmp_path, read, None) == (12, "read before")
    assert count(limited, tmp_path, None, None) == (30, "its limit")
    assert count(told, tmp_path, None, None) == (900, "published")
    for unknown in (far, picky):
        rows, how = count(unknown, tmp_path, None, None)
        assert rows is None
        assert "--rows far=N" in how


def test_what_cannot_be_counted_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"cannot count .*a\.parquet.* --rows some=N"):
        count(source_of(tmp_path, "a.parquet"), tmp_path, None, None)
    write(tmp_path, "a.json")
    monkeypatch.setattr(counting, "LOOK_AT_BYTES", 100)
    with pytest.raises(UserError, match="a list of more than"):
        count(source_of(tmp_path, "a.json"), tmp_path, None, None)


def test_rows_are_given_by_name() -> None:
    sources = {"faq": None, "forum": None}
    assert parse_rows(["faq=20", "forum=7"], sources) == {"faq": 20, "forum": 7}
    with pytest.raises(UserError, match="did you mean faq"):
        parse_rows(["fag=20"], sources)
    with pytest.raises(UserError, match="NAME=N, such as --rows faq=20000"):
        parse_rows(["faq=many"], sources)
