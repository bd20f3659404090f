"""WhisperVQ and Ichigo-Whisper against upstream's own code (oracle/README.md), and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips_of import espeak_clips, recorded_clips
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from seeded import (
    CODEBOOK_DIM,
    SIZES,
    encoder_arrays,
    head_arrays,
    synthetic_clips,
    tensors,
    write_ichigo,
    write_openai,
    write_whispervq,
)
from vector_quantize_pytorch import ResidualVQ

from quantize import ModelError, load_tokenizer, whispervq
from quantize.computing import exact_float32
from quantize.mel import mel_filters
from quantize.models import path_digest
from quantize.tokenizer import AudioError, Compute
from quantize.whisper import load_checkpoint, load_encoder
from quantize.whispervq import WhisperVQ, load_head

ALL = os.environ.get("SPEECHMILL_PARITY") == "all"  # every clip at every size: half an hour on two cores
Samples = NDArray[np.float32]
Golden = dict[str, NDArray[np.uint16]]
CPU = Compute(device="cpu")


@pytest.fixture(scope="module")
def clips(request: pytest.FixtureRequest) -> dict[str, Samples]:
    """Synthetic and eSpeak's clips, and recordings where they are."""
    found = {**synthetic_clips(), **espeak_clips()}
    speech = Path(__file__).resolve().parents[3] / "shared/data/speech"
    return found | (recorded_clips(speech) if speech.is_dir() else {})


@pytest.fixture(scope="module")
def golden(clips: dict[str, Samples]) -> Callable[[str], Golden]:
    """Return a function: a model's ids of each clip, as upstream's code gave them for the very same samples."""
    content = np.load(Path(__file__).parent / "oracle/golden.npz")
    digests = dict(zip(content["names"].tolist(), content["digests"].tolist(), strict=True))
    same = {n for n, c in clips.items() if hashlib.blake2b(c.tobytes(), digest_size=8).hexdigest() == digests.get(n)}
    if strangers := set(clips) - same:
        pytest.skip(f"{len(strangers)} clips are not the oracle's, such as {sorted(strangers)[0]}: another eSpeak")

    def of(model: str) -> Golden:
        ends = np.cumsum(content[f"{model}/lengths"])
        rows = np.split(content[f"{model}/ids"], ends[:-1])
        return {name: row for name, row in zip(digests, rows, strict=True) if name in same}

    return of


def load(folder: Path, size: str, layout: str = "original", **compute: Any) -> WhisperVQ:
    files = {
        "model": write_whispervq(folder / f"{size}-{layout}.model", size, layout),
        "whisper": write_openai(folder / f"{size}.pt", size),
    }
    return WhisperVQ("whispervq", files, Compute(device="cpu", **compute))


def mismatches(tokenizer: WhisperVQ, clips: Mapping[str, Samples], expected: Golden) -> dict[str, int]:
    """Return the clips whose ids are not upstream's, and at how many places."""
    found = dict(zip(clips, tokenizer.encode(list(clips.values())), strict=True))
    assert {name: len(ids) for name, ids in found.items()} == {name: len(expected[name]) for name in clips}
    return {name: n for name, ids in found.items() if (n := int((ids != expected[name]).sum()))}


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_ids_are_upstreams_for_each_clip_alone(
    batch_size: int, clips: dict[str, Samples], golden: Callable[[str], Golden], tmp_path: Path
) -> None:
    assert len(clips) >= 60
    some = clips if ALL or batch_size == 7 else dict(list(clips.items())[::3])
    tokenizer = load(tmp_path, "micro", batch_size=batch_size)
    assert mismatches(tokenizer, some, golden("micro")) == {}


def test_both_layouts_are_the_same_model(
    clips: dict[str, Samples], golden: Callable[[str], Golden], tmp_path: Path
) -> None:
    one, other = (load(tmp_path, "micro", layout, batch_size=7) for layout in ("original", "fixed"))
    state = other.head.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in one.head.state_dict().items())
    assert one.codes == other.codes
    assert mismatches(other, dict(list(clips.items())[::9]), golden("micro")) == {}


@pytest.mark.parametrize("size", ["tiny", "base"])
@pytest.mark.parametrize("batch_size", [1, 7, 64] if ALL else [7])
def test_ids_are_upstreams_at_whispers_dims(
    size: str, batch_size: int, clips: dict[str, Samples], golden: Callable[[str], Golden], tmp_path: Path
) -> None:
    some = clips if ALL else dict(list(clips.items())[:: 12 if size == "tiny" else 40])
    tokenizer = load(tmp_path, size, batch_size=batch_size)
    assert mismatches(tokenizer, some, golden(size)) == {}


@pytest.mark.parametrize(("n_codes", "prefix"), [(2049, ""), (2561, "model.")])
def test_ichigo_whisper_is_upstreams(
    n_codes: int, prefix: str, clips: dict[str, Samples], golden: Callable[[str], Golden], tmp_path: Path
) -> None:
    some = dict(list(clips.items())[::3])
    files = {
        "model": write_ichigo(tmp_path / "ichigo.pth", "micro", n_codes, prefix),
        "whisper": write_openai(tmp_path / "micro.pt", "micro"),
    }
    tokenizer = WhisperVQ("ichigo-whisper", files, CPU)
    assert (tokenizer.n_codes, tokenizer.mask_code) == (n_codes, 2048)
    assert mismatches(tokenizer, some, golden(f"ichigo-{n_codes}")) == {}


def test_the_head_is_vector_quantize_pytorchs(tmp_path: Path) -> None:
    """Today's library, with the "-fixed" layout's keys, against the head alone."""
    width = SIZES["tiny"][0]
    head, codes, _ = load_head(write_whispervq(tmp_path / "vq.model", "tiny", "fixed"))
    library = ResidualVQ(dim=width, codebook_size=513, codebook_dim=CODEBOOK_DIM, num_quantizers=1, use_cosine_sim=True)
    state = library.state_dict()
    for name, value in tensors(head_arrays("tiny", 513)).items():
        if name.startswith("rq."):
            assert state[name.removeprefix("rq.")].shape == value.shape
            state[name.removeprefix("rq.")] = value
    library.load_state_dict(state)
    embeddings = torch.randn(3, 1500, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pooled = embeddings.reshape(3, 750, 2, width).mean(-2)
        _, expected, _ = library.eval()(pooled + head.mlp(head.mlp_ln(pooled)))
        assert torch.equal(head(embeddings), expected.squeeze(-1))
    assert (codes.n_codes, codes.mask_code) == (513, 512)


def test_a_hugging_face_folder_is_the_same_encoder(tmp_path: Path, clips: dict[str, Samples]) -> None:
    folder = write_hugging_face(tmp_path / "whisper", "tiny")
    one, other = load_encoder(write_openai(tmp_path / "tiny.pt", "tiny")), load_encoder(folder)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    vq = write_whispervq(tmp_path / "vq.model", "tiny")
    by_folder = load_tokenizer("whispervq", {"model": str(vq), "whisper": str(folder)}, CPU)
    by_file = load_tokenizer("whispervq", {"model": str(vq), "whisper": str(tmp_path / "tiny.pt")}, CPU)
    clip = clips["synthetic-47777"]
    assert np.array_equal(by_folder.encode([clip])[0], by_file.encode([clip])[0])
    assert by_folder.digest != by_file.digest  # of the files' bytes


def write_hugging_face(folder: Path, size: str, **changes: Any) -> Path:
    """Write a Whisper as transformers' save_pretrained does: names of its own, and a decoder that is not read."""
    names = {
        "positional_embedding": "embed_positions.weight", "ln_post.": "layer_norm.", "blocks.": "layers.",
        ".attn.query.": ".self_attn.q_proj.", ".attn.key.": ".self_attn.k_proj.", ".attn.value.": ".self_attn.v_proj.",
        ".attn.out.": ".self_attn.out_proj.", ".attn_ln.": ".self_attn_layer_norm.", ".mlp.0.": ".fc1.",
        ".mlp.2.": ".fc2.", ".mlp_ln.": ".final_layer_norm.",
    }  # fmt: skip
    state = {"model.decoder.layer_norm.weight": torch.zeros(3)}
    for name, value in tensors(encoder_arrays(size)).items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[f"model.encoder.{name}"] = value
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    width, heads, layers = SIZES[size]
    config = {"model_type": "whisper", "num_mel_bins": 80, "d_model": width, "encoder_attention_heads": heads}
    config |= {"encoder_layers": layers, "vocab_size": 51865, **changes}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q_depth": 2}, "config.q_depth is 2; only 1 is implemented"),
        ({"downsample": 1}, "config.downsample is 1; only 2 is implemented"),
        ({"use_cosine_sim": False}, "config.use_cosine_sim is False"),
        ({"mask_embs": None}, "tunables.mask_embs is False"),  # a file of before there was one
        ({"downsample_conv": True}, "tunables.downsample_conv is True"),
        ({"colour": "red"}, "config.colour = 'red' is unknown"),
        ({"vq_codes": 256}, "config.vq_codes is 256, but its tensors say 512"),
        ({"n_head": 3}, "config.n_head . head_width is 144, but its tensors say 96"),
        ({"whisper_model_name": "tiny"}, "is not Whisper tiny: 96 wide and 1 layers deep, not 384 and 4"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = write_whispervq(tmp_path / "vq.model", "micro", **changes)
    whisper = write_openai(tmp_path / "whisper.pt", "micro")
    with pytest.raises(ValueError, match=message):
        WhisperVQ("whispervq", {"model": model, "whisper": whisper}, CPU)


@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_is_wrong_with_a_file_it_is_named(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "torn.model"
    torch.save({"a": torch.zeros(3), "b": {"c": 1}}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    refused = 0
    for number in range(60):
        torn = bytearray(whole)
        for place in draw.integers(0, min(len(torn), 600), 4):
            torn[place] = draw.integers(256)
        path.write_bytes(torn[: len(torn) if number % 5 else draw.integers(len(torn))])
        try:
            load_checkpoint(path)
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 30


def test_an_unknown_tunable_is_refused(tmp_path: Path) -> None:
    model = write_whispervq(tmp_path / "vq.model", "micro")
    content = torch.load(model)
    content["tunables"]["flavour"] = 3
    torch.save(content, model)
    with pytest.raises(ValueError, match=r"tunables.flavour = 3 is unknown"):
        load_head(model)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"no zip at all"), "no PyTorch checkpoint"),
        (lambda path: torch.save({"state_dict": {}, "where": Path("x")}, path), "nothing else is loaded"),
        (lambda path: torch.save([1, 2], path), "a list, not a dictionary"),
        (lambda path: torch.save({"dims": {}}, path), "it has no state_dict"),
        (lambda path: torch.save({"state_dict": {"x": torch.zeros(1)}}, path), "its state_dict has no mlp_ln.weight"),
        (lambda path: write_ichigo(path, "micro", 100), "a codebook of 100 rows"),
        (lambda path: changed(write_whispervq(path, "micro"), config=[1]), r"config is \[1\], not a dictionary"),
        (lambda path: changed(write_whispervq(path, "micro"), tunables="x"), "tunables is 'x', not a dictionary"),
        (lambda path: write_whispervq(path, "micro", n_head="2"), "config.n_head . head_width is 0"),
        (lambda path: codebook(write_whispervq(path, "micro"), torch.zeros(513)), r"a codebook of the shape \(513,\)"),
        (lambda path: codebook(write_whispervq(path, "micro"), "rows"), "its state_dict has no codebook"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(write: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "some.model"
    write(path)
    with pytest.raises(ValueError, match=message):
        load_head(path)


def changed(path: Path, **parts: Any) -> None:
    torch.save({**torch.load(path), **parts}, path)


def codebook(path: Path, value: Any) -> None:
    changed(path, state_dict={**torch.load(path)["state_dict"], "rq.layers.0._codebook.embed": value})


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        (None, "dims.n_mels is None, not a count"),
        ({"n_audio_head": 5}, "5 heads do not divide a width of 96"),
        ({"n_audio_layer": "1"}, "dims.n_audio_layer is '1', not a count"),
    ],
)
def test_a_whisper_whose_dimensions_cannot_be_is_refused(dims: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_openai(tmp_path / "whisper.pt", "micro")
    content = torch.load(path)
    changed(path, dims=dims and {**content["dims"], **dims})
    with pytest.raises(ValueError, match=message):
        load_encoder(path)


def test_weights_that_stand_twice_in_a_folder_are_read_once(tmp_path: Path) -> None:
    """As whisper-large-v3's folder has them: in half precision, and in float32 under another name."""
    folder = write_hugging_face(tmp_path / "whisper", "micro")
    plain, digest = load_encoder(folder).state_dict(), path_digest(folder)
    save_file({"model.encoder.conv1.bias": torch.zeros(96)}, folder / "model.fp32-00001-of-00002.safetensors")
    save_file({"model.encoder.conv1.bias": torch.zeros(96)}, folder / "model.trained.safetensors")
    assert all(torch.equal(value, plain[name]) for name, value in load_encoder(folder).state_dict().items())
    assert path_digest(folder) == digest


def test_a_folder_of_parts_is_read_whole(tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path / "whisper", "micro")
    plain, state = load_encoder(folder).state_dict(), load_file(folder / "model.safetensors")
    names = sorted(state)
    for part in (0, 1):
        some = {name: state[name] for name in names[part::2]}
        save_file(some, folder / f"model-0000{part + 1}-of-00002.safetensors")
    (folder / "model.safetensors").unlink()
    assert all(torch.equal(value, plain[name]) for name, value in load_encoder(folder).state_dict().items())


def test_an_encoder_of_another_width_is_refused(tmp_path: Path) -> None:
    files = {
        "model": write_whispervq(tmp_path / "vq.model", "micro"),
        "whisper": write_openai(tmp_path / "tiny.pt", "tiny"),
    }
    with pytest.raises(ValueError, match=r"an encoder 96 wide, and .*tiny.pt is 384 wide"):
        WhisperVQ("whispervq", files, CPU)


def test_the_english_model_is_told_from_the_multilingual_one(tmp_path: Path) -> None:
    english = write_openai(tmp_path / "tiny.en.pt", "tiny", n_vocab=51864)
    load_encoder(english, "tiny.en")
    with pytest.raises(ValueError, match="is not Whisper tiny but the English model of that size"):
        load_encoder(english, "tiny")


def test_places_that_hold_no_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no file .*nowhere.pt"):
        load_tokenizer("whispervq", {"model": "nowhere.pt", "whisper": "nowhere.pt"})
    with pytest.raises(ModelError, match="model: the tokenizer whispervq has no model of its own"):
        load_tokenizer("whispervq")
    with pytest.raises(ModelError, match="whisper: the tokenizer mel512 has no such file"):
        load_tokenizer("mel512", {"whisper": "x"})


def test_edges_and_errors(tmp_path: Path, clips: dict[str, Samples]) -> None:
    tokenizer = load(tmp_path, "micro")
    short = np.zeros(639, np.float32)
    assert [len(ids) for ids in tokenizer.encode([short, clips["synthetic-640"], short])] == [0, 1, 0]
    with pytest.raises(AudioError, match="not finite"):
        tokenizer.encode([np.full(800, np.nan, np.float32)])
    with pytest.raises(ValueError, match=r"30\.00 s of audio"):
        tokenizer.encode([np.zeros(480_001, np.float32)])


def test_batches_of_one_shape_on_their_way_together_give_the_same_ids(
    tmp_path: Path, clips: dict[str, Samples]
) -> None:
    """The path of a GPU, with the device's part done on the CPU: buffers that stay, two batches at once."""
    tokenizer = load(tmp_path, "micro", batch_size=3)
    lengths = [480_000, 640, 31_999, 479_999, 800, 2000, 320_001, 16_000, 1280, 641, 8000]
    some = [np.zeros(639, np.float32), *(clips[f"synthetic-{n}"] for n in lengths)]
    plain = tokenizer.encode(some)
    tokenizer._fix_shape()
    assert tokenizer.batch_size == 12
    for _ in range(2):  # the second time with what the first left in the buffers
        assert all(np.array_equal(a, b) for a, b in zip(plain, tokenizer.encode(some), strict=True))
        some, plain = some[::-1], plain[::-1]
    assert tokenizer.encode([]) == []


def test_a_batch_is_sent_before_the_one_before_it_is_waited_for(tmp_path: Path, clips: dict[str, Samples]) -> None:
    tokenizer = load(tmp_path, "micro", batch_size=1)
    tokenizer._fix_shape()
    events: list[str] = []
    send = tokenizer._send
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "_send", lambda clips, lane: (events.append("send"), send(clips, lane)))
        patch.setattr(whispervq, "_collected", lambda lane, n: (events.append("collect"), lane.ids[:n].numpy())[1])
        tokenizer.encode([clips["synthetic-640"]] * 4)
    assert events == ["send", "send", "collect", "send", "collect", "send", "collect", "collect"]


def test_what_decides_near_ties_stays_in_float32(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, "micro", precision="bf16")
    dtypes = {name: value.dtype for name, value in tokenizer.head.state_dict().items()}
    assert {name for name, dtype in dtypes.items() if dtype == torch.float32} == {
        "project_in.weight",
        "project_in.bias",
        "codebook",
    }
    assert tokenizer.encoder.conv1.weight.dtype == torch.bfloat16


def test_float32_is_float32_inside_and_as_it_was_outside() -> None:
    def settings() -> tuple[bool, bool, str]:
        cudnn = torch.backends.cudnn
        return cudnn.allow_tf32, cudnn.deterministic, torch.get_float32_matmul_precision()

    before = settings()
    torch.set_float32_matmul_precision("high")
    try:
        with exact_float32():
            assert settings() == (False, True, "highest")
        assert settings() == (before[0], before[1], "high")
    finally:
        torch.set_float32_matmul_precision(before[2])


def test_half_precision_mostly_agrees(tmp_path: Path, clips: dict[str, Samples]) -> None:
    speech = [clip for name, clip in clips.items() if name.startswith("espeak")][:4]
    exact = np.concatenate(load(tmp_path, "tiny").encode(speech))
    bf16 = np.concatenate(load(tmp_path, "tiny", precision="bf16").encode(speech))
    assert 0.9 < (exact == bf16).mean() < 1.0


def test_two_threads_give_the_ids_of_one(tmp_path: Path, clips: dict[str, Samples]) -> None:
    tokenizer, before = load(tmp_path, "tiny"), torch.get_num_threads()
    some = [clips["synthetic-80000"], clips["synthetic-240000"]]
    try:
        torch.set_num_threads(1)
        one = tokenizer.encode(some)
        torch.set_num_threads(2)
        assert all(np.array_equal(a, b) for a, b in zip(one, tokenizer.encode(some), strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("n_mels", "digest"), [(80, "e5a1e4a524582997e627263fbdcee26b"), (128, "10d940410a2811ba63a67ab517bda659")]
)
def test_the_mel_filters_are_whispers_own(n_mels: int, digest: str) -> None:
    """Of `mel_80` and `mel_128` in openai-whisper 20250625's mel_filters.npz."""
    assert hashlib.blake2b(mel_filters(n_mels).tobytes(), digest_size=16).hexdigest() == digest
