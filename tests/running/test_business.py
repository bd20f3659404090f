"""How busy workers are: the integral of what they do, over the last minute."""

from __future__ import annotations

from pipelines.running.business import Business


def started(gpus: dict[str, float]) -> Business:
    business = Business()
    for worker, share in gpus.items():
        business.hear("worker_started", {"worker": worker, "gpus": share}, 1000.0)
    business.shares(1000.0)
    return business


def give(business: Business, worker: str, shard: str, now: float) -> None:
    business.hear("shard_given", {"worker": worker, "step": "tts", "shard": shard}, now)


def done(business: Business, shard: str, now: float) -> None:
    business.hear("shard_done", {"step": "tts", "shard": shard}, now)


def test_the_share_is_busy_seconds_by_worker_seconds_of_each_kind() -> None:
    business = started({"a": 0, "b": 0, "g": 0.5})
    give(business, "a", "1", 1000.0)
    give(business, "g", "2", 1010.0)
    done(business, "1", 1015.0)
    assert business.shares(1020.0) == {  # a: 15 of 20 s, b: none; g is still at it
        "cpu": {"workers": 2, "busy": round(15 / 40, 3)},
        "gpu": {"workers": 1, "busy": 0.5},
    }


def test_what_was_more_than_a_minute_ago_is_forgotten() -> None:
    business = started({"a": 0})
    give(business, "a", "1", 1000.0)
    for now in range(1001, 1101):
        business.shares(float(now))
    done(business, "1", 1100.0)
    for now in range(1101, 1131):
        business.shares(float(now))
    assert business.shares(1130.0)["cpu"]["busy"] == 0.5
    for now in range(1131, 1200):
        business.shares(float(now))
    assert business.shares(1200.0)["cpu"]["busy"] == 0.0


def test_a_shard_that_two_workers_have_frees_both_and_the_dead_do_not_count() -> None:
    business = started({"a": 0, "b": 0, "c": 0})
    give(business, "a", "1", 1000.0)
    give(business, "b", "1", 1005.0)
    done(business, "1", 1010.0)
    assert business.shares(1020.0) == {"cpu": {"workers": 3, "busy": round(15 / 60, 3)}}
    give(business, "c", "2", 1020.0)
    for worker in ("a", "b"):
        business.hear("worker_died", {"worker": worker}, 1020.0)
    business.hear("worker_ended", {"worker": "c"}, 1030.0)
    assert business.shares(1040.0) == {}


def test_what_is_done_in_the_driver_is_no_workers_business() -> None:
    business = Business()
    give(business, "driver", "1", 1000.0)
    done(business, "1", 1001.0)
    assert business.shares(1002.0) == {}
