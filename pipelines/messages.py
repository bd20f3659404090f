"""The texts of a column of conversations, taken out and put back without making Python rows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.row import MESSAGES


class Texts:
    """All messages of one role in a shard, one after another, and the rows they belong to.

    Attributes:
        texts: in order.
        row: int64 (n_texts,), rising: the row of each.
        n_rows: rows of the shard.
    """

    def __init__(self, messages: pa.ChunkedArray, role: str) -> None:
        lists = messages.combine_chunks()
        offsets = lists.offsets.to_numpy()
        flat = lists.flatten()
        mask = pc.equal(flat.field("role"), role)
        rows = np.repeat(np.arange(len(lists)), np.diff(offsets))
        self.texts: list[str] = flat.field("content").filter(mask).to_pylist()
        self.row: NDArray[np.int64] = rows[mask.to_numpy(zero_copy_only=False)]
        self.n_rows = len(lists)

    def at(self, wanted: NDArray[np.bool_]) -> tuple[list[str], NDArray[np.int64]]:
        """Return the texts of the wanted rows, and their rows."""
        chosen = wanted[self.row]
        if chosen.all():
            return self.texts, self.row
        return [self.texts[i] for i in np.flatnonzero(chosen)], self.row[chosen]


def replaced(messages: pa.ChunkedArray, role: str, texts: Sequence[str]) -> pa.ChunkedArray:
    """Return the column with other texts in a role's messages, as many and in the same order."""
    lists = messages.combine_chunks()
    flat = lists.flatten()
    mask = pc.equal(flat.field("role"), role)
    content = pc.replace_with_mask(flat.field("content"), mask, pa.array(texts, pa.string()))
    offsets = pa.array(lists.offsets.to_numpy() - lists.offsets[0].as_py(), pa.int32())
    struct = pa.StructArray.from_arrays([flat.field("role"), content], fields=list(MESSAGES.value_type))
    return pa.chunked_array([pa.ListArray.from_arrays(offsets, struct, type=MESSAGES)])


def first_of(found: Sequence[str | None], row: NDArray[np.int64], n_rows: int) -> list[str | None]:
    """Return for each row the first that was found in its texts; None where nothing was."""
    result: list[str | None] = [None] * n_rows
    for verdict, at in zip(reversed(found), reversed(row.tolist()), strict=True):
        if verdict is not None:
            result[at] = verdict
    return result


def largest_of(values: Sequence[float], row: NDArray[np.int64], n_rows: int) -> NDArray[np.float64]:
    """Return for each row the largest value of its texts; NaN for a row without texts."""
    result = np.full(n_rows, np.nan)
    np.fmax.at(result, row, np.asarray(values, float))
    return result


def joined(texts: Sequence[str], row: NDArray[np.int64], join: Callable[[list[str]], str]) -> dict[int, str]:
    """Return row -> its texts made one."""
    rows = row.tolist()
    if len(single := dict(zip(rows, texts, strict=True))) == len(rows):
        return single
    by_row: dict[int, list[str]] = {}
    for text, at in zip(texts, rows, strict=True):
        by_row.setdefault(at, []).append(text)
    return {at: said[0] if len(said) == 1 else join(said) for at, said in by_row.items()}


def column(values: Mapping[int, Any], n_rows: int, kind: pa.DataType) -> pa.Array:
    """Return a column with the values of some rows, which rise, and null for the others."""
    if len(values) == n_rows:
        return pa.array(list(values.values()), kind)
    return pa.array([values.get(at) for at in range(n_rows)], kind)
