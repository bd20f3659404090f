"""Whether the voices of eSpeak are audible, distinct and intelligible: f0, level, rate, who resembles whom, and an ASR.

Every voice speaks the same prompts, of eight words each. CMU PocketSphinx, a recogniser trained on human American
English, hears them told that it is one of the prompts (a grammar), to say which: chance is 1 in 30, and length is no
help. Some it hears with its large language model too (word error rate). Controls that must fail: the
same speech backwards, and 20 dB below white noise. Distinct: from half of the prompts, each voice's mean and the spread
within voices of 24 bands, f0 and rate are learned; the other half is attributed to the nearest voice, of all 20, and of
two: its own and the one that is most like it.

In an environment of its own: benchmarks/requirements-voices.txt says how.
Usage: python benchmarks/voices.py [--words 10] [--recordings FOLDER] [--spectrograms FOLDER]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from pocketsphinx import Decoder, get_model_path
from scipy.signal import resample_poly

sys.path.insert(0, str(Path(__file__).parents[1]))

from tts.augment import Drawn, augment
from tts.engine import Delivery
from tts.espeak import Espeak
from tts.voices import VOICES

Samples = NDArray[np.int16]
Features = NDArray[np.float64]

RATE_WPM, PITCH = 170, 50
ASR_HZ = 16_000
LEVEL, FLOOR = 3000.0, 50.0  # RMS of speech and of noise under it: the recogniser never heard digital silence
NOISE_SNR_DB = -20.0
FRAME, HOP = 1024, 256
BANDS = 24
SHOWN = ("en-us", "en-us+f3", "en-gb-x-gbclan+anika", "en+f5", "en-029+m8")

PROMPTS = (
    "what is the name of the longest river",
    "please tell me how to bake fresh bread",
    "why does the moon change its shape monthly",
    "write a short poem about the winter sea",
    "how many people live in the largest city",
    "explain to my brother how a computer works",
    "give me three good reasons to learn music",
    "who was the first woman to cross alaska",
    "describe a quiet morning in a mountain village",
    "what should i cook for dinner this evening",
    "can you help me plan a birthday party",
    "tell a story about a dog and dragon",
    "which animals sleep through the cold winter months",
    "how do i remove coffee from white cotton",
    "make a list of books for young children",
    "what happens to water when it gets cold",
    "suggest a healthy breakfast with eggs and fruit",
    "where can tourists see old castles in scotland",
    "is it better to walk or run daily",
    "compare the weather in london and new york",
    "how long does the train to boston take",
    "what did farmers eat two hundred years ago",
    "teach me a simple game with playing cards",
    "when is the best time to plant tomatoes",
    "summarize the history of flight for a student",
    "what makes the sky look red at sunset",
    "find a polite way to refuse an invitation",
    "how can i sleep better on hot nights",
    "name some jobs that need very strong hands",
    "what are the rules of soccer for beginners",
)
assert {len(prompt.split()) for prompt in PROMPTS} == {8}


@dataclass(frozen=True)
class Heard:
    """What the recogniser made of a voice under a condition."""

    word_errors: int
    words: int
    identified: int
    prompts: int

    def __str__(self) -> str:
        wer = f"{self.word_errors / self.words:.0%}" if self.words else ""
        return f"{wer} | {self.identified / self.prompts:.0%}"

    def __add__(self, other: Heard) -> Heard:
        return Heard(
            self.word_errors + other.word_errors,
            self.words + other.words,
            self.identified + other.identified,
            self.prompts + other.prompts,
        )


def speak(engine: Espeak, voice: str) -> list[Samples]:
    return [engine.speak(prompt.capitalize() + ".", Delivery(voice, RATE_WPM, PITCH)) for prompt in PROMPTS]


def condition(samples: Samples, name: str, seed: int) -> Samples:
    """Return the speech as it is, or as no one can understand it."""
    if name == "backwards":
        return samples[::-1].copy()
    if name == "in noise":
        drawn = Drawn(snr_db=NOISE_SNR_DB, noise="white", seed=seed)
        return augment(samples, Espeak.sample_rate_hz, drawn)[0]
    return samples


@lru_cache(maxsize=2)
def decoder(grammar: bool) -> Decoder:
    """Return PocketSphinx with its language model, or with the prompts as the only sentences, all equally likely."""
    model = Path(get_model_path("en-us"))
    paths = {"hmm": str(model / "en-us"), "dict": str(model / "cmudict-en-us.dict")}
    if not grammar:
        return Decoder(**paths, lm=str(model / "en-us.lm.bin"), loglevel="FATAL")
    made = Decoder(**paths, lm=None, beam=1e-70, wbeam=1e-50, pbeam=1e-70, loglevel="FATAL")  # wide: it is to choose
    if unknown := {word for prompt in PROMPTS for word in prompt.split() if made.lookup_word(word) is None}:
        raise ValueError(f"the recogniser's dictionary lacks {sorted(unknown)}: take other prompts")
    made.add_jsgf_string("prompts", f"#JSGF V1.0; grammar prompts; public <prompt> = {' | '.join(PROMPTS)};")
    made.activate_search("prompts")
    return made


def recognise(samples: Samples, rate_hz: int, grammar: bool) -> str:
    """Return what is heard in samples, by a recogniser that remembers nothing of what it heard before."""
    at_16k = resample_poly(samples.astype(np.float64), *_ratio(rate_hz)) if rate_hz != ASR_HZ else samples
    quiet = np.zeros(ASR_HZ // 5)  # a pause before and after, which it was trained with
    level = LEVEL / max(float(np.sqrt(np.square(at_16k, dtype=np.float64).mean())), 1.0)  # RMS, in steps of int16
    sound = np.concatenate([quiet, at_16k * level, quiet])
    sound += np.random.default_rng(0).normal(0, FLOOR, sound.size)
    whole = sound.clip(-32_768, 32_767).astype(np.int16)
    hears = decoder(grammar)
    hears.reinit_feat()
    hears.start_utt()
    hears.process_raw(whole.tobytes(), full_utt=True)  # cepstral means are of the whole utterance
    hears.end_utt()
    hypothesis = hears.hyp()
    return hypothesis.hypstr if hypothesis else ""


def _ratio(rate_hz: int) -> tuple[int, int]:
    divisor = int(np.gcd(rate_hz, ASR_HZ))
    return ASR_HZ // divisor, rate_hz // divisor


def word_errors(said: str, heard: str) -> int:
    """Return the words to substitute, insert and delete (Levenshtein)."""
    one, other = said.split(), heard.split()
    row = list(range(len(other) + 1))
    for i, word in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, against in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != against))
    return row[-1]


def hear(task: tuple[str, str, int]) -> Heard:
    """Return what is understood of a voice under a condition; the language model hears so many of the prompts."""
    voice, name, with_model = task
    engine = Espeak()
    errors = identified = 0
    for seed, (prompt, samples) in enumerate(zip(PROMPTS, speak(engine, voice), strict=True)):
        sound = condition(samples, name, seed)
        if seed < with_model:
            errors += word_errors(prompt, recognise(sound, engine.sample_rate_hz, grammar=False))
        identified += recognise(sound, engine.sample_rate_hz, grammar=True) == prompt
    engine.close()
    return Heard(errors, 8 * with_model, identified, len(PROMPTS))


def loud_frames(samples: Samples) -> NDArray[np.float64]:
    """Return windowed frames, (n, FRAME), within 30 dB of the loudest."""
    starts = range(0, max(samples.size - FRAME, 1), HOP)
    frames = np.stack([np.resize(samples[at : at + FRAME], FRAME) for at in starts]).astype(np.float64)
    power = np.square(frames).mean(axis=1)
    return frames[power > power.max() / 1000] * np.hanning(FRAME)


def f0_hz(frames: NDArray[np.float64], rate_hz: int) -> float:
    """Return the median over voiced frames of the autocorrelation's peak between 60 and 400 Hz."""
    power = np.abs(np.fft.rfft(frames, 2 * FRAME)) ** 2
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(FRAME), 2 * FRAME)) ** 2)
    correlation = np.fft.irfft(power)[:, : rate_hz // 60] / (window[: rate_hz // 60] / window[0])
    lags = rate_hz // 400 + np.argmax(correlation[:, rate_hz // 400 :], axis=1)
    strength = correlation[np.arange(lags.size), lags] / correlation[:, 0]
    return float(np.median(rate_hz / lags[strength > 0.4]))


def spoken_seconds(samples: Samples, rate_hz: int) -> float:
    """Return the seconds from the first sample to the last within 40 dB of the peak."""
    loud = np.flatnonzero(np.abs(samples.astype(int)) > np.abs(samples.astype(int)).max() / 100)
    return float(loud[-1] - loud[0] + 1) / rate_hz


def features(samples: Samples, rate_hz: int) -> Features:
    """Return what tells voices apart, (26,): the spectrum in 24 bands, dB less their mean, log f0, log length."""
    frames = loud_frames(samples)
    power = (np.abs(np.fft.rfft(frames)) ** 2).mean(axis=0)
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(FRAME, 1 / rate_hz) / 700)
    edges = np.linspace(mel[2], mel[-1], BANDS + 1)  # from 43 Hz on
    edges[-1] += 1
    bands = [10 * np.log10(power[(mel >= low) & (mel < high)].sum() + 1) for low, high in itertools.pairwise(edges)]
    decibels = np.array(bands) - np.mean(bands)
    return np.append(decibels, [np.log2(f0_hz(frames, rate_hz)), np.log2(spoken_seconds(samples, rate_hz))])


def told_apart(by_voice: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far each voice's mean lies from each other's, and each held-out utterance from each mean.

    The second is (voices, held out, voices). Distances are Mahalanobis': in spreads of utterances within a voice.

    Args:
        by_voice: (voices, prompts, features).
    """
    learned, held_out = by_voice[:, ::2], by_voice[:, 1::2]
    means = learned.mean(axis=1)
    within = (learned - means[:, None]).reshape(-1, by_voice.shape[2])
    spread = within.T @ within / (len(within) - len(means)) + 1e-3 * np.eye(by_voice.shape[2])
    whiten = np.linalg.cholesky(np.linalg.inv(spread))
    white = means @ whiten
    between = np.linalg.norm(white[:, None] - white[None], axis=-1)
    to_means = np.linalg.norm((held_out @ whiten)[:, :, None] - white, axis=-1)
    return between, to_means


def human(folder: Path) -> Iterator[tuple[str, str, int, int]]:
    """Yield (file, what was heard, word errors, words) of recordings that transcripts.tsv has the text of."""
    for row in csv.DictReader((folder / "transcripts.tsv").open(encoding="utf-8"), delimiter="\t"):
        samples, rate_hz = soundfile.read(folder / row["file"], always_2d=True)
        whole = np.rint(samples.mean(axis=1) * 32_767).astype(np.int16)
        said = re.sub(r"[^a-z' ]", "", row["text"].lower())
        heard = recognise(whole, rate_hz, grammar=False)
        yield row["file"], heard, word_errors(said, heard), len(said.split())


def draw_spectrograms(folder: Path, spoken: dict[str, list[Samples]]) -> None:
    """Write a picture of the first prompt by a few voices, and backwards."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sounds = {voice: spoken[voice][0] for voice in SHOWN} | {f"{SHOWN[0]}, backwards": spoken[SHOWN[0]][0][::-1]}
    figure, axes = pyplot.subplots(len(sounds), figsize=(12, 2.6 * len(sounds)), sharex=True)
    for axis, (name, samples) in zip(axes, sounds.items(), strict=True):
        axis.specgram(samples / 32_768, NFFT=512, noverlap=384, Fs=Espeak.sample_rate_hz, vmin=-140, vmax=-40)
        axis.set(title=f"{name}: {PROMPTS[0]}", ylim=(0, 8000), ylabel="Hz")
    figure.tight_layout()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "voices.png", dpi=70)


def table(voices: Sequence[str], spoken: dict[str, list[Samples]], heard: dict[tuple[str, str], Heard]) -> None:
    """Print a line for each voice."""
    rate_hz = Espeak.sample_rate_hz
    by_voice = np.array([[features(samples, rate_hz) for samples in spoken[voice]] for voice in voices])
    between, to_means = told_apart(by_voice)
    right = to_means.argmin(axis=-1) == np.arange(len(voices))[:, None]
    of_two = []
    heads = ("voice", "f0, Hz", "RMS, dBFS", "peak", "words/min", "nearest (distance)", "of 2", "of 20", "WER", "found")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for number, voice in enumerate(voices):
        everything = np.concatenate(spoken[voice]).astype(np.float64)
        loud = np.concatenate([np.square(loud_frames(samples)).mean(axis=1) for samples in spoken[voice]])
        rms = 10 * np.log10(loud.mean() / np.square(np.hanning(FRAME)).mean() / 32_768**2)
        peak = 20 * np.log10(np.abs(everything).max() / 32_768)
        seconds = sum(spoken_seconds(samples, rate_hz) for samples in spoken[voice])
        other = int(np.argsort(between[number])[1])
        of_two.append(float((to_means[number, :, number] < to_means[number, :, other]).mean()))
        print(
            f"| `{voice}` | {2 ** np.median(by_voice[number, :, BANDS]):.0f} | {rms:.1f} | {peak:.1f} "
            f"| {60 * 8 * len(PROMPTS) / seconds:.0f} | `{voices[other]}` ({between[number, other]:.1f}) "
            f"| {of_two[-1]:.0%} | {right[number].mean():.0%} | {heard[voice, 'as spoken']} |"
        )
    total = [heard[voice, "as spoken"] for voice in voices]
    print(f"| all | | | | | | {np.mean(of_two):.0%} | {right.mean():.0%} | {sum(total[1:], total[0])} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--words", type=int, default=30, help="prompts that the language model hears; controls: a fifth"
    )
    parser.add_argument("--recordings", type=Path, help="a folder of human speech with transcripts.tsv: file, text")
    parser.add_argument("--spectrograms", type=Path, help="the folder for pictures")
    args = parser.parse_args()
    voices = list(VOICES)
    conditions = {"as spoken": args.words, "backwards": -(-args.words // 5), "in noise": -(-args.words // 5)}
    tasks = [(voice, name, with_model) for name, with_model in conditions.items() for voice in voices]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        heard = dict(zip([task[:2] for task in tasks], pool.map(hear, tasks), strict=True))
    engine = Espeak()
    spoken = {voice: speak(engine, voice) for voice in voices}
    print(
        f"{engine.version}, {len(voices)} voices, {len(PROMPTS)} prompts of 8 words, rate {RATE_WPM}, pitch {PITCH}\n"
    )
    table(voices, spoken, heard)
    print("\n| condition | WER | identified among 30 (chance 3 %) |\n|---|---|---|")
    for name in conditions:
        each = [heard[voice, name] for voice in voices]
        print(f"| {name} | {sum(each[1:], each[0])} |")
    if args.recordings:
        for file, said, errors, words in human(args.recordings):
            print(f"human, {file}: {errors} of {words} words wrong; heard: {said}")
    if args.spectrograms:
        draw_spectrograms(args.spectrograms, spoken)


if __name__ == "__main__":
    main()
