"""Sound tokens by both ways, with audio and without: `speechmill compare-paths`.

With: text -> T2S -> S2A -> vocoder -> tokenizer. Without: text -> T2S, whose tokens are taken as they are. Both ways
draw the same in T2S, so that what differs is what speaking and listening do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.errors import RunError, UserError
from pipelines.folders.run_folder import open_run_folder
from pipelines.graph import Outputs
from pipelines.recipe import Recipe
from pipelines.row import user_turns
from pipelines.speech_options import WHISPERSPEECH, PathLimits
from pipelines.steps.tts import draw_seed, exact_sums, load_engines
from quantize import load_tokenizer
from tts.delivery import draw_delivery
from tts.engine import Engine, Request, Spoken
from tts.spoken_form import spoken_form

Ids = NDArray[np.uint16]


@dataclass(frozen=True)
class Figures:
    """How far two ways agree, over the texts that both could speak.

    rows, failed: texts that both spoke, and that one or both could not
    tokens:       of all rows, without audio and with
    agreement:    1 - edit distance / length of the longer, over all rows
    repeats:      share of tokens that equal the one before, without audio and with
    distinct:     ids that occur, without audio and with
    divergence:   Jensen-Shannon of the ids' distributions, bits
    floor:        the same between two halves of the rows without audio: what chance alone makes of so few
    """

    rows: int
    failed: int
    tokens: tuple[int, int]
    agreement: float
    repeats: tuple[float, float]
    distinct: tuple[int, int]
    divergence: float
    floor: float

    @property
    def length_ratio(self) -> float:
        """Tokens without audio over tokens with."""
        return self.tokens[0] / self.tokens[1]

    def lines(self) -> Iterator[str]:
        """Yield what people read, a figure a line."""
        yield f"texts spoken both ways: {self.rows}, failed one way or both: {self.failed}"
        yield f"{'':<36}{'without audio':>14}{'with':>10}"
        yield f"{'tokens':<36}{self.tokens[0]:>14,}{self.tokens[1]:>10,}"
        yield f"{'tokens a text':<36}{self.tokens[0] / self.rows:>14.1f}{self.tokens[1] / self.rows:>10.1f}"
        yield f"{'share that repeat the one before':<36}{self.repeats[0]:>14.1%}{self.repeats[1]:>10.1%}"
        yield f"{'distinct ids':<36}{self.distinct[0]:>14}{self.distinct[1]:>10}"
        yield f"agreement (1 - edit distance / length): {self.agreement:.2%}"
        yield f"divergence of the ids (Jensen-Shannon): {self.divergence:.4f} bits; of two halves: {self.floor:.4f}"

    def broken(self, limits: PathLimits) -> list[str]:
        """Return which limits are not kept, a line each."""
        apart, above = abs(self.length_ratio - 1), self.divergence - self.floor
        repeats = abs(self.repeats[0] - self.repeats[1])
        checks = (
            (self.agreement > limits.agreement_above, f"agreement {self.agreement:.2%}", "agreement_above"),
            (above < limits.divergence_below, f"divergence {above:.4f} bits above the floor", "divergence_below"),
            (apart <= limits.length_within, f"length ratio {self.length_ratio:.3f}", "length_within"),
            (repeats <= limits.repeats_within, f"repeats differ by {repeats:.1%}", "repeats_within"),
        )
        return [f"{said} ({name}: {getattr(limits, name):g})" for kept, said, name in checks if not kept]


def compare(recipe: Recipe, outputs: Outputs) -> Figures:
    """Speak a sample of the filtered rows both ways.

    Raises UserError for a recipe without WhisperSpeech, or whose T2S and tokenizer do not share a vocabulary; RunError
    where fewer than two texts could be spoken both ways.
    """
    engine = next((name for name in recipe.tts.engines if name in WHISPERSPEECH), None)
    if engine is None:
        raise UserError(f"tts.engine: {recipe.tts.engine} knows one way alone; compare-paths is for {WHISPERSPEECH[1]}")
    mine = [voice.model_copy(update={"engine": None}) for voice in recipe.tts.voices if voice.id in _speakers(recipe)]
    ways = []
    for name in reversed(WHISPERSPEECH):
        tts = recipe.tts.model_copy(update={"engine": name, "voices": tuple(mine), "augment": None})
        ways.append(load_engines(recipe.model_copy(update={"tts": tts}))[name])
    requests = _requests(recipe.model_copy(update={"tts": tts}), outputs)
    with exact_sums(tts):
        written, heard = _written(ways[0], requests), _heard(ways[1], requests, recipe)
    both = [number for number in written if number in heard]
    if len(both) < 2:
        raise RunError(f"only {len(both)} of {len(requests)} texts could be spoken both ways: nothing can be compared")
    return figures([written[number] for number in both], [heard[number] for number in both], len(requests) - len(both))


def _speakers(recipe: Recipe) -> set[str]:
    return set(recipe.tts.whisperspeech.speakers)


def _requests(recipe: Recipe, outputs: Outputs) -> list[Request]:
    """Return the first user messages of a sample of the kept rows, by a hash of their ids."""
    tts, wanted = recipe.tts, recipe.tts.compare_paths.rows
    open_run_folder(recipe).pull(rows=True)
    rows: list[tuple[bytes, str, list[dict[str, str]]]] = []
    for shard in outputs.shards("filter"):
        table = pq.read_table(recipe.run_path / shard.path, columns=["id", "messages"])
        for row in table.to_pylist():
            rank = hashlib.blake2b(f"{recipe.seed}/compare/{row['id']}".encode(), digest_size=8).digest()
            rows.append((rank, row["id"], row["messages"]))
        rows = sorted(rows, key=lambda row: row[:2])[:wanted]
    requests = []
    for _, row_id, messages in rows:
        turn, written = user_turns(messages)[0]
        delivery = draw_delivery(recipe.seed, row_id, tts.candidates(False), tts.rate_wpm, tts.pitch)
        if text := spoken_form(written).strip():
            requests.append(Request(text, delivery, draw_seed(recipe.seed, row_id, turn)))
    return requests


def _written(engine: Engine, requests: Sequence[Request]) -> dict[int, Ids]:
    spoken = enumerate(engine.speak_all(requests))
    return {n: said.tokens for n, said in spoken if isinstance(said, Spoken) and said.tokens is not None}


def _heard(engine: Engine, requests: Sequence[Request], recipe: Recipe) -> dict[int, Ids]:
    from quantize.clips import encode_recordings  # loads torch

    quantize = recipe.quantize
    tokenizer = load_tokenizer(quantize.tokenizer, quantize.files, quantize.compute)
    spoken = {n: said.samples for n, said in enumerate(engine.speak_all(requests)) if isinstance(said, Spoken)}
    recordings = [
        (samples.astype(np.float32) / np.float32(32768), engine.sample_rate_hz) for samples in spoken.values()
    ]
    return dict(zip(spoken, encode_recordings(recordings, tokenizer), strict=True)) if recordings else {}


def figures(written: Sequence[Ids], heard: Sequence[Ids], failed: int = 0) -> Figures:
    """Return how far tokens (n_tokens,) that were written agree with those that were heard of the same texts."""
    n_codes = int(max(row.max(initial=0) for row in (*written, *heard))) + 1
    counts = [np.bincount(np.concatenate(list(rows)), minlength=n_codes) for rows in (written, heard)]
    halves = [np.bincount(np.concatenate(list(written[half::2])), minlength=n_codes) for half in (0, 1)]
    edits = sum(edit_distance(one, other) for one, other in zip(written, heard, strict=True))
    longer = sum(max(len(one), len(other)) for one, other in zip(written, heard, strict=True))
    return Figures(
        rows=len(written),
        failed=failed,
        tokens=(int(counts[0].sum()), int(counts[1].sum())),
        agreement=1 - edits / longer,
        repeats=(_repeats(written), _repeats(heard)),
        distinct=(int((counts[0] > 0).sum()), int((counts[1] > 0).sum())),
        divergence=divergence(*counts),
        floor=divergence(*halves),
    )


def _repeats(rows: Sequence[Ids]) -> float:
    return sum(int((row[1:] == row[:-1]).sum()) for row in rows) / max(1, sum(len(row) for row in rows))


def edit_distance(one: Ids, other: Ids) -> int:
    """Return how many tokens must be changed, added or left out (Levenshtein 1966).

    >>> edit_distance(np.array([1, 2, 3], np.uint16), np.array([2, 3, 4], np.uint16))
    2
    """
    places = np.arange(len(other) + 1)
    row = places.copy()
    for number, token in enumerate(one, start=1):
        changed = row[:-1] + (other != token)
        new = np.minimum(row + 1, np.concatenate([[number], changed]))
        row = np.minimum.accumulate(new - places) + places  # what was added after the best place before
    return int(row[-1])


def divergence(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Return the Jensen-Shannon divergence, in bits, of two counts (n_codes,): 0 for equal shares, 1 for no common id.

    >>> divergence(np.array([1, 1, 0, 0]), np.array([0, 0, 5, 5]))
    1.0
    """
    p, q = one / one.sum(), other / other.sum()
    return _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2


def _entropy(shares: NDArray[np.float64]) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log2(some)).sum())
