"""The engine `whisperspeech`: text to sound tokens (T2S), to EnCodec's codes (S2A), to a waveform (Vocos), in batches.

Source: collabora/WhisperSpeech 0.8.9 `pipeline.py`, for its checkpoints, without its package. docs/tts_whisperspeech.md
says what is the same and what is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from quantize.computing import DTYPES, item_bytes
from quantize.models import files_digest
from quantize.tokenizer import Compute
from tts.decoding import row_key
from tts.engine import Request, SpeechError, Spoken, Voice
from tts.piecewise import Piece, speak_requests
from tts.plausible import audio_fault
from tts.s2a import S2A
from tts.t2s import T2S
from tts.talker import BATCHES, MEMORY_SHARE, batches, load_talker, located, room, rows_that_fit, voices
from tts.transformer import place_model
from tts.vocos import SAMPLE_RATE_HZ, Vocos
from tts.whisperspeech_options import WhisperSpeechOptions
from tts.whisperspeech_speakers import load_speaker

FULL_SCALE = 32_767
SAME_ROWS = 0.9
"""Of two codebooks of one family at least: they are equal where nobody trained on."""


class WhisperSpeech:
    """Speech of texts, int16 at 24 kHz. Used by one thread.

    A text's draws depend on its request alone; so does its speech, but for choices that rounding decides, which depends
    on the batch's shape: the same requests together give the same bytes.
    """

    name = "whisperspeech"
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, options: WhisperSpeechOptions, compute: Compute | None = None) -> None:
        """Load the models, from the Hub where they are not here, and the speakers.

        Args:
            compute: `precision` is that of T2S and S2A; `batch_size` is of rows; `compile` replays CUDA graphs.
        Raises ModelError or ValueError, naming the file and what is wrong with it.
        """
        compute = compute or Compute()
        files = located(options.files(download=True))
        self.speakers = {name: load_speaker(where) for name, where in options.speakers.items()}
        self.talker = load_talker(options, files["t2s"], compute, MEMORY_SHARE / 3)
        self.s2a = S2A(files["s2a"])
        self._check(files["s2a"].name)
        place_model(self.s2a, self.talker.on, DTYPES[compute.precision])
        self.vocos = Vocos(files["config.yaml"], files["pytorch_model.bin"]).to(self.talker.on)
        row = self.s2a.decoder.bytes_per_row(self.s2a.context, self.s2a.sound_places, item_bytes(compute))
        self.rows = rows_that_fit(row, self.talker.on, compute, 2 * MEMORY_SHARE / 3)
        self.version = f"whisperspeech {files_digest(files)[:12]}/{compute.precision}"
        self.voices: Mapping[str, Voice] = voices(options)
        self.batch_size = BATCHES * self.rows

    @property
    def usage(self) -> Mapping[str, float]:
        """Texts, retries and rejects."""
        return self.talker.usage

    def speak_all(self, requests: Sequence[Request]) -> list[Spoken | SpeechError]:
        """Return the speech of each text, as `Engine.speak_all` says."""
        talker = self.talker
        pause = np.zeros(round(talker.options.pause_seconds * SAMPLE_RATE_HZ), np.int16)
        with room(self.rows):
            answers = speak_requests(requests, talker.options, talker.t2s.most_bytes, self._speak, pause)
        talker.count(answers)
        return answers

    def _speak(self, pieces: Sequence[Piece], attempt: int) -> list[NDArray[np.int16] | str]:
        """Return int16 (n_samples,) of each piece, or why what was made cannot be its speech."""
        tokens = self.talker.tokens(pieces, attempt)
        found: list[NDArray[np.int16] | str] = [row if isinstance(row, str) else "" for row in tokens]
        sounds = {number: row.astype(np.int64) for number, row in enumerate(tokens) if not isinstance(row, str)}
        numbers = list(sounds)
        for batch in batches([len(row) for row in sounds.values()], self.rows):
            rows = [numbers[place] for place in batch]
            speakers = torch.from_numpy(np.stack([self.speakers[pieces[number].voice] for number in rows]))
            keys = [row_key(pieces[number].seed, "s2a", pieces[number].number, attempt) for number in rows]
            codes = self.s2a.generate(
                [sounds[number] for number in rows],
                speakers,
                keys,
                self.talker.sampling,
                graphs=self.talker.compute.compile,
            )
            for number, samples in zip(rows, self.vocos.decode(codes), strict=True):
                fault = audio_fault(samples, self.talker.options.plausible)
                found[number] = fault or np.rint(samples.clip(-1, 1) * FULL_SCALE).astype(np.int16)
        return found

    def _check(self, name: str) -> None:
        """Raise ValueError unless T2S, S2A and the speakers go together."""
        t2s, s2a = self.talker.t2s, self.s2a
        if s2a.most_tokens < t2s.context - 1 or s2a.sound_codes < t2s.codes:
            raise ValueError(
                f"{name} takes {s2a.most_tokens} tokens of {s2a.sound_codes} codes, and the T2S makes "
                f"{t2s.context - 1} of {t2s.codes}"
            )
        if (same := _same_rows(t2s, s2a)) < SAME_ROWS:
            raise ValueError(
                f"{name} was made for other sound tokens than the T2S: {same:.0%} of its codebook's rows are nearest "
                "to the T2S's of the same number. Take both of one family, such as 7lang and 8lang, or en+pl"
            )
        for voice, vector in self.speakers.items():
            if vector.size != s2a.speaker_width:
                raise ValueError(f"speaker {voice} has {vector.size} numbers, and {name} takes {s2a.speaker_width}")


def _same_rows(t2s: T2S, s2a: S2A) -> float:
    """Return the share of the T2S's codes whose row is nearest to the S2A's row of the same number."""
    ours = torch.from_numpy(t2s.codebook)
    theirs = s2a.sounds.weight[: len(ours)].float()
    if ours.shape != theirs.shape:
        return 0.0
    nearest = torch.cdist(ours, theirs).argmin(1)
    return float((nearest == torch.arange(len(ours))).float().mean())
