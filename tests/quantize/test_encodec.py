"""Encodec: the package's own codes, interleaved. Its weights are seeded, of the true format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from quantize import load_tokenizer  # first: it makes torchaudio, which encodec imports, importable beside CPU torch
from quantize.clips import encode_recordings
from quantize.tokenizer import AudioError, Compute

encodec = pytest.importorskip("encodec", reason="the extra encodec is not installed")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    model = encodec.EncodecModel.encodec_model_24khz(pretrained=False)
    state = model.state_dict()
    for name, value in state.items():  # codebooks are zeros until they are trained
        if name.endswith("codebook.embed"):
            state[name] = torch.randn(value.shape)
    path = tmp_path_factory.mktemp("encodec") / "encodec_24khz.th"
    torch.save(state, path)
    return path


def upstream(weights: Path, clip: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the package's codes (2, n_frames) at 1.5 kbps."""
    model = encodec.EncodecModel.encodec_model_24khz(pretrained=False)
    model.load_state_dict(torch.load(weights))
    model.set_target_bandwidth(1.5)
    model.eval()
    with torch.no_grad():
        ((codes, _),) = model.encode(torch.from_numpy(clip)[None, None])
    found: NDArray[np.int64] = codes[0].numpy()
    return found


@pytest.mark.parametrize("n", [320, 24_000, 50_001])
def test_ids_are_the_packages_codes_interleaved(n: int, weights: Path) -> None:
    tokenizer = load_tokenizer("encodec", {"model": str(weights)})
    clip = np.random.default_rng(n).normal(0, 0.1, n).astype(np.float32)
    (ids,) = tokenizer.encode([clip])
    codes = upstream(weights, clip)
    assert codes.shape == (2, -(-n // 320))
    assert ids[0::2].tolist() == codes[0].tolist()
    assert ids[1::2].tolist() == (codes[1] + 1024).tolist()
    assert (tokenizer.n_codes, tokenizer.tokens_per_second, tokenizer.mask_code) == (2048, 150, None)
    assert len(set(ids.tolist())) > 1


def test_recordings_of_any_rate_and_length_are_taken(weights: Path) -> None:
    tokenizer = load_tokenizer("encodec", {"model": str(weights)})
    sound = np.random.default_rng(0).normal(0, 0.1, 31 * 8000).astype(np.float32)
    (ids,) = encode_recordings([(sound, 8000)], tokenizer)
    assert len(ids) == 31 * 150


def test_what_it_refuses(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="encodec runs in fp32 alone"):
        load_tokenizer("encodec", {"model": str(weights)}, Compute(precision="bf16"))
    other = tmp_path / "other.th"
    torch.save({"x": torch.zeros(1)}, other)
    with pytest.raises(ValueError, match=r"other\.th is not Encodec's 24 kHz model"):
        load_tokenizer("encodec", {"model": str(other)})
    with pytest.raises(AudioError, match="empty"):
        load_tokenizer("encodec", {"model": str(weights)}).encode([np.zeros(0, np.float32)])
