"""Acoustic augmentation of speech: speed, a room, noise at an exact SNR, a narrow band, gain, drawn by the row.

The order is that of the world: somebody speaks (speed) in a room, noise joins, a channel takes both (band), a
recorder sets the gain. Samples are float64 in steps of int16 until the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile  # type: ignore[import-untyped,unused-ignore]
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Range = tuple[float, float]

NOISES: Mapping[str, float] = {"white": 0.0, "pink": 1.0, "brown": 2.0}
"""Generated noises: power falls by frequency to this exponent."""

LOWEST_HZ = 50.0  # generated noise starts here: most of brown noise would else lie below what can be heard
LOUDEST = 32_700  # of 32,767: what whole steps may add fits beside it
STOP_DB = 80.0  # what is above a narrow band is this far down
ECHO_AFTER_S = 0.005
ECHO_SHARE = 0.25  # of the direct sound's energy
SEAM_S = 0.02
DECIMALS = {"speed": 2, "rt60_s": 3, "band_hz": 0, "snr_db": 2, "gain_db": 2}


class NoiseError(ValueError):
    """A recording of noise cannot be read."""


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
    noise: str | None = None  # a key of NOISES, or the name of a recording
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
        speech = _with_energy(_convolved(speech, response)[: speech.size], energy(speech))
        done["rt60_s"] = drawn.rt60_s
    if drawn.snr_db is not None and drawn.noise is not None:
        noise = _noise(drawn.noise, speech.size, rate_hz, _rng(drawn.seed, 1 + utterance), noises)
    if drawn.band_hz is not None and 2 * drawn.band_hz < rate_hz:
        taps = low_pass(drawn.band_hz, rate_hz)
        speech, noise = _filtered(speech, taps), _filtered(noise, taps)
        done["band_hz"] = drawn.band_hz
    snr = 10 ** ((drawn.snr_db or 0) / 10)
    gain_db = _gain_db(speech, _with_energy(noise, energy(speech) / snr), drawn.gain_db or 0)
    if drawn.gain_db is not None or gain_db:
        done["gain_db"] = gain_db
    whole = np.rint(speech * 10 ** (gain_db / 20))
    added = in_whole_steps(noise, energy(whole) / snr)
    if added.any():
        done["snr_db"] = round(10 * float(np.log10(energy(whole) / energy(added))), 3)
        done["noise"] = str(drawn.noise)
        whole = whole + added
    return np.clip(whole, -32768, 32767).astype(np.int16), done


def _rng(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, stream]))


def _gain_db(speech: Samples, noise: Samples, wanted_db: float) -> float:
    """Return the wanted gain, or the largest at which speech clips neither with noise nor without."""
    peak = max(float(np.abs(s).max(initial=0)) for s in (speech, speech + noise if noise.size else speech))
    if peak * 10 ** (wanted_db / 20) <= LOUDEST:
        return wanted_db
    return float(np.floor(20_000 * np.log10(LOUDEST / peak)) / 1000)


def energy(samples: Samples) -> float:
    """Return the sum of squares: by NumPy's sum, since a BLAS adds in an order that depends on its threads."""
    return float(np.square(samples).sum())


def _with_energy(samples: Samples, wanted: float) -> Samples:
    """Return samples at another energy; silence stays as it is."""
    own = energy(samples)
    scaled: Samples = samples * np.sqrt(wanted / own) if own else samples
    return scaled


def in_whole_steps(noise: Samples, wanted: float) -> Samples:
    """Return noise, louder or quieter, in whole steps whose energy is as near to the wanted as they come.

    Rounding moves the noise's norm by half a step a sample at most, which bounds the factor from both sides; the
    energy of what is rounded never falls as the factor grows, so that halving finds it.
    """
    norm, slack = np.sqrt(energy(noise)), 0.5 * np.sqrt(noise.size)
    if norm == 0 or wanted == 0:
        return np.zeros_like(noise)
    low, high = max(0.0, np.sqrt(wanted) - slack) / norm, (np.sqrt(wanted) + slack) / norm
    for _ in range(40):
        middle = (low + high) / 2
        steps: Samples = np.rint(middle * noise)
        ratio = energy(steps) / wanted
        if abs(ratio - 1) < 1e-3:  # 0.004 dB
            return steps
        low, high = (middle, high) if ratio < 1 else (low, middle)
    return min((np.rint(factor * noise) for factor in (low, high)), key=lambda steps: abs(energy(steps) - wanted))


def _resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    from quantize.audio import resample  # loads torch: in workers only

    return resample(samples.astype(np.float32), from_hz, to_hz).astype(np.float64)


def _convolved(samples: Samples, taps: Samples) -> Samples:
    """Return the full convolution, float64 (n + taps - 1,).

    By NumPy at a power of two: torchaudio's fftconvolve transforms at whatever the length is, 30 times slower.
    """
    n = samples.size + taps.size - 1
    padded = _power_of_two(n)
    result: Samples = np.fft.irfft(np.fft.rfft(samples, padded) * np.fft.rfft(taps, padded), padded)
    return result[:n]


def _filtered(samples: Samples, taps: Samples) -> Samples:
    """Return float64 (n,) filtered by symmetric taps, in time with what it was."""
    return _convolved(samples, taps)[taps.size // 2 :][: samples.size]


def _power_of_two(n: int) -> int:
    """Return the least power of two that is no less than n."""
    return 1 << (n - 1).bit_length()


def room_response(rt60_s: float, rate_hz: int, rng: np.random.Generator) -> Samples:
    """Return a room's impulse response: the direct sound, then diffuse echo, noise that falls by 60 dB in `rt60_s`.

    The echo starts after 5 ms, has a quarter of the direct sound's energy, and ends 60 dB down (Polack's model).
    """
    n = int(rt60_s * rate_hz)
    response = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / (rt60_s * rate_hz))
    response[: int(ECHO_AFTER_S * rate_hz)] = 0
    response = _with_energy(response, ECHO_SHARE)
    response[0] = 1
    return response


def low_pass(band_hz: float, rate_hz: int) -> Samples:
    """Return a linear-phase FIR filter: flat up to 0.9 times `band_hz`, 80 dB down from there on (Kaiser's window)."""
    width = 0.1 * band_hz / rate_hz  # of the transition, in cycles a sample
    half = int(np.ceil((STOP_DB - 7.95) / (14.36 * width) / 2))
    at = np.arange(-half, half + 1)
    cut = 0.95 * band_hz / rate_hz
    taps: Samples = 2 * cut * np.sinc(2 * cut * at) * np.kaiser(at.size, 0.1102 * (STOP_DB - 8.7))
    return taps


def _noise(name: str, n: int, rate_hz: int, rng: np.random.Generator, folder: Path | None) -> Samples:
    """Return float64 (n,) of a generated noise, or of a recording."""
    if name in NOISES:
        return generated(NOISES[name], n, rate_hz, rng)
    assert folder is not None, "names of recordings come from their folder"
    return _recorded(folder / name, n, rate_hz, rng)


def generated(exponent: float, n: int, rate_hz: int, rng: np.random.Generator) -> Samples:
    """Return float64 (n,) of Gaussian noise whose power falls by frequency to an exponent, from 50 Hz on."""
    padded = _power_of_two(max(n, 2))
    hz = np.fft.rfftfreq(padded, 1 / rate_hz)
    shape = np.where(hz >= LOWEST_HZ, np.maximum(hz, LOWEST_HZ) ** (-exponent / 2), 0)
    noise: Samples = np.fft.irfft(np.fft.rfft(rng.standard_normal(padded)) * shape, padded)
    return noise[:n]


def _recorded(path: Path, n: int, rate_hz: int, rng: np.random.Generator) -> Samples:
    """Return float64 (n,) of a recording from a drawn place on; a shorter one goes round, its seam faded.

    Only what is needed is read: recordings of noise are long. Raises NoiseError.
    """
    try:
        with soundfile.SoundFile(path) as file:
            from_hz = int(file.samplerate)
            needed = -(-n * from_hz // rate_hz)
            file.seek(int(rng.integers(max(1, file.frames - needed + 1))))
            samples = file.read(needed, dtype="float32", always_2d=True).mean(axis=1, dtype=np.float64)
    except soundfile.LibsndfileError as error:
        raise NoiseError(f"{path}: not audio that libsndfile reads ({error})") from error
    if not samples.size or not np.isfinite(samples).all():
        raise NoiseError(f"{path}: holds {'samples that are not finite' if samples.size else 'no samples'}")
    return _as_long(_resampled(samples, from_hz, rate_hz), n, int(SEAM_S * rate_hz), rng)


def _as_long(samples: Samples, n: int, seam: int, rng: np.random.Generator) -> Samples:
    """Return float64 (n,): the beginning, or the whole over and over from a drawn place on.

    Args:
        seam: samples in which the end fades into the beginning, at equal power.
    """
    if samples.size >= n:
        return samples[:n]
    seam = min(seam, samples.size // 2)
    rise = np.sin(np.pi / 2 * (np.arange(seam) + 0.5) / max(seam, 1))
    ring = samples[: samples.size - seam].copy()
    ring[:seam] = ring[:seam] * rise + samples[samples.size - seam :] * rise[::-1]
    return np.resize(np.roll(ring, -int(rng.integers(ring.size))), n)
