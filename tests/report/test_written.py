"""What language models wrote: counted exactly, shown with what stood there before, and what it cost."""

from __future__ import annotations

import re

import pytest

from pipelines.arguments import load_run
from pipelines.report.page import write_page
from pipelines.report.rows import read_rows_of
from pipelines.report.seen import Seen, look_at
from pipelines.rowwise import read_rows
from tests.answers.loopback_chat import QUICK, LoopbackChat, Messages
from tests.conftest import assert_done, speechmill, write_recipe


def short(messages: Messages, seed: int) -> str:
    return f"Well, I would say {len(messages[-1]['content'])} times yes."


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A small run whose answers a loopback server wrote anew, at a price."""
    folder = tmp_path_factory.mktemp("written")
    source = {"name": "examples", "path": "examples/instructions.jsonl", "limit": 30}
    with LoopbackChat(rules=short) as server:
        llm = {"base_url": server.base_url, "model": "m", **QUICK, "price_per_million_tokens": [1000, 2000]}
        recipe = write_recipe(
            folder, report=True, sources=[source], llms={"m": llm}, answer={"llm": "m", "how": "own"},
            noise={"rows": 0},
            mix={"mixtures": {"all": {"parts": {"speech_instruction": 100}}}}, export={"audio": False},
        )  # fmt: skip
        assert_done(speechmill("run", recipe, "--workers", "0"))
    return look_at(load_run(folder / "run"))


def test_what_models_wrote_is_counted_and_what_it_cost_is_told(written: Seen) -> None:
    (wrote,) = read_rows_of(written).wrote.to_dicts()
    notes = [
        note
        for shard in written.mixable()
        for row in read_rows(written.folder / shard.path, ["generated"])
        for note in row["generated"] or []
    ]
    assert (wrote["messages"], wrote["model"], wrote["task"]) == (len(notes), notes[0]["model"], "own")
    assert wrote["completion_tokens"] == sum(note["completion_tokens"] for note in notes)
    page = write_page(written).decode()
    assert f'data-fact="wrote.own.{wrote["model"]}">{len(notes):,}<' in page
    usage = [record.cost["usage"] for record in written.records("answer").values()]
    cost = sum(used["cost"] for used in usage)
    assert cost > 0
    assert f"cost {cost:,.2f}" in page
    sample = next(a for a in page.split("<article ") if "written by" in a)
    assert re.search(r"written by <bdi>[^<]+</bdi> \(own", sample)
    assert "instead of: <bdi>" in sample


def test_the_published_report_tells_no_cost_but_who_wrote(written: Seen) -> None:
    published = (written.folder / "dataset" / "report.html").read_text()
    assert 'id="written"' in published
    assert "cost " not in published.partition("<main")[2].partition("Recipe</summary>")[0]
