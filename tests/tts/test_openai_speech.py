"""The engine over a server: every way in which a server misbehaves, and nothing asked or paid for twice."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

pytest.importorskip("openai", reason="needs the extra `openai`")

from answers.asking import WAITS_PER_ATTEMPT, Asker, Unanswered, pause_s, retry_after_s
from answers.store import AnswerStore
from pipelines.recipe import parse_recipe
from quantize.audio import resample
from tests.tts.loopback_speech import QUICK, RATE_HZ, LoopbackSpeech, at_random, encode, engine_over, texts, unchanged
from tts.answer_audio import BadAudio, decode_answer, plausible_seconds, to_int16
from tts.engine import Delivery, EngineError, Request, SpeechError, Spoken, Voice
from tts.espeak import Espeak
from tts.openai_speech import OpenAISpeech, OpenAISpeechOptions, Resample

ROOT = Path(__file__).parents[2]
SECRET = "sk-loopback-0123456789"


def engine_of(
    server: LoopbackSpeech | str, folder: Path, resampler: Resample = unchanged, **changes: Any
) -> OpenAISpeech:
    return engine_over(server if isinstance(server, str) else server.base_url, folder, resampler, **changes)


def request(text: str, voice: str = "en-us", rate_wpm: int = 175, seed: int = 0) -> Request:
    return Request(text, Delivery(voice, rate_wpm, 50), seed)


def spoken(result: Spoken | SpeechError) -> Spoken:
    assert isinstance(result, Spoken), result
    return result


@pytest.fixture(scope="module")
def espeak():
    engine = Espeak()
    yield engine
    engine.close()


@pytest.mark.parametrize("audio_format", ["wav", "flac", "pcm", "mp3", "opus"])
def test_every_format_comes_back_whole_and_in_order(audio_format: str, tmp_path: Path, espeak: Espeak) -> None:
    lossy = audio_format in ("mp3", "opus")
    rate_hz = 24_000 if lossy else RATE_HZ
    with LoopbackSpeech(rate_hz=rate_hz) as server:
        engine = engine_of(
            server, tmp_path, response_format=audio_format, server_rate_hz=rate_hz, sample_rate_hz=rate_hz
        )
        results = [spoken(one) for one in engine.speak_all([request(text) for text in texts(5)])]
        engine.close()
    for text, result in zip(texts(5), results, strict=True):
        truth = espeak.speak(text, Delivery("en-us", 175, 50))
        assert result.samples.dtype == np.int16
        assert result.attempts == 1
        if lossy:
            assert abs(len(result.samples) / rate_hz - len(truth) / RATE_HZ) < 0.1
        else:
            assert np.array_equal(result.samples, truth)


def test_another_rate_is_resampled_to_the_engine_s(tmp_path: Path, espeak: Espeak) -> None:
    with LoopbackSpeech() as server:
        engine = engine_of(server, tmp_path, resample, sample_rate_hz=16_000)
        (result,) = engine.speak_all([request("Good morning to all of you.")])
        engine.close()
    truth = espeak.speak("Good morning to all of you.", Delivery("en-us", 175, 50))
    expected = to_int16(resample(truth.astype(np.float32) / 32_768, RATE_HZ, 16_000))
    assert engine.sample_rate_hz == 16_000
    assert np.array_equal(spoken(result).samples, expected)


ONCE = (
    *("429", "500", "502", "503", "504", "408", "409", "cut", "cut-chunked", "drop"),
    *("garbage", "json", "empty", "silent", "wrong-rate", "half-rate", "runaway", "clipped-wav"),
)


def test_what_goes_wrong_twice_is_asked_a_third_time(tmp_path: Path, espeak: Espeak) -> None:
    wrong = dict(zip(texts(len(ONCE)), ONCE, strict=True))
    with LoopbackSpeech(lambda text, n: wrong[text] if n < 2 else "good") as server:
        engine = engine_of(server, tmp_path, server_rate_hz=RATE_HZ, attempts=4)
        results = engine.speak_all([request(text) for text in wrong])
        engine.close()
        assert {behaviour: server.requests[text] for text, behaviour in wrong.items()} == dict.fromkeys(ONCE, 3)
    for text, result in zip(wrong, results, strict=True):
        assert np.array_equal(spoken(result).samples, espeak.speak(text, Delivery("en-us", 175, 50))), wrong[text]
    assert (engine.usage["requests"], engine.usage["retries"]) == (3 * len(ONCE), 2 * len(ONCE))


ALWAYS = {
    "500": "status 500: I misbehave",
    "429": "status 429: I misbehave",
    "cut": "the connection was cut",
    "drop": "the connection was cut",
    "hang": r"timeout: no whole answer in 1.5 s|timeout: the answer stalled",
    "drip": "timeout: no whole answer in 1.5 s",
    "garbage": r"not audio: 10240 bytes \([^<]*\)$",
    "json": r"not audio: 62 bytes \([^<]*\): .*and yet Bearer \*\*\* failed",
    "empty": "the answer is empty$",
    "silent": r"silent: \d+\.\d\d s, its loudest sample 0.00000$",
    "wrong-rate": r"\d.\d\d s for \d+ characters at speed 1, outside 1.\d\d to \d+.\d\d s$",
    "runaway": r"\d\d.\d\d s for \d+ characters",
    "clipped-wav": r"cut: \d+ of \d+ bytes of samples$",
    "400-echo": r"status 400: your key is Bearer \*\*\*, which I echo",
    "422": "status 422",
}


def check_the_bad_rows_end_alone(wrong: dict[str, str], good_ones: list[str], folder: Path) -> None:
    with LoopbackSpeech(lambda text, _: wrong.get(text, "good")) as server:
        engine = engine_of(server, folder, timeout_s=1.5, patience_s=6, api_key_env="LOOPBACK_KEY")
        results = engine.speak_all([request(text) for text in [*wrong, *good_ones]])
        engine.close()
        times = {"400-echo": 1, "422": 1, "429": 3 * WAITS_PER_ATTEMPT}  # of others, the attempts
        for text, behaviour in wrong.items():
            assert server.requests[text] == times.get(behaviour, 3), behaviour
        assert all(server.requests[text] == 1 for text in good_ones)
    for behaviour, result in zip(wrong.values(), results, strict=False):
        assert isinstance(result, SpeechError), behaviour
        assert re.match(ALWAYS[behaviour], str(result)), result
        assert SECRET[:12] not in str(result)
        assert len(str(result)) < 300
    assert all(isinstance(result, Spoken) for result in results[len(wrong) :])


def test_bad_rows_end_alone_beside_good_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPBACK_KEY", SECRET)
    bad = texts(len(ALWAYS) + 30)
    check_the_bad_rows_end_alone(dict(zip(bad, ALWAYS, strict=False)), bad[len(ALWAYS) :], tmp_path)


@pytest.mark.parametrize("behaviour", ["500", "429", "hang", "silent", "422"])
def test_bad_rows_that_are_all_that_is_left_end_by_the_witness(
    behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPBACK_KEY", SECRET)
    check_the_bad_rows_end_alone(dict.fromkeys(texts(2), behaviour), [], tmp_path)


@pytest.mark.parametrize("behaviour", ["401", "402", "403-echo", "404", "405", "429-quota"])
def test_what_is_wrong_for_all_rows_stops_at_once(
    behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPBACK_KEY", SECRET)
    with LoopbackSpeech(lambda *_: behaviour) as server:
        engine = engine_of(server, tmp_path, concurrency=4, api_key_env="LOOPBACK_KEY")
        with pytest.raises(EngineError, match=f"status {behaviour[:3]}: .*Check base_url") as error:
            engine.speak_all([request(text) for text in texts(50)])
        engine.close()
        assert server.requests.total() <= 4
    assert SECRET not in repr(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("behaviour", ["500", "503", "429", "400", "drop", "garbage", "silent"])
def test_a_server_that_answers_nobody_stops_the_run_and_costs_no_row(behaviour: str, tmp_path: Path) -> None:
    with LoopbackSpeech(lambda *_: behaviour) as server:
        engine = engine_of(server, tmp_path, patience_s=0.3)
        started = time.monotonic()
        with pytest.raises(EngineError, match=r"refuses even a plain|answered nobody for .*resume when"):
            engine.speak_all([request(text) for text in texts(40)])
        assert time.monotonic() - started < 5
        server.plan = lambda *_: "good"
        assert all(isinstance(one, Spoken) for one in engine.speak_all([request(text) for text in texts(40)]))
        engine.close()


def test_a_voice_that_the_server_does_not_know_stops_the_run_and_a_text_that_it_refuses_does_not(
    tmp_path: Path,
) -> None:
    rows = [request(text) for text in texts(20)]
    with LoopbackSpeech(lambda text, _: "422" if text == texts(1)[0] else "good") as server:
        options = OpenAISpeechOptions(server.base_url, concurrency=1, **QUICK)
        voices = {**Espeak.voices, "mistyped": Voice("mistyped", "female", "American")}
        engine = OpenAISpeech(options, voices, tmp_path, unchanged)
        results = engine.speak_all(rows)  # the first of all is refused, and its voice is good
        assert [type(one) for one in results] == [SpeechError] + 19 * [Spoken]
        with pytest.raises(EngineError, match=r"plain request to the voice mistyped: status 400.*400-voice"):
            engine.speak_all([*rows, request("Good morning to all of you.", voice="mistyped")])
        engine.close()


def test_a_server_that_is_not_there_stops_the_run(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        engine = engine_of(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", tmp_path, patience_s=0.3)
        with pytest.raises(EngineError, match=r"answered nobody for .* last: could not connect"):
            engine.speak_all([request(text) for text in texts(40)])
        engine.close()


@pytest.mark.parametrize("behaviour", ["503", "500"])
def test_a_server_that_comes_back_is_waited_for(behaviour: str, tmp_path: Path) -> None:
    well_from = time.monotonic() + 1.0
    with LoopbackSpeech(lambda *_: "good" if time.monotonic() > well_from else behaviour) as server:
        engine = engine_of(server, tmp_path, attempts=2)
        assert all(isinstance(one, Spoken) for one in engine.speak_all([request(text) for text in texts(20)]))
        engine.close()


@pytest.mark.parametrize("behaviour", ["429-seconds", "429-date"])
def test_retry_after_holds_every_request_back(behaviour: str, tmp_path: Path) -> None:
    first = texts(1)[0]
    with LoopbackSpeech(lambda text, n: behaviour if text == first and n == 0 else "good", latency_s=0.1) as server:
        engine = engine_of(server, tmp_path, concurrency=2)
        assert all(isinstance(one, Spoken) for one in engine.speak_all([request(text) for text in texts(6)]))
        engine.close()
        gaps = np.diff(server.times)
        assert 0.8 < gaps.max() < 3
        assert len(server.times) == 7
        assert int(gaps.argmax()) <= 2  # at most the request that was under way came in between


def test_a_retry_after_beyond_all_patience_stops_the_run(tmp_path: Path) -> None:
    with LoopbackSpeech(lambda *_: "429-long") as server:
        engine = engine_of(server, tmp_path)
        with pytest.raises(EngineError, match="come back in 86400 s"):
            engine.speak_all([request(text) for text in texts(3)])
        engine.close()


def test_the_witness_does_not_take_the_only_place_that_a_busy_server_has() -> None:
    """With one place every 20 ms, a witness that is always followed by the row at once would starve the row."""
    requests: list[float] = []
    taken = 0.0

    async def take_a_place() -> str:
        nonlocal taken
        now = asyncio.get_running_loop().time()
        requests.append(now)
        if len(requests) <= 2 * WAITS_PER_ATTEMPT or now < taken + 0.02:
            raise Unanswered("status 429", of_server=True)
        taken = now
        return "spoken"

    async def ask() -> str:
        asker = Asker(attempts=2, patience_s=30, pauses_s=(0.05, 0.05))
        asker.begin()
        return await asyncio.wait_for(asker.ask(b"key", "voice", take_a_place, take_a_place), 5)

    assert asyncio.run(ask()) == "spoken"


def test_the_concurrency_is_bounded_and_changes_no_byte(tmp_path: Path) -> None:
    mix = at_random({"500": 0.1, "429": 0.1, "cut": 0.1, "garbage": 0.1, "drop": 0.05, "runaway": 0.05})
    results = {}
    for concurrency in (1, 3, 16):
        with LoopbackSpeech(mix, latency_s=0.01 if concurrency > 1 else 0) as server:
            engine = engine_of(server, tmp_path / str(concurrency), concurrency=concurrency, attempts=9)
            results[concurrency] = [spoken(one) for one in engine.speak_all([request(text) for text in texts(36)])]
            engine.close()
            assert server.most_at_once <= concurrency
            assert concurrency != 3 or server.most_at_once == 3
            assert all(count == 1 for count in server.answered.values())
            assert server.requests.total() > 40
    for concurrency in (3, 16):
        pairs = zip(results[1], results[concurrency], strict=True)
        assert all(
            np.array_equal(one.samples, other.samples) and one.attempts == other.attempts for one, other in pairs
        )


def test_what_is_stored_is_never_asked_again(tmp_path: Path) -> None:
    requests = [request(text) for text in texts(8)] + [request(texts(1)[0])]  # the first one twice
    with LoopbackSpeech() as server:
        engine = engine_of(server, tmp_path)
        first = [spoken(one).samples for one in engine.speak_all(requests)]
        engine.speak_all(requests)
        assert (engine.usage["requests"], engine.usage["from_store"]) == (8, 8)
        other = engine_of(server, tmp_path)  # beside the first one, which stays open
        assert all(
            np.array_equal(one, spoken(two).samples) for one, two in zip(first, other.speak_all(requests), strict=True)
        )
        assert server.requests.total() == 8
        engine.close()
        other.close()
    with LoopbackSpeech() as elsewhere:  # neither address nor key are part of the question
        moved = engine_of(elsewhere, tmp_path)
        assert all(
            np.array_equal(one, spoken(two).samples) for one, two in zip(first, moved.speak_all(requests), strict=True)
        )
        assert moved.usage["requests"] == 0
        moved.close()


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({}, request("Say this.")),
        ({"model": "other"}, request("Say this.")),
        ({"response_format": "flac"}, request("Say this.")),
        ({"extra": {"instructions": "Whisper."}}, request("Say this.")),
        ({"seed_field": "seed"}, request("Say this.", seed=2**63 + 5)),
        ({"seed_field": "seed"}, request("Say this.", seed=2**63 + 6)),
        ({}, request("Say this!")),
        ({}, request("Say this.", voice="en-us+f3")),
        ({}, request("Say this.", rate_wpm=200)),
    ],
)
def test_every_field_of_the_question_is_in_its_key(
    changes: dict[str, Any], asked: Request, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "one-folder-for-all-cases"
    with LoopbackSpeech() as server:
        for times in (1, 0):  # asked by the first engine of this kind, and by no other
            engine = engine_of(server, folder, **changes)
            spoken(engine.speak_all([asked])[0])
            assert engine.usage["requests"] == times
            engine.close()
        (body,) = server.bodies
    assert body == {
        "model": changes.get("model", "espeak"),
        "input": asked.text,
        "voice": asked.delivery.voice,
        "response_format": changes.get("response_format", "wav"),
        "speed": round(asked.delivery.rate_wpm / 175, 2),
        **changes.get("extra", {}),
        **({"seed": asked.seed % 2**31} if "seed_field" in changes else {}),
    }


def test_a_damaged_or_no_longer_good_answer_is_asked_again(tmp_path: Path) -> None:
    text = "A sentence of a usual length, for a change."
    with LoopbackSpeech() as server:
        engine = engine_of(server, tmp_path)
        engine.speak_all([request(text)])
        engine.close()
        (log,) = tmp_path.glob("*.log")
        data = bytearray(log.read_bytes())
        data[len(data) // 2] ^= 1
        log.write_bytes(data)
        again = engine_of(server, tmp_path)
        spoken(again.speak_all([request(text)])[0])
        again.close()
        assert server.requests[text] == 2
        silence = encode(np.zeros(60_000, np.int16), RATE_HZ, "wav")
        store = AnswerStore(tmp_path)
        store.put(again._question(request(text)).key, silence)
        store.close()
        third = engine_of(server, tmp_path)
        spoken(third.speak_all([request(text)])[0])
        assert server.requests[text] == 3
        third.close()


CLIENT = """
import sys
from pathlib import Path
from tests.tts.loopback_speech import engine_over, texts
from tts.engine import Delivery, Request
engine = engine_over(sys.argv[1], Path(sys.argv[2]), attempts=20)
requests = [Request(text, Delivery("en-us", 175, 50)) for text in texts(int(sys.argv[3]))]
print(sum(type(one).__name__ == "Spoken" for one in engine.speak_all(requests)), flush=True)
engine.close()
"""


def client(server: LoopbackSpeech, folder: Path, rows: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CLIENT, server.base_url, str(folder), str(rows)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_killed_client_asks_for_nothing_again_that_was_stored(tmp_path: Path) -> None:
    rows = 120
    mix = at_random({"500": 0.1, "cut": 0.1, "drop": 0.05})
    with LoopbackSpeech(mix, latency_s=0.02) as server:
        probe = engine_of(server, tmp_path / "probe")
        keys = {text: probe._question(request(text)).key for text in texts(rows)}
        stored: set[str] = set()
        before = dict[str, int]()
        for trial, answered in ((1, 20), (2, 60)):
            with client(server, tmp_path / "answers", rows) as process:
                while server.answered.total() < answered and process.poll() is None:
                    time.sleep(0.005)
                process.send_signal(signal.SIGKILL)
            assert process.returncode == -signal.SIGKILL
            assert all(server.requests[text] == before[text] for text in stored)
            store = AnswerStore(tmp_path / "answers")
            stored = {text for text, key in keys.items() if store.get(key) is not None}
            assert stored <= set(server.answered)
            assert len(stored) >= answered - 16 * trial  # at most those under way at a kill are lost
            before = dict(server.requests)
        with client(server, tmp_path / "answers", rows) as process:
            assert process.communicate()[0] == f"{rows}\n"
        assert all(server.requests[text] == before[text] for text in stored)
        assert set(server.answered) == set(texts(rows))
        assert sum(server.answered.values()) <= rows + 2 * 16


def test_the_key_goes_to_the_server_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOPBACK_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    plans = iter(["400-echo", "json", "500-echo", "good"] * 40)
    with LoopbackSpeech(lambda *_: next(plans)) as server:
        engine = engine_of(server, tmp_path, api_key_env="LOOPBACK_KEY", concurrency=2, attempts=2)
        results = engine.speak_all([request(text) for text in texts(30)])
        engine.close()
        assert server.keys == {f"Bearer {SECRET}"}
    errors = [one for one in results if isinstance(one, SpeechError)]
    assert errors
    told = [
        *map(repr, results),
        *map(repr, errors),
        caplog.text,
        *capfd.readouterr(),
        repr(engine.options),
        str(engine.usage),
    ]
    assert caplog.text
    assert not [one for one in told if SECRET[:12] in one]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_a_key_that_is_not_there_is_told_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOOPBACK_KEY", raising=False)
    with pytest.raises(EngineError, match="LOOPBACK_KEY is empty"):
        engine_of("http://127.0.0.1:9/v1", tmp_path, api_key_env="LOOPBACK_KEY")
    monkeypatch.setenv("LOOPBACK_KEY", f"{SECRET}\u2026")
    with pytest.raises(EngineError, match=r"LOOPBACK_KEY holds characters that no header can$"):
        engine_of("http://127.0.0.1:9/v1", tmp_path, api_key_env="LOOPBACK_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with LoopbackSpeech() as server:
        engine = engine_of(server, tmp_path)  # which names no variable: the usual one is not for this server
        engine.speak_all([request("Hello there, my friend.")])
        engine.close()
        assert server.keys == {"Bearer none"}


def test_usage_counts_what_was_sent_heard_and_paid(tmp_path: Path) -> None:
    with LoopbackSpeech(lambda _, n: ("500", "silent", "good")[min(n, 2)]) as server:
        engine = engine_of(server, tmp_path, price_per_million_characters=15.0, attempts=4)
        results = [spoken(one) for one in engine.speak_all([request(text) for text in texts(4)])]
        usage = engine.usage
        engine.close()
        other = engine_of(server, tmp_path, price_per_million_characters=15.0)
        other.speak_all([request(text) for text in texts(4)])
        again = other.usage
        other.close()
    characters = 2 * sum(map(len, texts(4)))  # the silent answer is paid for as well
    seconds = sum(len(one.samples) for one in results) / RATE_HZ
    assert usage == {
        "requests": 12,
        "retries": 8,
        "from_store": 0,
        "characters": characters,
        "stored_characters": 0,
        "audio_seconds": pytest.approx(seconds),
        "asking_seconds": usage["asking_seconds"],
        "cost": pytest.approx(characters * 15e-6),
    }
    assert 0 < usage["asking_seconds"] < 60
    assert again == {
        "requests": 0,
        "retries": 0,
        "from_store": 4,
        "characters": 0,
        "stored_characters": sum(map(len, texts(4))),
        "audio_seconds": pytest.approx(seconds),
        "asking_seconds": again["asking_seconds"],
        "cost": 0,
    }


def test_the_rate_is_a_speed(tmp_path: Path) -> None:
    with LoopbackSpeech() as server:
        engine = engine_of(server, tmp_path, speed=(0.5, 2.0), natural_wpm=200)
        engine.speak_all([request("Count to ten for me.", rate_wpm=rate) for rate in (100, 150, 333, 400)])
        assert sorted(body["speed"] for body in server.bodies) == [0.5, 0.75, 1.67, 2.0]
        for rate in (98, 403):
            with pytest.raises(ValueError, match=r"outside 0.5..2 \(100 to 400 words a minute\)"):
                engine.speak_all([request("Count to ten.", rate_wpm=rate)])
        engine.close()
        server.bodies.clear()
        plain = engine_of(server, tmp_path, speed=None)
        plain.speak_all([request("Count to ten for me.", rate_wpm=999)])
        plain.close()
        assert "speed" not in server.bodies[0]


def test_what_cannot_be_asked_is_told_without_asking(tmp_path: Path) -> None:
    with LoopbackSpeech() as server:
        engine = engine_of(server, tmp_path)
        results = engine.speak_all([request("  "), request("lone \ud800 surrogate"), request("Good evening to you.")])
        assert ["blank" in str(results[0]), "surrogate at character 5" in str(results[1])] == [True, True]
        spoken(results[2])
        with pytest.raises(ValueError, match="unknown voice 'nobody'"):
            engine.speak_all([request("Hello.", voice="nobody")])
        assert engine.speak_all([]) == []
        engine.close()
        assert server.requests.total() == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base_url": "127.0.0.1:8000/v1"}, "is no http"),
        ({"response_format": "aac"}, "'aac' is none of"),
        ({"response_format": "pcm"}, "pcm needs server_rate_hz"),
        ({"speed": (2.0, 1.0), "attempts": 0}, "runs backwards.*; attempts must be 2 or more, not 0"),
        ({"characters_per_second": (5, 5)}, "characters_per_second"),
        ({"extra": {"input": "x"}}, "extra.input: set by the engine"),
        ({"extra": {"seed": 1}, "seed_field": "seed"}, "extra.seed: set by the engine"),
        ({"extra": {"x": b"y"}}, "extra is not JSON"),
        ({"seed_field": "voice"}, "seed_field 'voice'"),
        ({"pauses_s": (0, 1)}, "pauses_s"),
        ({"concurrency": 1001}, "concurrency 1001 is above 1000"),
        ({"server_rate_hz": -1}, "server_rate_hz must be positive, not -1"),
    ],
)
def test_wrong_options_are_told_all_at_once(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        OpenAISpeechOptions(**{"base_url": "http://127.0.0.1:9/v1", **QUICK, **changes})


def test_the_recipes_of_the_docs_are_recipes() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/tts_openai.md").read_text(), re.DOTALL)
    rest = {
        "name": "docs",
        "sources": [{"name": "examples", "path": "examples/instructions.jsonl"}],
        "mix": {"mixtures": {"all": {"parts": {"transcription": 100}}}},
    }
    for block in blocks:
        recipe = parse_recipe({**rest, **yaml.safe_load(block)}, "docs/tts_openai.md")
        assert recipe.tts.openai_speech is not None
        assert recipe.tts.openai_speech.base_url.endswith("/v1")
    assert len(blocks) == 3


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="user, password or query") as error:
        OpenAISpeechOptions(f"ftp://me:{SECRET}@host/v1", model="")
    assert SECRET not in str(error.value)


def test_a_wav_of_a_server_that_streams_is_read_whole() -> None:
    samples = (np.sin(np.arange(8000) / 5) * 9000).astype(np.int16)
    data = encode(samples, 16_000, "wav")
    for size in (0, 0xFFFFFFFF, 0x7FFFFFFF - 36):
        streamed = data[:4] + b"\xff" * 4 + data[8:40] + size.to_bytes(4, "little") + data[44:]
        decoded, rate_hz = decode_answer(streamed, "wav", None, 1)
        assert rate_hz == 16_000
        assert np.array_equal(to_int16(decoded), samples)
    with pytest.raises(BadAudio, match="cut: 15000 of 16000 bytes"):
        decode_answer(data[:-1000], "wav", None, 1)
    for audio_format, cut in (("flac", 0.5), ("flac", 0.95), ("pcm", 0)):
        whole = encode(samples, 16_000, audio_format)
        with pytest.raises(BadAudio, match=r"cut|not audio"):
            decode_answer(whole[: int(len(whole) * cut)] if cut else whole[:-1], audio_format, 16_000, 1)


def test_a_flac_of_a_server_that_streams_is_refused_with_the_remedy() -> None:  # soundfile cannot read it
    data = bytearray(encode((np.sin(np.arange(8000) / 5) * 9000).astype(np.int16), 16_000, "flac"))
    data[21] &= 0xF0  # the 36 bits of the count of samples, in STREAMINFO
    data[22:26] = bytes(4)
    with pytest.raises(BadAudio, match="since the server streams it: ask for wav"):
        decode_answer(bytes(data), "flac", None, 1)


def test_channels_are_averaged_and_rates_held_to() -> None:
    stereo = np.stack([np.full(4000, 1000), np.full(4000, 3000)], axis=1).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, stereo, 8000, format="WAV", subtype="PCM_16")
    decoded, _ = decode_answer(buffer.getvalue(), "wav", 8000, 1)
    assert set(to_int16(decoded).tolist()) == {2000}
    with pytest.raises(BadAudio, match="at 8000 Hz, where the server speaks at 24000 Hz"):
        decode_answer(buffer.getvalue(), "wav", 24_000, 1)
    every = np.arange(-32_768, 32_768, dtype=np.int16)
    assert np.array_equal(to_int16(every.astype(np.float32) / 32_768), every)
    assert to_int16(np.array([-2.0, 1.0, 2.0], np.float32)).tolist() == [-32_768, 32_767, 32_767]


def test_the_length_is_held_against_the_letters_at_the_speed() -> None:
    text = "x" * 90 + "!, " * 30 + "0123456789"
    for speed, least_s, most_s in ((1.0, 4.0, 36.333), (2.0, 2.0, 19.667), (0.5, 8.0, 69.667)):
        assert plausible_seconds(text, speed, (3, 25)) == pytest.approx((least_s, most_s), abs=1e-3)


@pytest.mark.parametrize("audio_format", ["wav", "flac", "mp3", "opus"])
def test_of_an_answer_of_hours_only_what_may_be_speech_is_decoded(audio_format: str) -> None:
    data = encode(np.zeros(600 * 16_000, np.int16), 16_000, audio_format)
    samples, rate_hz = decode_answer(data, audio_format, None, 20)
    assert len(samples) == 21 * rate_hz  # more than may be: the caller sees that it is too long


def test_retry_after_is_read_as_servers_write_it() -> None:
    now = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT
    said = {
        "2": 2.0,
        "0": 0.0,
        "1.5": 1.5,
        "Fri, 15 Jan 2027 08:00:07 GMT": 7.0,
        "Fri, 15 Jan 2027 07:00:00 GMT": 0.0,
        "soon": None,
        "-3": None,
        "nan": None,
        "inf": None,
    }
    for value, seconds in said.items():
        assert retry_after_s({"retry-after": value}, now) == seconds, value
    assert retry_after_s({"retry-after-ms": "250", "retry-after": "9"}, now) == 0.25
    assert retry_after_s({}, now) is None


def test_pauses_grow_within_bounds_and_are_drawn_from_the_question() -> None:
    for failures in range(1, 40):
        whole = min(30.0, 0.5 * 2 ** (failures - 1))
        drawn = [pause_s(bytes([n]) * 16, failures, 0.5, 30.0) for n in range(50)]
        assert all(whole / 2 <= one <= whole for one in drawn)
        assert max(drawn) - min(drawn) > whole / 4
    assert pause_s(b"k" * 16, 3, 0.5, 30.0) == pause_s(b"k" * 16, 3, 0.5, 30.0)
