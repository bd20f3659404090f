"""answer: answers made short and readable aloud, or mended, or given anew by the model that will be trained.

The exchanges of a chat are taken one after another, those of all rows of a shard at once, so that each answer knows the
new ones before it. A row whose answer is flawed to the end of its tries is a reject; a chat may end before it instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from answers.llm import Answer, NoAnswer
from filters.answers import boilerplates
from filters.language import detect_language
from pipelines.answer_options import Answers
from pipelines.asked import Asked, asking, changes_of, generated
from pipelines.chats import shortened
from pipelines.graph import Job, Outcome, Pass, shard_units
from pipelines.recipe import Recipe
from pipelines.row import Row, user_turns
from pipelines.rowwise import Done, Reject, read_rows, write_rows

if TYPE_CHECKING:
    from answers.tasks import Own, Rewording

STALE = ("answer_flaw", "answer_repeats", "answer_unspeakable")  # scores of answers that are no longer there


class Chat:
    """A row whose answers are being written: its messages so far, and what is noted of the new ones."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.messages: list[dict[str, str]] = [dict(message) for message in row["messages"]]
        self.prompts = [turn for turn, _ in user_turns(row["messages"])]
        self.notes: list[dict[str, Any]] = []
        self.end: Row | Reject | None = None

    def answer_to(self, exchange: int) -> str | None:
        """Return the answer of an exchange as it stands; None where there is none."""
        turn = self.prompts[exchange] + 1
        return self.messages[turn]["content"] if turn < len(self.messages) else None

    def before(self, exchange: int) -> list[dict[str, str]]:
        """Return the exchanges before one, as they stand."""
        return [
            {"prompt": self.messages[turn]["content"], "answer": self.messages[turn + 1]["content"]}
            for turn in self.prompts[:exchange]
        ]

    def write(self, exchange: int, how: str, answer: Answer) -> None:
        """Put in a new answer."""
        turn = self.prompts[exchange] + 1
        self.notes.append(generated(turn, how, self.answer_to(exchange), answer))
        self.messages[turn:] = [{"role": "assistant", "content": answer.text}, *self.messages[turn + 1 :]]

    def finished(self) -> Row:
        """Return the row with its new answers."""
        if not self.notes:
            return self.row
        notes = [*(self.row["generated"] or []), *self.notes]
        return {
            **self.row,
            **dict.fromkeys(STALE),
            "messages": self.messages,
            "answered": True,
            "generated": sorted(notes, key=lambda note: note["turn"]),
        }


def answer_all(rows: Sequence[Row], options: Answers, llm: Asked, shorten: bool) -> tuple[list[Done], Counter[str]]:
    """Return each row with its new answers, or what ends it; and how many answers were asked for, and were good.

    Args:
        shorten: a chat ends before an answer that is flawed, unless that is its first.
    """
    task, counts = _task(options), Counter(tried=0, answered=0)
    chats = [Chat(row) for row in rows]
    for exchange in range(max((len(chat.prompts) for chat in chats), default=0)):
        asked = _wanted(
            [chat for chat in chats if chat.end is None and exchange < len(chat.prompts)], exchange, options
        )
        answers = llm.answer_all(task, _inputs(asked, exchange, options))
        counts["tried"] += len(asked)
        for chat, answer in zip(asked, answers, strict=True):
            if isinstance(answer, NoAnswer):
                chat.end = _ended(chat, exchange, answer.reason, shorten)
            else:
                counts["answered"] += 1
                chat.write(exchange, options.how, answer)
    return [(chat.row, chat.end or chat.finished()) for chat in chats], counts


def _task(options: Answers) -> Own | Rewording:
    from answers.tasks import Own, Rewording  # loads distilabel: in workers only

    return Own(system=options.system) if options.request is None else Rewording(how=options.how, file=options.request)


def _wanted(chats: Sequence[Chat], exchange: int, options: Answers) -> list[Chat]:
    """Return the chats whose answer of an exchange is to be written: all, those that have one, or those with a flaw."""
    if options.how == "own":
        return list(chats)
    there = [(chat, answer) for chat in chats if (answer := chat.answer_to(exchange)) is not None]
    if options.how == "spoken":
        return [chat for chat, _ in there]
    return [chat for (chat, _), flaw in zip(there, boilerplates([said for _, said in there]), strict=True) if flaw]


def _inputs(chats: Sequence[Chat], exchange: int, options: Answers) -> list[dict[str, Any]]:
    """Return what the task is given for each chat: languages are the prompts', and that of the answer so far."""
    answers = [chat.answer_to(exchange) for chat in chats]
    inputs: list[dict[str, Any]] = []
    for chat, answer, (spoken, _) in zip(chats, answers, detect_language([a or "" for a in answers]), strict=True):
        turn = chat.prompts[exchange]
        languages = (chat.row["language"], *([spoken] if answer is not None else []))
        if options.how == "own":
            inputs.append({"messages": chat.messages[: turn + 1], "languages": languages})
        else:
            prompt = chat.messages[turn]["content"]
            inputs.append({"prompt": prompt, "answer": answer, "before": chat.before(exchange), "languages": languages})
    return inputs


def _ended(chat: Chat, exchange: int, reason: str, shorten: bool) -> Row | Reject:
    """Return what is left of a chat whose exchange has no good answer."""
    if shorten and exchange:
        return shortened(chat.finished(), exchange, f"answer.{reason}")
    return Reject(reason)


def _run(job: Job) -> Outcome:
    options = job.recipe.answer
    assert options is not None, "else there are no units"
    rows = list(read_rows(job.input()))
    with asking(job, options.llm) as llm:
        done, counts = answer_all(rows, options, llm, job.recipe.chats.failed_turn == "shorten")
    outcome = write_rows(job, "answer", done, len(rows))
    return replace(outcome, facts={**outcome.facts, "answers": {options.how: dict(counts)}}, usage=llm.usage)


def _options(recipe: Recipe) -> dict[str, Any]:
    if recipe.answer is None:
        return {}
    return {
        "how": recipe.answer.how,
        "system": recipe.answer.system,
        "failed_turn": recipe.chats.failed_turn,
        **changes_of(recipe, recipe.answer.llm, recipe.answer.request),
    }


PASS = Pass(
    key="answer",
    needs=("filter",),
    version=1,
    options=_options,
    units=lambda recipe, outputs: shard_units("filter")(recipe, outputs) if recipe.answer else [],
    run=_run,
    one_to_one=True,
    follows=lambda recipe: ("filter",),
    applies=lambda recipe: recipe.answer is not None,
    most_workers=lambda recipe: recipe.llms[recipe.answer.llm].concurrency if recipe.answer else None,
)
