"""axe finds nothing, on every page, in light and dark, on a desktop and on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from web_steps import DESKTOP, PHONE, ask

AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"
PLACES = {
    "documents": ("#/documents", ".documents li"),
    "document": ("#/documents/lines%2Farvel-link.md", ".line"),
    "evaluations": ("#/evaluate", ".evaluations li"),
    "evaluation": ("#/evaluate/test-f0142b99", ".asked"),
    "runs": ("#/runs", ".jobs li"),
    "run": ("#/runs/job/job-1", ".plot canvas"),
    "models": ("#/runs/models", ".models li"),
    "new run": ("#/runs/new", ".preset"),
    "monitor": ("#/monitor", ".plot canvas"),
    "traces": ("#/monitor/traces", ".traces li"),
    "trace": ("#/monitor/traces/t00008", ".trace"),
    "review": ("#/monitor/review", ".selectable"),
}

pytestmark = pytest.mark.skipif(not AXE.is_file(), reason="needs axe: npm ci in web/")


def assert_accessible(page: Any, where: str) -> None:
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    told = [f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes'][:3]]}" for each in found]
    assert not told, f"{where}: " + "\n".join(told)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_on_the_pages(visit: Any, address: str, scheme: str, size: tuple[int, int]) -> None:
    page = visit(address, size=size, scheme=scheme)
    for where, (path, sign) in PLACES.items():
        page.evaluate("path => { location.hash = path; }", path)
        page.locator(sign).first.wait_for()
        assert_accessible(page, where)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_while_asking(visit: Any, address: str, scheme: str, size: tuple[int, int]) -> None:
    page = visit(address, size=size, scheme=scheme)
    page.get_by_label("Your question").wait_for()
    assert_accessible(page, "welcome")
    ask(page, "Who was the first chair of the Cooperative?")
    page.get_by_role("button", name="Bad answer").click()
    assert_accessible(page, "answer")
    page.locator(".citation").click()
    page.locator("dialog.source mark.quoted").wait_for()
    assert_accessible(page, "source")
    page.keyboard.press("Escape")
    ask(page, "Show everything that Markdown has")
    page.locator("img.diagram").wait_for()
    page.locator("pre.code span[style]").first.wait_for()
    assert_accessible(page, "markdown")
    ask(page, "What colour is the mayor's bicycle?")
    page.locator(".nearest summary").first.click()
    assert_accessible(page, "not answered")
