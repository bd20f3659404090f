"""Who speaks: as SpeechBrain's own classes say on the same weights, and the command that writes it down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seeded_speaker_model as seeded
import soundfile
import torch
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.errors import UserError
from pipelines.extract_speaker import extract
from pipelines.speech_options import Tts
from quantize.audio import decode_audio, resample
from quantize.models import ModelError
from tests.conftest import assert_done, speechmill
from tts.speaker_model import extract_speaker, locate_speaker_model
from tts.whisperspeech_speakers import load_speaker

GOLDEN = dict(np.load(Path(__file__).parent / "oracle" / "golden_speaker_model.npz"))
CLIPS = seeded.clips()
NEAR = 1e-4  # of the largest number; measured: 4e-6
LONG = "long-16k"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's file, in a folder as on the Hub."""
    return seeded.write(tmp_path_factory.mktemp("speaker") / "ecapa")


def difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_golden_file_knows_every_clip_and_tells_them_apart() -> None:
    assert set(CLIPS) < set(GOLDEN)
    names = list(GOLDEN)
    assert all(difference(GOLDEN[a], GOLDEN[b]) > 0.1 for a in names for b in names if a < b)


@pytest.mark.parametrize("clip", CLIPS)
def test_a_voice_is_what_upstream_makes_of_it(clip: str, model: Path) -> None:
    found = extract_speaker(*CLIPS[clip], model)
    assert found.shape == (192,)
    assert found.dtype == np.float32
    assert difference(found, GOLDEN[clip]) < NEAR


@pytest.mark.parametrize("name", sorted(set(GOLDEN) - set(CLIPS)))
def test_a_recorded_voice_is_what_upstream_makes_of_it(name: str, model: Path, shared_data: Path) -> None:
    found = extract_speaker(*decode_audio(shared_data / "speech" / name), model)
    assert difference(found, GOLDEN[name]) < NEAR


def test_a_voice_is_the_same_every_time(model: Path) -> None:
    first = extract_speaker(*CLIPS["short-16k"], model)
    assert extract_speaker(*CLIPS["short-16k"], model).tobytes() == first.tobytes()


def test_only_30_seconds_are_heard(model: Path) -> None:
    samples, rate_hz = CLIPS[LONG]
    assert samples.size > 30 * rate_hz
    other = np.concatenate([samples[: 30 * rate_hz], seeded.voice(9, 5, rate_hz)])
    assert difference(extract_speaker(other, rate_hz, model), GOLDEN[LONG]) < NEAR


@pytest.mark.parametrize("name", ["jfk.flac", "common_voice_en_651325.mp3", "LJ002-0020.wav"])
def test_a_voice_does_not_depend_on_the_rate(name: str, model: Path, shared_data: Path) -> None:
    """In stereo at 44.1 kHz, at 48 and at 22.05 kHz."""
    samples, rate_hz = decode_audio(shared_data / "speech" / name)
    known = extract_speaker(samples, rate_hz, model)
    for other in {16_000, 24_000, 44_100} - {rate_hz}:
        assert cosine(extract_speaker(resample(samples, rate_hz, other), other, model), known) > 0.9999
    assert cosine(GOLDEN[LONG], known) < 0.99


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.full(15_999, 0.1, np.float32), "1.00 s are too few"),
        (np.zeros(0, np.float32), "0.00 s are too few"),
        (np.zeros(16_000, np.float32), "nobody speaks in the first 30 s .silence: -200 dBFS"),
        (np.concatenate([np.zeros(480_000), np.ones(16_000)]).astype(np.float32), "nobody speaks in the first 30 s"),
        (np.full(16_000, np.nan, np.float32), "not finite"),
    ],
)
def test_what_holds_no_voice_is_refused(samples: NDArray[np.float32], said: str, model: Path) -> None:
    with pytest.raises(ValueError, match=said):
        extract_speaker(samples, 16_000, model)


def changed(model: Path, folder: Path, change: Any) -> Path:
    """Return the path of the model with other tensors."""
    tensors = torch.load(model, weights_only=True)
    change(tensors)
    torch.save(tensors, folder / "other.ckpt")
    return folder / "other.ckpt"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("asp.conv.conv.bias"), "asp.conv.conv.bias is nothing, not .3072,"),
        (
            lambda t: t.update({"fc.conv.weight": torch.zeros(256, 6144, 1)}),
            "fc.conv.weight is .256, 6144, 1., not .192",
        ),
        (
            lambda t: t.update({"blocks.4.tdnn1.conv.conv.bias": torch.zeros(1)}),
            "blocks.4.tdnn1.conv.conv.bias is unknown",
        ),
        (lambda t: t["fc.conv.bias"].fill_(torch.nan), "not finite: its weights are damaged"),
    ],
)
def test_another_model_is_refused_by_name(change: Any, said: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"other.ckpt.*{said}"):
        extract_speaker(*CLIPS["short-16k"], changed(model, tmp_path, change))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"fc.conv.weight": Path("of no known type")}, tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match=r"bad.ckpt is no PyTorch checkpoint of tensors and plain values"):
        extract_speaker(*CLIPS["short-16k"], tmp_path / "bad.ckpt")


def test_a_model_is_a_folder_or_its_file(model: Path) -> None:
    assert locate_speaker_model(str(model)) == model
    assert locate_speaker_model(str(model.parent)) == model


def test_a_model_that_is_absent_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ModelError, match=rf"no file {tmp_path}/embedding_model.ckpt .*\nWhere .*`hf download speechbrain/"
    ):
        locate_speaker_model(str(tmp_path))
    with pytest.raises(ModelError, match=rf"no file {tmp_path}/none .*\nWhere .*`hf download speechbrain/spkrec"):
        locate_speaker_model(str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ecapa").mkdir()
    with pytest.raises(ModelError, match=rf"no file {tmp_path}/ecapa/embedding_model.ckpt "):
        locate_speaker_model("ecapa")


def test_a_hub_id_and_its_revision_are_looked_up_as_such(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(repository: str, file: str, **how: Any) -> str:
        asked.append((repository, file, how["revision"]))
        return str(model)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    assert locate_speaker_model("speechbrain/spkrec-ecapa-voxceleb@5c0be38") == model
    assert locate_speaker_model("owner/ours") == model
    assert asked == [
        ("speechbrain/spkrec-ecapa-voxceleb", "embedding_model.ckpt", "5c0be38"),
        ("owner/ours", "embedding_model.ckpt", None),
    ]


@pytest.fixture(scope="module")
def said(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file that the command wrote of a recording in stereo, and what it said."""
    folder = tmp_path_factory.mktemp("recording")
    samples, rate_hz = CLIPS["glide-22k"]
    soundfile.write(folder / "mara.wav", np.stack([samples * 1.5, samples * 0.5], axis=1), rate_hz, subtype="FLOAT")
    out = folder / "mara.npy"
    result = speechmill("extract-speaker", folder / "mara.wav", "--out", out, "--model", model.parent)
    assert_done(result)
    return out, result.stdout


def test_the_command_writes_a_speaker_that_the_engine_takes(said: tuple[Path, str]) -> None:
    assert difference(load_speaker(str(said[0])), GOLDEN["glide-22k"]) < NEAR
    assert "the first 2.2 s of" in said[1]


def test_the_printed_recipe_is_refused_until_it_names_a_consent(said: tuple[Path, str]) -> None:
    out, text = said
    snippet = yaml.safe_load(text.split("\n\n")[1])["tts"]
    assert snippet["whisperspeech"]["speakers"] == {"mara": str(out)}
    with pytest.raises(ValidationError, match="voice mara is cloned, and no consent is named"):
        Tts(**snippet)
    snippet["voices"][0]["consent"] = "Mara, 2 March, in contract 7"
    assert Tts(**snippet).voices[0].id == "mara"


def test_the_command_says_what_is_wrong(model: Path, tmp_path: Path) -> None:
    text, short = tmp_path / "voice.txt", tmp_path / "short.wav"
    text.write_text("no sound")
    soundfile.write(short, CLIPS["short-16k"][0][:8000], 16_000)
    for recording, out, place, wrong in (
        (text, "v.npy", model, "voice.txt: not audio"),
        (tmp_path / "none.wav", "v.npy", model, "none.wav: No such file"),
        (tmp_path, "v.npy", model, "Is a directory"),
        (short, "v.npy", model, "short.wav: 0.50 s are too few"),
        (short, "v.pt", model, "v.pt: give a .npy file"),
        (short, "none/v.npy", model, "none/v.npy: give a .npy file in a folder that there is"),
        (short, "v.npy", tmp_path, "hf download speechbrain/spkrec-ecapa-voxceleb"),
    ):
        with pytest.raises(UserError, match=rf"extract-speaker: (.|\n)*{wrong}"):
            extract(recording, tmp_path / out, str(place))
    assert not list(tmp_path.glob("*.npy"))
