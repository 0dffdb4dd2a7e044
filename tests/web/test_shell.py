"""What all pages share: keys, scopes, a server that is away, empty projects, colours."""

from __future__ import annotations

from typing import Any

import pytest
from stand_in import StandIn
from web_steps import ask


@pytest.fixture
def started() -> Any:
    servers: list[StandIn] = []

    def start(**options: Any) -> StandIn:
        servers.append(StandIn(pace=0.002, **options).start())
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_key_is_asked_for_and_kept_for_the_tab_alone(visit: Any, started: Any) -> None:
    server = started(keys={"rt-good": ["ask", "read", "write", "admin"]})
    page = visit(server.address)
    prompt = page.get_by_role("dialog", name="This server asks for a key")
    prompt.get_by_label("Key", exact=True).fill("rt-bad")
    prompt.get_by_role("button", name="Go on").click()
    prompt.get_by_text("The server does not know this key").wait_for()
    prompt.get_by_label("Key", exact=True).fill("rt-good")
    prompt.get_by_role("button", name="Go on").click()
    prompt.wait_for(state="detached")
    ask(page, "Who was the first chair of the Cooperative?")
    assert page.evaluate("Object.values(localStorage).join().includes('rt-good')") is False
    assert all("rt-good" not in url for url in page.requested)
    page.reload()
    page.locator(".history").wait_for()
    assert prompt.count() == 0


def test_conversations_are_shown_to_the_key_alone_that_asked(visit: Any, started: Any) -> None:
    server = started(keys={"rt-first": ["ask"], "rt-second": ["ask"]})
    page = visit(server.address)
    entries = page.locator(".history li")

    def enter(key: str) -> None:
        page.evaluate("sessionStorage.removeItem('ragtune.key')")  # as in a tab of its own
        page.goto(f"{server.address}/#/")
        page.reload()
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Go on").click()
        page.get_by_text("Answers come from").wait_for()

    enter("rt-first")
    ask(page, "Who was the first chair of the Cooperative?")
    assert entries.count() == 1
    enter("rt-second")
    assert entries.count() == 0
    assert page.get_by_text("Agathe Brandlow").count() == 0
    ask(page, "How long is the Arvel Link?")
    enter("rt-first")
    assert entries.all_inner_texts() == ["Who was the first chair of the Cooperative?"]
    page.get_by_role("button", name="Delete all").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete all").click()
    entries.wait_for(state="detached")
    enter("rt-second")
    assert entries.all_inner_texts() == ["How long is the Arvel Link?"]
    assert all(word not in page.evaluate("JSON.stringify(localStorage)") for word in ("rt-first", "rt-second", "Agathe"))


def test_a_key_that_is_forgotten_takes_its_conversations_out_of_sight(visit: Any, started: Any) -> None:
    server = started(keys={"rt-good": ["ask"]})
    page = visit(server.address)
    page.get_by_label("Key", exact=True).fill("rt-good")
    page.get_by_role("button", name="Go on").click()
    ask(page, "Who was the first chair of the Cooperative?")
    server.keys = {"rt-other": ["ask"]}
    page.get_by_label("Your question").fill("And the second?")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Forget the key").click()
    page.locator(".answer").wait_for(state="detached")
    assert page.locator(".history li").count() == 0
    page.get_by_role("dialog", name="This server asks for a key").wait_for()


def test_a_key_that_may_only_ask_sees_the_first_page_alone(visit: Any, started: Any) -> None:
    server = started(keys={"rt-reader": ["ask"]})
    page = visit(server.address, "#/runs")
    page.get_by_label("Key", exact=True).fill("rt-reader")
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("This key may not see this page").wait_for()
    assert page.locator(".rail nav a").all_inner_texts() == ["Ask"]


def test_a_key_without_write_is_offered_nothing_that_writes(visit: Any, started: Any) -> None:
    server = started(keys={"rt-reader": ["ask", "read"]})
    page = visit(server.address, "#/documents")
    page.get_by_label("Key", exact=True).fill("rt-reader")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("link", name="Arvel Link").wait_for()
    assert page.get_by_role("button", name="Upload").count() == 0
    page.goto(f"{server.address}/#/runs/models")
    page.get_by_text("tuned-77b0c1e9").wait_for()
    assert page.get_by_role("button", name="Promote").count() == 0


def test_a_server_that_is_away_is_said_and_found_again(visit: Any, address: str) -> None:
    page = visit(address)
    page.locator(".history").wait_for()
    page.context.set_offline(True)
    page.get_by_role("link", name="Documents").click()
    page.get_by_text("The server cannot be reached").first.wait_for()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try now").click()
    page.get_by_text("The server cannot be reached").wait_for(state="detached")
    page.get_by_role("link", name="Arvel Link").wait_for()


@pytest.mark.parametrize(
    ("path", "next_step"),
    [
        ("", "Upload some documents"),
        ("#/documents", "Drop files anywhere on this page"),
        ("#/evaluate", "Start a run"),
        ("#/monitor", "Ask one"),
        ("#/runs", "Choose how"),
        ("#/monitor/review", "wait here for a person"),
    ],
)
def test_an_empty_project_says_what_to_do_next(visit: Any, started: Any, path: str, next_step: str) -> None:
    page = visit(started(empty=True).address, path)
    page.get_by_text(next_step).wait_for()
    assert not page.said


def test_colours_are_chosen_and_kept(visit: Any, address: str) -> None:
    page = visit(address, scheme="light")
    button = page.get_by_role("button", name="Colours")
    button.click()
    button.click()
    page.reload()
    page.get_by_role("button", name="Colours: dark").wait_for()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 21, 23)"
