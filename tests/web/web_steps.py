"""What the tests of several pages do."""

from __future__ import annotations

import re
from typing import Any

DESKTOP, PHONE = (1280, 860), (390, 844)
KEPT = """() => Object.entries(localStorage).filter(([name]) => name.startsWith('ragtune.conversations')).every(([, kept]) =>
    JSON.parse(kept).flatMap(({ turns }) => turns).flatMap(({ columns }) => columns)
        .every(({ state }) => !['finding', 'reading'].includes(state)))"""
"""Whether all that was asked is kept as it ended: an answer is shown as whole a moment before."""


def ask(page: Any, question: str) -> None:
    """Ask and wait until the answer is whole, and kept by the browser."""
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    page.locator("article.turn").last.get_by_role("button", name="Answer again").first.wait_for()
    page.wait_for_function(KEPT)


def elsewhere(page: Any, address: str) -> list[str]:
    """Requests that went to another place than the server."""
    return [url for url in page.requested if not re.match(rf"{re.escape(address)}/|data:|blob:", url)]
