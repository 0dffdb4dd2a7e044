"""Runs: presets and settings, a run as it goes, models, promotion and what was done by whom."""

from __future__ import annotations

import time
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
from web_steps import DESKTOP, PHONE

from waiting import until


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """By which the server's runs go, in seconds; it moves when it is set."""
    at = [0.0]
    monkeypatch.setattr("example_data.time", SimpleNamespace(monotonic=lambda: at[0], sleep=time.sleep))
    return at


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_run_is_started_watched_over_a_reload_and_stopped(visit: Any, server: Any, clock: list[float], size: tuple[int, int]) -> None:
    page = visit(server.address, "#/runs/new", size=size)
    page.get_by_role("radio", name="A quick look").check()
    page.get_by_label("Passes over the data").fill("3")
    page.get_by_label("Others, one").fill("train.seed=3")
    page.get_by_role("button", name="Start").click()
    page.get_by_role("heading", name="Everything: data, training, evaluation").wait_for()
    clock[0] = 4.0  # of the eight that it takes
    page.get_by_role("img", name="Loss.").wait_for()
    page.reload()
    page.get_by_role("img", name="Loss.").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.locator(".state.stopped").wait_for()
    started = list(server.example.jobs.values())[-1]
    assert started["settings"] == {"train.max_answers": 200, "train.epochs": 3, "train.seed": 3} | started["settings"]
    page.get_by_role("button", name="Resume").click()
    page.locator(".state.running").wait_for()
    clock[0] = 20.0
    page.locator(".state.done").wait_for()
    assert len(server.example.jobs) == 4, "it goes on under its own id"
    assert not page.said


def test_a_run_is_followed_on_where_the_server_ends_the_stream_as_it_stops(visit: Any, server: Any, clock: list[float]) -> None:
    whole, asked = server.example.job_events, []

    def ending(name: str) -> Any:
        asked.append(name)
        return islice(whole(name), 2) if len(asked) == 1 else whole(name)

    server.example.job_events = ending
    job = server.example.start_job("ingest", {}, {})["id"]
    page = visit(server.address, f"#/runs/job/{job}")
    page.locator(".state.running").wait_for()
    until(lambda: len(asked) > 1)
    clock[0] = 20.0
    page.locator(".state.done").wait_for()
    assert asked == [job, job]


def test_a_run_that_is_not_kept_is_said_to_be_gone(visit: Any, address: str) -> None:
    page = visit(address, "#/runs/job/job-99")
    assert "there is no job 'job-99'" in page.get_by_role("alert").inner_text()
    page.get_by_role("main").get_by_role("link", name="Runs").click()
    page.locator(".jobs li").first.wait_for()


@pytest.mark.parametrize(
    ("line", "said"),
    [("trane.seed=3", "there is no setting 'trane.seed'"), ("seed 3", "is not of the form name=value")],
    ids=["unknown", "malformed"],
)
def test_a_bad_setting_is_said_where_it_was_written(visit: Any, address: str, line: str, said: str) -> None:
    page = visit(address, "#/runs/new")
    page.get_by_label("Others, one").fill(line)
    page.get_by_role("button", name="Start").click()
    assert said in page.get_by_role("alert").inner_text()
    assert page.get_by_label("Others, one").input_value() == line


def test_models_are_compared_promoted_and_rolled_back(visit: Any, address: str) -> None:
    page = visit(address, "#/runs/models")
    page.get_by_label("Curves of tuned-1fdca424").check()
    page.get_by_label("Curves of tuned-77b0c1e9").check()
    curves = page.get_by_role("img", name="Validation loss. tuned-1fdca424: from")
    curves.wait_for()
    page.get_by_role("button", name="Promote tuned-77b0c1e9").click()
    page.get_by_label("Compare with").select_option("tuned-1fdca424")
    page.get_by_role("dialog").get_by_role("button", name="Promote").click()
    page.locator(".notice.warning", has_text="Not promoted, because retrieved.f1 < -0.02: tuned-1fdca424 goes on.").wait_for()
    page.get_by_role("button", name="Promote tuned-77b0c1e9").click()
    page.get_by_label("Why, for those who come after").fill("lower loss")
    page.get_by_role("dialog").get_by_role("button", name="Promote").click()
    page.get_by_text("promoted tuned-77b0c1e9 in place of tuned-1fdca424").wait_for()
    assert page.locator(".notice.warning", has_text="tuned-77b0c1e9 was never evaluated in this project").is_visible()
    assert page.locator("li.served .title").inner_text() == "tuned-77b0c1e9"
    page.get_by_role("button", name="Promote tuned-1fdca424").click()
    offered = page.get_by_label("Compare with")
    offered.get_by_role("option", name="base-fewshot").wait_for(state="attached")
    assert offered.get_by_role("option").all_inner_texts()[:3] == ["nothing", "base", "base-fewshot"]
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    page.get_by_text("rolled back to tuned-1fdca424").wait_for()


def test_the_record_of_a_run_is_deleted(visit: Any, server: Any) -> None:
    page = visit(server.address, "#/runs")
    page.get_by_text("the disk is full: free 2 GB and resume").wait_for()
    page.get_by_role("button", name="Delete the record of Evaluate").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_text("the disk is full").wait_for(state="detached")
    assert "job-3" not in server.example.jobs
