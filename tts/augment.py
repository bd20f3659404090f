"""Acoustic augmentation of speech: speed, a room, noise at an exact SNR, a narrow band, gain, drawn by the row.

The order is that of the world: somebody speaks (speed) in a room, noise joins, a channel takes both (band), a
recorder sets the gain. Samples are float64 in steps of int16 until the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noise.lasting import COLOURS, coloured, recorded
from noise.signal import Samples, convolved, energy, filtered, in_noise, low_pass, with_energy

Range = tuple[float, float]

ECHO_AFTER_S = 0.005
ECHO_SHARE = 0.25  # of the direct sound's energy
DECIMALS = {"speed": 2, "rt60_s": 3, "band_hz": 0, "snr_db": 2, "gain_db": 2}


@dataclass(frozen=True)
class Ranges:
    """What is drawn from, each uniformly; None leaves a kind out.

    speed:   factor; 1.1 is a tenth faster, and higher, as a tape
    rt60_s:  seconds in which a room's echo falls by 60 dB
    band_hz: nothing is left above it: 3400 is a telephone
    snr_db:  energy of the speech over that of the noise, both over the whole clip
    gain_db: at last; what would clip is turned down
    """

    speed: Range | None = None
    rt60_s: Range | None = None
    band_hz: Range | None = None
    snr_db: Range | None = None
    gain_db: Range | None = None


@dataclass(frozen=True)
class Drawn:
    """What is to be done to one row's speech; None leaves a kind out."""

    speed: float | None = None
    rt60_s: float | None = None
    band_hz: float | None = None
    snr_db: float | None = None
    gain_db: float | None = None
    noise: str | None = None  # a key of COLOURS, or the name of a recording
    seed: int = 0  # of the room and the noise


def draw(seed: int, row_id: str, share: float, ranges: Ranges, noises: Sequence[str]) -> Drawn | None:
    """Draw what is done to a row's speech from (seed, row) alone; None for the rows that stay clean."""
    digest = hashlib.blake2b(f"{seed}/augment/{row_id}".encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest)))
    if rng.random() >= share:
        return None
    drawn = {key: _within(rng.random(), limits, DECIMALS[key]) for key, limits in asdict(ranges).items()}
    noise = noises[int(rng.integers(len(noises)))] if ranges.snr_db is not None else None
    return Drawn(**drawn, noise=noise, seed=int(rng.integers(2**62)))


def _within(u: float, limits: Range | None, decimals: int) -> float | None:
    if limits is None:
        return None
    low, high = limits
    return float(min(max(round(low + u * (high - low), decimals), low), high))


def augment(
    samples: NDArray[np.int16], rate_hz: int, drawn: Drawn, utterance: int = 0, noises: Path | None = None
) -> tuple[NDArray[np.int16], dict[str, float | str]]:
    """Return int16 (n,) with what was drawn done to it, of another length only by its speed; and what was done.

    What was done names no kind that could not be: a band wider than the samples', noise beside silence. `snr_db` is
    measured in the samples that are returned, `gain_db` is with what keeps them from clipping. The samples are the sum
    of the same speech without noise (at that gain), and noise in whole steps.

    Args:
        utterance: its number in the row: all are in one room, each with its own part of the noise.
        noises: the folder that recordings of noise lie in.
    Raises NoiseError for a recording of noise that cannot be read.
    """
    done: dict[str, float | str] = {}
    speech = samples.astype(np.float64)
    noise = np.zeros(0)
    if drawn.speed is not None:
        speech = _resampled(speech, round(1000 * drawn.speed), 1000)
        done["speed"] = drawn.speed
    if drawn.rt60_s is not None:
        response = room_response(drawn.rt60_s, rate_hz, _rng(drawn.seed, 0))
        speech = with_energy(convolved(speech, response)[: speech.size], energy(speech))
        done["rt60_s"] = drawn.rt60_s
    if drawn.snr_db is not None and drawn.noise is not None:
        noise = _noise(drawn.noise, speech.size, rate_hz, _rng(drawn.seed, 1 + utterance), noises)
    if drawn.band_hz is not None and 2 * drawn.band_hz < rate_hz:
        taps = low_pass(drawn.band_hz, rate_hz)
        speech, noise = filtered(speech, taps), filtered(noise, taps)
        done["band_hz"] = drawn.band_hz
    noisy = in_noise(speech, noise, drawn.snr_db or 0, drawn.gain_db or 0)
    whole = noisy.speech
    if drawn.gain_db is not None or noisy.gain_db:
        done["gain_db"] = noisy.gain_db
    if noisy.noise.any():
        done |= {"snr_db": noisy.snr_db, "noise": str(drawn.noise)}
        whole = whole + noisy.noise
    return np.clip(whole, -32768, 32767).astype(np.int16), done


def _rng(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, stream]))


def _resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    from quantize.audio import resample  # loads torch: in workers only

    return resample(samples.astype(np.float32), from_hz, to_hz).astype(np.float64)


def room_response(rt60_s: float, rate_hz: int, rng: np.random.Generator) -> Samples:
    """Return a room's impulse response: the direct sound, then diffuse echo, noise that falls by 60 dB in `rt60_s`.

    The echo starts after 5 ms, has a quarter of the direct sound's energy, and ends 60 dB down (Polack's model).
    """
    n = int(rt60_s * rate_hz)
    response = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / (rt60_s * rate_hz))
    response[: int(ECHO_AFTER_S * rate_hz)] = 0
    response = with_energy(response, ECHO_SHARE)
    response[0] = 1
    return response


def _noise(name: str, n: int, rate_hz: int, rng: np.random.Generator, folder: Path | None) -> Samples:
    """Return float64 (n,) of a generated noise, or of a recording."""
    if name in COLOURS:
        return coloured(COLOURS[name], n, rate_hz, rng)
    assert folder is not None, "names of recordings come from their folder"
    return recorded(folder / name, n, rate_hz, rng)
