"""publish against a Hub on the loopback that misbehaves: complete, equal, resumed, nothing sent twice, refusals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.arguments import load_run
from pipelines.errors import Quarantined, RunError, UserError
from pipelines.folders import run_folder
from pipelines.folders.store import store_at
from pipelines.publish import publishing
from pipelines.publish.files import Ledger, collect
from pipelines.publish.hub import ATTEMPTS, Hub, wait_seconds
from pipelines.recipe import load_recipe
from pipelines.running.orders import Order, Tell
from pipelines.running.perform import perform
from pipelines.running.quarantine import quarantine
from pipelines.shards import Record
from tests.conftest import ROOT, content
from tests.pipelines.in_process import mill as speechmill
from tests.publish.loopback_hub import BEHAVIOURS, TOKEN, Entry, LoopbackHub, Plan
from tests.running.s3_server import BUCKET, s3_server

REPO = "mara/spoken"
UNKNOWN = ["unknown"]  # the licence of the examples, as the small recipe has it
MIXTURES = {"all": {"parts": {"speech_instruction": 100}}, "words": {"parts": {"text_only": 100}, "total": 4}}
CARD_NUMBER = "4111 1111 1111 1111"
SECRET = "hf_" + "q7Rt" * 9
QUICK = (0.001, 0.02)


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the client send by LFS, with the loopback's token, and keep what it fetches in a folder of the test."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run of its own, which has published nothing yet."""
    return Path(shutil.copytree(finished / "run", tmp_path / "run"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run over ten records of one file, under MIT."""
    folder = tmp_path_factory.mktemp("tiny")
    asked = [
        "the capital of Peru",
        "the color of snow",
        "the largest ocean",
        "a good name for a cat",
        "the boiling point",
    ]
    records = [{"prompt": f"Please tell me {what}.", "answer": f"That is {what}."} for what in asked]
    records.append({"prompt": f"My card is {CARD_NUMBER}, may I have it back?", "answer": "You may."})
    (folder / "own.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    recipe = {
        "name": "tiny",
        "sources": [{"name": "own", "path": str(folder / "own.jsonl"), "license": "MIT"}],
        "filter": {"rules": ["private", "speakable", "length", "language", "duplicate"]},
        "noise": {"rows": 0},
        "mix": {"mixtures": MIXTURES},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    speechmill("run", folder / "recipe.yaml", "--run-dir", folder / "run", "--workers", "0")
    return folder


@pytest.fixture
def small(tiny: Path, tmp_path: Path) -> Path:
    """A tiny finished run of its own, which has published nothing yet."""
    return Path(shutil.copytree(tiny / "run", tmp_path / "run"))


def publish(run: Path, server: LoopbackHub, said: list[str] | None = None, **changes: Any) -> str:
    """Publish a run to the loopback; returns the version."""
    recipe = load_run(run)
    allowed = UNKNOWN if any(source.license == "unknown" for source in recipe.sources) else []
    options: dict[str, Any] = {"private": False, "allowed": allowed, "tag": None, **changes}
    say = (said if said is not None else []).append
    return publishing.publish(recipe, Hub(REPO, server.url, QUICK, say), say=say, **options)


def assert_published(run: Path, server: LoopbackHub, allowed_resends: int = 0) -> None:
    """Assert that the Hub holds the dataset, byte for byte, and was sent nothing twice."""
    files = server.repos[REPO].files
    dataset = {str(path.relative_to(run / "dataset")): path for path in (run / "dataset").rglob("*") if path.is_file()}
    assert len(dataset) > 3
    assert set(files) == {*dataset, "recipe.yaml", "mixture.json", ".gitattributes"}
    del dataset["README.md"]  # names the repository
    for name, path in dataset.items():
        assert server.content(REPO, name) == path.read_bytes(), name
    assert server.content(REPO, "mixture.json") == (run / "mixture.json").read_bytes()
    assert len(server.resent) == allowed_resends
    assert max(server.stored.values()) == 1
    assert not server.unknown
    assert not server.leaks


def first_of_each(behaviour: str) -> Plan:
    """Let the first call of each endpoint misbehave."""
    return lambda endpoint, n: behaviour if n == 0 and endpoint != "agents" else "good"


def storm(endpoint: str, n: int) -> str:
    """Let every third call of each endpoint misbehave, each in its way."""
    kinds = ["429", "lost", "503", "cut", "500-after", "500"]
    if endpoint == "commit":
        kinds = ["412", *kinds]
    return kinds[n // 3 % len(kinds)] if n % 3 == 0 and endpoint != "agents" else "good"


def test_what_is_published_is_the_dataset_with_its_recipe_and_the_card_last(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "COMMIT_FILES", 4)
    with LoopbackHub(tmp_path / "hub", page=5) as server:
        assert publish(run, server) == "v1"
        assert_published(run, server)
        repo = server.repos[REPO]
        added = [set(new) - set(old) for (_, old), (_, new) in zip(repo.commits, repo.commits[1:], strict=False)]
        assert max(map(len, added)) == 4
        assert {"recipe.yaml", "mixture.json"} <= added[0]
        assert "README.md" in added[-1]
        assert repo.tags == {"v1": repo.head}
        card = server.content(REPO, "README.md").decode()
        assert f"speechmill run hf://{REPO} --set sources.examples.path=..." in card
        assert f'datasets.load_dataset("{REPO}", "stage2", split="train")' in card
        assert str(ROOT) not in card + server.content(REPO, "recipe.yaml").decode()


@pytest.mark.parametrize("behaviour", sorted({*BEHAVIOURS} - {"good", "412", "403"}))
def test_each_call_may_fail_once(behaviour: str, small: Path, tmp_path: Path) -> None:
    with LoopbackHub(tmp_path / "hub", first_of_each(behaviour)) as server:
        publish(small, server)
        assert_published(small, server)
        used = {"create", "validate", "preupload", "batch", "put", "verify", "commit", "tag", "refs", "tree", "info"}
        assert {name for name, count in server.failures.items() if count} == used
        assert len(server.repos[REPO].commits) == 2, "a commit whose answer was lost is not done again"


def test_every_third_call_may_fail(run: Path, tmp_path: Path) -> None:
    with LoopbackHub(tmp_path / "hub", storm) as server:
        publish(run, server)
        assert_published(run, server)
        assert server.failures.total() > 30


def test_large_files_go_in_parts_and_a_part_that_fails_goes_again_alone(run: Path, tmp_path: Path) -> None:
    def plan(endpoint: str, n: int) -> str:
        return {("part", 1): "500", ("complete", 0): "lost", ("complete", 1): "503"}.get((endpoint, n), "good")

    with LoopbackHub(tmp_path / "hub", plan, multipart_above=500_000) as server:
        publish(run, server)
        assert_published(run, server)
        sizes = [path.stat().st_size for path in (run / "dataset/audio").glob("*.parquet")]
        parts = sum(-(-size // 500_000) for size in sizes if size > 500_000)
        again = -(-max(sizes) // 500_000)  # of the completion that was not done, the whole file
        assert parts < server.calls["part"] <= parts + 1 + again


def test_another_commit_that_comes_first_is_looked_at_and_kept(small: Path, tmp_path: Path) -> None:
    with LoopbackHub(tmp_path / "hub") as server:

        def plan(endpoint: str, n: int) -> str:
            if (endpoint, n) == ("commit", 0):
                repo = server.repos[REPO]
                repo.commit({**repo.files, "LICENSE": server.blob(b"mine")})
            return "good"

        server.plan = plan
        publish(small, server)
        assert server.calls["commit"] == 2
        assert server.content(REPO, "LICENSE") == b"mine"
        del server.repos[REPO].files["LICENSE"]
        assert_published(small, server)


def test_killed_half_way_it_goes_on(run: Path, tmp_path: Path) -> None:
    with LoopbackHub(tmp_path / "hub", slow_put_s=0.15) as server:
        environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)}
        arguments = ["-m", "pipelines", "publish", str(run), "--repo", REPO, "--allow", "unknown", "--private"]
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        ledger = Ledger(run, REPO).path
        deadline = time.monotonic() + 60
        while not (ledger.exists() and ledger.read_text().count("\n") >= 5):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.3)  # what was on its way may arrive
        stored = sum(server.stored.values())
        assert 5 <= stored < 17
        assert len(server.repos[REPO].commits) == 1
        server.slow_put_s = 0.0
        with ledger.open("a") as file:
            file.write('{"accepted": "torn')
        publish(run, server, private=True)
        assert_published(run, server)
        assert sum(server.stored.values()) == 17, "15 shards and 2 pictures"
        assert server.repos[REPO].private
        lines = ledger.read_text().splitlines()
        assert sum('"accepted"' in line for line in lines) >= 15
        assert json.loads(lines[-1])["tag"] == "v1"


def test_publishing_again_sends_what_changed_and_removes_what_is_gone(small: Path, tmp_path: Path) -> None:
    with LoopbackHub(tmp_path / "hub") as server:
        publish(small, server)
        repo = server.repos[REPO]
        before, sent = dict(repo.files), sum(server.stored.values())
        assert publish(small, server) == "v1", "nothing changed, so neither does the version"
        assert len(repo.commits) == 2
        mixtures = json.dumps({"all": MIXTURES["all"], "texts": {"parts": {"text_only": 100}, "total": 3}})
        changed = ["--set", f"mix.mixtures={mixtures}", "--run-dir", small, "--workers", "0"]
        speechmill("export", small / "recipe.json", *changed)
        assert publish(small, server, tag="fewer-texts") == "fewer-texts"
        assert_published(small, server)
        assert "all/train-00000-of-00001.parquet" in repo.files
        assert before.keys() - repo.files.keys() == {"words/train-00000-of-00001.parquet"}
        assert repo.files.keys() - before.keys() == {"texts/train-00000-of-00001.parquet"}
        large = [name for name, entry in repo.files.items() if entry.lfs and entry != before.get(name)]
        assert "all/train-00000-of-00001.parquet" not in large
        assert sum(server.stored.values()) - sent == len(large)
        assert repo.find("v1")[1] == before
        with pytest.raises(UserError, match="versions stay what they are"):
            publish(small, server, tag="v1")


def test_a_published_dataset_loads_by_its_name(run: Path, tmp_path: Path) -> None:
    with LoopbackHub(tmp_path / "hub", page=4) as server:
        publish(run, server)
        script = (
            "import datasets, json\n"
            f"of = {{name: datasets.load_dataset('{REPO}', name, split='train', revision='v1') for name in "
            "('stage2', 'stage3', 'audio')}\n"
            "assert type(of['audio'].features['audio']) is datasets.Audio\n"
            "print(json.dumps({name: list(of[name]['id']) for name in of}))"
        )
        environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
        result = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        loaded = json.loads(result.stdout.splitlines()[-1])
        for config in ("stage2", "stage3", "audio"):
            files = sorted((run / "dataset" / config).glob("*.parquet"))
            assert loaded[config] == [
                i for file in files for i in pq.read_table(file, columns=["id"])["id"].to_pylist()
            ]


def test_a_published_recipe_makes_the_same_dataset(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackHub(tmp_path / "hub") as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        files = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        publish(tiny / "run", server)
        assert not any(CARD_NUMBER.encode() in server.content(REPO, name) for name in server.repos[REPO].files)
        assert CARD_NUMBER in str(pq.read_table(tiny / "run/filter/rejects/own-00000.parquet").to_pylist())
        given = ["--set", f"sources.own.path={tiny / 'own.jsonl'}", "--run-dir", tmp_path / "again", "--workers", "0"]
        with pytest.raises(UserError, match=r"Name yours: --set sources\.own\.path=\.\.\."):
            speechmill("run", f"hf://{REPO}", *given[2:])
        speechmill("run", f"hf://{REPO}@v1", *given)
        assert content(tmp_path / "again" / "dataset") == content(tiny / "run" / "dataset")
        for place, what in (
            (f"hf://{REPO}@v9", "no version v9"),
            ("hf://mara/nothing", "no such dataset"),
            ("hf://mara", "write hf://owner/name"),
        ):
            with pytest.raises(UserError, match=what):
                speechmill("plan", place)


def test_a_secret_in_the_data_stops_it_before_anything_is_sent(tiny: Path, tmp_path: Path) -> None:
    lines = (tiny / "own.jsonl").read_text().splitlines()
    record = {**json.loads(lines[2]), "answer": f"Log in with {SECRET} first."}
    (tmp_path / "leaky.jsonl").write_text("\n".join([*lines[:2], json.dumps(record), *lines[3:]]))
    path = f"sources.own.path={tmp_path / 'leaky.jsonl'}"
    speechmill("run", tiny / "recipe.yaml", "--set", path, "--run-dir", tmp_path / "leaky", "--workers", "0")
    with LoopbackHub(tmp_path / "hub") as server:
        with pytest.raises(UserError) as caught:
            publish(tmp_path / "leaky", server)
        assert not server.calls
    table = pq.read_table(tmp_path / "leaky/dataset/all/train-00000-of-00001.parquet")
    row = next(i for i, answer in enumerate(table["answer"].to_pylist()) if SECRET in answer)
    said = str(caught.value)
    assert f"all/train-00000-of-00001.parquet, row {row}, column answer: Hugging Face token, hf_q..." in said
    assert f"row {row}, column conversations.content" in said
    assert SECRET not in said


def test_what_may_not_be_published_is_not(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackHub(tmp_path / "hub") as server:
        with pytest.raises(UserError, match=r"source examples: unknown: .*\(--allow unknown\)"):
            publish(run, server, allowed=[])
        with pytest.raises(UserError, match=r"--allow lama3: no source or voice has this licence\. They have: unknown"):
            publish(run, server, allowed=["unknown", "lama3"])
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
        with pytest.raises(UserError, match="there is no token of the Hub: set HF_TOKEN"):
            publish(run, server)
        monkeypatch.setenv("HF_TOKEN", SECRET)
        with pytest.raises(UserError, match="the Hub says 401") as caught:
            publish(run, server)
        assert SECRET not in str(caught.value)
        shard = run / "dataset/stage2/train-00002-of-00006.parquet"
        whole = shard.read_bytes()
        shard.write_bytes(whole[:-1] + b"?")
        with pytest.raises(
            RunError, match=r"files are whole: .*stage2/train-00002-of-00006.parquet is missing, or is not"
        ):
            publish(run, server)
        shard.unlink()
        with pytest.raises(RunError, match="missing, or of another size"):
            publish(run, server)
        (run / "export.card/manifest.json").unlink()
        with pytest.raises(UserError, match="is not finished"):
            publish(run, server)
        assert set(server.calls) <= {"create", "info", "agents"}
        assert not server.repos


def test_what_is_not_ours_is_left_alone(small: Path, tmp_path: Path) -> None:
    with LoopbackHub(tmp_path / "hub") as server:
        hub = Hub(REPO, server.url)
        hub.create(private=False)
        repo = server.repos[REPO]
        repo.commit({**repo.files, "data/train-00000-of-00001.parquet": Entry("0" * 64, 1, True)})
        with pytest.raises(UserError, match=r"did not publish \(data/train-00000-of-00001.parquet\)"):
            publish(small, server)
        with pytest.raises(UserError, match="is public: make it private"):
            publish(small, server, private=True)
        assert not server.stored


def test_what_the_hub_holds_in_the_end_is_compared(small: Path, tmp_path: Path) -> None:
    name = "all/train-00000-of-00001.parquet"
    with LoopbackHub(tmp_path / "hub") as server:

        def plan(endpoint: str, n: int) -> str:
            if endpoint == "tree" and server.calls["commit"]:
                files = server.repos[REPO].files
                files[name] = Entry("f" * 64, files[name].size, True)
            return "good"

        server.plan = plan
        with pytest.raises(RunError, match=f"does not hold what was sent: {name}"):
            publish(small, server)
        assert not server.repos[REPO].tags


def test_a_hub_that_stays_away_ends_it_and_a_long_wait_is_not_waited_for(small: Path, tmp_path: Path) -> None:
    for plan, retry_after, calls in ((lambda e, n: "503", "0", ATTEMPTS), (lambda e, n: "429", "7200", 1)):
        with LoopbackHub(tmp_path / "hub", plan, retry_after=retry_after) as server:
            with pytest.raises(
                RunError, match=rf"creating the repository in {REPO} failed {calls} times, last: .*503|429"
            ):
                publish(small, server)
            assert server.calls["create"] == calls


def test_the_token_is_written_nowhere(small: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with LoopbackHub(tmp_path / "hub", storm) as server:
        publish(small, server, said)
        texts = [path.read_bytes() for path in small.rglob("*") if path.is_file()]
        texts += [server.content(REPO, name) for name in server.repos[REPO].files]
    assert not any(TOKEN.encode() in text for text in texts)
    assert said
    assert not any(TOKEN in line or "signature" in line for line in said)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No Hub, no token."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_TOKEN")
    yield


def test_a_dry_run_names_every_file_and_asks_nobody(
    run: Path, nowhere: None, capsys: pytest.CaptureFixture[str]
) -> None:
    speechmill("publish", run, "--repo", REPO, "--dry-run", "--allow", "unknown")
    lines = capsys.readouterr().out.splitlines()
    files = collect(load_run(run), REPO)
    assert lines[0].startswith("recipe.yaml ")
    assert [line.split() for line in lines[: len(files)]] == [[f.name, f"{f.size:,}", "send"] for f in files]
    total = f"{sum(file.size for file in files):,}"
    assert lines[len(files)] == f"{len(files)} files, {total} bytes; to send: {len(files)}, {total} bytes"
    assert any(line.startswith("note: stage2: 6 files of") and "export.shard_bytes" in line for line in lines)
    assert not (run / "publish").exists()


def test_a_dry_run_knows_what_was_published_from_here(small: Path, tmp_path: Path) -> None:
    recipe = load_run(small)
    with LoopbackHub(tmp_path / "hub") as server:
        publish(small, server)
    lines = list(publishing.dry_run(recipe, REPO, []))
    assert sum(line.endswith(" unchanged") for line in lines) == len(collect(recipe, REPO))
    assert any("to send: 0, 0 bytes" in line for line in lines)
    ledger = Ledger(small, REPO)
    ledger.write({**ledger.published, "files": {"old/train-00000-of-00001.parquet": "0"}})
    lines = list(publishing.dry_run(recipe, REPO, []))
    assert any(line.startswith("old/train-00000-of-00001.parquet") and line.endswith("remove") for line in lines)
    assert sum(line.endswith(" accepted") for line in lines) == 4, "2 shards and 2 pictures"
    assert any(line.endswith(" send") for line in publishing.dry_run(recipe, "mara/other", []))


def test_only_the_recipe_that_made_the_data_is_published(tiny: Path, small: Path, tmp_path: Path) -> None:
    """Its licences and its seed are told of the data: those of a file that was changed since would be a lie."""
    raw = yaml.safe_load((tiny / "recipe.yaml").read_text())
    raw["sources"][0]["license"] = "CC0-1.0"
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump({**raw, "seed": 99}))
    changed = load_recipe(tmp_path / "changed.yaml", run_dir=str(small))
    refused = (
        r"(?s)was not made by this recipe.*seed: 1 -> 99\n.*sources\.own\.license: MIT -> CC0-1\.0\n.*Run it to its end"
    )
    with LoopbackHub(tmp_path / "hub") as server:
        with pytest.raises(UserError, match=refused):
            publishing.publish(changed, Hub(REPO, server.url), private=False, allowed=[], tag=None, say=print)
        with pytest.raises(UserError, match=refused):
            speechmill("publish", tmp_path / "changed.yaml", "--run-dir", small, "--repo", REPO, "--dry-run")
        assert publishing.publish(
            load_recipe(tiny / "recipe.yaml", run_dir=str(small)),
            *(Hub(REPO, server.url), False, [], None, print),
        )
        assert yaml.safe_load(server.content(REPO, "recipe.yaml"))["sources"][0]["license"] == "MIT"
        begun = json.loads((small / "recipe.json").read_text())
        (small / "recipe.json").write_text(json.dumps({**begun, "seed": 99}))  # a run began, and made nothing yet
        with pytest.raises(UserError, match=r"seed: 1 -> 99"):
            publish(small, server)


def test_rows_in_quarantine_are_missed(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def perform_or_give_up(order: Order, tell: Tell) -> Record:
        if (order.key, order.unit.name) == ("quantize", "own-00001"):
            return quarantine(order, "its worker died")
        return perform(order)

    monkeypatch.setattr("pipelines.running.perform.perform_here", perform_or_give_up)
    run, changes = tmp_path / "run", ["--set", "read.rows_per_shard=2", "--set", "mix.mixtures.words.total=2"]
    with pytest.raises(Quarantined):
        speechmill("run", tiny / "recipe.yaml", *changes, "--run-dir", run, "--workers", "0")
    arguments = ["publish", run, "--repo", REPO, "--dry-run"]
    said = r"2 rows of 1 shards in quarantine are missing \(quantize own-00001\)"
    with pytest.raises(UserError, match=f"{said}.*--without-quarantined"):
        speechmill(*arguments)
    capsys.readouterr()
    speechmill(*arguments, "--without-quarantined")
    assert re.search(f"note: {said}", capsys.readouterr().out)
    with LoopbackHub(tmp_path / "hub") as server:
        with pytest.raises(UserError, match=said):
            publish(run, server)
        assert not server.calls
        lines: list[str] = []
        assert publish(run, server, lines, without_quarantined=True) == "v1"
        assert re.search(said, "\n".join(lines))


def test_a_dry_run_of_a_run_in_a_store_brings_no_shard(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speechmill("publish", small, "--repo", REPO, "--dry-run")
    here = capsys.readouterr().out
    with s3_server() as s3:
        for name, value in {**s3.environment, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
            monkeypatch.setenv(name, value)
        url = f"s3://{BUCKET}/tiny"
        store = store_at(url)
        paths = [path for path in small.rglob("*") if path.is_file() and path.name != "lock"]
        store.each(store.upload, paths, [str(path.relative_to(small)) for path in paths])
        speechmill("publish", url, "--repo", REPO, "--dry-run")
        assert capsys.readouterr().out == here
        brought = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        assert not [path for path in brought if path.suffix in (".parquet", ".png")]
        with LoopbackHub(tmp_path / "hub") as hub:
            assert publish(Path(url), hub) == "v1"
            assert_published(small, hub)
        store_at.cache_clear()
        run_folder._copied.cache_clear()


@pytest.mark.parametrize("repo", ["spoken", "mara/", "a/b/c", "mara/../x", ""])
def test_a_name_that_is_no_repository_is_refused(repo: str) -> None:
    with pytest.raises(UserError, match="write it as owner/name"):
        publishing.check_repo(repo)


def test_what_xet_raises_is_asked_again_too(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [ConnectionError("reset"), TimeoutError("slow"), RuntimeError("a network error, in Rust")]
    with LoopbackHub(tmp_path / "hub") as server:
        hub = Hub(REPO, server.url, QUICK)
        upload = hub._api.preupload_lfs_files

        def fails_at_first(*arguments: Any, **options: Any) -> None:
            if errors:
                raise errors.pop()
            upload(*arguments, **options)

        monkeypatch.setattr(hub._api, "preupload_lfs_files", fails_at_first)
        publishing.publish(load_run(small), hub, private=False, allowed=[], tag=None, say=print)
        assert not errors
        assert_published(small, server)


def test_how_long_a_server_says_to_wait() -> None:
    import email.utils

    import httpx2

    def wait(**headers: str) -> float | None:
        return wait_seconds(httpx2.Headers({name.replace("_", "-"): value for name, value in headers.items()}))

    assert wait() is None
    assert wait(retry_after="17") == 17
    assert wait(retry_after="soon") is None
    date = wait(retry_after=email.utils.formatdate(time.time() + 60))
    assert date is not None and 50 < date <= 60
    assert wait(ratelimit='"api";r=0;t=55', retry_after="17") == 55
    assert wait(ratelimit='"api";r=12;t=55') is None
