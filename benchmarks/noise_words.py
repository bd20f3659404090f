"""Whether words are left in inaudible speech: a recogniser is to say which of 30 sentences was spoken.

As benchmarks/voices.py, whose recogniser, sentences and environment these are: each sentence is spoken by each of some
voices, made inaudible as `noise/` makes it, and heard by CMU PocketSphinx, told that it is one of the 30 (chance: 1 in
30, and length is no help against such a grammar). Of a babble each talker's sentence counts, of those at least: what
is found must be one of 10 to 16 of 30. It is weaker than people in noise; so STOI (Taal et al. 2011, by pystoi), which
predicts what people understand from the clean speech and the noisy, is told too, with the share of words of IEEE
sentences that it stands for: 1 / (1 + exp(9.69 - 17.49 STOI)). Of a babble it is the talker's who is best understood.

    pip install -r benchmarks/requirements-voices.txt pystoi==0.4.1       # in an environment of its own
    python benchmarks/noise_words.py [--voices 3]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from pystoi import stoi
from voices import PITCH, PROMPTS, RATE_WPM, recognise

from noise.signal import Samples
from noise.speech import babble, choose, fragment, masked, reversed_, trimmed
from tts.augment import Drawn, augment
from tts.engine import Delivery
from tts.espeak import Espeak
from tts.voices import VOICES

RATE_HZ = Espeak.sample_rate_hz
SNRS_DB = (-30.0, -20.0, -15.0, -10.0)
RUNGS_DB = (20.0, 12.0, 4.0, 0.0, -4.0, -6.0, -8.0, -12.0, -20.0)
RUNGS_HZ = (8000.0, 4595.0, 2639.0, 1516.0, 1200.0, 871.0, 500.0)


def rng_of(*numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(list(numbers)))


def spoken(voice: str) -> list[Samples]:
    engine = Espeak()
    said = [engine.speak(prompt.capitalize() + ".", Delivery(voice, RATE_WPM, PITCH)) for prompt in PROMPTS]
    engine.close()
    return [trimmed(samples.astype(np.float64)) for samples in said]


def found(samples: Samples) -> str:
    return recognise(samples.clip(-32_768, 32_767).astype(np.int16), RATE_HZ, grammar=True)


class Heard(NamedTuple):
    """Of each sentence: whether it was found, and its STOI where the two sounds can be laid side by side."""

    found: list[bool]
    stoi: list[float]


def conditions(voice: int, said: Sequence[Samples]) -> dict[str, Heard]:
    """Return what is understood of each way to make a sentence inaudible."""

    def each(make: Callable[[Samples, np.random.Generator], Samples], aligned: bool = True) -> Heard:
        made = [make(samples, rng_of(voice, number)) for number, samples in enumerate(said)]
        hits = [found(samples) == prompt for samples, prompt in zip(made, PROMPTS, strict=True)]
        return Heard(
            hits, [stoi(clean, noisy, RATE_HZ) for clean, noisy in zip(said, made, strict=True)] if aligned else []
        )

    def mask(samples: Samples, rng: np.random.Generator, snr_db: float) -> Samples:
        return masked(samples, samples.size, RATE_HZ, rng, (snr_db, snr_db))[0]

    def rung(samples: Samples, rng: np.random.Generator, drawn: Drawn) -> Samples:
        return augment(np.rint(samples).astype(np.int16), RATE_HZ, drawn)[0].astype(np.float64)

    return {
        "as spoken": each(lambda samples, rng: samples),
        **{f"masked at {snr_db:g} dB": each(partial(mask, snr_db=snr_db)) for snr_db in SNRS_DB},
        "reversed": each(lambda samples, rng: reversed_(samples, samples.size, RATE_HZ, rng)[0], aligned=False),
        "fragment": each(lambda samples, rng: fragment(samples, samples.size, RATE_HZ, rng)[0], aligned=False),
        **{
            f"ladder, pink noise, {snr_db:g} dB": each(partial(rung, drawn=Drawn(snr_db=snr_db, noise="pink")))
            for snr_db in RUNGS_DB
        },
        **{f"ladder, up to {hz:g} Hz": each(partial(rung, drawn=Drawn(band_hz=hz))) for hz in RUNGS_HZ},
    }


def babbled(seed: int, everybody: Sequence[Sequence[Samples]], talkers: int | None = None) -> tuple[bool, float, float]:
    """Return whether what is found in a babble is one of its sentences, what share of all they are, and the best STOI.

    Args:
        talkers: how many; None: as drawn.
    """
    rng = rng_of(6, seed)
    utterances = [(samples, prompt) for said in everybody for samples, prompt in zip(said, PROMPTS, strict=True)]
    drawn = choose("babble", np.zeros(len(utterances)), 0.0, rng)[:talkers]
    chosen = [utterances[position] for position in drawn]
    n = min(samples.size for samples, _ in chosen)
    parts = [samples[:n] for samples, _ in chosen]  # as long as all: each talker's part is known
    sound = babble(parts, n, RATE_HZ, rng)[0]
    said = {prompt for _, prompt in chosen}
    best = max(stoi(part, sound, RATE_HZ) for part in parts)
    return found(sound) in said, len(said) / len(PROMPTS), best


def line(name: str, heard: Heard, chance: float) -> str:
    said = f"| {name} | {np.mean(heard.found):.1%} | {chance:.1%} |"
    if not heard.stoi:
        return f"{said} | |"
    mean = float(np.mean(heard.stoi))
    return f"{said} {mean:.2f} | {1 / (1 + np.exp(9.69 - 17.49 * mean)):.0%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=int, default=3)
    args = parser.parse_args()
    voices = list(VOICES)[: args.voices]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        everybody = list(pool.map(spoken, voices))
        heard = list(pool.map(conditions, range(len(voices)), everybody))
        print(
            f"| {len(voices)} voices, {len(PROMPTS)} sentences | found | chance | STOI | words |\n|---|---|---|---|---|"
        )
        for name in heard[0]:
            of = [by_voice[name] for by_voice in heard]
            everything = Heard([hit for one in of for hit in one.found], [value for one in of for value in one.stoi])
            print(line(name, everything, 1 / len(PROMPTS)))
        for talkers in (1, 2, 4, 6, None):
            n = 60
            hits, shares, best = zip(*pool.map(babbled, range(n), [everybody] * n, [talkers] * n), strict=True)
            print(line(f"babble of {talkers or '10 to 16'}", Heard(list(hits), list(best)), float(np.mean(shares))))


if __name__ == "__main__":
    main()
