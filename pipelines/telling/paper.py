"""What another run counted, beside what this one counts: a paper's funnel, checked stage by stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.graph import PassPlan
from pipelines.recipe import Recipe
from pipelines.shards import Counts, Record

HEADER = ("stage", "published", "ours")


@dataclass(frozen=True)
class Compared:
    """One count of another run, and ours."""

    stage: str  # for people: "wildchat: records", "after filter.length"
    published: int
    ours: int | None  # None: not counted yet, or this recipe has no such stage

    def cells(self) -> tuple[str, str, str]:
        """Return what a table shows, under HEADER.

        >>> Compared("after read", 5380500, None).cells()
        ('after read', '5,380,500', '–')
        """
        return self.stage, f"{self.published:,}", "–" if self.ours is None else f"{self.ours:,}"


def compare(recipe: Recipe, plans: Iterable[PassPlan]) -> list[Compared]:
    """Return each published count of a recipe with ours: sources first, then the stages; empty where it has none.

    Args:
        plans: of every pass, as `plan_run` returns them; what is stale or to do does not count.
    """
    done = {
        plan.key: {unit.unit.name: unit.record for unit in plan.units if unit.state == "done" and unit.record}
        for plan in plans
    }
    read = done.get("read", {})
    rows = []
    for source in recipe.sources:
        record = read.get(source.name)
        if source.published and source.published.rows_in is not None:
            ours = record.counts.rows_in if record else None
            rows.append(Compared(f"{source.name}: records", source.published.rows_in, ours))
        if source.published and source.published.rows_kept is not None:
            ours = record.counts.rows_kept if record else None
            rows.append(Compared(f"{source.name}: read", source.published.rows_kept, ours))
    names = [source.name for source in recipe.sources]
    order = [rule.rule for rule in recipe.filter.rules]
    for stage in recipe.published:
        ours = _rows_after(stage.after, stage.sources or names, order, done)
        of = "" if not stage.sources else f" ({_some(stage.sources, len(names))})"
        rows.append(Compared(f"after {stage.after}{of}", stage.rows, ours))
    return rows


def _some(sources: Sequence[str], of: int) -> str:
    return sources[0] if len(sources) == 1 else f"{len(sources)} of {of} sources"


def _rows_after(
    stage: str, sources: Iterable[str], order: Sequence[str], done: Mapping[str, Mapping[str, Record]]
) -> int | None:
    """Return how many rows of the sources are left after a stage; None where one of their shards is not done.

    Args:
        order: the rules of the recipe, as they are applied.
        done: pass -> unit -> record.
    """
    key, _, rule = stage.partition(".")
    read = done.get("read", {})
    if rule and rule not in order:
        return None
    if not all(source in read for source in sources):
        return None
    units = [shard for source in sources for shard in read[source].facts["shards"]] if key != "read" else sources
    records = done.get(key, {})
    if not all(unit in records for unit in units):
        return None
    counts = Counts.total(records[unit].counts for unit in units)
    if not rule:
        return counts.rows_kept
    so_far = order[: order.index(rule) + 1]
    return counts.rows_in - sum(rows for reason, rows in counts.rejected.items() if _rule_of(reason) in so_far)


def _rule_of(reason: str) -> str:
    """Return the rule that a counted reason is of.

    >>> _rule_of("filter.speakable:url")
    'speakable'
    """
    return reason.removeprefix("filter.").partition(":")[0]
