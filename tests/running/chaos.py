"""A run on a simulated cluster whose driver, workers, raylets and nodes are killed at moments that a seed draws."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.answers.loopback_chat import LoopbackChat
from tests.conftest import ROOT, command, content, speechmill
from tests.running.cluster import Cluster, kill
from tests.running.events_of import read_events
from tests.running.every_step import CONCURRENCY, write_recipe, write_sources

KINDS = ("driver", "worker", "raylet", "node")
LATE_SECONDS = (0.5, 3.0)  # until a node that was killed is replaced
LAST = 0.9  # of a run's records: no kill behind it
LOOK_SECONDS = 0.02
ANSWER_SECONDS = 0.02  # that the chat server takes: some questions are under way at any kill
LONGEST_WAIT_S = 240.0  # for a kill's moment: a run that comes no further for so long hangs

Tell = Callable[[str], None]


@dataclass
class Story:
    """What was done to a run, and how it went on.

    kills:   seconds since the start, kind, and records that were there
    drivers: how often the command was given
    events:  of the run, by kind
    """

    kills: list[tuple[float, str, int]] = field(default_factory=list)
    drivers: int = 0
    seconds: float = 0.0
    events: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Compared:
    """A disturbed run beside the undisturbed one.

    differ:    files that are not the same, or only in one of them
    files:     that were compared
    rows:      of the dataset, in each of them
    asked:     questions that the undisturbed run paid for
    again:     answers that were paid for more often than there
    may_again: answers that can have been under way when something was killed
    unverified: what `verify` said, where it found something
    """

    story: Story
    calm_seconds: float
    differ: tuple[str, ...]
    files: int
    rows: tuple[int, int]
    asked: int
    again: int
    may_again: int
    unverified: str
    passes: frozenset[str]


def compare(
    folder: Path,
    cluster: Cluster,
    kills: int,
    seed: int,
    rows: int,
    changes: Mapping[str, Any],
    *,
    calm: Sequence[str],
    tell: Tell = lambda line: None,
) -> Compared:
    """Run a recipe of every step without a disturbance, then on the cluster with so many kills; compare the two.

    Args:
        calm: options of the undisturbed run: --workers 0, or the cluster's address.
        tell: takes a line on each kill.
    Raises RuntimeError where a run ends badly, hangs, or ends before the last kill.
    """
    write_sources(folder / "sources", rows)
    chance = random.Random(seed)
    with LoopbackChat(latency_s=ANSWER_SECONDS) as server:
        server.keep_bodies = False
        recipe = write_recipe(folder / "sources", folder / "calm", server.base_url, changes)
        began = time.monotonic()
        result = speechmill("run", recipe, *calm)
        calm_seconds = time.monotonic() - began
        if result.returncode != 0:
            raise RuntimeError(f"the undisturbed run ended with {result.returncode}:\n{result.stdout}{result.stderr}")
        asked = Counter(server.answered)
        server.answered.clear()
        recipe = write_recipe(folder / "sources", folder / "disturbed", server.base_url, changes)
        due = moments(kills, count_records(folder / "calm"), chance)
        story = disturb(recipe, folder / "disturbed", cluster, due, chance, tell)
        again = server.answered - asked
    one, other = made(folder / "calm"), made(folder / "disturbed")
    verified = speechmill("verify", folder / "disturbed")
    return Compared(
        story,
        calm_seconds,
        tuple(sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))),
        len(one),
        (count_rows(folder / "calm"), count_rows(folder / "disturbed")),
        asked.total(),
        again.total(),
        kills * CONCURRENCY,
        "" if verified.returncode == 0 else verified.stdout + verified.stderr,
        frozenset(path.parent.name for path in (folder / "disturbed").glob("*/*.json") if path.stem != "manifest"),
    )


def moments(count: int, records: int, chance: random.Random) -> list[tuple[int, str]]:
    """Draw kills: the number of records at which each is due, one in each equal part of a run, and its kind.

    Each kind comes as often as the others, in any order.
    """
    drawn = [KINDS[n % len(KINDS)] for n in range(count)]
    chance.shuffle(drawn)
    parts = [records * LAST * n / count for n in range(count + 1)]
    return [(int(chance.uniform(*parts[n : n + 2])), kind) for n, kind in enumerate(drawn)]


def disturb(
    recipe: Path, run: Path, cluster: Cluster, due: Sequence[tuple[int, str]], chance: random.Random, tell: Tell
) -> Story:
    """Run a recipe on a cluster, kill what is due, and give the same command again when it was the driver."""
    story, late, nodes = Story(), Late(cluster, chance), len(cluster.nodes)
    log, started = run.with_suffix(".log"), time.monotonic()
    driver = _start(recipe, cluster, log)
    story.drivers = 1
    try:
        for records, kind in due:
            time.sleep(chance.uniform(0, 0.2))
            begun = time.monotonic()
            while count_records(run) < records or not _is_there(kind, cluster, nodes):
                late.replace()
                if driver.poll() is not None:
                    raise RuntimeError(f"it ended ({driver.returncode}) before {kind} was killed:\n{log.read_text()}")
                if time.monotonic() - begun > LONGEST_WAIT_S:
                    raise RuntimeError(f"it hangs at {count_records(run)} records of {records}:\n{log.read_text()}")
                time.sleep(LOOK_SECONDS)
            if kind == "driver":
                driver.kill()
                driver.wait()
                driver = _start(recipe, cluster, log)
                story.drivers += 1
            elif kind == "worker":
                kill(chance.choice(cluster.workers()))
            else:
                node = chance.choice(cluster.nodes)
                (cluster.kill_raylet if kind == "raylet" else cluster.kill_node)(node)
                late.add()
            story.kills.append((time.monotonic() - started, kind, count_records(run)))
            tell(f"{story.kills[-1][0]:7.1f} s  {story.kills[-1][2]:5} records  {kind}")
        begun = time.monotonic()
        while driver.poll() is None and time.monotonic() - begun < LONGEST_WAIT_S:
            late.replace()
            time.sleep(LOOK_SECONDS)
        if driver.poll() != 0:
            raise RuntimeError(f"it ended with {driver.poll()} (None: it hangs):\n{log.read_text()}")
    finally:
        driver.kill()
        driver.wait()
    story.seconds = time.monotonic() - started
    story.events = Counter(event["kind"] for event in read_events(run))
    while len(cluster.nodes) < nodes:
        cluster.add_node()
    return story


class Late:
    """Nodes that come in the place of those that were killed, a moment later."""

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance
        self._due: list[float] = []

    def add(self) -> None:
        """Let one more come."""
        self._due.append(time.monotonic() + self._chance.uniform(*LATE_SECONDS))

    def replace(self) -> None:
        """Start those whose moment has come; one that does not start, on a busy machine, is tried again."""
        for moment in [moment for moment in self._due if moment < time.monotonic()]:
            self._due.remove(moment)
            try:
                self._cluster.add_node()
            except Exception as error:  # Ray raises nothing narrower
                if "timed out during startup" not in str(error):
                    raise
                self.add()


def count_records(run: Path) -> int:
    """Return how many records of units a run has."""
    return sum(1 for path in run.glob("*/*.json") if path.name != "manifest.json")


def count_rows(run: Path) -> int:
    """Return the rows of a run's dataset, audio's among them."""
    return sum(int(pq.read_metadata(path).num_rows) for path in run.glob("dataset/*/*.parquet"))


def made(run: Path) -> dict[str, str]:
    """Return a digest of each file that must be the same: answers lie in a file for each process that asked."""
    return {name: digest for name, digest in content(run).items() if not name.startswith("answers/")}


def _is_there(kind: str, cluster: Cluster, nodes: int) -> bool:
    """Tell whether what is to be killed is there: a worker; or a node, and others that go on."""
    if kind == "driver":
        return True
    return bool(cluster.workers()) if kind == "worker" else len(cluster.nodes) >= max(2, nodes - 1)


def _start(recipe: Path, cluster: Cluster, log: Path) -> subprocess.Popen[bytes]:
    """Give the command, in a session of its own; what it says is appended to the log."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command("run", recipe, "--address", cluster.address),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
