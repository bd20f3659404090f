"""How well do mel512 tokens keep real speech apart? Spoken digits of speakers that the classifier has never heard.

    python benchmarks/digits.py DIRECTORY      # the Free Spoken Digit Dataset:
    {digit}_{speaker}_{n}.wav

Leave one speaker out: a digit takes the vote of the 3 nearest clips of all other speakers, by
dynamic time warping. The column "tokens" sees ids alone (through the codebook's rows), "mel" the
same features before the codebook; chance is 10 %.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from quantize.audio import decode_audio, resample
from quantize.clips import encode_recordings
from quantize.mel512 import SHIPPED_CODEBOOK, Mel512, mel_features
from quantize.tokenizer import SAMPLE_RATE_HZ

Floats = NDArray[np.float32]
NEIGHBOURS = 3


@dataclass(frozen=True)
class Clip:
    """One spoken digit: features (n_tokens, d) before the codebook, and the rows that its tokens stand for."""

    digit: int
    speaker: str
    mel: Floats
    tokens: Floats


def read_clips(folder: Path, tokenizer: Mel512) -> list[Clip]:
    """Read every `{digit}_{speaker}_{n}.wav` in `folder`. Raises ValueError if there is none."""
    clips = []
    for path in sorted(folder.glob("*_*_*.wav")):
        digit, speaker, _ = path.stem.split("_")
        samples, sample_rate_hz = decode_audio(path)
        mel = mel_features(resample(samples, sample_rate_hz, SAMPLE_RATE_HZ))
        ids = encode_recordings([(samples, sample_rate_hz)], tokenizer)[0]
        clips.append(Clip(int(digit), speaker, mel, tokenizer.rows[ids]))
    if not clips:
        raise ValueError(f"no {{digit}}_{{speaker}}_{{n}}.wav in {folder}")
    return clips


def warped_distances(query: Floats, others: Floats, lengths: NDArray[np.int64]) -> Floats:
    """Return float (n_others,): DTW distances per step of a path, from query (n, d) to others (n_others, longest, d).

    Symmetric steps, a diagonal one counted twice (Sakoe and Chiba 1978, table I, P = 0), so that n
    + length normalises.
    """
    local = np.linalg.norm(query[None, :, None] - others[:, None], axis=-1)
    n_others, n, longest = local.shape
    total = np.full((n_others, n + 1, longest + 1), np.inf, np.float32)
    total[:, 0, 0] = 0
    for i in range(n):
        for j in range(longest):
            cost = local[:, i, j]
            straight = np.minimum(total[:, i, j + 1], total[:, i + 1, j]) + cost
            total[:, i + 1, j + 1] = np.minimum(straight, total[:, i, j] + 2 * cost)
    warped: Floats = total[np.arange(n_others), n, lengths] / (n + lengths)
    return warped


def accuracy_of(digits: NDArray[np.int64], speakers: NDArray[np.str_], sequences: list[Floats], held_out: str) -> float:
    """The share of `held_out`'s digits that the nearest clips of the other speakers name rightly."""
    lengths = np.array([len(sequence) for sequence in sequences])
    padded = np.zeros((len(sequences), lengths.max(), sequences[0].shape[1]), np.float32)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    known, asked = np.flatnonzero(speakers != held_out), np.flatnonzero(speakers == held_out)
    right = 0
    for clip in asked:
        distances = warped_distances(sequences[clip], padded[known], lengths[known])
        nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
        votes = np.bincount(digits[known][nearest], weights=1 / (distances[nearest] + 1e-6), minlength=10)
        right += int(votes.argmax() == digits[clip])
    return right / len(asked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="folder of {digit}_{speaker}_{n}.wav")
    parser.add_argument("--codebook", type=Path, default=SHIPPED_CODEBOOK, help="default: the shipped one")
    arguments = parser.parse_args()
    clips = read_clips(arguments.directory, Mel512(arguments.codebook))
    digits = np.array([clip.digit for clip in clips])
    speakers = np.array([clip.speaker for clip in clips])
    scores: list[tuple[float, float]] = []
    print(f"{'held out':<10} {'clips':>5} {'tokens':>7} {'mel':>7}")
    for speaker in sorted(set(speakers.tolist())):
        tokens = accuracy_of(digits, speakers, [clip.tokens for clip in clips], speaker)
        mel = accuracy_of(digits, speakers, [clip.mel for clip in clips], speaker)
        scores.append((tokens, mel))
        print(f"{speaker:<10} {int((speakers == speaker).sum()):>5} {tokens:>7.1%} {mel:>7.1%}")
    tokens, mel = np.mean(scores, axis=0)
    print(f"{'mean':<10} {len(clips):>5} {tokens:>7.1%} {mel:>7.1%}   (chance 10.0%)")


if __name__ == "__main__":
    main()
