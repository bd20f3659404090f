"""GPUs' business as nvidia-smi tells it. No test here has a GPU: its output is written down by hand."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipelines.running import gpus
from pipelines.running.gpus import GpuWatch, Sample, parse

SLICED = "[N/A], 38000\n"  # MIG: no utilisation of a slice
OLD = "[Not Supported], [Not Supported]\n"
BROKEN = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.54\n"
NONE = "No devices were found\n"


def test_each_gpu_that_tells_is_read() -> None:
    assert parse("87, 10321\n3, 512\n") == [Sample(0.87, 10321), Sample(0.03, 512)]
    assert parse("0, 0\r\n100, 81559\r\n") == [Sample(0.0, 0), Sample(1.0, 81559)]
    assert parse(SLICED + "40, 100\n") == [Sample(0.4, 100)]
    assert [parse(text) for text in (SLICED, OLD, BROKEN, NONE, "")] == [[]] * 5


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A nvidia-smi that says another line at each call, and notes how it was called."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\nn=$(wc -l < {tmp_path}/calls)\necho "$((n * 20)), $((n * 100))"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(gpus, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(gpus, "EVERY_SECONDS", 0.0)
    return tmp_path / "calls"


def wait_for_calls(calls: Path, count: int) -> None:
    deadline = time.monotonic() + 20
    while not calls.exists() or len(calls.read_text().splitlines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_unit_with_a_share_of_a_gpu_says_how_busy_that_was(nvidia_smi: Path) -> None:
    with GpuWatch(0.5) as watch:
        wait_for_calls(nvidia_smi, 4)  # so that three are taken in
    cost = watch.cost()["gpu"]
    assert cost["memory_mib"] >= 300
    assert cost["utilization"] == pytest.approx((0.2 + cost["memory_mib"] / 500) / 2, abs=0.001)  # 0.2, 0.4, 0.6, ...
    assert "--id=1" in nvidia_smi.read_text().splitlines()[0]


def test_nothing_is_said_where_nothing_is_known(nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with GpuWatch(0) as watch:
        time.sleep(0.1)
    assert watch.cost() == {}
    assert not nvidia_smi.exists()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.look() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpus.look() == []
    with GpuWatch(1) as watch:
        time.sleep(0.1)
    assert watch.cost() == {}
