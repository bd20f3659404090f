"""What both engines of WhisperSpeech begin with: a T2S on its device, and how texts go through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from quantize.computing import DTYPES, device_of, item_bytes
from quantize.models import ModelError
from quantize.tokenizer import Compute
from tts.decoding import Sampling, row_key
from tts.engine import SpeechError, Spoken, Voice
from tts.piecewise import Piece
from tts.plausible import token_fault
from tts.t2s import T2S, TOKENS_PER_SECOND
from tts.transformer import place_model
from tts.whisperspeech_options import WhisperSpeechOptions

CPU_ROWS = 8
MOST_ROWS = 256
"""More rows make a step no faster for each, and other work wait longer."""
MEMORY_SHARE = 0.6
"""Of the free memory that rows may take for good; encoding a batch needs some for a while."""
BATCHES = 4
"""That are taken at once, so that the rows of each can be of about the same length."""


@dataclass
class Talker:
    """A T2S on its device, with how it is asked. `usage` counts texts, attempts beyond the first, and rejects."""

    t2s: T2S
    options: WhisperSpeechOptions
    compute: Compute
    on: torch.device
    rows: int
    usage: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("texts", "retries", "rejects"), 0.0))

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn."""
        return Sampling(self.options.temperature, self.options.top_k)

    def tokens(self, pieces: Sequence[Piece], attempt: int) -> list[NDArray[np.uint16] | str]:
        """Return uint16 (n_tokens,) for each piece, or why what was made cannot be its speech."""
        found: list[NDArray[np.uint16] | str] = [""] * len(pieces)
        for batch in batches([len(piece.text.encode()) for piece in pieces], self.rows):
            rows = [pieces[number] for number in batch]
            decoded = self.t2s.generate(
                [piece.text for piece in rows],
                [row_key(piece.seed, "t2s", piece.number, attempt) for piece in rows],
                self.sampling,
                language=self.options.language,
                cps=[piece.cps for piece in rows],
                graphs=self.compute.compile,
            )
            for number, piece, row in zip(batch, rows, decoded, strict=True):
                fault = token_fault(
                    row.tokens[0], row.stopped, piece.text, piece.cps, TOKENS_PER_SECOND, self.options.plausible
                )
                found[number] = fault or row.tokens[0].astype(np.uint16)
        return found

    def count(self, answers: Sequence[Spoken | SpeechError]) -> None:
        """Add to what was used."""
        self.usage["texts"] += len(answers)
        self.usage["rejects"] += sum(isinstance(answer, SpeechError) for answer in answers)
        self.usage["retries"] += sum(answer.attempts - 1 for answer in answers if isinstance(answer, Spoken))


def load_talker(
    options: WhisperSpeechOptions, path: Path, compute: Compute, memory_share: float = MEMORY_SHARE
) -> Talker:
    """Load a T2S. Raises ValueError, naming the file, for a checkpoint that is not implemented."""
    on = device_of(compute)
    t2s = T2S(path)
    place_model(t2s, on, DTYPES[compute.precision])
    row = t2s.decoder.bytes_per_row(t2s.context, t2s.text_places, item_bytes(compute))
    rows = rows_that_fit(row, on, compute, memory_share)
    return Talker(t2s, options, compute, on, rows)


def rows_that_fit(bytes_per_row: int, on: torch.device, compute: Compute, memory_share: float) -> int:
    """Return how many rows a batch has: as asked for, else a power of two that the GPU's free memory allows, else 8."""
    if compute.batch_size is not None:
        return compute.batch_size
    if on.type != "cuda":
        return CPU_ROWS
    free, total = torch.cuda.mem_get_info(on)
    rows = int(memory_share * min(free, total * compute.gpu_share) / bytes_per_row)
    return min(MOST_ROWS, 1 << max(0, rows.bit_length() - 1))


def batches(lengths: Sequence[int], rows: int) -> Iterator[list[int]]:
    """Yield the numbers of each batch, those of about equal length together."""
    order = sorted(range(len(lengths)), key=lambda number: (lengths[number], number))
    for start in range(0, len(order), rows):
        yield order[start : start + rows]


@contextmanager
def room(rows: int) -> Iterator[None]:
    """Say of a GPU without room for that many rows what it is."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(f"the GPU has no room for {rows} rows, so set a smaller batch_size: {error}") from error


def located(files: Mapping[str, Path | None]) -> dict[str, Path]:
    """Return the files by role. Raises ModelError for one that is not here."""
    if missing := [role for role, path in files.items() if path is None]:
        raise ModelError(f"{missing[0]} is not in the Hub's cache")
    return {role: path for role, path in files.items() if path is not None}


def voices(options: WhisperSpeechOptions) -> dict[str, Voice]:
    """Return a voice for each speaker; a vector does not say how it sounds."""
    return {name: Voice(name, "unknown", "unknown") for name in options.speakers}
