"""The clock, on work that can be reckoned by hand."""

from __future__ import annotations

import pytest

from pipelines.errors import UserError
from pipelines.estimate.clock import Work, room, simulate
from pipelines.estimate_options import Cluster


def shards(n: int, seconds: float | None) -> dict[str, float | None]:
    return {f"a-{k}": seconds for k in range(n)}


def test_one_pass_on_two_workers_and_their_start() -> None:
    times = simulate([Work("score", shards(5, 2.0), start=1.5)], Cluster(cpus=2))
    assert times.seconds == 1.5 + 3 * 2.0  # three units for one of them, two for the other
    assert times.workers == {"score": 2}


def test_a_pass_that_waits_begins_when_the_other_is_whole() -> None:
    works = [Work("tts", shards(3, 2.0)), Work("mix", {"all": 1.0}, waits=frozenset(["tts"]))]
    assert simulate(works, Cluster(cpus=2)).seconds == 4.0 + 1.0


def test_a_pass_that_follows_goes_on_shard_by_shard() -> None:
    follows = Work("quantize", shards(4, 1.0), follows=("tts",), gpus=1.0)
    works = [Work("tts", shards(4, 1.0)), follows]
    # The one GPU hears a shard a second, from the first second on, while others are spoken.
    assert simulate(works, Cluster(cpus=2, gpus=1)).seconds == 1.0 + 4.0
    in_turn = [Work("tts", shards(4, 1.0), most=1), follows]
    assert simulate(in_turn, Cluster(cpus=2, gpus=1)).seconds == 4.0 + 1.0
    waiting = [Work("tts", shards(4, 1.0)), Work("quantize", shards(4, 1.0), waits=frozenset(["tts"]), gpus=1.0)]
    assert simulate(waiting, Cluster(cpus=2, gpus=1)).seconds == 2.0 + 4.0


def test_what_is_read_makes_the_shards_of_its_name() -> None:
    works = [Work("read", {"a": 1.0, "b": 5.0}), Work("score", {"a-00000": 2.0, "b-00000": 2.0}, follows=("read",))]
    times = simulate(works, Cluster(cpus=2))
    assert times.ends == {"read": 5.0, "score": 7.0}


def test_shards_are_taken_as_they_are_read() -> None:
    shards_of_a = {f"a-{number:05d}": 1.0 for number in range(4)}
    works = [Work("read", {"a": 4.0}, start=0.5), Work("score", shards_of_a, follows=("read",), start=0.25)]
    times = simulate(works, Cluster(cpus=2))
    # The shards are there at 1.5, 2.5, 3.5 and 4.5; one worker scores from 1.5 to 4.75, another the last one from 4.5.
    assert times.ends == {"read": 4.5, "score": 5.75}
    assert times.workers == {"read": 1, "score": 2}


def test_what_is_done_takes_no_time_and_lets_others_begin() -> None:
    works = [
        Work("tts", {"a-0": None, "a-1": 3.0}),
        Work("noise.speech", {"a-0": None, "a-1": 1.0}, follows=("tts",)),
        Work("quantize", {"a-0": 2.0, "a-1": 2.0}, follows=("tts",), beside=("noise.speech",)),
        Work("mix", {"all": 1.0}, waits=frozenset(["quantize", "noise"])),
        Work("card", {}, waits=frozenset(["mix"])),
    ]
    times = simulate(works, Cluster(cpus=4))
    assert times.ends["quantize"] == 3.0 + 1.0 + 2.0
    assert times.seconds == 7.0
    finished = [Work(work.key, dict.fromkeys(work.units), work.waits, work.follows) for work in works]
    assert simulate(finished, Cluster(cpus=1)).seconds == 0


def test_room_is_that_of_nodes_gpus_and_limits() -> None:
    cluster = Cluster(cpus=8, gpus=2, nodes=2)
    assert room(Work("tts", {}, cpus=2), cluster) == 8
    assert room(Work("tts", {}, gpus=0.5), cluster) == 8
    assert room(Work("tts", {}, gpus=2), cluster) == 2
    assert room(Work("answer", {}, most=3), cluster) == 3
    with pytest.raises(UserError, match="tts: a worker needs 1 CPUs, 1 GPUs, and a node of the cluster has 4, 0: "):
        simulate([Work("tts", shards(1, 1.0), gpus=1)], Cluster(cpus=4))


def test_memory_leaves_fewer_workers_room() -> None:
    large = Work("tts", shards(20, 1.0), memory_gib=12)
    assert room(large, Cluster(cpus=16, nodes=2)) == 32, "of nodes whose memory is not known it is not counted"
    cluster = Cluster(cpus=16, nodes=2, memory_gib=64)
    assert room(large, cluster) == 10
    assert simulate([large], cluster).seconds == 2.0
    # Beside one of 40 GiB there are two of 12: ten at once, of which two wait.
    beside = Work("quantize", shards(1, 5.0), memory_gib=40)
    assert simulate([Work("tts", shards(2, 1.0), memory_gib=12), beside], Cluster(cpus=16, memory_gib=64)).seconds == 5
    assert simulate([Work("tts", shards(3, 1.0), memory_gib=12), beside], Cluster(cpus=16, memory_gib=64)).seconds == 5
    late = simulate([Work("tts", shards(3, 4.0), memory_gib=12), beside], Cluster(cpus=16, memory_gib=64))
    assert late.seconds == 4.0 + 4.0
    with pytest.raises(UserError, match="needs 1 CPUs, 0 GPUs, 12 GiB, and a node of the cluster has 4, 0, 8 GiB"):
        simulate([large], Cluster(cpus=4, memory_gib=8))


def test_what_two_nodes_have_left_is_no_room_for_one_worker() -> None:
    works = [Work("score", shards(1, 1.0), cpus=2), Work("tts", shards(2, 3.0), cpus=3)]
    assert simulate(works, Cluster(cpus=4, nodes=2)).ends == {"tts": 3.0, "score": 4.0}
    assert simulate(works, Cluster(cpus=5, nodes=2)).ends == {"tts": 3.0, "score": 1.0}


def test_twice_the_machines_take_half_the_time() -> None:
    works = [Work("tts", shards(64, 3.0)), Work("quantize", shards(64, 5.0), follows=("tts",))]
    one, two = (simulate(works, Cluster(cpus=4, nodes=nodes)).seconds for nodes in (1, 2))
    assert one == pytest.approx(64 * 8 / 4, rel=0.05)
    assert two == pytest.approx(one / 2, rel=0.05)
