"""Inaudible inputs and the answers to them."""

from noise.kinds import HEARD, NOISE_KINDS, made_of

__all__ = ["HEARD", "NOISE_KINDS", "made_of"]
