"""Audio to sound tokens: one file per tokenizer, and Ichigo's `<|sound_0042|>` strings.

Importing this package is cheap (no torch) and makes `import torchaudio` work beside CPU torch from
here on.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from quantize import torchaudio_import
from quantize.tokenizer import AudioError, Tokenizer

torchaudio_import.install()


def _mel512() -> Tokenizer:
    from quantize.mel512 import Mel512

    return Mel512()


# To add a tokenizer: a file beside mel512.py with a class as in tokenizer.py, a function as above,
# and a line here and in _MODEL_FILES.
TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "mel512": _mel512,
}

_MODEL_FILES = {"mel512": Path(__file__).with_name("mel512.safetensors")}


def model_digest(name: str) -> str:
    """Return the digest of a tokenizer's model file, for fingerprints: it loads no model."""
    return hashlib.blake2b(_MODEL_FILES[name].read_bytes(), digest_size=16).hexdigest()


__all__ = ["TOKENIZERS", "AudioError", "Tokenizer", "model_digest"]
