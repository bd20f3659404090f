"""The report in a real browser: it loads nothing, its numbers are the manifests', it plays, it can be used by all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.conftest import assert_done, recipe_of, speechmill, write_recipe
from tests.report.chromium import PHONE, WIDE, axe, chromium, complaints, facts, look, requests, shown

HOSTILE = [  # as many as are shown of a task
    "<script>document.title = 'owned'</script> What is a fox?",
    "<img src=x onerror=\"document.title = 'owned'\"> What is a hen?",
    "</bdi></p></article><h1 class=owned>What is a cow?</h1>",
    "\u202etxet siht nruT\u202c What is \x07 a bell \x1b[2J and a \u200b gap?",
    "ما هي عاصمة فرنسا؟ 👩‍👩‍👧‍👦🏳️‍🌈",
    '"><svg onload="document.title = \'owned\'"></svg> & {{ 7 * 7 }} {% raw %} What is a pig?',
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(browser: Chrome, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the small finished run."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert_done(speechmill("report", finished / "run", "--out", path))
    return path


@pytest.fixture(scope="module")
def hostile(browser: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published report of hostile prompts, half of them rejected, and of recordings that no text belongs to."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [
        {"prompt": f"{text} {'Tell me. ' * (18 * (n >= len(HOSTILE)))}", "answer": text}
        for n, text in enumerate(HOSTILE * 2)
    ]
    (folder / "hostile.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "sounds").mkdir()
    for hz in (220, 330):
        tone = 0.3 * np.sin(2 * np.pi * hz * np.arange(11_025 * 2) / 11_025)
        soundfile.write(folder / "sounds" / f"{hz}.wav", tone, 11_025)
    sounds = {"name": "sounds", "path": str(folder / "sounds"), "audio": {"without_text": "keep"}}
    source = {"name": "hostile", "path": str(folder / "hostile.jsonl"), "license": "<b>CC0</b>"}
    pretrain = {"parts": {"sound": 100}, "columns": ["index", "tokens", "text"]}
    recipe = {
        "sources": [source, sounds], "filter": {"strip_markers": False, "rules": [{"length": {"below": 64}}]},
        "mix": {"mixtures": {"all": {"parts": {"speech_instruction": 100}}, "pretrain": pretrain}},
        "export": {"audio": False},
        "noise": {"rows": 0},
    }  # fmt: skip
    assert_done(speechmill("run", write_recipe(folder, report=True, **{**recipe_of(), **recipe}), "--workers", "0"))
    return folder / "run" / "dataset" / "report.html"


def test_it_loads_nothing_and_the_console_is_silent(browser: Chrome, page: Path) -> None:
    requests(browser)
    look(browser, page)
    time.sleep(0.5)  # what is loaded late
    assert requests(browser) == [page.as_uri()]
    assert complaints(browser) == []
    assert browser.title.startswith("small: ")
    assert page.stat().st_size < 15_000_000


def manifest(run: Path, step: str) -> dict[str, Any]:
    """Return a step's manifest."""
    return dict(json.loads((run / step / "manifest.json").read_bytes()))


def test_every_section_has_the_numbers_of_the_manifests(browser: Chrome, page: Path, finished: Path) -> None:
    run = finished / "run"
    look(browser, page)
    told = facts(browser)
    expected: dict[str, int] = {}
    for step in ("read", "filter", "tts", "quantize"):
        counts = manifest(run, step)
        expected |= {f"funnel.{step}.{what}": counts[what] for what in ("rows_in", "rows_kept")}
        for reason, rows in counts["rejected"].items():
            expected |= {f"funnel.{step}.rejected.{reason}": rows, f"rejects.{reason}": rows}
        of_sources = counts["units" if step == "read" else "sources"]  # a source is a unit of read
        for source, of_source in of_sources.items():
            expected[f"source.{source}.after.{step}"] = of_source["rows_kept"]
            if step == "read":
                expected[f"source.{source}.records"] = of_source["rows_in"]
                expected[f"licence.{source}"] = of_source["rows_kept"]
    lock = json.loads((run / "mixture.json").read_bytes())
    for name, mixture in lock["mixtures"].items():
        expected |= {f"mixture.{name}.total": mixture["total"], f"mixture.{name}.sum": mixture["total"]}
        for part, about in mixture["parts"].items():
            expected |= {f"mixture.{name}.{part}.{what}": about[what] for what in ("quota", "available", "chosen")}
            expected[f"mixture.{name}.{part}.in_files"] = about["chosen"]
            assert abs(about["chosen"] - Fraction(about["percent"]) * mixture["total"] / 100) < 1
    expected |= {"refusals.rows": lock["refusals"]["rows"], "refusals.of": lock["refusals"]["of"]}
    expected["pairs"] = sum(mixture["total"] for mixture in lock["mixtures"].values())
    records = [json.loads(p.read_bytes()) for p in (run / "quantize").glob("*-?????.json")]
    tokens = sum(record["facts"]["tokens"] for record in records)
    expected |= {
        "tokens": tokens,
        "cost.quantize.units": len(records),
        "cost.tts.rows": manifest(run, "tts")["rows_in"],
    }
    assert {name: told.get(name) for name in expected} == {name: f"{number:,}" for name, number in expected.items()}
    assert len(expected) > 60
    heard = {name: int(number.replace(",", "")) for name, number in told.items() if name.startswith("heard.speech.")}
    assert sum(heard.values()) == tokens  # the whole of so small a run is read
    voices = [int(number) for name, number in told.items() if name.startswith("voice.")]
    kinds = [int(number) for name, number in told.items() if name.startswith("kind.")]
    assert (sum(kinds), len(voices)) == (manifest(run, "noise")["rows_kept"], int(told["voices"]))
    assert told["fingerprint.filter"] == manifest(run, "filter")["fingerprint"]
    hours = sum(record["facts"]["seconds"] for record in records) / 3600
    assert told["hours"] == f"{hours:.2f}"


def test_a_sample_plays_by_keyboard(browser: Chrome, page: Path) -> None:
    look(browser, page)
    audio, other = browser.find_elements(By.CSS_SELECTOR, "audio")[:2]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].focus()", audio)
    audio.send_keys(Keys.SPACE)
    deadline = time.monotonic() + 10
    while not (at := browser.execute_script("return arguments[0].currentTime", audio)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert at > 0
    browser.execute_script("return arguments[0].play()", other)
    assert browser.execute_script("return [arguments[0].paused, arguments[1].paused]", audio, other) == [True, False]
    assert float(audio.get_attribute("aria-label").split(", ")[1].split()[0]) == pytest.approx(
        browser.execute_script("return arguments[0].duration", audio), abs=0.2
    )


def test_search_and_filters_choose_samples(browser: Chrome, page: Path) -> None:
    look(browser, page)
    samples = browser.find_elements(By.CSS_SELECTOR, ".sample")
    said = browser.find_element(By.CSS_SELECTOR, "form.filters output")
    search = browser.find_element(By.CSS_SELECTOR, "input[name=search]")
    assert shown(browser) == len(samples) > 20
    words = samples[3].find_element(By.CSS_SELECTOR, ".said").text.split()[:3]
    search.send_keys(" ".join(words).upper())
    found = shown(browser)
    assert 0 < found < len(samples)
    assert samples[3].is_displayed()
    assert said.text == f"{found} of {len(samples)} samples"
    search.send_keys(" nowhere-to-be-found")
    assert shown(browser) == 0
    assert browser.find_element(By.CSS_SELECTOR, ".none").is_displayed()
    search.clear()
    search.send_keys(Keys.SPACE, Keys.BACKSPACE)
    task = browser.find_element(By.CSS_SELECTOR, "select[name=task]")
    task.send_keys("inaudible")
    assert {s.get_attribute("data-task") for s in samples if s.is_displayed()} == {"inaudible"}
    assert {s.get_attribute("data-task") for s in samples} >= {"speech_instruction", "transcription", "two_turn"}


def test_every_voice_task_and_length_can_be_heard(browser: Chrome, page: Path) -> None:
    look(browser, page)
    script = (
        "return [...document.querySelectorAll('.sample')].map("
        "(e) => [{...e.dataset}, !!e.querySelector('audio'), !!e.querySelector('.strip')])"
    )
    samples = browser.execute_script(script)
    heard = [about for about, audio, strip in samples if audio and strip]
    voices = int(facts(browser)["voices"])
    assert len({about["voice"] for about in heard}) == voices
    assert {about["length"] for about in heard} == {"short", "middle", "long"}
    assert all(strip for about, _, strip in samples if about["task"] != "text_only")
    silent = browser.find_elements(By.CSS_SELECTOR, "[data-task=inaudible] .silent")
    assert silent
    assert "its sound tokens were drawn" in silent[0].text


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (PHONE, "dark")])
def test_axe_finds_no_serious_fault(browser: Chrome, page: Path, size: tuple[int, int], scheme: str) -> None:
    look(browser, page, size, scheme)
    browser.execute_script("for (const details of document.querySelectorAll('details')) details.open = true")
    assert axe(browser) == []
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= size[0]
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_all_of_it_is_reached_by_keyboard(browser: Chrome, page: Path) -> None:
    look(browser, page)
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    first = browser.switch_to.active_element
    assert first.text == "Skip to the report"
    assert first.is_displayed()
    reached = set()
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.add(browser.switch_to.active_element.tag_name)
    assert {"a", "summary", "div"} <= reached  # sections, rejects, tables that scroll
    summary = browser.find_element(By.CSS_SELECTOR, "details.reason summary")
    summary.send_keys(Keys.ENTER)
    assert browser.find_element(By.CSS_SELECTOR, "details.reason").get_attribute("open")


def test_paper_shows_what_a_click_would(browser: Chrome, page: Path) -> None:
    look(browser, page)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert all(d.get_attribute("open") for d in browser.find_elements(By.CSS_SELECTOR, "details.reason"))
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert not any(d.get_attribute("open") for d in browser.find_elements(By.CSS_SELECTOR, "details.reason"))


def test_hostile_prompts_are_text(browser: Chrome, hostile: Path) -> None:
    requests(browser)
    look(browser, hostile)
    time.sleep(0.5)
    assert requests(browser) == [hostile.as_uri()]
    assert complaints(browser) == []
    assert browser.title.startswith("small: ")
    assert browser.find_elements(By.CSS_SELECTOR, ".owned, bdi > *:not(.mark), .sample svg, .reason svg") == []
    scripts = browser.find_elements(By.TAG_NAME, "script")
    assert len(scripts) == 1
    said = [e.get_attribute("textContent") for e in browser.find_elements(By.CSS_SELECTOR, ".sample .said bdi")]
    rejected = [e.get_attribute("textContent") for e in browser.find_elements(By.CSS_SELECTOR, ".reason .said bdi")]
    marked = str.maketrans(
        {"\u202e": "U+202E", "\u202c": "U+202C", "\x07": "U+0007", "\x1b": "U+001B", "\u200b": "U+200B"}
    )
    for text in HOSTILE:
        assert any(shown.startswith(text.translate(marked)) for shown in said), text
    assert sum(any(r.startswith(text.translate(marked)) for text in HOSTILE) for r in rejected) >= 4
    recordings = browser.find_elements(By.CSS_SELECTOR, "[data-source=sounds]")
    assert len(recordings) == 2
    for sample in recordings:
        assert "(no text belongs to it)" in sample.text
        audio = sample.find_element(By.TAG_NAME, "audio")
        assert browser.execute_script("return arguments[0].duration", audio) == pytest.approx(2, abs=0.1)
    assert facts(browser)["mixture.pretrain.sound.in_files"] == facts(browser)["mixture.pretrain.total"]
    assert "What it cost" not in browser.page_source  # the published one tells nothing of the machine


def test_one_policy_lets_nothing_else_run(browser: Chrome, page: Path) -> None:
    look(browser, page)
    policy = browser.find_element(By.CSS_SELECTOR, "meta[http-equiv]").get_attribute("content")
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "What it cost" in browser.page_source
    script = (
        "const s = document.createElement('script'); s.textContent = 'document.title = \"owned\"';"
        "document.body.append(s);"
        "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i)"
    )
    browser.execute_script(script)
    time.sleep(0.3)
    assert browser.title.startswith("small: ")
    assert len([said for said in complaints(browser) if "Content Security Policy" in said]) >= 2
