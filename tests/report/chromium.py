"""A headless Chromium that opens pages from disk, and what it did and complained about."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

# axe-core 4.14.1 (Deque Systems, MPL-2.0) as npm has it, for tests alone; the digest is that of its sri-history.json.
AXE = Path(__file__).parent / "axe.min.js"
AXE_SHA256 = "KTSJmUUM3yhJqOcLeRL8LahahJ2jnA0NU5T1HUqe2Vw="
WIDE, PHONE = (1440, 900), (390, 844)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """Start a Chromium and end it; skip where there is none, or no driver."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("no chromium and chromedriver on the PATH: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    try:
        found.set_script_timeout(60)
        yield found
    finally:
        found.quit()


def look(browser: webdriver.Chrome, page: Path, size: tuple[int, int] = WIDE, scheme: str = "light") -> None:
    """Open a page from disk on a screen of a size, in a colour scheme."""
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())


def complaints(browser: webdriver.Chrome) -> list[str]:
    """Return what stands in the console, breaches of the page's policy among it."""
    return [entry["message"] for entry in browser.get_log("browser")]


def requests(browser: webdriver.Chrome) -> list[str]:
    """Return the addresses that were asked for since the last call, but for what lies in the page itself."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [address for address in asked if not address.startswith("data:")]


def facts(browser: webdriver.Chrome) -> dict[str, str]:
    """Return the numbers of a page, by the names that the template gives them."""
    script = "return [...document.querySelectorAll('[data-fact]')].map((e) => [e.dataset.fact, e.textContent])"
    return dict(browser.execute_script(script))


def axe(browser: webdriver.Chrome) -> list[str]:
    """Return the serious and critical findings of axe, each with the places."""
    source = AXE.read_bytes()
    assert base64.b64encode(hashlib.sha256(source).digest()).decode() == AXE_SHA256
    browser.execute_script(source.decode())
    result: dict[str, Any] = browser.execute_async_script("axe.run().then(arguments[0])")
    assert len(result["passes"]) > 20  # it has run
    return [
        f"{found['id']}: {[node['html'][:120] for node in found['nodes'][:3]]}"
        for found in result["violations"]
        if found["impact"] in ("serious", "critical")
    ]


def shown(browser: webdriver.Chrome) -> int:
    """Return how many samples are shown."""
    return sum(sample.is_displayed() for sample in browser.find_elements(By.CSS_SELECTOR, ".sample"))
