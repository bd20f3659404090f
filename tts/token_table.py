"""The table of a stream of tokens: ids in, logits out, by the same rows (upstream's FlexEmbeddings, merged)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tts.whisperspeech_checkpoint import Weights, embedding, linear


class TokenTable(nn.Module):
    """Rows of the codes, frozen in another width where `frozen_width` is given, and of the special ids after them."""

    def __init__(
        self, weights: Weights, at: str, codes: int, special: int, width: int, frozen_width: int | None
    ) -> None:
        super().__init__()
        frozen_width = frozen_width or width
        self.frozen = weights.take(f"{at}.main.weight", codes, frozen_width).clone()
        more = weights.take(f"{at}.special.weight", special, width)
        if frozen_width == width:
            self.rows = embedding(torch.cat([self.frozen, more]))
            self.out = linear(torch.cat([self.frozen, more]), None)
            return
        into = weights.linear(f"{at}.emb_to_hidden", width, frozen_width)
        back = weights.linear(f"{at}.hidden_to_emb", frozen_width, width)
        with torch.no_grad():
            self.rows = embedding(torch.cat([into(self.frozen), more]))
            bias = torch.cat([back.bias @ self.frozen.T, torch.zeros(special)])
            self.out = linear(torch.cat([self.frozen @ back.weight, more]), bias)

    def forward(self, ids: Tensor) -> Tensor:
        """Return (..., width) for int64 (...)."""
        rows: Tensor = self.rows(ids)
        return rows

    def logits(self, x: Tensor) -> Tensor:
        """Return (..., codes + special) for (..., width)."""
        logits: Tensor = self.out(x)
        return logits
