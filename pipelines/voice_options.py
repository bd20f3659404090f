"""The options of voices, and of what is done to their speech."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from noise.lasting import COLOURS
from pipelines.options import Options, known
from tts import ENGINES
from tts.augment import Ranges

Between = tuple[float, float]


class Voice(Options):
    """A voice that rows may draw."""

    id: str = Field(min_length=1, description="as its engine names it")
    engine: Annotated[str, known("engine", list(ENGINES))] | None = Field(None, description="default: tts.engine")
    gender: str | None = Field(None, description="how it sounds; default: what the engine says")
    accent: str | None = Field(None, description="where it is at home; default: what the engine says")
    license: str | None = Field(None, description="of the voice, for the card")
    weight: float = Field(1.0, gt=0, description="how often it is drawn, beside the others")
    held_out: bool = Field(False, description="speaks for evaluation alone: tts.held_out_share of the rows")
    cloned: bool | None = Field(None, description="whether it is made after a living person, which needs their consent")
    consent: str | None = Field(None, description="who agreed to it, when and where that is written; for the card")

    @model_validator(mode="after")
    def _consented(self) -> Voice:
        if self.cloned and not (self.consent or "").strip():
            raise ValueError(
                f"voice {self.id} is cloned, and no consent is named: say in `consent` who agreed, when, and where it "
                "is written; without that, take the voice out"
            )
        return self


class Augment(Options):
    """What is done to the speech before it is quantized; each kind that has a range is drawn for each row."""

    share: float = Field(0.5, gt=0, le=1, description="of the rows; the others stay clean")
    speed: Between | None = Field(None, description="factor, such as [0.9, 1.1]")
    rt60_s: Between | None = Field(None, description="a room's reverberation time in seconds, such as [0.2, 0.8]")
    band_hz: Between | None = Field(None, description="nothing above, such as [3400, 8000]")
    snr_db: Between | None = Field(None, description="speech over noise, such as [5, 30]")
    gain_db: Between | None = Field(None, description="such as [-12, 3]; what would clip is turned down")
    noise: tuple[Annotated[str, known("noise", list(COLOURS))], ...] = Field(
        tuple(COLOURS), description="generated kinds that are drawn from, beside the recordings"
    )
    noise_folder: str | None = Field(None, description="recordings of noise to draw from; relative to root")

    @model_validator(mode="after")
    def _possible(self) -> Augment:
        limits = {
            "speed": (0.5, 2),
            "rt60_s": (0.01, 5),
            "band_hz": (500, 48_000),
            "snr_db": (-20, 60),
            "gain_db": (-40, 20),
        }
        named = {name: getattr(self, name) for name in limits}
        for name, pair in named.items():
            if pair is not None and not limits[name][0] <= pair[0] <= pair[1] <= limits[name][1]:
                raise ValueError(f"{name}: {list(pair)} is not a range within {list(limits[name])}")
        if all(pair is None for pair in named.values()):
            raise ValueError(f"nothing is done: give a range to one of {', '.join(limits)}")
        if self.snr_db is not None and not (self.noise or self.noise_folder):
            raise ValueError("snr_db needs noise: kinds in `noise`, or recordings in `noise_folder`")
        if self.snr_db is None and self.noise_folder is not None:
            raise ValueError("noise_folder needs snr_db: how loud the speech is over the noise")
        return self

    @property
    def ranges(self) -> Ranges:
        """The ranges alone."""
        return Ranges(self.speed, self.rt60_s, self.band_hz, self.snr_db, self.gain_db)
