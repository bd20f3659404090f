"""verify finds each broken promise, when the files lie."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.telling.verify import open_run, verify
from tests.conftest import speechmill


def edit(path: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the rows of a Parquet file, and vouch for it: size and digest in every record are made right."""
    from pipelines.shards import digest_file

    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    run = next(parent for parent in path.parents if (parent / "recipe.json").exists())
    name = str(path.relative_to(run))
    for record_path in run.glob("*/*.json"):
        text = record_path.read_text()
        if name in text:
            raw = json.loads(text)
            if name in raw.get("files", {}):
                raw["files"][name] = {"digest": digest_file(path), "bytes": path.stat().st_size}
            if name in raw.get("made_of", {}).get("inputs", {}):
                raw["made_of"]["inputs"][name] = digest_file(path)
            record_path.write_text(json.dumps(raw))


def first(run: Path, pattern: str, task: str | None = None) -> Path:
    """Return the first file of a pattern; with a task, the first that holds a pair of it."""
    for path in sorted(run.glob(pattern)):
        if task is None or pc.any(pc.equal(pq.read_table(path)["task"], task)).as_py():
            return path
    raise AssertionError(pattern)


def change_pair(run: Path, task: str, column: str, value: Callable[[Any], Any]) -> None:
    """Change a column of the first pair of a task."""

    def change(rows: list[dict[str, Any]]) -> None:
        row = next(row for row in rows if row["task"] == task)
        row[column] = value(row[column])

    edit(first(run, "dataset/stage*/*.parquet", task), change)


def flip_a_byte(run: Path) -> None:
    path = first(run, "tts/*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lose_a_reject(run: Path) -> None:
    edit(next(p for p in sorted(run.glob("filter/rejects/*")) if pq.read_metadata(p).num_rows), lambda rows: rows.pop())


def lose_a_row(run: Path) -> None:
    edit(first(run, "tts/*.parquet"), lambda rows: rows.pop())


def misplace_a_sound(run: Path) -> None:
    chats = [
        path for path in sorted(run.glob("quantize/*.parquet")) if 2 in pq.read_table(path)["exchanges"].to_pylist()
    ]
    edit(chats[0], lambda rows: next(r for r in rows if r["exchanges"] == 2)["spoken"].reverse())


def lose_the_end_of_a_chat(run: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        row = next(r for r in rows if r["exchanges"] == 2)
        row.update(messages=row["messages"][:-2], exchanges=1, spoken=row["spoken"][:1])

    chats = [
        path for path in sorted(run.glob("quantize/*.parquet")) if 2 in pq.read_table(path)["exchanges"].to_pylist()
    ]
    edit(chats[0], change)


def leave_text_in_a_spoken_place(chat: list[dict[str, str]]) -> list[dict[str, str]]:
    return [*chat[:-2], {**chat[-2], "content": "What is rain?"}, chat[-1]]


def forge_a_manifest(run: Path) -> None:
    path = run / "filter" / "manifest.json"
    path.write_text(path.read_text().replace('"rows_kept": ', '"rows_kept": 1', 1))


def double_an_id(run: Path) -> None:
    edit(first(run, "quantize/*.parquet"), lambda rows: rows[1].update(id=rows[0]["id"]))


def stretch_the_tokens(run: Path) -> None:
    edit(first(run, "quantize/*.parquet"), lambda rows: rows[0]["spoken"][0]["tokens"].extend([1, 2, 3]))


def emit_the_padding(run: Path) -> None:
    edit(first(run, "quantize/*.parquet"), lambda rows: rows[0]["spoken"][0]["tokens"].__setitem__(0, 512))


def drop_a_pair(run: Path) -> None:
    edit(first(run, "dataset/stage2/*.parquet"), lambda rows: rows.pop())


def swap_a_chosen_row(run: Path) -> None:
    change_pair(run, "text_only", "id", lambda pair_id: "0" * 32 + "/text_only")


def many_refusals(run: Path) -> None:
    path = run / "recipe.json"
    recipe = json.loads(path.read_text())
    recipe["mix"]["max_refusal_share"] = 0.0001
    path.write_text(json.dumps(recipe))


def leave_a_stranger(run: Path) -> None:
    (run / "dataset" / "stage2" / "train-00099-of-00100.parquet").write_bytes(b"x")


BREAKS: list[tuple[str, Callable[[Path], Any]]] = [
    ("files are whole", flip_a_byte),
    ("nothing else lies", leave_a_stranger),
    ("conservation", lose_a_reject),
    ("nothing between the steps", lose_a_row),
    ("manifests are the sums", forge_a_manifest),
    ("row ids differ", double_an_id),
    ("as many tokens as", stretch_the_tokens),
    ("as many tokens as", emit_the_padding),
    ("chats are whole", misplace_a_sound),
    ("chats are whole", lose_the_end_of_a_chat),
    ("quotas are exact", drop_a_pair),
    ("chosen ids", swap_a_chosen_row),
    ("refusals stay", many_refusals),
    ("pairs:", lambda run: change_pair(run, "transcription", "prompt", lambda p: p.replace("sound_end", "sound_and"))),
    ("pairs:", lambda run: change_pair(run, "transcription", "prompt", lambda p: p.replace("sound_0", "sound_9", 1))),
    ("pairs:", lambda run: change_pair(run, "speech_instruction", "tokens", lambda t: t[:-1])),
    ("pairs:", lambda run: change_pair(run, "transcription", "answer", lambda a: a + "!")),
    ("pairs:", lambda run: change_pair(run, "text_only", "seconds", lambda s: 1.0)),
    ("pairs:", lambda run: change_pair(run, "two_turn", "answer", lambda a: "x")),
    ("pairs:", lambda run: change_pair(run, "two_turn", "conversations", leave_text_in_a_spoken_place)),
    ("pairs:", lambda run: change_pair(run, "two_turn", "conversations", lambda chat: [*chat[:-1], *chat[-2:]])),
    ("pairs:", lambda run: change_pair(run, "text_only", "index", lambda i: i + 1)),
]  # fmt: skip


@pytest.mark.parametrize(("promise", "break_it"), BREAKS, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_promise_is_found(
    promise: str, break_it: Callable[[Path], Any], finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    break_it(run)
    broken = [p.name for p in verify(open_run(run)) if p.broken]
    assert any(name.startswith(promise) for name in broken), broken


def test_an_undisturbed_run_keeps_them_all(finished: Path) -> None:
    promises = verify(open_run(finished / "run"))
    assert [p.name for p in promises if p.broken] == []
    assert all(p.checked for p in promises)


def test_the_command_ends_with_1_and_shows_what_broke(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "run", tmp_path / "run")
    flip_a_byte(tmp_path / "run")
    result = speechmill("verify", tmp_path / "run")
    assert result.returncode == 1
    assert "BROKEN  files are whole" in result.stdout
    assert "or is not what was written" in result.stdout
    assert "1 of 13 promises" in result.stderr


def test_an_unfinished_run_cannot_be_verified(tmp_path: Path) -> None:
    result = speechmill("verify", tmp_path)
    assert result.returncode == 2
    assert "is no run folder" in result.stderr
