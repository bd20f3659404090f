"""The options of inaudible inputs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from noise import NOISE_KINDS
from pipelines.answer_options import Refusals
from pipelines.options import Options, known


class Noise(Options):
    """Inaudible rows as long as this run's prompts: random ids, noise, speech that nobody understands; refusals."""

    rows: int = Field(1000, ge=0, description="how many to make (the paper: 11,000)")
    kinds: dict[Annotated[str, known("kind", list(NOISE_KINDS))], Annotated[float, Field(gt=0)]] = Field(
        {"independent": 1.0, "sticky": 1.0}, min_length=1, description="relative weight of each kind"
    )
    refusals: Refusals | None = Field(None, description="a language model's; none: the bundled ones")
