"""The pass tts.augment in whole runs: what is done is in the row, clean rows stay, nothing is spoken again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from noise.lasting import COLOURS
from pipelines.rowwise import Reject
from pipelines.steps.augment import augmented
from pipelines.voice_options import Augment
from quantize.audio import decode_audio
from tests.conftest import assert_done, content, speechmill, write_recipe
from tts.audio import flac_bytes
from tts.augment import Drawn, augment

AUGMENT: dict[str, Any] = {
    "share": 0.6,
    "speed": [0.9, 1.1],
    "band_hz": [3000, 9000],
    "snr_db": [0, 25],
    "gain_db": [-9, 3],
}


def write_noise(folder: Path, seed: int = 0) -> None:
    """Write two recordings of noise, one shorter than the speech."""
    rng = np.random.Generator(np.random.PCG64(seed))
    (folder / "street").mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / "short.wav", rng.normal(0, 0.1, 8_000), 16_000)
    soundfile.write(folder / "street" / "long.flac", rng.normal(0, 0.1, (400_000, 2)), 44_100)


def small(folder: Path, augmentation: dict[str, Any] | None, rows: int = 24, **tts: Any) -> Path:
    """Write a recipe of all steps, six prompts to a shard."""
    return write_recipe(
        folder,
        sources=[{"name": "examples", "path": "examples/instructions.jsonl", "limit": rows}],
        read={"rows_per_shard": 6},
        noise={"rows": 4},
        mix={"mixtures": {"all": {"parts": {"transcription": 100}}}},
        tts={**tts, "augment": augmentation},
    )


def rows_of(run: Path, step: str) -> list[dict[str, Any]]:
    return [row for path in sorted((run / step).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def written(run: Path, step: str) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (run / step).glob("*.parquet")}


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    write_noise(folder)
    return folder


@pytest.fixture(scope="module")
def done(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run with augmentation, by the plain loop. Read only."""
    folder = tmp_path_factory.mktemp("augmented")
    assert_done(speechmill("run", small(folder, {**AUGMENT, "noise_folder": str(noise)}), "--workers", "0"))
    return folder


def whole(sound: bytes) -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.rint(decode_audio(sound)[0] * 32768).astype(np.int16)


def test_the_row_alone_says_how_its_sound_came_about(done: Path) -> None:
    """What the row says, done to what `tts` spoke, leaves the noise: at the row's SNR, within the range."""
    spoken, heard = (rows_of(done / "run", step) for step in ("tts", "tts.augment"))
    assert [row["id"] for row in heard] == [row["id"] for row in spoken]
    names = set()
    for before, after in zip(spoken, heard, strict=True):
        for one, other in zip(before["spoken"], after["spoken"], strict=True):
            if other["augmentation"] is None:
                continue
            did = json.loads(other["augmentation"])
            names.add(did["noise"])
            assert AUGMENT["speed"][0] <= did["speed"] <= AUGMENT["speed"][1]
            assert AUGMENT["band_hz"][0] <= did["band_hz"] <= AUGMENT["band_hz"][1]
            assert AUGMENT["snr_db"][0] - 0.1 <= did["snr_db"] <= AUGMENT["snr_db"][1] + 0.1
            assert did["gain_db"] <= AUGMENT["gain_db"][1]
            drawn = Drawn(speed=did["speed"], band_hz=did["band_hz"], gain_db=did["gain_db"])
            clean, _ = augment(whole(one["audio"]["bytes"]), one["sample_rate"], drawn)
            noisy = whole(other["audio"]["bytes"])
            ratio = np.square(clean.astype(float)).sum() / np.square(noisy.astype(float) - clean).sum()
            assert did["snr_db"] == pytest.approx(10 * np.log10(ratio), abs=0.001)
            assert other["seconds"] == noisy.size / other["sample_rate"]
            assert {k: v for k, v in other.items() if k not in ("audio", "seconds", "augmentation")} == {
                k: v for k, v in one.items() if k not in ("audio", "seconds", "augmentation")
            }
    assert names & set(COLOURS)
    assert names & {"short.wav", "street/long.flac"}


def test_rows_that_stay_clean_are_as_they_were_and_verify_is_green(done: Path) -> None:
    spoken, heard = (rows_of(done / "run", step) for step in ("tts", "tts.augment"))
    clean = [
        (one, other)
        for one, other in zip(spoken, heard, strict=True)
        if all(u["augmentation"] is None for u in other["spoken"])
    ]
    assert 0.15 * len(spoken) < len(clean) < 0.7 * len(spoken)
    assert all(one == other for one, other in clean)
    tokens = {row["id"]: [len(u["tokens"]) for u in row["spoken"]] for row in rows_of(done / "run", "quantize")}
    for row in heard:  # the tokens are those of the changed speech: as many as its seconds give
        assert tokens[row["id"]] == pytest.approx([25 * u["seconds"] for u in row["spoken"]], abs=1)
    assert_done(speechmill("verify", done / "run"))


@pytest.mark.long
def test_workers_give_the_same_bytes(done: Path, noise: Path, tmp_path: Path) -> None:
    assert_done(speechmill("run", small(tmp_path, {**AUGMENT, "noise_folder": str(noise)}), "--workers", "2"))
    assert content(tmp_path / "run") == content(done / "run")


def test_what_changes_the_sound_augments_again_and_speaks_nothing_again(tmp_path: Path) -> None:
    run, noise = tmp_path / "run", tmp_path / "noise"
    write_noise(noise)
    with_noise = {**AUGMENT, "noise_folder": str(noise)}
    assert_done(speechmill("run", small(tmp_path, with_noise), "--workers", "0"))
    spoken, heard, tokens = (written(run, step) for step in ("tts", "tts.augment", "quantize"))
    assert len(spoken) == len(heard) == len(tokens) == 4

    changed = speechmill("run", small(tmp_path, {**with_noise, "rt60_s": [0.2, 0.6]}), "--workers", "0")
    assert_done(changed)
    assert "tts.augment: 4 of 4 shards will be made again" in changed.stdout
    assert "rt60_s" in changed.stdout
    assert written(run, "tts") == spoken
    assert not set(written(run, "tts.augment").items()) & set(heard.items())
    assert any(
        "rt60_s" in u["augmentation"] for r in rows_of(run, "tts.augment") for u in r["spoken"] if u["augmentation"]
    )

    before = written(run, "tts.augment")
    write_noise(noise, seed=1)
    assert_done(speechmill("run", tmp_path / "recipe.yaml", "--workers", "0"))
    assert written(run, "tts") == spoken
    assert not set(written(run, "tts.augment").items()) & set(before.items())
    assert "Nothing to do" in speechmill("run", tmp_path / "recipe.yaml").stdout

    assert_done(speechmill("run", small(tmp_path, None), "--workers", "0"))
    assert written(run, "tts") == spoken
    assert written(run, "tts.augment") == {}
    assert {u["augmentation"] for row in rows_of(run, "quantize") for u in row["spoken"]} == {None}
    assert_done(speechmill("verify", run))


def test_opus_is_augmented_and_kept_as_opus(tmp_path: Path) -> None:
    recipe = small(tmp_path, {"share": 1, "snr_db": [5, 5], "noise": ["pink"]}, rows=6, audio_format="opus")
    assert_done(speechmill("run", recipe, "--workers", "0"))
    for row in rows_of(tmp_path / "run", "tts.augment"):
        for utterance in row["spoken"]:
            assert utterance["audio"]["bytes"][:4] == b"OggS"
            samples, rate = decode_audio(utterance["audio"]["bytes"])
            assert (utterance["sample_rate"], rate) == (24_000, 24_000)
            assert samples.size / rate == pytest.approx(utterance["seconds"], abs=1 / rate)
    assert_done(speechmill("verify", tmp_path / "run"))


@pytest.mark.parametrize(
    ("files", "message"),
    [({}, "no recordings"), ({"a.wav": b"no sound"}, "a.wav: not audio that libsndfile reads")],
)
def test_noise_that_cannot_be_had_is_said(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    for name, data in files.items():
        (tmp_path / "noise" / name).write_bytes(data)
    noise = {"share": 1, "snr_db": [5, 5], "noise": [], "noise_folder": str(tmp_path / "noise")}
    recipe = small(tmp_path, noise, rows=6)
    result = speechmill("run", recipe, "--workers", "0")
    assert result.returncode == 2
    assert f"tts.augment.noise_folder: {'' if not files else tmp_path / 'noise'}" in result.stderr.replace("\n", "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_path_in_a_row_opens_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, np.full(5000, 0.5), 16_000)
    without = {"turn": 0, "audio": {"bytes": None, "path": str(secret)}}
    assert augmented(without, Drawn(gain_db=-6.0), 0, None, "flac") == without
    assert augmented({"audio": None}, Drawn(gain_db=-6.0), 0, None, "flac") == {"audio": None}
    named = {"turn": 0, "audio": {"bytes": str(secret).encode(), "path": str(secret)}}
    with pytest.raises(Reject, match="bad_audio:"):
        augmented(named, Drawn(gain_db=-6.0), 0, None, "flac")
    sound = {"turn": 0, "audio": {"bytes": flac_bytes(np.full(500, 8000, np.int16), 16_000), "path": str(secret)}}
    quieter = augmented(sound, Drawn(gain_db=-6.0), 0, None, "flac")
    assert quieter["audio"]["path"] is None
    assert set(whole(quieter["audio"]["bytes"])) == {round(8000 * 10 ** (-6 / 20))}
    assert quieter["augmentation"] == '{"gain_db": -6.0}'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing is done"),
        ({"snr_db": [30, 5]}, r"snr_db: \[30.0, 5.0\] is not a range within \[-20, 60\]"),
        ({"speed": [0.1, 1]}, "speed: .* is not a range within"),
        ({"snr_db": [5, 30], "noise": []}, "snr_db needs noise"),
        ({"gain_db": [0, 1], "noise_folder": "noises"}, "noise_folder needs snr_db"),
        ({"snr_db": [5, 30], "noise": ["pinc"]}, "pink"),
    ],
)
def test_options_that_make_no_sense_say_why(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augment(**options)
