"""Asking one server until it answers: back-off, Retry-After, and whose fault a failure is.

A failed request is laid to the row or to the server. Not to be reached, 429, 502, 503 and 504 are the
server's: waited out for as long as it answers anybody, and for `patience_s` if it answers nobody. A 500,
a cut or late answer and one that cannot be used may be the row's: after `attempts` of them a *witness*, a
short text that any server can answer, settles it, unless another row was answered meanwhile. If the witness is
answered, the row is given up; if not, the server is waited for. So neither does a broken server cost
rows, nor can one bad row stop a run, and a run that is resumed with nothing but bad rows comes to its end.
A refusal is the row's, unless whom it was put to (a voice, a model) never answered: then the witness tells a wrong one.
"""

import asyncio
import email.utils
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import openai

WAITS_PER_ATTEMPT = 10  # a row may fail this often by the server's fault for each time by its own
MESSAGE_CHARACTERS = 200  # of a server's message that are told
SHORTEST_KEY = 8  # "none" and "EMPTY" are what servers get that want no key

_CONFIGURATION = {401, 402, 403, 404, 405, 407}  # key, payment, model or address: equal for all rows
_BUSY = {429, 502, 503, 504}
_AGAIN = {408, 409, *_BUSY}  # and every other 5xx
_NEVER_REACHED = {"ConnectError", "ConnectTimeout", "PoolTimeout"}  # of httpx and httpx2 alike

T = TypeVar("T")


class AskingError(RuntimeError):
    """No question can be asked any more: the server, the key or the options are at fault, no one question is."""


class Refused(Exception):
    """The server will not answer this question, however often it is asked."""


class Unanswered(Exception):
    """One request brought no answer that can be used.

    retry_after_s: how long the server asks to be left alone
    of_server:     whether the question cannot be at fault
    """

    def __init__(self, what: str, retry_after_s: float | None = None, of_server: bool = False) -> None:
        super().__init__(what)
        self.retry_after_s = retry_after_s
        self.of_server = of_server


def failure_of(error: "openai.APIError", redact: Callable[[str], str]) -> Unanswered | Refused | AskingError:
    """Say what an error of the `openai` client means, with the first 200 characters of the server's message.

    `redact` takes out what must not be told, before the message is cut.
    """
    import openai

    if isinstance(error, openai.APIStatusError):
        status, body = error.status_code, error.body
        said = body.get("message") if isinstance(body, dict) else None
        message = redact(str(said or error.message))[:MESSAGE_CHARACTERS]
        what = f"status {status}: {message}"
        if status in _CONFIGURATION or error.code == "insufficient_quota":
            return AskingError(f"{what}. Check base_url, model or voice, and the key, then resume")
        if status in _AGAIN or status >= 500:
            return Unanswered(what, retry_after_s(error.response.headers, time.time()), of_server=status in _BUSY)
        return Refused(what)
    cause = error.__cause__ or error
    reached = type(cause).__name__ not in _NEVER_REACHED
    if isinstance(error, openai.APITimeoutError):
        what = "timeout: " + ("the answer stalled" if reached else "no connection")
    else:
        what = "the connection was cut" if reached else "could not connect"
    detail = redact(f"{type(cause).__name__} {cause}")[:MESSAGE_CHARACTERS]
    return Unanswered(f"{what} ({detail.strip()})", of_server=not reached)


def redacted(message: str, key: str) -> str:
    """Take the key out of what a server says: some echo it. Short ones are no keys, but words of answers."""
    return message.replace(key, "***") if len(key) >= SHORTEST_KEY else message


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Return the seconds of `retry-after-ms` or `retry-after`, a number or an HTTP date; None without a usable one.

    now_s: the time since the epoch, from which a date is counted
    """
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / per_second
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, date.timestamp() - now_s)
    except (ValueError, OverflowError):
        return None


def pause_s(key: bytes, failures: int, shortest_s: float, longest_s: float) -> float:
    """Return the back-off after the n-th failure (from 1): doubled each time, times 0.5..1 drawn from the key and n."""
    whole = min(longest_s, shortest_s * 2.0 ** min(failures - 1, 30))
    drawn = hashlib.blake2b(failures.to_bytes(4, "little"), digest_size=8, key=key).digest()
    return whole * (0.5 + int.from_bytes(drawn, "little") / 2**65)


class Asker:
    """All questions to one server, from one event loop. `retries` counts the requests that were repeated."""

    def __init__(self, attempts: int, patience_s: float, pauses_s: tuple[float, float] = (0.5, 30.0)) -> None:
        """Take how often a question may fail by its own fault, and how long a server may answer nobody."""
        self.attempts = attempts
        self.patience_s = patience_s
        self.pauses_s = pauses_s
        self.retries = 0
        self._answered_at = self._free_at = -float("inf")
        self._answerers: set[str] = set()
        self._witness_lock = asyncio.Lock()

    def begin(self) -> None:
        """Start to count the server's silence: it was not asked before."""
        self._answered_at = self._now()

    async def ask(
        self, key: bytes, whom: str, send: Callable[[], Awaitable[T]], witness: Callable[[], Awaitable[object]]
    ) -> T:
        """Return the first answer of `send`, which raises Unanswered or Refused where there is none.

        Raises the last of these if the question is at fault: its last attempt lies between two answers to others,
        since without the first or the second it might have fallen into an outage. Raises AskingError if the
        server, the key or the options are at fault; what is stored stays. The key draws the jitter.

        whom: those of the server that the question is put to, in words: "the voice en-us", "the model qwen"
        """
        own = waits = sent = turn = 0
        asked = self._now()
        while True:
            await self._until_free(key)
            is_last = own >= self.attempts - 1 or waits >= WAITS_PER_ATTEMPT * self.attempts - 1
            failure = await self._silence(asked, whom, witness) if is_last else None
            if is_last and waits:  # the witness may have taken the place that a busy server had left
                await asyncio.sleep(pause_s(key, turn, *self.pauses_s))
            if failure is None:
                self.retries += sent > 0
                sent += 1
                asked = self._now()
                try:
                    answer = await send()
                except Refused:
                    failure = await self._refusal(whom, witness)
                    if failure is None:
                        raise
                except Unanswered as error:
                    failure = await self._silence(asked, whom, witness) if is_last else error
                    if failure is None:
                        raise
                else:
                    self._note_answer(whom)
                    return answer
            turn += 1
            waits += failure.of_server
            own += not failure.of_server
            await asyncio.sleep(self._pause(key, turn, failure))

    async def _until_free(self, key: bytes) -> None:
        while (left := self._free_at - self._now()) > 0:
            await asyncio.sleep(left + pause_s(key, 1, *self.pauses_s))  # so that not all come back at once

    async def _silence(self, since: float, whom: str, witness: Callable[[], Awaitable[object]]) -> Unanswered | None:
        """Return why the witness is not answered; None if it is, or if anybody was answered since then."""
        async with self._witness_lock:
            return None if self._answered_at > since else await self._ask(whom, witness)

    async def _refusal(self, whom: str, witness: Callable[[], Awaitable[object]]) -> Unanswered | None:
        """Return why the witness is not answered; None if it is, or if they ever answered."""
        async with self._witness_lock:
            return None if whom in self._answerers else await self._ask(whom, witness)

    async def _ask(self, whom: str, witness: Callable[[], Awaitable[object]]) -> Unanswered | None:
        try:
            await witness()
        except Unanswered as failure:
            self._check_patience(failure)
            return failure
        except Refused as refusal:
            raise AskingError(f"the server refuses even a plain request to {whom}: {refusal}") from None
        self._note_answer(whom)
        return None

    def _note_answer(self, whom: str) -> None:
        self._answered_at = self._now()
        self._answerers.add(whom)

    def _pause(self, key: bytes, failures: int, failure: Unanswered) -> float:
        """Return how long to wait; a busy server's Retry-After holds all questions back."""
        asked_for = failure.retry_after_s or 0.0
        if asked_for > self.patience_s:
            raise AskingError(
                f"the server asks to come back in {asked_for:.0f} s, but patience_s is {self.patience_s:g}: {failure}"
            )
        if failure.of_server:
            self._check_patience(failure)
            self._free_at = max(self._free_at, self._now() + asked_for)
        return max(asked_for, pause_s(key, failures, *self.pauses_s))

    def _check_patience(self, failure: Exception) -> None:
        quiet_s = self._now() - self._answered_at
        if quiet_s > self.patience_s:
            raise AskingError(
                f"the server has answered nobody for {quiet_s:.0f} s (patience_s: {self.patience_s:g}); "
                f"last: {failure}. What was answered is stored: resume when the server is well"
            ) from None

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
