"""WhisperSpeech's T2S and S2A at a published model's dimensions, seeded weights: upstream one by one, against batches.

    python benchmarks/tts.py --upstream-python DIRECTORY/bin/python                    on a CPU: minutes an utterance
    python benchmarks/tts.py --upstream-python DIRECTORY/bin/python --batches 1 16 64 256 --precisions fp16 bf16 fp32

Sides take turns in each round, after a warm-up of each: upstream's `generate` after its `optimize()`, one utterance at
a time, in a process of its own environment (tests/tts/oracle/README.md), and our models in batches of each size. On
a GPU upstream computes in fp16 and is compiled, as `optimize()` does by default, and ours is measured with and without
CUDA graphs, up to the batch that memory has room for. All lengths are fixed: a T2S says --seconds of sound tokens and
its stop is never likeliest; an S2A says as much of codes. Tokens are greedy, so they can be compared: `agree` is the
share of the places that upstream's utterances have too.

On a CPU the processor's time is told too, which other work beside disturbs less than the clock.

`floor` is how long a step takes at least: its bytes at the rate at which a large array is read, or its products at the
rate of a large matrix product, whichever is more, both measured in the same run. A step reads the decoder's weights
once for all rows, and each row's memories.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests" / "tts"
sys.path[:0] = [str(ROOT), str(TESTS)]

import seeded_speech as seeded  # noqa: E402

TOKENS_PER_SECOND = 25
FRAMES_PER_TOKEN = 3
TEXTS = [
    "What is the capital of France?",
    "Tell me a short story about seven dragons who lived by the sea.",
    "How long does it take to boil an egg, and what should I do with it then?",
    "Write three sentences on why the sky is blue.",
]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")


@dataclass
class Side:
    """A way of speaking: seconds of each round, and what it said in the last."""

    kind: str
    name: str
    batch: int
    precision: str
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    encoding: list[float] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)
    peak_gib: float = 0.0
    floor_ms: float = 0.0


def write_models(folder: Path, size: str) -> None:
    """Write both checkpoints, the T2S with a stop that is never likeliest."""
    dims = seeded.SIZES[size]
    width = dims.n_head * dims.head_width
    endless = {"state_dict.embeddings.embedding.special.weight": torch.zeros(1, width)}
    seeded.write_t2s(folder / "t2s.model", size, changes=endless)
    seeded.write_s2a(folder / "s2a.model", size)


def utterances(kind: str, n: int, tokens: int) -> list[Any]:
    """Return n texts, or n rows of sound tokens."""
    if kind == "t2s":
        return [TEXTS[number % len(TEXTS)] for number in range(n)]
    draw = np.random.default_rng(0)
    return [draw.integers(0, 512, tokens) for _ in range(n)]


def speakers(n: int) -> torch.Tensor:
    return torch.from_numpy(seeded.speakers(n))


# Upstream's side, in its own environment


def upstream_speaker(kind: str, path: Path, precision: str, compiled: bool) -> Callable[[Any, int, int], Any]:
    """Return a function of an utterance, its number and its sound tokens that gives what upstream says."""
    sys.path.insert(0, str(ROOT / "tests" / "quantize" / "oracle"))
    import make_golden

    make_golden.install_shim()
    if kind == "t2s":
        from whisperspeech.t2s_up_wds_mlang_enclm import TSARTransformer as Model
    else:
        from whisperspeech.s2a_delar_mup_wds_mlang import SADelARTransformer as Model
    torch.set_float32_matmul_precision("highest")  # whisperspeech.train sets it to medium
    model = Model.load_model(str(path), device=str(DEVICE))
    model.optimize(dtype=DTYPES[precision], torch_compile=compiled)

    def speak(utterance: Any, number: int, tokens: int) -> Any:
        quiet = {"top_k": 1, "show_progress_bar": False}
        if kind == "t2s":
            return model.generate(utterance, N=tokens + 1, **quiet)[0].cpu().numpy()
        ids = torch.from_numpy(utterance)
        return model.generate(ids, speakers(number + 1)[number:], **quiet)[0].cpu().numpy().ravel()

    return speak


def serve_upstream(args: argparse.Namespace) -> None:
    """Be upstream: for each line, speak so many utterances one by one, and print how long it took."""
    speak = upstream_speaker(args.serve, args.folder, args.upstream_precision, args.upstream_compile)
    for line in sys.stdin:
        n, tokens = map(int, line.split())
        started, on_cpu, said = time.perf_counter(), time.process_time(), []
        for number, utterance in enumerate(utterances(args.serve, n, tokens)):
            said.append(speak(utterance, number, tokens).tolist())
        took = {"seconds": (time.perf_counter() - started) / n, "cpu_seconds": (time.process_time() - on_cpu) / n}
        print(json.dumps({**took, "said": said, "peak_gib": peak_gib()}), flush=True)


class Upstream:
    """A process of upstream's environment that speaks when it is asked to."""

    def __init__(self, kind: str, path: Path, args: argparse.Namespace) -> None:
        precision = "fp16" if CUDA else "fp32"
        self.side = Side(kind, "upstream, compiled" if CUDA else "upstream", 1, precision)
        command = [str(args.upstream_python), __file__, "--serve", kind, "--folder", str(path)]
        command += ["--threads", str(args.threads), "--upstream-precision", precision]
        command += ["--upstream-compile"] if CUDA else []
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def speak(self, n: int, tokens: int) -> dict[str, Any]:
        """Return what n utterances of so many sound tokens took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(n, tokens, file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def measure(self, n: int, tokens: int) -> None:
        """Speak n utterances."""
        answer = self.speak(n, tokens)
        self.side.seconds.append(answer["seconds"])
        self.side.cpu_seconds.append(answer["cpu_seconds"])
        self.side.said, self.side.peak_gib = answer["said"], answer["peak_gib"]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


# Our side


class Ours:
    """One of our models in one precision, which speaks batches of several sizes."""

    def __init__(self, kind: str, path: Path, precision: str, tokens: int) -> None:
        from tts.s2a import S2A
        from tts.t2s import T2S
        from tts.transformer import place_model

        self.kind, self.precision, self.tokens = kind, precision, tokens
        self.model: Any = T2S(path) if kind == "t2s" else S2A(path)
        place_model(self.model, DEVICE, DTYPES[precision])
        self.steps = tokens if kind == "t2s" else FRAMES_PER_TOKEN * tokens - 1

    @torch.inference_mode()
    def measure(self, side: Side, graphs: bool) -> None:
        """Speak a batch. Raises torch.OutOfMemoryError where the GPU has no room for it."""
        from tts.decoding import Sampling, decode

        n, model = side.batch, self.model
        if CUDA:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        started, on_cpu = time.perf_counter(), time.process_time()
        said = utterances(self.kind, n, self.tokens)
        batch = model.encode(said, "en", [15.0] * n) if self.kind == "t2s" else model.encode(said, speakers(n))
        if CUDA:
            torch.cuda.synchronize()
        encoded = time.perf_counter()
        rows = decode(model.seats, batch, [self.steps] * n, [0] * n, Sampling(0), graphs=graphs)
        ended = time.perf_counter()
        side.encoding.append((encoded - started) / n)
        side.seconds.append((ended - started) / n)
        side.cpu_seconds.append((time.process_time() - on_cpu) / n)
        side.said = [row.tokens for row in rows]
        side.peak_gib = side.peak_gib or peak_gib()  # later its seats are as many as the largest batch has

    def floor_ms(self, n: int, rates: tuple[float, float]) -> float:
        """Return the least time of a step of n rows, in the middle of an utterance."""
        decoder, bytes_each = self.model.decoder, torch.finfo(DTYPES[self.precision]).bits // 8
        others = ["table.out", "split"] + [f"tables.{k}.out" for k in range(4)]
        read = [(name, p) for name, p in self.model.named_parameters() if p.dim() == 2 and "key_value" not in name]
        weights = sum(
            p.numel() for name, p in read if name.startswith(("decoder.", *(f"{other}." for other in others)))
        )
        encoded = self.model.text_places if self.kind == "t2s" else self.model.sound_places
        memories = n * len(decoder.layers) * 2 * decoder.width * (encoded + self.steps // 2)
        read_rate, product_rate = rates
        slower = max((weights + memories) * bytes_each / read_rate, 2 * (n * weights + memories) / product_rate)
        return float(1e3 * slower)


def device_rates(precision: str) -> tuple[float, float]:
    """Return bytes/s of reading a large array and FLOP/s of a large matrix product, the best of six."""
    dtype, n = DTYPES[precision], 8192 if CUDA else 2048
    a, b = (torch.randn(n, n, device=DEVICE).to(dtype) for _ in range(2))
    long = torch.zeros(2**28 if CUDA else 2**26, device=DEVICE)
    product, read = (min(_timed(work) for _ in range(6)) for work in (lambda: a @ b, long.sum))
    return long.numel() * 4 / read, 2 * n**3 / product


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    if CUDA:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_gib() -> float:
    """Return the most memory so far: of the GPU since it was last asked to forget, or of this process."""
    if CUDA:
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_kind(kind: str, folder: Path, args: argparse.Namespace) -> list[Side]:
    """Return each side's measurements."""
    path = folder / f"{kind}.model"
    upstream = Upstream(kind, path, args) if args.upstream_python else None
    if upstream:
        upstream.speak(1, 8)
    sides = []
    for precision in args.precisions:
        rates = device_rates(precision)
        print(f"  {precision}: reads {rates[0] / 1e9:.1f} GB/s, multiplies {rates[1] / 1e12:.3f} TFLOP/s", flush=True)
        for graphs in (True, False) if CUDA else (False,):
            model = Ours(kind, path, precision, args.tokens)
            sides += measure_model(model, graphs, upstream, args)
            for side in sides:
                if side.precision == precision and not side.floor_ms:
                    side.floor_ms = model.floor_ms(side.batch, rates)
            del model
    if upstream:
        upstream.close()
    return ([upstream.side] if upstream else []) + sides


def measure_model(model: Ours, graphs: bool, upstream: Upstream | None, args: argparse.Namespace) -> list[Side]:
    """Return a model's measurements in batches of each size; it takes turns with upstream."""
    sides = [Side(model.kind, "ours, graphs" if graphs else "ours", n, model.precision) for n in args.batches]
    sides = warm_up(model, sides, graphs) if CUDA else warm_up(model, sides[:1], graphs) + sides[1:]
    for _ in range(args.rounds):
        if upstream:
            upstream.measure(args.utterances, args.tokens)
            print(f"  {model.kind} upstream: {upstream.side.seconds[-1]:.2f} s an utterance", flush=True)
        for side in sides:
            model.measure(side, graphs)
            told = f"{side.kind} {side.name} {side.precision} {side.batch}"
            print(f"  {told}: {side.seconds[-1]:.2f} s an utterance", flush=True)
    return sides


def warm_up(model: Ours, sides: list[Side], graphs: bool) -> list[Side]:
    """Speak each batch once, which records graphs, and return those that the GPU has room for."""
    from tts.decoding import Seats

    for number, side in enumerate(sides):
        try:
            model.measure(side, graphs)
        except torch.OutOfMemoryError:
            print(f"  {side.kind} {side.name}, {side.precision}: no room for {side.batch}", flush=True)
            model.model.seats = Seats(model.model)
            return warm_up(model, sides[:number], graphs)
        for taken in (side.seconds, side.cpu_seconds, side.encoding):
            taken.clear()
    return sides


def table(sides: Sequence[Side], tokens: int) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    first, seconds_said = sides[0], tokens / TOKENS_PER_SECOND
    streams, steps = (1, tokens) if first.kind == "t2s" else (4, FRAMES_PER_TOKEN * tokens - 1)
    yield (
        "| side | batch | utterances/s | tokens/s | x real time | x upstream | CPU-s each | x upstream in CPU-s "
        "| encoding | step, ms | floor, ms | peak GiB | agree |"
    )
    yield "|---" * 13 + "|"
    for side in sides:
        each, on_cpu = median(side.seconds), median(side.cpu_seconds)
        encoding = median(side.encoding) if side.encoding else float("nan")
        step = (each - encoding) * side.batch / steps * 1e3
        known = first.name.startswith("upstream")
        times, cpu_times = (
            f"{median(of_first) / of_this:.2f}" if known else "-"
            for of_first, of_this in ((first.seconds, each), (first.cpu_seconds, on_cpu))
        )
        cells = [
            f"{side.name}, {side.precision}", side.batch, f"{1 / each:.3f}", f"{steps * streams / each:.1f}",
            f"{seconds_said / each:.3f}", times, f"{on_cpu:.2f}", cpu_times, f"{encoding / each:.0%}", f"{step:.1f}",
            f"{side.floor_ms:.1f}", f"{side.peak_gib:.2f}", f"{agreement(first, side):.3%}",
        ]  # fmt: skip
        yield f"| {' | '.join(map(str, cells))} |".replace("nan%", "-").replace("nan", "-")


def agreement(first: Side, side: Side) -> float:
    """Return the share of equal tokens in the utterances that both have."""
    same = total = 0
    for one, other in zip(first.said, side.said, strict=False):
        a, b = (flat(tokens, side.kind) for tokens in (one, other))
        same, total = same + int((a == b).sum()), total + max(len(a), len(b))
    return same / total


def flat(tokens: Any, kind: str) -> Any:
    """Return tokens as upstream gives them: an S2A's codes one codebook after the other, without the delay."""
    found = np.asarray(tokens)
    if kind == "s2a" and found.ndim == 2:
        frames = found.shape[1] - 3
        found = np.stack([found[k, k : k + frames] for k in range(4)])
    return found.ravel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=["t2s", "s2a"], default=["t2s", "s2a"])
    parser.add_argument("--size", default="published", help="of tests/tts/seeded_speech.py")
    parser.add_argument("--seconds", type=float, default=3.84, help="of speech in an utterance")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--precisions", nargs="+", choices=list(DTYPES), default=["fp32"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of each side, on a CPU")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--utterances", type=int, default=2, help="that upstream speaks in a round")
    parser.add_argument("--upstream-python", type=Path, help="of an environment with whisperspeech")
    for name, settings in (
        ("--serve", {"choices": ["t2s", "s2a"]}),
        ("--folder", {"type": Path}),
        ("--upstream-precision", {"choices": list(DTYPES)}),
        ("--upstream-compile", {"action": "store_true"}),
    ):
        parser.add_argument(name, help=argparse.SUPPRESS, **settings)
    args = parser.parse_args()
    args.tokens = round(args.seconds * TOKENS_PER_SECOND)
    torch.set_num_threads(args.threads)
    if args.serve:
        serve_upstream(args)
        return
    device = torch.cuda.get_device_name() if CUDA else f"{torch.get_num_threads()} CPU threads"
    print(f"{device}, torch {torch.__version__}, {args.size}, {args.tokens} sound tokens", flush=True)
    with tempfile.TemporaryDirectory() as name:
        write_models(Path(name), args.size)
        for kind in args.kinds:
            sides = measure_kind(kind, Path(name), args)
            print(f"\n{kind.upper()}\n", *table(sides, args.tokens), "", sep="\n", flush=True)


if __name__ == "__main__":
    main()
