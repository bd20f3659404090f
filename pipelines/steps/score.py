"""score: what the filter's rules decide by, computed once: length, language, speakability, duplicate key.

Thresholds come later, in `filter`: changing one reads these columns again and computes none of them.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from filters.duplicates import duplicate_key
from filters.language import detect_language
from filters.length import count_tokens
from filters.markers import strip_markers
from filters.speakable import unspeakable
from pipelines.graph import Job, Outcome, Pass, shard_units
from pipelines.row import ROW, Row, user_turns
from pipelines.shards import Counts, digest_json


def _run(job: Job) -> Outcome:
    shard = job.unit.name
    rows: list[Row] = pq.read_table(job.input()).to_pylist()
    if job.recipe.filter.strip_markers:
        for row in rows:
            for message in row["messages"]:
                if message["role"] == "user":
                    message["content"] = strip_markers(message["content"])
    turns = [[text for _, text in user_turns(row["messages"])] for row in rows]
    lengths = iter(count_tokens([text for texts in turns for text in texts]))
    languages = detect_language(["\n".join(texts) for texts in turns])
    for row, texts, (language, english) in zip(rows, turns, languages, strict=True):
        row["length"] = max(next(lengths) for _ in texts)
        row["language"], row["english"] = language, english
        row["unspeakable"] = next((kind for kind in map(_unspeakable, texts) if kind), None)
        row["duplicate_key"] = _duplicate_key(texts)
    job.staged.table(f"score/{shard}.parquet", pa.Table.from_pylist(rows, schema=ROW))
    return Outcome(Counts(job.unit.rows, len(rows)), {"shards": {shard: len(rows)}})


def _unspeakable(text: str) -> str | None:
    return unspeakable(text) if text else "empty:nothing but chat-template markers"


def _duplicate_key(texts: list[str]) -> str:
    """Return the key of a conversation: of its prompt, or of its prompts in order."""
    keys = [duplicate_key(text) for text in texts]
    return keys[0] if len(keys) == 1 else digest_json(keys)


PASS = Pass(
    key="score",
    needs=("read",),
    version=1,
    options=lambda recipe: {"strip_markers": recipe.filter.strip_markers},
    units=shard_units("read"),
    run=_run,
    one_to_one=True,
)
