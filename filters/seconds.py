"""How long a written prompt takes to say, foretold from its letters: no speech is made.

The measure is eSpeak NG 1.52 at 170 words a minute, the middle of the recipes' 150 to 190. Time is
linear in counts of pairs of neighbouring bytes, so one table look-up per byte does it. The pairs
were chosen and the milliseconds fitted by benchmarks/fit_seconds.py, which makes them again from a
file of prompts: 1,500 real ones of at most 300 characters (GSM8K, GPTeacher, P3, Natural Questions,
CLINC150, InstructionWild, 28 of them Chinese), each in the next of the 20 voices. On 500 others the
error is 5.1 % in the mean and 11.6 % at the 90th percentile; voices differ by as much. Scripts
other than Latin, Chinese and Japanese were not fitted.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

_EDGE = b"\0"  # stands before the first byte and after the last
_SPACES = b" \t\n\r\v\f"
_DIGITS = b"0123456789"
_CAPITALS = bytes(range(65, 91))
_SIGNS = b"$%&@#+=*/\\<>^~|_`"  # read as words
_CHINESE = bytes(range(0xE3, 0xEA))  # these bytes open a Chinese character or Japanese kana in UTF-8
_LETTERS = _CAPITALS + _CAPITALS.lower() + bytes((*range(0xC3, 0xE2), *range(0xEA, 0xEE)))  # or open one


def _all_but(left_out: bytes) -> bytes:
    return bytes(byte for byte in range(256) if byte not in left_out)


# What costs time: the bytes that stand before, and the bytes that follow them.
PAIRS: dict[str, tuple[bytes, bytes]] = {
    "text": (_all_but(_SPACES + _EDGE), _EDGE),
    "word": (_all_but(_LETTERS + b"'"), _LETTERS),
    "letter": (_all_but(b""), _LETTERS),
    "vowel": (_all_but(b""), b"aeiouyAEIOUY"),
    "ch gh ph sh th wh": (b"cgpstwCGPSTW", b"h"),
    "capital after a capital": (_CAPITALS, _CAPITALS),
    "number": (_all_but(_DIGITS + b".,"), _DIGITS),
    "digit": (_all_but(b""), _DIGITS),
    "end of a sentence": (b".?!", _SPACES + _EDGE),
    "comma": (b",;:", _SPACES + _EDGE),
    "sign": (_all_but(b""), _SIGNS),
    "quote, bracket, hyphen": (_all_but(b""), b'"()[]{}-'),
    "Chinese character": (_all_but(b""), _CHINESE),
}
MILLISECONDS = {
    "text": 356,
    "word": 57,
    "letter": 74,
    "vowel": -48,
    "ch gh ph sh th wh": -82,
    "capital after a capital": 53,
    "number": 39,
    "digit": 237,
    "end of a sentence": 138,
    "comma": 317,
    "sign": 358,
    "quote, bracket, hyphen": 120,
    "Chinese character": 670,
}
_TEXTS_AT_ONCE = 512  # bounds the memory; the sums are of integers, so nothing else depends on it


def predict_seconds(texts: Sequence[str]) -> list[float]:
    """Predicted speaking time of each text in seconds: float >= 0, and 0 for a text without a sign in it.

    >>> predict_seconds(["", " ", "Hi", "What is the capital of Peru?", "Add 25 to 1,000."])
    [0.0, 0.0, 0.513, 1.868, 2.382]

    Kept by a threshold of 3 seconds:

    >>> predict_seconds(["Why do cats purr, and do lions as well?", "Name five rivers of Peru."])
    [2.908, 1.827]

    Rejected by it, the second for what its digits take to say:

    >>> predict_seconds(["Describe a day in the life of a lighthouse keeper in winter.", "Is 4,096 over 3.14159265?"])
    [3.428, 4.067]
    """
    seconds: list[float] = (np.maximum(sum_pairs(texts, _costs()), 0) / 1000).tolist()
    return seconds


@cache
def _costs() -> NDArray[np.int32]:
    return pair_table(MILLISECONDS)


def pair_table(milliseconds: Mapping[str, int]) -> NDArray[np.int32]:
    """What a byte costs after another: int32 (65536,), at 256 times the byte before plus the byte.

    >>> int(pair_table({"digit": 232})[256 * ord("x") + ord("7")])
    232
    """
    table = np.zeros((256, 256), np.int32)
    for name, cost in milliseconds.items():
        before, here = PAIRS[name]
        table[np.ix_(list(before), list(here))] += np.int32(cost)
    return table.ravel()


def sum_pairs(texts: Sequence[str], table: NDArray[np.int32]) -> NDArray[np.int64]:
    """The sum of `table` over the neighbouring bytes of each text: int64 (n_texts,).

    >>> sum_pairs(["a1", "", "23"], pair_table({"digit": 1})).tolist()
    [1, 0, 2]
    """
    sums = np.zeros(len(texts), np.int64)
    for first in range(0, len(texts), _TEXTS_AT_ONCE):
        encoded = [text.encode("utf-8", "replace") + _EDGE for text in texts[first : first + _TEXTS_AT_ONCE]]
        line = np.frombuffer(_EDGE + b"".join(encoded), np.uint8)
        costs = table.take(line[:-1].astype(np.uint16) << 8 | line[1:])
        lengths = np.fromiter(map(len, encoded), np.intp)
        starts = np.cumsum(lengths) - lengths
        sums[first : first + len(encoded)] = np.add.reduceat(costs, starts, dtype=np.int64)
    return sums
