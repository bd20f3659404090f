"""What happens in a run as metrics of Ray's, which every node's agent serves to Prometheus (docs/watching.md).

Ray exports them where `ray[default]` is installed, and keeps silent without. It puts `ray_` before each name.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from pipelines.running.business import kind_of
from pipelines.running.events import Hear

SECONDS = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0]


def hear_for_ray(run: str) -> Hear:
    """Return what counts the events of a run, by its recipe's name. Ray must be up."""
    names, of_step = {"run": run}, ("run", "step")
    rows = Counter("speechmill_rows_total", "rows that went into a step", of_step)
    rejected = Counter("speechmill_rows_rejected_total", "rows that ended in a step", (*of_step, "reason"))
    shards = Counter("speechmill_shards_total", "shards that are done", of_step)
    work = Counter("speechmill_work_seconds_total", "seconds that workers took for the shards that are done", of_step)
    seconds = Histogram("speechmill_shard_seconds", "seconds of a shard", SECONDS, of_step)
    retries = Counter("speechmill_retries_total", "shards given out again", of_step)
    quarantined = Counter("speechmill_quarantined_total", "shards that were given up", of_step)
    workers = Gauge("speechmill_workers", "workers that are up", ("run", "kind"))
    kinds: dict[str, str] = {}

    def hear(kind: str, fields: Mapping[str, Any]) -> None:
        tags = {**names, "step": fields.get("step", "")}
        if kind == "shard_done":
            shards.inc(1, tags)
            seconds.observe(fields["seconds"], tags)
            for counter, amount in ((rows, fields["rows_in"]), (work, fields["seconds"])):
                if amount:
                    counter.inc(amount, tags)
            for reason, count in fields["rejected"].items():
                rejected.inc(count, {**tags, "reason": reason})
        elif kind == "shard_retried":
            retries.inc(1, tags)
        elif kind == "shard_quarantined":
            quarantined.inc(1, tags)
        elif kind in ("worker_started", "worker_ended", "worker_died"):
            if kind == "worker_started":
                kinds[fields["worker"]] = kind_of(fields)
            else:
                kinds.pop(fields["worker"], None)
            up = Counts(kinds.values())
            for each in ("cpu", "gpu"):
                workers.set(up[each], {**names, "kind": each})

    return hear
