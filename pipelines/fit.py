"""`speechmill fit-codebook`: a mel512 codebook from any audio; from none, the shipped one again.

The shipped codebook is fitted on speech that the repository itself can make: eSpeak NG reads
quantize/mel512_sentences.txt. Equal versions on an equal processor give an equal file, byte for
byte; docs/quantize.md says how far other processors agree.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.shards import digest_file
from quantize import AudioError
from tts.delivery import draw_delivery
from tts.espeak import Espeak

if TYPE_CHECKING:
    from quantize.codebook import Codebook

Clip = tuple[NDArray[np.float32], int]

SENTENCES = Path(__file__).parent.parent / "quantize" / "mel512_sentences.txt"
READINGS = 3
RATE_WPM = (110, 230)
PITCH = (20, 80)
# Named one by one, so that a voice added to tts/ leaves this codebook as it is.
VOICES = (
    "en", "en+m3", "en+f1", "en+f5", "en-us", "en-us+f2", "en-us+f3", "en-us+m7", "en-029+m8",
    "en-gb-x-gbclan+m4", "en-gb-x-gbcwmd+m1", "en-gb-scotland+f2",
)  # fmt: skip
AUDIO_SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff"}


def fit(audio: Sequence[Path], out: Path, seed: int) -> Codebook:
    """Fit on files and folders of audio, or on the spoken sentences where none are given; write `out`.

    Raises UserError for audio that cannot be read, or is too little.
    """
    from quantize.fit import FEATURES, fit_codebook, save_codebook  # loads torch

    if not out.absolute().parent.is_dir():
        raise UserError(f"fit-codebook: there is no folder {out.absolute().parent} to write {out.name} to")
    files = _audio_files(audio)
    try:
        codebook = fit_codebook(_decoded(files) if files else _spoken(seed), seed=seed)
    except ValueError as error:
        raise UserError(f"fit-codebook: {error}") from error
    metadata = {
        "tokenizer": "mel512",
        "features": FEATURES,
        "seed": str(seed),
        "vector_quantize_pytorch": version("vector-quantize-pytorch"),
        "torch": version("torch"),
        "processor": _processor(),
        **(_about_files(files) if files else _about_sentences()),
    }
    try:
        save_codebook(out, codebook, metadata)
    except OSError as error:
        raise UserError(f"fit-codebook: cannot write {out}: {error.strerror}") from error
    return codebook


def _audio_files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        found = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in AUDIO_SUFFIXES] if path.is_dir() else [path]
        if not found or not found[0].is_file():
            raise UserError(f"fit-codebook: no audio at {path} ({' '.join(sorted(AUDIO_SUFFIXES))})")
        files += found
    return files


def _decoded(files: Sequence[Path]) -> Iterator[Clip]:
    from quantize.audio import decode_audio

    for file in files:
        try:
            yield decode_audio(file)
        except AudioError as error:
            raise UserError(f"fit-codebook: {file}: {error}") from error


def _sentences() -> list[str]:
    lines = SENTENCES.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _spoken(seed: int) -> Iterator[Clip]:
    """Yield each sentence READINGS times, by voices, rates and pitches drawn from the line number alone."""
    engine = Espeak()
    for line, sentence in enumerate(_sentences()):
        for reading in range(READINGS):
            delivery = draw_delivery(seed, f"{line}/{reading}", VOICES, RATE_WPM, PITCH)
            spoken = engine.speak(sentence, delivery)
            yield spoken.astype(np.float32) / np.float32(32768), engine.sample_rate_hz


def _about_sentences() -> dict[str, str]:
    return {
        "data": f"{len(_sentences())} sentences, {READINGS} times each, {len(VOICES)} voices",
        "sentences_blake2b": digest_file(SENTENCES),
        "espeak": Espeak().version,
        "command": "speechmill fit-codebook --out mel512.safetensors",
        "license": "CC0-1.0",
    }


def _about_files(files: Sequence[Path]) -> dict[str, str]:
    names = " ".join(f"{file.name}:{digest_file(file)}" for file in files)
    return {"data": f"{len(files)} files: {names[:2000]}", "command": "speechmill fit-codebook AUDIO --out FILE"}


def _processor() -> str:
    """What does the arithmetic: another kind rounds otherwise, and k-means then drifts apart."""
    import torch

    cpu_info = Path("/proc/cpuinfo")
    text = cpu_info.read_text() if cpu_info.exists() else ""
    kind = dict(re.findall(r"^(vendor_id|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    return " ".join([*(kind.values() or [platform.machine()]), torch.backends.cpu.get_cpu_capability()])
