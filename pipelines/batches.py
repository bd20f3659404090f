"""Rows through an engine that works on many items at once: what a row consists of shares batches with other rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pipelines.row import Row
from pipelines.rowwise import Done, attempt

READERS = 4  # threads that prepare rows ahead of an engine

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Stages(Generic[Item, Result]):
    """What becomes of a row: its items, their results in batches, the row that goes on.

    split:  a row's items; raises Reject
    work:   a result for each of at most `size` items, or an exception where that item failed
    finish: the row, from its items and their results; raises Reject
    size:   items that `work` does best at once
    ahead:  rows to split before they are needed, in threads; 0 for none
    mend:   as finish, of a row of which items failed; none: the first failure ends the row
    """

    split: Callable[[Row], list[Item]]
    work: Callable[[Sequence[Item]], Sequence[Result | Exception]]
    finish: Callable[[Row, list[Item], list[Result]], Row]
    size: int
    ahead: int = 0
    mend: Callable[[Row, list[Item], list[Result | Exception]], Row] | None = None

    def run(self, rows: Iterable[Row]) -> Iterator[Done]:
        """Yield each row with what became of it, in order; batches are formed of the rows in this order alone."""
        waiting: deque[_Waiting] = deque()
        queue: deque[tuple[_Waiting, Item]] = deque()
        for row, items in self._split_ahead(rows):
            waiting.append(_Waiting(row, [], failed=items) if isinstance(items, Exception) else _Waiting(row, items))
            queue.extend((waiting[-1], item) for item in waiting[-1].items)
            while len(queue) >= self.size:
                self._work(queue)
            yield from self._finished(waiting)
        while queue:
            self._work(queue)
        yield from self._finished(waiting)

    def _work(self, queue: deque[tuple[_Waiting, Item]]) -> None:
        """Do as many items as are done best at once; where one makes the engine fail, each by itself."""
        batch = [queue.popleft() for _ in range(min(self.size, len(queue)))]
        done = attempt(self.work, [item for _, item in batch])
        results = [self._alone(item) for _, item in batch] if isinstance(done, Exception) else done
        for (owner, _), result in zip(batch, results, strict=True):
            owner.results.append(result)
            if isinstance(result, Exception):
                owner.failed = owner.failed or result

    def _alone(self, item: Item) -> Result | Exception:
        done = attempt(self.work, [item])
        return done if isinstance(done, Exception) else done[0]

    def _finished(self, waiting: deque[_Waiting]) -> Iterator[Done]:
        while waiting and len(waiting[0].results) == len(waiting[0].items):
            one = waiting.popleft()
            if one.failed is None:
                yield one.row, attempt(self.finish, one.row, one.items, one.results)
            elif self.mend is not None and one.items:
                yield one.row, attempt(self.mend, one.row, one.items, one.results)
            else:
                yield one.row, one.failed

    def _split_ahead(self, rows: Iterable[Row]) -> Iterator[tuple[Row, list[Item] | Exception]]:
        if not self.ahead:
            for row in rows:
                yield row, attempt(self.split, row)
            return
        pool = ThreadPoolExecutor(READERS)
        try:
            coming: deque[tuple[Row, Future[Any]]] = deque()
            for row in rows:
                coming.append((row, pool.submit(attempt, self.split, row)))
                if len(coming) > self.ahead:
                    first, future = coming.popleft()
                    yield first, future.result()
            for first, future in coming:
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass
class _Waiting:
    """A row whose items are on their way."""

    row: Row
    items: list[Any]
    results: list[Any] = field(default_factory=list)
    failed: Exception | None = None
