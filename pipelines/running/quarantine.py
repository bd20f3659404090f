"""Shards that kill their worker each time: all their rows become rejects, and the run goes on.

That can be done where a step takes a shard of rows and makes one of it: what follows sees a shard without rows, and
every row is accounted for. The fingerprint is that of the work that was not done, and the fact `quarantined` says so:
for this run the unit is done, for the next one it is stale.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from pipelines.folders.lock import holds_lock
from pipelines.folders.run_folder import open_run_folder
from pipelines.graph import Job
from pipelines.recipe import SCORED_BY
from pipelines.row import REJECTED_ROW, ROW, Row
from pipelines.rowwise import read_rows
from pipelines.running.orders import Order
from pipelines.running.perform import naming, writing
from pipelines.shards import QUARANTINED, Record, Staged, row_writer


def _of_tts(job: Job) -> Iterator[Row]:
    from pipelines.steps.tts import readings  # loads the engines' packages: in workers only

    return readings(read_rows(job.input()), job.recipe.tts)


def _quantize_facts(job: Job) -> Mapping[str, Any]:
    from pipelines.steps.quantize import NO_SPEECH, made_by, tokenizer_of  # loads the tokenizer: in workers only

    return {**NO_SPEECH, **made_by(tokenizer_of(job.recipe.quantize))}


def _rewrite_facts(job: Job) -> Mapping[str, Any]:
    return {"rewritten": {}}


def _shorten_facts(job: Job) -> Mapping[str, Any]:
    return {"shortened": {}}


def _answer_facts(job: Job) -> Mapping[str, Any]:
    assert job.recipe.answer is not None, "else there are no units"
    return {"answers": {job.recipe.answer.how: {"tried": 0, "answered": 0}}}


def _of_input(job: Job) -> Iterator[Row]:
    return read_rows(job.input(), ROW.names)


def _no_facts(job: Job) -> Mapping[str, Any]:
    return {}


# The passes that can be given up shard by shard: the rows that come in, and the facts that what follows reads.
GIVES_UP: dict[str, tuple[Callable[[Job], Iterator[Row]], Callable[[Job], Mapping[str, Any]]]] = {
    "score": (_of_input, _no_facts),
    "rewrite": (_of_input, _rewrite_facts),
    "filter.shorten": (_of_input, _shorten_facts),
    "filter": (_of_input, _no_facts),
    "answer": (_of_input, _answer_facts),
    "tts": (_of_tts, _no_facts),
    "tts.augment": (_of_input, _no_facts),
    "quantize": (_of_input, _quantize_facts),
}


def _schema_of(key: str) -> pa.Schema:
    """Return the schema of what a pass keeps."""
    from pipelines.steps.score import SCORED_ROW  # loads what scores: in workers only

    return SCORED_ROW if key in SCORED_BY else ROW


def can_quarantine(key: str) -> bool:
    """Tell whether a pass can do without a shard."""
    return key in GIVES_UP


def quarantine(order: Order, why: str) -> Record:
    """Reject all rows of a unit, with `<step>.quarantined:<why>`, and commit that. Raises RunError as `perform` does.

    The reader sees an empty shard and one file of rejects; the sound of rejected rows stays with the step before.
    """
    key, shard = order.key, order.unit.name
    rows_of, facts_of = GIVES_UP[key]
    folder = open_run_folder(order.recipe).path
    staged = Staged(folder, lambda: holds_lock(folder, order.token))
    job = Job(order.recipe, order.unit, staged, order.made_of, order.digests, order.workers)
    started = time.monotonic()
    try:
        with naming(order), writing(folder):
            number = 0
            with row_writer(staged, key, shard, _schema_of(key), REJECTED_ROW) as writer:
                for row in rows_of(job):
                    writer.reject(row, f"{key}.{QUARANTINED}:{why}")
                    number += 1
                counts = writer.finish(number)
            facts = {"shards": {shard: 0}, **facts_of(job), QUARANTINED: why}
            cost = {"seconds": round(time.monotonic() - started, 3)}
            return staged.commit(f"{key}/{shard}.json", order.made_of, counts, facts, cost)
    finally:
        staged.discard()
