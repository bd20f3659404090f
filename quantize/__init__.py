"""Audio to sound tokens: one file per tokenizer, and Ichigo's `<|sound_0042|>` strings.

Importing this package is cheap (no torch) and makes `import torchaudio` work beside CPU torch from
here on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quantize import torchaudio_import
from quantize.models import ModelError, files_digest, locate
from quantize.tokenizer import AudioError, Compute, Tokenizer

torchaudio_import.install()


@dataclass(frozen=True)
class Kind:
    """A tokenizer that can be named: how it is loaded, and where its files lie unless a recipe says so."""

    load: Callable[[str, Mapping[str, Path], Compute], Tokenizer]
    files: Mapping[str, str | None] = field(default_factory=dict)  # role -> place, as `models.locate` takes it
    about: str = ""


def _mel512(name: str, files: Mapping[str, Path], compute: Compute) -> Tokenizer:
    from quantize.mel512 import Mel512

    return Mel512(files["model"])


def _whispervq(name: str, files: Mapping[str, Path], compute: Compute) -> Tokenizer:
    from quantize.whispervq import WhisperVQ

    return WhisperVQ(name, files, compute)


def _encodec(name: str, files: Mapping[str, Path], compute: Compute) -> Tokenizer:
    from quantize.encodec import Encodec

    return Encodec(name, files["model"], compute)


_V3 = "WhisperSpeech/WhisperSpeech:whisper-vq-stoks-v3-7lang.model"
_EN_PL = "collabora/spear-tts-pytorch:whisper-vq-stoks-medium-en+pl.model"
_ICHIGO = "homebrewltd/ichigo-whisper:merge-medium-vi-2d-2560c-dim64.pth"
_MEDIUM = "openai/whisper-medium"

# To add a tokenizer: a file beside mel512.py with a class as in tokenizer.py, a function as above,
# and a line here.
TOKENIZERS: dict[str, Kind] = {
    "mel512": Kind(_mel512, {"model": str(Path(__file__).with_name("mel512.safetensors"))}, "embedded, acoustic"),
    "whispervq-v3-7lang": Kind(_whispervq, {"model": _V3, "whisper": _MEDIUM}, "Ichigo v0.3 and v0.4"),
    "whispervq-en-pl": Kind(_whispervq, {"model": _EN_PL, "whisper": _MEDIUM}, "Ichigo v0.2"),
    "whispervq": Kind(_whispervq, {"model": None, "whisper": None}, "any WhisperVQ checkpoint"),
    "ichigo-whisper": Kind(
        _whispervq,
        {"model": _ICHIGO, "whisper": _MEDIUM},
        "Ichigo v0.5, merged",
    ),
    "encodec": Kind(_encodec, {"model": None}, "Ichigo v0.1: 24 kHz, 1.5 kbps; needs the extra `encodec`"),
}


def model_files(name: str, given: Mapping[str, str | None], *, download: bool) -> dict[str, Path] | None:
    """Return the local path of each of a tokenizer's files, by role; None where the Hub's cache lacks one.

    Args:
        given: places that replace the tokenizer's own, by role; None keeps its own.
        download: fetch from the Hub what is not there.
    Raises ModelError for a role the tokenizer does not have, a place that is not given, or a file that is not there.
    """
    kind = TOKENIZERS[name]
    if surplus := [role for role, place in given.items() if place and role not in kind.files]:
        raise ModelError(f"{surplus[0]}: the tokenizer {name} has no such file; it has {', '.join(kind.files)}")
    paths = {}
    for role, own in kind.files.items():
        place = given.get(role) or own
        if place is None:
            raise ModelError(f"{role}: the tokenizer {name} has no {role} of its own; give a path, or a Hub id")
        path = locate(place, download=download)
        if path is None:
            return None
        paths[role] = path
    return paths


def load_tokenizer(
    name: str, given: Mapping[str, str | None] | None = None, compute: Compute | None = None
) -> Tokenizer:
    """Return a tokenizer, loaded. Raises ModelError and ValueError, naming the file that is not right."""
    files = model_files(name, given or {}, download=True)
    assert files is not None, "download=True finds them or raises"
    return TOKENIZERS[name].load(name, files, compute or Compute())


__all__ = [
    "TOKENIZERS", "AudioError", "Compute", "Kind", "ModelError", "Tokenizer", "files_digest", "load_tokenizer",
    "model_files",
]  # fmt: skip
