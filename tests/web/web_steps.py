"""What the tests of several pages do."""

from __future__ import annotations

import re
from typing import Any

DESKTOP, PHONE = (1280, 860), (390, 844)


def ask(page: Any, question: str) -> None:
    """Ask and wait until the answer is whole."""
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    page.locator("article.turn").last.get_by_role("button", name="Answer again").first.wait_for()


def elsewhere(page: Any, address: str) -> list[str]:
    """Requests that went to another place than the server."""
    return [url for url in page.requested if not re.match(rf"{re.escape(address)}/|data:|blob:", url)]
