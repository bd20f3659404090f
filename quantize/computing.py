"""Where models compute and in which numbers: the device and types that `Compute` asks for, held to what they say."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from quantize.tokenizer import Compute

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device_of(compute: Compute) -> torch.device:
    """Return where to compute. Raises ValueError for cuda where torch sees none."""
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, and torch sees no GPU here: use device: cpu, or a machine with one")
    if compute.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(compute.device)


def item_bytes(compute: Compute) -> int:
    """Return the bytes of a number."""
    return torch.finfo(DTYPES[compute.precision]).bits // 8


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
