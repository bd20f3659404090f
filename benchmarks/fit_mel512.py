"""Make quantize/mel512.safetensors again: eSpeak NG speaks mel512_sentences.txt, and a fit follows.

    python benchmarks/fit_mel512.py --out mel512.safetensors

The file depends on nothing outside this repository and the installed packages. Equal versions on an
equal processor give an equal file, byte for byte; docs/quantize.md says how far other processors
agree.
"""

import argparse
import hashlib
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quantize.fit import FEATURES, fit_codebook, save_codebook
from quantize.tokenizer import TOKENS_PER_SECOND
from tts import ENGINES
from tts.delivery import draw_delivery

SENTENCES = Path(__file__).resolve().parent.parent / "quantize" / "mel512_sentences.txt"
SEED = 0
READINGS = 3
RATE_WPM = (110, 230)
PITCH = (20, 80)
# Named one by one, so that a voice added to tts/ leaves this codebook as it is.
VOICES = (
    "en", "en+m3", "en+f1", "en+f5", "en-us", "en-us+f2", "en-us+f3", "en-us+m7", "en-029+m8",
    "en-gb-x-gbclan+m4", "en-gb-x-gbcwmd+m1", "en-gb-scotland+f2",
)  # fmt: skip


def read_sentences() -> list[str]:
    """The sentences, one a line; lines that begin with # are remarks."""
    lines = SENTENCES.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def speak_all(sentences: list[str]) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Yield each sentence READINGS times, by voices, rates and pitches drawn from the line number alone."""
    engine = ENGINES["espeak"]()
    for line, sentence in enumerate(sentences):
        for reading in range(READINGS):
            delivery = draw_delivery(SEED, f"{line}/{reading}", VOICES, RATE_WPM, PITCH)
            spoken = engine.speak(sentence, delivery)
            yield spoken.astype(np.float32) / np.float32(32768), engine.sample_rate_hz


def processor() -> str:
    """What does the arithmetic: another kind rounds otherwise, and k-means then drifts apart."""
    cpu_info = Path("/proc/cpuinfo")
    text = cpu_info.read_text() if cpu_info.exists() else ""
    kind = dict(re.findall(r"^(vendor_id|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    return " ".join([*(kind.values() or [platform.machine()]), torch.backends.cpu.get_cpu_capability()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    out: Path = parser.parse_args().out
    sentences = read_sentences()
    codebook = fit_codebook(speak_all(sentences), seed=SEED)
    seconds = int(codebook.usage.sum()) / TOKENS_PER_SECOND
    metadata = {
        "tokenizer": "mel512",
        "features": FEATURES,
        "seed": str(SEED),
        "data": f"{len(sentences)} sentences, {READINGS} times each, {len(VOICES)} voices, {seconds:.0f} s",
        "sentences_blake2b": hashlib.blake2b(SENTENCES.read_bytes(), digest_size=16).hexdigest(),
        "espeak": ENGINES["espeak"]().version,
        "vector_quantize_pytorch": version("vector-quantize-pytorch"),
        "torch": version("torch"),
        "processor": processor(),
        "command": "python benchmarks/fit_mel512.py --out mel512.safetensors",
        "license": "CC0-1.0",
    }
    save_codebook(out, codebook, metadata)
    idle = int(np.count_nonzero(codebook.usage == 0))
    print(f"{out}: perplexity {codebook.perplexity:.1f}, {idle} of {len(codebook.rows)} codes idle, {seconds:.0f} s")


if __name__ == "__main__":
    main()
