"""Workers come and go with what waits: how many of which kind, on which nodes, when. On a cluster that only counts."""

from __future__ import annotations

import re
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from pipelines.errors import RunError, UserError
from pipelines.graph import plan_run
from pipelines.publish.places import published_recipe
from pipelines.recipe import Recipe, load_recipe
from pipelines.running.orders import Needs
from pipelines.running.pool import LOSSES, Pool, Times
from pipelines.running.room import Room
from pipelines.steps import BY_KEY, STEPS, passes_for
from pipelines.worker_options import NAMES
from tests.conftest import write_recipe
from tests.running.simulated import Simulated, Told, orders, pool_of, recipe_with, run_all


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return recipe_with(tmp_path_factory.mktemp("recipe"))


def test_every_step_and_pass_may_have_options_of_workers() -> None:
    assert set(NAMES) == {*BY_KEY, *STEPS}


def test_as_many_workers_start_as_have_something_to_do(recipe: Recipe) -> None:
    cluster, told = Simulated(a=Room(8)), Told()
    run_all(pool_of(cluster, told), orders(recipe, "tts", 3))
    assert len(told.of("worker_started")) == 3
    cluster, told = Simulated(a=Room(8), b=Room(2)), Told()
    run_all(pool_of(cluster, told), orders(recipe, "tts", 40))
    assert Counter(fields["node"] for fields in told.of("worker_started")) == {"a": 8, "b": 2}
    assert cluster.time == pytest.approx(2 + 4, abs=0.5)  # a start, and four rounds of ten


def test_there_are_no_more_workers_than_the_command_says(recipe: Recipe) -> None:
    cluster = Simulated(a=Room(8))
    run_all(pool_of(cluster, most=3), orders(recipe, "tts", 20))
    assert cluster.peak == {"1 CPU": 3}


def test_a_later_pass_goes_first_and_orders_of_a_pass_keep_their_order(recipe: Recipe) -> None:
    pool = pool_of(Simulated(a=Room(1)))
    done = run_all(pool, orders(recipe, "tts", 3, priority=1), orders(recipe, "quantize", 2, priority=2))
    assert done == ["quantize-0", "quantize-1", "tts-0", "tts-1", "tts-2"]


def test_never_more_of_a_pass_at_once_than_its_max_or_its_share_of_a_server(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, tts={"max": 3})
    cluster = Simulated(a=Room(16))
    run_all(pool_of(cluster), orders(recipe, "tts", 12))
    assert cluster.peak == {"1 CPU": 3}
    cluster = Simulated(a=Room(16))
    run_all(pool_of(cluster), orders(recipe, "answer", 12, workers=2, asks=True))
    assert cluster.peak == {"1 CPU": 2}
    cluster = Simulated(a=Room(16))
    run_all(pool_of(cluster), orders(recipe, "quantize", 12, workers=2))  # it asks nobody
    assert cluster.peak == {"1 CPU": 12}


def test_independent_branches_work_at_once_on_cpus_and_on_a_gpu(recipe: Recipe) -> None:
    """Eight CPUs and a GPU: the many orders for CPUs do not keep the GPU's worker from its CPU."""
    cluster = Simulated(a=Room(8, [1.0]))
    speech = orders(recipe, "tts", 10, needs=Needs(gpus=1), priority=1)
    texts = orders(recipe, "score", 70, priority=2)
    done = run_all(pool_of(cluster), speech, texts)
    assert cluster.peak["1 CPU, 1 GPU"] == 1
    assert cluster.peak["1 CPU"] >= 7
    assert cluster.time < 2 + 10 + 2  # as long as the GPU needs for its own
    assert len(done) == 80


@pytest.mark.parametrize("start_seconds", [4.0, 15.0, 60.0])
def test_workers_that_start_slowly_are_not_taken_for_another_jobs(start_seconds: float, recipe: Recipe) -> None:
    """28 of 32 CPUs are held by workers that are still starting; an order for the GPU has room beside them."""
    cluster = Simulated(a=Room(32, [1.0]))
    cluster.start_seconds = start_seconds
    pool = pool_of(cluster)
    (speech,) = orders(recipe, "tts", 1, needs=Needs(gpus=1), priority=1)
    cluster.at_time(8.0, lambda: pool.submit(speech))
    for order in orders(recipe, "score", 28, seconds=10):
        pool.submit(order)
    for _ in range(29):
        pool.wait()
    assert not cluster.ended
    assert cluster.time < 8 + start_seconds + 10 + 2


def test_a_kind_gets_room_though_another_holds_all_cpus(tmp_path: Path) -> None:
    """The CPUs are held by workers of one CPU, and orders come that want two: some of the others leave."""
    recipe = recipe_with(tmp_path, quantize={"cpus": 2})
    cluster, told = Simulated(a=Room(4)), Told()
    pool = pool_of(cluster, told)
    small, large = orders(recipe, "tts", 60, priority=1), orders(recipe, "quantize", 4, priority=2)
    for order in small:
        pool.submit(order)
    first = [pool.wait()[0].unit.name for _ in range(8)]
    assert len(cluster.at) == 4
    rest = run_all(pool, large)  # of whatever is done next
    rest += [pool.wait()[0].unit.name for _ in range(60 - 8)]
    assert {*first, *rest} == {order.unit.name for order in (*small, *large)}
    assert {f["why"] for f in told.of("worker_ended")} == {"others need its room"}
    assert cluster.peak["2 CPUs"] >= 1
    finished = [f["shard"] for f in told.of("shard_done")]
    assert finished.index("quantize-0") < 30  # long before the others are done


def test_two_kinds_take_turns_on_the_only_cpu(tmp_path: Path) -> None:
    """Neither can have a worker beside the other's: after a while the one that waits gets its turn, and is done."""
    recipe = recipe_with(tmp_path, quantize={"memory_gib": 1})
    cluster, told = Simulated(a=Room(1, memory_bytes=2**31)), Told()
    needs = Needs(memory_bytes=2**30)
    run_all(
        pool_of(cluster, told, times=Times(hold=20)),
        orders(recipe, "quantize", 50, priority=2, needs=needs),
        orders(recipe, "tts", 50, priority=1),
    )
    order = [fields["step"] for fields in told.of("shard_given")]
    turns = 1 + sum(one != other for one, other in pairwise(order))
    assert 3 <= turns <= 8  # it does not go to and fro for each unit: a start costs more than that


def test_idle_workers_go_after_a_while_but_for_the_least(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, tts={"min": 2})
    cluster, told = Simulated(a=Room(8)), Told()
    pool = pool_of(cluster, told, times=Times(idle=10, lull=1000))
    run_all(pool, orders(recipe, "tts", 8), orders(recipe, "quantize", 1, seconds=40))
    left = [fields["worker"] for fields in told.of("worker_ended")]
    assert len(told.of("worker_started")) == 8
    assert len(left) == 6  # two are kept: of the one that worked on, and another


def test_a_least_that_cannot_be_had_stops_nothing(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, tts={"min": 50})
    assert len(run_all(pool_of(Simulated(a=Room(2))), orders(recipe, "tts", 5))) == 5


@pytest.mark.parametrize(
    ("options", "needs", "said"),
    [
        ({}, Needs(gpus=1), "tts.gpus: workers of 1 GPUs each want 1; this cluster has 0. Set tts.gpus=0"),
        ({}, Needs(cpus=9), "workers.tts: a worker wants 9 CPUs, all on one node; the cluster has 2 nodes"),
        ({}, Needs(memory_bytes=2**40), "a worker wants 1 CPU, 1024 GiB, all on one node"),
    ],
)
def test_what_no_node_has_is_said_with_the_sums(
    options: dict[str, object], needs: Needs, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = pool_of(Simulated(a=Room(8), b=Room(4)))
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        run_all(pool, orders(recipe_with(tmp_path, **options), "tts", 1, needs=needs))
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        pool.check({"score": Needs(cpus=8), "tts": needs}, {})
    assert not capsys.readouterr().err
    pool.check({"score": Needs(cpus=8), "tts": Needs()}, {"tts": needs, "filter": Needs()})
    assert re.findall(rf"warning: .*{said}.* ends there if tts has something to do", capsys.readouterr().err)


def test_a_cluster_that_may_grow_is_asked_to_and_waited_for(tmp_path: Path) -> None:
    """With `max` above what there is, workers stand where there is no room: that is what an autoscaler looks at."""
    recipe = recipe_with(tmp_path, tts={"max": 6})
    cluster, told = Simulated(), Told()
    seen: list[int] = []
    cluster.at_time(60, lambda: seen.append(len(cluster.pending)))
    cluster.at_time(100, lambda: cluster.add_node("late", Room(4)))
    run_all(pool_of(cluster, told), orders(recipe, "tts", 12))
    assert seen == [2]
    assert told.of("node_joined") == [{"node": "late", "cpus": 4, "gpus": 0}]
    assert cluster.peak == {"1 CPU": 4}
    assert cluster.time == pytest.approx(100 + 2 + 3, abs=3)


def test_a_cluster_that_does_not_grow_is_an_error_in_the_end(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, tts={"max": 6, "cpus": 4})
    pool = pool_of(Simulated(a=Room(2)), times=Times(node=300))
    with pytest.raises(RunError, match=r"a worker wants 4 CPUs.* None came within 300 s"):
        run_all(pool, orders(recipe, "tts", 1))


def test_room_that_another_job_holds_is_waited_for_and_then_said(recipe: Recipe) -> None:
    """What Ray says of free CPUs may be late: workers that are started then wait in Ray's own queue."""
    cluster = Simulated(a=Room(2))
    cluster.free["a"].cpus = 0
    with pytest.raises(RunError, match=r"free CPUs: 0 of 2"):
        run_all(pool_of(cluster, times=Times(node=300)), orders(recipe, "tts", 1))
    cluster = Simulated(a=Room(2))
    cluster.free["a"].cpus = 0
    setattr(cluster, "free_cpus", lambda: 2.0)  # noqa: B010 - as Ray would say a moment later
    with pytest.raises(RunError, match=r"Ray started no worker of 1 CPU within 180 s; free CPUs: 2 of 2"):
        run_all(pool_of(cluster), orders(recipe, "tts", 1))
    cluster = Simulated(a=Room(2))
    cluster.free["a"].cpus = 0
    cluster.at_time(100, lambda: setattr(cluster.free["a"], "cpus", 2))
    assert run_all(pool_of(cluster), orders(recipe, "tts", 1)) == ["tts-0"]


def test_a_node_that_joins_late_is_used(recipe: Recipe) -> None:
    cluster, told = Simulated(a=Room(1)), Told()
    cluster.at_time(10, lambda: cluster.add_node("late", Room(9)))
    run_all(pool_of(cluster, told), orders(recipe, "tts", 50))
    assert cluster.time < 10 + 2 + 6
    assert {fields["node"] for fields in told.of("shard_done")} == {"a", "late"}


def test_a_lost_node_loses_no_unit_and_counts_for_no_try(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, tries=1)
    cluster, told = Simulated(a=Room(2), b=Room(2)), Told()
    cluster.at_time(4.5, lambda: cluster.lose_node("b"))
    done = run_all(pool_of(cluster, told), orders(recipe, "tts", 20, seconds=3))
    assert sorted(done) == sorted({f"tts-{n}" for n in range(20)})
    assert len(told.of("shard_retried")) == 2
    assert told.of("node_left") == [{"node": "b"}]
    assert not told.of("shard_quarantined")


def test_nodes_that_go_under_one_unit_again_and_again_end_the_run(recipe: Recipe) -> None:
    cluster = Simulated(a=Room(1))
    for number in range(LOSSES + 1):
        cluster.at_time(10.0 * number + 5, lambda: cluster.lose_node("a"))
        cluster.at_time(10.0 * number + 8, lambda: cluster.add_node("a", Room(1)))
    with pytest.raises(RunError, match=f"tts tts-0: {LOSSES} nodes went while they were at it"):
        run_all(pool_of(cluster), orders(recipe, "tts", 1, seconds=100))


def test_a_unit_that_kills_its_workers_is_quarantined_and_only_that(recipe: Recipe) -> None:
    cluster, told = Simulated(a=Room(2)), Told()
    cluster.poison = {"tts-3"}
    done = run_all(pool_of(cluster, told), orders(recipe, "tts", 8))
    assert sorted(done) == sorted(f"tts-{n}" for n in range(8))
    tries = recipe.workers.tries
    assert tries == 4
    assert Counter(name for name, _ in cluster.performed)["tts-3"] == tries + 1  # the last one rejects its rows
    assert [(f["shard"], f["tries"]) for f in told.of("shard_quarantined")] == [("tts-3", tries)]
    assert [f["attempt"] for f in told.of("shard_retried")] == [2, 3, 4]
    assert len(told.of("worker_died")) == tries


def test_a_pass_that_cannot_do_without_a_shard_ends_the_run(recipe: Recipe) -> None:
    cluster = Simulated(a=Room(2))
    cluster.poison = {"noise.sounds-3"}
    said = r"noise.sounds noise.sounds-3: its worker died 4 times.*Out of memory is the usual cause"
    with pytest.raises(RunError, match=said):
        run_all(pool_of(cluster), orders(recipe, "noise.sounds", 8))


def test_an_engine_that_kills_every_worker_ends_the_run(recipe: Recipe) -> None:
    cluster, told = Simulated(a=Room(2)), Told()
    cluster.poison = {f"tts-{n}" for n in range(20)}
    with pytest.raises(RunError, match=r"its worker died 4 times, as those of 3 shards before"):
        run_all(pool_of(cluster, told), orders(recipe, "tts", 20))
    assert len(told.of("shard_quarantined")) == 3


def test_a_straggler_is_done_by_a_second_worker_on_another_node(recipe: Recipe) -> None:
    cluster, told = Simulated(a=Room(1), b=Room(1)), Told()
    cluster.slow = {(f"tts-{number}", "b"): 1000.0 for number in range(30, 40)}
    done = run_all(pool_of(cluster, told), orders(recipe, "tts", 40))
    assert sorted(done) == sorted({f"tts-{n}" for n in range(40)})
    (straggler,) = told.of("straggler_reissued")
    assert straggler["median_seconds"] == pytest.approx(1, abs=0.2)
    assert 30 <= straggler["seconds"] < 33
    assert [f["node"] for f in told.of("shard_done") if f["shard"] == straggler["shard"]] == ["a"]
    assert told.of("worker_ended")[-1]["why"] == "another worker was sooner with its shard"
    assert cluster.time < 80


def test_what_asks_a_server_is_never_asked_twice_at_once(recipe: Recipe) -> None:
    cluster, told = Simulated(a=Room(1), b=Room(1)), Told()
    cluster.slow = {("answer-9", "b"): 200.0, ("answer-9", "a"): 200.0}
    run_all(pool_of(cluster, told), orders(recipe, "answer", 10, workers=2, asks=True))
    assert not told.of("straggler_reissued")
    assert cluster.time > 200


def test_workers_are_busy_and_a_shard_costs_the_driver_the_same_however_many_there_are(recipe: Recipe) -> None:
    seconds = {}
    for shards in (1_000, 10_000):
        cluster = Simulated(**{f"n{number}": Room(8) for number in range(8)})
        pool = pool_of(cluster)
        group = orders(recipe, "tts", shards, seconds=10)
        started = time.process_time()
        run_all(pool, group)
        seconds[shards] = (time.process_time() - started) / shards
        assert cluster.time < 1.02 * (10 * -(-shards // 64) + 2)
    assert seconds[10_000] < 2 * seconds[1_000]


def test_options_of_workers_change_nothing_that_is_made(finished: Path, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, workers={"tts": {"cpus": 2, "max": 3}, "tries": 2})
    changed = load_recipe(path, ["export.report=true"], str(finished / "run"))
    assert changed.workers.of("tts.augment").cpus == 2
    plans, _ = plan_run(changed, passes_for(None))
    assert all(plan.done for plan in plans)
    assert "workers" not in published_recipe(changed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ttz": {"max": 1}}, "there is no step or pass 'ttz'; did you mean tts?"),
        ({"tts": {"cpu": 1}}, "workers.tts.cpu: unknown option; did you mean cpus?"),
        ({"tts": {"min": 3, "max": 2}}, "min 3 is above max 2"),
        ({"tries": 0}, "workers.tries: Input should be greater than or equal to 1"),
    ],
)
def test_wrong_options_are_said_with_their_place(options: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said.replace("?", r"\?").replace(".", r"\.")):
        recipe_with(tmp_path, **options)


def test_a_pool_says_how_many_it_is(recipe: Recipe) -> None:
    assert Pool(Simulated(a=Room(8), b=Room(2)), Told(), None).size == 10
    assert Pool(Simulated(a=Room(8)), Told(), 3).size == 3
    assert Pool(Simulated(), Told(), None).size == 1
