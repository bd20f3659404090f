"""Fit the milliseconds of filters/seconds.py to eSpeak NG, and print them with their error on other prompts.

    python benchmarks/fit_seconds.py                               # examples/instructions.jsonl
    python benchmarks/fit_seconds.py prompts.jsonl --field text --fit 1500 --rows 2000

Of the distinct prompts of at most 300 characters, in the order of the file, the first `--fit` are
fitted and the rest of `--rows` are held out. Each is spoken as the step tts does, at 170 words a
minute and pitch 50, by the next of the engine's voices.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from filters.seconds import MILLISECONDS, PAIRS, pair_table, predict_seconds, sum_pairs  # noqa: E402
from tts import ENGINES, Setup  # noqa: E402
from tts.engine import Delivery, SpeechError  # noqa: E402
from tts.spoken_form import spoken_form  # noqa: E402

MOST_CHARS = 300
RATE_WPM = 170
PITCH = 50
ROUNDS = 50
FLOOR = 0.02  # of the relative error, in its weight

Floats = NDArray[np.float64]


def read_prompts(path: Path, field: str) -> list[str]:
    """Distinct user messages, or values of `field`, that are not blank and at most 300 characters long."""
    prompts: dict[str, None] = {}
    for line in path.open(encoding="utf-8"):
        record = json.loads(line)
        said = [m["content"] for m in record["messages"] if m["role"] == "user"] if not field else [record[field]]
        prompts.update((text, None) for text in map(str.strip, said) if 0 < len(text) <= MOST_CHARS)
    return list(prompts)


def speak(prompts: Sequence[str]) -> tuple[list[str], Floats]:
    """The prompts that can be spoken, and how many seconds each took."""
    engine = ENGINES["espeak"](Setup())
    voices = sorted(engine.voices)
    seconds = {}
    for i, prompt in enumerate(prompts):
        try:
            samples = engine.speak(spoken_form(prompt), Delivery(voices[i % len(voices)], RATE_WPM, PITCH))
        except SpeechError as error:
            print(f"left out: {error}")
        else:
            seconds[prompt] = len(samples) / engine.sample_rate_hz
    return list(seconds), np.array(list(seconds.values()))


def fit(counts: Floats, seconds: Floats) -> Floats:
    """Least absolute relative error, by least squares that are weighted anew in each round."""
    weights = 1 / seconds
    for _ in range(ROUNDS):
        costs: Floats = np.linalg.lstsq(counts * weights[:, None], seconds * weights, rcond=None)[0]
        error = np.abs(counts @ costs - seconds) / seconds
        weights = 1 / (seconds * np.sqrt(np.maximum(error, FLOOR)))
    return costs


def report(what: str, predicted: Floats, seconds: Floats) -> None:
    off = (predicted - seconds) / seconds
    print(
        f"{what:44} {len(off):5} prompts of {seconds.mean():.1f} s: error {np.abs(off).mean():.1%} in the mean, "
        f"{np.percentile(np.abs(off), 90):.1%} at the 90th percentile, bias {off.mean():+.1%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", nargs="?", type=Path, default=ROOT / "examples" / "instructions.jsonl")
    parser.add_argument("--field", default="", help="the field that holds the prompt; default: the user messages")
    parser.add_argument("--fit", type=int, default=900)
    parser.add_argument("--rows", type=int, default=2000, help="fitted and held out together")
    args = parser.parse_args()

    prompts, seconds = speak(read_prompts(args.prompts, args.field)[: args.rows])
    counts = np.stack([sum_pairs(prompts, pair_table({name: 1})) for name in PAIRS], axis=1).astype(np.float64)
    costs = fit(counts[: args.fit], seconds[: args.fit])
    for name, cost in zip(PAIRS, costs, strict=True):
        print(f'    "{name}": {round(cost * 1000)},  # shipped: {MILLISECONDS[name]}')
    predicted = np.maximum(counts @ costs, 0)
    report("this fit, fitted", predicted[: args.fit], seconds[: args.fit])
    report("this fit, held out", predicted[args.fit :], seconds[args.fit :])
    shipped = np.array(predict_seconds(prompts))
    report("the shipped milliseconds, the first --fit", shipped[: args.fit], seconds[: args.fit])
    report("the shipped milliseconds, the others", shipped[args.fit :], seconds[args.fit :])


if __name__ == "__main__":
    main()
