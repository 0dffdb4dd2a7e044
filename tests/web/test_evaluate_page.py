"""Evaluate: the decision, the grid, and every question with its answers."""

from __future__ import annotations

from typing import Any

import pytest
from web_steps import DESKTOP, PHONE

ALL_BADGES = """outcome => {
    const badges = [...document.querySelectorAll('.asked .badge')];
    return badges.length > 0 && badges.every(badge => badge.textContent === outcome);
}"""
"""True once every question that is listed has the outcome: the list is fetched anew after a choice."""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_an_evaluation_says_its_decision_and_shows_the_answers(visit: Any, address: str, size: tuple[int, int]) -> None:
    page = visit(address, "#/evaluate", size=size)
    page.get_by_role("link", name="better The tuned model answers better").click()
    page.get_by_role("heading", name="The tuned model answers better.").wait_for()
    assert page.get_by_role("img", name="Difference in F1 +0.38, 95 % interval from +0.29 to +0.46").is_visible()
    assert page.locator(".forest tbody").count() == 4
    page.locator(".asked summary").first.click()
    page.locator(".answers .card").nth(2).wait_for()
    assert page.locator(".answers .card").count() == 3
    page.locator(".shown-passages mark.quoted").first.wait_for()
    page.locator(".shown-passages").get_by_role("button", name="Open the document").first.click()
    page.locator("dialog.source mark.quoted").wait_for()
    assert not page.said


def test_a_sentence_that_was_found_is_not_counted_as_the_model_s_quote(visit: Any, address: str) -> None:
    page = visit(address, "#/evaluate/test-f0142b99")
    page.get_by_label("Outcome").select_option("both right")
    page.wait_for_function(ALL_BADGES, arg="both right")
    page.locator(".asked summary").first.click()
    cards = page.locator(".answers .card")
    cards.first.wait_for()
    base = cards.filter(has=page.locator(".arm-base"))
    base.get_by_text("quotes nothing, its sentence was found").wait_for()
    cards.filter(has=page.locator(".arm-tuned")).get_by_text("1 real quote").wait_for()


def test_strata_and_metrics_change_the_grid(visit: Any, address: str) -> None:
    page = visit(address, "#/evaluate/test-f0142b99")
    before = page.locator(".forest").inner_text()
    page.get_by_label("Metric").select_option("exact_match")
    page.get_by_label("Questions", exact=True).select_option("new_documents")
    assert page.locator(".forest").inner_text() != before


def test_questions_are_filtered_by_outcome_and_words(visit: Any, address: str) -> None:
    page = visit(address, "#/evaluate/test-f0142b99")
    page.get_by_text("60 questions", exact=True).wait_for()
    page.get_by_label("Outcome").select_option("both wrong")
    page.wait_for_function(ALL_BADGES, arg="both wrong")
    page.get_by_label("Search the questions").fill("no such words anywhere")
    page.get_by_text("0 questions", exact=True).wait_for()


def test_the_full_report_is_a_link(visit: Any, address: str) -> None:
    page = visit(address, "#/evaluate/test-f0142b99")
    link = page.get_by_role("link", name="The full report")
    assert link.get_attribute("href") == "api/evaluations/test-f0142b99/report.html"
