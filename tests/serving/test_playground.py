"""The page at `/`, in a real browser: what it shows, with the keyboard alone, and with bad input."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tiny import UnitScorer

from moos_integrations import ContextCompressor

pytest.importorskip("fastapi")
uvicorn = pytest.importorskip("uvicorn")

from moos_integrations.serving import Limits, create_app  # noqa: E402
from moos_integrations.serving.app import _page, _policy  # noqa: E402

TEXTS = "The lease ended on 30 April. It was cheap.\n---\nBen plays chess. Ada moved to Zurich, far away from all."


def test_the_page_loads_nothing_and_runs_its_own_script_only() -> None:
    page = _page()
    assert "http://" not in page
    assert "https://" not in page
    assert "innerHTML" not in page, "texts are shown as text, never as HTML"
    assert "src=" not in page
    assert page.count("<script>") == page.count("<style>") == 1
    assert " style=" not in page
    assert "script-src 'sha256-" in _policy(page)
    assert "unsafe" not in _policy(page)


class Server:
    """A server on the loopback that can be lost."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._app = create_app(ContextCompressor(UnitScorer()), limits)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/"
        self._server = uvicorn.Server(uvicorn.Config(self._app, log_level="error", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve([self.socket])), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self.socket.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with api.sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"there is no Chromium: {error}")
        yield found
        found.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page of a new server; errors of its script fail the test."""
    servers, pages, errors = [], [], []

    def open_(limits: Limits | None = None, **how: Any) -> tuple[Any, Server]:
        servers.append(Server(limits))
        pages.append(browser.new_page(**how))
        pages[-1].on("pageerror", lambda error: errors.append(str(error)))
        pages[-1].goto(servers[-1].url)
        return pages[-1], servers[-1]

    yield open_
    for page in pages:
        page.close()
    for server in servers:
        server.stop()
    assert not errors


def filled(page: Any, texts: str = TEXTS, question: str = "When did the lease end?") -> None:
    page.fill("#texts", texts)
    page.fill("#question", question)
    page.click("#run")


def says(page: Any, text: str, seconds: float = 60) -> None:
    page.wait_for_function(
        "text => document.getElementById('status').textContent.includes(text)", arg=text, timeout=1000 * seconds
    )


CONTRAST = """() => {
  const linear = (v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (rgb) => { const [r, g, b] = rgb.map(linear);
    return .2126 * r + .7152 * g + .0722 * b; };
  const parsed = (text) => text.match(/[0-9.]+/g).map(Number);
  const ground = (node) => { for (; node; node = node.parentElement) {
      const found = parsed(getComputedStyle(node).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found.slice(0, 3); } return [255, 255, 255]; };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const has = [...node.childNodes].some((own) => own.nodeType === 3 && own.textContent.trim()) || node.value;
    if (!has || !node.checkVisibility()) continue;
    const [a, b] = [light(parsed(getComputedStyle(node).color).slice(0, 3)), light(ground(node))];
    found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), node.tagName + " " + node.className]);
  }
  return found; }"""


@pytest.mark.slow
@pytest.mark.enable_socket
class TestInABrowser:
    def test_it_shows_what_stays_and_why(self, opened: Callable[..., Any]) -> None:
        page, _ = opened()
        filled(page)
        says(page, "tokens are kept")
        kept = "".join(page.locator("li.kept span:not(.gain)").all_text_contents())
        assert kept.split() == page.input_value("#output").split()
        shown = " ".join(page.locator("li .text").all_text_contents())
        assert shown.split() == TEXTS.replace("---", "").split()
        assert page.locator("#documents h3").count() == 2
        assert "$" in page.inner_text("#cost")
        before = page.inner_text("#tokens")
        page.focus("#budget")
        page.keyboard.press("End")
        page.wait_for_function("before => document.getElementById('tokens').textContent !== before", arg=before)
        assert page.inner_text("#share") == "100.0 %"
        page.fill("#price", "5000")
        assert page.inner_text("#cost").count("$") == 2

    def test_the_keyboard_is_enough(self, opened: Callable[..., Any]) -> None:
        page, _ = opened()
        page.keyboard.press("Tab")  # the link
        page.keyboard.press("Tab")
        page.keyboard.insert_text(TEXTS)
        page.keyboard.press("Tab")
        page.keyboard.insert_text("When did the lease end?")
        page.keyboard.press("Control+Enter")
        says(page, "tokens are kept")
        for name in ("budget", "price", "run", "example", "output", "copy"):
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.id") == name
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.keyboard.press("Enter")
        page.wait_for_function("document.getElementById('copied').textContent")
        assert page.evaluate("navigator.clipboard.readText()") == page.input_value("#output")

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [360, 1280])
    def test_all_text_can_be_read(self, opened: Callable[..., Any], scheme: str, width: int) -> None:
        page, _ = opened(color_scheme=scheme, viewport={"width": width, "height": 800})
        filled(page)
        says(page, "tokens are kept")
        found = page.evaluate(CONTRAST)
        assert len(found) > 20
        assert min(found)[0] >= 4.5, min(found)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if os.environ.get("MOOS_SCREENSHOTS"):
            page.screenshot(path=f"{os.environ['MOOS_SCREENSHOTS']}/playground-{scheme}-{width}.png", full_page=True)

    @pytest.mark.parametrize(
        "text",
        [
            "<script>document.title = 'bad'</script> <img src=x onerror=\"document.title = 'bad'\"> <b>bold</b>. So.",
            "</textarea></script><svg onload=\"document.title = 'bad'\">. \x00 \u202e 😀 é. End.",
            "# Heading <i>\n\n* item & item\n* &lt;item&gt; of <a href='javascript:document.title=`bad`'>it</a>",
        ],
    )
    def test_scripts_in_texts_are_text(self, opened: Callable[..., Any], text: str) -> None:
        page, _ = opened()
        title = page.title()
        filled(page, f"{text} {text}", text)
        says(page, "tokens are kept")
        page.wait_for_timeout(50)
        assert page.title() == title
        assert page.locator("#documents :is(script, img, b, svg, i)").count() == 0
        assert "".join(page.locator("li .text").all_text_contents()).split() == page.input_value("#texts").split()

    def test_empty_input_and_a_megabyte(self, opened: Callable[..., Any]) -> None:
        page, _ = opened()
        for nothing in ("", " \n ", "---\n---"):
            filled(page, nothing, "")
            says(page, "Paste a text first.")
        sentences = " ".join(f"Room {i} was painted in {1900 + i % 99}." for i in range(30_000))
        assert len(sentences) > 900_000
        filled(page, sentences)
        says(page, "tokens are kept", seconds=90)
        assert page.locator("li.kept, li.left").count() == 400
        page.click("#more")
        assert page.locator("li.kept, li.left").count() == 800

    def test_a_lost_server_and_a_key(self, opened: Callable[..., Any]) -> None:
        page, server = opened(Limits(api_key="secret"))
        filled(page)
        says(page, "must have the server's key")
        page.fill("#key", "secret")
        page.click("#run")
        says(page, "tokens are kept")
        server.stop()
        page.click("#run")
        says(page, "The server does not answer. Your text is still here")
        assert page.input_value("#texts") == TEXTS
        assert page.input_value("#output"), "the last result stays"
        assert page.is_hidden("#cancel")
