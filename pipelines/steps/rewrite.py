"""rewrite: prompts that are almost speakable, put in words by a language model; those that the rules then keep stay.

Every row goes on. A row that is not mended is as it was, and `filter` rejects it for its own reason. In a chat the
first user message that breaks a rule is rewritten, then the next, as long as words can mend it; with
chats.failed_turn: shorten, what is rewritten before one that they cannot mend counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from answers.llm import Answer
from pipelines.answer_options import PROBLEMS
from pipelines.asked import Asked, asking, changes_of, generated
from pipelines.chats import opening
from pipelines.graph import Job, Outcome, Pass, shard_units
from pipelines.options import Options
from pipelines.recipe import Recipe
from pipelines.row import Row, reason_of, user_turns
from pipelines.rules import BenchmarkRule, Filter, LengthRule, SecondsRule
from pipelines.shards import Counts, read_table
from pipelines.steps.score import PASS as SCORE
from pipelines.steps.score import SCORED_ROW, score
from pipelines.verdicts import SCORES, rejects, verdicts_of

WORDS_A_TOKEN = 0.75  # of English, in BPE
WORDS_A_SECOND = 2.5  # of an unhurried speaker


class Failing(NamedTuple):
    """The first user message of a row that breaks a rule."""

    turn: int  # its position in the row's messages
    reason: str  # as `kinds` names it: speakable:list


@dataclass(frozen=True)
class Draft:
    """A row that is being mended.

    row:     with the rewrites of the messages before the one that fails
    failing: the message to rewrite
    tries:   of that message that are used up
    done:    reasons of the messages before it that were rewritten
    """

    place: int  # in the shard
    row: Row
    failing: Failing
    tries: int = 0
    done: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Return the message to rewrite."""
        return str(self.row["messages"][self.failing.turn]["content"])

    def with_rewrite(self, answer: Answer) -> Row:
        """Return the row with a rewrite of the message, and a note of what it was."""
        turn = self.failing.turn
        messages = [*self.row["messages"]]
        messages[turn] = {"role": "user", "content": answer.text}
        note = generated(turn, "rewrite", self.text, answer)
        return {**self.row, "messages": messages, "generated": [*(self.row["generated"] or []), note]}


class Mender:
    """What mends the rows of a shard: the rules, the model, and what has come of each kind of prompt.

    yields: kind -> prompts tried, answered by a rewrite without a flaw, and kept by the rules in the end.
    """

    def __init__(self, recipe: Recipe, llm: Asked) -> None:
        from answers.tasks import Rewrite  # loads distilabel: in workers only

        assert recipe.rewrite is not None, "else there are no units"
        self._recipe = recipe
        self._llm = llm
        self._kinds = frozenset(recipe.rewrite.kinds)
        self._shortens = recipe.chats.failed_turn == "shorten"  # then what is rewritten before a failing message counts
        self._task = Rewrite(file=recipe.rewrite.template)
        self.yields: dict[str, Counter[str]] = {}

    def mend(self, table: pa.Table) -> pa.Table:
        """Return a table of SCORED_ROW with the rows that could be mended so, and scored anew."""
        drafts = self._drafts(table)
        mended: dict[int, Row] = {}
        while drafts:
            drafts = self._round(drafts, mended)
        return with_rows(table, mended)

    def _drafts(self, table: pa.Table) -> list[Draft]:
        """Return the rows worth asking for: rejected for a reason that words can mend, and for no other."""
        found, lost = (judged(table, rules) for rules in (single_row_rules(self._recipe), self._hopeless()))
        many = [exchanges > 1 for exchanges in table["exchanges"].to_pylist()]
        places = [
            place
            for place, (reject, other, chat) in enumerate(zip(found, lost, many, strict=True))
            if reject and self._reason(reject) in self._kinds and (other is None or (chat and self._shortens))
        ]
        rows = table.take(pa.array(places, pa.int64())).to_pylist()
        return [
            Draft(place, row, failing)
            for place, row, (_, failing) in zip(places, rows, self._looked_at(rows), strict=True)
            if failing and failing.reason in self._kinds
        ]

    def _round(self, drafts: list[Draft], mended: dict[int, Row]) -> list[Draft]:
        """Ask once for each draft; put what is done into `mended` and return what is to be asked next."""
        problems = {kind: problem(kind, self._recipe.filter) for kind in self._kinds}
        inputs = [{"text": draft.text, "problem": problems[draft.failing.reason]} for draft in drafts]
        answers = self._llm.answer_all(self._task, inputs, [draft.tries for draft in drafts])
        written = [(d, a, d.with_rewrite(a)) for d, a in zip(drafts, answers, strict=True) if isinstance(a, Answer)]
        for draft in drafts:
            self._count("tried", [draft.failing.reason] if not draft.tries else [])
        for draft, _, _ in written:
            self._count("rewritten", [draft.failing.reason] if not draft.tries else [])
        again: dict[int, Draft] = {}
        looks = self._looked_at([row for _, _, row in written])
        for (draft, answer, _), (row, failing) in zip(written, looks, strict=True):
            better = Draft(draft.place, row, failing or draft.failing, done=(*draft.done, draft.failing.reason))
            if failing is None:
                self._keep(better, mended)
            elif failing.turn <= draft.failing.turn:
                again[draft.place] = replace(draft, tries=answer.tries)  # of the same message, as it was
            elif failing.reason in self._kinds:
                again[draft.place] = better
            elif self._shortens:
                self._keep(better, mended)
        again = {place: draft for place, draft in again.items() if draft.tries < self._llm.tries}
        for draft in drafts:
            if draft.done and self._shortens and draft.place not in again and draft.place not in mended:
                self._keep(draft, mended)
        return list(again.values())

    def _keep(self, draft: Draft, mended: dict[int, Row]) -> None:
        mended[draft.place] = draft.row
        self._count("passed", draft.done)

    def _looked_at(self, rows: Sequence[Row]) -> list[tuple[Row, Failing | None]]:
        """Return each row, scored, with the first user message for which a rule on single rows rejects it."""
        if not rows:
            return []
        ends = [[turn for turn, _ in user_turns(row["messages"])] for row in rows]
        openings = [
            {**row, "messages": opening(row["messages"], exchanges)}
            for row, turns in zip(rows, ends, strict=True)
            for exchanges in range(1, len(turns) + 1)
        ]
        options = self._recipe.filter.model_copy(update={"strip_markers": False})  # they are gone already
        table = score(pa.Table.from_pylist(openings, schema=SCORED_ROW), options, self._recipe.score.most_tokens)
        found = iter(judged(table, single_row_rules(self._recipe)))
        lasts = np.cumsum([len(turns) for turns in ends], dtype=np.int64) - 1
        scored = table.take(pa.array(lasts)).to_pylist()
        return [
            (row, self._first(turns, [next(found) for _ in turns])) for row, turns in zip(scored, ends, strict=True)
        ]

    def _first(self, turns: Sequence[int], found: Sequence[str | None]) -> Failing | None:
        return next(
            (Failing(turn, self._reason(reject)) for turn, reject in zip(turns, found, strict=True) if reject), None
        )

    def _hopeless(self) -> list[Options]:
        """Return the rules that no other wording of a prompt will satisfy."""
        return [rule for rule in single_row_rules(self._recipe) if rule.rule not in _MENDABLE_RULES]

    @staticmethod
    def _reason(reject: str) -> str:
        return reason_of(reject).removeprefix("filter.")

    def _count(self, what: str, kinds: Iterable[str]) -> None:
        for kind in kinds:
            self.yields.setdefault(kind, Counter(tried=0, rewritten=0, passed=0))[what] += 1


_MENDABLE_RULES = {kind.partition(":")[0] for kind in PROBLEMS}


def problem(kind: str, rules: Filter) -> str:
    """Return what a model is told of a prompt that a rule rejects: of one that is too long also how long it may be."""
    length, seconds = rules.find(LengthRule), rules.find(SecondsRule)
    words = {
        "length": length and length.below * WORDS_A_TOKEN,
        "seconds": seconds and seconds.below * WORDS_A_SECOND,
    }.get(kind)
    return f"{PROBLEMS[kind]}; say it in at most {words:.0f} words" if words else PROBLEMS[kind]


def single_row_rules(recipe: Recipe) -> list[Any]:
    """Return the rules on single rows; whether a benchmark asks a prompt is known only behind this pass."""
    return [rule for rule in recipe.filter.rules if verdicts_of(rule) and not isinstance(rule, BenchmarkRule)]


def judged(table: pa.Table, rules: Sequence[Options]) -> list[str | None]:
    """Return the first reject of each row of a scored table; None for those that the rules keep."""
    scores = pl.from_arrow(table.select(list(SCORES)))
    assert isinstance(scores, pl.DataFrame), "a table becomes a frame"
    return rejects(scores, rules).to_list()


def with_rows(table: pa.Table, others: dict[int, Row]) -> pa.Table:
    """Return a table with other rows at some places."""
    order = np.arange(table.num_rows)
    order[list(others)] = table.num_rows + np.arange(len(others))
    both = pa.concat_tables([table, pa.Table.from_pylist(list(others.values()), schema=table.schema)])
    return both.take(pa.array(order))


def _run(job: Job) -> Outcome:
    assert job.recipe.rewrite is not None, "else there are no units"
    shard = job.unit.name
    with asking(job, job.recipe.rewrite.llm) as llm:
        mender = Mender(job.recipe, llm)
        table = mender.mend(read_table(job.input()))
    job.staged.table(f"rewrite/{shard}.parquet", table.cast(SCORED_ROW))
    yields = {kind: dict(mender.yields[kind]) for kind in sorted(mender.yields)}
    return Outcome(
        Counts(job.unit.rows, table.num_rows),
        {"shards": {shard: table.num_rows}, "rewritten": yields},
        usage=llm.usage,
    )


def _options(recipe: Recipe) -> dict[str, Any]:
    if recipe.rewrite is None:
        return {}
    return {
        **changes_of(recipe, recipe.rewrite.llm, recipe.rewrite.template),
        "kinds": sorted(recipe.rewrite.kinds),
        "failed_turn": recipe.chats.failed_turn,
        "rules": {rule.rule: rule.model_dump(mode="json", exclude={"rule"}) for rule in single_row_rules(recipe)},
        "score": {**SCORE.options(recipe), "version": SCORE.version},
    }


PASS = Pass(
    key="rewrite",
    needs=("score",),
    version=2,
    options=_options,
    units=lambda recipe, outputs: shard_units("score")(recipe, outputs) if recipe.rewrite else [],
    run=_run,
    one_to_one=True,
    follows=lambda recipe: ("score",),
    applies=lambda recipe: recipe.rewrite is not None,
    most_workers=lambda recipe: recipe.llms[recipe.rewrite.llm].concurrency if recipe.rewrite else None,
)
