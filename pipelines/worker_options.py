"""The options of workers: what each takes of a machine, how many there are. None of them changes what comes out."""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator

from pipelines.options import Options, nearest

GIB = 1 << 30
# The steps and passes whose workers may have options of their own: those of `speechmill steps`, and of a step's parts.
NAMES = (
    *("read", "read.speech", "score", "score.benchmarks", "score.overlap", "score.signatures", "score.buckets"),
    *("score.families", "score.members", "rewrite", "filter", "filter.shorten", "filter.duplicates"),
    *("filter.near_duplicates", "filter.decontamination", "answer", "tts", "tts.augment", "quantize", "noise"),
    *("noise.speech", "noise.lengths", "noise.sounds", "noise.chats", "mix", "export", "export.layout"),
    *("export.render", "export.audio", "export.card"),
)


class StepWorkers(Options):
    """The workers of a step, or of one of its passes; GPU shares are options of the step (tts.gpus, quantize.gpus)."""

    cpus: float = Field(1.0, gt=0, description="of each worker, which has one thread; less where it waits for a server")
    memory_gib: float = Field(0.0, ge=0, description="of each worker, that no other may count on; 0: not counted")
    min: int = Field(0, ge=0, description="workers that are kept while the step has work")
    max: int | None = Field(
        None,
        ge=1,
        description="workers on it at once, towards which a cluster may grow (default: what is there)",
    )

    @model_validator(mode="after")
    def _in_order(self) -> StepWorkers:
        if self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Workers(Options):
    """Workers: what the machine or the cluster gives to which step. A step's name, or a pass's, and its options."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, StepWorkers]

    tries: int = Field(4, ge=1, description="of a shard whose worker dies; then it is quarantined, or the run stops")

    @model_validator(mode="after")
    def _known_names(self) -> Workers:
        for name in self.__pydantic_extra__:
            if name not in NAMES:
                raise ValueError(f"there is no step or pass {name!r}; {nearest(name, NAMES)}")
        return self

    def of(self, key: str) -> StepWorkers:
        """Return the options of a pass: its own, else its step's."""
        named = self.__pydantic_extra__
        return named.get(key) or named.get(key.partition(".")[0]) or StepWorkers()
