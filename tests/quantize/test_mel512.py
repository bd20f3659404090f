import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quantize import AudioError, Tokenizer, load_tokenizer
from quantize.audio import decode_audio, resample
from quantize.codebook import Codebook, save_codebook
from quantize.mel512 import SHIPPED_CODEBOOK, Mel512, mel_features
from quantize.tokenizer import label

ROOT = Path(__file__).parents[2]
Clip = tuple[NDArray[np.float32], int]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer("mel512")


def encode(tokenizer: Tokenizer, samples: NDArray[np.float32], rate: int) -> NDArray[np.uint16]:
    return tokenizer.encode([resample(samples, rate, 16_000)])[0]


@pytest.fixture(scope="module")
def recordings(shared_data: Path) -> dict[str, Clip]:
    """Every recording of real speech: wav, flac, mp3 and opus; mono and stereo; 8 to 48 kHz."""
    files = [path for path in sorted((shared_data / "speech").rglob("*.*")) if path.suffix != ".tsv"]
    clips = {path.name: decode_audio(path) for path in files}
    assert {path.suffix for path in files} >= {".wav", ".flac", ".mp3", ".opus"}
    assert {rate for _, rate in clips.values()} >= {8000, 16_000, 22_050, 44_100, 48_000}
    return clips


@pytest.fixture(scope="module")
def long_recordings(recordings: dict[str, Clip]) -> dict[str, Clip]:
    return {name: clip for name, clip in recordings.items() if len(clip[0]) > clip[1]}


def babble(seed: int, n: int) -> NDArray[np.float32]:
    """Coloured noise whose colour and loudness change, so that tokens change too."""
    draw = np.random.default_rng(seed)
    noise = draw.normal(0, 1, n)
    slow = np.interp(np.arange(n), np.arange(0, n + 4000, 4000), draw.uniform(0, 1, len(range(0, n + 4000, 4000))))
    return (slow * noise + (1 - slow) * np.cumsum(noise) / 50).astype(np.float32) * 0.1


def test_what_it_says_of_itself(tokenizer: Tokenizer) -> None:
    assert (tokenizer.name, tokenizer.n_codes) == ("mel512", 512)
    assert (tokenizer.tokens_per_second, tokenizer.max_seconds) == (25, 30.0)
    assert len(tokenizer.digest) == 32
    assert label(tokenizer) == f"mel512@{tokenizer.digest[:12]}/fp32"
    assert SHIPPED_CODEBOOK.stat().st_size < 1_000_000


def test_every_recording_gives_25_valid_tokens_a_second_twice(
    tokenizer: Tokenizer, recordings: dict[str, Clip]
) -> None:
    assert len(recordings) > 300
    for name, (samples, rate) in recordings.items():
        ids = encode(tokenizer, samples, rate)
        assert ids.dtype == np.uint16
        assert len(ids) == -(-len(samples) * 16_000 // rate) // 640, name
        assert abs(len(ids) - int(25 * len(samples) / rate)) <= 1, name
        assert ids.max(initial=0) < 512
        assert np.array_equal(ids, encode(tokenizer, samples.copy(), rate)), name


def test_speech_uses_many_codes(tokenizer: Tokenizer, long_recordings: dict[str, Clip]) -> None:
    for name in long_recordings.keys() - {"stereo.opus"}:  # a second of nearly one sound
        ids = encode(tokenizer, *long_recordings[name])
        assert len(set(ids.tolist())) > len(ids) ** 0.5, name


def test_a_fresh_process_and_any_number_of_threads_agree(
    tokenizer: Tokenizer, long_recordings: dict[str, Clip], shared_data: Path
) -> None:
    expected = {name: encode(tokenizer, *clip).tolist() for name, clip in long_recordings.items()}
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            assert {name: encode(tokenizer, *clip).tolist() for name, clip in long_recordings.items()} == expected
    finally:
        torch.set_num_threads(before)
    script = (
        "import json, sys\nfrom pathlib import Path\n"
        "from quantize import load_tokenizer\nfrom quantize.audio import decode_audio\n"
        "from quantize.clips import encode_recordings\ntokenizer = load_tokenizer('mel512')\n"
        "clips = {name: decode_audio(Path(sys.argv[1], name)) for name in sys.argv[2:]}\n"
        "print(json.dumps({name: encode_recordings([clip], tokenizer)[0].tolist() for name, clip in clips.items()}))"
    )
    command = [sys.executable, "-c", script, str(shared_data / "speech"), *(n for n in expected if "_" not in n)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert json.loads(answer) == {name: ids for name, ids in expected.items() if "_" not in name}


def agreement(one: NDArray[np.uint16], other: NDArray[np.uint16]) -> float:
    assert abs(len(one) - len(other)) <= 1
    n = min(len(one), len(other))
    return float((one[:n] == other[:n]).mean())


@pytest.mark.parametrize("gain", [0.001, 0.3, 3.0])
def test_loudness_does_not_matter(tokenizer: Tokenizer, long_recordings: dict[str, Clip], gain: float) -> None:
    for name, (samples, rate) in long_recordings.items():
        louder = samples * np.float32(gain)
        assert agreement(encode(tokenizer, samples, rate), encode(tokenizer, louder, rate)) >= 0.99, name


@pytest.mark.parametrize(("rate", "least"), [(48_000, 0.98), (22_050, 0.98), (8000, 0.75)])
def test_other_sample_rates_of_one_recording_mostly_agree(
    tokenizer: Tokenizer, long_recordings: dict[str, Clip], rate: int, least: float
) -> None:
    same = total = 0.0
    for samples, from_hz in long_recordings.values():
        at_16k = resample(samples, from_hz, 16_000)
        ids = encode(tokenizer, at_16k, 16_000)
        same += len(ids) * agreement(ids, encode(tokenizer, resample(at_16k, 16_000, rate), rate))
        total += len(ids)
    assert same / total >= least


def test_features_are_centred_and_a_mild_filter_moves_them_little(long_recordings: dict[str, Clip]) -> None:
    change, spread = [], []
    for samples, rate in long_recordings.values():
        at_16k = resample(samples, rate, 16_000)
        before = np.concatenate([at_16k[:1], at_16k[:-1]])
        coloured: NDArray[np.float32] = (at_16k - 0.5 * before).astype(np.float32)
        features = mel_features(at_16k)
        assert np.abs(features.mean(axis=0)).max() < 1e-4
        change.append(np.abs(features - mel_features(coloured)).mean())
        spread.append(np.abs(features).mean())
    assert np.mean(change) < 0.3 * np.mean(spread)


@pytest.mark.parametrize(("n", "tokens"), [(1, 0), (199, 0), (639, 0), (640, 1), (1279, 1), (1280, 2), (480_000, 750)])
def test_token_count_at_the_edges(tokenizer: Tokenizer, n: int, tokens: int) -> None:
    assert encode(tokenizer, babble(0, n), 16_000).shape == (tokens,)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60_000), st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000]), st.integers(0, 99))
def test_any_clip_gives_its_tokens(n: int, rate: int, seed: int) -> None:
    ids = encode(Mel512(), babble(seed, n), rate)
    assert len(ids) == -(-n * 16_000 // rate) // 640
    assert ids.max(initial=0) < 512


def test_silence_is_one_sound(tokenizer: Tokenizer) -> None:
    ids = encode(tokenizer, np.zeros(16_000, np.float32), 16_000)
    assert len(ids) == 25
    assert len(set(ids.tolist())) == 1


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        (np.zeros(0, np.float32), AudioError, "empty"),
        (np.array([0, 1, np.nan], np.float32), AudioError, "sample 2 of 3 is nan"),
        (np.array([np.inf, 1], np.float32), AudioError, "sample 0 of 2 is inf"),
        (np.zeros(480_001, np.float32), ValueError, r"30\.00 s of audio, and at most 30\.0 s"),
        (np.zeros((2, 800), np.float32), ValueError, r"not float32 \(2, 800\)"),
        (np.zeros(800, np.int16), ValueError, r"not int16 \(800,\)"),
    ],
)
def test_what_cannot_be_encoded_is_refused(
    tokenizer: Tokenizer, samples: NDArray[np.float32], error: type[ValueError], message: str
) -> None:
    with pytest.raises(error, match=message):
        tokenizer.encode([samples])


def test_a_codebook_of_other_features_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_codebook(other, Codebook(np.zeros((512, 13), np.float32), np.ones(512, np.int64)), {"features": "MFCC"})
    with pytest.raises(ValueError, match="fitted on other features: 'MFCC'"):
        Mel512(other)
    other.write_bytes(b"no safetensors at all")
    with pytest.raises(ValueError, match="no safetensors file"):
        Mel512(other)
