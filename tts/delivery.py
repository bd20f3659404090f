"""The voice, rate and pitch that a row draws: a pure function of the seed and the row's id."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from tts.allocation import Candidate, shares
from tts.engine import Delivery


def draw_delivery(
    seed: int,
    row_id: str,
    voices: Sequence[str] | Sequence[Candidate],
    rate_wpm: tuple[int, int],
    pitch: tuple[int, int],
    reading: int = 0,
) -> Delivery:
    """Draw one of `voices` by its share, a rate and a pitch, each uniform; the three are independent.

    Both ranges include their ends. The draw hashes (seed, row_id) with BLAKE2b, so worker, order,
    process and platform cannot matter; only the order of `voices` does.

    Args:
        reading: which of several readings of the row; each has another voice, and draws rate and pitch anew.
    Raises ValueError if there are too few `voices` or a range runs backwards.
    """
    if len(voices) <= reading:
        raise ValueError(f"no voices to draw from: {len(voices)} for reading {reading + 1}; give at least one voice id")
    for name, (low, high) in (("rate_wpm", rate_wpm), ("pitch", pitch)):
        if low > high:
            raise ValueError(f"{name} range {low}..{high} runs backwards: give the low end first")
    left = [Candidate(voice) if isinstance(voice, str) else voice for voice in voices]
    for number in range(reading + 1):
        digest = _digest(seed, row_id if number == 0 else f"{row_id}/{number}", b"tts delivery")
        drawn = left.pop(_weighted(_shares(tuple(left)), digest[0:8]))
    return Delivery(
        voice=drawn.voice,
        rate_wpm=rate_wpm[0] + _below(rate_wpm[1] - rate_wpm[0] + 1, digest[8:16]),
        pitch=pitch[0] + _below(pitch[1] - pitch[0] + 1, digest[16:24]),
    )


def is_held_out(seed: int, row_id: str, share: float) -> bool:
    """Tell whether a row is one of the `share` that held-out voices speak."""
    return int.from_bytes(_digest(seed, row_id, b"tts held out")[:8], "big") < share * 2**64


_shares = lru_cache(maxsize=1024)(shares)  # of the voices that are left, whatever the row


def _digest(seed: int, row_id: str, use: bytes) -> bytes:
    key = f"{seed}:{row_id}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(key, digest_size=24, person=use).digest()


def _weighted(weights: Sequence[int], word: bytes) -> int:
    """Map 8 random bytes to a position, each as often as its weight says."""
    left = _below(sum(weights), word)
    for position, weight in enumerate(weights):
        if left < weight:
            return position
        left -= weight
    raise AssertionError("a number below the sum lies below one of the partial sums")


def _below(n: int, word: bytes) -> int:
    """Map 8 random bytes to 0..n-1; the bias is below n / 2**64."""
    return int.from_bytes(word, "big") * n >> 64
