"""Make the pictures of the README and of docs/web.md: the pages in Chromium, on the example project with its real answers and figures.

    make demo
    ragtune serve --project demo
    python docs/make_screenshots.py --address http://127.0.0.1:8321 [--folder docs/images]

It asks and rates some of the example's questions first, so that there is something to monitor and to review: serve a copy of the project
where that should not stay. A laptop takes some five minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
DESKTOP, PHONE = (1280, 800), (390, 844)
QUESTION = "When was the evacuation agreement with the fire brigades renewed?"
ASKED_BEFORE = 15
PATIENCE = 180.0
"""Seconds for one answer, on a processor alone."""
MOST_BYTES = 150_000

Keep = Callable[[str, Page], None]


def main() -> None:
    """Write all pictures, each as soon as it is made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True, help="where 'ragtune serve --project demo' answers, after 'make demo'")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs/images")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    address = options.address.rstrip("/")

    def keep(name: str, page: Page) -> None:
        page.wait_for_timeout(800)
        save(page.screenshot(animations="disabled"), options.folder / f"{name}.png")

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        answers(browser, address, keep)
        ask_and_rate(address)
        figures(browser, address, keep)
        browser.close()


def answers(browser: Browser, address: str, keep: Keep) -> None:
    """The pictures of Ask."""
    page = opened(browser, address, DESKTOP, "light")
    ask(page, QUESTION)
    page.locator(".citation").first.click()
    page.locator("dialog.source mark.quoted").wait_for()
    keep("ask", page)
    page = opened(browser, address, PHONE, "light")
    ask(page, QUESTION)
    keep("phone", page)
    page = opened(browser, address, DESKTOP, "dark")
    page.get_by_role("button", name="Compare with a second model").click()
    ask(page, QUESTION, columns=2)
    keep("compare", page)


def ask_and_rate(address: str) -> None:
    """Ask some of the example's questions, and rate the answers as somebody would who knows the right ones."""
    lines = (ROOT / "examples/questions/questions.jsonl").read_text("utf-8").splitlines()
    known = [each for each in map(json.loads, lines) if each["answers"]]
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        for number, each in enumerate(known[:: len(known) // ASKED_BEFORE][:ASKED_BEFORE]):
            events = client.post("/api/ask", json={"question": each["question"]}).raise_for_status().text.splitlines()
            answer = json.loads([line for line in events if line.startswith("data: ")][-1].removeprefix("data: "))
            right = any(text.lower() in answer["answer"].lower() for text in each["answers"])
            print(f"{each['question']} {answer['answer']!r}: {'right' if right else 'wrong'}")
            rating = {"rating": "up"} if right else {"rating": "down", "correction": each["answers"][0]}
            if number % 2 or not right:
                client.post(f"/api/traces/{answer['trace']}/feedback", json=rating).raise_for_status()


def figures(browser: Browser, address: str, keep: Keep) -> None:
    """The pictures of the other pages."""
    page = opened(browser, address, DESKTOP, "light")
    for name, path, sign in [
        ("evaluate", "#/evaluate", ".asked"),
        ("runs", "#/runs/models", ".models li"),
        ("monitor", "#/monitor", ".plot canvas"),
        ("review", "#/monitor/review", ".selectable"),
    ]:
        page.evaluate("path => { location.hash = path; }", path)
        if name == "evaluate":
            page.locator(".evaluations a").first.click()
        page.locator(sign).first.wait_for()
        if name == "runs":
            page.get_by_text("Curves").first.click()
            page.locator(".plot canvas").first.wait_for()
        if name == "monitor":
            page.get_by_label("Time", exact=True).select_option("1")
        keep(name, page)


def opened(browser: Browser, address: str, size: tuple[int, int], scheme: Any) -> Page:
    """A fresh browser profile on the first page."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(f"{address}/")
    page.get_by_label("Your question").wait_for()
    return page


def ask(page: Page, question: str, columns: int = 1) -> None:
    """Ask, and wait for the answer of each model."""
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Answer again").nth(columns - 1).wait_for()
    page.locator("textarea#question").evaluate("node => node.blur()")


def save(picture: bytes, path: Path) -> None:
    """Write it with 128 colours at most: text on plain ground needs no more."""
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}: show less in it")
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
