"""Encode clips with upstream's own code, one at a time, and write golden.npz. README.md says in which environment.

    python tests/quantize/oracle/make_golden.py CLIPS

For each model: `ids` of all clips, one behind the other, in the order of `names`; `lengths` of each; `digests` of
the clips' samples. The checkpoints are saved and loaded by upstream's own functions, so that they are the true format.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import seeded  # noqa: E402


def install_shim() -> None:
    """Let torchaudio's PyPI wheel (CUDA) and whisperspeech's torio be imported beside CPU torch."""
    extension: Any = types.ModuleType("torchaudio._extension")
    extension._IS_TORCHAUDIO_EXT_AVAILABLE = extension._IS_ALIGN_AVAILABLE = extension._IS_RIR_AVAILABLE = False
    extension._check_cuda_version = lambda: None
    extension.lazy_import_sox_ext = lambda: None
    for name in ("fail_if_no_align", "fail_if_no_rir", "fail_if_no_sox"):
        setattr(extension, name, lambda function: function)
    sys.modules["torchaudio._extension"] = extension
    before: Any = None
    for name in ("torio", "torio.io", "torio.io._streaming_media_decoder"):
        module = sys.modules[name] = types.ModuleType(name)
        if before is not None:
            setattr(before, name.rpartition(".")[2], module)
        before = module


def write_whisper(path: Path, size: str) -> None:
    """Write a whole Whisper model, its encoder seeded, as OpenAI's files are."""
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(0)
    model = Whisper(ModelDimensions(**seeded.dims(size)))
    state = model.state_dict()
    state["decoder.positional_embedding"].zero_()
    for name, value in seeded.tensors(seeded.encoder_arrays(size)).items():
        assert state[f"encoder.{name}"].shape == value.shape, name
        state[f"encoder.{name}"] = value
    torch.save({"dims": seeded.dims(size), "model_state_dict": state}, path)


def whispervq(size: str, folder: Path) -> Any:
    """Return upstream's model, through its own save_model and load_model."""
    from whisperspeech.vq_stoks import RQBottleneckTransformer, Tunables

    torch.set_float32_matmul_precision("highest")  # whisperspeech.train sets it to medium
    whisper = folder / f"{size}.pt"
    write_whisper(whisper, size)
    settings = seeded.config(size, str(whisper))
    model = RQBottleneckTransformer(**settings, threshold_ema_dead_code=0, tunables=Tunables())
    state = model.state_dict()
    for name, value in seeded.tensors(seeded.in_original_layout(seeded.head_arrays(size, 513))).items():
        assert state[name].shape == value.shape, name
        state[name] = value
    model.load_state_dict(state)
    path = folder / f"vq-{size}.model"
    model.save_model(path)
    return RQBottleneckTransformer.load_model(str(path))


def ichigo(n_codes: int, folder: Path) -> Any:
    """Return a function of a clip: Ichigo-Whisper's encoder and quantizer, as published but for the micro size."""
    import yaml
    from ichigo.asr.arch.quantizer import Quantizer
    from ichigo.asr.arch.s2r import Speech2Rep

    published = Path(sys.modules["ichigo.asr.arch.quantizer"].__file__).parents[1] / "config/ichigo-asr-2501-en.yaml"
    settings = yaml.safe_load(published.read_text())
    width, heads, _ = seeded.SIZES["micro"]
    settings["quantizer"] |= {"n_head": heads, "head_width": width // heads, "vq_codes": n_codes - 1}
    whisper = folder / "ichigo-whisper.pt"
    write_whisper(whisper, "micro")
    settings["whisper_name"] = str(whisper)
    quantizer = Quantizer(settings)
    state = quantizer.state_dict()
    for name, value in seeded.tensors(seeded.in_original_layout(seeded.head_arrays("micro", n_codes))).items():
        assert state[name].shape == value.shape, name
        state[name] = value
    quantizer.load_state_dict(state)
    quantizer.eval()
    listen = Speech2Rep(settings)

    def encode(clip: torch.Tensor) -> torch.Tensor:
        return quantizer(*listen(clip), return_stoks=True)

    return encode


def encode_all(name: str, encode: Any, clips: dict[str, np.ndarray], golden: dict[str, np.ndarray]) -> None:
    """Add a model's ids of every clip to golden."""
    started = time.monotonic()
    with torch.no_grad():
        ids = [encode(torch.from_numpy(clip)[None])[0].numpy().astype(np.uint16) for clip in clips.values()]
    golden[f"{name}/ids"] = np.concatenate(ids)
    golden[f"{name}/lengths"] = np.array([len(row) for row in ids], np.int32)
    print(f"{name}: {len(ids)} clips, {len(golden[f'{name}/ids'])} ids, {time.monotonic() - started:.0f} s", flush=True)


def main() -> None:
    install_shim()
    clips = {path.stem: np.load(path) for path in sorted(Path(sys.argv[1]).glob("*.npy"))}
    digests = [hashlib.blake2b(clip.tobytes(), digest_size=8).hexdigest() for clip in clips.values()]
    golden = {"names": np.array(list(clips)), "digests": np.array(digests)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n_codes in (2049, 2561):
            encode_all(f"ichigo-{n_codes}", ichigo(n_codes, folder), clips, golden)
        for size in ("micro", "tiny", "base"):
            encode_all(size, whispervq(size, folder).encode_audio, clips, golden)
    np.savez_compressed(HERE / "golden.npz", **golden)


if __name__ == "__main__":
    main()
