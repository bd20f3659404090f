"""The voice, rate and pitch that a row draws: a pure function of the seed and the row's id."""

import hashlib
from collections.abc import Sequence

from tts.engine import Delivery


def draw_delivery(
    seed: int,
    row_id: str,
    voices: Sequence[str],
    rate_wpm: tuple[int, int],
    pitch: tuple[int, int],
) -> Delivery:
    """Draw one of `voices`, a rate and a pitch, each uniform and independent of the others.

    Both ranges include their ends. The draw hashes (seed, row_id) with BLAKE2b, so worker, order,
    process and platform cannot matter; only the order of `voices` does.
    Raises ValueError if `voices` is empty or a range runs backwards.
    """
    if not voices:
        raise ValueError("no voices to draw from: give at least one voice id")
    for name, (low, high) in (("rate_wpm", rate_wpm), ("pitch", pitch)):
        if low > high:
            raise ValueError(f"{name} range {low}..{high} runs backwards: give the low end first")
    key = f"{seed}:{row_id}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(key, digest_size=24, person=b"tts delivery").digest()
    return Delivery(
        voice=voices[_below(len(voices), digest[0:8])],
        rate_wpm=rate_wpm[0] + _below(rate_wpm[1] - rate_wpm[0] + 1, digest[8:16]),
        pitch=pitch[0] + _below(pitch[1] - pitch[0] + 1, digest[16:24]),
    )


def _below(n: int, word: bytes) -> int:
    """Map 8 random bytes to 0..n-1; the bias is below n / 2**64."""
    return int.from_bytes(word, "big") * n >> 64
