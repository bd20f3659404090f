"""Fit a codebook on any audio, with vector-quantize-pytorch: k-means, then EMA over batches."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from quantize.audio import resample
from quantize.codebook import Codebook, load_codebook, save_codebook
from quantize.mel512 import FEATURES, mel_features, nearest_rows
from quantize.one_thread import one_thread
from quantize.tokenizer import SAMPLE_RATE_HZ, TOKENS_PER_SECOND, AudioError

__all__ = ["FEATURES", "Codebook", "fit_codebook", "load_codebook", "save_codebook"]

MIN_VECTORS_PER_CODE = 10
KMEANS_VECTORS = 25_000
BATCH_VECTORS = 8_192
PASSES = 3
MAX_PASSES = 20


def fit_codebook(clips: Iterable[tuple[NDArray[np.float32], int]], *, seed: int, n_codes: int = 512) -> Codebook:
    """Fit `n_codes` rows on clips of (float32 (n_samples,), rate in Hz), of any length, in the order given.

    The same clips in the same order with the same seed give the same bits, whatever the number of
    torch threads: it runs on one. Every row is the nearest one of some vector. Raises ValueError
    where the audio is too little or too uniform for that, AudioError for a clip that is not finite.
    """
    with one_thread():
        vectors = _all_features(clips)
        needed = n_codes * MIN_VECTORS_PER_CODE
        if len(vectors) < needed:
            raise ValueError(
                f"{len(vectors) / TOKENS_PER_SECOND:.1f} s of audio cannot fit {n_codes} codes: "
                f"at least {needed / TOKENS_PER_SECOND:.1f} s are needed ({MIN_VECTORS_PER_CODE} vectors a code)"
            )
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            return _fit_vectors(torch.from_numpy(vectors), n_codes)


def _all_features(clips: Iterable[tuple[NDArray[np.float32], int]]) -> NDArray[np.float32]:
    """The features of all clips, one below another: float32 (n_vectors, 13)."""
    features = [mel_features(np.zeros(0, np.float32))]
    for position, (samples, sample_rate_hz) in enumerate(clips):
        if not np.isfinite(samples).all():
            raise AudioError(f"clip {position} holds samples that are not finite")
        features.append(mel_features(resample(samples, sample_rate_hz, SAMPLE_RATE_HZ)))
    return np.concatenate(features)


def _fit_vectors(vectors: torch.Tensor, n_codes: int) -> Codebook:
    """Run k-means on a sample and EMA passes over everything, until no row is idle."""
    from vector_quantize_pytorch import VectorQuantize  # 3 s to import, and only this function needs it

    quantizer = VectorQuantize(
        vectors.shape[1], n_codes, kmeans_init=True, kmeans_iters=10, decay=0.9, threshold_ema_dead_code=1
    ).train()
    quantizer(vectors[torch.randperm(len(vectors))[:KMEANS_VECTORS]][None])
    for n_passes in range(1, MAX_PASSES + 1):
        for batch in torch.split(torch.randperm(len(vectors)), BATCH_VECTORS):
            quantizer(vectors[batch][None])
        rows: NDArray[np.float32] = quantizer.codebook.numpy().copy()
        usage = np.bincount(nearest_rows(vectors.numpy(), rows), minlength=n_codes)
        if n_passes >= PASSES and usage.all():
            return Codebook(rows, usage)
    raise ValueError(
        f"after {MAX_PASSES} passes over {len(vectors)} vectors {np.count_nonzero(usage == 0)} of {n_codes} codes "
        "stand for nothing: the audio is too uniform (silence, or one clip repeated); add other audio"
    )
