"""Draw ten samples of each kind of inaudible input: mel pictures, each over the strip of its sound tokens.

    python -m benchmarks.noise_pictures RUN OUT

RUN is a run folder with rows of the kinds (docs/noise.md says the recipe). Their sounds are not kept, so they are made
again from what the rows draw, and heard again: the tokens must be the rows' own. Needs matplotlib beside the project.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from noise import HEARD, NOISE_KINDS
from noise.sounds import FULL_SCALE
from pipelines.recipe import Recipe, parse_recipe
from pipelines.rowwise import read_rows
from pipelines.steps.augment import noise_files
from pipelines.steps.noise_ladder import clips_of
from pipelines.steps.noise_sounds import Material, draw
from pipelines.steps.noise_speech import Pool
from quantize import load_tokenizer
from quantize.mel import HOP_SAMPLES, N_FFT, mel_filters
from quantize.tokenizer import SAMPLES_PER_TOKEN

matplotlib.use("Agg")
from matplotlib import pyplot

SAMPLES = 10
N_MELS = 40
SHOWN_DB = 70.0
COLOURS = 64  # of a picture: small files


class Sample(NamedTuple):
    """What is drawn of a row."""

    said: dict[str, Any]
    tokens: list[int]
    samples: NDArray[np.float32] | None  # at 16 kHz; none of ids that nobody spoke


def decibels(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (40, n_frames): power in mel bands, two frames of 10 ms together, dB below the loudest."""
    padded = np.pad(samples, N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP_SAMPLES] * np.hanning(N_FFT)
    power = mel_filters(N_MELS) @ np.square(np.abs(np.fft.rfft(frames))).T
    pairs = power[:, : power.shape[1] // 2 * 2].reshape(N_MELS, -1, 2).mean(axis=2)
    found: NDArray[np.float64] = 10 * np.log10(np.maximum(pairs, 1e-12))
    return np.maximum(found - found.max(), -SHOWN_DB)


def sheet(path: Path, title: str, drawn: Sequence[Sample], n_codes: int) -> None:
    """Write a contact sheet of mel pictures, two columns, each over its tokens; a token's colour is its id."""
    rows = -(-len(drawn) // 2)
    heard = drawn[0].samples is not None
    ratios = [4, 0.7] if heard else [1]
    figure = pyplot.figure(figsize=(11, (1.45 if heard else 0.62) * rows + 0.4))
    place = {"left": 0.03, "right": 0.99, "top": 1 - 0.5 / figure.get_figheight(), "bottom": 0.02}
    outer = figure.add_gridspec(rows, 2, hspace=0.4 if heard else 1.6, wspace=0.08, **place)
    figure.suptitle(title, fontsize=11, y=0.995)
    for number, sample in enumerate(drawn):
        inner = outer[number].subgridspec(len(ratios), 1, height_ratios=ratios, hspace=0.04)
        axes = [figure.add_subplot(inner[row]) for row in range(len(ratios))]
        if sample.samples is not None:
            axes[0].imshow(
                decibels(sample.samples), origin="lower", aspect="auto", cmap="magma", interpolation="nearest"
            )
        axes[-1].imshow(
            [np.array(sample.tokens) / n_codes], aspect="auto", cmap="turbo", vmin=0, vmax=1, interpolation="nearest"
        )
        told = ", ".join(f"{key} {value}" for key, value in sample.said.items() if key not in ("kind", "of"))
        axes[0].set_title(f"{len(sample.tokens) / 25:.2f} s  {told}", fontsize=7, loc="left", pad=2)
        for axis in axes:
            axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def of_noise(run: Path, recipe: Recipe) -> dict[str, list[Sample]]:
    """Return ten rows of each kind, with their sounds made again. Raises ValueError where tokens differ."""
    tokenizer = load_tokenizer(recipe.quantize.tokenizer)
    pool = Pool(sorted((run / "noise.speech").glob("*.parquet")), recipe.seed)
    folder = Path(recipe.root) / recipe.noise.recordings if recipe.noise.recordings else None
    names = tuple(noise_files(folder, "noise.recordings")) if folder else ()
    material = Material(recipe.noise, pool, names, folder)
    found: dict[str, list[Sample]] = defaultdict(list)
    for path in sorted((run / "noise.sounds").glob("noise-*.parquet")):
        args = json.loads(path.with_suffix(".json").read_bytes())["made_of"]["args"]
        lengths = pq.read_table(run / "noise.lengths/all.parquet").to_pandas()
        for row in read_rows(path):
            said, tokens = json.loads(row["inaudible"]), row["spoken"][0]["tokens"]
            if len(found[said["kind"]]) == SAMPLES:
                continue
            samples = None
            if NOISE_KINDS[said["kind"]] in HEARD:
                sound = draw(recipe.seed, row["index"], args, lengths["tokens"], lengths["prompts"], pool)
                pool.read(set(sound.of))
                made, _, _ = material.make(sound, SAMPLES_PER_TOKEN * len(tokens), tokenizer.sample_rate_hz)
                samples = (np.rint(made).clip(-FULL_SCALE, FULL_SCALE - 1) / FULL_SCALE).astype(np.float32)
                if tokenizer.encode([samples])[0].tolist() != tokens:
                    raise ValueError(f"{path} row {row['index']} ({said['kind']}): heard again, its tokens are others")
            found[said["kind"]].append(Sample(said, tokens, samples))
    return found


def of_ladder(run: Path, recipe: Recipe) -> list[Sample]:
    """Return the rungs of the first ladders."""
    tokenizer = load_tokenizer(recipe.quantize.tokenizer)
    kept = {row["id"]: row for path in (run / "noise.speech").glob("*.parquet") for row in read_rows(path)}
    drawn = []
    for path in sorted((run / "noise.sounds").glob("ladder-*.parquet")):
        for row in read_rows(path):
            said = json.loads(row["degraded"])
            clips = clips_of({**row, "spoken": kept[said["of"]]["spoken"]}, tokenizer, recipe.seed)
            samples = np.concatenate([clip.samples for clip in clips])
            shown = {"rung": said["rung"], "snr_db": said["snr_db"], "heard": row["inaudible"] is None}
            drawn.append(Sample(shown, [t for u in row["spoken"] for t in u["tokens"]], samples))
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    recipe = parse_recipe(json.loads((args.run / "recipe.json").read_bytes()), "recipe.json")
    args.out.mkdir(parents=True, exist_ok=True)
    n_codes = load_tokenizer(recipe.quantize.tokenizer).n_codes
    found = of_noise(args.run, recipe)
    for kind, drawn in found.items():
        if len(drawn) < SAMPLES:
            raise ValueError(f"only {len(drawn)} rows are {kind}: raise noise.rows")
        if drawn[0].samples is not None:
            sheet(args.out / f"{kind}.png", f"{kind}: mel bands over time, and below each the tokens", drawn, n_codes)
    spoken = next(iter(sorted((args.run / "quantize").glob("*.parquet"))))
    speech = []
    for row in list(read_rows(spoken))[:SAMPLES]:
        utterance = row["spoken"][0]
        speech.append(Sample({"speech": textwrap.shorten(utterance["text"], 60)}, utterance["tokens"], None))
    for kind in ("independent", "sticky", "shuffled"):
        pairs = [one for pair in zip(found[kind], speech, strict=True) for one in pair]
        sheet(args.out / f"{kind}.png", f"{kind} ids (left), beside the ids of speech (right)", pairs, n_codes)
    sheet(args.out / "ladder.png", "a ladder: two sentences, six rungs each", of_ladder(args.run, recipe)[:12], n_codes)


if __name__ == "__main__":
    main()
