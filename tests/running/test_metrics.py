"""Prometheus finds a run among Ray's own metrics, and the numbers are those of the records."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT, command, write_recipe
from tests.running.events_of import read_events

pytestmark = pytest.mark.long

SERIES = re.compile(r"^ray_(speechmill_\w+)\{(.*)\} (\S+)$", re.MULTILINE)
AGENT = "opentelemetry.exporter.prometheus"  # of what `ray[default]` adds


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """Return our metrics of a node by name, step, reason and kind."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    found = {}
    for name, labels, value in SERIES.findall(text):
        tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert tags["run"] == "small"
        found[name, *(tags[key] for key in ("step", "reason", "kind", "le") if key in tags)] = float(value)
    return found


@pytest.mark.skipif(
    not importlib.util.find_spec("opentelemetry") or not importlib.util.find_spec(AGENT),
    reason="Ray serves metrics where ray[default] is installed: pip install 'speechmill[cluster]'",
)
def test_metrics_of_a_run_can_be_scraped_and_are_those_of_its_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "200")  # 10 s else
    from ray.cluster_utils import Cluster

    recipe, run = write_recipe(tmp_path), tmp_path / "run"
    node = {"num_cpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    arguments = command("tts", recipe, "--address", cluster.address, "--workers", "2")
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        seen: dict[tuple[str, ...], float] = {}
        while process.poll() is None:
            seen.update(scrape(cluster.head_node.metrics_export_port))
            time.sleep(0.1)
        assert process.returncode == 0, process.communicate()[0]
    finally:
        process.kill()
        cluster.shutdown()
    told = list(read_events(run))
    workers = {e["worker"] for e in told if e["kind"] == "worker_started"}
    assert {e["worker"] for e in told if e["kind"] == "shard_done"} - {"driver"} <= workers
    assert workers
    assert seen["speechmill_workers", "cpu"] >= 1
    for step in ("read", "score"):  # by the time that the last step is done, these have been served
        records = [json.loads(p.read_bytes()) for p in (run / step).glob("*.json") if p.name != "manifest.json"]
        rejected: Counter[str] = Counter()
        for record in records:
            rejected.update(record["counts"]["rejected"])
        assert seen["speechmill_shards_total", step] == len(records)
        assert seen["speechmill_rows_total", step] == sum(record["counts"]["rows_in"] for record in records)
        assert {key[2]: n for key, n in seen.items() if key[:2] == ("speechmill_rows_rejected_total", step)} == rejected
        seconds = sum(record["cost"]["seconds"] for record in records)
        assert seen["speechmill_work_seconds_total", step] == pytest.approx(seconds)
        assert seen["speechmill_shard_seconds_count", step] == len(records)
        assert seen["speechmill_shard_seconds_bucket", step, "+Inf"] == len(records)
