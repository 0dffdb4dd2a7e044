"""A hostile document and a hostile model: nothing runs, nothing is fetched, nothing is followed.

The content security policy is off in these tests, so that what the pages do themselves is all that holds.
"""

from __future__ import annotations

from typing import Any

import pytest
from web_steps import DESKTOP, PHONE, ask, elsewhere

ACTIVE = """() => [...document.querySelectorAll('*')].flatMap((node) => [
    ...(/^(SCRIPT|IFRAME|OBJECT|EMBED|BASE|META|FORM|STYLE)$/.test(node.tagName) && document.querySelector('#main').contains(node)
        && !node.matches('form.composer, form.why') ? [node.tagName] : []),
    ...[...node.attributes].filter(({ name, value }) => /^on/.test(name) || /^\\s*javascript:/i.test(value)
        || (name === 'src' && /^(https?:)?\\/\\//.test(value)) || (name === 'href' && /^data:/.test(value))).map(({ name }) => name),
])"""


def assert_harmless(page: Any, address: str) -> None:
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert page.evaluate(ACTIVE) == []
    assert elsewhere(page, address) == []
    assert page.url.startswith(address)
    assert not page.said


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_hostile_answer_is_harmless(visit: Any, address: str, size: tuple[int, int]) -> None:
    page = visit(address, size=size, bypass_csp=True)
    ask(page, "Write something hostile")
    page.locator(".katex").first.wait_for()
    assert_harmless(page, address)
    links = page.locator(".answer a[href]")
    assert links.all_inner_texts() == ["fine"]
    assert links.first.get_attribute("rel") == "noopener noreferrer nofollow"
    assert links.first.get_attribute("target") == "_blank"
    assert page.locator(".answer .katex a, .answer .katex img").count() == 0
    assert "<script>window.hacked = 1</script>" in page.locator(".answer").inner_text()


def test_a_diagram_is_an_image_that_asks_for_nothing(visit: Any, address: str) -> None:
    page = visit(address, bypass_csp=True)
    ask(page, "Write something hostile")
    diagram = page.locator("img.diagram").first
    diagram.wait_for()
    assert diagram.get_attribute("src").startswith("data:image/svg+xml")
    assert page.locator(".answer svg, .answer foreignObject").count() == 0
    assert_harmless(page, address)


def test_a_hostile_document_is_harmless_wherever_it_is_shown(visit: Any, address: str) -> None:
    page = visit(address, bypass_csp=True)
    ask(page, "Where is the zyxwv lantern kept?")
    page.locator(".nearest summary").first.click()
    page.locator(".nearest").get_by_role("button", name="Open the document").first.click()
    page.locator("dialog.source .line").first.wait_for()
    assert "<script>window.hacked = 12</script>" in page.locator("dialog.source h2").inner_text()
    assert_harmless(page, address)
    page.goto(f"{address}/#/documents/uploads%2Fhostile.md")
    page.locator(".document-text .line").first.wait_for()
    assert_harmless(page, address)


def test_a_stored_conversation_is_as_harmless_as_a_fresh_one(visit: Any, address: str) -> None:
    page = visit(address, bypass_csp=True)
    ask(page, "Write something hostile")
    page.reload()
    page.locator(".answer .katex").first.wait_for()
    assert_harmless(page, address)


def test_the_policy_allows_the_server_alone(visit: Any, address: str) -> None:
    page = visit(address)
    policy = page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert {"default-src 'none'", "script-src 'self'", "connect-src 'self'", "base-uri 'none'"} <= {
        part.strip() for part in policy.split(";")
    }
    page.evaluate("() => fetch('http://127.0.0.2:9/').catch(() => null)")
    page.evaluate(
        "() => { const script = document.createElement('script'); script.textContent = 'window.hacked = 1'; document.body.append(script); }"
    )
    assert page.evaluate("window.hacked") is None
