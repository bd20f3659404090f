"""What a pass makes of the examples, pinned: a change of it must raise the pass's version.

A resumed run trusts a record whose fingerprint is today's. The code is in the fingerprint by the
version alone, so a pass that makes something else under the same version would mix two results.
When this test fails: raise the pass's `version`, then write the new digest here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.shards import digest_json
from pipelines.steps import BY_KEY

PINNED: dict[str, tuple[int, str]] = {
    "read": (5, "bdc4db427a23acd5c34aafba6977194d"),
    "score": (6, "bd7520ec89aac397a13afa8e212e9bb0"),
    "filter": (3, "4b225637cee9670bfcbd83a018267264"),
    "tts": (3, "352a2c065cce19b5535677fc23406aad"),
    "noise": (3, "693d243a07753702e9579afca85675f1"),
    "mix": (2, "78af35484326bd242f7cecbc88609b5e"),
}


def texts(row: dict[str, Any]) -> list[Any]:
    """Return what a row said and how: not its audio, whose last bit may differ between processors."""
    return [[u["text"], u["voice"], u["rate_wpm"], u["pitch"]] for u in row["spoken"]]


WHAT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "read": lambda row: [row["id"], row["index"], row["messages"]],
    "score": lambda row: [
        row["id"], row["length"], row["language"], round(row["english"] or 0, 2), row["unspeakable"], row["private"],
        row["duplicate_key"],
    ],
    "filter": lambda row: row["id"],
    "tts": texts,
    "noise": lambda row: [row["inaudible"], row["messages"][1]["content"]],
    "mix": lambda row: [row["task"], row["path"]],
}  # fmt: skip


@pytest.mark.parametrize("key", PINNED)
def test_a_pass_makes_what_its_version_made(key: str, finished: Path) -> None:
    rows = []
    for path in sorted((finished / "run" / key).glob("*.parquet")):
        columns = None if key != "tts" else [f"spoken.list.element.{c}" for c in ("text", "voice", "rate_wpm", "pitch")]
        rows += [WHAT[key](row) for row in pq.ParquetFile(path).read(columns).to_pylist()]
    found = digest_json(json.loads(json.dumps(rows)))
    assert (BY_KEY[key].version, found) == PINNED[key]
