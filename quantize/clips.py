"""Recordings to the clips that a tokenizer takes: its sample rate, pieces of at most its window."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quantize.audio import resample
from quantize.tokenizer import Ids, Samples, Tokenizer

SEARCH_SECONDS = 5.0
"""How far before the limit a quiet place is sought."""
QUIET_SECONDS = 0.1
"""How long it must be; Ichigo's, whose pieces are of 20 s (janhq/ichigo PR #192)."""


CUTS_PER_SECOND = 25


def pieces(samples: Samples, sample_rate_hz: int, tokenizer: Tokenizer) -> list[Samples]:
    """Return float32 (n_samples,) at `sample_rate_hz` as clips at the tokenizer's rate, cut where it is quiet.

    One clip where it fits. Cuts stand at whole tokens, so that no token is lost between two pieces.
    """
    at_rate = resample(samples, sample_rate_hz, tokenizer.sample_rate_hz)
    cuts = quiet_cuts(at_rate, tokenizer.sample_rate_hz, tokenizer.max_seconds)
    return np.split(at_rate, cuts)


def quiet_cuts(samples: Samples, sample_rate_hz: int, max_seconds: float) -> list[int]:
    """Return the sample positions at which to cut float32 (n_samples,), so that no piece is longer than `max_seconds`.

    Each lies at the centre of the quietest 100 ms (mean square; of equals the last) in the 5 s before the
    limit, on a whole 40 ms from the piece's beginning: one token of
    WhisperVQ, three frames of Encodec.
    """
    step = sample_rate_hz // CUTS_PER_SECOND
    longest = int(max_seconds * sample_rate_hz) // step * step
    reach = min(int(SEARCH_SECONDS * sample_rate_hz), longest // 2)
    cuts: list[int] = []
    start = 0
    while samples.size - start > longest:
        first = (longest - reach) // step * step
        places = np.arange(first, longest + 1, step)
        loudness = _mean_squares(samples, start + places, int(QUIET_SECONDS * sample_rate_hz))
        start += int(places[len(places) - 1 - int(loudness[::-1].argmin())])
        cuts.append(start)
    return cuts


def _mean_squares(samples: Samples, centres: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Return the mean square of `width` samples around each place."""
    begin = max(int(centres[0]) - width, 0)
    part = samples[begin : int(centres[-1]) + width].astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(part**2)])
    low = np.clip(centres - width // 2 - begin, 0, part.size)
    high = np.clip(centres + width // 2 - begin, 0, part.size)
    squares: NDArray[np.float64] = (sums[high] - sums[low]) / np.maximum(high - low, 1)
    return squares


def encode_recordings(recordings: Sequence[tuple[Samples, int]], tokenizer: Tokenizer) -> list[Ids]:
    """Return the ids of each recording, float32 (n_samples,) with its rate in Hz, of any length."""
    parts = [pieces(samples, rate, tokenizer) for samples, rate in recordings]
    ids = iter(tokenizer.encode([piece for clip in parts for piece in clip]))
    return [np.concatenate([next(ids) for _ in clip]) for clip in parts]
