"""The engine `whisperspeech_tokens`: text straight to sound tokens, by WhisperSpeech's T2S, with no audio at all.

The tokens mean the same to a model alone whose tokenizer has the T2S's codebook: compare `codebook()` with it first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from quantize.models import files_digest
from quantize.tokenizer import Compute
from tts.engine import Request, SpeechError, Spoken, Voice
from tts.piecewise import speak_requests
from tts.talker import BATCHES, load_talker, located, room, voices
from tts.whisperspeech_options import WhisperSpeechOptions


class WhisperSpeechTokens:
    """Sound tokens of texts, with `Spoken.samples` empty. Used by one thread.

    Pieces of a long text are joined without a pause: no token is known to be silence.
    """

    name = "whisperspeech_tokens"
    sample_rate_hz = 24_000

    def __init__(self, options: WhisperSpeechOptions, compute: Compute | None = None) -> None:
        """Load `options.t2s`, from the Hub where it is not here.

        Args:
            compute: `batch_size` is of rows; `compile` replays CUDA graphs.
        Raises ModelError or ValueError, naming the file and what is wrong with it.
        """
        compute = compute or Compute()
        files = located(options.files(download=True, audio=False))
        self.talker = load_talker(options, files["t2s"], compute)
        self.version = f"whisperspeech-t2s {files_digest(files)[:12]}/{compute.precision}"
        self.voices: Mapping[str, Voice] = voices(options)
        self.batch_size = BATCHES * self.talker.rows

    @property
    def usage(self) -> Mapping[str, float]:
        """Texts, retries and rejects."""
        return self.talker.usage

    def codebook(self) -> NDArray[np.float32]:
        """Return the frozen rows, float32 (513, 64), that are the tokenizer's where the tokens mean the same."""
        return self.talker.t2s.codebook

    def speak_all(self, requests: Sequence[Request]) -> list[Spoken | SpeechError]:
        """Return the tokens of each text, as `Engine.speak_all` says."""
        talker, no_pause = self.talker, np.zeros(0, np.uint16)
        with room(talker.rows):
            answers = speak_requests(requests, talker.options, talker.t2s.most_bytes, talker.tokens, no_pause)
        talker.count(answers)
        return answers
