"""How fast eSpeak speaks on one core: raw, bit-exact, with spoken form and FLAC, as the step tts.

Raw is one loaded library that speaks one prompt after another and resets nothing, so its audio
depends on what came before. Usage: python benchmarks/tts_espeak.py [prompts.jsonl] [--field text]
"""

import argparse
import ctypes
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import espeakng_loader
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipelines.folders.lock import lock_run
from pipelines.graph import Unit
from pipelines.recipe import parse_recipe
from pipelines.row import ROW, row_id
from pipelines.running.orders import Order
from pipelines.running.perform import perform
from tts.audio import flac_bytes
from tts.delivery import draw_delivery
from tts.engine import Delivery
from tts.espeak import Espeak
from tts.spoken_form import spoken_form

ASKS = (
    "Write a short story about {}.",
    "Explain {} to a ten-year-old, with one example from daily life.",
    "What are the three most important things to know about {}?",
    "List 5 facts about {} and say where you found each of them.",
    "I have to give a talk of 10 minutes on {} next Monday at 9:30 am. Please draft an outline "
    "with an introduction, four sections and a conclusion, and suggest one question that I could "
    "ask the audience at the start so that they pay attention.",
    "Summarise {} in one sentence.",
    "Compare {} with what your grandparents would have known in 1955, and say what has changed.",
    "Translate this sentence into Spanish: my sister asked me about {} yesterday evening, and I "
    "did not know what to answer, so I promised to look it up before we meet again.",
    "Is it true that 20% of people have never heard of {}?",
    "Give me a polite e-mail to Dr. Brown, who spent $250 on a course about {} and wants it back.",
)
THINGS = (
    "a dragon who is afraid of the dark", "photosynthesis", "the French Revolution",
    "how vaccines work", "sorting a list in Python", "the rules of chess", "black holes",
    "baking sourdough bread", "renewable energy in Scotland", "the water cycle",
    "compound interest", "plate tectonics", "learning to play the violin", "jazz music",
    "the human heart", "training for a marathon", "Shakespeare's sonnets", "honey bees",
    "the history of the bicycle", "machine learning", "the stock market", "Japanese folk tales",
)  # fmt: skip


def raw_samples(texts: list[str], deliveries: list[Delivery]) -> int:
    """Speak with one library that is loaded once and never reset; return the number of samples."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    chunks: list[bytes] = []

    def collect(wave: int | None, n_samples: int, _events: int | None) -> int:
        if wave:
            chunks.append(ctypes.string_at(wave, 2 * n_samples))
        return 0

    signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    callback = signature(collect)
    if library.espeak_Initialize(2, 200, espeakng_loader.get_data_path().encode(), 0) < 0:
        raise RuntimeError("espeak_Initialize failed")
    library.espeak_SetSynthCallback(callback)
    n_total = 0
    voice = ""
    for text, delivery in zip(texts, deliveries, strict=True):
        if delivery.voice != voice:
            voice = delivery.voice
            if library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise RuntimeError(f"espeak_SetVoiceByName({voice!r}) failed")
        library.espeak_SetParameter(1, delivery.rate_wpm, 0)
        library.espeak_SetParameter(3, delivery.pitch, 0)
        encoded = text.encode()
        chunks.clear()
        size = ctypes.c_size_t(len(encoded) + 1)
        library.espeak_Synth(encoded, size, 0, 0, 0, 0x1001, None, None)
        n_total += np.frombuffer(b"".join(chunks), np.int16).size
    library.espeak_Terminate()
    return n_total


def step(prompts: list[str], voices: list[str], run_dir: Path) -> int:
    """Do the step tts on one shard of prompts, Parquet, digests, fsync and record included; return its samples."""
    messages = [[{"role": "user", "content": prompt}] for prompt in prompts]
    rows = [{"id": row_id("prompts", m), "messages": m, "spoken": []} for m in messages]
    (run_dir / "filter").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=ROW), run_dir / "filter" / "prompts.parquet")
    raw = {
        "name": "benchmark",
        "run_dir": str(run_dir),
        "sources": [{"name": "prompts", "path": "none"}],
        "tts": {"voices": voices, "rate_wpm": [150, 200], "pitch": [30, 70]},
        "mix": {"mixtures": {"all": {"parts": {"transcription": 100}}}},
    }
    unit = Unit("prompts", ("filter/prompts.parquet",), len(rows))
    with lock_run(run_dir) as hold:
        record = perform(Order(parse_recipe(raw, "benchmark"), "tts", unit, {}, hold.token))
    assert record.counts.rows_kept == len(rows), record.counts
    column = "spoken.list.element.seconds"  # to count the samples; the audio is not read again
    spoken = pq.ParquetFile(run_dir / "tts" / "prompts.parquet").read([column])["spoken"].to_pylist()
    return round(sum(u["seconds"] for row in spoken for u in row) * Espeak.sample_rate_hz)


def measure(runs: dict[str, Callable[[], int]], repeats: int, n_texts: int) -> None:
    """Run each `repeats` times in turn; print the fastest of each."""
    seconds = dict.fromkeys(runs, float("inf"))
    n_samples = dict.fromkeys(runs, 0)
    for _, (name, run) in itertools.product(range(repeats), runs.items()):
        start = time.perf_counter()
        n_samples[name] = run()
        seconds[name] = min(seconds[name], time.perf_counter() - start)
    raw_s = seconds["raw engine"]
    print(f"{'':34}{'x real time':>12}{'share of raw':>14}{'ms per text':>13}")
    for name, taken_s in seconds.items():
        realtime = n_samples[name] / Espeak.sample_rate_hz / taken_s
        print(f"{name:34}{realtime:12.0f}{raw_s / taken_s:14.0%}{taken_s / n_texts * 1e3:13.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", nargs="?", type=Path, help="JSONL; default: 220 built-in ones")
    parser.add_argument("--field", default="text", help="the field that holds the prompt")
    parser.add_argument("--voice", help="one voice for all; default: drawn per prompt")
    parser.add_argument("--repeats", type=int, default=5, help="the fastest counts")
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    if args.prompts:
        prompts = [json.loads(line)[args.field] for line in args.prompts.open(encoding="utf-8")]
    else:
        prompts = [ask.format(thing) for ask, thing in itertools.product(ASKS, THINGS)]
    engine = Espeak()
    voices = [args.voice] if args.voice else sorted(engine.voices)
    deliveries = [draw_delivery(0, f"{i}", voices, (150, 200), (30, 70)) for i in range(len(prompts))]
    deliveries.sort(key=lambda delivery: delivery.voice)  # raw pays 1.4 ms for a change of voice
    texts = [spoken_form(prompt) for prompt in prompts]

    def exact() -> int:
        return sum(engine.speak(*row).size for row in zip(texts, deliveries, strict=True))

    def whole() -> int:
        n_total = 0
        for prompt, delivery in zip(prompts, deliveries, strict=True):
            samples = engine.speak(spoken_form(prompt), delivery)
            flac_bytes(samples, engine.sample_rate_hz)
            n_total += samples.size
        return n_total

    words = [len(prompt.split()) for prompt in prompts]
    print(f"{engine.version}, one core, {len(prompts)} prompts of {min(words)} to {max(words)} words")
    runs = {
        "raw engine": lambda: raw_samples(texts, deliveries),
        "bit-exact engine": exact,
        "spoken form + bit-exact + FLAC": whole,
    }
    with tempfile.TemporaryDirectory() as folder:
        measure({**runs, "the step tts": lambda: step(prompts, voices, Path(folder))}, args.repeats, len(prompts))


if __name__ == "__main__":
    main()
