"""Text to speech: engines, the spoken form of a text, the delivery that a row draws, and FLAC.

To add an engine, write a class that satisfies `tts.engine.Engine` in a module of its own and name
it in `ENGINES` by a function that imports that module when it is called: importing `tts` loads no
engine, so a machine without eSpeak can still import it.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from tts.engine import Engine, Voice
from tts.voices import VOICES


def _espeak() -> Engine:
    from tts.espeak import Espeak

    return Espeak()


ENGINES: dict[str, Callable[[], Engine]] = {
    "espeak": _espeak,
}

VOICES_OF: dict[str, dict[str, Voice]] = {"espeak": VOICES}
_PACKAGES = {"espeak": "espeakng-loader"}


def engine_version(name: str) -> str:
    """Return the installed package behind an engine, for fingerprints: it loads no engine."""
    package = _PACKAGES[name]
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} is not installed"
