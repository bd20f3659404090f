"""How busy a worker's GPUs are while it does a unit, as nvidia-smi says; where there is none, nothing is said.

nvidia-smi comes with NVIDIA's driver, in containers too: no package for it. It tells of a whole GPU, whatever share of
it a worker holds, and nothing of a slice of one (MIG).
"""

from __future__ import annotations

import os
import subprocess
import threading
from dataclasses import dataclass
from typing import Any, Self

FIRST_SECONDS = 1  # before the first look: a unit begins with reading
EVERY_SECONDS = 5
CALL_SECONDS = 10  # that a call may take


@dataclass(frozen=True)
class Sample:
    """One look at a GPU.

    utilization: share of the last second or less in which it computed, 0 to 1
    """

    utilization: float
    memory_mib: int


def parse(text: str) -> list[Sample]:
    """Return what nvidia-smi says of each GPU; one that does not tell is left out.

    >>> parse("87, 10321\\n[N/A], 10321\\n")
    [Sample(utilization=0.87, memory_mib=10321)]
    """
    samples = []
    for line in text.splitlines():
        percent, _, memory = (cell.strip() for cell in line.partition(","))
        if percent.isdecimal() and memory.isdecimal():
            samples.append(Sample(int(percent) / 100, int(memory)))
    return samples


def look() -> list[Sample]:
    """Return how busy the GPUs are that this process sees; none where nobody can tell."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    if devices == "":
        return []
    query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(
            [*query, *([f"--id={devices}"] if devices else [])],
            capture_output=True, text=True, timeout=CALL_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse(said.stdout) if said.returncode == 0 else []


class GpuWatch:
    """Looks at the GPUs now and then, as long as it is entered."""

    def __init__(self, gpus: float) -> None:
        self._samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gpus", daemon=True) if gpus else None

    def __enter__(self) -> Self:
        """Begin, where the work has a share of a GPU."""
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; a call under way is not waited for."""
        self._stop.set()

    def cost(self) -> dict[str, Any]:
        """Return what a record says of GPUs in its cost: mean utilisation, most memory; {} where nothing is known."""
        samples = list(self._samples)
        if not samples:
            return {}
        mean = sum(sample.utilization for sample in samples) / len(samples)
        return {"gpu": {"utilization": round(mean, 3), "memory_mib": max(sample.memory_mib for sample in samples)}}

    def _watch(self) -> None:
        pause: float = FIRST_SECONDS
        while not self._stop.wait(pause):
            found = look()
            if not found:
                return
            self._samples += found
            pause = EVERY_SECONDS
