"""The kinds of inaudible input, and what each is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from noise.sounds import SOUNDS

Material = Literal["codes", "tokens", "nothing", "recordings", "speech"]

NOISE_KINDS: Mapping[str, Material] = {
    **dict.fromkeys(("independent", "sticky"), "codes"),
    "shuffled": "tokens",
    **dict.fromkeys(SOUNDS, "nothing"),
    "recordings": "recordings",
    **dict.fromkeys(("babble", "masked", "fragment", "reversed"), "speech"),
}
"""Kind -> what it is made of: ids out of nothing (codes), ids of this run's utterances (tokens); and as sound, which
the run's tokenizer hears: nothing, recordings of noise, this run's speech."""

HEARD: tuple[Material, ...] = ("nothing", "recordings", "speech")
"""The materials of sounds that a tokenizer hears."""


def made_of(kinds: Iterable[str], *materials: Material) -> bool:
    """Tell whether one of some kinds is made of one of some materials."""
    return any(NOISE_KINDS[kind] in materials for kind in kinds)
