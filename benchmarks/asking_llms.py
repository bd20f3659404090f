"""Asking language models: how fast, at what cost, and what kills on both sides lose, against a loopback server.

    python benchmarks/asking_llms.py                          # all parts at full size: about ten minutes
    python benchmarks/asking_llms.py --parts rates --answers 3000

paced    a server of 200 answers a second, each after 0.5 s: ours beside a bare concurrent client of the same server
rates    a server that answers at once: distilabel's Pipeline, its agenerate, a bare AsyncOpenAI, ours
chaos    a stormy server: ours killed (SIGKILL) five times, the server three times; what was lost, doubled, asked again
start    seconds until a worker's first answer, and its memory

The server is a process of its own on 127.0.0.1 (tests/answers/loopback_chat.py) and shares the machine's cores with
whoever asks: on two cores an unpaced rate is that of about one core. Each contender is a process of its own too, which
tells the CPU seconds of all its threads and children. All end by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from answers.llm import Llm, LlmOptions, NoAnswer  # noqa: E402
from answers.store import AnswerStore, answer_key  # noqa: E402
from tests.answers.loopback_chat import ChatProcess, echo, texts  # noqa: E402

PER_SECOND, LATENCY_S = 200, 0.5
CONCURRENCY = {"paced": 128, "rates": 64, "chaos": 64, "start": 1}
SAMPLING = {"temperature": 0.7, "top_p": 0.8, "max_tokens": 512}
WARM = 64  # questions before the clock starts: imports and connections
KILLS_OF_OURS, KILLS_OF_SERVER = 5, 3


class Plain:
    """The text is what is asked."""

    template = "plain-1"

    def format_input(self, input: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return one message."""
        return [{"role": "user", "content": input["text"]}]

    def format_output(self, output: str, input: Mapping[str, Any]) -> dict[str, Any]:
        """Take everything."""
        return {"text": output, "flaw": None}


def options_of(url: str, part: str) -> LlmOptions:
    weather = {"attempts": 4, "pauses_s": (0.05, 1.0), "timeout_s": 20.0} if part == "chaos" else {}
    return LlmOptions(url, "qwen", concurrency=CONCURRENCY[part], **SAMPLING, **weather)


def clock() -> tuple[float, float]:
    """Return the seconds now, and the CPU seconds of this process and of its children that have ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return time.perf_counter(), own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def rss_mib() -> float:
    """Return this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def concurrently(questions: Sequence[str], concurrency: int, one: Callable[[str], Awaitable[str]]) -> list[str]:
    """Return the answers in order, asked so many at a time."""
    answers = [""] * len(questions)
    waiting = iter(enumerate(questions))

    async def work() -> None:
        for number, question in waiting:
            answers[number] = await one(question)

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return answers


def bare(url: str, part: str, *batches: Sequence[str]) -> list[tuple[list[str], float, float]]:
    """A bare AsyncOpenAI with a bounded number of tasks: nothing is stored, checked or asked again."""
    import openai

    async def ask_all() -> list[tuple[list[str], float, float]]:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

            async def one(text: str) -> str:
                completion = await client.chat.completions.create(
                    model="qwen", messages=[{"role": "user", "content": text}], seed=0, **SAMPLING
                )
                return completion.choices[0].message.content or ""

            return [(await concurrently(batch, CONCURRENCY[part], one), *clock()) for batch in batches]

    return asyncio.run(ask_all())


def agenerate(url: str, part: str, *batches: Sequence[str]) -> list[tuple[list[str], float, float]]:
    """distilabel's OpenAILLM.agenerate with a bounded number of tasks."""
    from answers.distilabel_parts import OpenAILLM

    async def ask_all() -> list[tuple[list[str], float, float]]:
        model = OpenAILLM(model="qwen", base_url=url, api_key="none", max_retries=0)
        model.load()

        async def one(text: str) -> str:
            output = await model.agenerate(
                input=[{"role": "user", "content": text}],
                max_new_tokens=SAMPLING["max_tokens"],
                temperature=SAMPLING["temperature"],
                top_p=SAMPLING["top_p"],
                extra_body={"seed": 0},
            )
            return str(output["generations"][0])

        results = [(await concurrently(batch, CONCURRENCY[part], one), *clock()) for batch in batches]
        await model._aclient.close()
        return results

    return asyncio.run(ask_all())


def pipeline(url: str, part: str, *batches: Sequence[str]) -> list[tuple[list[str], float, float]]:
    """distilabel's Pipeline of two steps, from its start to its end; its processes start anew for each batch."""
    from distilabel.models.llms import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    results = []
    for batch in batches:
        with Pipeline(name="rates", cache_dir=tempfile.mkdtemp(prefix="distilabel-")) as work:
            load = LoadDataFromDicts(data=[{"instruction": text} for text in batch], batch_size=500)
            sampling = {"max_new_tokens": SAMPLING["max_tokens"], "temperature": 0.7, "top_p": 0.8}
            model = OpenAILLM(model="qwen", base_url=url, api_key="none", generation_kwargs=sampling)
            load >> TextGeneration(llm=model, input_batch_size=500)
        rows = work.run(use_cache=False)["default"]["train"]
        results.append((list(rows["generation"]), *clock()))
    return results


def ours(url: str, part: str, *batches: Sequence[str]) -> list[tuple[list[str], float, float]]:
    """Llm.answer_all: everything is stored, counted, checked."""
    with tempfile.TemporaryDirectory(prefix="answers-") as folder:
        llm = Llm(options_of(url, part), Path(folder))
        results = []
        for batch in batches:
            answers = llm.answer_all(Plain(), [{"text": text} for text in batch])
            results.append(([said(answer) for answer in answers], *clock()))
        llm.close()
    return results


def said(answer: Any) -> str:
    assert not isinstance(answer, NoAnswer), answer
    return str(answer.text)


CONTENDERS = {"bare": bare, "agenerate": agenerate, "pipeline": pipeline, "ours": ours}


def contend(name: str, url: str, part: str, count: int) -> None:
    """Answer a few, then so many; print what the latter took. The server repeats what it is asked, which is checked."""
    warm = [f"Warm up {number}." for number in range(1 if name == "pipeline" else WARM)]
    (_, *began), (answers, *ended) = CONTENDERS[name](url, part, warm, texts(count))
    expected = [echo([{"content": text}], 0) for text in texts(count)]
    if name == "pipeline":  # which names no seed: the server then says 0 too
        assert sorted(answers) == sorted(expected)
    else:
        assert answers == expected
    seconds, cpu_seconds = ended[0] - began[0], ended[1] - began[1]
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "rss_mib": rss_mib()}))


def start(url: str, name: str) -> None:
    """Print the seconds to the first answer, of a fresh process, and its memory before and after."""
    before, began = rss_mib(), clock()
    CONTENDERS[name](url, "start", texts(1))
    ended = clock()
    print(json.dumps({"seconds": ended[0] - began[0], "before_mib": before, "after_mib": rss_mib()}))


def live(url: str, folder: Path, count: int) -> None:
    """One life of the chaos: answer all, and print them. The last one comes to its end."""
    llm = Llm(options_of(url, "chaos"), folder)
    answers = llm.answer_all(Plain(), [{"text": text} for text in texts(count)])
    llm.close()
    print(json.dumps([said(answer) for answer in answers]))


def run(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(*arguments: object) -> Any:
    """Return the JSON that a process of this script prints last."""
    process = run(*arguments)
    out, err = process.communicate(timeout=1800)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def paced(count: int, folder: Path) -> None:
    """Compare throughput where the server sets the pace."""
    at_once = CONCURRENCY["paced"]
    print(f"\n## Paced: {count:,} answers, {PER_SECOND} a second, each after {LATENCY_S} s, {at_once} at once\n")
    print("| asked by | seconds | answers/s | of the bare client's | CPU s per 1,000 |\n|---|---|---|---|---|")
    rates: dict[str, float] = {}
    for name in ("bare", "ours"):
        with ChatProcess(folder / f"paced-{name}", "echo", per_second=PER_SECOND, latency_s=LATENCY_S) as server:
            took = told("--contender", name, "--url", server.base_url, "--parts", "paced", "--answers", count)
        rates[name] = count / took["seconds"]
        share = rates[name] / rates["bare"]
        print(
            f"| {name} | {took['seconds']:.1f} | {rates[name]:.1f} | {share:.1%} "
            f"| {took['cpu_seconds'] / count * 1000:.2f} |",
            flush=True,
        )
    print(f"\nBar: at least 95 % of the bare client's. {'Met' if share >= 0.95 else 'NOT met'}: {share:.1%}.")


def rates(count: int, folder: Path) -> None:
    """Compare the work of the client where the server answers at once."""
    print(f"\n## Unpaced: {count:,} answers, {CONCURRENCY['rates']} at once; the server shares the cores\n")
    print("| asked by | answers/s | CPU s per 1,000 | answers per CPU s | RSS MiB |\n|---|---|---|---|---|")
    for name, asked in (("pipeline", 500), ("pipeline", count), ("agenerate", count), ("bare", count), ("ours", count)):
        with ChatProcess(folder / f"rates-{name}-{asked}", "echo") as server:
            took = told("--contender", name, "--url", server.base_url, "--parts", "rates", "--answers", asked)
        print(
            f"| {name}, {asked:,} | {asked / took['seconds']:.0f} | {took['cpu_seconds'] / asked * 1000:.2f} "
            f"| {asked / took['cpu_seconds']:.0f} | {took['rss_mib']:.0f} |",
            flush=True,
        )


def chaos(count: int, folder: Path) -> None:
    """Kill both sides, and count what was lost, doubled, or asked again though it was stored."""
    print(f"\n## Chaos: {count:,} answers, {KILLS_OF_OURS} kills of ours, {KILLS_OF_SERVER} of a stormy server\n")
    draw = random.Random(6)
    answers = folder / "answers"
    keys = stored_keys(options_of("http://127.0.0.1/v1", "chaos"), count)
    snapshots: list[tuple[float, set[str]]] = []
    server_kills = 0
    began = time.monotonic()
    with ChatProcess(folder / "chaos", "echo", "stormy", latency_s=0.05) as server:
        for life in range(KILLS_OF_OURS + 1):
            worker = run("--live", answers, "--url", server.base_url, "--answers", count)
            try:
                if life < KILLS_OF_OURS:
                    if life % 2 == 0:
                        wait_for_more(worker, answers, draw.randint(count // 50, count // 15))
                        server.kill()
                        server_kills += 1
                        time.sleep(draw.uniform(0, 2))
                        server.start()
                    wait_for_more(worker, answers, draw.randint(count // 50, count // 15))
                    worker.kill()
                    worker.communicate()
                    store = AnswerStore(answers)
                    snapshots.append(
                        (time.monotonic(), {text for text, key in keys.items() if store.get(key) is not None})
                    )
                else:
                    out, err = worker.communicate(timeout=1800)
                    assert worker.returncode == 0, err[-3000:]
                    rows = json.loads(out)
            finally:
                if worker.poll() is None:
                    worker.kill()
                    worker.wait()
        seconds = time.monotonic() - began
        lines = server.lines()
    assert server_kills == KILLS_OF_SERVER
    expected = [echo([{"content": text}], 0) for text in texts(count)]
    lost = len(set(expected) - set(rows))
    doubled = len(rows) - len(set(rows))
    again = {
        (text, at)
        for at, what, text in lines
        if what == "R" and any(at > killed and text in were for killed, were in snapshots)
    }
    answered = [text for _, what, text in lines if what == "A" and text in keys]
    print("| what | found |\n|---|---|")
    print(f"| seconds, starts of ours | {seconds:.0f}, {KILLS_OF_OURS + 1} |")
    print(f"| stored at the kills | {', '.join(f'{len(were):,}' for _, were in snapshots)} |")
    print(f"| requests, good answers sent | {sum(what == 'R' for _, what, _ in lines):,}, {len(answered):,} |")
    print(f"| rows lost | {lost} |\n| rows twice in the data | {doubled} |")
    print(f"| asked again after its answer was stored | {len(again)} |")
    print(f"| answered twice: sent, and one side killed before it was stored | {len(answered) - len(set(answered))} |")
    assert rows == expected and not again, "a row was lost, doubled, out of place or asked again"


def stored_keys(options: LlmOptions, count: int) -> dict[str, bytes]:
    """Return the key that each text's answer is stored under."""
    with tempfile.TemporaryDirectory() as folder:
        llm = Llm(options, Path(folder))
        keys = {text: answer_key("chat", llm._body(Plain().format_input({"text": text}), 0)) for text in texts(count)}
        llm.close()
    return keys


def wait_for_more(worker: subprocess.Popen[str], answers: Path, count: int) -> None:
    """Wait until the worker has stored so many more answers."""
    enough = len(AnswerStore(answers)) + count
    ends_at = time.monotonic() + 300
    while len(AnswerStore(answers)) < enough:
        assert worker.poll() is None and time.monotonic() < ends_at, "the worker ended, or stores nothing"
        time.sleep(0.1)


def starts(folder: Path) -> None:
    """Measure a worker's first answer."""
    print("\n## Start: to the first answer, in a fresh process; the best of three\n")
    print("| asked by | seconds | RSS before MiB | RSS after MiB |\n|---|---|---|---|")
    with ChatProcess(folder / "start", "echo") as server:
        for name in ("bare", "agenerate", "ours"):
            took = min(
                (told("--start", name, "--url", server.base_url) for _ in range(3)), key=lambda one: one["seconds"]
            )
            print(
                f"| {name} | {took['seconds']:.2f} | {took['before_mib']:.0f} | {took['after_mib']:.0f} |", flush=True
            )
    print(f"\nBar: under 3 s. {'Met' if took['seconds'] < 3 else 'NOT met'}: {took['seconds']:.2f} s.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(CONCURRENCY), default=list(CONCURRENCY))
    parser.add_argument("--answers", type=int, default=20_000)
    parser.add_argument("--contender", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--start", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--live", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        return contend(args.contender, args.url, args.parts[0], args.answers)
    if args.start:
        return start(args.url, args.start)
    if args.live:
        return live(args.url, args.live, args.answers)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    with tempfile.TemporaryDirectory(prefix="benchmark-answers-") as name:
        folder = Path(name)
        if "paced" in args.parts:
            paced(args.answers, folder)
        if "rates" in args.parts:
            rates(min(args.answers, 5000), folder)
        if "chaos" in args.parts:
            chaos(args.answers, folder)
        if "start" in args.parts:
            starts(folder)


if __name__ == "__main__":
    main()
