"""The hosted catalog: dates that a user must read before money is spent."""

from __future__ import annotations

from datetime import date

import pytest

from ragtune.hosted.providers import split_name
from ragtune.models.hosted import HOSTED, READ, find_hosted, warn
from ragtune.project import list_hosted

MINI = "openai:gpt-4.1-mini-2025-04-14"


def test_every_model_has_a_known_provider_and_successors_are_not_gone_themselves():
    for model in HOSTED.values():
        assert split_name(model.id)[1]
        successor = HOSTED.get(model.successor or "")
        assert successor is None or successor.retires is None or successor.retires > READ, model.id


@pytest.mark.parametrize(
    ("today", "sentences"),
    [
        (date(2026, 6, 1), ["new tuning jobs on {} end on 2027-01-06; only organisations that tune already may start jobs"]),
        (
            date(2026, 11, 25),
            [
                "{} is shut down on 2027-01-14, in 50 days, and every model tuned from it too; openai:gpt-6-luna is to take its place",
                "new tuning jobs on {} end on 2027-01-06; only organisations that tune already may start jobs",
            ],
        ),
        (
            date(2027, 1, 14),
            ["{} was shut down on 2027-01-14; openai:gpt-6-luna is to take its place", "new tuning jobs on {} ended on 2027-01-06"],
        ),
    ],
)
def test_what_retires_is_said_before_it_is_tuned(today, sentences):
    assert warn(MINI, today, tune=True) == [sentence.format(MINI) for sentence in sentences]


def test_a_tuned_model_goes_with_its_base():
    assert find_hosted("openai:ft:gpt-4.1-mini-2025-04-14:acme::1") == HOSTED[MINI]
    assert "is shut down on 2027-01-14" in warn("openai:ft:gpt-4.1-mini-2025-04-14:acme::1", date(2026, 12, 1))[0]


def test_what_stays_is_passed_over_in_silence_and_what_cannot_be_tuned_or_is_unknown_is_said():
    assert warn("openai:gpt-6-luna", READ) == []
    assert warn("openai:gpt-6-luna", READ, tune=True) == ["openai:gpt-6-luna cannot be tuned, as far as ragtune knows"]
    assert warn("together:meta/llama", READ) == []
    assert "only its vendor says" in warn("together:meta/llama", READ, tune=True)[0]
    assert "may be shut down on 2027-05-19" in warn("vertex:gemini-3.5-flash", date(2027, 3, 1))[0]


def test_the_list_has_prices_where_they_are_known():
    pytest.importorskip("genai_prices", reason="genai-prices is not installed")
    listed = {entry["id"]: entry for entry in list_hosted()}
    assert (listed[MINI]["prompt_price"], listed[MINI]["training_price"]) == (0.4, 5.0)
    assert listed["openai:text-embedding-3-small"]["completion_price"] is None
