"""A `/v1/chat/completions` server on 127.0.0.1 that answers from rules and misbehaves as it is told.

    with LoopbackChat() as server:                       # in a thread of this process
        llms = {"qwen": {"base_url": server.base_url, "model": "qwen", **QUICK}}
    with LoopbackChat(rules=lambda messages, seed: "Four."): ...
    with ChatProcess(folder, plan="stormy") as server:   # in a process of its own, that can be killed and started again
        server.kill(); server.start()

`rules(messages, seed)` is the text that is answered: `RULES` has those that a process can be told by name,
`plausible` being the default. `plan(text, n)` names what is done with the n-th request (from 0, whatever its seed)
whose last message is this text: "good"; a status, such as "500", or one of `STATUS`; or one of `BEHAVIOURS`. A server
may be paced: so many answers a second, each so many seconds after its question. Usage counts words between blanks.
"""

from __future__ import annotations

import argparse
import asyncio
import email.utils
import functools
import hashlib
import json
import math
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

STATUS = {"429-seconds": 429, "429-date": 429, "429-long": 429, "429-quota": 429, "400-echo": 400, "400-filter": 400}
BEHAVIOURS = {
    "truncated": "JSON that ends in its middle",
    "deep": "JSON that is nested deeper than can be read",
    "digits": "JSON with a number of more digits than can be read",
    "html": "status 200, and a page instead of JSON",
    "list": "status 200, and a list",
    "error": "status 200, and an error that tells the key",
    "empty-choices": "no choice",
    "no-message": "a choice without a message",
    "null": "content null",
    "blank": "content of blanks",
    "filter": "content null, finish_reason content_filter",
    "length": "half the text, finish_reason length",
    "no-usage": "a good answer without usage or model",
    "wild-usage": "a good answer with a usage that nobody can count with",
    "echo": "a good answer that tells the key",
    "cut": "the connection ends in the middle of the answer",
    "drop": "the connection ends without an answer",
    "hang": "nothing, until the server ends",
    "slow": "a good answer after a second",
}
GOOD = ("good", "slow", "no-usage", "wild-usage", "echo", "null", "blank", "filter", "length")  # billed
LONGEST_HANG_S = 60.0
LONGEST_LIFE_S = 3600.0
SERVED = "loopback-1"  # the model, as the server calls it
QUICK: dict[str, Any] = {"timeout_s": 10.0, "patience_s": 10.0, "attempts": 3, "pauses_s": (0.01, 0.05)}

Messages = list[dict[str, str]]
Rules = Callable[[Messages, int], str]
Plan = Callable[[str, int], str]

_OPENINGS = (
    *(
        "I'm sorry,",
        "Sorry,",
        "Oh,",
        "Hmm,",
        "Apologies,",
        "Forgive me,",
        "Pardon me,",
        "Excuse me,",
        "I'm afraid",
        "Well,",
    ),
    *("My apologies,", "So sorry,", "Dear me,", "I regret that", "Unfortunately", "It seems that"),
)
_FAILURES = (
    *("I couldn't make out a word of that", "I didn't catch what you said", "I could not understand that"),
    *("the sound came through garbled", "I heard something but no words", "that was too unclear for me"),
    *("nothing that I heard made sense to me", "your words got lost on the way", "I wasn't able to hear you clearly"),
    *("I only got noise", "I missed what you said", "what reached me was not clear"),
)
_PLACES = (
    *(
        "",
        " just now",
        " this time",
        " on my end",
        " at all",
        " over here",
        " there",
        " from here",
        " so far",
        " I'm afraid",
    ),
    *(" to my regret", " somehow", " I think"),
)
_WISHES = (
    *("could you say it again", "would you repeat that", "please try once more", "can you speak a little louder"),
    *("could you come closer to the microphone", "please say it again more slowly", "would you mind repeating it"),
    *("can you try again where it is quieter", "could you put it in other words", "please check your microphone"),
)
_ENDINGS = (
    "?",
    ", please?",
    " for me?",
    " when you are ready?",
    ", if you can?",
    " one more time?",
    " now?",
    " so I can help?",
)


def plausible(messages: Messages, seed: int) -> str:
    """Answer as a model might: a varied refusal, a prompt made speakable, an answer made short, an answer."""
    text = messages[-1]["content"]
    digest = hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=16).digest()
    if text.rstrip().endswith("The reply:"):
        parts = (_OPENINGS, _FAILURES, _PLACES, _WISHES, _ENDINGS)
        opening, failure, place, wish, ending = (part[digest[n] % len(part)] for n, part in enumerate(parts))
        wish = wish.removeprefix("please ") if ending.startswith(", please") else wish
        return f"{opening} {failure}{place}, so {wish}{ending}"
    quoted = re.findall(r"^-{10}\n(.*?)\n-{10}$", text, re.MULTILINE | re.DOTALL)
    words = re.findall(r"[A-Za-z']+", quoted[-1] if quoted else text)
    if text.rstrip().endswith("The spoken request:"):
        return f"Please help me with this: {' '.join(words[:24])}."
    number = int.from_bytes(digest[:2]) % 3
    opening = ("In short,", "Well,", "Here is what matters:")[number]
    return f"{opening} {' '.join(words[:16]).lower() or 'that is all there is to say'}."


def echo(messages: Messages, seed: int) -> str:
    """Answer with the last message and the seed."""
    return f"{messages[-1]['content']} ({seed})"


RULES: dict[str, Rules] = {"plausible": plausible, "echo": echo}


def good(_text: str, _n: int) -> str:
    """Return the plan of a server that always behaves."""
    return "good"


def at_random(shares: dict[str, float], seed: int = 0, most: int = 1_000_000) -> Plan:
    """Return a plan that misbehaves in these shares, drawn from (seed, text, n), at a text's first `most` requests."""

    def plan(text: str, n: int) -> str:
        digest = hashlib.blake2b(f"{seed}\0{n}\0{text}".encode(), digest_size=8).digest()
        drawn = int.from_bytes(digest, "little") / 2**64
        for behaviour, share in shares.items():
            if n < most and drawn < share:
                return behaviour
            drawn -= share
        return "good"

    return plan


STORM = {
    **{"429": 0.02, "429-seconds": 0.0005, "500": 0.02, "503": 0.01, "truncated": 0.01, "html": 0.005, "list": 0.002},
    **{"empty-choices": 0.01, "no-message": 0.005, "cut": 0.01, "drop": 0.01, "error": 0.002},
}
PLANS: dict[str, Plan] = {"good": good, "stormy": at_random(STORM, most=2)}


def texts(count: int) -> list[str]:
    """Return that many different questions."""
    things = ("the bicycle", "sourdough bread", "a sleepy dragon", "the moon", "a long winter")
    return [f"Tell me story number {number:05d} about {things[number % 5]}." for number in range(count)]


class LoopbackChat:
    """The server, from `with` to its end; nothing of it outlives `close`.

    requests, answered: Counters by the last message's text, of requests and of answers with usage sent whole
    bodies, keys:       of every request, the JSON (if kept) and the Authorization header
    tokens:             of all usage sent
    most_at_once:       requests under way at the same time
    """

    def __init__(
        self,
        rules: Rules = plausible,
        plan: Plan = good,
        per_second: float | None = None,
        latency_s: float = 0.0,
        port: int = 0,
        log: Path | None = None,
    ) -> None:
        """Take what to do. A log gets a line for each request (R) and each good answer (A): seconds, which, text."""
        self.rules, self.plan = rules, plan
        self.per_second, self.latency_s = per_second, latency_s
        self.port = port
        self.requests: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.tokens = 0
        self.most_at_once = self.at_once = 0
        self.keep_bodies = True
        self.connections: set[_Connection] = set()
        self._slot = 0.0
        self._log = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> LoopbackChat:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _listen(self) -> None:
        make = functools.partial(_Connection, self)
        self._server = await self._loop.create_server(make, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Cut what is under way, stop listening, wait for the thread."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()
            if self._log is not None:
                os.close(self._log)

    async def _stop(self) -> None:
        self._server.close()
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)

    def enter(self, body: dict[str, Any], key: str) -> str:
        """Count a request; returns what to do with it."""
        text = body["messages"][-1]["content"]
        n = self.requests[text]
        self.requests[text] += 1
        self.keys.add(key)
        if self.keep_bodies:
            self.bodies.append(body)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self._note("R", text)
        return self.plan(text, n)

    def sent(self, body: dict[str, Any], tokens: int) -> None:
        """Count an answer that was handed to the kernel whole."""
        text = body["messages"][-1]["content"]
        self.answered[text] += 1
        self.tokens += tokens
        self._note("A", text)

    def delay_s(self) -> float:
        """Return how long the next answer waits: for its latency, and for its place."""
        now = self._loop.time()
        if not self.per_second:
            return self.latency_s
        self._slot = max(self._slot + 1 / self.per_second, now + self.latency_s)
        return self._slot - now

    def _note(self, what: str, text: str) -> None:
        if self._log is not None:
            os.write(self._log, f"{time.monotonic():.6f} {what} {text}\n".encode())


class _Connection(asyncio.Protocol):
    """One client's connection: requests one after another, each answered at once or later."""

    def __init__(self, chat: LoopbackChat) -> None:
        self.chat = chat
        self.data = b""
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.chat.connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self.chat.connections.discard(self)
        if self.busy:
            self.chat.at_once -= 1
            self.busy = False

    def abort(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.data += data
        while not self.busy and (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = self.data[:end].decode("latin-1")
            length = re.search(r"(?i)\ncontent-length: *(\d+)", head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.data) < whole:
                return
            body, self.data = self.data[end + 4 : whole], self.data[whole:]
            self.answer(head, body)

    def answer(self, head: str, data: bytes) -> None:
        found = re.search(r"(?i)\nauthorization: *([^\r\n]*)", head)
        key = found[1] if found else ""
        if not head.startswith("POST /v1/chat/completions "):
            return self.send(404, b'{"error": {"message": "no such path"}}')
        body = orjson.loads(data)
        if body["model"] == "mistyped":
            return self.send(404, b'{"error": {"message": "the model `mistyped` does not exist", "code": 404}}')
        behaviour = self.chat.enter(body, key)
        self.busy = True
        if behaviour == "hang":
            self.later(LONGEST_HANG_S, self.abort)
        elif re.fullmatch("[45][0-9][0-9].*", behaviour):
            self.later(self.chat.latency_s, lambda: self.refuse(behaviour, key))
        else:
            self.later(self.chat.delay_s() + (behaviour == "slow"), lambda: self.behave(behaviour, body, key))

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do it, now or later, unless the connection was lost by then."""

        def unless_lost() -> None:
            if self.busy:
                self.busy = False
                self.chat.at_once -= 1
                do()
                self.data_received(b"")

        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, unless_lost)
        else:
            unless_lost()

    def refuse(self, behaviour: str, key: str) -> None:
        status = STATUS.get(behaviour) or int(behaviour[:3])
        header = {
            "429-seconds": "Retry-After: 1\r\n",
            "429-date": f"Retry-After: {email.utils.formatdate(math.ceil(time.time()) + 1, usegmt=True)}\r\n",
            "429-long": "Retry-After: 86400\r\n",
        }.get(behaviour, "")
        said = f"your key is {key}, which I echo: " if "echo" in behaviour else ""
        error = {"message": f"{said}I misbehave: {behaviour}. " + "x" * 400, "code": None}
        error |= {"code": "insufficient_quota"} if behaviour == "429-quota" else {}
        error |= {"code": "content_filter", "innererror": {}} if behaviour == "400-filter" else {}
        self.send(status, json.dumps({"error": error}).encode(), header=header)

    def behave(self, behaviour: str, body: dict[str, Any], key: str) -> None:
        text = self.chat.rules(body["messages"], body.get("seed", 0))
        prompt_tokens = sum(len(message["content"].split()) for message in body["messages"])
        content: str | None = text
        finish = "stop"
        if behaviour == "length":
            content, finish = text[: len(text) // 2], "length"
        elif behaviour in ("null", "filter"):
            content, finish = None, {"null": "stop", "filter": "content_filter"}[behaviour]
        elif behaviour == "blank":
            content = " \n "
        elif behaviour == "echo":
            content = f"{text} {key}"
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
        tokens = len((content or "").split())
        answer: Any = {
            **{"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": SERVED, "choices": [choice]},
            "usage": {
                **{"prompt_tokens": prompt_tokens, "completion_tokens": tokens},
                "total_tokens": prompt_tokens + tokens,
            },
        }
        if behaviour == "no-usage":
            del answer["usage"], answer["model"]
        elif behaviour == "wild-usage":
            answer["usage"] = {"prompt_tokens": -(2**40), "completion_tokens": 2**40}
        elif behaviour == "empty-choices":
            answer["choices"] = []
        elif behaviour == "no-message":
            del choice["message"]
        elif behaviour == "list":
            answer = [answer]
        elif behaviour == "error":
            answer = {"error": {"message": f"200, and yet {key} failed"}}
        data = orjson.dumps(answer)
        if behaviour == "truncated":
            data = data[: len(data) // 2]
        elif behaviour == "deep":
            data = b"[" * 100_000
        elif behaviour == "digits":
            data = b'{"usage": ' + b"9" * 5000 + b"}"
        elif behaviour == "html":
            return self.send(200, b"<html><body>Welcome to the proxy</body></html>", kind="text/html")
        if behaviour in ("cut", "drop"):
            if behaviour == "cut":
                self.transport.write(_head(200, "application/json", len(data)) + data[: len(data) // 2])
            return self.transport.close()
        self.send(200, data)
        if behaviour in GOOD:
            self.chat.sent(body, 0 if behaviour.endswith("-usage") else prompt_tokens + tokens)

    def send(self, status: int, data: bytes, kind: str = "application/json", header: str = "") -> None:
        self.transport.write(_head(status, kind, len(data), header) + data)


def _head(status: int, kind: str, length: int, header: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{header}Content-Length: {length}\r\n\r\n".encode()


class ChatProcess:
    """The server in a process of its own, always on the same port, from `with` to its end; it ends with its parent.

    log: a line for each request (R) and each good answer (A): seconds, which, text
    """

    def __init__(self, folder: Path, rules: str = "plausible", plan: str = "good", **pace: float) -> None:
        """Take the folder of its log, names in RULES and PLANS, and `per_second` and `latency_s`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "chat.log"
        self._port = 0
        self._arguments = ["--rules", rules, "--plan", plan, "--log", str(self.log)]
        self._arguments += [f"--{name.replace('_', '-')}={value}" for name, value in pace.items() if value]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.answers.loopback_chat", "--port", str(self._port), *self._arguments],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.communicate()

    def lines(self) -> list[tuple[float, str, str]]:
        """Return the log: seconds (monotonic), R or A, text."""
        split = [line.split(" ", 2) for line in self.log.read_text().splitlines()]
        return [(float(seconds), what, text) for seconds, what, text in split]

    def __enter__(self) -> ChatProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stdin ends, which it does with the parent; prints the port."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rules", choices=sorted(RULES), default="plausible")
    parser.add_argument("--plan", choices=sorted(PLANS), default="good")
    parser.add_argument("--per-second", type=float)
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--log", type=Path)
    args = parser.parse_args(arguments)
    pace = {"per_second": args.per_second, "latency_s": args.latency_s}
    with LoopbackChat(RULES[args.rules], PLANS[args.plan], port=args.port, log=args.log, **pace) as server:
        server.keep_bodies = False
        print(server.port, flush=True)
        ends_at = time.monotonic() + LONGEST_LIFE_S
        while time.monotonic() < ends_at and not (select.select([sys.stdin], [], [], 1.0)[0] and not os.read(0, 4096)):
            pass


if __name__ == "__main__":
    main()
