"""What tests of passes that ask a model need: a job of one pass on rows of its own, beside a loopback server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.graph import Job, Outcome, Unit
from pipelines.recipe import Recipe, parse_recipe
from pipelines.row import ROW, Row, row_id
from pipelines.shards import Staged, read_record
from pipelines.steps import BY_KEY
from pipelines.steps.score import score
from tests.answers.loopback_chat import QUICK, LoopbackChat
from tests.conftest import recipe_of


def asking_recipe(folder: Path, server: LoopbackChat, **changes: Any) -> Recipe:
    """Return a recipe whose model `m` is the server's; `llm` changes its options."""
    llm = {"base_url": server.base_url, "model": "m", **QUICK, **changes.pop("llm", {})}
    return parse_recipe(recipe_of(run_dir=str(folder), llms={"m": llm}, **changes), "test")


def chat_row(*texts: str, source: str = "s", index: int = 0) -> Row:
    """Return a row as it was read: texts are the user's and the assistant's in turn."""
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    about = {"id": row_id(source, messages), "source": source, "license": "MIT", "index": index, "messages": messages}
    return {**about, "exchanges": (len(texts) + 1) // 2, "answered": len(texts) % 2 == 0}


def do(key: str, recipe: Recipe, files: dict[str, pa.Table], workers: int = 1) -> Outcome:
    """Do one unit of a pass over files (by name, from the run folder) and commit it; returns what it said."""
    for name, table in files.items():
        (recipe.run_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, recipe.run_path / name)
    unit = Unit(Path(next(iter(files))).stem, tuple(files), sum(table.num_rows for table in files.values()))
    staged = Staged(recipe.run_path)
    outcome = BY_KEY[key].run(Job(recipe, unit, staged, {}, workers=workers))
    staged.commit(f"{key}/{unit.name}.json", {}, outcome.counts, outcome.facts, {}, outcome.files)
    assert read_record(recipe.run_path / key / f"{unit.name}.json") is not None
    return outcome


def scored(recipe: Recipe, rows: Sequence[Row]) -> pa.Table:
    """Return rows as `score` leaves them."""
    table = pa.Table.from_pylist(list(rows), schema=ROW)
    return score(table, recipe.filter, recipe.score.most_tokens)


def made(recipe: Recipe, key: str, shard: str = "s-00000") -> list[Row]:
    """Return the rows that a pass kept."""
    rows: list[Row] = pq.read_table(recipe.run_path / key / f"{shard}.parquet").to_pylist()
    return rows


def rejected(recipe: Recipe, key: str, shard: str = "s-00000") -> list[Row]:
    """Return the rows that a pass rejected."""
    rows: list[Row] = pq.read_table(recipe.run_path / key / "rejects" / f"{shard}.parquet").to_pylist()
    return rows
