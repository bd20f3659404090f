"""WhisperSpeech's T2S: text to the sound tokens that a WhisperVQ would hear, 25 a second.

Source: collabora/WhisperSpeech 0.8.9 `t2s_up_wds_mlang_enclm.py` (`TSARTransformer`) after `optimize()`. Greedy ids
are upstream's in fp32 (tests/tts/test_whisperspeech_parity.py), but for ids that are no sound and no stop: upstream
means to forbid them, and its mask lies on the wrong axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tts import whisperspeech_checkpoint as checkpoint
from tts.decoding import Batch, Decoded, Sampling, Seats, decode
from tts.token_table import TokenTable
from tts.transformer import Decoder, Encoder, LayerMemory, Shape
from tts.whisperspeech_languages import LANGUAGES

TOKENS_PER_SECOND = 25
MOST_CPS = 20

KNOWN = checkpoint.Known(
    config={
        "depth": 6, "n_head": 6, "head_width": 64, "ffn_mult": 4, "ttoks_len": 200, "ttoks_codes": 256,
        "ttoks_width": None, "stoks_len": 1500, "stoks_codes": 1024, "stoks_width": None,
    },
    tunables={
        "output_mult": 0.35, "query_mult": 1, "encoder_depth_ratio": 0.25, "causal_encoder": True, "cps_input": True,
        "cps_bins": 32, "padding_token_offset": 0,
    },
    old_tunables={"padding_token_offset": -1},
    other_tunables=frozenset((
        "init_std", "embeddings_std", "embeddings_lr_scale", "embedding_projector_lr_scale", "eot_dropout_p", "lr0",
        "clip_gradient_norm", "weight_decay", "warmup_steps", "random",
    )),
)  # fmt: skip


class T2S(nn.Module):
    """The model; loaded in float32 on the CPU, and placed by `place_model`."""

    streams = 1

    def __init__(self, path: Path) -> None:
        """Load a checkpoint. Raises ValueError, naming the file and the key, for what is not implemented or known."""
        super().__init__()
        config, tunables, weights = checkpoint.read(path, "T2S", KNOWN)
        checkpoint.only(path, "config", config, {"ttoks_codes": 256, "ttoks_width": None})
        checkpoint.only(path, "tunables", tunables, {"cps_input": True})
        offset = tunables["padding_token_offset"]
        if offset not in (-1, 0):
            raise ValueError(f"{path}: tunables.padding_token_offset is {offset!r}; only -1 and 0 are implemented")
        width = config["n_head"] * config["head_width"]
        shape = Shape(
            width, config["n_head"], config["ffn_mult"], tunables["query_mult"] * 8 / math.sqrt(config["head_width"])
        )
        self.text_places: int = config["ttoks_len"]
        self.context: int = config["stoks_len"]
        self.codes: int = config["stoks_codes"]
        self.start = self.codes + offset
        self.stop: int | None = self.start
        self.cps_bins = tunables["cps_bins"]
        self.loudness: float = tunables["output_mult"] / (config["n_head"] / 3)  # upstream's base width is 3 heads

        self.languages = weights.embedding("lang_embeddings", len(LANGUAGES), width)
        self.cps = weights.embedding("cps_embeddings", self.cps_bins, width)
        self.bytes = weights.embedding("encoder.embedding.main", 256, width)
        self.text_positions: Tensor
        self.sound_positions: Tensor
        self.forbidden: Tensor
        ids = torch.arange(self.codes + 1)
        self.register_buffer("text_positions", weights.take("encoder.positional_embedding", self.text_places, width))
        self.register_buffer("sound_positions", weights.take("embeddings.positional_embedding", self.context, width))
        self.register_buffer("forbidden", (ids >= self.codes) & (ids != self.stop))
        encoder_depth = int(2 * config["depth"] * tunables["encoder_depth_ratio"])
        self.encoder = Encoder(
            weights, "encoder.layers", "encoder.ln_post", encoder_depth, shape, tunables["causal_encoder"], None
        )
        self.table = TokenTable(weights, "embeddings.embedding", self.codes, 1, width, config["stoks_width"])
        self.decoder = Decoder(weights, "decoder", 2 * config["depth"] - encoder_depth, shape, None)
        weights.refuse_rest()
        self.codebook: NDArray[np.float32] = self.table.frozen.numpy()
        self.seats = Seats(self)

    @property
    def most_bytes(self) -> int:
        """Of a text that is encoded at once: one place is the start's."""
        return self.text_places - 1

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], language: str, cps: Sequence[float]) -> Batch:
        """Return a batch of texts, each at its characters a second.

        Raises ValueError for one of more than `most_bytes` bytes of UTF-8.
        """
        device = self.bytes.weight.device
        places = np.zeros((len(texts), self.text_places), np.int64)
        for row, text in zip(places, texts, strict=True):
            encoded = text.strip().encode()
            if len(encoded) > self.most_bytes:
                raise ValueError(f"{len(encoded)} bytes of text, and at most {self.most_bytes} fit: {text[:60]!r}")
            row[1 : len(encoded) + 1] = np.frombuffer(encoded, np.uint8)
        spoken = torch.tensor(LANGUAGES.index(language), device=device)
        x = self.bytes(torch.from_numpy(places).to(device)) + self.languages(spoken)
        encoded_texts = self.encoder(x + self.text_positions.to(x.dtype))
        rates = [min(int(rate / MOST_CPS * self.cps_bins), self.cps_bins - 1) for rate in cps]
        added = self.cps(torch.tensor(rates, device=device))[:, None]
        return Batch(encoded_texts, added)

    def remember(self, encoded: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each layer's keys and values of what is encoded."""
        return self.decoder.remember(encoded)

    def step(self, tokens: Tensor, place: Tensor, memories: Sequence[LayerMemory], added: Tensor | None) -> Tensor:
        """Return float32 (n, 1, vocabulary), as `decoding.Model.step` says."""
        x = self.table(tokens)
        x = self.decoder.step(x + self.sound_positions[place].to(x.dtype) + added, memories, place)
        logits: Tensor = self.table.logits(x).float() * self.loudness
        return logits.masked_fill(self.forbidden, -torch.inf)

    def fed(self, chosen: Tensor, place: Tensor) -> Tensor:
        """Return the tokens as they were chosen."""
        return chosen

    def generate(
        self,
        texts: Sequence[str],
        keys: Sequence[int],
        sampling: Sampling,
        *,
        language: str = "en",
        cps: Sequence[float] | None = None,
        most_tokens: int | None = None,
        graphs: bool = False,
    ) -> list[Decoded]:
        """Return the sound tokens of each text, at most context - 1 of them: int64 (1, n_tokens).

        Args:
            cps: characters a second of each text; None: 15.
            graphs: replay CUDA graphs, on a GPU.
        """
        most = min(most_tokens or self.context, self.context - 1)
        batch = self.encode(texts, language, cps or [15.0] * len(texts))
        return decode(self.seats, batch, [most] * len(texts), keys, sampling, graphs=graphs and batch.encoded.is_cuda)
