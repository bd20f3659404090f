"""The ceiling on requests and tokens: never exceeded, over processes and kills."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from answers.asking import AskingError
from answers.ledger import AHEAD, CeilingReached, Ledger

ROOT = Path(__file__).parents[2]


def run_python(script: str, *arguments: object) -> subprocess.Popen[str]:
    prelude = "import sys; from pathlib import Path; from answers.ledger import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + script, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_exactly_so_many_requests_may_be_taken(tmp_path: Path) -> None:
    for most in (1, 2, 99, 100, 101, 1000):
        ledger = Ledger(tmp_path / str(most), most, None)
        taken = 0
        while ledger.take(7):
            taken += 1
        assert taken == most
        assert ledger.spent()[0] == most
        error = ledger.reached()
        assert isinstance(error, CeilingReached)
        assert f"{most:,} of {most:,} requests" in str(error) and "raise most_requests" in str(error)
        ledger.close()


def test_tokens_that_were_not_used_serve_the_next_requests(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spent", None, 10_000)
    draw = random.Random(0)
    used = 0
    while ledger.take(900):
        tokens = draw.randint(1, 900)
        used += tokens
        assert used <= 10_000
        ledger.settle(900, tokens)
    assert used > 10_000 - 900
    ledger.give_back()
    assert ledger.spent()[1] == used


def test_one_that_costs_more_than_was_foreseen_is_counted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spent", None, 1000)
    assert ledger.take(100)
    ledger.settle(100, 950)
    assert not ledger.take(100)
    ledger.close()
    assert Ledger(tmp_path / "spent", None, 1000).spent() == (1, 950)


def test_what_was_spent_is_remembered_whatever_the_ceiling_was(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spent", None, None)
    for _ in range(50):
        assert ledger.take(100)
        ledger.settle(100, 60)
    ledger.close()
    assert Ledger(tmp_path / "spent", 50, None).spent() == (50, 3000)
    assert not Ledger(tmp_path / "spent", 50, None).take(1)
    raised = Ledger(tmp_path / "spent", 51, None)
    assert raised.take(1) and not raised.take(1)


def test_a_worker_takes_little_ahead_and_gives_it_back(tmp_path: Path) -> None:
    first, second = (Ledger(tmp_path / "spent", 10_000, None) for _ in range(2))
    assert first.take(1)
    assert first.spent()[0] == 1 + AHEAD
    first.give_back()
    assert second.spent()[0] == 1
    near = Ledger(tmp_path / "near", 150, None)
    assert near.take(1)
    assert near.spent()[0] == 2  # a hundredth of 149 ahead


def test_processes_together_never_exceed_it(tmp_path: Path) -> None:
    script = (
        "ledger = Ledger(Path(sys.argv[1]), 20_000, 2_800_000)\n"
        "taken = tokens = 0\n"
        "print('up', flush=True)\n"
        "sys.stdin.readline()\n"
        "while ledger.take(200):\n"
        "    used = taken * 37 % 200\n"
        "    ledger.settle(200, used)\n"
        "    taken, tokens = taken + 1, tokens + used\n"
        "ledger.close()\n"
        "print(taken, tokens)\n"
    )
    workers = [run_python(script, tmp_path / "spent") for _ in range(3)]
    for worker in workers:
        assert worker.stdout is not None and worker.stdout.readline() == "up\n"
    for worker in workers:  # all at once
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    told = [tuple(map(int, worker.communicate(timeout=60)[0].split())) for worker in workers]
    assert min(requests for requests, _ in told) > 100
    requests, tokens = (sum(column) for column in zip(*told, strict=True))
    assert requests == 20_000  # of 2,800,000 tokens about 2,000,000 are used
    assert Ledger(tmp_path / "spent", 20_000, 2_800_000).spent() == (requests, tokens)


def test_what_a_killed_worker_had_taken_counts_as_spent(tmp_path: Path) -> None:
    script = (
        "ledger = Ledger(Path(sys.argv[1]), 100_000, None)\n"
        "for taken in range(1, 10**9):\n"
        "    assert ledger.take(5)\n"
        "    print(taken, flush=True)\n"
    )
    sent = 0
    for _ in range(3):
        with run_python(script, tmp_path / "spent") as worker:
            assert worker.stdout is not None
            lines = [worker.stdout.readline() for _ in range(70)]
            worker.send_signal(signal.SIGKILL)
            sent += int((lines + worker.stdout.read().split("\n")[:-1])[-1])
    spent = Ledger(tmp_path / "spent", 100_000, None).spent()[0]
    assert sent <= spent <= sent + 3 * (AHEAD + 1)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "spent").write_bytes(b"what?")
    with pytest.raises(AskingError, match=r"spent has 5 bytes instead of 16.*Delete it"):
        Ledger(tmp_path / "spent", 1, 1)
