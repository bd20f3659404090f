"""The options of inaudible inputs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from noise import NOISE_KINDS
from noise.lasting import COLOURS
from pipelines.answer_options import Refusals
from pipelines.options import Options, known

Between = tuple[float, float]


class Ladder(Options):
    """The same sentences, ever harder to hear: at a falling SNR, or over an ever narrower band."""

    rows: int = Field(ge=1, description="sentences, of this run's rows of one exchange, answered")
    rungs: int = Field(6, ge=2, description="of each sentence, the clearest first")
    snr_db: Between | None = Field(
        None, description="of the first rung and the last, such as [20, -20], in equal steps"
    )
    band_hz: Between | None = Field(None, description="of both, such as [8000, 500], in equal ratios; this or snr_db")
    noise: Annotated[str, known("noise", list(COLOURS))] = Field("pink", description="of snr_db")
    heard_above_db: float = Field(-6.0, description="at a lower SNR a rung is inaudible, and gets a refusal")
    heard_above_hz: float = Field(1200.0, description="over a narrower band too")

    @model_validator(mode="after")
    def _falls(self) -> Ladder:
        if (self.snr_db is None) == (self.band_hz is None):
            raise ValueError("give exactly one of snr_db and band_hz: what falls from rung to rung")
        for name, limits, (least, most) in (
            ("snr_db", self.snr_db, (-40, 60)),
            ("band_hz", self.band_hz, (100, 24_000)),
        ):
            if limits is not None and not most >= limits[0] > limits[1] >= least:
                raise ValueError(f"{name}: {list(limits)} does not fall within [{most}, {least}]")
        return self

    @property
    def steps(self) -> tuple[tuple[float, bool], ...]:
        """The SNR in dB, or the band in Hz, of each rung, and whether it is heard."""
        last = self.rungs - 1
        if self.snr_db is not None:
            first, low = self.snr_db
            snrs = [round(first + (low - first) * rung / last, 2) for rung in range(self.rungs)]
            return tuple((snr, snr >= self.heard_above_db) for snr in snrs)
        assert self.band_hz is not None, "the validator sees to it"
        first, low = self.band_hz
        bands = [float(round(first * (low / first) ** (rung / last))) for rung in range(self.rungs)]
        return tuple((band, band >= self.heard_above_hz) for band in bands)


class Noise(Options):
    """Inaudible rows as long as this run's prompts: random ids, noise, speech that nobody understands; refusals."""

    rows: int = Field(1000, ge=0, description="how many to make (the paper: 11,000)")
    kinds: dict[Annotated[str, known("kind", list(NOISE_KINDS))], Annotated[float, Field(gt=0)]] = Field(
        {"independent": 1.0, "sticky": 1.0},
        min_length=1,
        description=f"relative weight of each kind: {', '.join(NOISE_KINDS)}",
    )
    recordings: str | None = Field(None, description="folder of recorded noise, of the kind recordings")
    recordings_license: str = Field(
        "unknown", description="SPDX id of the recordings, kept in each row and on the card"
    )
    masked_snr_db: Between = Field((-30.0, -15.0), description="of the kind masked: speech over noise, drawn")
    ladder: Ladder | None = Field(None, description="sentences at a falling SNR or band, beside `rows`")
    refusals: Refusals | None = Field(None, description="a language model's; none: the bundled ones")

    @model_validator(mode="after")
    def _possible(self) -> Noise:
        if ("recordings" in self.kinds) != (self.recordings is not None):
            raise ValueError("the kind recordings and the folder noise.recordings need each other; give both, or none")
        low, high = self.masked_snr_db
        if not -40 <= low <= high <= -10:
            raise ValueError(
                f"masked_snr_db: {[low, high]} is not a range within [-40, -10]: louder speech is understood"
            )
        return self
