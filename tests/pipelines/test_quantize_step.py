"""The quantize step around a tokenizer: batches over rows, what fails, what is long, one speech for many tokenizers."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from pipelines.quantize_options import Quantize
from pipelines.row import Row
from pipelines.rowwise import Reject
from pipelines.steps.quantize import Clip, _clips, stages, with_tokens
from quantize.clips import pieces, quiet_cuts
from tests.conftest import ROOT, assert_done, content, speechmill, write_recipe

sys.path.insert(0, str(ROOT / "tests/quantize"))
from seeded import write_openai, write_whispervq

Samples = NDArray[np.float32]
POISON = 0.875  # a sample of this value makes the fake fail


class FakeTokenizer:
    """A token for each 640 samples: 1000 times their first sample, rounded. Notes how many clips came at once."""

    name, digest, precision, device = "fake", "0" * 32, "fp32", "cpu"
    n_codes, mask_code = 1001, 1000
    sample_rate_hz, tokens_per_second, max_seconds = 16_000, 25, 2.0

    def __init__(self, batch_size: int, device: str = "cpu") -> None:
        self.batch_size, self.device = batch_size, device
        self.batches: list[int] = []

    def encode(self, clips: Sequence[Samples]) -> list[NDArray[np.uint16]]:
        self.batches.append(len(clips))
        if any(POISON in clip for clip in clips):
            raise RuntimeError("the fake cannot bear this clip")
        return [np.round(1000 * clip[: clip.size // 640 * 640 : 640]).astype(np.uint16) for clip in clips]


def row_of(name: str, *sounds: Samples) -> Row:
    spoken = [{"turn": turn, "seconds": s.size / 16_000, "audio": {"bytes": wav(s)}} for turn, s in enumerate(sounds)]
    return {"id": name, "spoken": spoken}


def wav(samples: Samples) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, 16_000, format="WAV", subtype="FLOAT")
    return out.getvalue()


def tone(value: float, tokens: int) -> Samples:
    return np.full(640 * tokens, value, np.float32)


def encode(rows: list[Row], tokenizer: FakeTokenizer, **options: Any) -> dict[str, Any]:
    """Return {row id: ids of each utterance, or the exception}, checking that rows come back in order."""

    def finish(row: Row, clips: list[Clip], ids: list[NDArray[np.uint16]]) -> Row:
        sounds: list[list[int]] = [[] for _ in row["spoken"]]
        for clip, of_clip in zip(clips, ids, strict=True):
            sounds[clip.utterance] += of_clip.tolist()
        return {**row, "ids": sounds}

    asked = Quantize(**options)
    done = list(stages(tokenizer, lambda row: _clips(row, tokenizer, asked), finish).run(iter(rows)))
    assert [row["id"] for row, _ in done] == [row["id"] for row in rows]
    return {row["id"]: result if isinstance(result, Exception) else result["ids"] for row, result in done}


@pytest.mark.parametrize("device", ["cpu", "a GPU"])  # beside a GPU, threads decode ahead
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_rows_of_several_utterances_share_batches_and_keep_their_order(batch_size: int, device: str) -> None:
    rows = [row_of(f"row {n}", *(tone((n + k) / 1000, 1 + k) for k in range(n % 4))) for n in range(50)]
    tokenizer = FakeTokenizer(batch_size, device)
    found = encode(rows, tokenizer)
    assert found == {f"row {n}": [[n + k] * (1 + k) for k in range(n % 4)] for n in range(50)}
    clips = sum(n % 4 for n in range(50))
    assert tokenizer.batches == [batch_size] * (clips // batch_size) + [clips % batch_size] * (clips % batch_size > 0)


def test_a_clip_that_makes_the_model_fail_is_one_reject() -> None:
    rows = [row_of(f"row {n}", tone(POISON if n == 5 else 0.001 * n, 2)) for n in range(12)]
    found = encode(rows, FakeTokenizer(8))
    assert isinstance(found["row 5"], RuntimeError)
    assert {name: ids for name, ids in found.items() if name != "row 5"} == {
        f"row {n}": [[n, n]] for n in range(12) if n != 5
    }


def test_what_is_no_audio_is_one_reject() -> None:
    rows = [row_of("good", tone(0.1, 1)), row_of("bad", tone(0.1, 1)), row_of("after", tone(0.2, 1))]
    rows[1]["spoken"][0]["audio"]["bytes"] = b"RIFF but no more"
    found = encode(rows, FakeTokenizer(2))
    assert isinstance(found["bad"], Reject)
    assert str(found["bad"]).startswith("bad_audio:16 bytes: not audio")
    assert (found["good"], found["after"]) == ([[100]], [[200]])


@pytest.mark.parametrize(("said", "kept"), [(62.5, 0.4), (0.4, 0.4), (0.4001, 0.4001)])
def test_seconds_are_those_that_were_heard_where_a_header_lies(said: float, kept: float) -> None:
    tokenizer, row = FakeTokenizer(4), row_of("row", tone(0.1, 10))
    row["spoken"][0] |= {"seconds": said, "tokens": None}
    clips = _clips(row, tokenizer, Quantize())  # type: ignore[arg-type]
    heard, _ = with_tokens(row, clips, tokenizer.encode([c.samples for c in clips]), tokenizer, Quantize())  # type: ignore[arg-type]
    assert heard["spoken"][0]["seconds"] == kept


def test_long_speech_is_split_where_it_is_quiet_and_no_token_is_lost() -> None:
    sound = tone(0.5, 120)  # 4.8 s, of which 2 s are heard at once
    sound[640 * 40 + 100 : 640 * 44] = 0.004
    found = encode([row_of("long", sound)], FakeTokenizer(4))
    assert found == {"long": [[round(1000 * float(value)) for value in sound[::640]]]}
    cuts = quiet_cuts(sound, 16_000, 2.0)
    assert 640 * 40 < cuts[0] < 640 * 44
    assert all(cut % 640 == 0 for cut in cuts)
    assert max(piece.size for piece in pieces(sound, 16_000, FakeTokenizer(1))) <= 32_000  # type: ignore[arg-type]


def test_long_speech_is_rejected_where_that_is_asked() -> None:
    with pytest.raises(Reject, match=r"too_long:4\.8 s"):
        _clips(row_of("long", tone(0.5, 120)), FakeTokenizer(1), Quantize(too_long="reject"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The options of a tiny WhisperVQ with seeded weights."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model = write_whispervq(folder / "vq.model", "micro")
    return {
        "tokenizer": "whispervq",
        "model": str(model),
        "whisper": str(write_openai(folder / "whisper.pt", "micro")),
    }


def rows_of(run: Path) -> list[Row]:
    return [row for path in sorted((run / "quantize").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.mark.long
def test_whispervq_gives_the_same_bytes_with_any_workers_and_respeaks_nothing(
    checkpoint: dict[str, str], tmp_path: Path
) -> None:
    sources = [{"name": "examples", "path": "examples/instructions.jsonl", "limit": 24}]
    mix = {"mixtures": {"all": {"parts": {"transcription": 100}}}}
    small = {"sources": sources, "read": {"rows_per_shard": 6}, "noise": {"rows": 4}, "mix": mix}
    recipe = write_recipe(tmp_path / "one", **small)
    assert_done(speechmill("run", recipe, "--workers", "0"))
    run = tmp_path / "one/run"
    spoken = {path.name: path.stat().st_mtime_ns for path in (run / "tts").glob("*.parquet")}
    assert {u["tokenizer"].partition("@")[0] for row in rows_of(run) for u in row["spoken"]} == {"mel512"}

    changed = write_recipe(tmp_path / "one", **small, quantize={**checkpoint, "mask_code": "keep"})
    assert_done(speechmill("run", changed, "--workers", "2"))
    assert {path.name: path.stat().st_mtime_ns for path in (run / "tts").glob("*.parquet")} == spoken
    rows = rows_of(run)
    facts = json.loads(next((run / "quantize").glob("examples*.json")).read_bytes())["facts"]
    assert {u["tokenizer"] for row in rows for u in row["spoken"]} == {facts["tokenizer"]}
    assert facts["tokenizer"].startswith("whispervq@")
    assert facts["tokenizer"].endswith("/fp32")
    assert (facts["n_codes"], facts["mask_code"], facts["device"]) == (513, 512, "cpu")
    for row in rows:
        for utterance in row["spoken"]:
            assert abs(len(utterance["tokens"]) - 25 * utterance["seconds"]) <= 1

    plain = write_recipe(tmp_path / "two", **small, quantize={**checkpoint, "mask_code": "keep", "batch_size": 5})
    assert_done(speechmill("run", plain, "--workers", "0"))
    other = content(tmp_path / "two/run")
    same = {name for name in content(run) if name.endswith(".parquet") and name.startswith(("quantize/", "dataset/"))}
    assert same
    assert {name: content(run)[name] for name in same} == {name: other[name] for name in same}
    assert_done(speechmill("verify", run))


@pytest.mark.parametrize("policy", ["drop", "keep", "reject"])
def test_the_mask_code_is_counted_and_handled_as_asked(policy: str, checkpoint: dict[str, str], tmp_path: Path) -> None:
    sources = [{"name": "examples", "path": "examples/instructions.jsonl", "limit": 60}]
    louder = torch.load(checkpoint["model"], weights_only=True)
    louder["state_dict"]["rq.layers.0._codebook.embed"][0, 512] *= 1.5  # so that it is nearest now and then
    torch.save(louder, tmp_path / "louder.model")
    quantize = {**checkpoint, "model": str(tmp_path / "louder.model"), "mask_code": policy}
    recipe = write_recipe(tmp_path, sources=sources, quantize=quantize)
    assert_done(speechmill("quantize", recipe, "--workers", "0"))
    rows = rows_of(tmp_path / "run")
    records = [json.loads(path.read_bytes()) for path in (tmp_path / "run/quantize").glob("examples*.json")]
    masks = sum(record["facts"]["mask_tokens"] for record in records)
    in_rows = sum(u["tokens"].count(512) for row in rows for u in row["spoken"])
    rejected = sum(record["counts"]["rejected"].get("quantize.mask_code", 0) for record in records)
    assert (masks > 0, in_rows, rejected > 0) == {
        "drop": (True, 0, False),
        "keep": (True, masks, False),
        "reject": (False, 0, True),
    }[policy]


def test_tokens_prints_ids_and_compares_precisions(checkpoint: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "sound.wav"
    sound = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    soundfile.write(file, sound, 16_000)
    said = speechmill("tokens", file)
    assert_done(said)
    head, ids = said.stdout.splitlines()
    assert "3.00 s, 75 tokens, by mel512@" in head
    assert len(ids.split()) == 75
    spec = f"whispervq:model={checkpoint['model']},whisper={checkpoint['whisper']}"
    both = speechmill("tokens", file, "--compare", spec, f"{spec},precision=bf16")
    assert_done(both)
    share = float(both.stdout.splitlines()[-1].split("%")[0])
    assert 80 < share <= 100
    for wrong, message in (
        ("nothing", "tokenizer 'nothing' is unknown"),
        ("mel512:colour=red", "colour: Extra inputs"),
    ):
        result = speechmill("tokens", file, "--tokenizer", wrong)
        assert result.returncode == 2
        assert message in result.stderr
    assert "no such file" in speechmill("tokens", tmp_path / "none.wav").stderr.lower()
