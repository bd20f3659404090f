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


def _mel512(model: Path) -> Tokenizer:
    from quantize.mel512 import Mel512

    return Mel512(model)


# To add a tokenizer: a file beside mel512.py with a class as in tokenizer.py, a function as above,
# and a line here and in SHIPPED_MODELS.
TOKENIZERS: dict[str, Callable[[Path], Tokenizer]] = {
    "mel512": _mel512,
}
SHIPPED_MODELS: dict[str, Path] = {
    "mel512": Path(__file__).with_name("mel512.safetensors"),
}


def model_digest(model: Path) -> str:
    """Return the digest of a model file, as the tokenizer's `digest` will be: it loads no model."""
    return hashlib.blake2b(model.read_bytes(), digest_size=16).hexdigest()


__all__ = ["SHIPPED_MODELS", "TOKENIZERS", "AudioError", "Tokenizer", "model_digest"]
