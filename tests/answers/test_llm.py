"""A model behind a server: all the ways in which it misbehaves, nothing asked or paid for twice, in any weather."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from answers.asking import WAITS_PER_ATTEMPT, AskingError
from answers.ledger import CeilingReached, Ledger
from answers.llm import MESSAGE_TOKENS, TEMPLATE_TOKENS, Answer, Llm, LlmOptions, NoAnswer
from answers.store import AnswerStore
from tests.answers.loopback_chat import QUICK, SERVED, STORM, ChatProcess, LoopbackChat, at_random, echo, texts

ROOT = Path(__file__).parents[2]
SECRET = "sk-loopback-0123456789"
HELLO = "Please say hello."  # the witness


class Plain:
    """The text is what is asked, and its answer good unless it has the word bad."""

    template = "plain-1"

    def format_input(self, input: Mapping[str, Any]) -> list[dict[str, str]]:
        return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": input["text"]}]

    def format_output(self, output: str, input: Mapping[str, Any]) -> dict[str, Any]:
        return {"text": output.strip(), "flaw": "bad:word" if "bad" in output.split() else None}


def llm_of(server: LoopbackChat | ChatProcess | str, folder: Path, share: int = 1, **changes: Any) -> Llm:
    url = server if isinstance(server, str) else server.base_url
    return Llm(LlmOptions(**{"base_url": url, "model": "qwen", **QUICK, **changes}), folder, share)


def asked(llm: Llm, *questions: str, first_try: tuple[int, ...] = ()) -> list[Answer | NoAnswer]:
    return llm.answer_all(Plain(), [{"text": text} for text in questions], first_try)


def text_of(answer: Answer | NoAnswer) -> str:
    assert isinstance(answer, Answer), answer
    return answer.text


def test_answers_come_in_order_with_who_wrote_them_and_what_they_took(tmp_path: Path) -> None:
    with LoopbackChat(echo) as server:
        llm = llm_of(server, tmp_path, price_per_million_tokens=(100.0, 1000.0))
        results = asked(llm, *texts(40))
        llm.close()
    words = [len(text.split()) for text in texts(40)]  # which is what the server counts
    assert results == [
        Answer(f"{text} (0)", SERVED, count + 2, count + 1, 1, "plain-1")
        for text, count in zip(texts(40), words, strict=True)
    ]
    counts = {"requests": 40, "from_store": 0, "retries": 0, "prompt_tokens": sum(words) + 80}
    counts |= {"completion_tokens": sum(words) + 40}
    assert {name: llm.usage[name] for name in counts} == counts
    assert llm.usage["cost"] == pytest.approx((100 * (sum(words) + 80) + 1000 * (sum(words) + 40)) / 1e6)


def test_what_is_sent_is_what_the_options_say_and_nothing_by_default(tmp_path: Path) -> None:
    with LoopbackChat(echo) as server:
        extra = {"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}}
        llm = llm_of(server, tmp_path, temperature=0.3, top_p=0.9, max_tokens=77, seed=5, extra=extra)
        asked(llm, "Hello there.")
        llm.close()
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there."}]
    sampling = {"temperature": 0.3, "top_p": 0.9, "max_tokens": 77, "seed": 5}
    assert server.bodies == [{"model": "qwen", "messages": messages, **sampling, **extra}]


ONCE = (
    *("429", "500", "502", "503", "504", "408", "409", "truncated", "deep", "digits", "html", "list", "error"),
    *("empty-choices", "no-message", "cut", "drop"),
)


def test_what_goes_wrong_twice_is_asked_a_third_time_with_the_same_seed(tmp_path: Path) -> None:
    wrong = dict(zip(texts(len(ONCE)), ONCE, strict=True))
    with LoopbackChat(echo, lambda text, n: wrong.get(text, "good") if n < 2 else "good") as server:
        llm = llm_of(server, tmp_path, attempts=4)
        results = asked(llm, *wrong)
        llm.close()
        assert {behaviour: server.requests[text] for text, behaviour in wrong.items()} == dict.fromkeys(ONCE, 3)
    assert [text_of(one) for one in results] == [f"{text} (0)" for text in wrong]
    assert {body["seed"] for body in server.bodies} == {0}
    assert llm.usage["retries"] == 2 * len(ONCE)


ALWAYS = {
    "500": "not_answered:status 500: I misbehave",
    "429": "not_answered:status 429: I misbehave",
    "hang": "not_answered:timeout: (no whole answer in|the answer stalled)",
    "truncated": "not_answered:the answer is no JSON: ",
    "deep": "not_answered:the answer is no JSON: maximum recursion",
    "digits": "not_answered:the answer is no JSON: Exceeds the limit",
    "html": "not_answered:no answer, but: <html><body>Welcome",
    "list": "not_answered:the answer holds no message$",
    "error": r"not_answered:no answer, but: 200, and yet Bearer \*\*\* failed$",
    "empty-choices": "not_answered:the answer holds no message$",
    "no-message": "not_answered:the answer holds no message$",
    "cut": "not_answered:the connection was cut",
    "drop": "not_answered:the connection was cut",
    "400-echo": r"not_answered:status 400: your key is Bearer \*\*\*, which I echo",
    "400-filter": "not_answered:status 400: I misbehave: 400-filter",
    "422": "not_answered:status 422",
    "null": "empty$",
    "blank": "empty$",
    "filter": "cut_off:content_filter$",
    "length": "cut_off:length$",
}
TIMES = {"429": 3 * WAITS_PER_ATTEMPT, **dict.fromkeys(("400-echo", "400-filter", "422"), 1)}
TIMES |= dict.fromkeys(("null", "blank", "filter", "length"), 2)  # the tries


@pytest.mark.parametrize("good_ones", [30, 0])
def test_bad_rows_end_alone(
    good_ones: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where no other row is answered: then the witness is. Nothing that is told or stored holds the key."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("LOOPBACK_KEY", SECRET)
    questions = texts(len(ALWAYS) + good_ones)
    wrong = dict(zip(questions, ALWAYS, strict=False))
    with LoopbackChat(echo, lambda text, _: wrong.get(text, "good")) as server:
        llm = llm_of(server, tmp_path, timeout_s=1.5, tries=2, api_key_env="LOOPBACK_KEY")
        results = asked(llm, *questions)
        llm.close()
    assert server.keys == {f"Bearer {SECRET}"}
    for (text, behaviour), result in zip(wrong.items(), results, strict=False):
        assert isinstance(result, NoAnswer), behaviour
        assert re.match(ALWAYS[behaviour], result.reason), result
        assert len(result.reason) < 300
        assert server.requests[text] == TIMES.get(behaviour, 3), behaviour
    assert all(server.requests[text] == 1 for text in questions[len(wrong) :])
    assert [text_of(one) for one in results[len(wrong) :]] == [f"{text} (0)" for text in questions[len(wrong) :]]
    assert SECRET not in repr(results) + caplog.text
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_an_answer_that_tells_the_key_does_not_tell_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPBACK_KEY", SECRET)
    with LoopbackChat(echo, lambda *_: "echo") as server:
        llm = llm_of(server, tmp_path, api_key_env="LOOPBACK_KEY")
        assert text_of(asked(llm, "Hi.")[0]) == "Hi. (0) Bearer ***"
        llm.close()
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_key_that_is_a_word_is_left_in_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that want no key are given one all the same: none, EMPTY."""
    monkeypatch.setenv("LOOPBACK_KEY", "none")
    with LoopbackChat(echo) as server:
        llm = llm_of(server, tmp_path, api_key_env="LOOPBACK_KEY")
        assert text_of(asked(llm, "Is there none?")[0]) == "Is there none? (0)"
        llm.close()
    assert server.keys == {"Bearer none"}


@pytest.mark.parametrize(("behaviour", "model"), [("no-usage", "qwen"), ("wild-usage", SERVED)])
def test_a_server_that_counts_no_tokens_is_believed_the_most(behaviour: str, model: str, tmp_path: Path) -> None:
    with LoopbackChat(echo, lambda *_: behaviour) as server:
        llm = llm_of(server, tmp_path, max_tokens=100)
        assert asked(llm, "Hi.") == [Answer("Hi. (0)", model, 0, 0, 1, "plain-1")]
        llm.close()
    most = len("Be brief.") + len("Hi.") + 2 * MESSAGE_TOKENS + TEMPLATE_TOKENS + 100
    assert Ledger(tmp_path / "spent", None, None).spent() == (1, most)


def test_a_flawed_answer_is_asked_for_with_the_next_seed(tmp_path: Path) -> None:
    def rules(messages: list[dict[str, str]], seed: int) -> str:
        return "bad" if seed < 100 + int(messages[-1]["content"]) else f"good at {seed}"

    with LoopbackChat(rules, lambda text, n: "length" if text == "2" and n == 0 else "good") as server:
        llm = llm_of(server, tmp_path, tries=3, seed=100)
        results = asked(llm, "0", "1", "2", "3", "4")
        again = asked(llm, "0", "1", "2", first_try=(1, 2, 3))
        llm.close()
        seeds = {
            text: [body["seed"] for body in server.bodies if body["messages"][1]["content"] == text] for text in "01234"
        }
    assert [(text_of(one), one.tries) for one in results[:3]] == [  # type: ignore[union-attr]
        *(("good at 100", 1), ("good at 101", 2), ("good at 102", 3)),
    ]
    assert results[3:] == [NoAnswer("bad:word")] * 2
    assert [text_of(one) for one in again[:2]] == ["good at 101", "good at 102"]
    assert again[2] == NoAnswer("no_try_left")
    assert seeds == {
        "0": [100, 101],
        "1": [100, 101, 102],
        "2": [100, 101, 102],
        "3": [100, 101, 102],
        "4": [100, 101, 102],
    }


def test_nothing_is_asked_again_that_was_stored_flawed_answers_too(tmp_path: Path) -> None:
    def rules(messages: list[dict[str, str]], seed: int) -> str:
        return "bad" if seed < int(messages[-1]["content"]) % 4 else f"good at {seed}"

    questions = [str(number) for number in range(40)]
    with LoopbackChat(rules) as server:
        llm = llm_of(server, tmp_path, tries=3)
        first = asked(llm, *questions)
        sent = server.requests.total()
        assert asked(llm, *questions) == first
        llm.close()
        other = llm_of(server, tmp_path, tries=3)
        assert asked(other, *questions) == first
        assert other.usage["requests"] == other.usage["cost"] == 0
        assert other.usage["from_store"] == sent == server.requests.total() == 10 * (1 + 2 + 3 + 3)
        other.close()
        changed = llm_of(server, tmp_path, tries=3, temperature=0.5)
        asked(changed, questions[0])
        assert server.requests.total() == sent + 1
        changed.close()


def test_equal_questions_are_asked_once(tmp_path: Path) -> None:
    with LoopbackChat(echo, lambda text, n: "422" if text == "no" else "good", latency_s=0.2) as server:
        llm = llm_of(server, tmp_path)
        results = asked(llm, "one", "two", "one", "no", "one", "no", "two")
        llm.close()
        assert all(server.requests[text] == 1 for text in ("one", "two", "no"))
    assert [text_of(results[number]) for number in (0, 1, 2, 4, 6)] == [
        f"{one} (0)" for one in ("one", "two", "one", "one", "two")
    ]
    assert results[3] == results[5] and isinstance(results[3], NoAnswer)


def test_the_concurrency_is_bounded_and_neither_it_nor_the_weather_changes_an_answer(tmp_path: Path) -> None:
    def rules(messages: list[dict[str, str]], seed: int) -> str:
        text = messages[-1]["content"]
        return "bad" if (int(text[21:26]) + 2 * seed) % 5 == 0 else f"{text} {seed}"

    results = []
    for number, (concurrency, share, most) in enumerate([(1, 1, 1), (7, 1, 7), (64, 1, 64), (64, 8, 8), (2, 5, 1)]):
        with LoopbackChat(rules, at_random(STORM, seed=number, most=2), latency_s=0.001) as server:
            llm = llm_of(server, tmp_path / str(number), share, concurrency=concurrency, attempts=4)
            results.append(asked(llm, *texts(150)))
            assert llm.usage["retries"] > 5
            llm.close()
            assert server.most_at_once <= most + 1  # the witness
            assert most < 7 or server.most_at_once > most // 4  # more than the others have
    assert all(one == results[0] for one in results)
    tries = Counter(one.tries for one in results[0] if isinstance(one, Answer))
    assert tries == {1: 120, 2: 30}


@pytest.mark.parametrize("behaviour", ["401", "402", "403", "404", "405", "429-quota", "429-long"])
def test_what_is_wrong_for_all_rows_stops_at_once(behaviour: str, tmp_path: Path) -> None:
    with LoopbackChat(plan=lambda *_: behaviour) as server:
        llm = llm_of(server, tmp_path, concurrency=4)
        with pytest.raises(AskingError, match=r"status \d+: .*Check base_url|asks to come back in 86400 s") as error:
            asked(llm, *texts(50))
        llm.close()
        assert server.requests.total() <= 4
    assert "openai." not in "".join(traceback.format_exception(error.value))  # whose request holds the key


def test_a_model_that_is_not_there_and_a_key_that_is_missing_are_told(tmp_path: Path) -> None:
    with LoopbackChat() as server:
        llm = llm_of(server, tmp_path, model="mistyped")
        with pytest.raises(AskingError, match=r"`mistyped` does not exist.*Check base_url, model"):
            asked(llm, "Hello.")
        llm.close()
    with pytest.raises(AskingError, match="NO_SUCH_KEY is empty"):
        llm_of("http://127.0.0.1:9/v1", tmp_path, api_key_env="NO_SUCH_KEY")


@pytest.mark.parametrize("behaviour", ["500", "503", "429", "400", "drop", "truncated", "empty-choices", "html"])
def test_a_server_that_answers_nobody_stops_the_run_and_costs_no_row(behaviour: str, tmp_path: Path) -> None:
    with LoopbackChat(echo, lambda *_: behaviour) as server:
        llm = llm_of(server, tmp_path, patience_s=0.3)
        started = time.monotonic()
        with pytest.raises(AskingError, match=r"refuses even a plain|answered nobody for .*resume when"):
            asked(llm, *texts(40))
        assert time.monotonic() - started < 10
        server.plan = lambda *_: "good"
        assert [text_of(one) for one in asked(llm, *texts(40))] == [f"{text} (0)" for text in texts(40)]
        llm.close()


def test_retry_after_holds_every_request_back(tmp_path: Path) -> None:
    with LoopbackChat(echo, lambda _text, n: "429-seconds" if n == 0 else "good") as server:
        llm = llm_of(server, tmp_path, concurrency=4)
        started = time.monotonic()
        asked(llm, *texts(4))
        llm.close()
        assert time.monotonic() - started > 1.0
        assert server.requests.total() == 8


def test_a_text_that_is_not_unicode_is_not_sent(tmp_path: Path) -> None:
    with LoopbackChat(echo) as server:
        llm = llm_of(server, tmp_path)
        good, bad = asked(llm, "Fine.", "half a \ud83d smile")
        llm.close()
        assert server.requests.total() == 1
    assert text_of(good) == "Fine. (0)"
    assert bad == NoAnswer("not_answered:lone surrogate at character 7 of the user's message")


def test_nothing_to_ask_asks_nothing(tmp_path: Path) -> None:
    llm = llm_of("http://127.0.0.1:9/v1", tmp_path)
    assert asked(llm) == []
    llm.close()


def test_requests_end_exactly_at_the_ceiling_and_what_was_answered_is_not_paid_for_again(tmp_path: Path) -> None:
    with LoopbackChat(
        echo, lambda text, n: "500" if n == 0 and text.endswith("moon.") else "good", latency_s=0.01
    ) as server:
        llm = llm_of(server, tmp_path, most_requests=70, concurrency=16)
        with pytest.raises(CeilingReached, match=r"70 of 70 requests.*All answers are stored: raise most_requests"):
            asked(llm, *texts(200))
        llm.close()
        assert server.requests.total() == 70
        answered = server.answered.total()
        assert len(AnswerStore(tmp_path)) == answered
        raised = llm_of(server, tmp_path, most_requests=1000)
        assert [text_of(one) for one in asked(raised, *texts(200))] == [f"{text} (0)" for text in texts(200)]
        assert raised.usage["from_store"] == answered
        assert server.answered.total() == 200
        assert raised.usage["requests"] == server.requests.total() - 70
        raised.close()


def test_tokens_never_exceed_the_ceiling_and_come_near_it(tmp_path: Path) -> None:
    with LoopbackChat(echo, latency_s=0.01) as server:
        llm = llm_of(server, tmp_path, most_tokens=2000, max_tokens=100, concurrency=16)
        with pytest.raises(CeilingReached, match="of 2,000 tokens"):
            asked(llm, *texts(400))
        llm.close()
        one = len("Be brief.") + len(texts(1)[0]) + 2 * MESSAGE_TOKENS + TEMPLATE_TOKENS + 100
        assert 2000 - one - 50 < server.tokens <= 2000
        assert Ledger(tmp_path / "spent", None, None).spent()[1] == server.tokens


def run_python(script: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    prelude = "import json, sys; from pathlib import Path; from tests.answers.test_llm import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + script, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_one_ceiling_holds_for_processes_together(tmp_path: Path) -> None:
    script = (
        "first = int(sys.argv[3])\n"
        "llm = llm_of(sys.argv[1], Path(sys.argv[2]), 2, most_requests=400, concurrency=24)\n"
        "try:\n    asked(llm, *texts(first + 500)[first:])\n"
        "except CeilingReached:\n    print('reached')\n"
        "llm.close()\n"
    )
    with LoopbackChat(echo, at_random({"500": 0.1}), latency_s=0.01) as server:
        workers = [run_python(script, server.base_url, tmp_path, first) for first in (0, 500)]
        assert [worker.communicate(timeout=60)[0] for worker in workers] == ["reached\n"] * 2
        assert server.requests.total() == 400
        assert len(AnswerStore(tmp_path)) == server.answered.total() - server.answered[HELLO]


CHAOS = (
    "llm = llm_of(sys.argv[1], Path(sys.argv[2]), concurrency=32, attempts=4, patience_s=60)\n"
    "print('up', flush=True)\n"
    "answers = asked(llm, *texts(int(sys.argv[3])))\n"
    "llm.close()\n"
    "print(json.dumps([answer.text for answer in answers]), flush=True)\n"
)


def test_nothing_stored_is_asked_again_through_kills_of_both_sides(tmp_path: Path) -> None:
    """Two of ours and one of the server's, with a storm besides; the benchmark does it five and three times."""
    count = 500
    with ChatProcess(tmp_path / "server", "echo", "stormy", per_second=300, latency_s=0.05) as server:
        stored: list[tuple[float, set[str]]] = []
        for life in range(3):
            with run_python(CHAOS, server.base_url, tmp_path / "answers", count) as worker:
                assert worker.stdout is not None and worker.stdout.readline() == "up\n"
                if life < 2:
                    if life == 0:
                        wait_for_more(tmp_path / "answers", 30)
                        server.kill()
                        server.start()
                    wait_for_more(tmp_path / "answers", 40)
                    worker.send_signal(signal.SIGKILL)
                    worker.wait()
                    stored.append((time.monotonic(), stored_texts(tmp_path / "answers")))
                else:
                    results = json.loads(worker.stdout.read())
    assert results == [f"{text} (0)" for text in texts(count)]
    assert 0 < len(stored[0][1]) < len(stored[-1][1]) < count
    again = [
        (text, seconds)
        for seconds, what, text in server.lines()
        if what == "R" and any(seconds > killed_at and text in were for killed_at, were in stored)
    ]
    assert again == []


def stored_texts(folder: Path) -> set[str]:
    """Return the questions whose answer is stored: `echo` repeats them."""
    data = b"".join(path.read_bytes() for path in folder.glob("*.log"))
    return set(re.findall(r'"text":"([^"]*) \(0\)"', data.decode(errors="replace")))


def wait_for_more(folder: Path, count: int) -> None:
    """Wait until so many more answers are stored, 30 s at most."""
    wait_for(folder, len(stored_texts(folder)) + count)


def wait_for(folder: Path, count: int) -> None:
    """Wait until so many answers are stored, 30 s at most."""
    ends_at = time.monotonic() + 30
    while len(stored_texts(folder)) < count and time.monotonic() < ends_at:
        time.sleep(0.02)


def test_ctrl_c_ends_the_wait_and_what_was_answered_stays(tmp_path: Path) -> None:
    """Also beside polars, which every worker imports: its handler lets no signal cut a wait short."""
    import polars  # noqa: F401

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever tests before this one have put there
    try:
        with LoopbackChat(echo, lambda text, n: "hang" if text == texts(5)[4] else "good") as server:
            llm = llm_of(server, tmp_path)

            def interrupt() -> None:
                wait_for(tmp_path, 4)
                os.kill(os.getpid(), signal.SIGINT)

            threading.Thread(target=interrupt).start()
            started = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                asked(llm, *texts(5))
            assert time.monotonic() - started < 8  # before the first timeout
            llm.close()
            assert stored_texts(tmp_path) == set(texts(4))
    finally:
        signal.signal(signal.SIGINT, before)


def test_neither_asking_nor_an_error_is_told_beyond_itself(tmp_path: Path) -> None:
    """distilabel would warn at every start, and print all local variables of an error that nobody catches."""
    script = (
        "llm = llm_of(sys.argv[1], Path(sys.argv[2]), api_key_env='LOOPBACK_KEY')\n"
        "asked(llm, 'Hello.', 'null')\n"
        "secret = llm.options.read_key()\n"
        "raise RuntimeError('as it is')\n"
    )
    with LoopbackChat(echo, lambda text, n: "null" if text == "null" else "good") as server:
        environment = {**os.environ, "LOOPBACK_KEY": SECRET}
        worker = run_python(script, server.base_url, tmp_path, stderr=subprocess.PIPE, env=environment)
        out, err = worker.communicate(timeout=60)
    assert out == ""
    assert err.startswith("Traceback (most recent call last):") and err.endswith("RuntimeError: as it is\n")
    assert len(err.splitlines()) < 6 and SECRET not in err
