"""Chaos: a run of every step on a cluster of several nodes, of which whatever a seed draws is killed; the bytes stay.

    python benchmarks/chaos.py                     # 50 kills over 3 nodes: about ten minutes on two cores
    python benchmarks/chaos.py --kills 8 --rows 60 --seed 7

Several raylets on one machine are the nodes. The driver is a process of its own with `--address`; it, its workers,
raylets and whole nodes are killed by SIGKILL, each kind as often, at numbers of committed shards that the seed draws.
A killed driver's command is given again, a killed node comes back as a new one 0.5 to 3 s later. The recipe
(tests/running/every_step.py) has texts, chats and recordings, and something to do for every pass; its language model
is a loopback server that counts what it was asked. Half of the kills meet a run that keeps its audio, half one that
removes it when it is quantized. Compared with an undisturbed run on the same cluster: digests of every file, rows of
the dataset, `speechmill verify`, and how many answers were paid for twice.

Only processes that this script has started are killed, by their ids. Ends with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.running.chaos import KINDS, Compared, compare
from tests.running.cluster import cluster

VARIANTS: dict[str, dict[str, Any]] = {
    "audio kept": {"export.report": True},
    "audio removed": {"tts.keep_audio": False, "export.audio": False},
}
EVENTS = {
    "shard_retried": "shards given out again",
    "worker_died": "workers that died, as the driver saw it",
    "node_left": "nodes that left",
    "node_joined": "nodes that joined late",
    "straggler_reissued": "stragglers given out twice",
    "shard_quarantined": "shards quarantined",
}


def is_well(found: Compared) -> bool:
    """Tell whether a disturbed run is what the undisturbed one is."""
    return (
        not found.differ and not found.unverified and found.rows[0] == found.rows[1] and found.again <= found.may_again
    )


def lines(found: Compared) -> dict[str, str]:
    """Return what is told of a disturbed run, by what it is."""
    kills = Counter(kind for _, kind, _ in found.story.kills)
    lost = found.story.seconds - found.calm_seconds
    return {
        "kills: " + ", ".join(KINDS): " + ".join(str(kills[kind]) for kind in KINDS),
        "times that the command was given": str(found.story.drivers),
        **{about: str(found.story.events[kind]) for kind, about in EVENTS.items()},
        "undisturbed, s": f"{found.calm_seconds:.0f}",
        "disturbed, s": f"{found.story.seconds:.0f}",
        "lost by a kill, s": f"{lost / max(len(found.story.kills), 1):.1f}",
        "files compared": str(found.files),
        "files that differ": str(len(found.differ)),
        "rows of the dataset, undisturbed and disturbed": f"{found.rows[0]} and {found.rows[1]}",
        "`verify`": "keeps all promises" if not found.unverified else "**fails**",
        "answers paid for": str(found.asked),
        "of them twice (at most, by what is under way)": f"{found.again} ({found.may_again})",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of both runs together")
    parser.add_argument("--rows", type=int, default=150, help="questions; shards have 10")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--keep", type=Path, help="a folder for the runs, to look at; default: none is kept")
    args = parser.parse_args()
    print(f"--seed {args.seed}; load {os.getloadavg()[0]:.1f}", flush=True)
    tables, found, began = [], None, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary, cluster(args.nodes) as started:
        folder = args.keep or Path(temporary)
        for number, (variant, changes) in enumerate(VARIANTS.items()):
            print(f"\n{variant}", flush=True)
            kills = args.kills // 2 + (args.kills % 2) * (number == 0)
            place = folder / variant.replace(" ", "_")
            place.mkdir(parents=True)
            calm = ("--address", started.address)
            found = compare(place, started, kills, args.seed + number, args.rows, changes, calm=calm, tell=print)
            tables.append((lines(found), is_well(found)))
            for name in found.differ:
                print(f"differs: {name}")
            print(found.unverified, end="", flush=True)
    print(f"\n| | {' | '.join(VARIANTS)} |\n|---|{'---|' * len(VARIANTS)}")
    for what in tables[0][0]:
        print(f"| {what} | {' | '.join(told[what] for told, _ in tables)} |")
    print(f"\nload {os.getloadavg()[0]:.1f}; in {time.monotonic() - began:.0f} s")
    sys.exit(0 if all(well for _, well in tables) else 1)


if __name__ == "__main__":
    main()
