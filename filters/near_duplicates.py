"""Near duplicates: MinHash to find candidates, exact Jaccard to decide, the first of a family stays.

A prompt is the set of its shingles: every 5 bytes in a row of its normalised text, which for English
are 5 characters (prompts of 5 to 60 words have too few words for shingles of words). Two prompts
are near duplicates when the Jaccard similarity of their sets, |A ∩ B| / |A ∪ B|, is at least a
threshold. MinHash (Broder 1997) with banding (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets,
§3.4) finds pairs worth comparing; whoever shares a bucket is then compared exactly, so that a wrong
candidate costs time and never a row.

Everything works on columns in NumPy; the result for a text never depends on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHINGLE_BYTES = 5
BANDS = 14  # recall of pairs of Jaccard 0.8 with 14 bands of 6 hashes: 1 - (1 - 0.8**6)**14 = 98.6 %,
HASHES_PER_BAND = 6  # and 99.7 % of the pairs that real prompts have above 0.8 (docs/filters.md)
LEAST_JACCARD = 0.7  # for which 1 - (1 - 0.7**6)**14 = 82 %: below it, too many would be missed
MOST_IN_BUCKET = 512  # larger buckets are divided by the next band's hash as well
_BITMAP_WORDS = 8  # 512 bits a text, for a bound that spares most comparisons
_VALUE_BITS = np.uint64(8 * SHINGLE_BYTES)
_VALUES = (np.uint64(1) << _VALUE_BITS) - np.uint64(1)
_HALF, _LOW_HALF = np.uint64(32), np.uint64(2**32 - 1)  # of 64 bits
_BLOCK = 2_000  # texts whose shingles fit the processor's cache
_CELLS = 60_000  # of a block of shingle hashes that fits the processor's cache

_Hashes = NDArray[np.uint32]
_Rows = NDArray[np.int64]

_RANDOM = np.random.Generator(np.random.PCG64(20_241_015))
_FACTORS = (_RANDOM.integers(0, 2**32, BANDS * HASHES_PER_BAND, dtype=np.uint64) | 1).astype(np.uint32)
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Shingles:
    """The shingles of some texts, one after another.

    Attributes:
        values: uint64 (n_shingles,), each 5 bytes of text as a number; repeats are not removed.
        starts: int64 (n_texts,), where a text's shingles begin.
        counts: int64 (n_texts,), how many it has: 1 or more.
    """

    values: NDArray[np.uint64]
    starts: _Rows
    counts: _Rows


def shingle(texts: Sequence[str]) -> Shingles:
    """Cut normalised texts into shingles; one shorter than 5 bytes is filled up with zeros.

    >>> [int(n) for n in shingle(["what is rain", "hi", ""]).counts]
    [8, 1, 1]
    """
    encoded = [text.encode("utf-8", "surrogatepass").ljust(SHINGLE_BYTES, b"\0") for text in texts]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    letters = np.frombuffer(b"".join(encoded), np.uint8).astype(np.uint64)
    n_windows = max(len(letters) - SHINGLE_BYTES + 1, 0)  # those across two texts belong to neither
    values = np.zeros(n_windows, np.uint64)
    for k in range(SHINGLE_BYTES):
        values |= letters[k : k + n_windows] << np.uint64(8 * k)
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1].astype(np.int64)
    return Shingles(values, starts, lengths - SHINGLE_BYTES + 1)


def band_hashes(texts: Sequence[str]) -> _Hashes:
    """Return the hash of each band of each text's MinHash signature: uint32 (14, n_texts).

    >>> a, b, c = band_hashes(["what is the capital of peru"] * 2 + ["name three kinds of whale"]).T
    >>> bool((a == b).all()), bool((a == c).any())
    (True, False)
    """
    result = np.empty((BANDS, len(texts)), np.uint32)
    for begin in range(0, len(texts), _BLOCK):
        shingles = shingle(texts[begin : begin + _BLOCK])
        hashed = _mixed(shingles.values).astype(np.uint32)
        for rows in _alike(shingles.counts):
            result[:, begin + rows] = _banded(_padded(hashed, shingles, rows))
    return result


def _alike(counts: _Rows) -> Iterator[_Rows]:
    """Yield texts by their number of shingles, a block of about `_CELLS` shingles at a time."""
    order = np.argsort(counts, kind="stable")
    begin = 0
    while begin < len(order):
        end = min(len(order), begin + max(1, int(_CELLS // counts[order[begin]])))
        while end - begin > 1 and counts[order[end - 1]] * (end - begin) > 1.3 * _CELLS:
            end -= max(1, (end - begin) // 8)
        yield order[begin:end]
        begin = end


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter numbers over 64 bits (two rounds of xor, shift and multiply, as in SplitMix64)."""
    values = values * _ODD
    values ^= values >> np.uint64(32)
    values *= np.uint64(0xD6E8FEB86659FD93)
    return values ^ (values >> np.uint64(32))


def _padded(hashed: _Hashes, shingles: Shingles, rows: _Rows) -> _Hashes:
    """Return a column for each text, filled up with its last shingle, which changes no minimum."""
    counts = shingles.counts[rows]
    steps = np.minimum(np.arange(counts.max())[:, None], counts - 1)
    return hashed[shingles.starts[rows] + steps]


def _banded(columns: _Hashes) -> _Hashes:
    """Return the hash of every band: of the least of `columns` under each of its hash functions.

    A hash function is a multiplication by an odd number, a permutation of 32 bits, which scattered numbers need no more
    than.
    """
    result = np.empty((BANDS, columns.shape[1]), np.uint32)
    scratch = np.empty_like(columns)
    for band in range(BANDS):
        mixed = np.full(columns.shape[1], band, np.uint64)
        for k in range(band * HASHES_PER_BAND, (band + 1) * HASHES_PER_BAND):
            np.multiply(columns, _FACTORS[k], out=scratch)
            mixed = mixed * _ODD + scratch.min(axis=0)
        result[band] = _mixed(mixed).astype(np.uint32)
    return result


def buckets(band: _Hashes, next_band: _Hashes, rows: _Rows) -> tuple[_Rows, _Rows]:
    """Return (bucket, row) of every row that shares its band's hash with another.

    Args:
        band, next_band: uint32 (n,), of the rows, fewer than 2**32.
        rows: int64 (n,), rising: the rows' numbers.
    Returns:
        bucket, from 0 on, and row, sorted by both. Of a bucket with more than `MOST_IN_BUCKET` rows only
        those are told that share the next band's hash as well: comparing all would take its square.
    """
    # A sort of plain numbers is many times faster than one that tells an order, so each takes its place with it.
    packed = np.sort((band.astype(np.uint64) << _HALF) | np.arange(len(band), dtype=np.uint64))
    packed = packed[_runs_of_many(packed >> _HALF)]
    key, place = packed >> _HALF << _HALF, (packed & _LOW_HALF).astype(np.int64)
    lengths = _run_lengths(_begins(key))
    large = np.flatnonzero(np.repeat(lengths > MOST_IN_BUCKET, lengths))
    both = key[large] | next_band[place[large]]
    kinds = np.sort(both)
    kinds = kinds[_begins(kinds)] >> _HALF << _HALF  # each pair of hashes once: many copies of one text crowd nothing
    firsts = _begins(kinds)
    crowds = kinds[firsts][_run_lengths(firsts) > MOST_IN_BUCKET]
    if len(crowds):
        key[large] = np.where(np.isin(key[large], crowds), both, key[large])
        order = np.lexsort((place, key))
        key, place = key[order], place[order]
        shared = _runs_of_many(key)
        key, place = key[shared], place[shared]
    return np.cumsum(_begins(key)) - 1, rows[place]


def _begins(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell for each of some sorted values whether it differs from the one before it."""
    begins = np.ones(len(values), bool)
    begins[1:] = values[1:] != values[:-1]
    return begins


def _run_lengths(begins: NDArray[np.bool_]) -> _Rows:
    return np.diff(np.append(np.flatnonzero(begins), len(begins)))


def _runs_of_many(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell for each of some sorted values whether another equals it."""
    lengths = _run_lengths(_begins(values))
    return np.repeat(lengths > 1, lengths)


def families(bands: Sequence[tuple[_Rows, _Rows]], n_rows: int) -> _Rows:
    """Return for each row the least row that it is linked to by buckets, over any number of links.

    These are the connected components of a graph with an edge from each row of a bucket to the first.

    Args:
        bands: (bucket, row) of each band, as from `buckets`, with rows below `n_rows`, which is below 2**31.

    >>> a = (np.array([0, 0, 1, 1]), np.array([0, 1, 3, 4]))
    >>> [int(row) for row in families([a, (np.array([0, 0]), np.array([1, 2]))], 5)]
    [0, 0, 0, 3, 3]
    """
    rows = [row.astype(np.int32) for _, row in bands]
    heads = [row[np.flatnonzero(_begins(bucket))][bucket] for (bucket, _), row in zip(bands, rows, strict=True)]
    if not bands:
        return np.arange(n_rows)
    edges = np.concatenate(rows), np.concatenate(heads)
    from scipy.sparse import coo_array  # slow to import, and `plan` reads no text
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges[0]), np.bool_), edges), shape=(n_rows, n_rows))
    _, component = connected_components(graph, directed=False)
    least = np.empty(n_rows, np.int64)  # of a component; the last assignment stays
    least[component[::-1]] = np.arange(n_rows)[::-1]
    label: _Rows = least[component]
    return label


def find_near_duplicates(texts: Sequence[str], bucket: _Rows, row: _Rows, jaccard: float) -> tuple[_Rows, _Rows]:
    """Return (row, of): the rows that a kept row makes superfluous, and that row, by rising row.

    Rows are taken in order; each is kept unless a kept row before it shares a bucket with it and is
    similar: so the first of a family stays, nothing goes for resembling a row that goes, and what is
    left holds no two rows that share a bucket and are similar. Many rows are decided at once: one that is
    first among the undecided in all its buckets is kept, and is compared with all others in them.

    Args:
        texts: normalised, in the order in which they may stay.
        bucket, row: who shares a bucket, sorted by bucket and row; a number stands for one bucket of one band.

    Rows 1 and 3 are rejected, for row 0 and row 2; kept are the first of each and two that are less alike:

    >>> texts = ["name three animals that live in the cold north sea", "name three animals that live in the cold north",
    ...          "write a short poem about a lighthouse keeper", "write a short poem about a lighthouse keeper now",
    ...          "name three cities that lie on the cold north sea", "write a short story about a lighthouse keeper"]
    >>> row, of = find_near_duplicates(texts, np.zeros(6, int), np.arange(6), 0.8)
    >>> row.tolist(), of.tolist()
    ([1, 3], [0, 2])
    """
    mates, row = _renumbered(row, len(texts))  # the others resemble nobody
    sketch = _Sketch([texts[mate] for mate in mates.tolist()])
    of = np.full(len(mates), -1, np.int64)
    names = np.arange(len(mates))  # of those that share a bucket still
    while len(row):
        n_rows = len(names)
        begins = _begins(bucket)
        starts, sizes = np.flatnonzero(begins), _run_lengths(begins)
        heads = row[starts]
        ready = np.bincount(heads, minlength=n_rows) == np.bincount(row, minlength=n_rows)
        mine = np.repeat(ready[heads], sizes)
        mine[starts] = False
        pairs = np.sort(np.repeat(heads, sizes)[mine] * n_rows + row[mine])
        head, other = np.divmod(pairs[_begins(pairs)], n_rows)
        similar = sketch.similar(names[head], names[other], jaccard)
        head, other = head[similar][::-1], other[similar][::-1]
        of[names[other]] = names[head]  # the last assignment stays: that of the first head
        undecided = np.ones(n_rows, bool)
        undecided[other] = False
        undecided[heads[ready[heads]]] = False
        bucket, row = _only(undecided, bucket, row)
        if len(row) < n_rows:  # a round costs what is left, not what was there
            left, row = _renumbered(row, n_rows)
            names = names[left]
    superfluous = np.flatnonzero(of >= 0)
    return mates[superfluous], mates[of[superfluous]]


def _renumbered(row: _Rows, n_rows: int) -> tuple[_Rows, _Rows]:
    """Return the rows there are, of `n_rows`, and for each of `row` its place among them."""
    there = np.zeros(n_rows, bool)
    there[row] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[row]


def _only(undecided: NDArray[np.bool_], bucket: _Rows, row: _Rows) -> tuple[_Rows, _Rows]:
    """Return what is left of the buckets: undecided rows, at least two in each."""
    left = undecided[row]
    bucket, row = bucket[left], row[left]
    shared = _runs_of_many(bucket)
    return bucket[shared], row[shared]


class _Sketch:
    """The shingle sets of texts, and a bitmap of each for a quick bound of their similarity."""

    def __init__(self, texts: Sequence[str]) -> None:
        blocks = [_sets(texts[k : k + _BLOCK]) for k in range(0, len(texts), _BLOCK)]
        blocks = blocks or [_sets([])]
        self._values = np.concatenate([values for values, _, _ in blocks])  # each set, sorted
        self._sizes = np.concatenate([sizes for _, sizes, _ in blocks])
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._bitmap = np.concatenate([bitmap for _, _, bitmap in blocks])
        self._surplus = self._sizes - np.bitwise_count(self._bitmap).sum(axis=1, dtype=np.int64)  # shingles over bits

    def similar(self, a: _Rows, b: _Rows, jaccard: float, block: int = 50_000) -> NDArray[np.bool_]:
        """Tell for each pair of texts whether their Jaccard similarity is at least `jaccard`."""
        result = np.zeros(len(a), bool)
        for begin in range(0, len(a), block):
            x, y = a[begin : begin + block], b[begin : begin + block]
            possible = np.flatnonzero(self._at_most(x, y) >= jaccard)
            result[begin + possible] = self.jaccard(x[possible], y[possible]) >= jaccard
        return result

    def _at_most(self, a: _Rows, b: _Rows) -> NDArray[np.float64]:
        """Return an upper bound: a bit that only one text has is a shingle that only it has."""
        shared = np.bitwise_count(self._bitmap[a] & self._bitmap[b]).sum(axis=1, dtype=np.int64)
        common = shared + np.minimum(self._surplus[a], self._surplus[b])
        return np.asarray(common / (self._sizes[a] + self._sizes[b] - common))

    def jaccard(self, a: _Rows, b: _Rows) -> NDArray[np.float64]:
        """Return the exact similarity of each pair."""
        if not len(a):
            return np.zeros(0)
        sizes = np.stack([self._sizes[a], self._sizes[b]], axis=1).ravel()
        starts = np.stack([self._starts[a], self._starts[b]], axis=1).ravel()
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        values = self._values[np.repeat(starts, sizes) + within]
        pair = np.repeat(np.arange(len(a)), sizes[0::2] + sizes[1::2])
        both = np.sort((pair.astype(np.uint64) << _VALUE_BITS) | values)
        common = np.bincount((both[1:][both[1:] == both[:-1]] >> _VALUE_BITS).astype(np.int64), minlength=len(a))
        return np.asarray(common / (self._sizes[a] + self._sizes[b] - common))


def _sets(texts: Sequence[str]) -> tuple[NDArray[np.uint64], _Rows, NDArray[np.uint64]]:
    """Return the shingles of each text once, sorted; how many they are; a bitmap of 512 bits for each."""
    shingles = shingle(texts)
    owner = np.repeat(np.arange(len(texts)), shingles.counts)
    across = np.cumsum(shingles.counts) - shingles.counts  # windows across two texts are left out
    values = shingles.values[np.arange(len(owner)) + np.repeat(shingles.starts - across, shingles.counts)]
    sets = np.sort((owner.astype(np.uint64) << _VALUE_BITS) | values)
    sets = sets[_begins(sets)]
    owner, values = (sets >> _VALUE_BITS).astype(np.int64), sets & _VALUES
    bit = _mixed(values) >> np.uint64(55)  # 9 bits
    bitmap = np.zeros(len(texts) * _BITMAP_WORDS, np.uint64)
    cell = owner * _BITMAP_WORDS + (bit >> np.uint64(6)).astype(np.int64)
    np.bitwise_or.at(bitmap, cell, np.uint64(1) << (bit & np.uint64(63)))
    return values, np.bincount(owner, minlength=len(texts)), bitmap.reshape(-1, _BITMAP_WORDS)
