"""Hold a GPU to float32 for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute what is float32 in float32, and by the same kernels each time; give the settings back.

    cuDNN's convolutions keep 10 bits (TF32) unless told otherwise, and whoever calls us may have allowed that for
    matrix products too. On a CPU it changes nothing. The settings are the process's.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
