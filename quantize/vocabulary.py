"""Whether two models mean the same sounds by the same ids: a tokenizer, and a model of text to its tokens."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from quantize import model_files
from quantize.whispervq import load_head

WITH_CODEBOOK = ("whispervq", "whispervq-v3-7lang", "whispervq-en-pl", "ichigo-whisper")
_STORED = (torch.float32, torch.float16, torch.bfloat16)


def codebook_of(name: str, given: Mapping[str, str | None]) -> NDArray[np.float32]:
    """Return a tokenizer's rows, float32 (n_codes, width), without its encoder.

    Args:
        given: places of its files, by role, as `quantize.model_files` takes them.
    Raises ValueError for a tokenizer whose ids no model of text writes, or files that are no such model.
    """
    if name not in WITH_CODEBOOK:
        have = ", ".join(WITH_CODEBOOK)
        raise ValueError(f"the tokenizer {name} has no codebook that a T2S shares; these have: {have}")
    files = model_files(name, given, download=True)
    assert files is not None, "download=True finds them or raises"
    head, _, _ = load_head(files["model"])
    rows: NDArray[np.float32] = head.codebook.float().numpy()
    return rows


def same_vocabulary(written: NDArray[np.float32], heard: NDArray[np.float32]) -> str | None:
    """Return in which way the rows (n, width) that a model writes are not the tokenizer's; None where they are.

    They are a frozen copy, in whichever precision a checkpoint keeps: equal after rounding to one of them.
    Source: WhisperSpeech's `make_model(frozen_embeddings_model)` copies `_codebook.embed[0]`.
    """
    if written.shape != heard.shape:
        (codes, width), (known, wide) = written.shape, heard.shape
        return f"{codes} codes of width {width}, and the tokenizer has {known} of {wide}"
    ours, its = torch.from_numpy(written), torch.from_numpy(heard)
    if any(torch.equal(ours, its.to(dtype).float()) for dtype in _STORED):
        return None
    differ = int((ours != its).any(1).sum())
    return f"{differ} of {len(ours)} rows of the codebooks differ, by up to {float((ours - its).abs().max()):.2g}"
