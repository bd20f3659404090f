"""Whether what a sampling engine made can be the text: it may run on, stop early, loop or say nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST_PERIOD = 32
"""Tokens of the longest pattern that is sought: 1.3 s at 25 a second."""


@dataclass(frozen=True)
class Plausible:
    """What is taken for speech.

    shortest, longest: of the time that a text's characters take at the rate asked for
    slack_seconds:     more than the longest, for very short texts
    loop_seconds:      how long a pattern of tokens may go on repeating
    quietest_dbfs:     level of the whole, root mean square, of full scale
    """

    shortest: float = 0.4
    longest: float = 2.5
    slack_seconds: float = 1.0
    loop_seconds: float = 2.0
    quietest_dbfs: float = -55.0

    def __post_init__(self) -> None:
        """Raise ValueError that says what is wrong."""
        if not 0 <= self.shortest < self.longest or self.slack_seconds < 0 or self.loop_seconds <= 0:
            raise ValueError(f"{self} takes nothing for speech")


def token_fault(
    tokens: NDArray[np.integer], stopped: bool, text: str, cps: float, tokens_per_second: int, limits: Plausible
) -> str | None:
    """Return what is wrong with sound tokens (n_tokens,) as the speech of `text`, with its measurements; None: nothing.

    Args:
        stopped: whether the model ended by itself.
        cps: characters a second that were asked for.
    """
    seconds = len(tokens) / tokens_per_second
    expected = len(text) / cps
    measured = (
        f"{len(tokens)} tokens ({seconds:.2f} s) for {len(text)} characters ({expected:.2f} s at {cps:g} a second)"
    )
    if not stopped:
        return f"runaway: no stop within {measured}"
    if len(tokens) < 2 or seconds < limits.shortest * expected:
        return f"too short: {measured}"
    if seconds > limits.longest * expected + limits.slack_seconds:
        return f"too long: {measured}"
    period, repeated = longest_loop(tokens)
    if repeated > limits.loop_seconds * tokens_per_second:
        return f"loop: {period} tokens repeat for {repeated / tokens_per_second:.2f} s, in {measured}"
    return None


def audio_fault(samples: NDArray[np.float32], limits: Plausible) -> str | None:
    """Return what is wrong with float32 (n_samples,) of full scale 1 as speech; None: nothing."""
    if not np.isfinite(samples).all():
        return f"not finite: sample {np.flatnonzero(~np.isfinite(samples))[0]} of {samples.size}"
    level = 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-20) if samples.size else -200.0
    if level < limits.quietest_dbfs:
        return f"silence: {level:.0f} dBFS in {samples.size} samples"
    return None


def longest_loop(tokens: NDArray[np.integer]) -> tuple[int, int]:
    """Return (period, n_tokens) of the longest stretch that repeats what came up to 32 tokens before; (0, 0) for none.

    n_tokens are those that repeat: n - 1 for a run of n equal ones.
    """
    best = (0, 0)
    for period in range(1, min(LONGEST_PERIOD, len(tokens) - 1) + 1):
        differs = np.flatnonzero(tokens[period:] != tokens[:-period])
        edges = np.concatenate([[-1], differs, [len(tokens) - period]])
        repeated = int(np.diff(edges).max()) - 1
        if repeated > best[1]:
            best = (period, repeated)
    return best
