"""Language models behind any server with OpenAI's `/v1/chat/completions`: vLLM, the OpenAI API, and others.

distilabel's model asks and its tasks make the requests and read the answers; who asks when, again, and at whose cost
is decided here. Every answer is stored under what was asked before it is looked at. A flawed one is asked for again
with the next seed; what the server does wrong is waited out (`answers.asking`) and changes no seed. So the same
questions to a server that answers the same get the same answers, whatever the concurrency, the weather and the number
of starts.
"""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from answers.asking import Asker, AskingError, Refused, Unanswered, failure_of, redacted
from answers.concurrently import LoopThread, for_each
from answers.ledger import CeilingReached, Ledger
from answers.options import LlmOptions
from answers.reply import Reply
from answers.store import AnswerStore, answer_key

if TYPE_CHECKING:
    from answers.chat_model import ChatModel

__all__ = ["Answer", "AskingError", "CeilingReached", "Llm", "LlmOptions", "NoAnswer", "Question"]

Chat = list[dict[str, str]]

WITNESS: Chat = [{"role": "user", "content": "Please say hello."}]
WITNESS_TOKENS = 16

# A prompt has at most one token a byte (byte-level vocabularies), those that a chat template puts around each message,
# and those of a system message that a template adds by itself.
TEMPLATE_TOKENS = 64
MESSAGE_TOKENS = 16


class Question(Protocol):
    """What is asked of a model, and how its answers are read: of distilabel's `Task`, these two methods.

    template: the name and version of the prompt, as a row tells it
    """

    @property
    def template(self) -> str:
        """Return the name and version of the prompt."""
        ...

    def format_input(self, input: Any) -> Any:
        """Return the messages for one input, the last of them the user's."""
        ...

    def format_output(self, output: Any, input: Any = None) -> Any:
        """Return {"text": the text to keep, "flaw": None, or what is wrong as "kind:detail"}."""
        ...


@dataclass(frozen=True)
class Answer:
    """A good answer.

    text:     as the task reads it
    model:    as the server calls it
    prompt_tokens, completion_tokens: of this answer; 0 where the server does not say
    tries:    how many seeds it took; 1: the first was good
    template: of the task
    """

    text: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    tries: int
    template: str


@dataclass(frozen=True)
class NoAnswer:
    """Why there is none.

    reason: `not_answered:<what the server said or did>`, `cut_off:<finish_reason>`, `empty`, `no_try_left`, or the
            task's flaw, of the last try
    """

    reason: str


class Llm:
    """A model behind a server. One thread may use it at a time; its requests run in a thread of its own."""

    def __init__(self, options: LlmOptions, folder: Path, share: int = 1) -> None:
        """Take the options, the folder of this model's answers and of what they cost, and how many workers ask at once.

        Raises AskingError if the variable named by `api_key_env` holds no key, OSError for the folder.
        """
        self.options = options
        self.concurrency = max(1, options.concurrency // share)
        self._key = options.read_key()
        self._store = AnswerStore(folder)
        self._ledger = Ledger(folder / "spent", options.most_requests, options.most_tokens)
        self._asker = Asker(options.attempts, options.patience_s, options.pauses_s)
        self._thread = LoopThread("llm")
        self._model: ChatModel | None = None
        self._asking: dict[bytes, asyncio.Future[Reply | str]] = {}
        self._under_way = 0
        self._ended = asyncio.Event()
        names = ("requests", "from_store", "prompt_tokens", "completion_tokens", "asking_seconds")
        self._usage = dict.fromkeys(names, 0.0)

    @property
    def usage(self) -> Mapping[str, float]:
        """Return the sums since this was made.

        requests, retries: sent, and how many of them were repeats
        from_store:        answers that needed none; they cost nothing again
        prompt_tokens, completion_tokens: of the requests that were answered, good or flawed; cost: at the price given
        asking_seconds:    in `answer_all`
        """
        prompt_price, answer_price = self.options.price_per_million_tokens
        cost = self._usage["prompt_tokens"] * prompt_price + self._usage["completion_tokens"] * answer_price
        return {**self._usage, "retries": float(self._asker.retries), "cost": cost / 1e6}

    def answer_all(
        self, task: Question, inputs: Sequence[Mapping[str, Any]], first_try: Sequence[int] = ()
    ) -> list[Answer | NoAnswer]:
        """Return for each input, in order, the first good answer or why there is none; all answers are stored by then.

        first_try: of each input, which try to begin with: 0 unless answers of the tries before are not wanted

        Each input goes on by itself, so the more are given at once, the less is waited for. Equal questions are
        asked once. Raises AskingError if the server, the key or the options are at fault, CeilingReached (which is one)
        when the next request could cost more than the options allow, OSError for a full disk.
        """
        started = time.monotonic()
        self._store.look()
        try:
            return self._thread.run(self._answer_all(task, inputs, first_try or [0] * len(inputs)))
        finally:
            self._asking.clear()
            self._store.sync()
            self._ledger.give_back()
            self._usage["asking_seconds"] += time.monotonic() - started

    def close(self) -> None:
        """End the thread and close the connections, the store and the ledger. Nothing can be asked afterwards."""
        if self._model is not None:
            self._thread.run(self._model.close())
            self._model = None
        self._thread.close()
        self._store.close()
        self._ledger.close()

    async def _answer_all(
        self, task: Question, inputs: Sequence[Mapping[str, Any]], first_try: Sequence[int]
    ) -> list[Answer | NoAnswer]:
        self._asker.begin()
        answers: dict[int, Answer | NoAnswer] = {}

        async def answer(number: int) -> None:
            answers[number] = await self._answer(task, inputs[number], first_try[number])

        await for_each(range(len(inputs)), self.concurrency, answer)
        return [answers[number] for number in range(len(inputs))]

    def _load(self) -> "ChatModel":
        """Return the model, made when the first question is asked: its imports take over a second."""
        if self._model is None:
            from answers.chat_model import ChatModel

            options = self.options
            self._model = ChatModel(
                model=options.model,
                base_url=options.base_url,
                api_key=self._key or "none",
                timeout=math.ceil(options.timeout_s),
            )
            self._model.load()
        return self._model

    async def _answer(self, task: Question, given: Mapping[str, Any], first: int) -> Answer | NoAnswer:
        """Ask with one seed after another until an answer is good."""
        messages = task.format_input(given)
        reason = "no_try_left"
        for tried in range(first, self.options.tries):
            reply = await self._reply(messages, self.options.seed + tried)
            if isinstance(reply, str):
                return NoAnswer(f"not_answered:{reply}")
            text, flaw = reply.text, reply.flaw()
            if flaw is None:
                read = task.format_output(text, given)
                text, flaw = read["text"], read["flaw"]
            if flaw is None:
                tokens = (reply.prompt_tokens, reply.completion_tokens)
                return Answer(text, reply.model, *tokens, tried + 1, task.template)
            reason = flaw
        return NoAnswer(reason)

    async def _reply(self, messages: Chat, seed: int) -> Reply | str:
        """Return what is stored, what another is just being told, or what the server says; or why it says nothing."""
        key = answer_key("chat", self._body(messages, seed))
        if (asking := self._asking.get(key)) is not None:
            return await asyncio.shield(asking)
        if (stored := self._store.get(key)) is not None:
            self._usage["from_store"] += 1
            return Reply.load(stored)
        self._asking[key] = asking = asyncio.get_running_loop().create_future()
        try:
            reply = await self._ask(key, messages, seed)
        except BaseException:
            asking.cancel()  # all end with this one
            raise
        asking.set_result(reply)
        if isinstance(reply, Reply):
            del self._asking[key]  # it is stored
        return reply

    async def _ask(self, key: bytes, messages: Chat, seed: int) -> Reply | str:
        """Ask until the server answers, and store it; or return why it does not."""
        for message in messages:
            try:
                message["content"].encode()
            except UnicodeEncodeError as error:
                return f"lone surrogate at character {error.start} of the {message['role']}'s message"
        try:
            reply = await self._asker.ask(
                key,
                f"the model {self.options.model}",
                lambda: self._send(messages, seed, self.options.max_tokens),
                lambda: self._send(WITNESS, seed, WITNESS_TOKENS),
            )
        except (Refused, Unanswered) as failure:
            return str(failure)
        self._store.put(key, reply.dump())
        return reply

    def _body(self, messages: Chat, seed: int) -> dict[str, Any]:
        options = self.options
        return {
            **options.extra,
            **{"model": options.model, "messages": messages, "seed": seed, "max_tokens": options.max_tokens},
            **{"temperature": options.temperature, "top_p": options.top_p},
        }

    async def _send(self, messages: Chat, seed: int, max_tokens: int) -> Reply:
        """Ask once. Raises Unanswered, Refused or AskingError."""
        import openai

        model, options = self._load(), self.options
        prompt_bytes = sum(len(message["content"].encode()) + MESSAGE_TOKENS for message in messages)
        most = cost = prompt_bytes + TEMPLATE_TOKENS + max_tokens
        await self._take(most)
        self._usage["requests"] += 1
        try:
            async with asyncio.timeout(options.timeout_s):
                output: Any = await model.agenerate(
                    input=messages,
                    max_new_tokens=max_tokens,
                    temperature=options.temperature,
                    top_p=options.top_p,
                    extra_body={**options.extra, "seed": seed},
                )
            reply: Reply = output["reply"]
            cost = most if reply.tokens is None else sum(reply.tokens)
            self._usage["prompt_tokens"] += reply.prompt_tokens
            self._usage["completion_tokens"] += reply.completion_tokens
        except TimeoutError:
            raise Unanswered(f"timeout: no whole answer in {options.timeout_s:g} s") from None
        except openai.APIError as error:
            failure = failure_of(error, self._redact)
            if isinstance(error, openai.APIStatusError) or (isinstance(failure, Unanswered) and failure.of_server):
                cost = 0  # told, or never asked: nothing was written
            raise failure from None  # its request holds the key
        except Unanswered as failure:
            raise Unanswered(self._redact(str(failure))[:200]) from None
        finally:
            self._ledger.settle(most, cost)
            self._under_way -= 1
            self._ended.set()
        return replace(reply, text=self._redact(reply.text), model=self._redact(reply.model))

    async def _take(self, most_tokens: int) -> None:
        """Wait until a request may be sent. Raises CeilingReached once nothing is under way that could cost less."""
        while not self._ledger.take(most_tokens):
            if not self._under_way:
                raise self._ledger.reached()
            self._ended.clear()
            await self._ended.wait()
        self._under_way += 1

    def _redact(self, message: str) -> str:
        return redacted(message, self._key)
