"""How much memory a shard of long clips takes: rows of 30 s of speech through the quantize step of one worker.

    python benchmarks/quantize_memory.py --rows 2000

Writes a tts shard of that many rows of 30 s (FLAC at 22,050 Hz), loads a WhisperVQ of seeded weights, and goes
through the step as beside a GPU: buffers of one shape, several batches a call, threads that decode ahead. What the GPU
would compute is left out (every id is 0), since it takes no memory of the host. Prints the peak of the process (VmHWM)
and what it was when the model was loaded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "quantize")]

import seeded  # noqa: E402

from pipelines.graph import Job, Unit  # noqa: E402
from pipelines.recipe import parse_recipe  # noqa: E402
from pipelines.row import REJECTED_ROW, ROW, row_id  # noqa: E402
from pipelines.shards import Staged, row_writer  # noqa: E402
from pipelines.steps import quantize  # noqa: E402
from quantize.whispervq import MOST_WINDOWS, WhisperVQ  # noqa: E402
from tts.audio import flac_bytes  # noqa: E402

RATE_HZ, SECONDS = 22_050, 30


def peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024


def write_shard(run: Path, rows: int) -> int:
    """Write tts/long-00000.parquet; return its bytes."""
    draw = np.random.default_rng(0)
    noise = draw.normal(0, 2000, RATE_HZ * SECONDS)
    clips = [flac_bytes((noise * np.roll(noise > 0, k)).astype(np.int16), RATE_HZ) for k in range(8)]
    staged = Staged(run)
    with row_writer(staged, "tts", "long-00000", ROW, REJECTED_ROW) as writer:
        for number in range(rows):
            messages = [{"role": "user", "content": f"clip {number}"}]
            audio = {"bytes": clips[number % len(clips)], "path": None}
            said = {"turn": 0, "text": "", "audio": audio, "sample_rate": RATE_HZ, "seconds": float(SECONDS)}
            row = {"id": row_id("long", messages), "source": "long", "index": number, "messages": messages}
            writer.keep({**row, "exchanges": 1, "answered": False, "spoken": [said]})
        counts = writer.finish(rows)
    staged.commit("tts/long-00000.json", {}, counts, {}, {})
    return (run / "tts/long-00000.parquet").stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=MOST_WINDOWS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        files = {
            "model": str(seeded.write_whispervq(run / "vq.model", "micro")),
            "whisper": str(seeded.write_openai(run / "whisper.pt", "micro")),
        }
        size = write_shard(run, args.rows)
        raw = {
            "name": "memory",
            "run_dir": name,
            "sources": [{"name": "long", "path": name}],
            "quantize": {"tokenizer": "whispervq", "batch_size": args.batch, **files},
            "mix": {"mixtures": {"all": {"parts": {"transcription": 100}}}},
        }
        recipe = parse_recipe(raw, "memory")
        tokenizer = quantize._tokenizer(recipe.quantize)
        assert isinstance(tokenizer, WhisperVQ)
        tokenizer._fix_shape()
        tokenizer._find = lambda padded, _: torch.zeros(len(padded), 750, dtype=torch.int32)  # type: ignore[method-assign]
        WhisperVQ.device = property(lambda self: "as beside a GPU")  # type: ignore[assignment]
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = peak_mib()
        job = Job(recipe, Unit("long-00000", ("tts/long-00000.parquet",), args.rows), Staged(run), {})
        started = time.monotonic()
        outcome = quantize.PASS.run(job)
        seconds = time.monotonic() - started
        job.staged.discard()
        print(
            "\n| rows of 30 s | shard MiB | clips a batch | seconds | MiB with the model | peak MiB | above the model |"
        )
        print("|---|---|---|---|---|---|---|")
        print(
            f"| {outcome.counts.rows_kept:,} | {size / 2**20:.0f} | {args.batch} | {seconds:.0f} | {before:.0f} "
            f"| {peak_mib():.0f} | {peak_mib() - before:.0f} |"
        )


if __name__ == "__main__":
    main()
