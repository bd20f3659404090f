"""Clips of real and of eSpeak's speech at 16 kHz, as the oracle and the tests encode them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quantize.audio import decode_audio, resample
from quantize.clips import quiet_cuts
from tts.engine import Delivery
from tts.espeak import Espeak

ROOT = Path(__file__).resolve().parents[2]
Samples = NDArray[np.float32]
RATE_HZ = 16_000


def espeak_clips(most: int = 40) -> dict[str, Samples]:
    """Return examples of this project as eSpeak says them, by slow and quick voices."""
    engine = Espeak()
    clips = {}
    for number, line in enumerate((ROOT / "examples/instructions.jsonl").read_text().splitlines()):
        if number % 5 or len(clips) == most:
            continue
        text = json.loads(line)["messages"][0]["content"]
        delivery = Delivery(("en-us", "en-us+f3", "en")[number % 3], 120 + 10 * (number % 9), 50)
        samples = engine.speak(text[:300], delivery).astype(np.float32) / 32768
        clips[f"espeak-{number:04d}"] = resample(samples, engine.sample_rate_hz, RATE_HZ)[: 30 * RATE_HZ]
    return clips


def recorded_clips(folder: Path) -> dict[str, Samples]:
    """Return every recording under a folder in pieces of at most 30 s, by file name."""
    clips = {}
    for path in sorted(folder.rglob("*.*")):
        if path.suffix in {".wav", ".flac", ".mp3", ".opus"}:
            samples = resample(*decode_audio(path), RATE_HZ)
            for number, piece in enumerate(np.split(samples, quiet_cuts(samples, RATE_HZ, 30.0))):
                if piece.size >= 640:
                    clips[f"{path.name}-{number}"] = piece
    return clips
