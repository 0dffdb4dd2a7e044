"""A real browser on the built pages. They talk to the stand-in of web/dev; point ``address`` elsewhere to try another server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from web_steps import DESKTOP, PHONE

from waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "web/dev"))
CHROMIUM = shutil.which("chromium")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="needs chromium")
    for item in items:
        if CHROMIUM is None and "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(skip)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One a module: its event loop must be gone before tests of other modules run coroutines."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE_S * 1000)
        yield started
        started.close()


@pytest.fixture
def server() -> Iterator[Any]:
    from stand_in import StandIn

    started = StandIn(pace=0.002).start()
    yield started
    started.shutdown()
    started.server_close()


@pytest.fixture
def address(server: Any) -> str:
    """Where the pages are."""
    return server.address


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page in a fresh profile; what it asked for and what it complained about are on ``page.requested`` and ``page.said``."""
    contexts = []

    def opened(address: str, path: str = "", *, size: tuple[int, int] = DESKTOP, scheme: str = "light", **options: Any) -> Any:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce", has_touch=size == PHONE, **options
        )
        context.set_default_timeout(PATIENCE_S * 1000 / 4)
        contexts.append(context)
        page = context.new_page()
        page.requested, page.said = [], []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.goto(f"{address}/{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
