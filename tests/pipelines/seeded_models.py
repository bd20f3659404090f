"""Small models of random weights in their true formats, for whole runs: WhisperSpeech's and a WhisperVQ beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "tests/quantize"))
sys.path.insert(0, str(ROOT / "tests/tts"))
import seeded
import seeded_speech

# Models of random weights speak as they like: everything that is not broken is taken.
ANYTHING = {"shortest": 0, "longest": 100, "slack_seconds": 30, "loop_seconds": 100, "quietest_dbfs": -200}


def write_models(folder: Path) -> Path:
    """Write T2S, S2A and vocoder, a speaker, a WhisperVQ of the same family, and one of another; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    seeded_speech.write_t2s(folder / "t2s.model", "micro")
    seeded_speech.write_s2a(folder / "s2a.model", "micro")
    seeded_speech.write_vocos(folder / "vocos")
    np.save(folder / "mine.npy", seeded_speech.speakers(1)[0])
    seeded.write_openai(folder / "whisper.pt", "micro")
    seeded.write_whispervq(folder / "other.model", "micro")
    content = torch.load(folder / "other.model", weights_only=True)
    embed = content["state_dict"]["rq.layers.0._codebook.embed"]
    rows = torch.from_numpy(seeded_speech.codebook())
    assert embed.shape[1:] == rows.shape
    content["state_dict"]["rq.layers.0._codebook.embed"] = rows[None]
    torch.save(content, folder / "vq.model")
    return folder


def whisperspeech(models: Path, **more: Any) -> dict[str, Any]:
    """Return the options of WhisperSpeech for these models."""
    files = {"t2s": str(models / "t2s.model"), "s2a": str(models / "s2a.model"), "vocoder": str(models / "vocos")}
    speakers = {"default": "default", "mine": str(models / "mine.npy")}
    return {**files, "speakers": speakers, "plausible": ANYTHING, **more}
