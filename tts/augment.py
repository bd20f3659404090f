"""Acoustic augmentation of speech: speed, room, band limit, noise at an exact SNR, gain. What is drawn is the row's.

The order is that of the world: somebody speaks (speed), in a room, over a channel; noise joins, a recorder sets
the gain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Range = tuple[float, float]

NOISES: Mapping[str, float] = {"white": 0.0, "pink": 1.0, "brown": 2.0}
"""Generated noises: power falls by frequency to this exponent."""


@dataclass(frozen=True)
class Ranges:
    """What is drawn from, each uniformly; None leaves a kind out.

    speed:   factor; 1.1 is a tenth faster, and higher, as a tape
    rt60_s:  seconds in which a room's echo falls by 60 dB
    band_hz: above it nothing is left: 3400 is a telephone
    snr_db:  speech over noise, both over the whole clip
    gain_db: at last; what would clip is turned down
    """

    speed: Range | None = None
    rt60_s: Range | None = None
    band_hz: Range | None = None
    snr_db: Range | None = None
    gain_db: Range | None = None


@dataclass(frozen=True)
class Drawn:
    """What was done to one utterance; None where a kind was left out."""

    speed: float | None = None
    rt60_s: float | None = None
    band_hz: float | None = None
    snr_db: float | None = None
    noise: str | None = None  # a key of NOISES, or the name of a recording
    gain_db: float | None = None
    seed: int = 0  # of the noise and the room

    def told(self) -> dict[str, float | str]:
        """Return what was done, for the row."""
        return {key: value for key, value in asdict(self).items() if value is not None and key != "seed"}


def draw(seed: int, row_id: str, turn: int, share: float, ranges: Ranges, noises: Sequence[str]) -> Drawn | None:
    """Draw what is done to an utterance from (seed, row, turn) alone; None for the rows that stay clean."""
    digest = hashlib.blake2b(f"{seed}/augment/{row_id}/{turn}".encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest)))
    if rng.random() >= share:
        return None
    drawn = {key: _within(rng.random(), limits) for key, limits in asdict(ranges).items()}
    noise = noises[int(rng.integers(len(noises)))] if ranges.snr_db is not None else None
    return Drawn(**drawn, noise=noise, seed=int(rng.integers(2**62)))


def _within(u: float, limits: Range | None) -> float | None:
    return None if limits is None else round(limits[0] + u * (limits[1] - limits[0]), 3)


def augment(samples: NDArray[np.int16], rate_hz: int, drawn: Drawn, noises: Path | None = None) -> NDArray[np.int16]:
    """Return int16 (n,) with everything done that was drawn; of another length only by its speed.

    Args:
        noises: the folder that recordings of noise lie in.
    """
    speech = samples.astype(np.float64) / 32768
    rng = np.random.Generator(np.random.PCG64(drawn.seed))
    if drawn.speed is not None:
        speech = _resampled(speech, round(rate_hz * drawn.speed), rate_hz)
    if drawn.rt60_s is not None:
        speech = _in_room(speech, rate_hz, drawn.rt60_s, rng)
    if drawn.band_hz is not None and 2 * drawn.band_hz < rate_hz:
        narrow = round(2 * drawn.band_hz)
        speech = _resampled(_resampled(speech, rate_hz, narrow), narrow, rate_hz)[: speech.size]
    if drawn.snr_db is not None and drawn.noise is not None:
        speech = at_snr(speech, _noise(drawn.noise, speech.size, rate_hz, rng, noises), drawn.snr_db)
    if drawn.gain_db is not None:
        speech = speech * 10 ** (drawn.gain_db / 20)
    peak = float(np.abs(speech).max(initial=0))
    whole: NDArray[np.int16] = np.round(speech * (32767 / max(peak, 32767 / 32768))).astype(np.int16)
    return whole


def at_snr(speech: Samples, noise: Samples, snr_db: float) -> Samples:
    """Return speech with noise so loud that the ratio of their energies is `snr_db`; silence stays as it is."""
    energy, of_noise = float((speech**2).sum()), float((noise**2).sum())
    if energy == 0 or of_noise == 0:
        return speech
    noisy: Samples = speech + noise * np.sqrt(energy / of_noise / 10 ** (snr_db / 10))
    return noisy


def _resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    from quantize.audio import resample  # loads torch: in workers only

    return resample(samples.astype(np.float32), from_hz, to_hz).astype(np.float64)


def _in_room(speech: Samples, rate_hz: int, rt60_s: float, rng: np.random.Generator) -> Samples:
    """Return speech in a room of diffuse echo: the direct sound, then noise that falls by 60 dB in `rt60_s`.

    The echo starts after 5 ms, and has a quarter of the direct sound's energy; length and energy stay.
    """
    import torch
    from torchaudio.functional import fftconvolve

    n = max(1, int(rt60_s * rate_hz))
    response = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    response[: int(0.005 * rate_hz)] = 0
    response *= 0.5 / max(float(np.sqrt((response**2).sum())), 1e-12)
    response[0] = 1.0
    wet = fftconvolve(torch.from_numpy(speech), torch.from_numpy(response))[: speech.size].numpy()
    loud = float(np.sqrt((wet**2).sum()))
    result: Samples = wet * (float(np.sqrt((speech**2).sum())) / loud) if loud else wet
    return result


def _noise(name: str, n: int, rate_hz: int, rng: np.random.Generator, folder: Path | None) -> Samples:
    """Return float64 (n,) of a generated noise, or of a recording from a drawn place on, over and over."""
    if name in NOISES:
        spectrum = np.fft.rfft(rng.standard_normal(n))
        frequency = np.arange(spectrum.size)
        frequency[0] = 1
        noise: Samples = np.fft.irfft(spectrum / frequency ** (NOISES[name] / 2), n)
        return noise
    assert folder is not None, "names of recordings come from their folder"
    recording = _recording(folder / name, rate_hz)
    start = int(rng.integers(recording.size))
    return np.resize(np.roll(recording, -start), n)


@lru_cache(maxsize=64)
def _recording(path: Path, rate_hz: int) -> Samples:
    from quantize.audio import decode_audio, resample

    samples, from_hz = decode_audio(path)
    return resample(samples, from_hz, rate_hz).astype(np.float64)
