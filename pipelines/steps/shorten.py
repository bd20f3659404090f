"""filter.shorten: chats that a rule rejects for a later exchange end before it; by option.

A chat's beginnings are scored like rows, all of them together, and the longest that every rule on single rows keeps
goes on in its place. Where not even the first exchange is kept the chat stays whole, and `filter` rejects it.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping

import pyarrow as pa

from pipelines.chats import opening, shortened
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit, shard_units
from pipelines.recipe import SCORED_BY, Recipe
from pipelines.row import MESSAGES, Row, reason_of
from pipelines.rules import BenchmarkRule, Filter
from pipelines.shards import Counts, read_table
from pipelines.steps.filter import rule_options
from pipelines.steps.rewrite import judged, with_rows
from pipelines.steps.score import SCORED_ROW, score, shortens

FOLDER = "filter.shorten"
MESSAGES_AT_ONCE = 50_000  # of beginnings, which of a chat of n exchanges are n² messages


def shorten(table: pa.Table, options: Filter, most_tokens: int) -> tuple[pa.Table, Counter[str]]:
    """Return scored rows, some of them shorter and scored anew, and how many were shortened for which reason.

    Args:
        table: of SCORED_ROW. Rows, their order and ids stay.
        most_tokens: as `score` has it.
    """
    rules = [rule for rule in options.rules if not isinstance(rule, BenchmarkRule)]  # which looks at all rows' prompts
    found = judged(table, rules)
    exchanges = table["exchanges"].to_pylist()
    wanted = {row: exchanges[row] for row, reject in enumerate(found) if reject and exchanges[row] > 1}
    shorter: dict[int, Row] = {}
    reasons: Counter[str] = Counter()
    for batch in _batches(wanted):
        scored = _scored(table, batch, options, most_tokens)
        verdicts = judged(scored, rules)
        first = 0
        for row, whole in batch.items():
            of_row = [*verdicts[first : first + whole - 1], found[row]]
            kept = max((n for n, reject in enumerate(of_row, 1) if reject is None), default=0)
            if kept:
                why = str(of_row[kept])  # of the next longer beginning
                shorter[row] = shortened(scored.slice(first + kept - 1, 1).to_pylist()[0], kept, why)
                reasons[reason_of(why)] += 1
            first += whole - 1
    return with_rows(table, shorter) if shorter else table, reasons


def _batches(exchanges: Mapping[int, int]) -> Iterator[dict[int, int]]:
    """Yield rows with their exchanges, so many at once that the messages of all their beginnings fit in memory."""
    batch: dict[int, int] = {}
    messages = 0
    for row, whole in exchanges.items():
        batch[row] = whole
        messages += whole * (whole - 1)
        if messages >= MESSAGES_AT_ONCE:
            yield batch
            batch, messages = {}, 0
    if batch:
        yield batch


def _scored(table: pa.Table, exchanges: Mapping[int, int], options: Filter, most_tokens: int) -> pa.Table:
    """Return the beginnings of rows, of each from one exchange to one less than it has, with scores of their own."""
    rows = [row for row, whole in exchanges.items() for _ in range(1, whole)]
    chats = table["messages"].take(pa.array(list(exchanges))).to_pylist()
    cut = [opening(chat, n) for chat, whole in zip(chats, exchanges.values(), strict=True) for n in range(1, whole)]
    at = table.schema.get_field_index("messages")
    taken = table.drop_columns(["messages"]).take(pa.array(rows)).add_column(at, "messages", pa.array(cut, MESSAGES))
    return score(taken, options.model_copy(update={"strip_markers": False}), most_tokens)  # markers are gone already


def _run(job: Job) -> Outcome:
    shard = job.unit.name
    name = f"{FOLDER}/{shard}.parquet"
    if max(read_table(job.input(), ["exchanges"])["exchanges"].to_pylist(), default=0) <= 1:
        shutil.copyfile(job.input(), job.staged.path(name))  # no chat: as it would be written again
        return Outcome(Counts(job.unit.rows, job.unit.rows), {"shards": {shard: job.unit.rows}, "shortened": {}})
    table, reasons = shorten(read_table(job.input()), job.recipe.filter, job.recipe.score.most_tokens)
    job.staged.table(name, table.cast(SCORED_ROW))
    facts = {"shards": {shard: table.num_rows}, "shortened": dict(sorted(reasons.items()))}
    return Outcome(Counts(job.unit.rows, table.num_rows), facts)


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    return shard_units(recipe.rewritten_by)(recipe, outputs) if recipe.shortens_chats else []


PASS = Pass(
    key=FOLDER,
    needs=SCORED_BY[:-1],
    version=1,
    options=lambda recipe: {**rule_options(recipe), **shortens(recipe)},
    units=_units,
    run=_run,
    one_to_one=True,
    follows=lambda recipe: (recipe.rewritten_by,),
    applies=lambda recipe: recipe.shortens_chats,
)
