"""Ask: stream, open the place, compare, stop, edit, rate, look back."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from web_steps import DESKTOP, PHONE, ask

QUESTION = "Who was the first chair of the Cooperative?"
IN_VIEW = """() => {
    const mark = document.querySelector('dialog.source mark.quoted').getBoundingClientRect();
    const view = document.querySelector('dialog.source [role=region]').getBoundingClientRect();
    return view.top <= mark.top && mark.top <= view.bottom;
}"""
UNANSWERABLE = "What colour is the mayor's bicycle in the year 3000?"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_an_answer_comes_with_its_quote_and_the_quote_opens_its_place(visit: Any, address: str, size: tuple[int, int]) -> None:
    page = visit(address, size=size)
    ask(page, QUESTION)
    assert page.locator(".answer").inner_text().startswith("Agathe Brandlow")
    assert page.locator(".sources li").count() == 5
    page.locator(".citation").first.click()
    panel = page.get_by_role("dialog", name="A short history of the Hallowmere Ropeway and Hut Cooperative")
    mark = panel.locator("mark.quoted")
    assert (
        mark.inner_text() == "The schoolteacher Agathe Brandlow took the minutes and became the first chair, an office she held until 1963."
    )
    assert mark.is_visible()
    page.wait_for_function(IN_VIEW)  # it is scrolled to when it is drawn
    assert "chunk" in panel.locator(".line", has=page.locator("mark.quoted")).get_attribute("class")
    page.keyboard.press("Escape")
    panel.wait_for(state="detached")
    page.wait_for_function("() => document.activeElement.className === 'citation'")
    assert not page.said


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Have the server stop at one of the pauses that it makes: after the search, before the first word, and after each word."""
    go_on, pauses = threading.Event(), itertools.count()

    def hold(at: int) -> None:
        monkeypatch.setattr("stand_in.time", SimpleNamespace(sleep=lambda _: next(pauses) >= at and go_on.wait()))

    yield hold
    go_on.set()


def test_sources_are_shown_before_the_answer_is_written(visit: Any, server: Any, held: Any) -> None:
    held(1)
    page = visit(server.address)
    page.get_by_label("Your question").fill(QUESTION)
    page.keyboard.press("Enter")
    page.locator(".sources li").first.wait_for()
    assert page.get_by_text("Reading 5 passages…").is_visible()
    assert page.locator(".answer").count() == 0


def test_an_answer_is_stopped_and_what_was_written_stays(visit: Any, server: Any, held: Any) -> None:
    held(20)
    page = visit(server.address)
    page.get_by_label("Your question").fill("Answer slowly, please")
    page.keyboard.press("Enter")
    page.locator(".answer.writing", has_text="word word").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Stopped before the answer was whole").wait_for()
    assert page.locator(".answer").inner_text().startswith("word word")
    page.get_by_role("button", name="Answer again").wait_for()


def test_two_models_answer_side_by_side(visit: Any, address: str) -> None:
    page = visit(address)
    page.get_by_role("button", name="Compare with a second model").click()
    ask(page, QUESTION)
    page.get_by_text("A quote was found in no passage.").wait_for()
    left, right = (box for box in (column.bounding_box() for column in page.locator(".columns > .column").all()))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    assert page.locator(".notice del").inner_text() == "as it is stated in the handbook of the Cooperative"


def test_two_models_are_tabs_on_a_phone(visit: Any, address: str) -> None:
    page = visit(address, size=PHONE)
    page.get_by_role("button", name="Compare with a second model").click()
    ask(page, QUESTION)
    assert page.locator(".columns > .column").count() == 1
    page.get_by_role("button", name="base", exact=True).click()
    page.get_by_text("A quote was found in no passage.").wait_for()


def test_an_abstention_is_said_and_the_nearest_passages_are_offered(visit: Any, address: str) -> None:
    page = visit(address)
    ask(page, UNANSWERABLE)
    assert page.locator(".answer").inner_text() == "The documents do not answer this."
    page.locator(".nearest summary").first.click()
    assert page.locator(".nearest .passage").first.is_visible()
    assert page.get_by_role("meter", name="Confidence").get_attribute("aria-valuetext") == "11 %, unlikely in these passages"


def test_the_keyboard_alone_asks_edits_and_lists_the_keys(visit: Any, address: str) -> None:
    page = visit(address, "#/documents")
    page.get_by_role("heading", name="Documents").wait_for()
    page.keyboard.press("/")
    page.wait_for_function("() => document.activeElement?.id === 'question'")
    page.keyboard.type("Who was the first")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("chair?")
    assert page.get_by_label("Your question").input_value() == "Who was the first\nchair?"
    page.get_by_label("Your question").fill(UNANSWERABLE)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Answer again").wait_for()
    page.keyboard.press("ArrowUp")
    page.locator(".editing textarea").fill(QUESTION)
    page.keyboard.press("Enter")
    page.locator(".citation").wait_for()
    assert page.locator("article.turn").count() == 1
    page.locator(".citation").focus()
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard").wait_for()


def test_a_follow_up_sends_what_was_said_before(visit: Any, address: str) -> None:
    page = visit(address)
    ask(page, QUESTION)
    with page.expect_request("**/api/ask") as sent:
        ask(page, "Until when did she hold the office?")
    body = sent.value.post_data_json
    assert body["history"] == [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "Agathe Brandlow"}]
    assert body["conversation"]


def test_conversations_are_kept_searched_and_deleted(visit: Any, address: str) -> None:
    page = visit(address)
    for question in [QUESTION, UNANSWERABLE, "One?", "Two?", "Three?"]:
        ask(page, question)
        page.get_by_role("button", name="New question").click()
    page.reload()
    listed = page.locator(".history li")
    listed.nth(4).wait_for()
    assert listed.count() == 5
    page.get_by_label("Search conversations").fill("brandlow")
    page.wait_for_function("() => document.querySelectorAll('.history li').length === 1")
    page.locator(".history li a").click()
    assert page.locator(".answer").inner_text().startswith("Agathe Brandlow")
    page.locator(".history li").hover()
    page.get_by_role("button", name=f"Delete “{QUESTION}”").click()
    assert page.get_by_role("heading", name="What would you like to know?").is_visible()


def test_a_conversation_is_exported_as_markdown(visit: Any, address: str) -> None:
    page = visit(address)
    ask(page, QUESTION)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    text = download.value.path().read_text("utf-8")
    assert f"## {QUESTION}" in text
    assert "> The schoolteacher Agathe Brandlow" in text


def test_an_answer_is_copied_where_the_browser_lets_a_page_do_that(visit: Any, address: str) -> None:
    page = visit(address)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(page, QUESTION)
    page.get_by_role("button", name="Copy the answer").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "Agathe Brandlow"
    # Over plain HTTP, other than on this machine, a browser has no clipboard.
    page.add_init_script("Object.defineProperty(Navigator.prototype, 'clipboard', { value: undefined })")
    page.reload()
    page.get_by_role("button", name="Answer again").wait_for()
    assert page.get_by_role("button", name="Copy the answer").count() == 0


def test_a_thumb_down_takes_a_reason_and_a_correction(visit: Any, server: Any) -> None:
    page = visit(server.address)
    ask(page, QUESTION)
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_label("It misses something").check()
    page.get_by_label("What would be right?").fill("Agathe Brandlow, until 1963")
    page.get_by_role("button", name="Send").click()
    page.locator("button[aria-label='Bad answer'][aria-pressed=true]").wait_for()
    given = max(server.example.traces.values(), key=lambda trace: trace["id"])["feedback"]
    assert given == {"rating": "down", "reason": "It misses something", "correction": "Agathe Brandlow, until 1963"}


def test_a_thumb_down_says_that_the_documents_do_not_answer(visit: Any, server: Any) -> None:
    page = visit(server.address)
    ask(page, QUESTION)
    page.get_by_role("button", name="Bad answer").click()
    assert page.get_by_label("The documents do answer this").count() == 0
    page.get_by_label("The documents do not answer this").check()
    page.get_by_role("button", name="Send").click()
    page.locator("button[aria-label='Bad answer'][aria-pressed=true]").wait_for()
    given = max(server.example.traces.values(), key=lambda trace: trace["id"])["feedback"]
    assert given["reason"] == "The documents do not answer this"


def test_the_model_and_the_documents_are_chosen(visit: Any, address: str) -> None:
    page = visit(address)
    page.get_by_label("Model", exact=True).select_option("tuned-77b0c1e9")
    page.get_by_role("button", name="Choose documents").click()
    page.get_by_label("Only in").fill("lines/")
    page.get_by_label("of type").select_option("text/markdown")
    with page.expect_request("**/api/ask") as sent:
        ask(page, "How long is the Arvel Link?")
    assert {"model": "tuned-77b0c1e9", "source": "lines/*", "media_type": "text/markdown"}.items() <= sent.value.post_data_json.items()
    assert page.get_by_text("Only in lines/, text/markdown").is_visible()
    assert page.locator(".sources li").count() == 5


@pytest.mark.parametrize("written", ["lines/", "lines/arvel", "lines/arvel-link.md", "arvel", "*arvel-link*", "lines/arvel-lin[k].md"])
def test_documents_are_chosen_by_folder_by_part_of_the_name_and_by_pattern(visit: Any, address: str, written: str) -> None:
    page = visit(address)
    page.get_by_role("button", name="Choose documents").click()
    page.get_by_label("Only in").fill(written)
    ask(page, "How long is the Arvel Link?")
    assert page.locator(".sources li").count() > 0


def test_a_pattern_that_no_document_fits_finds_nothing(visit: Any, address: str) -> None:
    page = visit(address)
    page.get_by_role("button", name="Choose documents").click()
    page.get_by_label("Only in").fill("arvel?")
    ask(page, "How long is the Arvel Link?")
    assert page.locator(".sources li").count() == 0


def test_a_question_is_answered_again(visit: Any, server: Any) -> None:
    page = visit(server.address)
    ask(page, QUESTION)
    known = next(each for each in server.example.questions if each["question"] == QUESTION)
    known["answers"] = ["The schoolteacher"]
    page.get_by_role("button", name="Answer again").click()
    page.locator(".answer", has_text="The schoolteacher").wait_for()
    page.get_by_role("button", name="Answer again").wait_for()
    page.wait_for_function("() => Object.values(localStorage).join().includes('The schoolteacher')")
    assert page.locator("article.turn").count() == page.locator(".answer").count() == 1
    page.reload()
    assert page.locator(".answer").inner_text().startswith("The schoolteacher")


def test_who_may_write_is_told_that_no_tuned_model_serves(visit: Any, server: Any) -> None:
    hint = "No model is tuned on them yet"
    page = visit(server.address)
    page.get_by_text("Answers come from").wait_for()
    assert page.get_by_text(hint).count() == 0
    server.example.models = [model for model in server.example.models if model["kind"] == "base"]
    page.reload()
    page.get_by_text(hint).wait_for()


def test_markdown_is_drawn_with_code_formulas_tables_and_a_diagram(visit: Any, address: str) -> None:
    page = visit(address)
    ask(page, "Show everything that Markdown has")
    page.locator("img.diagram").wait_for()
    page.locator(".katex").first.wait_for()
    page.locator("pre.code span[style]").first.wait_for()
    assert page.locator(".answer table td").first.inner_text() == "1"
    assert page.locator(".katex-error").count() == 0
    assert page.locator("img.diagram").evaluate("image => image.naturalWidth") > 50
    assert not page.said


def test_a_full_queue_says_when_to_come_back(visit: Any, address: str) -> None:
    page = visit(address)
    page.get_by_label("Your question").fill("too many?")
    page.keyboard.press("Enter")
    assert page.get_by_role("alert").inner_text() == "64 questions are waiting already."


def test_two_tabs_keep_each_others_conversations(visit: Any, address: str) -> None:
    first = visit(address)
    second = first.context.new_page()
    second.goto(address)
    second.get_by_label("Your question").wait_for()
    ask(first, QUESTION)
    ask(second, UNANSWERABLE)
    for page in (first, second):
        page.wait_for_function("() => document.querySelectorAll('.history li').length === 2")
    first.reload()
    first.wait_for_function("() => document.querySelectorAll('.history li').length === 2")
