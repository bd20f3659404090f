"""Stored answers: found by every process, lost by no kill, and never wrong."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import answers.store
from answers.store import AnswerStore, answer_key

ROOT = Path(__file__).parents[2]


def key(number: int) -> bytes:
    return answer_key("test", {"n": number})


def answer(number: int) -> bytes:
    return random.Random(number).randbytes(number % 700)


def run_python(script: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    prelude = "import sys; from pathlib import Path; from tests.answers.test_store import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + script, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_what_was_put_is_got_by_this_store_and_by_the_next(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "made" / "here")
    for number in range(500):
        store.put(key(number), answer(number))
    assert all(store.get(key(number)) == answer(number) for number in range(500))
    assert store.get(key(500)) is None
    again = AnswerStore(store.folder)
    assert all(again.get(key(number)) == answer(number) for number in range(500))
    assert len(again) == 500
    assert again.get(key(500)) is None


def test_a_key_is_the_content_and_the_kind_whatever_the_order() -> None:
    assert answer_key("a", {"x": 1, "y": [2]}) == answer_key("a", {"y": [2], "x": 1})
    others = {answer_key("a", {"x": 1}), answer_key("b", {"x": 1}), answer_key("a", {"x": "1"}), answer_key("a", {})}
    assert len(others) == 4
    with pytest.raises(TypeError):
        answer_key("a", {"x": b"bytes"})
    with pytest.raises(ValueError, match="Out of range"):
        answer_key("a", {"x": float("nan")})


def test_the_latest_answer_to_a_key_holds(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    for text in (b"one", b"two"):
        store.put(key(1), text)
    assert store.get(key(1)) == b"two"
    assert AnswerStore(tmp_path).get(key(1)) == b"two"
    with pytest.raises(ValueError, match="16 bytes"):
        store.put(b"short", b"")


def test_the_index_only_saves_reading(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    for number in range(30):
        store.put(key(number), answer(number))
    store.close()
    (index,) = tmp_path.glob("*.idx")
    whole = index.read_bytes()
    assert len(whole) == 30 * 24
    damaged = [whole[:cut] for cut in (0, 7, 20 * 24, 30 * 24 - 7)]
    damaged += [bytes(len(whole)), whole[:240] + bytes(480), whole[:240] + b"\xff" * 480]  # what power left of it
    for data in damaged:
        index.write_bytes(data)
        reader = AnswerStore(tmp_path)
        assert all(reader.get(key(number)) == answer(number) for number in range(30))
        assert len(reader) == 30 + (data == bytes(len(whole)))  # an entry of nothing, which finds nothing
    index.unlink()
    assert len(AnswerStore(tmp_path)) == 30


def test_others_answers_are_seen_within_a_second_and_told_once(tmp_path: Path) -> None:
    reader = AnswerStore(tmp_path)
    writer = AnswerStore(tmp_path)
    for number in range(300):
        writer.put(key(number), answer(number))
        if number % 7 == 0:
            reader.look()
    reader.look()
    assert len(reader) == 300
    assert not reader.look()
    writer.put(key(300), b"late")
    deadline = time.monotonic() + 3
    while reader.get(key(300)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("indexed", [False, True])
def test_a_torn_tail_is_left_alone_at_every_length(tmp_path: Path, indexed: bool) -> None:
    store = AnswerStore(tmp_path)
    store.put(key(1), b"first")
    store.put(key(2), b"second answer")
    if indexed:
        store.close()
    (log,) = tmp_path.glob("*.log")
    whole = log.read_bytes()
    first_end = whole.index(b"first") + 5
    for end in range(first_end, len(whole)):
        log.write_bytes(whole[:end])
        reader = AnswerStore(tmp_path)
        assert reader.get(key(1)) == b"first"
        assert reader.get(key(2)) is None


def test_a_damaged_record_is_as_if_it_were_not_there_and_can_be_replaced(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    for number in (1, 2, 3):
        store.put(key(number), bytes([number]) * 50)
    store.close()
    (log,) = tmp_path.glob("*.log")
    whole = log.read_bytes()
    record = len(whole) // 3
    for at in range(record, 2 * record):
        log.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        reader = AnswerStore(tmp_path)
        assert reader.get(key(2)) is None, at
        assert reader.get(key(1)) == b"\1" * 50
        assert reader.get(key(3)) == b"\3" * 50
    writer = AnswerStore(tmp_path)
    writer.put(key(2), b"anew")
    assert writer.get(key(2)) == AnswerStore(tmp_path).get(key(2)) == b"anew"


def test_many_answers_are_sorted_into_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers.store, "_MERGE_AT", 16)
    edge = [bytes(16), b"\xff" * 16, b"\xff" * 8 + bytes(8)]  # the last two share their half key
    store = AnswerStore(tmp_path)
    for number in range(200):
        store.put(key(number), b"old")
        store.put(key(number), answer(number))
    for one in edge:
        store.put(one, one)
    other = AnswerStore(tmp_path)
    for reader in (store, other, AnswerStore(tmp_path)):
        assert all(reader.get(key(number)) == answer(number) for number in range(200))
        assert [reader.get(one) for one in edge] == edge
    other.put(edge[0], b"newer")
    assert store.get(edge[0]) == bytes(16)  # it has one, so it does not look
    assert AnswerStore(tmp_path).get(edge[0]) == b"newer"


def test_two_processes_see_what_the_other_stores_as_it_stores_it(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    script = (
        "store = AnswerStore(Path(sys.argv[1]))\n"
        "for line in sys.stdin:\n"
        "    store.put(key(int(line)), answer(int(line)))\n"
        "    store.look()\n"
        "    print(store.get(key(int(line) + 1000)) == answer(int(line) + 1000), flush=True)\n"
    )
    with run_python(script, tmp_path, stdin=subprocess.PIPE) as other:
        assert other.stdin is not None and other.stdout is not None
        for number in range(50):
            assert store.get(key(number)) is None
            store.put(key(number + 1000), answer(number + 1000))
            other.stdin.write(f"{number}\n")
            other.stdin.flush()
            assert other.stdout.readline() == "True\n"
            store.look()
            assert store.get(key(number)) == answer(number)
        other.stdin.close()
    assert len(list(tmp_path.glob("*.log"))) == 2


def test_a_killed_writer_loses_nothing_that_was_put(tmp_path: Path) -> None:
    script = (
        "store = AnswerStore(Path(sys.argv[1]))\n"
        "for number in range(int(sys.argv[2]), 10**9):\n"
        "    store.put(key(number), answer(number))\n"
        "    print(number, flush=True)\n"
    )
    last = -1
    for trial in range(3):
        with run_python(script, tmp_path, last + 1) as writer:
            assert writer.stdout is not None
            for _ in range(200 + 37 * trial):
                last = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
        reader = AnswerStore(tmp_path)
        assert all(reader.get(key(number)) == answer(number) for number in range(last + 1))
        while reader.get(key(last + 1)) is not None:  # put, and killed before it was said
            last += 1


def test_a_full_disk_is_told_and_leaves_no_half_record(tmp_path: Path) -> None:
    script = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "store = AnswerStore(Path(sys.argv[1]))\n"
        "store.put(key(1), b'x' * 9_000)\n"
        "try:\n    store.put(key(2), b'y' * 2_000)\n"
        "except OSError:\n    print('full', flush=True)\n"
        "store.put(key(3), b'z' * 500)\n"
        "store.close()\n"
    )
    with run_python(script, tmp_path) as writer:
        assert writer.communicate()[0] == "full\n"
        assert writer.returncode == 0
    reader = AnswerStore(tmp_path)
    assert reader.get(key(1)) == b"x" * 9_000
    assert reader.get(key(2)) is None
    assert reader.get(key(3)) == b"z" * 500


def test_a_fork_writes_a_segment_of_its_own(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    store.put(key(1), b"parent")
    pid = os.fork()
    if pid == 0:
        store.put(key(2), b"child")
        os._exit(0)
    os.waitpid(pid, 0)
    store.put(key(3), b"parent again")
    store.look()
    assert len(list(tmp_path.glob("*.log"))) == 2
    for reader in (store, AnswerStore(tmp_path)):
        assert [reader.get(key(n)) for n in (1, 2, 3)] == [b"parent", b"child", b"parent again"]


def test_threads_may_share_a_store(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    wrong: list[int] = []

    def work(first: int) -> None:
        for number in range(first, first + 200):
            store.put(key(number), answer(number))
            if store.get(key(number)) != answer(number):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 1600, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    again = AnswerStore(tmp_path)
    assert all(again.get(key(number)) == answer(number) for number in range(1600))


def test_a_closed_store_still_reads_and_writes_anew(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    store.put(key(1), b"one")
    store.close()
    assert store.get(key(1)) == b"one"
    store.put(key(2), b"two")
    assert store.get(key(2)) == b"two"
