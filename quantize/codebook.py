"""A codebook and its file: float32 rows in safetensors, with how they were made."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save

TENSOR = "codebook"
METADATA_KEY = "made"


@dataclass(frozen=True)
class Codebook:
    """Rows that stand for sounds, and how often each row was the nearest one on the audio it was fitted on."""

    rows: NDArray[np.float32]
    """(n_codes, n_features)"""
    usage: NDArray[np.int64]
    """(n_codes,) vectors of the fitting audio per row"""

    @property
    def perplexity(self) -> float:
        """exp of the entropy of the usage: n_codes if all rows are used alike, 1 if one row takes everything."""
        share = self.usage[self.usage > 0] / self.usage.sum()
        return math.exp(-float((share * np.log(share)).sum()))


def save_codebook(path: Path, codebook: Codebook, metadata: Mapping[str, str]) -> None:
    """Write `codebook` with `metadata` to `path`; equal arguments give equal bytes.

    safetensors writes several metadata keys in an order that changes from call to call, hence one
    key that holds JSON.
    `safetensors.numpy.save_file` renames a private file over `path`, whatever stood there; this
    writes plain bytes.
    """
    made = json.dumps(dict(metadata), sort_keys=True)
    path.write_bytes(save({TENSOR: codebook.rows, "usage": codebook.usage}, metadata={METADATA_KEY: made}))


def load_codebook(path: Path) -> tuple[Codebook, dict[str, str]]:
    """Read what `save_codebook` wrote. Raises ValueError for any other file, FileNotFoundError for none."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            made = (file.metadata() or {}).get(METADATA_KEY)
            missing = {TENSOR, "usage"} - set(file.keys())
            if missing or made is None:
                raise ValueError(f"{path} is no codebook: no tensor {sorted(missing)} or no metadata {METADATA_KEY!r}")
            codebook = Codebook(file.get_tensor(TENSOR), file.get_tensor("usage"))
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file ({error})") from error
    rows, usage = codebook.rows, codebook.usage
    if rows.ndim != 2 or rows.dtype != np.float32 or usage.shape != rows.shape[:1]:
        raise ValueError(f"{path} is no codebook: rows {rows.dtype} {rows.shape}, usage {usage.shape}")
    return codebook, json.loads(made)
