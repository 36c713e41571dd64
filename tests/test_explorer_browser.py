"""The explorer in a real browser: hostile texts, what axe-core finds, the keyboard, a phone's width, and how much is sent."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn

from recsys_core.explorer.app import create_app
from recsys_core.warehouse import connect
from tests.explorer_shop import ANA, BEN, FIRST, SECOND, publish, titles
from tests.hostile_texts import TEXTS
from tests.test_explorer import everybody

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PAGES = [
    "",
    "topics",
    "topic/11",
    "topic/100",
    "visitors",
    "models?a=blend-1&b=blend-2",
    "nights",
    "find?q=0",
    "topic/12",
    "?ds=2024-04-01",
    f"user/{ANA}",
    f"user/{BEN}",
    f"user/{ANA}/compare?before={FIRST}&after={SECOND}",
]
MOST_BYTES = 200_000

pytestmark = [pytest.mark.ui, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The explorer's address, over a shop of hostile texts."""
    url = f"duckdb:///{tmp_path_factory.mktemp('explorer')}/w.duckdb"
    with connect(url) as warehouse:
        publish(warehouse, texts=TEXTS)

    @contextmanager
    def source() -> Iterator[Any]:
        with connect(url) as warehouse:
            yield warehouse.query

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(source, titles, everybody), "127.0.0.1", port, log_level="warning", lifespan="off"))
    running = threading.Thread(target=server.run)
    running.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    running.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("browser")), executable_path=CHROMIUM, args=FLAGS, viewport={"width": 390, "height": 844}
        )
        yield found
        found.close()


def test_pages_are_for_everybody_and_hostile_texts_do_nothing(site: str, browser: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page, said, asked = browser.new_page(), [], []
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    for n, path in enumerate(PAGES):
        language = ("en", "zh")[n % 2]
        answer = page.goto(f"{site}/{language}/{path}")
        assert len(answer.body()) < MOST_BYTES, path
        assert page.evaluate("document.documentElement.scrollWidth") == 390, path  # a phone scrolls down only
        found = Axe().run(page, options={"resultTypes": ["violations"]})
        assert not found.response["violations"], f"{path}\n{found.generate_report()}"
        assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "1120px"  # the style sheet is in use
    # The one refused page is told in the console; nothing else is, and nobody else was asked for anything.
    assert [text for text in said if "404" not in text] == []
    assert {url.split("/", 3)[2] for url in asked} == {site.removeprefix("http://")}
    page.close()


def test_somebody_with_a_keyboard_finds_a_user_and_turns_back_a_night(site: str, browser: Any) -> None:
    page = browser.new_page()
    page.goto(f"{site}/en/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.get_by_role("searchbox").focus()
    page.keyboard.type(ANA[:6])
    page.keyboard.press("Enter")
    page.get_by_role("link", name=ANA[:16]).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/en/user/{ANA}?ds={SECOND}")
    page.get_by_role("link", name="Earlier night").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/en/user/{ANA}?ds={FIRST}&horizon=90d")
    page.get_by_role("link", name="中文").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/zh/user/{ANA}?ds={FIRST}&horizon=90d")
    assert "国际象棋" in page.locator("main").inner_text()
    page.close()


FOCUSABLE = (
    "main a, main button, main input:not([type=hidden]), main select, main summary, main [tabindex='0'], header a, header input, .skip"
)
WHERE = """() => { const e = document.activeElement, s = getComputedStyle(e);
  return [Array.from(document.querySelectorAll(FOCUSABLE)).indexOf(e), s.outlineStyle != 'none' && parseFloat(s.outlineWidth) > 0] }"""


def test_tab_alone_reaches_everything_and_shows_where_it_is(site: str, browser: Any) -> None:
    page = browser.new_page()
    for path in ("", f"user/{ANA}", "topic/11", "models?a=blend-1&b=blend-2", "nights"):
        page.goto(f"{site}/en/{path}")
        wanted = page.evaluate(f"Array.from(document.querySelectorAll(`{FOCUSABLE}`)).filter(e => e.checkVisibility()).length")
        reached: dict[int, bool] = {}
        for _ in range(3 * wanted):  # a field of a date has three parts
            page.keyboard.press("Tab")
            at, seen = page.evaluate(WHERE.replace("FOCUSABLE", f"`{FOCUSABLE}`"))
            reached[at] = reached.get(at, False) or seen
            if len(reached.keys() - {-1}) == wanted:
                break
        assert len(reached.keys() - {-1}) == wanted, path
        assert all(seen for at, seen in reached.items() if at >= 0), path
    page.close()


@pytest.mark.parametrize("text", ["<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "茶"])
def test_what_was_looked_for_stands_on_the_page_as_it_was_typed(site: str, browser: Any, text: str) -> None:
    page = browser.new_page()
    page.goto(f"{site}/en/find?q={quote(text)}")
    assert page.locator("h1").inner_text() == f"Find: {text}"
    assert page.get_by_role("searchbox").input_value() == text
    page.close()


def test_no_script_can_run_even_if_one_got_into_a_page(site: str, browser: Any) -> None:
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{site}/en/")
    page.evaluate("() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s) }")
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for text in said)
    page.close()


def test_the_style_is_a_file_of_its_own() -> None:
    pages = Path(__file__).resolve().parent.parent / "recsys_core/explorer/pages"
    assert not [path.name for path in pages.glob("*.j2") if "style=" in path.read_text() or "<script" in path.read_text()]
