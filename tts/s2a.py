"""WhisperSpeech's S2A: sound tokens and a speaker to the codes of EnCodec, 75 times a second from four codebooks.

Source: collabora/WhisperSpeech 0.8.9 `s2a_delar_mup_wds_mlang.py` (`SADelARTransformer`) and its variant with
conditions, `..._cond.py`, after `optimize()`. Codebook k is said k places late (MusicGen's delay pattern,
arXiv 2306.05284). Greedy codes are upstream's in fp32, but for ids that are no codes: upstream's vocoder would take
them for the next codebook's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tts import whisperspeech_checkpoint as checkpoint
from tts.decoding import Batch, Sampling, Seats, decode
from tts.token_table import TokenTable
from tts.transformer import Decoder, Encoder, LayerMemory, Rotary, Shape
from tts.whisperspeech_languages import LANGUAGES

QUANTIZERS = 4
CODES = 1024
FRAMES_PER_TOKEN = 3
FEWEST_TOKENS = 2
"""The last frames of the delayed codebooks have no room otherwise."""
ROTARY_PLACES = 2500

KNOWN = checkpoint.Known(
    config={
        "depth": 3, "ctx_n": 2250, "stoks_len": 750, "stoks_codes": 4097, "stoks_width": None, "spk_width": None,
        "atoks_width": None, "n_head": 3, "head_width": 64, "ffn_mult": 4, "quantizers": 8, "speaker_map": {"1": 0},
    },
    tunables={
        "output_mult": 5.6, "query_mult": 0.3, "encoder_depth_ratio": 0.25, "linear_heads": False, "rope": True,
        "causal_encoder": False, "force_hidden_to_emb": False,
    },
    old_tunables={"rope": False, "linear_heads": True, "causal_encoder": False, "force_hidden_to_emb": True},
    other_tunables=frozenset((
        "init_std", "embeddings_std", "embeddings_lr_scale", "q0_loss_mult", "lr0", "clip_gradient_norm",
        "weight_decay", "warmup_steps", "random", "random_finetune",
    )),
)  # fmt: skip
_OF_TRAINING = ("val_true", "val_total", "_extra_state", "hidden_to_emb.")
# What upstream's `generate` says of every recording: 60 dB above the noise, C50 of 60 dB; and of the language nothing.
_CONDITIONS = {"lang": (len(LANGUAGES) + 1, len(LANGUAGES)), "snr": (11, 8), "c50": (7, 5)}


class S2A(nn.Module):
    """The model; loaded in float32 on the CPU, and placed by `place_model`."""

    streams = QUANTIZERS
    start = CODES + 1
    stop: int | None = None

    def __init__(self, path: Path) -> None:
        """Load a checkpoint. Raises ValueError, naming the file and the key, for what is not implemented or known."""
        super().__init__()
        config, tunables, weights = checkpoint.read(path, "S2A", KNOWN)
        checkpoint.only(path, "config", config, {"quantizers": QUANTIZERS})
        checkpoint.only(path, "tunables", tunables, {"rope": True})
        self.sound_places: int = config["stoks_len"]
        self.context: int = config["ctx_n"]
        if self.context < FRAMES_PER_TOKEN * self.sound_places:
            raise ValueError(
                f"{path}: config.stoks_len is {self.sound_places} and ctx_n {self.context}: only {FRAMES_PER_TOKEN} "
                "frames for a token are implemented"
            )
        self.sound_codes = config["stoks_codes"]
        width = config["n_head"] * config["head_width"]
        shape = Shape(
            width, config["n_head"], config["ffn_mult"], tunables["query_mult"] * 8 / math.sqrt(config["head_width"])
        )
        self.loudness: float = tunables["output_mult"] / (config["n_head"] / 3)  # upstream's base width is 3 heads
        self._load_inputs(config, weights, width)
        depth = int(2 * config["depth"] * tunables["encoder_depth_ratio"])
        turn = Rotary(_frequencies(weights, depth, 2 * config["depth"] - depth, config["head_width"]), ROTARY_PLACES)
        self.encoder = Encoder(weights, "encoder", "ln_post", depth, shape, tunables["causal_encoder"], turn)
        self.decoder = Decoder(weights, "decoder", 2 * config["depth"] - depth, shape, turn, FRAMES_PER_TOKEN)
        self.split = weights.linear("head.splitter.0", QUANTIZERS * width, width)
        self.tables = nn.ModuleList(
            TokenTable(weights, f"embds.embeddings.{n}", CODES, 2, width, config["atoks_width"])
            for n in range(QUANTIZERS)
        )
        self.forbidden: Tensor
        self.register_buffer("forbidden", torch.arange(CODES + 2) >= CODES)
        weights.refuse_rest(_OF_TRAINING)
        self.seats = Seats(self)

    def _load_inputs(self, config: dict[str, object], weights: checkpoint.Weights, width: int) -> None:
        """Load what turns sound tokens, a speaker and conditions into (..., width)."""
        sound_width, self.speaker_width = (_width(config[key], width) for key in ("stoks_width", "spk_width"))
        self.sounds = weights.embedding("semantic_embedding", self.sound_codes, sound_width)
        self.into = nn.Identity() if sound_width == width else weights.linear("emb_to_hidden", width, sound_width)
        self.conditions: Tensor
        conditions, at = torch.zeros(width), "spk_to_hidden"
        if "cond_embeddings.snr.embed.weight" in weights:
            at = "cond_embeddings.speaker.spk_to_hidden"
            for name, (rows, row) in _CONDITIONS.items():
                conditions = conditions + weights.take(f"cond_embeddings.{name}.embed.weight", rows, width)[row]
        self.register_buffer("conditions", conditions)
        same = self.speaker_width == width
        self.speakers = nn.Identity() if same else weights.linear(at, width, self.speaker_width)

    @property
    def most_tokens(self) -> int:
        """Of an utterance: one place is the start's."""
        return self.sound_places - 1

    @torch.inference_mode()
    def encode(self, sounds: Sequence[NDArray[np.integer]], speakers: Tensor) -> Batch:
        """Return a batch of sound tokens, each (n_tokens,), with float32 (n, speaker_width).

        Raises ValueError for fewer than 2 tokens, more than `most_tokens`, or an id that the model has no row for.
        """
        device, dtype = self.sounds.weight.device, self.sounds.weight.dtype
        padding = self.sound_codes - 1
        places = np.full((len(sounds), self.sound_places), padding, np.int64)
        for row, ids in zip(places, sounds, strict=True):
            if not FEWEST_TOKENS <= len(ids) <= self.most_tokens:
                raise ValueError(f"{len(ids)} sound tokens; from {FEWEST_TOKENS} to {self.most_tokens} can be spoken")
            if not (ids.min() >= 0 and ids.max() < self.sound_codes):
                raise ValueError(f"sound tokens up to {ids.max()}, and this S2A knows 0 to {self.sound_codes - 1}")
            row[1 : len(ids) + 1] = ids
        x = self.encoder(self.into(self.sounds(torch.from_numpy(places).to(device))))
        voices = functional.normalize(speakers.to(device, dtype), dim=-1)
        x = x + (self.speakers(voices) + self.conditions.to(dtype)).unsqueeze(1)
        return Batch(x)

    def remember(self, encoded: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each layer's keys and values of what is encoded."""
        return self.decoder.remember(encoded)

    def step(self, tokens: Tensor, place: Tensor, memories: Sequence[LayerMemory], added: Tensor | None) -> Tensor:
        """Return float32 (n, 4, 1026), as `decoding.Model.step` says."""
        x = torch.stack([table(tokens[:, n]) for n, table in enumerate(self.tables)]).sum(0)
        x = self.decoder.step(x[:, None], memories, place)
        parts = functional.gelu(self.split(x)).view(len(tokens), QUANTIZERS, -1)
        logits = torch.stack([_logits(table, parts[:, n]) for n, table in enumerate(self.tables)], dim=1)
        return (logits.float() * self.loudness).masked_fill(self.forbidden, -torch.inf)

    def fed(self, chosen: Tensor, place: Tensor) -> Tensor:
        """Return the chosen codes where their codebook has begun, and the start before."""
        begun = torch.arange(QUANTIZERS, device=chosen.device) <= place
        return torch.where(begun, chosen, self.start)

    def generate(
        self,
        sounds: Sequence[NDArray[np.integer]],
        speakers: Tensor,
        keys: Sequence[int],
        sampling: Sampling,
        *,
        graphs: bool = False,
    ) -> list[NDArray[np.int64]]:
        """Return the codes of each utterance, int64 (4, 3 * n_tokens - 4)."""
        limits = [FRAMES_PER_TOKEN * len(ids) - 1 for ids in sounds]
        batch = self.encode(sounds, speakers)
        rows = decode(self.seats, batch, limits, keys, sampling, graphs=graphs and batch.encoded.is_cuda)
        return [_undelayed(row.tokens) for row in rows]


def _width(value: object, default: int) -> int:
    return value if isinstance(value, int) else default


def _logits(table: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(table, TokenTable)
    return table.logits(x)


def _undelayed(said: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the frames of int64 (4, n_places), of which codebook k begins at place k."""
    frames = said.shape[1] - QUANTIZERS + 1
    return np.stack([said[n, n : n + frames] for n in range(QUANTIZERS)])


def _frequencies(weights: checkpoint.Weights, encoder_depth: int, decoder_depth: int, head_width: int) -> Tensor:
    """Return the rotary frequencies, float32 (head_width / 2,), of which each attention of a checkpoint has a copy."""
    names = [f"encoder.{n}.attn" for n in range(encoder_depth)]
    names += [f"decoder.layers.{n}.{kind}" for n in range(decoder_depth) for kind in ("attn", "cross_attn")]
    copies = [weights.take(f"{name}.rotary.inv_freq", head_width // 2) for name in names]
    if other := next((name for name, copy in zip(names, copies, strict=True) if not copy.equal(copies[0])), None):
        raise ValueError(f"{weights.path}: {other}.rotary.inv_freq differs from {names[0]}'s")
    return copies[0]
