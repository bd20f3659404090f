"""WhisperVQ at Whisper-medium's dimensions, with seeded weights: one clip a call as upstream does, against batches.

    python benchmarks/quantize.py --audio DIR --clips 1024                     on a GPU
    python benchmarks/quantize.py --size tiny --clips 12 --upstream-python DIRECTORY/bin/python
    python benchmarks/quantize.py --clips 4                                    on a CPU: 11 s a window here

Sides take turns on the same clips, each after a warm-up: upstream's own code where --upstream-python names an
environment with it (tests/quantize/oracle/README.md), one clip a call in fp32 by our code (what upstream does, where it
cannot be installed), batches in fp32, bf16 and, with --compile, compiled. Windows/s and audio-seconds/s hold
everything from samples to ids; the share is of the device's matrix rate, measured in the same run.
Agreement is with the first side's ids. Without --audio the clips are noise of 1 to 30 s.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests" / "quantize"
sys.path[:0] = [str(ROOT), str(TESTS)]

import seeded  # noqa: E402


class Measured(NamedTuple):
    """One side's run over all clips."""

    name: str
    seconds: float
    ids: list[Any]
    peak_gib: float
    precision: str


Encode = Callable[[list[Any]], list[Any]]


def upstream(size: str, device: str) -> Encode:
    """Return upstream's encode of clips, one at a time, in an environment that has it."""
    sys.path.insert(0, str(TESTS / "oracle"))
    import make_golden

    make_golden.install_shim()
    model = make_golden.whispervq(size, Path(tempfile.mkdtemp())).to(device)

    def run(clips: list[Any]) -> list[Any]:
        with torch.no_grad():
            return [model.encode_audio(torch.from_numpy(c)[None].to(device))[0].cpu().numpy() for c in clips]

    return run


def ours(folder: Path, **compute: Any) -> Encode:
    """Return our encode of clips."""
    from quantize.tokenizer import Compute
    from quantize.whispervq import WhisperVQ

    files = {"model": folder / "vq.model", "whisper": folder / "whisper.pt"}
    tokenizer = WhisperVQ("whispervq", files, Compute(**compute))
    if compute.get("batch_size") is None:
        print(f"  {tokenizer.windows} clips a batch in {tokenizer.precision}", flush=True)
    return tokenizer.encode


def measure(name: str, run: Encode, clips: list[Any], precision: str) -> Measured:
    run(clips[:1])  # kernels are chosen, and compiled where that is asked for
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    ids = run(clips)
    seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    print(f"  {name}: {seconds:.1f} s", flush=True)
    return Measured(name, seconds, ids, peak, precision)


def matrix_rate(precision: str) -> float:
    """Return the device's rate in FLOP/s for a large matrix product, the best of five."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    n = 8192 if device == "cuda" else 2048
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        c = a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    del c
    return 2 * n**3 / best


def make_clips(audio: Path | None, count: int) -> list[Any]:
    """Return clips of 1 to 30 s at 16 kHz: recordings over and over, or noise."""
    if audio:
        from clips_of import recorded_clips

        found = [clip for clip in recorded_clips(audio).values() if clip.size >= 16_000]
        return [found[n % len(found)] for n in range(count)]
    draw = np.random.default_rng(0)
    lengths = draw.integers(16_000, 480_001, count)
    return [draw.normal(0, 0.1, n).astype(np.float32) for n in lengths]


def run_upstream(python: Path, clips: list[Any], args: argparse.Namespace) -> Measured:
    """Measure upstream's side in a process of its own environment."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "clips.npz", *clips)
        command = [str(python), str(Path(__file__)), "--inside", name, "--size", args.size]
        subprocess.run(command, check=True, cwd=ROOT, stderr=subprocess.DEVNULL)
        about = json.loads((folder / "about.json").read_text())
        content = np.load(folder / "ids.npz")
        ids = [content[f"arr_{n}"] for n in range(len(clips))]
    print(f"  upstream: {about['seconds']:.1f} s", flush=True)
    return Measured("upstream, one clip a call, fp32", about["seconds"], ids, about["peak"], "fp32")


def inside(folder: Path, size: str) -> None:
    """Be upstream's side: read clips, write ids and seconds."""
    content = np.load(folder / "clips.npz")
    clips = [content[f"arr_{n}"] for n in range(len(content.files))]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    done = measure("upstream", upstream(size, device), clips, "fp32")
    np.savez(folder / "ids.npz", *done.ids)
    (folder / "about.json").write_text(json.dumps({"seconds": done.seconds, "peak": done.peak_gib}))


def print_table(sides: list[Measured], clips: list[Any], size: str) -> None:
    from quantize.whisper import Dimensions

    width, heads, layers = seeded.SIZES[size]
    flops = Dimensions(80, width, heads, layers, 0).flops_per_window
    audio = sum(clip.size for clip in clips) / 16_000
    rates = {precision: matrix_rate(precision) for precision in ("fp32", "bf16")}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    print(f"\n{device}, Whisper {size}: {flops / 1e9:.0f} GFLOP a window; {len(clips)} clips, {audio:.0f} s of audio;")
    print(", ".join(f"{precision} matrix product {rate / 1e12:.2f} TFLOP/s" for precision, rate in rates.items()))
    print("\n| side | seconds | windows/s | audio-s/s | of its matrix rate | times upstream | peak GiB | agree |")
    print("|---|---|---|---|---|---|---|---|")
    for side in sides:
        windows = len(clips) / side.seconds
        same = sum(int((a == b).sum()) for a, b in zip(side.ids, sides[0].ids, strict=True))
        total = sum(len(ids) for ids in side.ids)
        print(
            f"| {side.name} | {side.seconds:.1f} | {windows:.2f} | {audio / side.seconds:.1f} "
            f"| {windows * flops / rates[side.precision]:.0%} | {sides[0].seconds / side.seconds:.2f} "
            f"| {side.peak_gib:.2f} | {same / total:.3%} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(seeded.SIZES), default="medium")
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--audio", type=Path, help="a folder of recordings")
    parser.add_argument("--upstream-python", type=Path, help="of an environment with whisperspeech")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        inside(args.inside, args.size)
        return
    clips = make_clips(args.audio, args.clips)
    sides = [run_upstream(args.upstream_python, clips, args)] if args.upstream_python else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeded.write_whispervq(folder / "vq.model", args.size)
        seeded.write_openai(folder / "whisper.pt", args.size)
        plans: list[tuple[str, dict[str, Any]]] = [
            ("ours, one clip a call, fp32", {"batch_size": 1}),
            ("ours, batches, fp32", {} if torch.cuda.is_available() else {"batch_size": 8}),
            ("ours, batches, bf16", {"precision": "bf16", **({} if torch.cuda.is_available() else {"batch_size": 8})}),
        ]
        if args.compile:
            plans.append(("ours, batches, bf16, compiled", {**plans[-1][1], "compile": True}))
        for title, compute in plans:
            sides.append(measure(title, ours(folder, **compute), clips, compute.get("precision", "fp32")))
    print_table(sides, clips, args.size)


if __name__ == "__main__":
    main()
