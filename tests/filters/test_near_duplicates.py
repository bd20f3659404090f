"""Near duplicates: against brute force, and against the definition taken one row at a time."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import filters.near_duplicates as near_duplicates
from filters.duplicates import normalise, normalise_all
from filters.near_duplicates import BANDS, band_hashes, buckets, families, find_near_duplicates, shingle

EXAMPLES = Path(__file__).parents[2] / "examples" / "instructions.jsonl"
Rows = NDArray[np.int64]


def example_prompts() -> list[str]:
    rows = map(json.loads, EXAMPLES.read_text("utf-8").splitlines())
    return list(dict.fromkeys(normalise_all([row["messages"][0]["content"] for row in rows])))


def with_variants(texts: Sequence[str], seed: int) -> list[str]:
    """Return texts and, here and there, a copy with one word left out or put in, in random order."""
    draw = random.Random(seed)
    result = list(texts)
    for text in texts:
        words = text.split()
        for _ in range(draw.choice((0, 0, 1, 3)) if len(words) > 6 else 0):
            at = draw.randrange(len(words))
            result.append(
                " ".join(words[:at] + words[at + 1 :] if draw.random() < 0.5 else [*words[:at], "very", *words[at:]])
            )
    draw.shuffle(result)
    return list(dict.fromkeys(result))


def all_buckets(texts: Sequence[str]) -> tuple[Rows, Rows]:
    hashes, rows, first = band_hashes(texts), np.arange(len(texts)), 0
    found = []
    for band in range(BANDS):
        bucket, row = buckets(hashes[band], hashes[(band + 1) % BANDS], rows)
        found.append((bucket + first, row))
        first += int(bucket.max(initial=-1)) + 1
    return np.concatenate([b for b, _ in found]), np.concatenate([r for _, r in found])


def as_set(text: str) -> set[bytes]:
    data = text.encode().ljust(5, b"\0")
    return {data[i : i + 5] for i in range(len(data) - 4)}


def similarity(a: set[bytes], b: set[bytes]) -> float:
    return len(a & b) / len(a | b)


def similar_pairs(texts: Sequence[str], least: float) -> list[tuple[int, int]]:
    """Return every pair of texts of at least this Jaccard similarity, by counting common shingles."""
    owners: dict[bytes, list[int]] = {}
    sets = [as_set(text) for text in texts]
    sizes = np.array([len(s) for s in sets])
    pairs = []
    for row, shingles in enumerate(sets):
        lists = [owners.setdefault(s, []) for s in shingles]
        before = np.fromiter((o for owner in lists for o in owner), np.int64)
        common = np.bincount(before, minlength=row)
        similar = np.flatnonzero(common / (sizes[:row] + sizes[row] - common + (row == 0)) >= least) if row else ()
        pairs += [(int(other), row) for other in similar]
        for owner in lists:
            owner.append(row)
    return pairs


def test_shingles_are_every_five_bytes_of_each_text() -> None:
    texts = ["what is rain", "hi", "", "größe", "abcde"]
    shingles = shingle(texts)
    for text, start, count in zip(texts, shingles.starts, shingles.counts, strict=True):
        values = shingles.values[start : start + count]
        assert {int(v).to_bytes(5, "little") for v in values} == as_set(text)


def test_a_signature_does_not_depend_on_the_other_texts() -> None:
    texts = with_variants(example_prompts(), 1)
    alone = np.stack([band_hashes([text])[:, 0] for text in texts[:50]], axis=1)
    assert (band_hashes(texts)[:, :50] == alone).all()
    assert (band_hashes(texts[:50][::-1])[:, ::-1] == alone).all()


@pytest.mark.parametrize("jaccard", [0.7, 0.8, 0.95])
def test_rows_decided_at_once_are_those_decided_one_by_one(jaccard: float) -> None:
    texts = with_variants(example_prompts(), 2)
    bucket, row = all_buckets(texts)
    order = np.lexsort((row, bucket))
    again, of = find_near_duplicates(texts, bucket[order], row[order], jaccard)
    mates: dict[int, set[int]] = {}
    for mine in np.split(row[order], np.flatnonzero(np.diff(bucket[order])) + 1):
        for r in mine.tolist():
            mates.setdefault(r, set()).update(mine.tolist())
    kept: list[int] = []
    gone = []
    sets = [as_set(text) for text in texts]
    for r in range(len(texts)):
        if any(k in mates.get(r, ()) and similarity(sets[k], sets[r]) >= jaccard for k in kept):
            gone.append(r)
        else:
            kept.append(r)
    assert again.tolist() == gone
    assert len(gone) > 30
    assert all(o in set(kept) and o < a for a, o in zip(again.tolist(), of.tolist(), strict=True))


def test_families_are_connected_components() -> None:
    draw = np.random.default_rng(3)
    n_rows, links = 300, []
    for _ in range(4):
        row = draw.permutation(n_rows)[:120]
        bucket = np.sort(draw.integers(0, 50, len(row)))
        links.append((np.unique(bucket, return_inverse=True)[1], row))
    label = families(links, n_rows)
    expected = list(range(n_rows))
    changed = True
    while changed:
        changed = False
        for bucket, row in links:
            for b in np.unique(bucket):
                mine = row[bucket == b].tolist()
                least = min(expected[r] for r in mine)
                changed |= any(expected[r] != least for r in mine)
                for r in mine:
                    expected[r] = least
    assert label.tolist() == expected
    assert families([], 3).tolist() == [0, 1, 2]


def test_a_crowded_bucket_is_divided_and_copies_crowd_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MOST_IN_BUCKET", 3)
    band = np.array([7, 7, 7, 7, 7, 8, 8, 8, 8, 8, 9], np.uint32)
    following = np.array([1, 1, 2, 3, 4, 5, 5, 5, 5, 6, 6], np.uint32)
    bucket, row = buckets(band, following, np.arange(11) * 10)
    assert row.tolist() == [0, 10, 50, 60, 70, 80, 90]  # of hash 7 the two alike in both; all of hash 8
    assert bucket.tolist() == [0, 0, 1, 1, 1, 1, 1]


def test_real_rows_recall_and_false_merges(shared_data: Path) -> None:
    """Of pairs that brute force finds at 0.8, at least 95 % do not both stay; nothing goes below 0.7."""
    with gzip.open(shared_data / "text" / "t0_50k.jsonl.gz", "rt", encoding="utf-8") as lines:
        prompts = [json.loads(line)["prompt"] for line in lines]
    texts = list(dict.fromkeys(normalise(text) for text in prompts if len(text) < 300))[:3000]
    bucket, row = all_buckets(texts)
    order = np.lexsort((row, bucket))
    again, of = find_near_duplicates(texts, bucket[order], row[order], 0.8)
    gone = set(again.tolist())
    pairs = similar_pairs(texts, 0.8)
    assert len(pairs) > 100
    missed = [pair for pair in pairs if gone.isdisjoint(pair)]
    assert len(missed) <= 0.05 * len(pairs)
    assert all(similarity(as_set(texts[a]), as_set(texts[o])) >= 0.8 for a, o in zip(again, of, strict=True))
