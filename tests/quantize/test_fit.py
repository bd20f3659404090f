import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from quantize import AudioError
from quantize.audio import resample
from quantize.codebook import Codebook
from quantize.fit import FEATURES, fit_codebook, load_codebook, save_codebook
from quantize.mel512 import SHIPPED_CODEBOOK, Mel512, mel_features, nearest_rows

ROOT = Path(__file__).parents[2]
Clip = tuple[NDArray[np.float32], int]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """40 clips of 1 s, each a few tones that change every 40 ms, above noise."""
    draw = np.random.default_rng(0)
    made = []
    for rate in [8000, 16_000] * 20:
        hz = np.repeat(draw.uniform(100, 3500, (26, 3)), rate // 25, axis=0)[:rate]
        tones = np.sin(2 * np.pi * np.cumsum(hz, axis=0) / rate).sum(axis=1)
        made.append(((0.2 * tones + draw.normal(0, 0.01, rate)).astype(np.float32), rate))
    return made


def test_the_same_audio_gives_the_same_bits_on_any_number_of_threads(clips: list[Clip]) -> None:
    before = torch.get_num_threads()
    torch.manual_seed(123)
    state = torch.get_rng_state()
    one = fit_codebook(clips, seed=7, n_codes=32)
    assert torch.equal(torch.get_rng_state(), state)
    try:
        torch.set_num_threads(3)
        two = fit_codebook(iter(clips), seed=7, n_codes=32)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert one.rows.tobytes() == two.rows.tobytes()
    assert np.array_equal(one.usage, two.usage)
    assert not np.array_equal(fit_codebook(clips, seed=8, n_codes=32).rows, one.rows)


def test_rows_stand_for_the_audio_and_none_is_idle(clips: list[Clip]) -> None:
    codebook = fit_codebook(clips, seed=0, n_codes=32)
    assert codebook.rows.dtype == np.float32
    assert codebook.usage.min() > 0
    assert codebook.usage.sum() == 40 * 25
    assert 16 < codebook.perplexity <= 32
    vectors = np.concatenate([mel_features(resample(samples, rate, 16_000)) for samples, rate in clips])
    error = ((vectors - codebook.rows[nearest_rows(vectors, codebook.rows)]) ** 2).sum()
    assert error < 0.7 * ((vectors - vectors.mean(axis=0)) ** 2).sum()


def test_nearest_rows_are_the_nearest() -> None:
    draw = np.random.default_rng(0)
    points, rows = draw.normal(size=(200, 13)).astype(np.float32), draw.normal(size=(50, 13)).astype(np.float32)
    distances = np.linalg.norm(points[:, None] - rows[None], axis=-1)
    assert np.array_equal(nearest_rows(points, rows), distances.argmin(axis=1))


def test_perplexity_counts_the_codes_in_use() -> None:
    rows = np.zeros((4, 13), np.float32)
    assert Codebook(rows, np.array([5, 5, 5, 5])).perplexity == pytest.approx(4)
    assert Codebook(rows, np.array([9, 0, 0, 0])).perplexity == pytest.approx(1)


def test_audio_that_cannot_be_fitted_is_refused(clips: list[Clip]) -> None:
    with pytest.raises(ValueError, match=r"40\.0 s of audio cannot fit 512 codes: at least 204\.8 s"):
        fit_codebook(clips, seed=0)
    with pytest.raises(ValueError, match=r"0\.0 s of audio"):
        fit_codebook([], seed=0)
    with pytest.raises(ValueError, match="too uniform"):
        fit_codebook([(np.zeros(16_000 * 20, np.float32), 16_000)], seed=0, n_codes=8)
    with pytest.raises(AudioError, match="clip 1 holds"):
        fit_codebook([clips[0], (np.full(800, np.nan, np.float32), 8000)], seed=0)


def test_a_file_gives_its_codebook_and_metadata_back_and_has_one_spelling(tmp_path: Path, clips: list[Clip]) -> None:
    codebook = fit_codebook(clips, seed=0, n_codes=16)
    metadata = {"features": FEATURES, "seed": "0", **{f"key {k}": "ä" for k in range(9)}}
    paths = [tmp_path / f"{k}.safetensors" for k in range(4)]
    for path in paths:
        save_codebook(path, codebook, metadata)
    assert len({path.read_bytes() for path in paths}) == 1
    loaded, read = load_codebook(paths[0])
    assert read == metadata
    assert loaded.rows.tobytes() == codebook.rows.tobytes()
    assert np.array_equal(loaded.usage, codebook.usage)
    assert Mel512(paths[0]).n_codes == 16


@pytest.mark.long
def test_the_shipped_codebook_is_remade_by_its_command(tmp_path: Path) -> None:
    """Byte for byte where versions and processor are those of the file; elsewhere nearly so.

    docs/quantize.md says how near other kernels came: k-means turns a last bit into other rows.
    """
    pytest.importorskip("espeakng_loader", reason="the fitting speech is eSpeak NG's: pip install -e '.[espeak]'")
    remade = tmp_path / "mel512.safetensors"
    command = [sys.executable, "-m", "pipelines", "fit-codebook", "--out", str(remade)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (shipped, made), (ours, made_here) = load_codebook(SHIPPED_CODEBOOK), load_codebook(remade)
    assert shipped.usage.min() > 0
    assert shipped.perplexity > 400
    if made == made_here:
        assert remade.read_bytes() == SHIPPED_CODEBOOK.read_bytes()
        return
    where = ("torch", "vector_quantize_pytorch", "espeak", "processor", "data")
    known = {key: value for key, value in made.items() if key not in where}
    assert known == {key: made_here[key] for key in known}, json.dumps(made_here, indent=1)
    probe = shipped.rows + np.random.default_rng(0).normal(0, 0.05, shipped.rows.shape).astype(np.float32)
    assert (nearest_rows(probe, shipped.rows) == nearest_rows(probe, ours.rows)).mean() >= 0.9
