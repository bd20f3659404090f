"""Requests to pieces that a model can hold, spoken together, again where they failed, and joined."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts.engine import Request, SpeechError, Spoken
from tts.text_pieces import split_text
from tts.whisperspeech_options import MOST_CPS, WPM_PER_CPS, WhisperSpeechOptions

# Upstream's byte 0 is its padding, and no control character was ever spoken.
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Piece:
    """A piece of a request's text: by whom, how fast, and what its draws are seeded with."""

    text: str
    voice: str
    cps: float
    seed: int
    number: int


Made = NDArray[np.int16] | NDArray[np.uint16]
Speak = Callable[[Sequence[Piece], int], Sequence[Made | str]]
"""Pieces and the attempt's number, from 0, to what was made of each, or why it cannot be taken."""


def pieces_of(request: Request, options: WhisperSpeechOptions, most_bytes: int) -> list[Piece]:
    """Return a request's text in pieces of at most `most_bytes` bytes of UTF-8 and `piece_seconds` at its rate.

    Raises ValueError for a voice or rate that there is not, SpeechError for a text that is blank or no Unicode.
    """
    voice, rate = request.delivery.voice, request.delivery.rate_wpm
    if voice not in options.speakers:
        raise ValueError(f"unknown voice {voice!r}; there are {', '.join(options.speakers)}")
    cps = rate / WPM_PER_CPS if options.cps is None else options.cps
    if not 0 < cps <= MOST_CPS:
        raise ValueError(f"rate_wpm {rate} is outside what is known, up to {MOST_CPS * WPM_PER_CPS:g}")
    text = _NOT_TEXT.sub(" ", request.text).strip()
    if not text:
        raise SpeechError("the text is blank: there is nothing to speak")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SpeechError(f"the text holds a lone surrogate at character {error.start}: no valid Unicode") from error
    most_characters = int(options.piece_seconds * cps)
    parts = split_text(text, lambda part: len(part) <= most_characters and len(part.encode()) <= most_bytes)
    return [Piece(part, voice, cps, request.seed, number) for number, part in enumerate(parts)]


def speak_requests(
    requests: Sequence[Request], options: WhisperSpeechOptions, most_bytes: int, speak: Speak, pause: Made
) -> list[Spoken | SpeechError]:
    """Return for each request its pieces joined by `pause`, or why it could not be spoken.

    A piece that failed is spoken again with other draws, beside all others that failed; without draws, at
    temperature 0, it would come out the same, so there is one attempt.
    """
    answers: list[Spoken | SpeechError | None] = [None] * len(requests)
    cut: dict[int, list[Piece]] = {}
    for number, request in enumerate(requests):
        try:
            cut[number] = pieces_of(request, options, most_bytes)
        except SpeechError as error:
            answers[number] = error
    waiting = [(number, piece) for number, pieces in cut.items() for piece in pieces]
    made: dict[tuple[int, int], Made] = {}
    faults: dict[tuple[int, int], list[str]] = {(number, piece.number): [] for number, piece in waiting}
    for attempt in range(options.attempts if options.temperature else 1):
        if not waiting:
            break
        again = []
        for (number, piece), found in zip(waiting, speak([piece for _, piece in waiting], attempt), strict=True):
            if isinstance(found, str):
                faults[number, piece.number].append(found)
                again.append((number, piece))
            else:
                made[number, piece.number] = found
        waiting = again
    for number, pieces in cut.items():
        answers[number] = _joined(pieces, number, made, faults, pause)
    return [answer for answer in answers if answer is not None]


def _joined(
    pieces: Sequence[Piece],
    number: int,
    made: dict[tuple[int, int], Made],
    faults: dict[tuple[int, int], list[str]],
    pause: Made,
) -> Spoken | SpeechError:
    """Return a request's pieces as one, or what was wrong with the first that failed to the last."""
    parts: list[Made] = []
    for piece in pieces:
        found = faults[number, piece.number]
        if (number, piece.number) not in made:
            place = f"piece {piece.number + 1} of {len(pieces)}: " if len(pieces) > 1 else ""
            tries = f" ({len(found)} attempts; before: {'; '.join(found[:-1])})" if len(found) > 1 else ""
            return SpeechError(f"{place}{found[-1]}{tries}")
        parts += [pause, made[number, piece.number]] if parts else [made[number, piece.number]]
    attempts = 1 + max(len(faults[number, piece.number]) for piece in pieces)
    joined = np.concatenate(parts)
    if joined.dtype == np.uint16:
        return Spoken(np.zeros(0, np.int16), joined.astype(np.uint16, copy=False), attempts)
    return Spoken(joined.astype(np.int16, copy=False), None, attempts)
