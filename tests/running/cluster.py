"""Several nodes of a Ray cluster on this machine: each with its own raylet, to be killed as one likes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray._private.node import Node
from ray.cluster_utils import Cluster as RayCluster

# A crashed test machine is not looked at from outside: no dashboard, no usage statistics.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"}


class Cluster:
    """A head without CPUs, to which drivers connect, and nodes that do the work.

    address: what `--address` takes
    """

    def __init__(self, nodes: int, cpus: int = 1, gpus: int = 0) -> None:
        """Start the head and a number of nodes of so many CPUs and GPUs each (they need not be there)."""
        os.environ.update(ENVIRONMENT)
        head: dict[str, Any] = {"num_cpus": 0, "include_dashboard": False}
        self._ray = RayCluster(initialize_head=True, head_node_args=head)
        self.address = str(self._ray.address)
        self.nodes: list[Node] = []
        for _ in range(nodes):
            self.add_node(cpus, gpus)

    def add_node(self, cpus: int = 1, gpus: int = 0) -> Node:
        """Start one more node, and wait until it has joined (about 2 s)."""
        node = self._ray.add_node(num_cpus=cpus, num_gpus=gpus)
        self.nodes.append(node)
        return node

    def kill_raylet(self, node: Node) -> None:
        """SIGKILL a node's raylet alone: its workers find out, and end."""
        self.nodes.remove(node)
        node.kill_raylet(check_alive=False)

    def kill_node(self, node: Node) -> None:
        """SIGKILL everything on a node at once: its workers, its raylet and what belongs to that."""
        self.nodes.remove(node)
        pids = workers_of(node)
        for pid in pids:
            kill(pid)
        self._ray.remove_node(node, allow_graceful=False)

    def workers(self) -> list[int]:
        """Return the process ids of the workers of all nodes that were not killed."""
        return [pid for node in self.nodes for pid in workers_of(node)]

    def shutdown(self) -> None:
        """End what is left of it."""
        self._ray.shutdown()


def workers_of(node: Node) -> list[int]:
    """Return the process ids of the pool's workers on a node: those that its raylet has started."""
    (raylet,) = node.all_processes["raylet"]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == raylet.process.pid and (entry / "cmdline").read_text().startswith("ray::_Worker"):
                    found.append(int(entry.name))
            except OSError:  # it has ended meanwhile
                continue
    return found


def kill(pid: int) -> None:
    """SIGKILL a process; one that has ended already is well."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def cluster(nodes: int, cpus: int = 1, gpus: int = 0) -> Iterator[Cluster]:
    """Start a cluster of so many nodes, and end it."""
    started = Cluster(nodes, cpus, gpus)
    try:
        yield started
    finally:
        started.shutdown()
