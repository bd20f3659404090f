"""A `/v1/audio/speech` server on 127.0.0.1 that speaks with eSpeak and misbehaves as it is told.

`plan(text, n)` names what is done with the n-th request (from 0) for a text: "good"; a status, such as "500", or one
of `STATUS`; "cut", "cut-chunked", "drop" (no answer), "hang", "drip"; or one of `BROKEN_AUDIO`.
"""

from __future__ import annotations

import email.utils
import hashlib
import io
import json
import math
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from tts.engine import Delivery
from tts.espeak import Espeak
from tts.openai_speech import OpenAISpeech, OpenAISpeechOptions, Resample

STATUS = {
    "429": 429,
    "429-seconds": 429,
    "429-date": 429,
    "429-long": 429,
    "429-quota": 429,
    "400-echo": 400,
    "400-voice": 400,
}
BROKEN_AUDIO = ("garbage", "json", "empty", "silent", "wrong-rate", "half-rate", "runaway", "clipped-wav")
LONGEST_HANG_S = 60.0
FORMATS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "mp3": ("MP3", None), "opus": ("OGG", "OPUS")}

RATE_HZ = 22_050  # eSpeak's
QUICK: dict[str, Any] = {
    "model": "espeak",
    "sample_rate_hz": RATE_HZ,
    "pauses_s": (0.01, 0.05),
    "timeout_s": 10.0,
    "patience_s": 10.0,
    "attempts": 3,
}

Plan = Callable[[str, int], str]


def texts(count: int) -> list[str]:
    """Return that many different sentences of about the same length."""
    things = ("the bicycle", "sourdough bread", "a sleepy dragon", "the moon", "a long winter")
    return [f"Tell me story number {number:03d} about {things[number % 5]}." for number in range(count)]


def unchanged(samples: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Resample where there is nothing to do, which needs no torch."""
    assert from_hz == to_hz, (from_hz, to_hz)
    return samples


def engine_over(url: str, folder: Path, resample: Resample = unchanged, **changes: Any) -> OpenAISpeech:
    """Return an impatient engine with eSpeak's voices."""
    options = OpenAISpeechOptions(**{"base_url": url, **QUICK, **changes})
    return OpenAISpeech(options, Espeak.voices, folder, resample)


def good(_text: str, _n: int) -> str:
    """Return the plan of a server that always behaves."""
    return "good"


def at_random(shares: dict[str, float], seed: int = 0) -> Plan:
    """Return a plan that misbehaves in these shares, drawn from (seed, text, n)."""

    def plan(text: str, n: int) -> str:
        digest = hashlib.blake2b(f"{seed}\0{n}\0{text}".encode(), digest_size=8).digest()
        drawn = int.from_bytes(digest, "little") / 2**64
        for behaviour, share in shares.items():
            if drawn < share:
                return behaviour
            drawn -= share
        return "good"

    return plan


def encode(samples: NDArray[np.int16], rate_hz: int, audio_format: str) -> bytes:
    """Encode int16 as the API's formats are."""
    if audio_format == "pcm":
        return samples.astype("<i2").tobytes()
    buffer = io.BytesIO()
    container, subtype = FORMATS[audio_format]
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


class LoopbackSpeech:
    """The server, from `with` to its end; nothing of it outlives `close`.

    requests, answered: Counters by text, of requests and of good answers sent whole
    history:            of every request that has ended: text, Authorization header, what was done, whether it was good
    bodies, keys:       of every request, the JSON and the Authorization header
    most_at_once:       requests under way at the same time
    """

    def __init__(self, plan: Plan = good, latency_s: float = 0.0, rate_hz: int = RATE_HZ) -> None:
        self.plan = plan
        self.latency_s = latency_s
        self.rate_hz = rate_hz
        self.requests: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.history: list[tuple[str, str, str, bool]] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.times: list[float] = []
        self.most_at_once = self._at_once = 0
        self.keep_bodies = True
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._espeak = Espeak()
        self._speaking = threading.Lock()  # eSpeak is not thread-safe
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> LoopbackSpeech:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what hangs, stop listening, wait for the thread."""
        if not self.closing.is_set():
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(5)
            self._espeak.close()

    def speak(self, body: dict[str, Any]) -> NDArray[np.int16]:
        rate_wpm = round(175 * body.get("speed", 1.0))
        with self._speaking:
            samples = self._espeak.speak(body["input"], Delivery(body["voice"], rate_wpm, 50))
        if self.rate_hz == self._espeak.sample_rate_hz:
            return samples
        steps = np.arange(0, len(samples), self._espeak.sample_rate_hz / self.rate_hz)
        return np.interp(steps, np.arange(len(samples)), samples).astype(np.int16)

    def enter(self, body: dict[str, Any], key: str) -> str:
        """Count a request; returns what to do with it."""
        with self.lock:
            n = self.requests[body["input"]]
            self.requests[body["input"]] += 1
            self.keys.add(key)
            self.times.append(time.monotonic())
            if self.keep_bodies:
                self.bodies.append(body)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        return self.plan(body["input"], n)

    def leave(self, body: dict[str, Any], key: str, behaviour: str, was_good: bool) -> None:
        with self.lock:
            self._at_once -= 1
            self.answered[body["input"]] += was_good
            self.history.append((body["input"], key, behaviour, was_good))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that were killed."""


def _handler_of(speech: LoopbackSpeech) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = LONGEST_HANG_S
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/audio/speech":
                self._send(404, b'{"error": {"message": "no such path"}}')
                return
            key = self.headers.get("Authorization", "")
            behaviour = speech.enter(body, key) if body["voice"] in Espeak.voices else "400-voice"
            was_good = False
            try:
                speech.closing.wait(speech.latency_s)
                was_good = self._behave(behaviour, body)
            finally:
                speech.leave(body, key, behaviour, was_good)

        def _behave(self, behaviour: str, body: dict[str, Any]) -> bool:
            if re.fullmatch("[45][0-9][0-9].*", behaviour):
                self._refuse(behaviour)
            elif behaviour in ("hang", "drop"):
                if behaviour == "hang":
                    speech.closing.wait(LONGEST_HANG_S)
                self._drop()
            elif behaviour in BROKEN_AUDIO:
                self._send(
                    200, self._broken(behaviour, body), "application/json" if behaviour == "json" else "audio/wav"
                )
            else:
                data = encode(speech.speak(body), speech.rate_hz, body["response_format"])
                return self._send_badly(behaviour, data)
            return False

        def _refuse(self, behaviour: str) -> None:
            status = STATUS.get(behaviour) or int(behaviour[:3])
            headers = {
                "429-seconds": {"Retry-After": "1"},
                "429-date": {"Retry-After": email.utils.formatdate(math.ceil(time.time()) + 1, usegmt=True)},
                "429-long": {"Retry-After": "86400"},
            }.get(behaviour, {})
            said = f"your key is {self.headers.get('Authorization')}, which I echo: " if "echo" in behaviour else ""
            error = {"message": f"{said}I misbehave: {behaviour}. " + "x" * 400, "code": None}
            if behaviour == "429-quota":
                error["code"] = "insufficient_quota"
            self._send(status, json.dumps({"error": error}).encode(), "application/json", headers)

        def _broken(self, behaviour: str, body: dict[str, Any]) -> bytes:
            samples, rate_hz = speech.speak(body), speech.rate_hz
            if behaviour == "garbage":
                return bytes(range(256)) * 40
            if behaviour == "json":
                return json.dumps({"error": f"200, and yet {self.headers.get('Authorization')} failed"}).encode()
            if behaviour == "empty":
                return b""
            if behaviour == "silent":
                samples = np.zeros_like(samples)
            if behaviour == "runaway":
                samples = np.concatenate([samples] * 12)
            if behaviour == "clipped-wav":
                return encode(samples, rate_hz, "wav")[:-4000]
            factor = {"wrong-rate": 4.0, "half-rate": 0.5}.get(behaviour, 1.0)
            return encode(samples, int(rate_hz * factor), "wav")

        def _send_badly(self, behaviour: str, data: bytes) -> bool:
            """Send an answer that is good as such, whole or cut."""
            self.send_response(200)
            self.send_header("Content-Type", "audio/wav")
            if behaviour == "cut-chunked":
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n" % len(data) + data[: len(data) // 2])
            else:
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if behaviour == "good":
                    self.wfile.write(data)
                    return True
                self.wfile.write(data[: len(data) // 2])
                if behaviour == "drip":  # a byte now and then: no read ever times out
                    for at in range(len(data) // 2, len(data)):
                        if speech.closing.wait(0.1):
                            break
                        self.wfile.write(data[at : at + 1])
            self._drop()
            return False

        def _send(
            self, status: int, data: bytes, kind: str = "application/json", headers: dict[str, str] | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def _drop(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    return Handler
