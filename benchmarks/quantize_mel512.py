"""How fast is mel512? Audio seconds per wall second on one core, stage by stage.

    python benchmarks/quantize_mel512.py [FILE ...]

Without files it times a clip of noise as 16-bit wav at 22,050 Hz, which is what eSpeak NG speaks.
"""

import argparse
import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quantize.audio import decode_audio, resample
from quantize.clips import encode_recordings
from quantize.mel512 import Mel512, mel_features, nearest_rows
from quantize.sound_string import format_sound
from quantize.tokenizer import SAMPLE_RATE_HZ


def noise_wav(seconds: float, sample_rate_hz: int) -> bytes:
    """A 16-bit wav of seeded noise: the work does not depend on what is said."""
    samples = np.random.default_rng(0).normal(0, 0.1, int(seconds * sample_rate_hz))
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


def best_seconds(work: Callable[[], object], repeats: int) -> float:
    """The fastest of `repeats` runs: what else the machine does only ever adds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def report(label: str, data: bytes, tokenizer: Mel512, repeats: int) -> None:
    """Print one table for one file's bytes."""
    samples, sample_rate_hz = decode_audio(data)
    at_16k = resample(samples, sample_rate_hz, SAMPLE_RATE_HZ)
    features = mel_features(at_16k)
    ids = nearest_rows(features, tokenizer.rows)
    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: decode_audio(data),
        "resample": lambda: resample(samples, sample_rate_hz, SAMPLE_RATE_HZ),
        "mel features": lambda: mel_features(at_16k),
        "codebook": lambda: nearest_rows(features, tokenizer.rows),
        "string": lambda: format_sound(ids),
        "all": lambda: format_sound(encode_recordings([decode_audio(data)], tokenizer)[0]),
    }
    seconds = len(samples) / sample_rate_hz
    print(f"{label}: {seconds:.2f} s at {sample_rate_hz} Hz, {len(ids)} tokens")
    for stage, work in stages.items():
        wall = best_seconds(work, repeats)
        print(f"  {stage:<13} {1000 * wall:9.3f} ms {seconds / wall:12,.0f} x real time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="audio files of at most 30 s")
    parser.add_argument("--repeats", type=int, default=50, help="runs per stage; the fastest counts (default: 50)")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    tokenizer = Mel512()
    clips = [(path.name, path.read_bytes()) for path in arguments.files]
    for label, data in clips or [(f"noise {s} s", noise_wav(s, 22_050)) for s in (1, 5, 30)]:
        report(label, data, tokenizer, arguments.repeats)


if __name__ == "__main__":
    main()
