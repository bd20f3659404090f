"""Text to speech: engines, the spoken form of a text, the delivery that a row draws, the kept audio.

To add an engine, write a class that satisfies `tts.engine.Engine` in a module of its own and name it in `ENGINES`
by a function that imports that module when it is called: importing `tts` loads no engine, so a machine without
eSpeak can still import it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from quantize.tokenizer import Compute
from tts.engine import Engine, Voice
from tts.openai_speech_options import OpenAISpeechOptions
from tts.voices import VOICES
from tts.whisperspeech_options import WhisperSpeechOptions


@dataclass(frozen=True)
class Setup:
    """What engines are loaded with; each takes what it needs.

    voices:  by id, of an engine that has none by itself
    compute: what models run on
    answers: the folder that answers of servers are stored in
    """

    voices: Mapping[str, Voice] = field(default_factory=dict)
    compute: Compute = field(default_factory=Compute)
    whisperspeech: WhisperSpeechOptions = field(default_factory=WhisperSpeechOptions)
    openai_speech: OpenAISpeechOptions | None = None
    answers: Path = Path("answers")


def _espeak(setup: Setup) -> Engine:
    from tts.espeak import Espeak

    return Espeak()


def _whisperspeech(setup: Setup) -> Engine:
    from tts.whisperspeech import WhisperSpeech

    return WhisperSpeech(setup.whisperspeech, setup.compute)


def _whisperspeech_tokens(setup: Setup) -> Engine:
    from tts.whisperspeech_tokens import WhisperSpeechTokens

    return WhisperSpeechTokens(setup.whisperspeech, setup.compute)


def _openai_speech(setup: Setup) -> Engine:
    from quantize.audio import resample
    from tts.openai_speech import OpenAISpeech

    if setup.openai_speech is None:
        raise ValueError("openai_speech: say where the server is (base_url) and what it speaks with (model)")
    setup.answers.mkdir(parents=True, exist_ok=True)
    return OpenAISpeech(setup.openai_speech, setup.voices, setup.answers, resample)


ENGINES: dict[str, Callable[[Setup], Engine]] = {
    "espeak": _espeak,
    "whisperspeech": _whisperspeech,
    "whisperspeech_tokens": _whisperspeech_tokens,
    "openai_speech": _openai_speech,
}

VOICES_OF: dict[str, dict[str, Voice]] = {"espeak": VOICES}
"""Of the engines that have voices by themselves."""

WITHOUT_AUDIO = frozenset({"whisperspeech_tokens"})
WITH_TORCH = frozenset({"whisperspeech", "whisperspeech_tokens"})
_PACKAGES = {"espeak": "espeakng-loader"}


def engine_version(name: str) -> str:
    """Return the installed package behind an engine, for fingerprints, "" where there is none: it loads no engine."""
    package = _PACKAGES.get(name)
    if package is None:
        return ""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} is not installed"
