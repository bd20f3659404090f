"""What augmentation and Opus cost: time of each kind, size and time of each format, tokens that stay equal.

40 prompts of benchmarks/tts_espeak.py, by all voices in turn, on one core. Tokens are mel512's, place by place,
against those of the samples before. Usage: python benchmarks/augment.py
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from tts_espeak import ASKS, THINGS

from noise.lasting import COLOURS
from quantize import Tokenizer, load_tokenizer
from quantize.audio import decode_audio, resample
from quantize.one_thread import one_thread
from tts.audio import OPUS_COMPRESSION, flac_bytes, opus_bytes
from tts.augment import Drawn, augment
from tts.engine import Delivery
from tts.espeak import Espeak
from tts.spoken_form import spoken_form
from tts.voices import VOICES

CLIPS = 40
RATE_HZ = Espeak.sample_rate_hz
Samples = NDArray[np.int16]
T = TypeVar("T")

KINDS = {
    "speed": Drawn(speed=1.07),
    "room": Drawn(rt60_s=0.5),
    "band": Drawn(band_hz=3400),
    **{f"noise, {name}": Drawn(snr_db=10, noise=name) for name in COLOURS},
    "gain": Drawn(gain_db=-6),
    "all": Drawn(0.93, 0.5, 4000, 10, -6, "pink"),
}


def timed(work: Callable[[Samples], T], clips: Sequence[Samples]) -> tuple[float, list[T]]:
    """Return the processor's seconds for all clips, after the first alone, and what was made of them."""
    work(clips[0])
    start = time.process_time()
    made = [work(clip) for clip in clips]
    return time.process_time() - start, made


def opus_at(compression: float) -> Callable[[Samples], bytes]:
    """Return what encodes at another of libsndfile's levels than ours."""

    def encode(clip: Samples) -> bytes:
        out = io.BytesIO()
        at_24k = resample(clip.astype(np.float32), RATE_HZ, 24_000).clip(-32_768, 32_767).astype(np.int16)
        soundfile.write(out, at_24k, 24_000, format="OGG", subtype="OPUS", compression_level=compression)
        return out.getvalue()

    return encode


def tokens(data: bytes, tokenizer: Tokenizer) -> NDArray[np.uint16]:
    samples, rate_hz = decode_audio(data)
    return tokenizer.encode([resample(samples, rate_hz, tokenizer.sample_rate_hz)])[0]


def main() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    engine, tokenizer = Espeak(), load_tokenizer("mel512")
    voices = list(VOICES)
    clips = [
        engine.speak(
            spoken_form(ASKS[n % len(ASKS)].format(THINGS[n % len(THINGS)])), Delivery(voices[n % 20], 170, 50)
        )
        for n in range(CLIPS)
    ]
    spoken_s = sum(clip.size for clip in clips) / RATE_HZ
    print(f"{CLIPS} clips, {spoken_s / CLIPS:.1f} s on average\n\n| kind | ms a clip | × real time |\n|---|---|---|")
    with one_thread():
        for name, drawn in KINDS.items():
            taken, _ = timed(lambda clip, drawn=drawn: augment(clip, RATE_HZ, replace(drawn, seed=clip.size)), clips)
            print(f"| {name} | {1e3 * taken / CLIPS:.1f} | {spoken_s / taken:,.0f} |")
        before = [tokens(flac_bytes(clip, RATE_HZ), tokenizer) for clip in clips]
        formats: dict[str, Callable[[Samples], bytes]] = {
            "FLAC": lambda clip: flac_bytes(clip, RATE_HZ),
            f"Opus, ours ({OPUS_COMPRESSION})": lambda clip: opus_bytes(clip, RATE_HZ),
            **{f"Opus at {level}": opus_at(level) for level in (0.5, 0.88, 0.95)},
        }
        print("\n| format | kB a clip | kbit/s | × real time | tokens equal |\n|---|---|---|---|---|")
        for name, encode in formats.items():
            taken, files = timed(encode, clips)
            after = [tokens(data, tokenizer) for data in files]
            same = [one[: len(two)] == two[: len(one)] for one, two in zip(before, after, strict=True)]
            equal = np.concatenate(same).mean()
            size = sum(map(len, files))
            rate = size * 8e-3 / spoken_s
            print(f"| {name} | {size / 1e3 / CLIPS:.1f} | {rate:.0f} | {spoken_s / taken:,.0f} | {equal:.1%} |")


if __name__ == "__main__":
    main()
