"""T2S, S2A and Vocos against upstream's own code (oracle/README.md), alone and in batches, and draws in batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import seeded_speech as seeded
import torch
from numpy.typing import NDArray

from quantize.one_thread import one_thread
from tts.decoding import Sampling, row_key
from tts.s2a import S2A
from tts.t2s import T2S
from tts.transformer import place_model
from tts.vocos import Vocos

ALL = os.environ.get("SPEECHMILL_PARITY") == "all"  # every utterance at every size: 20 minutes; needs --timeout=0
GREEDY = Sampling(temperature=0)
Rows = list[NDArray[np.integer]]
# model of the golden file: size and variant, utterances, longest text or tokens, batch sizes, every n-th by default
T2S_MODELS = {
    "t2s-micro": (("micro", 0), 104, 129, (1, 8, 32), 1),
    "t2s-micro-old": (("micro", -1), 104, 129, (32,), 1),
    "t2s-full": (("full", 0), 16, 549, (5,), 2),
    "t2s-tiny": (("tiny", 0), 104, 129, (8,), 6),
    "t2s-small": (("small", 0), 104, 129, (8,), 50),
}
S2A_MODELS = {
    "s2a-micro": (("micro", False), 104, 35, (1, 8, 32), 1),
    "s2a-micro-cond": (("micro", True), 104, 35, (32,), 1),
    "s2a-full": (("full", False), 8, 749, (8,), 4),
    "s2a-tiny": (("tiny", False), 104, 35, (8,), 15),
    "s2a-small": (("small", False), 104, 8, (8,), 60),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models wait for their threads more than they compute, and for long where other work runs."""
    with one_thread():
        yield


@cache
def golden(model: str) -> Rows:
    """Return what upstream's code gave for each utterance."""
    content = np.load(Path(__file__).parent / "oracle/golden_whisperspeech.npz")
    return np.split(content[f"{model}/ids"], np.cumsum(content[f"{model}/lengths"])[:-1])


def cases(models: dict[str, tuple[object, int, int, tuple[int, ...], int]]) -> list[tuple[str, int]]:
    """Return (model, batch size), of all sizes where all is asked for."""
    return [(name, size) for name, (_, _, _, sizes, _) in models.items() for size in ((1, 8, 32) if ALL else sizes)]


def in_batches(count: int, size: int, speak: Callable[[slice], Rows]) -> Rows:
    return [row for start in range(0, count, size) for row in speak(slice(start, start + size))]


@pytest.mark.parametrize(("name", "batch_size"), cases(T2S_MODELS))
def test_greedy_sound_tokens_are_upstreams(name: str, batch_size: int, tmp_path: Path) -> None:
    (size, offset), n, longest, _, step = T2S_MODELS[name]
    model = T2S(seeded.write_t2s(tmp_path / "t2s.model", size, offset))
    step = 1 if ALL else step
    texts, expected = seeded.texts(n, longest)[::step], golden(name)[::step]
    found = in_batches(
        len(texts),
        batch_size,
        lambda part: [row.tokens[0] for row in model.generate(texts[part], [0] * len(texts[part]), GREEDY)],
    )
    assert len(found) == len(expected)
    assert [n for n, (a, b) in enumerate(zip(found, expected, strict=True)) if not np.array_equal(a, b)] == []
    assert len({len(row) for row in expected}) > 1


@pytest.mark.parametrize(("name", "batch_size"), cases(S2A_MODELS))
def test_greedy_codes_are_upstreams(name: str, batch_size: int, tmp_path: Path) -> None:
    (size, cond), n, longest, _, step = S2A_MODELS[name]
    model = S2A(seeded.write_s2a(tmp_path / "s2a.model", size, cond))
    step = 1 if ALL else step
    sounds, speakers = seeded.sounds(n, longest)[::step], torch.from_numpy(seeded.speakers(n)[::step])
    expected = golden(name)[::step]
    found = in_batches(
        len(sounds),
        batch_size,
        lambda part: model.generate(sounds[part], speakers[part], [0] * len(sounds[part]), GREEDY),
    )
    assert [codes.shape for codes in found] == [(4, 3 * len(ids) - 4) for ids in sounds]
    wrong = [n for n, (a, b) in enumerate(zip(found, expected, strict=True)) if not np.array_equal(a.ravel(), b)]
    assert wrong == []


def test_the_golden_utterances_are_many_and_mixed() -> None:
    for name in ("t2s-micro", "s2a-micro", "t2s-tiny", "s2a-tiny", "t2s-small", "s2a-small"):
        assert len(golden(name)) >= 100
    assert len(set(seeded.texts())) > 90
    assert len({tuple(row) for row in golden("t2s-micro")}) > 90
    assert len({len(row) for row in golden("s2a-micro")}) > 30


def test_the_waveform_is_vocoss_alone_and_in_a_batch(tmp_path: Path) -> None:
    folder = seeded.write_vocos(tmp_path / "vocos")
    model = Vocos(folder / "config.yaml", folder / "pytorch_model.bin")
    codes = seeded.codes()
    alone = [model.decode([row])[0] for row in codes]
    for expected, one, other in zip(golden("vocos"), alone, model.decode(codes), strict=True):
        assert one.dtype == np.float32
        assert one.shape == other.shape == expected.shape
        assert max(np.abs(one - expected).max(), np.abs(other - expected).max()) < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("sampling", [Sampling(0.7), Sampling(1.0, top_k=20)])
def test_what_a_row_draws_does_not_depend_on_its_batch(sampling: Sampling, tmp_path: Path) -> None:
    texts = seeded.texts(24)
    keys = [row_key(5, "t2s", 0, number) for number in range(len(texts))]
    model = T2S(seeded.write_t2s(tmp_path / "t2s.model", "micro"))
    together = model.generate(texts, keys, sampling)
    backwards = model.generate(texts[::-1], keys[::-1], sampling)[::-1]
    alone = [model.generate([text], [key], sampling)[0] for text, key in zip(texts, keys, strict=True)]
    assert agreement([row.tokens for row in together], [row.tokens for row in alone]) >= 0.999
    assert agreement([row.tokens for row in together], [row.tokens for row in backwards]) >= 0.999
    others = model.generate(texts, [key + 1 for key in keys], sampling)
    assert agreement([row.tokens for row in together], [row.tokens for row in others]) < 0.5


def test_what_a_row_draws_of_codes_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    sounds, speakers = seeded.sounds(12), torch.from_numpy(seeded.speakers(12))
    model = S2A(seeded.write_s2a(tmp_path / "s2a.model", "micro"))
    keys = [row_key(5, "s2a", 0, number) for number in range(12)]
    together = model.generate(sounds, speakers, keys, Sampling(0.7))
    alone = [model.generate([sounds[n]], speakers[n : n + 1], [keys[n]], Sampling(0.7))[0] for n in range(12)]
    assert agreement(together, alone) >= 0.999


@pytest.mark.skipif(not ALL, reason="a report, not a bar: pytest -s with SPEECHMILL_PARITY=all prints it")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_agreement_by_precision_is_told(dtype: torch.dtype, tmp_path: Path) -> None:
    """Alone against in a batch, and against fp32, with random weights, whose choices are nearer than trained ones'."""
    texts, keys = seeded.texts(48), list(range(48))
    path = seeded.write_t2s(tmp_path / "t2s.model", "tiny")
    exact, model = T2S(path), T2S(path)
    place_model(model, torch.device("cpu"), dtype)
    expected = [row.tokens for row in exact.generate(texts, keys, Sampling(0.7))]
    together = [row.tokens for row in model.generate(texts, keys, Sampling(0.7))]
    alone = [model.generate([text], [key], Sampling(0.7))[0].tokens for text, key in zip(texts, keys, strict=True)]
    batched, rounded = agreement(together, alone), agreement(together, expected)
    print(f"\n{dtype}: in a batch as alone {batched:.4f}, as fp32 {rounded:.4f}")
    assert batched >= (0.999 if dtype == torch.float32 else 0.8)
    assert rounded >= (0.999 if dtype == torch.float32 else 0.8)


def agreement(some: Rows, others: Rows) -> float:
    """Return the share of places with the same tokens, of the longer of each two rows."""
    same = total = 0
    for one, other in zip(some, others, strict=True):
        shared = min(one.shape[-1], other.shape[-1])
        same += int((one[..., :shared] == other[..., :shared]).sum())
        total += max(one.size, other.size)
    return same / total
