"""How long a prompt is, in BPE tokens.

The vocabulary is GPT-2's (50,256 byte-level ranks), bundled as `gpt2.tiktoken` so that nothing is
fetched at run time. The file is the one in the PyPI package openai-whisper 20250625
(`whisper/assets/gpt2.tiktoken`, MIT licence, copyright 2022 OpenAI), unchanged:
sha256 306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930. Lines are
`base64(token bytes) rank`. The splitting pattern is GPT-2's (openai/gpt-2 `encoder.py`).

The original pipeline counted with GPT-4o's vocabulary, which has four times as many entries: its
counts for English are a few per cent lower than these. It is `o200k_base` here, for those who have
its file: tiktoken fetches it, or finds it where `TIKTOKEN_CACHE_DIR` points.
"""

import base64
import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tiktoken
from numpy.typing import NDArray

from filters.screen import arrow_column

VOCABULARIES = ("gpt2", "o200k_base")

_VOCABULARY = Path(__file__).with_name("gpt2.tiktoken")
_N_RANKS = 50_256
_SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The name under which tiktoken looks for a vocabulary: the SHA-1 of the address of its file.
_CACHE_FILE = {"o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790"}

# BPE merging is worse than linear in the length of one unbroken run, so runs are cut here: a word
# of more than this many characters may count one token more per cut.
_LONGEST_RUN = 1_000
_RUN = re.compile(rf"\S{{{_LONGEST_RUN}}}(?=\S)|\s{{{_LONGEST_RUN}}}(?=\s)")

# Both vocabularies split text before they merge bytes, and in both patterns a space begins a piece,
# or is one, unless white space stands on both of its sides; no look-ahead there depends on what
# follows. So the counts of the parts add up.
_PART = re.compile(r" (?:(?<=\S )|(?=\S))")
_SPACE = r"[\s\v\x1c-\x1f\x{85}\pZ]"  # of RE2's syntax
_INNER_SPACE = f"{_SPACE} (?:{_SPACE}|\\z)"
_LONGEST_KNOWN = 40
_MOST_KNOWN = 500_000


@cache
def load_ranks() -> dict[bytes, int]:
    """Token bytes -> rank, 50,256 of them. Raises `ValueError` when the file is not complete."""
    lines = _VOCABULARY.read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
    if len(ranks) != _N_RANKS:
        raise ValueError(f"{_VOCABULARY} holds {len(ranks)} tokens, not {_N_RANKS}: restore the file")
    return ranks


@cache
def _encoding(vocabulary: str) -> tiktoken.Encoding:
    if vocabulary == "gpt2":
        return tiktoken.Encoding("gpt2", pat_str=_SPLIT, mergeable_ranks=load_ranks(), special_tokens={})
    if vocabulary not in VOCABULARIES:
        raise ValueError(f"vocabulary {vocabulary!r} is unknown; valid: {', '.join(VOCABULARIES)}")
    try:
        return tiktoken.get_encoding(vocabulary)
    except (OSError, ValueError) as error:  # no network, no such file, or a file that is not the one it should be
        raise LookupError(
            f"the vocabulary {vocabulary} cannot be loaded ({type(error).__name__}): set TIKTOKEN_CACHE_DIR to a "
            f"folder that holds its file as {_CACHE_FILE[vocabulary]}, or take the bundled vocabulary gpt2"
        ) from error


def encode(text: str, vocabulary: str = "gpt2") -> list[int]:
    """Token ids; `<|endoftext|>` and the like are ordinary text here. Errors: see `count_tokens`.

    >>> encode("Hello world")
    [15496, 995]
    """
    encoding = _encoding(vocabulary)
    return [i for piece in _pieces(text) for i in encoding.encode_ordinary(piece)]


def _pieces(text: str) -> list[str]:
    """`text` itself, or cut inside its over-long runs, so that time stays linear in its length."""
    if len(text) <= _LONGEST_RUN:
        return [text]
    cuts = [0, *(run.end() for run in _RUN.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts)]


class _Counts(dict[str, int]):
    """A part of a text -> the tokens of `prefix` + part. What is known is bounded, and changes no count."""

    def __init__(self, vocabulary: str, prefix: str) -> None:
        self._vocabulary, self._prefix = vocabulary, prefix

    def __missing__(self, part: str) -> int:
        n_tokens = len(encode(self._prefix + part, self._vocabulary))
        if len(part) <= _LONGEST_KNOWN:
            if len(self) >= _MOST_KNOWN:
                self.clear()
            self[part] = n_tokens
        return n_tokens


@cache
def _counts(vocabulary: str) -> tuple[_Counts, _Counts]:
    """What is known of the first part of a text, and of a part after a space."""
    return _Counts(vocabulary, ""), _Counts(vocabulary, " ")


@cache
def _opens_part(vocabulary: str) -> NDArray[np.bool_]:
    """Tell of each token whether it begins with a space: bool (n_tokens,)."""
    encoding = _encoding(vocabulary)
    opens = np.zeros(encoding.n_vocab, bool)
    for token in encoding.token_byte_values():
        opens[encoding.encode_single_token(token)] = token[:1] == b" "
    return opens


def _look_up(known: _Counts, parts: Sequence[str], vocabulary: str) -> NDArray[np.int64]:
    """Return the tokens of each of some different parts.

    New ones that are short and plain are counted all in one text: each begins with a token that has a space.
    """
    counts = np.array([known.get(part, -1) for part in parts], np.int64)
    unknown = np.flatnonzero(counts < 0).tolist()
    new = [
        p for p in map(parts.__getitem__, unknown) if 0 < len(p) <= _LONGEST_KNOWN and p.isascii() and p.isprintable()
    ]
    if new:
        if len(known) + len(new) > _MOST_KNOWN:
            known.clear()
        tokens = np.array(_encoding(vocabulary).encode_ordinary(" " + " ".join(new)))
        begins = np.flatnonzero(_opens_part(vocabulary)[tokens])
        known.update(zip(new, np.diff(begins, append=len(tokens)).tolist(), strict=True))
    counts[unknown] = [known[parts[place]] for place in unknown]
    return counts


def _add_up(texts: pa.Array, vocabulary: str) -> NDArray[np.int64]:
    """Return the tokens of texts that can be cut at every space: each different part is looked up once."""
    opening, inner = _counts(vocabulary)
    parts = pc.split_pattern(texts, " ")
    coded = parts.flatten().dictionary_encode()
    of_part = _look_up(inner, coded.dictionary.to_pylist(), vocabulary)[coded.indices.to_numpy()]
    starts = parts.offsets.to_numpy()[:-1] - parts.offsets[0].as_py()
    first, at = np.unique(coded.indices.to_numpy()[starts], return_inverse=True)
    of_first = [opening[part] for part in coded.dictionary.take(pa.array(first)).to_pylist()]
    of_part[starts] = np.array(of_first, np.int64)[at]
    return np.asarray(np.add.reduceat(of_part, starts) if len(starts) else starts, np.int64)


def count_tokens(texts: Sequence[str], vocabulary: str = "gpt2") -> list[int]:
    """Tokens of `vocabulary` in each text: int >= 0, in the order of `texts`.

    Raises `LookupError` where tiktoken cannot load `o200k_base`, `ValueError` for other names.

    >>> count_tokens(["Hello world", "", "What is the capital of Peru?"])
    [2, 0, 7]
    >>> count_tokens(["<|endoftext|>"])  # ordinary text: seven pieces, not one
    [7]

    Kept by a threshold of 13:

    >>> count_tokens(["Why do cats purr, and do lions as well?", "Name five rivers of Peru."])
    [12, 6]

    Rejected by it:

    >>> count_tokens(["Describe a day in the life of a lighthouse keeper in winter.", "Is 4,096 more than 3.14159265?"])
    [14, 13]
    """
    _encoding(vocabulary)
    column = arrow_column(texts)
    inner_space = pc.match_substring_regex(column, _INNER_SPACE)
    counts = np.zeros(len(texts), np.int64)
    rows = inner_space.to_numpy(zero_copy_only=False)
    counts[~rows] = _add_up(column.filter(pc.invert(inner_space)), vocabulary)
    opening, inner = _counts(vocabulary)
    for row in np.flatnonzero(rows).tolist():
        first, *rest = _PART.split(texts[row])
        counts[row] = opening[first] + sum(map(inner.__getitem__, rest))
    answer: list[int] = counts.tolist()
    return answer
