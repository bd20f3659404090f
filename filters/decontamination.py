"""Training prompts that are benchmark prompts: the same words, or long runs of the same words.

Three rules decide, on texts as `duplicates.normalise` gives them (words joined by one space):

- *equal*: the row is a benchmark prompt, as written or as spoken.
- *holds*: the row has most words of one benchmark prompt, so that a prompt with another first
  sentence, with its sentences in another order or with an instruction added is found.
- *is part of*: one benchmark prompt has most words of the row: the question that ends a long passage.

A word is shared if it lies in a run of `Match.n` words that both texts have (an n-gram; one that a
text repeats counts once). Runs that many prompts have are templates: their words count neither way.
Not found: a short question with one word changed, a problem retold with other names, a paraphrase.

Runs are compared as 64-bit hashes. Expected false matches of runs, in all: (runs in rows) · (runs in
the index) / 2**64, 3e-4 for 6 million rows of 50 words and 16 million runs; most hits need six runs
at once. The hashes have no key: somebody who writes texts for that purpose can make them match.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]

_COLUMNS = ["hashes", "places", "starts", "counted", "prompts", "wholes", "whole_prompts"]
_FORMAT = "1"  # of a table; another way to hash makes saved tables useless and needs another number
_TEMPLATE = 2**32 - 1  # stands in the place of a run that many prompts have
_ROWS_AT_ONCE = 1000  # so that the arrays stay in the processor's cache
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio; 5 mod 8, so that two orders of 8 words differ in 60 bits
_MIX = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))  # SplitMix64's


@dataclass(frozen=True)
class Match:
    """What counts as contamination.

    `n`: words in a run; 8 as in PaLM (Chowdhery et al. 2022) and Tulu 3 (Lambert et al. 2024).
    `share`: of the prompt's or the row's words, that must be shared; a half as in Tulu 3.
    `least_words`: shared in any case, because half of a short question is no evidence; 13 as in
    GPT-3 (Brown et al. 2020). A prompt of `n` to `least_words` words must be in the row whole.
    `most_prompts`: a run that more prompts than these have is a template.
    """

    n: int = 8
    share: float = 0.5
    least_words: int = 13
    most_prompts: int = 10

    def __post_init__(self) -> None:
        if not (1 <= self.n <= self.least_words and 0 < self.share <= 1 <= self.most_prompts):
            raise ValueError(f"{self} needs 1 <= n <= least_words, 0 < share <= 1 and most_prompts >= 1")


class _Runs(NamedTuple):
    """Runs of words: hash, number of the first word, number of the text that has them."""

    hashes: Hashes
    places: Numbers
    owners: Numbers

    def take(self, chosen: NDArray[Any]) -> "_Runs":
        return _Runs(self.hashes[chosen], self.places[chosen], self.owners[chosen])

    def by_hash(self) -> "_Runs":
        return self.take(np.argsort(self.hashes, kind="stable"))


@dataclass(frozen=True, eq=False)
class Index:
    """The benchmark prompts as arrays. A *text* is a prompt in one form; of equal texts the first is kept."""

    match: Match
    hashes: Hashes  # sorted: the runs of all texts
    places: NDArray[np.uint32]  # of each run: the number of its first word, or `_TEMPLATE`
    starts: Numbers  # (n_texts + 1,): the number of each text's first word
    counted: NDArray[np.int32]  # (n_words + 1,): how many words before each are in no template
    prompts: NDArray[np.int32]  # (n_texts,): whose form each text is
    wholes: Hashes  # (n_texts,), sorted: the texts
    whole_prompts: NDArray[np.int32]  # (n_texts,): whose form each of `wholes` is

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """Return whether a hash begins with these bits: one read that settles most look-ups."""
        seen = np.zeros(2 ** max(10, (4 * len(self.hashes)).bit_length()), dtype=np.bool_)
        seen[_first_bits(self.hashes, seen)] = True
        return seen

    def find_runs(self, hashes: Hashes) -> Numbers:
        """Return int64: where `self.hashes` has each hash first, or -1."""
        found = np.full(len(hashes), -1, dtype=np.int64)
        maybe = np.flatnonzero(self.seen[_first_bits(hashes, self.seen)])
        maybe = maybe[np.argsort(hashes[maybe])]  # sorted questions go through the runs once: 5 times faster
        first = np.searchsorted(self.hashes, hashes[maybe])
        there = self.hashes[np.minimum(first, len(self.hashes) - 1)] == hashes[maybe]
        found[maybe[there]] = first[there]
        return found

    def to_table(self) -> pa.Table:
        """Return a table of one row, each array a list; in Parquet, `use_dictionary=False` writes 10 times faster."""
        arrays = [getattr(self, name) for name in _COLUMNS]
        lists = [pa.LargeListArray.from_arrays([0, len(array)], array) for array in arrays]
        return pa.table(lists, _COLUMNS).replace_schema_metadata(
            {"format": _FORMAT, "match": json.dumps(asdict(self.match))}
        )

    @classmethod
    def from_table(cls, table: pa.Table) -> "Index":
        """Return the index that `to_table` was called on. Raises ValueError for any other table."""
        metadata = table.schema.metadata or {}
        if metadata.get(b"format") != _FORMAT.encode() or table.column_names != _COLUMNS or len(table) != 1:
            raise ValueError(f"not an index of format {_FORMAT}, but columns {table.column_names}: build it again")
        arrays = {name: table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False) for name in _COLUMNS}
        return cls(match=Match(**json.loads(metadata[b"match"])), **arrays)


def _first_bits(hashes: Hashes, seen: NDArray[np.bool_]) -> Numbers:
    return (hashes >> np.uint64(65 - len(seen).bit_length())).astype(np.int64)


def _encoded(texts: Iterable[str]) -> list[bytes]:
    return [text.encode("utf-8", "surrogatepass") for text in texts]


def _digests(texts: Iterable[bytes]) -> Hashes:
    digests = [blake2b(text, digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _word_hashes(data: NDArray[np.uint8], begins: Numbers, ends: Numbers) -> Hashes:
    """Hash each `data[begin:end]`, 8 bytes of all words at a time; 8 more bytes must follow."""
    eights = np.ndarray(len(data) - 7, dtype="<u8", buffer=data.data, strides=(1,))  # the 8 bytes from each byte on
    hashes = (ends - begins).astype(np.uint64)
    left, at = np.arange(len(begins)), begins
    while len(left):
        n_bytes = np.minimum(ends[left] - at, 8)
        kept = np.uint64(2**64 - 1) >> (64 - 8 * n_bytes).astype(np.uint64)
        mixed = (hashes[left] + _ODD) ^ (eights[at] & kept)
        for bits, factor in _MIX:
            mixed = (mixed ^ (mixed >> bits)) * factor
        hashes[left] = mixed ^ (mixed >> np.uint64(31))
        more = at + n_bytes < ends[left]
        left, at = left[more], (at + n_bytes)[more]
    return hashes


def _words(texts: Sequence[bytes]) -> tuple[Hashes, Numbers]:
    """Return a hash for every word, and int64 (n_texts + 1,): the number of each text's first word."""
    data = np.frombuffer(b" ".join([b"", *texts, bytes(8)]), dtype=np.uint8)
    spaces = np.flatnonzero(data == ord(" "))
    words = np.flatnonzero(np.diff(spaces) > 1)
    begins, ends = spaces[words] + 1, spaces[words + 1]
    text_ends = np.cumsum([len(text) + 1 for text in texts])
    return _word_hashes(data, begins, ends), np.concatenate([[0], np.searchsorted(ends, text_ends, side="right")])


def _runs(words: Hashes, starts: Numbers, n: int) -> _Runs:
    """Return every `n` neighbouring words of one text."""
    n_runs = max(len(words) - n + 1, 0)
    hashes = words[:n_runs]
    for step in range(1, n):
        hashes = hashes * _ODD + words[step : n_runs + step]
    per_text = np.maximum(np.diff(starts) - (n - 1), 0)
    owners = np.repeat(np.arange(len(per_text)), per_text)
    places = np.arange(len(owners)) + np.repeat(starts[:-1] - (np.cumsum(per_text) - per_text), per_text)
    return _Runs(hashes[places], places, owners)


def _changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a value is not the one before it; it is so for the first."""
    return np.concatenate([np.ones(min(len(values), 1), dtype=np.bool_), values[1:] != values[:-1]])


def _counted(n_words: int, templates: Numbers, n: int) -> Numbers:
    """Return int64 (n_words + 1,): how many words before each are in none of the runs that begin at `templates`.

    >>> _counted(5, np.array([1]), 2)
    array([0, 1, 1, 1, 2, 3])
    """
    inside = np.bincount(templates, minlength=n_words + 1) - np.bincount(templates + n, minlength=n_words + 1)
    return np.concatenate([[0], np.cumsum(np.cumsum(inside)[:-1] == 0)])


def _shared(keys: Numbers, places: Numbers, counted: NDArray[Any], n: int) -> tuple[Numbers, Numbers]:
    """Return the distinct keys, sorted, and for each how many counted words its runs of `n` words cover.

    >>> _shared(np.array([7, 7, 5]), np.array([2, 0, 4]), np.arange(20), 8)
    (array([5, 7]), array([ 8, 10]))
    """
    order = np.lexsort((places, keys))
    keys, places = keys[order], places[order]
    news = _changes(keys)
    begins = places.copy()
    begins[1:] = np.where(news[1:], places[1:], np.maximum(places[1:], places[:-1] + n))
    firsts = np.flatnonzero(news)
    return keys[firsts], np.add.reduceat(counted[places + n] - counted[begins], firsts, dtype=np.int64)


def build_index(prompts: Sequence[str], match: Match = Match(), spoken: Sequence[str] | None = None) -> Index:
    """Index normalised benchmark prompts; `spoken[i]` is prompt `i` as it is read aloud.

    Prompts without a word are never matched. Needs about 90 bytes of memory a word while it works.
    Raises ValueError if no prompt has a word.
    """
    if spoken is not None and len(spoken) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts and {len(spoken)} spoken forms: give one for each prompt")
    forms = [prompts] if spoken is None else [prompts, spoken]
    texts = _encoded(text for of_prompt in zip(*forms, strict=True) for text in of_prompt)
    wholes, first = np.unique(_digests(texts), return_index=True)
    filled = np.flatnonzero([bool(texts[i].strip()) for i in first])
    if not len(filled):
        raise ValueError(f"none of {len(prompts)} benchmark prompts has a word")
    wholes, first = wholes[filled], first[filled]
    chosen = np.sort(first)
    words, starts = _words([texts[i] for i in chosen])
    if len(words) >= _TEMPLATE:
        raise ValueError(f"{len(words)} words of benchmark prompts are too many for one index: build several")

    of_text = (chosen // len(forms)).astype(np.int32)
    runs = _runs(words, starts, match.n).by_hash()
    news = _changes(runs.hashes)
    group = np.cumsum(news) - 1
    n_prompts = np.bincount(group[news | _changes(of_text[runs.owners])])
    template = (n_prompts > match.most_prompts)[group]
    kept = news | (_changes(runs.owners) & ~template)
    return Index(
        match=match,
        hashes=runs.hashes[kept],
        places=np.where(template, _TEMPLATE, runs.places).astype(np.uint32)[kept],
        starts=starts,
        counted=_counted(len(words), runs.places[template], match.n).astype(np.int32),
        prompts=of_text,
        wholes=wholes,
        whole_prompts=(first // len(forms)).astype(np.int32),
    )


def _hits(index: Index, texts: Sequence[bytes]) -> NDArray[np.int32]:
    match, asked = index.match, _digests(texts)
    at = np.minimum(np.searchsorted(index.wholes, asked), len(index.wholes) - 1)
    hits = np.where(index.wholes[at] == asked, index.whole_prompts[at], np.int32(-1))

    words, starts = _words(texts)
    runs = _runs(words, starts, match.n)
    found = index.find_runs(runs.hashes)
    here = np.flatnonzero(found >= 0)
    template = here[index.places[found[here]] == _TEMPLATE]
    found[template] = -1
    counted = _counted(len(words), runs.places[template], match.n)
    runs = runs.take((found >= 0) & (hits < 0)[runs.owners]).by_hash()
    runs = runs.take(_changes(runs.hashes) | _changes(runs.owners))
    if not len(runs.hashes):
        return hits

    # every run with each of the texts that have it
    first = np.searchsorted(index.hashes, runs.hashes)
    n_texts = np.searchsorted(index.hashes, runs.hashes, side="right") - first
    at = np.arange(n_texts.sum()) + np.repeat(first - (np.cumsum(n_texts) - n_texts), n_texts)
    runs, text_places = runs.take(np.repeat(np.arange(len(n_texts)), n_texts)), index.places[at].astype(np.int64)
    pairs = runs.owners * len(index.prompts) + np.searchsorted(index.starts, text_places, side="right") - 1
    of_row = _shared(pairs, runs.places, counted, match.n)[1]
    pairs, of_text = _shared(pairs, text_places, index.counted, match.n)

    row, text = np.divmod(pairs, len(index.prompts))
    in_row = counted[starts[row + 1]] - counted[starts[row]]
    in_text = index.counted[index.starts[text + 1]] - index.counted[index.starts[text]]
    holds = of_text >= np.maximum(match.share * in_text, np.clip(in_text, match.n, match.least_words))
    is_part = of_row >= np.maximum(match.share * in_row, match.least_words)
    order = np.lexsort((index.prompts[text], -of_row, row))
    order = order[(holds | is_part)[order]]
    best = order[_changes(row[order])]
    hits[row[best]] = index.prompts[text[best]]
    return hits


def find_hits(index: Index, normalised: Sequence[str]) -> NDArray[np.int32]:
    """Return int32 (n_rows,): the number of the benchmark prompt that each row matches, -1 for none.

    Of several, the prompt that the row equals; else the one that shares most words of the row; else
    the lowest number. A row's answer does not depend on the other rows.

    >>> prompts = ["what is 2 + 2", "why is the sky blue at noon but red at night"]
    >>> index = build_index(prompts, spoken=["what is two plus two", prompts[1]])
    >>> find_hits(index, ["what is two plus two", f"tell me {prompts[1]} and be brief"])
    array([0, 1], dtype=int32)
    >>> find_hits(index, ["what is two plus three", "why is the sky blue at noon but grey at night"])
    array([-1, -1], dtype=int32)
    """
    firsts = range(0, len(normalised), _ROWS_AT_ONCE)
    pieces = (_hits(index, _encoded(normalised[first : first + _ROWS_AT_ONCE])) for first in firsts)
    return np.concatenate([np.empty(0, np.int32), *pieces])
