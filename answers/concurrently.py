"""Many requests at once from code that waits for them: an event loop in a thread of its own."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_WAKE_S = 0.2  # polars, once imported, has Ctrl-C wait for the end of a wait that has none


class LoopThread:
    """The loop and its thread, started at the first `run`, so that the owner can be made before a fork."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work returns; Ctrl-C cancels it."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
            self._thread.start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            while concurrent.futures.wait([future], _WAKE_S).not_done:
                pass
            return future.result()
        finally:
            future.cancel()  # does nothing unless Ctrl-C ended the wait

    def close(self) -> None:
        """End the thread; a later `run` starts another."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = None


async def for_each(items: Sequence[T], concurrency: int, work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work of each item, so many at a time, begun in their order. The first error ends all, and is raised."""
    waiting = iter(items)

    async def take() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(items))):
                group.create_task(take())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
