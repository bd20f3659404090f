"""Encodec at 24 kHz and 1.5 kbps, the codec of Ichigo v0.1: two codebooks of 1024, interleaved, 150 ids a second.

Source: https://github.com/facebookresearch/encodec (MIT; its weights are CC BY-NC 4.0), arXiv 2210.13438. Needs the
extra `encodec`. The second codebook's ids follow the first's: 1024 to 2047.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from quantize.computing import exact_float32
from quantize.models import path_digest
from quantize.tokenizer import Compute, Ids, Precision, Samples, check_audio
from quantize.whisper import load_checkpoint

BANDWIDTH_KBPS = 1.5
CODES_PER_BOOK = 1024
FRAMES_PER_SECOND = 75
N_BOOKS = 2


class Encodec:
    """The 24 kHz model, from the state dict that Meta publishes (encodec_24khz-d7cc33bc.th)."""

    precision: Precision = "fp32"
    mask_code = None
    n_codes = N_BOOKS * CODES_PER_BOOK
    sample_rate_hz = 24_000
    tokens_per_second = N_BOOKS * FRAMES_PER_SECOND
    max_seconds = 30.0
    batch_size = 1  # it is convolutional and padded at the end of a clip: a batch of several lengths differs there

    def __init__(self, name: str, model: Path, compute: Compute) -> None:
        """Raise ValueError where the package is missing, the file is no such model, or precision is not fp32."""
        try:
            from encodec.model import EncodecModel
        except ImportError as error:
            raise ValueError("the tokenizer encodec needs its package: pip install 'speechmill[encodec]'") from error
        if compute.precision != "fp32":
            raise ValueError(f"precision {compute.precision}: encodec runs in fp32 alone")
        self.name = name
        self.digest = path_digest(model)
        self._on = torch.device("cuda" if compute.device != "cpu" and torch.cuda.is_available() else "cpu")
        self._model = EncodecModel.encodec_model_24khz(pretrained=False)
        try:
            self._model.load_state_dict(load_checkpoint(model))
        except RuntimeError as error:
            raise ValueError(f"{model} is not Encodec's 24 kHz model: {str(error).splitlines()[0]}") from error
        self._model.set_target_bandwidth(BANDWIDTH_KBPS)
        self._model.to(self._on).eval()

    @property
    def device(self) -> str:
        """The GPU's name, or cpu."""
        return torch.cuda.get_device_name(self._on) if self._on.type == "cuda" else "cpu"

    @torch.inference_mode()
    def encode(self, clips: Sequence[Samples]) -> list[Ids]:
        """Return uint16 (2 * ceil(75 * seconds),) for each float32 (n_samples,) at 24 kHz, frame by frame."""
        for clip in clips:
            check_audio(clip, self.sample_rate_hz, self.max_seconds)
        with exact_float32():
            return [self._encode_one(clip) for clip in clips]

    def _encode_one(self, clip: Samples) -> Ids:
        frames = self._model.encode(torch.from_numpy(clip)[None, None].to(self._on))
        codes = torch.cat([book for book, _ in frames], dim=-1)[0]  # (2, n_frames)
        shifted = codes + CODES_PER_BOOK * torch.arange(N_BOOKS, device=codes.device)[:, None]
        ids: Ids = shifted.T.flatten().cpu().numpy().astype(np.uint16)
        return ids
