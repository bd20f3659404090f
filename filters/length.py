"""How long a prompt is, in BPE tokens.

The vocabulary is GPT-2's (50,256 byte-level ranks), bundled as `gpt2.tiktoken` so that nothing is
fetched at run time. The file is the one in the PyPI package openai-whisper 20250625
(`whisper/assets/gpt2.tiktoken`, MIT licence, copyright 2022 OpenAI), unchanged:
sha256 306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930. Lines are
`base64(token bytes) rank`. The splitting pattern is GPT-2's (openai/gpt-2 `encoder.py`).

The original pipeline counted with GPT-4o's vocabulary, which has four times as many entries: its
counts for English are a few per cent lower than these.
"""

import base64
import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import tiktoken

_VOCABULARY = Path(__file__).with_name("gpt2.tiktoken")
_N_RANKS = 50_256
_SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# BPE merging is worse than linear in the length of one unbroken run, so runs are cut here: a word
# of more than this many characters may count one token more per cut.
_LONGEST_RUN = 1_000
_RUN = re.compile(rf"\S{{{_LONGEST_RUN}}}(?=\S)|\s{{{_LONGEST_RUN}}}(?=\s)")


@cache
def load_ranks() -> dict[bytes, int]:
    """Token bytes -> rank, 50,256 of them. Raises `ValueError` when the file is not complete."""
    lines = _VOCABULARY.read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
    if len(ranks) != _N_RANKS:
        raise ValueError(f"{_VOCABULARY} holds {len(ranks)} tokens, not {_N_RANKS}: restore the file")
    return ranks


@cache
def _encoding() -> tiktoken.Encoding:
    return tiktoken.Encoding("gpt2", pat_str=_SPLIT, mergeable_ranks=load_ranks(), special_tokens={})


def encode(text: str) -> list[int]:
    """GPT-2 token ids; `<|endoftext|>` and the like are ordinary text here.

    >>> encode("Hello world")
    [15496, 995]
    """
    return [i for piece in _pieces(text) for i in _encoding().encode_ordinary(piece)]


def _pieces(text: str) -> list[str]:
    """`text` itself, or cut inside its over-long runs, so that time stays linear in its length."""
    if len(text) <= _LONGEST_RUN:
        return [text]
    cuts = [0, *(run.end() for run in _RUN.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts)]


def count_tokens(texts: Sequence[str]) -> list[int]:
    """GPT-2 tokens in each text: int >= 0, in the order of `texts`.

    One thread, because the pipeline runs one worker a core.

    >>> count_tokens(["Hello world", "", "What is the capital of Peru?"])
    [2, 0, 7]
    >>> count_tokens(["<|endoftext|>"])  # ordinary text: seven pieces, not one
    [7]
    """
    encoding = _encoding()
    if any(len(text) > _LONGEST_RUN for text in texts):
        return [len(encode(text)) for text in texts]
    return [len(ids) for ids in encoding.encode_ordinary_batch(list(texts), num_threads=1)]
