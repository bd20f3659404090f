"""WhisperVQ: Whisper's encoder, the mean of every two positions, and the nearest row of a codebook.

Sources: collabora/WhisperSpeech 0.8.9 `whisperspeech/vq_stoks.py` (`RQBottleneckTransformer.encode_audio`), and for
Ichigo-Whisper janhq/ichigo `ichigo/asr/arch/quantizer.py`: the same model with more codes, trained further.
In fp32 the ids are upstream's for one clip at a time, whatever the batch; `tests/quantize/test_whispervq.py` holds
them to upstream's own.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from quantize.computing import DTYPES, device_of, exact_float32, item_bytes
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

MOST_WINDOWS = 32
"""On a GPU at once: products of 48,000 rows, and larger ones are no faster."""
ROUNDS = 4
"""Batches that a GPU best gets in one call: while it computes one, the next is written and copied."""
WINDOW_TOKENS = WINDOW_SAMPLES // SAMPLES_PER_TOKEN
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
        ids: Tensor = (functional.normalize(self.project_in(x.float()), dim=-1) @ self.codebook.T).argmax(-1)
        return ids

    def to_precision(self, dtype: torch.dtype) -> None:
        """Let the MLP compute in `dtype`; near ties decide which row is nearest, so that stays in float32."""
        self.mlp_ln.to(dtype)
        self.mlp.to(dtype)


class _Lane:
    """A batch on its way through a GPU: buffers that stay, on the host in memory that the GPU reads by itself."""

    def __init__(self, n_clips: int, device: torch.device) -> None:
        pinned = device.type == "cuda"
        self.samples = torch.zeros(n_clips, WINDOW_SAMPLES + N_FFT, pin_memory=pinned)
        self.frames = torch.zeros(n_clips, dtype=torch.int64, pin_memory=pinned)
        self.ids = torch.zeros(n_clips, WINDOW_TOKENS, dtype=torch.int32, pin_memory=pinned)
        self.samples_there = torch.empty_like(self.samples, device=device)
        self.frames_there = torch.empty_like(self.frames, device=device)
        # Who waits leaves its core to the readers.
        self._done = torch.cuda.Event(blocking=True) if pinned else None  # type: ignore[no-untyped-call]

    def record(self) -> None:
        """Note that all work on this batch has been given out."""
        if self._done is not None:
            self._done.record()

    def wait(self) -> None:
        """Wait until that work is done."""
        if self._done is not None:
            self._done.synchronize()


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
        self._on = device_of(compute)
        dtype = DTYPES[compute.precision]
        self.encoder.to(self._on, dtype)
        self.head.to(self._on).to_precision(dtype)
        self.windows = compute.batch_size or self._windows_that_fit(compute)
        self.batch_size = self.windows
        self._encode: Any = torch.compile(self.encoder, dynamic=False) if compute.compile else self.encoder
        self._lanes: list[_Lane] = []
        self._copies: torch.cuda.Stream | None = None
        if self._on.type == "cuda":
            self._copies = torch.cuda.Stream(self._on)  # type: ignore[no-untyped-call]
            self._fix_shape()

    def _fix_shape(self) -> None:
        """Give every batch one shape: on a GPU kernels, and so the last bits, depend on it, and it is compiled once."""
        self._lanes = [_Lane(self.windows, self._on) for _ in range(2)]
        self.batch_size = ROUNDS * self.windows
        if self._copies is not None:  # memory that other work has just left
            self._copies.wait_stream(torch.cuda.current_stream(self._on))

    @property
    def device(self) -> str:
        """The GPU's name, or cpu."""
        return torch.cuda.get_device_name(self._on) if self._on.type == "cuda" else "cpu"

    def encode(self, clips: Sequence[Samples]) -> list[Ids]:
        """Return uint16 (n_samples // 640,) for each float32 (n_samples,) at 16 kHz, as `Tokenizer.encode` says."""
        for clip in clips:
            check_audio(clip, SAMPLE_RATE_HZ, MAX_SECONDS)
        ids = [np.zeros(0, np.uint16) for _ in clips]
        heard = [number for number, clip in enumerate(clips) if clip.size >= SAMPLES_PER_TOKEN]
        batches = [heard[start : start + self.windows] for start in range(0, len(heard), self.windows)]
        try:
            found = chain.from_iterable(self._encode_batches([clips[number] for number in b] for b in batches))
            for number, row in zip(heard, found, strict=True):
                ids[number] = row[: clips[number].size // SAMPLES_PER_TOKEN].copy()
        except torch.OutOfMemoryError as error:
            raise MemoryError(f"{self.device} has no room for {self.windows} clips: {error}") from error
        return ids

    def _encode_batches(self, batches: Iterable[Sequence[Samples]]) -> Iterator[Ids]:
        """Yield uint16 (n_clips, 750) of each batch, of which the first samples // 640 of a row belong to its clip."""
        if not self._lanes:
            yield from map(self._encode_batch, batches)
            return
        on_the_way: deque[tuple[_Lane, int]] = deque()
        for lane, clips in zip(cycle(self._lanes), batches, strict=False):
            if len(on_the_way) == len(self._lanes):
                yield _collected(*on_the_way.popleft())
            self._send(clips, lane)
            on_the_way.append((lane, len(clips)))
        for one in on_the_way:
            yield _collected(*one)

    @torch.inference_mode()
    def _encode_batch(self, clips: Sequence[Samples]) -> Ids:
        """Return the ids of a batch as long as its longest clip."""
        n_samples = max(clip.size for clip in clips)
        padded = torch.zeros(len(clips), n_samples + N_FFT)
        frames = torch.from_numpy(padded_clips(clips, n_samples, padded.numpy()))
        ids: Ids = self._find(padded, frames).numpy().astype(np.uint16)
        return ids

    @torch.inference_mode()
    def _send(self, clips: Sequence[Samples], lane: _Lane) -> None:
        """Give out all work on a batch of at most `windows` clips, and wait for nothing that is under way elsewhere."""
        lane.wait()  # where an error left a batch uncollected
        frames = padded_clips(clips, WINDOW_SAMPLES, lane.samples.numpy())
        lane.frames.copy_(torch.from_numpy(frames))
        with torch.cuda.stream(self._copies):  # None: no stream, and on a CPU none is needed
            lane.samples_there.copy_(lane.samples, non_blocking=True)
            lane.frames_there.copy_(lane.frames, non_blocking=True)
        if self._copies is not None:
            torch.cuda.current_stream(self._on).wait_stream(self._copies)
        lane.ids.copy_(self._find(lane.samples_there, lane.frames_there), non_blocking=True)
        lane.record()

    def _find(self, padded: Tensor, frames: Tensor) -> Tensor:
        """Return int32 (n_clips, 750) for what `padded_clips` wrote."""
        with exact_float32():
            mel = log_mel(padded, frames, self.encoder.dimensions.n_mels)
            ids: Tensor = self.head(self._encode(mel.to(DTYPES[self.precision]))).to(torch.int32)
        return ids

    def _windows_that_fit(self, compute: Compute) -> int:
        """Return how many windows fit: 1 on a CPU, where a batch is no faster, else as the free memory allows."""
        if self._on.type != "cuda":
            return 1
        free, total = torch.cuda.mem_get_info(self._on)
        room = MEMORY_SHARE * min(free, total * compute.gpu_share)
        window = self.encoder.dimensions.activation_bytes(item_bytes(compute)) + WINDOW_BYTES
        return max(1, min(MOST_WINDOWS, int(room // window)))


def _collected(lane: _Lane, n_clips: int) -> Ids:
    """Return the ids of a batch that was sent, when they are there."""
    lane.wait()
    ids: Ids = lane.ids[:n_clips].numpy().astype(np.uint16)
    return ids


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
    if state["codebook"].ndim != 2:
        raise ValueError(f"{path}: a codebook of the shape {tuple(state['codebook'].shape)}, not (codes, dimensions)")
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
        if isinstance(value, Tensor):
            plain[name] = value.squeeze(0) if name == "codebook" else value
    return plain


def _check_spec(path: Path, content: Mapping[str, Any], width: int, hidden: int, n_codes: int, dim: int) -> str | None:
    """Check a whisperspeech checkpoint's config and tunables against its tensors; return its Whisper's name."""
    for kind in ("config", "tunables"):
        if not isinstance(content.get(kind, {}), dict):
            raise ValueError(f"{path}: {kind} is {content[kind]!r}, not a dictionary")
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
    counts = [config.get(key) for key in ("n_head", "head_width")]
    said = {**config, "n_head * head_width": math.prod(n if isinstance(n, int) else 0 for n in counts)}
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
