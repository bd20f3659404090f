"""Inaudible inputs and the answers to them."""

from noise.random_ids import NOISE_KINDS

__all__ = ["NOISE_KINDS"]
