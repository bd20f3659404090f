"""The real rows that generate_rows.py varies: read, cut into words and what stands between them, with their kinds.

A data folder holds JSON, JSON lines, or these with .gz; `pair_of` names the shapes of records that
are known. What a word may be replaced by depends on its kind: its ending, its case, whether it is a
name, how many digits it has. Grammar words, the most frequent words, URLs, code and formulas have no
kind and stay.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from filters.function_words import ENGLISH, FOREIGN  # noqa: E402

EXAMPLES = ROOT / "examples" / "instructions.jsonl"
SHORT_CHARS = 400
REPLACED = 0.45  # of a prompt's content words; more of them where there are fewer than 12, all of 3
FEWEST_WORDS = 2  # a prompt with fewer content words would be the same in row after row
KEPT_FREQUENT = 300  # words that stay: "following", "sentence", "answer" are evidence for the rules
LARGEST_POOL, SMALLEST_POOL = 65_536, 20

Ids = NDArray[np.int32]
Rows = NDArray[np.int64]

# A word stands between spaces or plain punctuation; what touches other signs (URLs, code, formulas) stays.
_WORD = re.compile(
    r"((?<![^\s\"'(\[$£€])(?:[A-Za-z]+|\d+(?:[,.]\d+)*)(?=(?:'s)?[.,;:!?\"')\]]*(?:\s|$))|[\u4e00-\u9fff]{2})"
)
_CODE_LINE = re.compile(r"^((?:[ ]{2}|\t)[^\n]*|[^\n]*(?:[;{}]|\)):?)$", re.MULTILINE)
_SUFFIX = re.compile(r"(?:ing|ed|ly|s|er|ion)$")


@dataclass(frozen=True)
class Texts:
    """Texts as numbers of pieces, one after another: text k is `ids[starts[k] : starts[k + 1]]`."""

    ids: Ids
    starts: Rows


@dataclass(frozen=True)
class Corpus:
    """The real rows, cut into words and what stands between them.

    Attributes:
        pieces: every piece once, string.
        kinds: of each piece: 0 stays, k is replaced by one of pool k.
        pools: the pieces of each kind, as often as they occur: pool k is `pools[pool_starts[k] : pool_starts[k + 1]]`.
        content: of each row: words in its prompt that can be replaced.
        words: of each row: words in its prompt, between white space.
        spare: words for near duplicates.
    """

    pieces: pa.Array
    kinds: Ids
    pools: Ids
    pool_starts: Rows
    prompts: Texts
    answers: Texts
    content: Rows
    words: Ids
    spare: list[str]


def read_pairs(data: Path | None) -> Iterator[tuple[str, str]]:
    """Yield (prompt, answer) of every record in a folder's files, or of the examples."""
    paths = [EXAMPLES] if data is None else sorted(data.iterdir())
    for path in paths:
        name = path.name.removesuffix(".gz")
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if name.endswith(".jsonl"):
            yield from filter(None, (pair_of(orjson.loads(line)) for line in content.splitlines()))
        elif name.endswith(".json"):
            value = orjson.loads(content)
            splits = value.values() if isinstance(value, dict) else [value]
            yield from filter(None, (pair_of(record) for split in splits for record in split))


def pair_of(record: Any) -> tuple[str, str] | None:
    """Return (prompt, answer) of a record of any of the shapes, without answer (prompt, ""); else None."""
    if isinstance(record, list):  # clinc150: text, intent
        return record[0], ""
    if turns := record.get("messages") or record.get("conversations"):
        texts = [turn.get("content") or turn.get("value") or "" for turn in turns if turn.get("role") != "system"]
        return (texts[0], texts[1]) if len(texts) > 1 else (texts[0], "") if texts else None
    prompt = record.get("instruction") or record.get("question") or record.get("prompt")
    if not prompt:
        return None
    answer = record.get("response") or record.get("answer") or record.get("completion") or ""
    answer = answer[0] if isinstance(answer, list) else answer
    given = record.get("input")
    return f"{prompt}\n{given}" if given else prompt, answer.removesuffix("<|endoftext|>")


def cut(text: str) -> list[str]:
    """Return the pieces of a text: what stays and words in turn, beginning and ending with what stays."""
    pieces = [""]
    for position, part in enumerate(_CODE_LINE.split(text)):
        if position % 2:
            pieces[-1] += part
        else:
            first, *more = _WORD.split(part)
            pieces[-1] += first
            pieces += more
    return pieces


def read_corpus(data: Path | None, most_chars: int | None) -> Corpus:
    """Read and cut the real rows, with prompts of at most so many characters; leave out those that would be the same.

    Raises ValueError where none is left.
    """
    number: defaultdict[str, int] = defaultdict(count().__next__)
    cuts: tuple[list[Ids], list[Ids]] = ([], [])
    words: list[int] = []
    for prompt, answer in read_pairs(data):
        if most_chars is None or len(prompt) <= most_chars:
            for texts, text in zip(cuts, (prompt, answer), strict=True):
                texts.append(np.fromiter(map(number.__getitem__, cut(text)), np.int32))
            words.append(len(prompt.split()))
    if not words:
        raise ValueError(f"no row in {data or EXAMPLES} can be used")
    pieces = list(number)
    tallies = np.bincount(np.concatenate([*cuts[0], *cuts[1]]), minlength=len(pieces))
    shapes = shapes_of(pieces, tallies)
    kinds, pools, pool_starts = make_pools(shapes, tallies)
    content = np.array([np.count_nonzero(kinds[ids]) for ids in cuts[0]])
    usable = np.flatnonzero(content >= FEWEST_WORDS)
    if not len(usable):
        raise ValueError(f"no prompt in {data or EXAMPLES} has {FEWEST_WORDS} words that can be replaced")
    prompts, answers = (joined([texts[k] for k in usable]) for texts in cuts)
    spare = [piece for piece, shape in zip(pieces, shapes, strict=True) if shape and shape.startswith("lower")]
    n_words = np.array(words, np.int32)[usable]
    return Corpus(pa.array(pieces), kinds, pools, pool_starts, prompts, answers, content[usable], n_words, spare)


def replaced_share(content: Rows) -> NDArray[np.float64]:
    """Return the share of their content words that prompts with so many have replaced, 0 to 1."""
    return np.clip(1 - (1 - REPLACED) * (content - 3) / 9, REPLACED, 1)


def joined(texts: list[Ids]) -> Texts:
    """Return texts one after another."""
    return Texts(np.concatenate(texts), np.cumsum([0, *map(len, texts)]))


def shapes_of(pieces: list[str], tallies: Rows) -> list[str | None]:
    """Return what each piece may be replaced by: a name of its kind, or None where it stays."""
    tally = dict(zip(pieces, tallies.tolist(), strict=True))
    in_any_case: Counter[str] = Counter()
    for piece in filter(str.isalpha, pieces):
        in_any_case[piece.lower()] += tally[piece]
    stay = ENGLISH | FOREIGN | {word for word, _ in in_any_case.most_common(KEPT_FREQUENT)}

    def shape(piece: str) -> str | None:
        if piece[:1].isdigit():
            return re.sub(r"\d", "0", piece)
        if "\u4e00" <= piece[:1] <= "\u9fff" and len(piece) == 2:
            return "chinese"
        if not (piece.isascii() and piece.isalpha()) or len(piece) < 2 or piece.lower() in stay:
            return None
        suffix = match[0] if (match := _SUFFIX.search(piece)) else ""
        if piece.islower() or piece.isupper():
            return f"{'lower' if piece.islower() else 'upper'} {suffix}"
        common = tally.get(piece.lower(), 0) > tally[piece] / 4
        return (f"title {suffix}" if common else "name") if piece.istitle() else None

    return [shape(piece) for piece in pieces]


def make_pools(shapes: list[str | None], tallies: Rows) -> tuple[Ids, Ids, Rows]:
    """Return (kinds, pools, pool_starts), as `Corpus` has them."""
    kinds = np.zeros(len(shapes), np.int32)
    pools: list[Ids] = [np.zeros(0, np.int32)]
    members: defaultdict[str, list[int]] = defaultdict(list)
    for piece, shape in enumerate(shapes):
        if shape is not None:
            members[shape].append(piece)
    for ids in map(np.array, members.values()):
        if len(ids) >= SMALLEST_POOL:
            ends = np.cumsum(tallies[ids])
            size = min(int(ends[-1]), LARGEST_POOL)
            kinds[ids] = len(pools)
            pools.append(ids[np.searchsorted(ends, np.arange(size) * ends[-1] // size, side="right")].astype(np.int32))
    return kinds, np.concatenate(pools), np.cumsum([0, *map(len, pools)])
