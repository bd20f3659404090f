"""The options of listening: the tokenizer, and what models run on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.options import Options, known
from quantize import TOKENIZERS, Compute, model_files
from quantize.tokenizer import Precision


class Computing(Options):
    """What the models of a step run on."""

    precision: Precision = Field("fp32", description="fp32 is exact; bf16 and fp16 are faster on a GPU, nearly equal")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the worker's GPU, where it has one")
    gpus: float = Field(0.0, ge=0, description="of each worker: 1, or a share such as 0.5; 0: workers on CPUs")
    batch_size: int | None = Field(None, ge=1, description="items at once; default: what the free memory holds")
    compile: bool = Field(False, description="compile for the fixed shapes: a slower start, a faster run on a GPU")

    @property
    def compute(self) -> Compute:
        """What the models run on."""
        share = self.gpus if 0 < self.gpus < 1 else 1.0
        return Compute(self.device, self.precision, self.batch_size, share, self.compile)


class Quantize(Computing):
    """Speech -> sound tokens, 25 a second."""

    tokenizer: Annotated[str, known("tokenizer", list(TOKENIZERS))] = Field("mel512", description="who listens")
    model: str | None = Field(
        None, description="its checkpoint: a path, or owner/name:file@revision on the Hub; default: its own"
    )
    whisper: str | None = Field(
        None, description="of WhisperVQ, its encoder: a .pt file, a Hugging Face folder, or owner/name@revision"
    )
    too_long: Literal["split", "reject"] = Field(
        "split", description="more than the tokenizer hears at once (30 s): split where it is quiet, or reject"
    )
    mask_code: Literal["drop", "keep", "reject"] = Field(
        "drop", description="the padding's id, where a model emits it in speech: drop it, keep it, or reject the row"
    )

    @model_validator(mode="after")
    def _files_are_there(self) -> Quantize:
        self.local_files(download=False)
        return self

    @property
    def files(self) -> dict[str, str | None]:
        """The places of the model's files that are given, by role."""
        return {"model": self.model, "whisper": self.whisper}

    def local_files(self, *, download: bool) -> dict[str, Path] | None:
        """Return the model's files, by role; None where they are on the Hub and not in its cache.

        Raises ModelError, a ValueError, naming the place and the remedy.
        """
        return model_files(self.tokenizer, self.files, download=download)
