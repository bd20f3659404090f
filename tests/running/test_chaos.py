"""Whatever is killed, the run ends in the bytes of an undisturbed one: driver, workers, raylets and nodes, at random.

`benchmarks/chaos.py` does the same for longer.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.steps import PASSES
from tests.running.chaos import KINDS, compare, moments
from tests.running.cluster import Cluster, cluster

pytestmark = pytest.mark.long

SEED = int(os.environ.get("SPEECHMILL_CHAOS_SEED", time.time_ns() % 10**6))
VARIANTS: dict[str, dict[str, Any]] = {
    "audio is kept": {},
    "audio is removed": {"tts.keep_audio": False, "export.audio": False},
}


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[Cluster]:
    with cluster(3) as started:
        yield started


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_disturbed_run_ends_in_the_same_bytes(variant: str, three_nodes: Cluster, tmp_path: Path) -> None:
    """One kill of each kind, in any order, in a recipe of every step."""
    print(f"SPEECHMILL_CHAOS_SEED={SEED}")
    found = compare(tmp_path, three_nodes, len(KINDS), SEED, 60, VARIANTS[variant], calm=("--workers", "0"))
    print(found.story)
    assert Counter(kind for _, kind, _ in found.story.kills) == Counter(KINDS)
    assert found.passes >= {a_pass.key for a_pass in PASSES} - ({"export.audio"} if VARIANTS[variant] else set())
    assert found.differ == ()
    assert found.files > 300
    assert found.rows[0] == found.rows[1] > 100
    assert not found.unverified
    assert found.asked > 100
    assert found.again <= found.may_again, "answers were paid for twice that were not under way"
    assert not list((tmp_path / "disturbed").rglob(".tmp-*"))
    assert found.story.drivers == 2


def test_each_kind_is_killed_as_often_and_the_seed_says_when() -> None:
    drawn = moments(50, 1000, random.Random(7))
    assert drawn == moments(50, 1000, random.Random(7)) != moments(50, 1000, random.Random(8))
    assert [records for records, _ in drawn] == sorted(records for records, _ in drawn)
    assert drawn[-1][0] <= 900
    counted = Counter(kind for _, kind in drawn)
    assert counted.keys() == set(KINDS)
    assert max(counted.values()) - min(counted.values()) <= 1
