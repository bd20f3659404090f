"""The engines whisperspeech and whisperspeech_tokens: long texts, retries, reasons, checkpoints that are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seeded_speech as seeded
import torch

from quantize.models import ModelError
from quantize.one_thread import one_thread
from quantize.tokenizer import Compute
from tts.engine import Delivery, Request, SpeechError, Spoken
from tts.piecewise import pieces_of
from tts.plausible import Plausible
from tts.s2a import S2A
from tts.t2s import T2S
from tts.vocos import Vocos
from tts.whisperspeech import WhisperSpeech
from tts.whisperspeech_options import WhisperSpeechOptions
from tts.whisperspeech_speakers import DEFAULT, load_speaker
from tts.whisperspeech_tokens import WhisperSpeechTokens

CPU = Compute(device="cpu", batch_size=4)
ANYTHING = Plausible(shortest=0, longest=100, loop_seconds=100, quietest_dbfs=-200)
TEXTS = ["Tell me about dragons.", "What is the capital of France?", "Yes.", "Count the bees in this old garden."]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three models, tiny, and a speaker of our own."""
    found = tmp_path_factory.mktemp("whisperspeech")
    seeded.write_t2s(found / "t2s.model", "micro")
    seeded.write_s2a(found / "s2a.model", "micro")
    seeded.write_vocos(found / "vocos")
    np.save(found / "mine.npy", seeded.speakers(1)[0])
    return found


def options(folder: Path, **changes: Any) -> WhisperSpeechOptions:
    files = {"t2s": str(folder / "t2s.model"), "s2a": str(folder / "s2a.model"), "vocoder": str(folder / "vocos")}
    speakers = {"default": "default", "mine": str(folder / "mine.npy")}
    return WhisperSpeechOptions(**{**files, "speakers": speakers, "plausible": ANYTHING, **changes})


def requests(texts: list[str], voice: str = "default", seed: int = 0) -> list[Request]:
    return [Request(text, Delivery(voice, 150, 50), seed + number) for number, text in enumerate(texts)]


def samples_of(answers: list[Spoken | SpeechError]) -> list[np.ndarray]:
    assert all(isinstance(answer, Spoken) for answer in answers), answers
    return [answer.samples for answer in answers if isinstance(answer, Spoken)]


def test_a_text_is_spoken_the_same_alone_in_any_order_and_by_whom_it_says(folder: Path) -> None:
    engine = WhisperSpeech(options(folder), CPU)
    asked = requests(TEXTS) + requests(TEXTS[:1], "mine")
    together = samples_of(engine.speak_all(asked))
    again = samples_of(engine.speak_all(asked[::-1]))[::-1]
    alone = [samples_of(engine.speak_all([request]))[0] for request in asked]
    for one, other, third in zip(together, again, alone, strict=True):
        assert one.dtype == np.int16
        assert one.size % 320 == 0
        assert one.shape == other.shape == third.shape
        assert np.abs(one.astype(int) - other).max() <= 1  # of 32767: sums of another shape
        assert np.abs(one.astype(int) - third).max() <= 1
    assert not np.array_equal(together[0], together[4])
    assert engine.usage == {"texts": 15, "retries": 0, "rejects": 0}
    assert engine.sample_rate_hz == 24_000


def test_another_seed_speaks_otherwise_and_the_likeliest_needs_none(folder: Path) -> None:
    sampled, greedy = (WhisperSpeechTokens(options(folder, temperature=t), CPU) for t in (0.7, 0.0))
    one, other = (sampled.speak_all(requests(TEXTS, seed=seed)) for seed in (0, 100))
    assert all(not np.array_equal(a.tokens, b.tokens) for a, b in zip(one, other, strict=True))  # type: ignore[union-attr]
    one, other = (greedy.speak_all(requests(TEXTS, seed=seed)) for seed in (0, 100))
    assert all(np.array_equal(a.tokens, b.tokens) for a, b in zip(one, other, strict=True))  # type: ignore[union-attr]


def test_tokens_come_without_audio_and_with_the_codebook(folder: Path) -> None:
    engine = WhisperSpeechTokens(options(folder), CPU)
    for answer in engine.speak_all(requests(TEXTS)):
        assert isinstance(answer, Spoken)
        assert answer.samples.size == 0
        assert answer.tokens is not None
        assert answer.tokens.dtype == np.uint16
        assert answer.tokens.max() <= 512
    assert np.array_equal(engine.codebook(), seeded.codebook())


def test_a_long_text_is_spoken_in_pieces_with_a_pause_between(folder: Path) -> None:
    engine = WhisperSpeech(options(folder), CPU)
    text = "This is a sentence of some length, is it not? " * 6
    request = requests([text], "mine")[0]
    pieces = pieces_of(request, engine.talker.options, engine.talker.t2s.most_bytes)
    assert len(pieces) > 2
    assert " ".join(piece.text for piece in pieces) == text.strip()
    assert all(len(piece.text.encode()) <= 129 for piece in pieces)
    (whole,) = samples_of(engine.speak_all([request]))
    parts = [part for part in engine._speak(pieces, 0) if not isinstance(part, str)]
    assert whole.size == sum(part.size for part in parts) + 4800 * (len(parts) - 1)
    assert not whole[parts[0].size : parts[0].size + 4800].any()
    assert np.abs(whole[-parts[-1].size :].astype(int) - parts[-1]).max() <= 1


def test_what_is_not_plausible_is_spoken_again_with_other_draws_and_then_a_reason(folder: Path) -> None:
    """A pass that only some draws meet: 44 and 47 tokens are greedy lengths; drawn ones lie about them."""
    limits = Plausible(shortest=0, longest=1e-6, slack_seconds=1.7, loop_seconds=100)
    engine = WhisperSpeechTokens(options(folder, plausible=limits, attempts=4), CPU)
    answers = engine.speak_all(requests(seeded.texts(40)))
    taken = [answer for answer in answers if isinstance(answer, Spoken)]
    refused = [str(answer) for answer in answers if isinstance(answer, SpeechError)]
    assert all(answer.tokens is not None and len(answer.tokens) <= 43 for answer in taken)
    assert {answer.attempts for answer in taken} == {1, 2, 3, 4}
    assert refused
    for reason in refused:
        assert reason.startswith("too long: ")
        assert "4 attempts" in reason
        assert reason.count(" tokens (") == 4
    assert engine.usage["retries"] == sum(answer.attempts - 1 for answer in taken)
    assert engine.usage["rejects"] == len(refused)
    first = requests(seeded.texts(40))
    alone = [engine.speak_all([request])[0] for request in first]
    assert [str(a) if isinstance(a, SpeechError) else a.attempts for a in answers] == [
        str(a) if isinstance(a, SpeechError) else a.attempts for a in alone
    ]


def test_the_likeliest_tokens_are_spoken_once(folder: Path) -> None:
    limits = Plausible(shortest=0, longest=1e-6, slack_seconds=0.1)
    engine = WhisperSpeechTokens(options(folder, plausible=limits, temperature=0.0), CPU)
    (answer,) = engine.speak_all(requests(["Yes."]))
    assert str(answer) == "too long: 44 tokens (1.76 s) for 4 characters (0.27 s at 15 a second)"


def test_no_stop_a_loop_and_silence_are_told_by_name(folder: Path, tmp_path: Path) -> None:
    silent = seeded.tensors(seeded.vocos_arrays())
    silent["head.out.weight"].zero_()
    silent["head.out.bias"].fill_(-30)
    seeded.write_vocos(tmp_path / "vocos")
    torch.save(silent, tmp_path / "vocos/pytorch_model.bin")
    quiet = Plausible(shortest=0, longest=100, loop_seconds=100)
    engine = WhisperSpeech(options(folder, vocoder=str(tmp_path / "vocos"), plausible=quiet), CPU)
    (answer,) = engine.speak_all(requests(["Yes."]))
    assert str(answer).startswith("silence: -")

    state = seeded.tensors(seeded.t2s_arrays(seeded.SIZES["micro"]))
    state["embeddings.embedding.special.weight"].zero_()
    endless = seeded.write_t2s(tmp_path / "endless.model", "micro")
    content = torch.load(endless)
    torch.save({**content, "state_dict": state}, endless)
    (answer,) = WhisperSpeechTokens(options(folder, t2s=str(endless)), CPU).speak_all(requests(["Yes."]))
    assert str(answer).startswith("runaway: no stop within 69 tokens (2.76 s) for 4 characters")

    loops = Plausible(shortest=0, longest=100, loop_seconds=0.04)
    (answer,) = WhisperSpeechTokens(options(folder, plausible=loops, temperature=0.0), CPU).speak_all(requests(["No?"]))
    assert str(answer).startswith("loop: ")


@pytest.mark.parametrize(("text", "reason"), [(" \n\x00", "blank"), ("a \ud800 b", "surrogate")])
def test_a_text_that_cannot_be_spoken_harms_no_other(text: str, reason: str, folder: Path) -> None:
    engine = WhisperSpeechTokens(options(folder), CPU)
    bad, good = engine.speak_all(requests([text, "Yes."]))
    assert isinstance(bad, SpeechError)
    assert reason in str(bad)
    assert isinstance(good, Spoken)
    assert engine.speak_all([]) == []


def test_the_rate_is_the_deliverys_where_none_is_set(folder: Path) -> None:
    request = Request("Tell me about dragons.", Delivery("default", 180, 50))
    assert pieces_of(request, options(folder, cps=None), 129)[0].cps == 18.0
    assert pieces_of(request, options(folder, cps=15.0), 129)[0].cps == 15.0
    with pytest.raises(ValueError, match="rate_wpm 300 is outside"):
        pieces_of(Request("a", Delivery("default", 300, 50)), options(folder, cps=None), 129)
    with pytest.raises(ValueError, match="unknown voice 'nobody'; there are default, mine"):
        pieces_of(Request("a", Delivery("nobody", 150, 50)), options(folder), 129)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_speaks(precision: Any, folder: Path) -> None:
    engine = WhisperSpeech(options(folder), Compute(device="cpu", precision=precision, batch_size=4))
    assert all(samples.any() for samples in samples_of(engine.speak_all(requests(TEXTS[:2]))))
    assert engine.version.endswith(f"/{precision}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config.depht": 2}, "config.depht = 2 is unknown"),
        ({"config.ttoks_width": 32}, "config.ttoks_width is 32; only None is implemented"),
        ({"config.stoks_len": 71}, r"embeddings.positional_embedding is \(70, 32\), not \(71, 32\)"),
        ({"tunables.cps_input": False}, "tunables.cps_input is False; only True is implemented"),
        ({"tunables.cps_trick": 1}, "tunables.cps_trick = 1 is unknown"),
        ({"tunables.padding_token_offset": 2}, "padding_token_offset is 2; only -1 and 0"),
        ({"state_dict.encoder.ln_post.bias": None}, r"encoder.ln_post.bias is nothing, not \(32,\)"),
        ({"state_dict.encoder.more": torch.zeros(2)}, "encoder.more is unknown"),
    ],
)
def test_a_t2s_that_is_not_known_is_refused_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        T2S(seeded.write_t2s(tmp_path / "t2s.model", "micro", changes=changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config.quantizers": 8}, "config.quantizers is 8; only 4 is implemented"),
        ({"config.stoks_len": 140}, "config.stoks_len is 140 and ctx_n 210"),
        ({"tunables.rope": None}, "tunables.rope is False; only True is implemented"),
        ({"tunables.twist": 1}, "tunables.twist = 1 is unknown"),
        ({"state_dict.cond_embeddings.mood.weight": torch.zeros(2)}, "cond_embeddings.mood.weight is unknown"),
        ({"state_dict.encoder.0.attn.rotary.inv_freq": torch.ones(8)}, "inv_freq differs"),
    ],
)
def test_an_s2a_that_is_not_known_is_refused_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        S2A(seeded.write_s2a(tmp_path / "s2a.model", "micro", changes=changes))


def test_models_that_do_not_go_together_are_refused(folder: Path, tmp_path: Path) -> None:
    other = {"state_dict.semantic_embedding.weight": torch.randn(513, 64)}
    mixed = seeded.write_s2a(tmp_path / "other.model", "micro", changes=other)
    with pytest.raises(ValueError, match="made for other sound tokens than the T2S"):
        WhisperSpeech(options(folder, s2a=str(mixed)), CPU)
    with pytest.raises(ValueError, match="takes 69 tokens of 513 codes, and the T2S makes 749"):
        WhisperSpeech(options(folder, t2s=str(seeded.write_t2s(tmp_path / "full.model", "full"))), CPU)
    with pytest.raises(ModelError, match="there is no file"):
        WhisperSpeech(options(folder, s2a="nowhere.model"), CPU)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("padding: same", "padding: center", "head.padding is 'center'; only 'same'"),
        ("EncodecFeatures", "MelSpectrogramFeatures", "feature_extractor.class_path is"),
        ("adanorm_num_embeddings: 4", "adanorm: 4", "backbone.adanorm is unknown"),
    ],
)
def test_another_vocoder_is_refused_by_name(before: str, after: str, message: str, tmp_path: Path) -> None:
    folder = seeded.write_vocos(tmp_path)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace(before, after))
    with pytest.raises(ValueError, match=message):
        Vocos(config, folder / "pytorch_model.bin")


def test_speakers_are_192_numbers(tmp_path: Path) -> None:
    assert np.allclose(load_speaker("default"), DEFAULT)
    torch.save(torch.arange(1.0, 193.0).half()[None], tmp_path / "a.pt")
    assert np.array_equal(load_speaker(str(tmp_path / "a.pt")), np.arange(1, 193, dtype=np.float32))
    for name, vector, message in (
        ("short", np.ones(191), r"holds float64 \(191,\)"),
        ("zero", np.zeros(192), "finite and not all zero"),
        ("whole", np.ones(192, int), "holds int64"),
        ("broken", np.full(192, np.nan), "finite"),
        ("pickled", np.array([object()]), "no array of numbers"),
    ):
        np.save(tmp_path / f"{name}.npy", vector)
        with pytest.raises(ValueError, match=message):
            load_speaker(str(tmp_path / f"{name}.npy"))
    with pytest.raises(ValueError, match="there is no speaker file"):
        load_speaker("nowhere.npy")


def test_options_name_all_that_is_wrong_and_where_files_are_sought(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"cps 21.0 is not in .*; temperature -1.0 is negative; attempts must be 1"):
        WhisperSpeechOptions(cps=21.0, temperature=-1.0, attempts=0)
    with pytest.raises(ValueError, match="language 'xx' is none of en, zh"):
        WhisperSpeechOptions(language="xx")
    assert WhisperSpeechOptions(vocoder="a/b@v1")._of_vocoder("config.yaml") == "a/b:config.yaml@v1"
    roles = ["config.yaml", "pytorch_model.bin", "s2a", "speaker mine", "t2s"]
    assert sorted(options(folder).files(download=False)) == roles
