"""Monitor: figures over time, traces, and the review queue with evidence marked in the document."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from web_steps import DESKTOP, PHONE


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_traffic_and_drift_are_shown_in_figures_and_words(visit: Any, address: str, size: tuple[int, int]) -> None:
    page = visit(address, "#/monitor", size=size)
    page.get_by_role("img", name="Time to answer. median: from").wait_for()
    page.locator(".plot canvas").nth(5).wait_for()  # drawn after what is said of them
    assert page.locator(".plot canvas").count() == 6
    assert page.get_by_text("its figures may not hold for what is asked now").is_visible()
    page.get_by_label("Time", exact=True).select_option("1")
    page.wait_for_function("() => document.querySelector('.tiles b').textContent.length < 4")
    assert not page.said


def test_the_charts_end_now_and_begin_with_the_first_answer(visit: Any, server: Any) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    asked = server.example.monitor(1)
    first = {**asked["hours"][0], "at": (now - timedelta(hours=5)).isoformat(), "answers": 7, "abstained": 0}
    server.example.monitor = lambda _days: {**asked, "hours": [first]}
    page = visit(server.address, "#/monitor")
    chart = page.get_by_role("img", name="Answers an hour. answers: from 7 to 0, lowest 0, highest 7.")
    chart.wait_for()
    assert page.locator("figure", has=chart).locator(".key b").first.inner_text() == "0"


def test_what_was_stopped_or_failed_says_why(visit: Any, server: Any) -> None:
    newest, before = list(server.example.traces.values())[-1], list(server.example.traces.values())[-2]
    newest.update(answer="", error="the client left", abstained=False)
    before.update(answer="", error="the model ran out of memory", abstained=False)
    page = visit(server.address, "#/monitor/traces")
    page.locator(".traces .answered", has_text="stopped by the asker").wait_for()
    assert page.locator(".traces .answered").nth(1).inner_text() == "the model ran out of memory"
    page.locator(".traces a").first.click()
    page.get_by_text("No whole answer: stopped by the asker.").wait_for()


def test_traces_are_searched_and_opened(visit: Any, address: str) -> None:
    page = visit(address, "#/monitor/traces")
    page.get_by_label("Rating").select_option("up")
    page.get_by_text("3 traces", exact=True).wait_for()
    page.locator(".traces a").first.click()
    page.get_by_text("What the model wrote").click()
    assert "Answer:" in page.locator(".trace .log").inner_text()


def test_only_a_rated_trace_tells_of_a_rating(visit: Any, server: Any) -> None:
    rated, unrated = (next(each for each in server.example.traces.values() if each["rating"] == rating) for rating in ("up", None))
    page = visit(server.address, f"#/monitor/traces/{rated['id']}")
    page.locator(".trace .notice", has_text="Thumbs up").wait_for()
    page.goto(f"{server.address}/#/monitor/traces/{unrated['id']}")
    page.get_by_role("heading", name=unrated["question"]).wait_for()
    assert page.get_by_text("Thumbs").count() == 0


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_reviewed_answer_is_accepted_with_its_evidence(visit: Any, server: Any, size: tuple[int, int]) -> None:
    page = visit(server.address, "#/monitor/review", size=size)
    accept = page.get_by_role("button", name="Accept")
    accept.wait_for()
    page.get_by_label("The right answer").fill("14 March 1951\nMarch 14, 1951")
    assert accept.is_disabled()
    page.get_by_role("button", name="Another document").click()
    page.get_by_label("Search the documents").fill("hostile")
    page.locator(".other").get_by_role("button", name="Hostile").click()
    words = "kept behind <b>the third</b> door. 🏮"
    page.get_by_label("Words of the document").fill(words)
    page.get_by_role("button", name="Mark these words").click()
    # And a selection that begins after a character outside of the basic plane, as a mouse makes it.
    page.evaluate(
        """() => {
            const line = [...document.querySelectorAll('.selectable .line')].find((each) => each.textContent.includes('ledger says'));
            const range = document.createRange();
            range.setStart(line.firstChild, 4);
            range.setEnd(line.firstChild, 16);
            getSelection().removeAllRanges();
            getSelection().addRange(range);
            line.dispatchEvent(new MouseEvent('mouseup', { bubbles: true }));
        }"""
    )
    page.get_by_role("button", name="Mark the selection").click()
    assert page.locator(".marked li").count() == 2
    accept.click()
    page.get_by_text("2 answers", exact=True).wait_for()
    assert page.locator(".notice.warning", has_text="the evidence does not hold the answer's words").is_visible()
    decided = next(iter(server.example.decided.values()))
    text = server.example.documents["uploads/hostile.md"]["text"]
    assert decided["answers"] == ["14 March 1951", "March 14, 1951"]
    assert [text[span["start"] : span["end"]] for span in decided["evidence"]] == [words, "zyxwv ledger"]


def test_a_question_that_the_documents_do_not_answer_is_accepted_as_such(visit: Any, server: Any) -> None:
    page = visit(server.address, "#/monitor/review")
    page.get_by_label("The documents do not answer this").check()
    page.get_by_role("button", name="Accept").click()
    page.get_by_text("2 answers", exact=True).wait_for()
    decided = next(iter(server.example.decided.values()))
    assert decided["answers"] == decided["evidence"] == []


def test_who_rated_it_so_has_said_already_that_the_documents_do_not_answer(visit: Any, server: Any) -> None:
    item = next(each for each in server.example.reviews.values() if each["state"] == "open")
    item["reason"] = "It is wrong; The documents do not answer this"
    page = visit(server.address, f"#/monitor/review/{item['id']}")
    page.get_by_role("button", name="Accept").click()
    page.get_by_text("2 answers", exact=True).wait_for()
    assert server.example.decided[item["id"]]["answers"] == []


def test_a_follow_up_is_reviewed_with_what_was_said_before_it(visit: Any, server: Any) -> None:
    item = next(each for each in server.example.reviews.values() if each["state"] == "open")
    item["history"] = [{"role": "user", "content": "Who was the first chair?"}, {"role": "assistant", "content": "Agathe Brandlow"}]
    page = visit(server.address, f"#/monitor/review/{item['id']}")
    before = page.get_by_role("list", name="What was said before")
    before.wait_for()
    assert before.get_by_role("listitem").all_inner_texts() == ["Asked: Who was the first chair?", "Answered: Agathe Brandlow"]
    assert before.bounding_box()["y"] < page.get_by_role("heading", name=item["question"]).bounding_box()["y"]


@pytest.mark.parametrize(
    ("kept", "hint"),
    [("When did ▮▮▮ sign?", "A part of the question was redacted"), ("", "Write the question: it was not kept")],
    ids=["redacted", "not kept"],
)
def test_a_question_that_cannot_be_learnt_as_it_was_kept_is_written_anew(visit: Any, server: Any, kept: str, hint: str) -> None:
    item = next(each for each in server.example.reviews.values() if each["state"] == "open")
    item["question"] = kept
    page = visit(server.address, f"#/monitor/review/{item['id']}")
    page.get_by_label("The documents do not answer this").check()
    page.get_by_text(hint).wait_for()
    assert page.get_by_role("button", name="Accept").is_disabled()
    page.get_by_label("The question", exact=False).fill("When did the first chair sign?")
    page.get_by_role("button", name="Accept").click()
    page.get_by_text("2 answers", exact=True).wait_for()
    assert server.example.decided[item["id"]]["question"] == "When did the first chair sign?"


def test_an_item_is_dismissed(visit: Any, server: Any) -> None:
    page = visit(server.address, "#/monitor/review")
    page.get_by_role("button", name="Dismiss").click()
    page.get_by_text("2 answers", exact=True).wait_for()
    assert [item["state"] for item in server.example.reviews.values()].count("dismissed") == 1
