"""Hold torch to one thread for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch to one thread, so that sums are formed in one order, and give the setting back.

    It also keeps a worker on its one core: on short clips more threads mostly wait for each other.
    The setting is the process's, so use it from one Python thread at a time.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
