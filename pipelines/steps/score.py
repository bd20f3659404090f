"""score: what the filter's rules decide by, computed once, on whole columns.

Thresholds come later, in `filter`: changing one reads these columns again and computes none of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.answers import boilerplates, repeated_shares
from filters.duplicates import key_of, normalise_all
from filters.language import detect_language
from filters.length import count_tokens
from filters.markers import strip_all
from filters.private import private_data
from filters.seconds import predict_seconds
from filters.speakable import find_unspeakable
from filters.symbol_share import symbol_shares
from pipelines.errors import UserError
from pipelines.graph import Job, Outcome, Pass, shard_units
from pipelines.messages import Texts, column, first_of, joined, largest_of, replaced
from pipelines.recipe import Recipe
from pipelines.row import ROW, Row
from pipelines.rules import AnswerRule, Filter, LengthRule
from pipelines.shards import Counts, digest_json, read_table

_CHARS_PER_TOKEN = 5  # a little more than English has
_Rows = NDArray[np.bool_]
SCORED_ROW = ROW.append(pa.field("normalised", pa.string()))  # user messages as duplicates are sought in them


def score(table: pa.Table, options: Filter, most_tokens: int) -> pa.Table:
    """Return a table of rows with their scores, and their prompts without chat-template markers.

    Raises UserError where the length rule's vocabulary is not there.
    """
    said = Texts(table["messages"], "user")
    if options.strip_markers:
        said.texts = strip_all(said.texts)
        table = _with(table, "messages", replaced(table["messages"], "user", said.texts))
    counts = _count(said.texts, _vocabulary(options), most_tokens)
    length = largest_of(counts, said.row, said.n_rows).astype(np.int32)
    short = length <= most_tokens
    scores = {"length": pa.array(length, pa.int32()), **_score(said, short)}
    if rule := options.find(AnswerRule):
        scores |= _score_answers(said, Texts(table["messages"], "assistant"), short, rule.speakable)
    for name, values in scores.items():
        table = _with(table, name, values)
    return table.select(SCORED_ROW.names).cast(SCORED_ROW)


def scored_again(before: Row, after: Row, recipe: Recipe) -> Row:
    """Return a row with the scores of what it says now, where it says less than before."""
    if len(after["messages"]) == len(before["messages"]):
        return after
    options = recipe.filter.model_copy(update={"strip_markers": False})  # they are gone
    table = score(pa.Table.from_pylist([{**after, "spoken": []}], schema=ROW), options, recipe.score.most_tokens)
    (row,) = table.select(ROW.names).to_pylist()
    return {**row, "spoken": after["spoken"]}


def _run(job: Job) -> Outcome:
    shard = job.unit.name
    table = score(read_table(job.input()), job.recipe.filter, job.recipe.score.most_tokens)
    job.staged.table(f"score/{shard}.parquet", table)
    return Outcome(Counts(job.unit.rows, table.num_rows), {"shards": {shard: table.num_rows}})


def _with(table: pa.Table, name: str, values: Any) -> pa.Table:
    position = table.schema.get_field_index(name)
    return table.append_column(name, values) if position < 0 else table.set_column(position, name, values)


def _count(texts: list[str], vocabulary: str, most_tokens: int) -> list[int]:
    """Return the tokens of each text; of a long one, those of its beginning, where they are too many already."""
    beginning = _CHARS_PER_TOKEN * most_tokens
    try:
        counts = count_tokens([text[:beginning] for text in texts], vocabulary)
        for number, text in enumerate(texts):
            if len(text) > beginning and counts[number] <= most_tokens + 1:  # the cut may have made one more
                counts[number] = count_tokens([text], vocabulary)[0]
        return counts
    except LookupError as error:
        raise UserError(f"filter.rules.length.vocabulary: {error}") from error


def _vocabulary(options: Filter) -> str:
    rule = options.find(LengthRule)
    return rule.vocabulary if rule else "gpt2"


def _score(said: Texts, short: _Rows) -> dict[str, pa.Array]:
    """Return the scores of what users say, for the rows that are short enough."""
    texts, row = said.at(short)
    n_rows = said.n_rows
    whole = joined(texts, row, "\n".join)
    normalised = normalise_all(texts)
    keys = joined([key_of(text) for text in normalised], row, digest_json)
    languages = detect_language(list(whole.values()))
    kinds = [verdict if text else "empty:nothing but chat-template markers" for verdict, text in
             zip(find_unspeakable(texts, _later(row)), texts, strict=True)]  # fmt: skip
    return {
        "predicted_seconds": _numbers(largest_of(predict_seconds(texts), row, n_rows)),
        "language": column({at: code for at, (code, _) in zip(whole, languages, strict=True)}, n_rows, pa.string()),
        "english": column({at: p for at, (_, p) in zip(whole, languages, strict=True)}, n_rows, pa.float32()),
        "symbol_share": _numbers(largest_of(symbol_shares(texts), row, n_rows)),
        "unspeakable": pa.array(first_of(kinds, row, n_rows), pa.string()),
        "private": pa.array(first_of(private_data(texts), row, n_rows), pa.string()),
        "duplicate_key": column(keys, n_rows, pa.string()),
        "normalised": column(joined(normalised, row, " ".join), n_rows, pa.string()),
    }


def _later(row: NDArray[np.int64]) -> set[int]:
    """Return the positions of the texts that are not the first of their row."""
    return set((np.flatnonzero(row[1:] == row[:-1]) + 1).tolist())


def _score_answers(said: Texts, answers: Texts, short: _Rows, speakable: bool) -> dict[str, pa.Array]:
    """Return the scores of the answers, for the rows whose prompts are short enough."""
    wanted = short & np.isin(np.arange(said.n_rows), answers.row)  # an answered row has an answer to each prompt
    prompts, _ = said.at(wanted)
    texts, row = answers.at(wanted)
    flaws = [
        f"boilerplate:{found}" if found else None if any(map(str.isalnum, text)) else "empty"
        for text, found in zip(texts, boilerplates(texts), strict=True)
    ]
    scores = {
        "answer_flaw": pa.array(first_of(flaws, row, said.n_rows), pa.string()),
        "answer_repeats": _numbers(largest_of(repeated_shares(prompts, texts), row, said.n_rows)),
    }
    if speakable:
        scores["answer_unspeakable"] = pa.array(first_of(find_unspeakable(texts), row, said.n_rows), pa.string())
    return scores


def _numbers(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values.astype(np.float32), pa.float32(), from_pandas=True)  # NaN is null


def _options(recipe: Recipe) -> dict[str, object]:
    answer = recipe.filter.find(AnswerRule)
    return {
        "strip_markers": recipe.filter.strip_markers,
        "most_tokens": recipe.score.most_tokens,
        "vocabulary": _vocabulary(recipe.filter),
        "answers": answer is not None,
        "answers_spoken": answer is not None and answer.speakable,
    }


PASS = Pass(
    key="score",
    needs=("read",),
    version=6,
    options=_options,
    units=shard_units("read"),
    run=_run,
    one_to_one=True,
    follows=lambda recipe: ("read",),
)


def shortens(recipe: Recipe) -> dict[str, object]:
    """Return the options of a pass that may shorten chats and then score them again; none where it may not."""
    if recipe.chats.failed_turn == "reject":
        return {}
    return {"failed_turn": recipe.chats.failed_turn, "scores": {**_options(recipe), "version": PASS.version}}
