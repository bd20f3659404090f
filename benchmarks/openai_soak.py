"""The engine `openai_speech` against a server that misbehaves, for half an hour, its client killed and resumed.

    python benchmarks/openai_soak.py --minutes 30

A loopback server (tests/tts/loopback_speech.py, eSpeak speaks) runs in a process of its own on 127.0.0.1. It
misbehaves at random, but from a seed: 429 with and without Retry-After, 500, 503, cut and dropped connections,
garbage, silent and runaway audio, a wrong rate, hangs, and outages of seconds. A few rows misbehave for ever: they
are planted to be lost. A client speaks distinct rows, unit by unit, in batches as the step `tts` forms them, and
commits a unit by rename. In the first half it is killed (SIGKILL) and started again several times; in the second
half its memory is looked at.

The end asserts that no row is lost but those planted, and these for their own reason; that nothing is asked again
after its answer was stored; that what was spoken is eSpeak's, bit for bit; and that memory is flat. Everything ends
by itself: the client after its unit, the server by its process id.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.batches import Stages  # noqa: E402
from pipelines.errors import RunError  # noqa: E402
from pipelines.row import Row  # noqa: E402
from tests.tts.loopback_speech import RATE_HZ, LoopbackSpeech, at_random, engine_over  # noqa: E402
from tts.delivery import draw_delivery  # noqa: E402
from tts.engine import Delivery, EngineError, Request, SpeechError, Spoken  # noqa: E402
from tts.espeak import Espeak  # noqa: E402
from tts.openai_speech import WITNESS, OpenAISpeech  # noqa: E402

SEED = 20_250
UNIT_ROWS = 1024
CONCURRENCY = 16
KEY = "SOAK_KEY"  # the variable that tells the server which client asks
WORDS = (
    *("the", "a", "one", "every", "some", "quiet", "old", "blue", "early", "heavy", "slowly", "again", "today"),
    *("river", "garden", "teacher", "window", "engine", "village", "story", "letter", "market", "winter", "bread"),
    *("asks", "finds", "paints", "carries", "follows", "answers", "opens", "under", "beside", "without", "before"),
)

# What goes wrong at random, at most twice in a row for one text; what is wrong with planted rows for ever, and how
# the rows' rejects begin.
PASSING = {
    **{"429": 0.02, "429-seconds": 0.003, "429-date": 0.001, "500": 0.03, "503": 0.01, "hang": 0.0005},
    **{"cut": 0.02, "cut-chunked": 0.01, "drop": 0.01, "garbage": 0.02, "json": 0.01, "empty": 0.01, "silent": 0.01},
    **{"wrong-rate": 0.02, "half-rate": 0.01, "runaway": 0.005, "clipped-wav": 0.01},
}
PLANTED = {
    **{"500": 0.001, "422": 0.001, "garbage": 0.001, "cut": 0.001, "silent": 0.001, "wrong-rate": 0.001},
    **{"runaway": 0.001, "429": 0.0002, "hang": 0.0001},
}
REASONS = {
    **{"500": "status 500", "422": "status 422", "429": "status 429", "garbage": "not audio", "silent": "silent"},
    **{"cut": "the connection was cut", "wrong-rate": "at 88200 Hz", "hang": "timeout"},
    "runaway": r"[\d.]+ s for \d+ characters",
}
fate = at_random(PLANTED, seed=SEED)
chance = at_random(PASSING, seed=SEED + 1)


def request_of(number: int) -> Request:
    """Return what is asked for row `number`: distinct texts of 4 to 13 words, each by its voice at its rate."""
    draw = random.Random(f"{SEED}/{number}")
    words = " ".join(draw.choices(WORDS, k=draw.randint(2, 11)))
    delivery = draw_delivery(SEED, str(number), list(Espeak.voices), (150, 190), (50, 50))
    return Request(f"Row {number}: {words}.", delivery)


def engine_of(url: str, folder: Path) -> OpenAISpeech:
    return engine_over(
        url,
        folder / "answers",
        api_key_env=KEY,
        server_rate_hz=RATE_HZ,
        concurrency=CONCURRENCY,
        attempts=4,
        timeout_s=15.0,
        patience_s=120.0,
        pauses_s=(0.1, 1.0),
    )


def outages(minutes: float) -> list[tuple[float, float, str]]:
    """Return the seconds from and to which the server answers nobody, and how."""
    draw = random.Random(SEED + 2)
    starts = itertools.accumulate(draw.uniform(40, 120) for _ in range(int(minutes * 2)))
    return [(at, at + draw.uniform(2, 5), draw.choice(["503", "drop", "429-seconds", "500"])) for at in starts]


def serve(folder: Path, minutes: float) -> None:
    """Serve until SIGTERM, or past all time; then write the history of requests."""
    started = time.monotonic()
    out = outages(minutes)

    def plan(text: str, n: int) -> str:
        now = time.monotonic() - started
        for begin, end, how in out:
            if begin <= now < end:
                return how
        if text != WITNESS and fate(text, 0) != "good":
            return fate(text, 0)
        return chance(text, n) if n < 2 else "good"

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with LoopbackSpeech(plan) as speech:
        speech.keep_bodies = False
        write(folder / "address", speech.base_url)
        ended.wait(60 * minutes + 900)
    write(folder / "history.json", json.dumps(speech.history))


def speak(url: str, folder: Path, most_units: int) -> None:
    """Speak the units that are not there yet, until SIGTERM."""
    engine = engine_of(url, folder)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())

    def work(requests: Any) -> list[Spoken | Exception]:
        try:
            return list(engine.speak_all(requests))
        except EngineError as error:
            raise RunError(str(error)) from error

    def finish(row: Row, _: list[Request], spoken: list[Spoken]) -> Row:
        return {**row, "digest": digest(spoken[0].samples), "seconds": len(spoken[0].samples) / RATE_HZ}

    stages = Stages(lambda row: [request_of(row["number"])], work, finish, engine.batch_size)
    for unit in range(most_units):
        path = folder / f"units/{unit:05d}.json"
        if path.exists():
            continue
        if ended.is_set():
            break
        rows = [{"number": unit * UNIT_ROWS + n} for n in range(UNIT_ROWS)]
        done = [{**row, "error": str(end)} if isinstance(end, Exception) else end for row, end in stages.run(rows)]
        write(path, json.dumps(done))
        write(folder / f"usage-{os.environ[KEY]}.json", json.dumps(dict(engine.usage)))
    engine.close()


def digest(samples: Any) -> str:
    return hashlib.blake2b(samples.tobytes(), digest_size=8).hexdigest()


def write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.rename(path)


@dataclass
class Soak:
    """The processes of one soak, and what was seen of them.

    samples:  (seconds, life of the client, its RSS in MiB, the server's)
    stored:   at each kill, the rows of the unfinished unit whose answers were stored
    finished: at each kill, the units that were committed
    """

    folder: Path
    minutes: float
    most_units: int
    life: int = 0
    samples: list[tuple[float, int, float, float]] = field(default_factory=list)
    stored: list[set[int]] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)

    def process(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the server or a client."""
        command = [sys.executable, __file__, *arguments, "--folder", str(self.folder), "--minutes", str(self.minutes)]
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, KEY: f"life-{self.life}"})

    def client(self) -> subprocess.Popen[bytes]:
        """Start the client's next life."""
        self.life += 1
        url = (self.folder / "address").read_text()
        return self.process("--speak", url, "--most-units", str(self.most_units))

    def units(self) -> list[Path]:
        """Return the units that were committed."""
        return sorted((self.folder / "units").glob("*.json"))

    def run(self, kills: list[float]) -> float:
        """Let the client speak, kill it at these seconds, and return after how many all had ended."""
        server = self.process("--serve")
        client = None
        started = time.monotonic()
        try:
            while not (self.folder / "address").exists():
                assert server.poll() is None and time.monotonic() < started + 60, "the server did not start"
                time.sleep(0.1)
            client = self.client()
            while (now := time.monotonic() - started) < 60 * self.minutes and client.poll() is None:
                self.samples.append((now, self.life, rss_mib(client.pid), rss_mib(server.pid)))
                if kills and now > kills[0]:
                    kills.pop(0)
                    client.kill()
                    client.wait()
                    self.note_kill()
                    client = self.client()
                time.sleep(1)
            client.terminate()
            assert client.wait(600) == 0, "the client failed"
            seconds = time.monotonic() - started
            server.terminate()
            assert server.wait(60) == 0, "the server failed"
            return seconds
        finally:
            for process in (client, server):
                if process is not None and process.poll() is None:
                    process.kill()
                    process.wait()

    def note_kill(self) -> None:
        """Look into the store for the unit that the client was at."""
        from answers.store import AnswerStore

        self.finished.append(len(self.units()))
        engine = engine_of("http://127.0.0.1:9/v1", self.folder)
        store = AnswerStore(self.folder / "answers")
        first = self.finished[-1] * UNIT_ROWS
        keys = {number: key_of(engine, request_of(number)) for number in range(first, first + UNIT_ROWS)}
        self.stored.append({number for number, key in keys.items() if store.get(key) is not None})
        engine.close()
        print(f"killed with {self.finished[-1]} units done, {len(self.stored[-1])} rows of the next stored", flush=True)


def key_of(engine: OpenAISpeech, request: Request) -> bytes:
    question = engine._question(request)
    assert not isinstance(question, SpeechError)
    return question.key


def rss_mib(pid: int) -> float:
    """Return a process's resident memory, 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def check(soak: Soak, seconds: float) -> Iterator[tuple[str, str]]:
    """Yield what was found, by name. Raises AssertionError for anything that must not be."""
    rows = [row for path in soak.units() for row in json.loads(path.read_text())]
    given = len(soak.units()) * UNIT_ROWS
    assert [row["number"] for row in rows] == list(range(given)), "a row is missing"
    texts = {request_of(row["number"]).text: row for row in rows}
    assert len(texts) == len(rows)
    history = json.loads((soak.folder / "history.json").read_text())
    yield "minutes, lives of the client", f"{seconds / 60:.1f}, {soak.life}"
    yield "rows committed", f"{len(rows):,} of {given:,}"
    lost: Counter[str] = Counter()
    for text, row in texts.items():
        planted = fate(text, 0)
        assert ("error" in row) == (planted != "good"), f"{planted} was planted in {text!r}, which ended as {row}"
        if "error" in row:
            assert re.match(REASONS[planted], row["error"]), row
            lost[planted] += 1
    yield "rejected, all planted", f"{lost.total()}: " + ", ".join(f"{n} {name}" for name, n in lost.most_common())
    yield "hours of speech", f"{sum(row.get('seconds', 0) for row in rows) / 3600:.2f}"
    did = Counter(behaviour for text, _, behaviour, _ in history if text != WITNESS and behaviour != "good")
    yield "requests, answered well", f"{len(history):,}, {sum(was_good for *_, was_good in history):,}"
    yield "misbehaviours", f"{did.total():,}: " + ", ".join(f"{n} {name}" for name, n in did.most_common())
    yield "witness asked", f"{sum(text == WITNESS for text, *_ in history)}"
    yield from asked_again(soak, texts, history)
    checked = random.Random(SEED + 3).sample([row for row in rows if "error" not in row], 200)
    espeak = Espeak()
    for row in checked:
        asked = request_of(row["number"])
        rate_wpm = round(175 * round(asked.delivery.rate_wpm / 175, 2))  # as a speed
        truth = espeak.speak(asked.text, Delivery(asked.delivery.voice, rate_wpm, 50))
        assert row["digest"] == digest(truth), row
    espeak.close()
    yield "rows whose samples equal eSpeak's", f"{len(checked)} of {len(checked)} drawn"


def asked_again(soak: Soak, texts: dict[str, Row], history: list[list[Any]]) -> Iterator[tuple[str, str]]:
    """Check that nothing was asked after its answer was stored."""
    good: Counter[tuple[str, str]] = Counter()
    lives: dict[str, set[int]] = {}
    for text, key, _, was_good in history:
        if text in texts:
            good[text, key] += was_good
            lives.setdefault(text, set()).add(int(key.rpartition("-")[2]))
    assert max(good.values()) == 1, [one for one, count in good.items() if count > 1]
    for killed, (stored, units) in enumerate(zip(soak.stored, soak.finished, strict=True), 1):
        for text, row in texts.items():
            if row["number"] < units * UNIT_ROWS or row["number"] in stored:
                assert max(lives[text]) <= killed, f"{text!r} was stored at kill {killed}, and asked in {lives[text]}"
    repeats = sum(good.values()) - len({text for text, _ in good if good[text, _]})
    assert repeats <= len(soak.stored) * CONCURRENCY
    yield "stored at kills, in the unit under way", ", ".join(str(len(stored)) for stored in soak.stored)
    yield "asked again after it was stored", "0"
    yield "answered twice: delivered, and the client killed before it stored", f"{repeats}"


def memory(soak: Soak) -> Iterator[tuple[str, str]]:
    """Print memory over time; check that the last life's is flat, from its second minute on."""
    at, life, client, server = (np.array(column) for column in zip(*soak.samples, strict=True))
    minute = (at / 60).astype(int)
    step = max(1, int(soak.minutes) // 15)
    print("\n| minutes | life | client's RSS, mean MiB | its peak | server's peak |\n|---|---|---|---|---|")
    for first in range(0, int(minute.max()) + 1, step):
        here = (minute >= first) & (minute < first + step)
        lives = "-".join(str(one) for one in sorted({int(life[here].min()), int(life[here].max())}))
        print(
            f"| {first} to {first + step} | {lives} | {client[here].mean():.0f} | {client[here].max():.0f} "
            f"| {server[here].max():.0f} |"
        )
    last = at > at[life == life.max()][0] + min(120, 12 * soak.minutes)
    at, client, minute = at[last], client[last], minute[last]
    minutes = sorted(set(minute))
    slope = np.polyfit(minutes, [client[minute == one].max() for one in minutes], 1)[0] if len(minutes) > 2 else 0.0
    early, late = (client[half].max() for half in (at < (at[0] + at[-1]) / 2, at >= (at[0] + at[-1]) / 2))
    yield "last life: slope of each minute's peak", f"{slope:+.2f} MiB a minute, over {len(minutes)} minutes"
    yield "its peak in the first half, in the second", f"{early:.0f} MiB, {late:.0f} MiB"
    assert late < 1.1 * early, "memory grows"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--most-units", type=int, default=500, help=f"of {UNIT_ROWS} rows")
    parser.add_argument("--folder", type=Path, help="default: a temporary one, removed at the end")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--speak", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.folder, args.minutes)
    if args.speak:
        return speak(args.speak, args.folder, args.most_units)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="openai-soak-"))
    (folder / "units").mkdir(parents=True)
    draw = random.Random(SEED + 4)
    kills = sorted(60 * args.minutes * draw.uniform(0.03, 0.5) for _ in range(args.kills))
    os.environ[KEY] = "nobody"  # an engine that only tells keys of questions
    soak = Soak(folder, args.minutes, args.most_units)
    seconds = soak.run(kills)
    found = [*memory(soak), *check(soak, seconds)]
    print("\n| what | found |\n|---|---|")
    for name, value in found:
        print(f"| {name} | {value} |")
    if not args.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
