"""Make a large data set out of real rows, with duplicates planted at places that are known.

    python benchmarks/generate_rows.py OUT --rows 6000000 --data DIRECTORY
    python benchmarks/generate_rows.py OUT --rows 10000          # from examples/instructions.jsonl

OUT/rows holds the rows (prompt, answer); OUT/truth.parquet says where duplicates are (file, row, kind
exact or near, of_file, of_row).

A row starts from a real one, drawn at random, and has names, numbers and content words replaced by others
of the same kind from the same texts, the same word by the same one all over the row. The rest stays,
so that the rules meet what they meet in real text. Every draw is a hash of the seed and the row's
number: the number of processes changes no byte, and a duplicate makes its original again instead of
looking for it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from real_rows import SHORT_CHARS, Corpus, Ids, Rows, Texts, read_corpus, replaced_share

ROWS_PER_BLOCK = 8_192  # made at once: a few MB
NEAR_WORDS = 12  # a prompt of fewer is another prompt when one word changes
FRESH, EXACT, NEAR = 0, 1, 2
KINDS = ("fresh", "exact", "near")
SCHEMA = pa.schema([("prompt", pa.string()), ("answer", pa.string())])
TEMPLATE, KIND, STYLE, ORIGINAL = 1, 2, 3, 10  # what a draw is for; tries for an original count on
TRIES = 32
STYLES = 8  # of exact duplicates: one half verbatim, one half typed otherwise

Keys = NDArray[np.uint64]

_BETWEEN_WORDS = re.compile(r"(?<=[a-z]) (?=[a-z])")


@dataclass(frozen=True)
class Plan:
    """What is to be made, and where."""

    out: Path
    rows: int
    rows_per_file: int
    seed: int
    exact: float
    near: float
    format: str

    def file_name(self, file: int) -> str:
        """Return the name of a file, from 0 on."""
        return f"part-{file:05d}.{self.format}"


def mixed(values: Keys) -> Keys:
    """Scatter numbers over 64 bits: SplitMix64 (Steele, Lea, Flood 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def draw(plan: Plan, rows: Rows, what: int) -> Keys:
    """Return 64 random bits for each row, others for another `what`."""
    start = mixed(np.array([plan.seed * 1_000 + what], np.uint64))
    return mixed(mixed(rows.astype(np.uint64)) ^ start)


def kinds_of(plan: Plan, rows: Rows) -> Ids:
    share = draw(plan, rows, KIND) / 2.0**64
    kinds = np.where(share < plan.exact, EXACT, np.where(share < plan.exact + plan.near, NEAR, FRESH))
    return np.where(rows == 0, FRESH, kinds).astype(np.int32)


def templates_of(corpus: Corpus, plan: Plan, rows: Rows) -> Rows:
    return (draw(plan, rows, TEMPLATE) % np.uint64(len(corpus.words))).astype(np.int64)


def originals_of(corpus: Corpus, plan: Plan, rows: Rows) -> tuple[Ids, Rows]:
    """Return (kind, original) of each row; a fresh row is its own.

    An original is any earlier row that is fresh. A near duplicate that finds none of 12 words
    in 32 tries (among the first rows there may be none) becomes an exact duplicate of row 0.
    """
    kinds = kinds_of(plan, rows)
    originals = np.where(kinds == FRESH, rows, -1)
    for attempt in range(TRIES):
        open_ = np.flatnonzero(originals < 0)
        tried = (draw(plan, rows[open_], ORIGINAL + attempt) % rows[open_].astype(np.uint64)).astype(np.int64)
        wide = corpus.words[templates_of(corpus, plan, tried)] >= NEAR_WORDS
        fits = (kinds_of(plan, tried) == FRESH) & (wide | (kinds[open_] == EXACT))
        originals[open_[fits]] = tried[fits]
    lost = originals < 0
    return np.where(lost, EXACT, kinds), np.where(lost, 0, originals)


def substituted(corpus: Corpus, plan: Plan, texts: Texts, templates: Rows, rows: Rows) -> pa.Array:
    """Return the texts of `templates`, string (n,), with the replacements that each row's number decides."""
    sizes = texts.starts[templates + 1] - texts.starts[templates]
    ends = np.cumsum(sizes)
    ids = texts.ids[np.arange(ends[-1]) + np.repeat(texts.starts[templates] - (ends - sizes), sizes)]
    kinds = corpus.kinds[ids]
    place = np.flatnonzero(kinds)
    row = np.searchsorted(ends, place, side="right")
    key = mixed(draw(plan, rows, TEMPLATE)[row] ^ (ids[place].astype(np.uint64) << np.uint64(20)))
    chosen = (key >> np.uint64(40)) < replaced_share(corpus.content[templates])[row] * 2.0**24
    place, key = place[chosen], key[chosen]
    start = corpus.pool_starts[kinds[place]]
    size = (corpus.pool_starts[kinds[place] + 1] - start).astype(np.uint64)
    ids[place] = corpus.pools[start + ((key & np.uint64(0xFFFFFFFF)) % size).astype(np.int64)]
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(offsets, corpus.pieces.take(pa.array(ids))), "")


def retyped(text: str, style: int) -> str:
    """Return `text` typed otherwise (or as it is): the same to `filters.duplicates.normalise`."""
    if style == 0 and text.isascii():
        return text.lower()
    if style == 1:
        return _BETWEEN_WORDS.sub("  ", text)
    if style == 2 and text[-1:].isalpha():
        return f"{text}."
    if style == 2 and text[-1:] in ".?" and text[-2:-1].isalpha():
        return text[:-1]
    if style == 3 and text.isascii():
        return f" {text[:1].swapcase()}{text[1:]}"
    return text if style > 3 else f"{text} "


def near(text: str, key: int, spare: list[str]) -> str:
    """Return `text` with one word changed, inserted or deleted."""
    words = text.split(" ")
    places = [k for k, word in enumerate(words) if word.isascii() and word.isalpha()]
    new = spare[(key >> 32) % len(spare)]
    if not places:
        return f"{text} {new}"
    place = places[(key >> 8) % len(places)]
    how = key % 3
    if how == 0 and new != words[place].lower():
        words[place] = new
    elif how == 1:
        del words[place]
    else:
        words.insert(place, new)
    return " ".join(words)


def make_block(corpus: Corpus, plan: Plan, rows: Rows) -> tuple[pa.Table, pa.Table]:
    """Return rows by their numbers: (prompt, answer), and the truth about the duplicates among them."""
    kinds, originals = originals_of(corpus, plan, rows)
    templates = templates_of(corpus, plan, originals)
    style = draw(plan, rows, STYLE)
    edited = np.flatnonzero((kinds == NEAR) | ((kinds == EXACT) & (style % np.uint64(STYLES) < STYLES // 2)))
    prompts = substituted(corpus, plan, corpus.prompts, templates, originals)
    said = originals.copy()
    said[edited] = rows[edited]  # a duplicate that is not verbatim has an answer of its own
    answers = substituted(corpus, plan, corpus.answers, templates, said)
    changed = [
        near(text, int(key), corpus.spare) if kind == NEAR else retyped(text, int(key) % STYLES)
        for text, key, kind in zip(
            prompts.take(pa.array(edited)).to_pylist(), style[edited], kinds[edited], strict=True
        )
    ]
    mask = np.zeros(len(rows), bool)
    mask[edited] = True
    prompts = pc.replace_with_mask(prompts, pa.array(mask), pa.array(changed, pa.string()))
    answers = pc.if_else(pc.equal(answers, ""), pa.scalar(None, pa.string()), answers)
    found = np.flatnonzero(kinds)
    of_file, of_row = np.divmod(originals[found], plan.rows_per_file)
    file, row = np.divmod(rows[found], plan.rows_per_file)
    columns = [file, row, kinds[found], of_file, of_row]
    truth = pa.table([pa.array(c) for c in columns], names=["file", "row", "kind", "of_file", "of_row"])
    return pa.table([prompts, answers], schema=SCHEMA), truth


@contextmanager
def parquet_file(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Open a Parquet file; yields what writes rows to it."""
    with pq.ParquetWriter(path, SCHEMA) as out:
        yield out.write_table


@contextmanager
def jsonl_file(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Open a file of JSON lines; yields what writes rows to it."""
    with path.open("wb") as out:
        yield lambda rows: out.writelines(
            orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows.to_pylist()
        )


WRITERS = {"parquet": parquet_file, "jsonl": jsonl_file}


def write_files(corpus: Corpus, plan: Plan, files: Iterable[int]) -> list[pa.Table]:
    """Write some of the files, a block of rows at a time; returns the truth about each block."""
    truths: list[pa.Table] = []
    for file in files:
        begin, end = file * plan.rows_per_file, min((file + 1) * plan.rows_per_file, plan.rows)
        path = plan.out / "rows" / plan.file_name(file)
        with WRITERS[plan.format](path) as write:
            for first in range(begin, end, ROWS_PER_BLOCK):
                rows, truth = make_block(corpus, plan, np.arange(first, min(first + ROWS_PER_BLOCK, end)))
                write(rows)
                truths.append(truth)
    return truths


def generate(corpus: Corpus, plan: Plan, processes: int) -> pa.Table:
    """Write all files and the truth, which is returned."""
    (plan.out / "rows").mkdir(parents=True)
    n_files = -(-plan.rows // plan.rows_per_file)
    shares = [(corpus, plan, range(k, n_files, processes)) for k in range(processes)]
    if processes == 1:
        parts = [write_files(*shares[0])]
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            parts = pool.starmap(write_files, shares)
    found = pa.concat_tables(table for part in parts for table in part)
    found = found.sort_by([("file", "ascending"), ("row", "ascending")])
    names = pa.array([plan.file_name(file) for file in range(n_files)])
    columns = {
        "file": names.take(found["file"]),
        "row": found["row"],
        "kind": pa.array(KINDS).take(found["kind"]),
        "of_file": names.take(found["of_file"]),
        "of_row": found["of_row"],
    }
    truth = pa.table(columns)
    pq.write_table(truth, plan.out / "truth.parquet")
    return truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to make; it must not be there")
    parser.add_argument("--rows", type=int, default=6_000_000, help="rows to make (default 6,000,000)")
    parser.add_argument("--data", type=Path, help="folder of JSON, JSON lines, these with .gz (default: the examples)")
    parser.add_argument("--files", type=int, default=12, help="files to make (default 12)")
    parser.add_argument("--seed", type=int, default=1, help="of every draw (default 1)")
    parser.add_argument("--exact", type=float, default=0.08, help="share of exact duplicates (default 0.08)")
    parser.add_argument("--near", type=float, default=0.04, help="share of near duplicates (default 0.04)")
    parser.add_argument("--short", type=int, nargs="?", const=SHORT_CHARS, metavar="CHARS",
                        help=f"leave out real prompts of over so many characters ({SHORT_CHARS})")  # fmt: skip
    parser.add_argument("--format", choices=list(WRITERS), default="parquet")
    parser.add_argument("--processes", type=int, default=2, help="how many (default 2); changes no byte")
    given = parser.parse_args()
    if given.out.exists():
        parser.error(f"{given.out} is there already: name a new folder, or remove it")
    started = time.monotonic()
    rows_per_file = -(-given.rows // given.files)
    plan = Plan(given.out, given.rows, rows_per_file, given.seed, given.exact, given.near, given.format)
    corpus = read_corpus(given.data, given.short)
    share = replaced_share(corpus.content) @ corpus.content / corpus.content.sum()
    print(f"{len(corpus.content):,} real rows to vary, {share:.0%} of their content words replaced")
    truth = generate(corpus, plan, given.processes)
    seconds = time.monotonic() - started
    kinds = {part["values"]: part["counts"] for part in truth["kind"].value_counts().to_pylist()}
    size = sum(path.stat().st_size for path in (given.out / "rows").iterdir())
    print(f"{given.rows:,} rows in {given.out} ({size / 1e6:,.0f} MB), {seconds:.0f} s; planted duplicates: {kinds}")


if __name__ == "__main__":
    main()
