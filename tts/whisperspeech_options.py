"""The options of the engines `whisperspeech` and `whisperspeech_tokens`; looking at them loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quantize.models import locate
from tts.plausible import Plausible
from tts.whisperspeech_languages import LANGUAGES

VOCODER_FILES = ("config.yaml", "pytorch_model.bin")
MOST_CPS = 20.0
WPM_PER_CPS = 10
"""Six characters a word, with its space: 15 characters a second are 150 words a minute."""


@dataclass(frozen=True)
class WhisperSpeechOptions:
    """What is spoken with, and how.

    t2s, s2a:      checkpoints: local paths, or `owner/name:file` or `owner/name:file@revision` on the Hub
    vocoder:       Vocos: a folder with config.yaml and pytorch_model.bin, or `owner/name` or `owner/name@revision`
    speakers:      by voice id: "default" (upstream's), or a .npy or .pt file of 192 numbers of ECAPA-TDNN
    language:      as Whisper writes it, such as "en"
    cps:           characters a second (upstream: 15), for all; none takes the rate_wpm that a row draws, / 10
    temperature:   0 takes the likeliest token, and a text that fails so fails at once: it has no other way to go
    top_k:         draw from so many tokens alone; none draws from all
    piece_seconds: longer texts, at their cps, are spoken in pieces. A model has room for 30 s less one token, and
                   needs some of it: texts are not spoken at their cps exactly
    pause_seconds: of silence between pieces
    attempts:      how often a piece may be spoken until it is plausible
    plausible:     what is taken for speech
    """

    t2s: str = "WhisperSpeech/WhisperSpeech:t2s-v1.95-small-8lang.model"
    s2a: str = "WhisperSpeech/WhisperSpeech:s2a-v1.95-medium-7lang.model"
    vocoder: str = "charactr/vocos-encodec-24khz"
    speakers: Mapping[str, str] = field(default_factory=lambda: {"default": "default"})
    language: str = "en"
    cps: float | None = None
    temperature: float = 0.7
    top_k: int | None = None
    piece_seconds: float = 24.0
    pause_seconds: float = 0.2
    attempts: int = 3
    plausible: Plausible = field(default_factory=Plausible)

    def __post_init__(self) -> None:
        """Raise ValueError that names all that is wrong."""
        wrong = [
            (not self.speakers, "speakers is empty"),
            (self.language not in LANGUAGES, f"language {self.language!r} is none of {', '.join(LANGUAGES)}"),
            (self.cps is not None and not 0 < self.cps <= MOST_CPS, f"cps {self.cps} is not in (0, {MOST_CPS:g}]"),
            (self.temperature < 0, f"temperature {self.temperature} is negative"),
            (self.top_k is not None and self.top_k < 1, f"top_k {self.top_k} leaves nothing to draw from"),
            (not 1 <= self.piece_seconds <= 30, f"piece_seconds {self.piece_seconds} is not in [1, 30]"),
            (self.pause_seconds < 0, f"pause_seconds {self.pause_seconds} is negative"),
            (self.attempts < 1, f"attempts must be 1 or more, not {self.attempts}"),
        ]
        if messages := [message for is_wrong, message in wrong if is_wrong]:
            raise ValueError("; ".join(messages))

    def files(self, *, download: bool, audio: bool = True) -> dict[str, Path | None]:
        """Return the local path of each model file, by role; None for one that would have to be downloaded.

        Args:
            download: fetch from the Hub what its cache does not hold.
            audio: the files of S2A and vocoder too, and of speakers.
        Raises ModelError, naming the place and the remedy, for what is nowhere.
        """
        wanted = {"t2s": self.t2s}
        if audio:
            wanted |= {"s2a": self.s2a, **{name: self._of_vocoder(name) for name in VOCODER_FILES}}
            wanted |= {f"speaker {name}": where for name, where in self.speakers.items() if where != "default"}
        return {role: locate(where, download=download) for role, where in wanted.items()}

    def _of_vocoder(self, name: str) -> str:
        if Path(self.vocoder).is_dir():
            return str(Path(self.vocoder, name))
        repository, at, revision = self.vocoder.partition("@")
        return f"{repository}:{name}{at}{revision}"
