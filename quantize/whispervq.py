"""WhisperVQ: Whisper's encoder, the mean of every two positions, and the nearest row of a codebook.

Sources: collabora/WhisperSpeech 0.8.9 `whisperspeech/vq_stoks.py` (`RQBottleneckTransformer.encode_audio`), and for
Ichigo-Whisper janhq/ichigo `ichigo/asr/arch/quantizer.py`: the same model with more codes, trained further.
In fp32 the ids are upstream's for one clip at a time, whatever the batch; `tests/quantize/test_whispervq.py` holds
them to upstream's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from quantize.mel import N_FFT, WINDOW_SAMPLES, log_mel, padded_clips
from quantize.models import files_digest
from quantize.tokenizer import (
    MAX_SECONDS,
    SAMPLE_RATE_HZ,
    SAMPLES_PER_TOKEN,
    TOKENS_PER_SECOND,
    Compute,
    Ids,
    Samples,
    check_audio,
)
from quantize.whisper import load_checkpoint, load_encoder

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MOST_CLIPS = 64
"""A larger batch makes matrix products no faster and other work wait longer."""
MEMORY_SHARE = 0.7
WINDOW_BYTES = 64 * 2**20
"""What the spectrogram of 30 s holds at once, in float32, with its complex spectrum."""

# Of a whisperspeech checkpoint: what the ids depend on must be what is implemented here ...
CONFIG = {"q_depth": 1, "use_cosine_sim": True, "downsample": 2}
SHAPE = {"codebook_dim", "vq_codes", "n_head", "head_width", "ffn_mult", "depth", "whisper_model_name"}
TUNABLES = {"mask_embs": True, "downsample_mean": True, "downsample_conv": False}
# ... where a file leaves one out, it was made before there was one (`Tunables.upgrade`) ...
OLD_TUNABLES = {"mask_embs": False, "downsample_mean": False, "downsample_conv": False}
# ... and these concern its training, or its decoder, alone.
OTHER_CONFIG = {"threshold_ema_dead_code", "kl_loss_mul", "no_quantize"}
OTHER_TUNABLES = {
    "init_std", "embeddings_std", "embeddings_lr_scale", "query_mult", "rope", "codebook_dim", "codebook_decay", "lr0",
    "clip_gradient_norm", "weight_decay", "warmup_steps", "random", "output_mult", "encoder_depth_ratio", "vq_codes",
}  # fmt: skip


@dataclass(frozen=True)
class Codes:
    """What an id means: how many there are, and which stands for padding."""

    n_codes: int
    mask_code: int


class Head(nn.Module):
    """Embeddings -> ids, (n, 1500, width) -> int64 (n, 750): the part of WhisperVQ that was trained."""

    def __init__(self, width: int, hidden: int, codebook_dim: int, n_codes: int) -> None:
        super().__init__()
        self.mlp_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.project_in = nn.Linear(width, codebook_dim)
        self.codebook: Tensor
        self.register_buffer("codebook", torch.empty(n_codes, codebook_dim))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return int64 (n, 750) for (n, 1500, width)."""
        n, positions, width = embeddings.shape
        x = embeddings.reshape(n, positions // 2, 2, width).mean(-2)
        x = x + self.mlp(self.mlp_ln(x))
        # Which row is nearest is decided in float32 by near ties; it is a hundredth of the work.
        z = functional.linear(x.float(), self.project_in.weight.float(), self.project_in.bias.float())
        ids: Tensor = (functional.normalize(z, dim=-1) @ self.codebook.float().T).argmax(-1)
        return ids


class WhisperVQ:
    """A WhisperVQ or Ichigo-Whisper checkpoint with the Whisper encoder that it was trained on."""

    sample_rate_hz = SAMPLE_RATE_HZ
    tokens_per_second = TOKENS_PER_SECOND
    max_seconds = MAX_SECONDS

    def __init__(self, name: str, files: Mapping[str, Path], compute: Compute) -> None:
        """Load from files["model"], the checkpoint, and files["whisper"], a `.pt` file or a Hugging Face folder.

        Raises ValueError, naming the file and what is wrong with it.
        """
        self.name = name
        self.precision = compute.precision
        self.digest = files_digest(files)
        self.head, self.codes, whisper = load_head(files["model"])
        self.encoder = load_encoder(files["whisper"], whisper)
        width = self.encoder.dimensions.width
        if width != self.head.mlp_ln.weight.numel():
            raise ValueError(
                f"{files['model']} was made for an encoder {self.head.mlp_ln.weight.numel()} wide, "
                f"and {files['whisper']} is {width} wide"
            )
        self.n_codes, self.mask_code = self.codes.n_codes, self.codes.mask_code
        self._on = torch.device(_device(compute))
        dtype = DTYPES[compute.precision]
        self.encoder.to(self._on, dtype)
        self.head.to(self._on, dtype)
        self.batch_size = compute.batch_size or self._clips_that_fit(compute)
        self._encode: Any = torch.compile(self.encoder, dynamic=False) if compute.compile else self.encoder
        self._host = self._new_buffer(self.batch_size if self._fixed else 0)

    @property
    def device(self) -> str:
        """The GPU's name, or cpu."""
        return torch.cuda.get_device_name(self._on) if self._on.type == "cuda" else "cpu"

    @property
    def _fixed(self) -> bool:
        """Whether every batch has one shape: on a GPU its kernels, and so its last bits, depend on the shape."""
        return self._on.type == "cuda"

    def encode(self, clips: Sequence[Samples]) -> list[Ids]:
        """Return uint16 (n_samples // 640,) for each float32 (n_samples,) at 16 kHz, as `Tokenizer.encode` says."""
        for clip in clips:
            check_audio(clip, SAMPLE_RATE_HZ, MAX_SECONDS)
        ids = [np.zeros(0, np.uint16) for _ in clips]
        heard = [number for number, clip in enumerate(clips) if clip.size >= SAMPLES_PER_TOKEN]
        for start in range(0, len(heard), self.batch_size):
            batch = heard[start : start + self.batch_size]
            try:
                found = self._encode_batch([clips[number] for number in batch])
            except torch.OutOfMemoryError as error:
                raise MemoryError(f"{self.device} has no room for {self.batch_size} clips: {error}") from error
            for number, row in zip(batch, found, strict=False):
                ids[number] = row[: clips[number].size // SAMPLES_PER_TOKEN]
        return ids

    @torch.inference_mode()
    def _encode_batch(self, clips: Sequence[Samples]) -> Ids:
        """Return uint16 (at least n_clips, 750), of which the first samples // 640 of a row belong to its clip."""
        if self._fixed:
            host, n_samples = self._host, WINDOW_SAMPLES
        else:
            n_samples = max(clip.size for clip in clips)
            host = torch.empty(len(clips), n_samples + N_FFT)
        frames = torch.from_numpy(padded_clips(clips, n_samples, host.numpy()))
        mel = log_mel(host.to(self._on, non_blocking=True), frames.to(self._on), self.encoder.dimensions.n_mels)
        found = self.head(self._encode(mel.to(DTYPES[self.precision])))
        ids: Ids = found.to(torch.int32).cpu().numpy().astype(np.uint16)
        return ids

    def _new_buffer(self, n_clips: int) -> Tensor:
        """Return float32 (n_clips, 480400) in memory that a GPU reads by itself."""
        return torch.empty(n_clips, WINDOW_SAMPLES + N_FFT, pin_memory=self._fixed)

    def _clips_that_fit(self, compute: Compute) -> int:
        """Return how many windows fit: 1 on a CPU, where a batch is no faster, else as the free memory allows."""
        if not self._fixed:
            return 1
        free, total = torch.cuda.mem_get_info(self._on)
        room = MEMORY_SHARE * min(free, total * compute.gpu_share)
        item_bytes = torch.finfo(DTYPES[compute.precision]).bits // 8
        window = self.encoder.dimensions.activation_bytes(item_bytes) + WINDOW_BYTES
        return max(1, min(MOST_CLIPS, int(room // window)))


def _device(compute: Compute) -> str:
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, and torch sees no GPU here: use device: cpu, or a machine with one")
    if compute.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return compute.device


def load_head(path: Path) -> tuple[Head, Codes, str | None]:
    """Return a checkpoint's head in float32, its codes, and the name of the Whisper model that it needs (None: any).

    Reads whisperspeech's format in both layouts of its keys (the "-fixed" files moved `project_in`), and
    Ichigo-Whisper's.
    Raises ValueError, naming file and key, for what is not implemented, not known or not there.
    """
    content = load_checkpoint(path)
    if not isinstance(content.get("state_dict"), dict):
        raise ValueError(f"{path} is no WhisperVQ checkpoint: it has no state_dict")
    state = _plain_names(content["state_dict"])
    needed = ("mlp_ln.weight", "mlp.0.weight", "rq.project_in.weight", "codebook")
    if missing := [key for key in needed if key not in state]:
        raise ValueError(f"{path} is no WhisperVQ checkpoint: its state_dict has no {missing[0]}")
    width, hidden = state["mlp_ln.weight"].numel(), state["mlp.0.weight"].shape[0]
    n_codes, codebook_dim = state["codebook"].shape
    if "config" in content:
        whisper = _check_spec(path, content, width, hidden, n_codes, codebook_dim)
        codes = Codes(n_codes, n_codes - 1)
    else:
        codes, whisper = _ichigo_codes(path, n_codes), ICHIGO_WHISPERS.get(width)
    head = Head(width, hidden, codebook_dim, n_codes)
    mine = {key.removeprefix("rq."): value.float() for key, value in state.items()}
    wanted = head.state_dict()
    for key, value in wanted.items():
        if key not in mine or mine[key].shape != value.shape:
            found = tuple(mine[key].shape) if key in mine else "nothing"
            raise ValueError(f"{path}: {key} is {found}, not {tuple(value.shape)}")
    head.load_state_dict({key: mine[key] for key in wanted})
    return head.eval().requires_grad_(False), codes, whisper


def _plain_names(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of the head by the names of the "-fixed" layout, without Lightning's `model.`."""
    names = {
        "rq.layers.0.project_in.weight": "rq.project_in.weight",
        "rq.layers.0.project_in.bias": "rq.project_in.bias",
        "rq.layers.0._codebook.embed": "codebook",
    }
    plain = {}
    for key, value in state.items():
        name = key.removeprefix("model.")
        name = names.get(name, name)
        if name == "codebook":
            value = value.squeeze(0)
        if isinstance(value, Tensor):
            plain[name] = value
    return plain


def _check_spec(path: Path, content: Mapping[str, Any], width: int, hidden: int, n_codes: int, dim: int) -> str | None:
    """Check a whisperspeech checkpoint's config and tunables against its tensors; return its Whisper's name."""
    config = dict(content["config"])
    tunables = {**OLD_TUNABLES, **content.get("tunables", {})}
    _refuse_unknown(path, "config", config, {*CONFIG, *SHAPE, *OTHER_CONFIG})
    _refuse_unknown(path, "tunables", tunables, {*TUNABLES, *OTHER_TUNABLES})
    for kind, values, implemented in (("config", config, CONFIG), ("tunables", tunables, TUNABLES)):
        for key, value in implemented.items():
            if values.get(key) != value:
                raise ValueError(f"{path}: {kind}.{key} is {values.get(key)!r}; only {value!r} is implemented")
    shape = {
        "codebook_dim": dim,
        "vq_codes": n_codes - 1,  # without the mask code
        "n_head * head_width": width,
        "ffn_mult": hidden // width,
    }
    said = {**config, "n_head * head_width": config.get("n_head", 0) * config.get("head_width", 0)}
    for key, value in shape.items():
        if said.get(key) != value:
            raise ValueError(f"{path}: config.{key} is {said.get(key)!r}, but its tensors say {value}")
    return str(config["whisper_model_name"]) if "whisper_model_name" in config else None


def _refuse_unknown(path: Path, kind: str, values: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{path}: {kind}.{unknown[0]} = {values[unknown[0]]!r} is unknown, so what it changes is too")


# Of the checkpoints that hold a state dict alone (ichigo/asr/config/*.yaml): mask code by rows, Whisper by width.
ICHIGO_MASKS = {513: 512, 2049: 2048, 2561: 2048}
ICHIGO_WHISPERS = {1024: "medium", 1280: "large-v3"}


def _ichigo_codes(path: Path, n_codes: int) -> Codes:
    """Return the codes of an Ichigo-Whisper checkpoint: 2048 and the mask, or merged with the old 512 behind them."""
    if n_codes not in ICHIGO_MASKS:
        raise ValueError(f"{path}: a codebook of {n_codes} rows; Ichigo's have {', '.join(map(str, ICHIGO_MASKS))}")
    return Codes(n_codes, ICHIGO_MASKS[n_codes])
