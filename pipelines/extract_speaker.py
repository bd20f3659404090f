"""`speechmill extract-speaker`: a voice for the engine whisperspeech from a recording, and how a recipe takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from pipelines.errors import UserError

CONSENT = (
    "This is the voice of whoever speaks in the recording, a living person perhaps. Fill in consent: who agreed, when, "
    "and where that is written. Without it the recipe is refused. Of a voice that is nobody's, say cloned: false."
)


def extract(recording: Path, out: Path, model: str) -> list[str]:
    """Write a .npy of float32 (192,) that says who speaks in a recording; return what to tell the user.

    Args:
        model: what `tts.speaker_model.locate_speaker_model` takes.
    Raises UserError for a recording without a voice, a model that is not there, and a file that cannot be written.
    """
    if out.suffix != ".npy" or not out.absolute().parent.is_dir():
        raise UserError(f"extract-speaker: cannot write {out}: give a .npy file in a folder that there is")
    from quantize.audio import decode_audio  # loads torch
    from tts.speaker_model import MOST_SECONDS, extract_speaker, locate_speaker_model

    try:
        samples, rate_hz = decode_audio(recording)
    except OSError as error:
        raise UserError(f"extract-speaker: cannot read {recording}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"extract-speaker: {error}") from error
    try:
        speaker = extract_speaker(samples, rate_hz, locate_speaker_model(model))
    except ValueError as error:
        raise UserError(f"extract-speaker: {recording}: {error}") from error
    try:
        np.save(out, speaker)
    except OSError as error:
        raise UserError(f"extract-speaker: cannot write {out}: {error.strerror}") from error
    seconds = min(samples.size / rate_hz, MOST_SECONDS)
    return [
        f"{out}: who speaks in the first {seconds:.1f} s of {recording}. In a recipe:",
        "",
        *_in_a_recipe(out),
        "",
        CONSENT,
    ]


def _in_a_recipe(out: Path) -> list[str]:
    voice = {"id": out.stem, "cloned": True, "consent": ""}
    tts = {"engine": "whisperspeech", "whisperspeech": {"speakers": {out.stem: str(out.absolute())}}, "voices": [voice]}
    return yaml.safe_dump({"tts": tts}, sort_keys=False, allow_unicode=True, width=1000).splitlines()
