"""Speak with upstream's own code, one utterance at a time, and write golden_whisperspeech.npz. README.md says where.

    python tests/tts/oracle/make_golden_whisperspeech.py [NAME...]

For each model: `ids`, all utterances one behind the other, and the `lengths` of each; `margin`, the smallest
difference between the two likeliest of all choices, in logits. Greedy: upstream's top_k of 1, in float32, after its
`optimize()`. The checkpoints are saved and loaded by upstream's own functions, so that they are the true format.
Named models alone are made again.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden_whisperspeech.npz"
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "quantize" / "oracle")]
import make_golden  # noqa: E402
import seeded_speech as seeded  # noqa: E402

MARGIN = [float("inf")]


def watch_margins() -> None:
    """Have upstream's sampling note how near a choice was."""
    from whisperspeech import inference

    sample = inference.sample

    def watched(logits: torch.Tensor, *args: Any) -> torch.Tensor:
        best = logits.topk(2).values
        MARGIN[0] = min(MARGIN[0], float((best[..., 0] - best[..., 1]).min()))
        return sample(logits, *args)

    inference.sample = watched


def load(kind: Any, config: dict[str, Any], tunables: Any, arrays: seeded.Arrays, changed: dict[str, Any]) -> Any:
    """Return upstream's model with our weights, through its own save_model and load_model."""
    torch.set_float32_matmul_precision("highest")
    model = kind(**config, tunables=tunables)
    state = model.state_dict()
    for name, value in seeded.tensors(arrays).items():
        assert state[name].shape == value.shape, name
        state[name] = value
    assert set(state) - set(arrays) <= {"_extra_state"}, sorted(set(state) - set(arrays))
    model.load_state_dict(state)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seeded.model"
        model.save_model(path)
        for key in changed:
            content = torch.load(path)
            del content["tunables"][key]
            torch.save(content, path)
        loaded = kind.load_model(str(path), device="cpu")
    loaded.optimize(dtype=torch.float32, torch_compile=False)
    return loaded


def t2s(size: str, offset: int = 0) -> Any:
    """Return upstream's T2S; offset -1 as an older file, which does not say it."""
    from whisperspeech.t2s_up_wds_mlang_enclm import TSARTransformer, Tunables

    dims = seeded.SIZES[size]
    changed = {"padding_token_offset": None} if offset else {}
    tunables = Tunables(**seeded.T2S_TUNABLES)
    return load(TSARTransformer, seeded.t2s_config(dims), tunables, seeded.t2s_arrays(dims, offset), changed)


def s2a(size: str, cond: bool = False) -> Any:
    """Return upstream's S2A."""
    from whisperspeech import s2a_delar_mup_wds_mlang as plain
    from whisperspeech import s2a_delar_mup_wds_mlang_cond as conditioned

    module, dims = conditioned if cond else plain, seeded.SIZES[size]
    tunables = module.Tunables(**seeded.S2A_TUNABLES)
    return load(module.SADelARTransformer, seeded.s2a_config(dims), tunables, seeded.s2a_arrays(dims, cond), {})


def speak_t2s(model: Any, texts: list[str]) -> list[np.ndarray]:
    """Return the sound tokens of each text, until the first stop."""
    stop = model.stoks_codes + model.tunables.padding_token_offset
    rows = []
    for text in texts:
        ids = model.generate(text, top_k=1, show_progress_bar=False)[0].numpy()
        stops = np.flatnonzero(ids == stop)
        rows.append(ids[: stops[0]] if stops.size else ids)
    return rows


def speak_s2a(model: Any, sounds: list[np.ndarray], speakers: np.ndarray) -> list[np.ndarray]:
    """Return the codes of each utterance, flat."""
    rows = []
    for ids, speaker in zip(sounds, speakers, strict=True):
        codes = model.generate(torch.from_numpy(ids), torch.from_numpy(speaker)[None], top_k=1, show_progress_bar=False)
        rows.append(codes[0].numpy().ravel())
    return rows


def vocos() -> list[np.ndarray]:
    """Return the samples of each utterance, one at a time."""
    import encodec
    from vocos import Vocos

    build = encodec.EncodecModel.encodec_model_24khz
    encodec.EncodecModel.encodec_model_24khz = lambda pretrained=True: build(pretrained=False)
    with tempfile.TemporaryDirectory() as name:
        folder = seeded.write_vocos(Path(name))
        model = Vocos.from_hparams(str(folder / "config.yaml"))
        state = torch.load(folder / "pytorch_model.bin")
        carried = {k: v for k, v in model.state_dict().items() if k.startswith("feature_extractor.encodec.")}
        model.load_state_dict({**state, **carried})
        model.eval()
    rows = []
    for codes in seeded.codes():
        features = model.codes_to_features(torch.from_numpy(codes))
        rows.append(model.decode(features, bandwidth_id=torch.tensor(1))[0].numpy())
    return rows


MODELS = {
    "t2s-micro": lambda: speak_t2s(t2s("micro"), seeded.texts()),
    "t2s-micro-old": lambda: speak_t2s(t2s("micro", -1), seeded.texts()),
    "t2s-full": lambda: speak_t2s(t2s("full"), seeded.texts(16, 549)),
    "t2s-tiny": lambda: speak_t2s(t2s("tiny"), seeded.texts()),
    "t2s-small": lambda: speak_t2s(t2s("small"), seeded.texts()),
    "s2a-micro": lambda: speak_s2a(s2a("micro"), seeded.sounds(104, 35), seeded.speakers()),
    "s2a-micro-cond": lambda: speak_s2a(s2a("micro", True), seeded.sounds(104, 35), seeded.speakers()),
    "s2a-full": lambda: speak_s2a(s2a("full"), seeded.sounds(8, 749), seeded.speakers(8)),
    "s2a-tiny": lambda: speak_s2a(s2a("tiny"), seeded.sounds(104, 35), seeded.speakers()),
    "s2a-small": lambda: speak_s2a(s2a("small"), seeded.sounds(104, 8), seeded.speakers()),
    "vocos": vocos,
}


def main() -> None:
    make_golden.install_shim()
    watch_margins()
    golden = dict(np.load(GOLDEN)) if GOLDEN.exists() else {}
    for name in sys.argv[1:] or MODELS:
        started, MARGIN[0] = time.monotonic(), float("inf")
        with torch.no_grad():
            rows = MODELS[name]()
        ids = np.concatenate(rows)
        golden[f"{name}/ids"] = ids if name == "vocos" else ids.astype(np.uint16)
        golden[f"{name}/lengths"] = np.array([len(row) for row in rows], np.int32)
        golden[f"{name}/margin"] = np.float32(MARGIN[0])
        seconds = time.monotonic() - started
        print(f"{name}: {len(rows)} utterances, {len(ids)} ids, margin {MARGIN[0]:.1e}, {seconds:.0f} s", flush=True)
        np.savez_compressed(GOLDEN, **golden)


if __name__ == "__main__":
    main()
