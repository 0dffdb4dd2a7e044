"""What rules a model out, what speaks for it, and the order in which to try what is left."""

from __future__ import annotations

from datetime import date

import pytest

from ragtune.models.choose import Candidate, Need, choose, memory_needed

TODAY = date(2026, 11, 25)
SMALL = Candidate("small", hosted=False, parameters=135e6, tunable=True, licence="Apache-2.0")
LARGE = Candidate("large", hosted=False, parameters=4e9, tunable=True)
CHEAP = Candidate("vendor:cheap", hosted=True, call=0.0001, tunable=True, tune_until=date(2027, 1, 6), retires=date(2027, 1, 14))
DEAR = Candidate("vendor:dear", hosted=True, call=0.01)
GONE = Candidate("vendor:gone", hosted=True, call=0.0001, retires=date(2026, 10, 23))
UNKNOWN = Candidate("vendor:unknown", hosted=True, call=None)
ALL = (DEAR, GONE, LARGE, UNKNOWN, CHEAP, SMALL)


def fitting(need: Need) -> list[str]:
    return [choice.candidate.name for choice in choose(ALL, need) if choice.fits]


def reasons(name: str, need: Need) -> str:
    return "; ".join(next(choice.reasons for choice in choose(ALL, need) if choice.candidate.name == name))


def test_free_comes_before_paid_and_cheap_before_dear_and_what_retires_soon_last():
    assert fitting(Need(memory=80e9, gpu=True, today=TODAY)) == ["large", "small", "vendor:dear", "vendor:unknown", "vendor:cheap"]


def test_documents_that_may_not_leave_rule_every_hosted_model_out():
    need = Need(privacy="own-machine", memory=80e9, gpu=True, today=TODAY)
    assert fitting(need) == ["large", "small"]
    assert "would leave this machine" in reasons("vendor:dear", need)


def test_a_budget_rules_out_what_costs_more_and_what_has_no_price():
    need = Need(budget=1.0, calls=1000, memory=80e9, gpu=True, today=TODAY)
    assert fitting(need) == ["large", "small", "vendor:cheap"]
    assert "1000 calls cost about $10.00, more than $1.00" in reasons("vendor:dear", need)
    assert "price is not known" in reasons("vendor:unknown", need)


@pytest.mark.parametrize(("memory", "expected"), [(8e9, False), (20e9, True)])
def test_memory_rules_out_what_does_not_fit_it_in_tuning(memory: float, expected: bool):
    assert ("large" in fitting(Need(task="tune", memory=memory, gpu=True, today=TODAY))) is expected
    assert memory_needed(4e9, tuning=True) == pytest.approx(17.6e9)


def test_for_tuning_only_what_can_be_tuned_today_is_left():
    assert fitting(Need(task="tune", memory=80e9, gpu=True, today=TODAY)) == ["large", "small", "vendor:cheap"]
    assert "no new tuning jobs from 2027-01-06 on" in reasons("vendor:cheap", Need(task="tune", today=TODAY))
    assert "vendor:cheap" not in fitting(Need(task="tune", memory=80e9, today=date(2027, 1, 6)))


def test_a_retired_model_is_out_from_its_day_on_and_says_so():
    assert "retired since 2026-10-23" in reasons("vendor:gone", Need(today=TODAY))
    assert "retires on 2027-01-14, in 50 days" in reasons("vendor:cheap", Need(today=TODAY))
    assert "vendor:cheap" not in fitting(Need(today=date(2027, 1, 14)))


def test_a_day_from_which_it_may_be_shut_down_rules_nothing_out_and_says_so():
    perhaps = Candidate("vendor:perhaps", hosted=True, call=0.0, retires=date(2026, 10, 1), may_retire=True)
    first = choose([DEAR, perhaps], Need(today=TODAY))[0]
    assert (first.candidate.name, first.fits) == ("vendor:perhaps", True), "nor is it put last"
    assert "may be shut down from 2026-10-01 on" in "; ".join(first.reasons)


def test_a_budget_for_tuning_counts_the_tuning():
    tuned = Candidate("vendor:tuned", hosted=True, call=0.001, training=7.6, tunable=True)
    unknown = Candidate("vendor:unknown", hosted=True, call=0.001, training=None, tunable=True)
    for budget, fits in ((8.0, False), (9.0, True)):
        choices = {each.candidate.name: each for each in choose([tuned, unknown], Need("tune", budget=budget, today=TODAY))}
        assert choices["vendor:tuned"].fits is fits
        assert "tuning on 500 questions for 4 epochs (1.5 million tokens) costs about $7.60" in choices["vendor:tuned"].reasons[0]
        assert choices["vendor:tuned"].cost == pytest.approx(8.6)
        assert "set tuning.price" in choices["vendor:unknown"].reasons[0]
    assert choose([tuned], Need(budget=2.0, today=TODAY))[0].fits, "which answering costs nothing of"


def test_a_small_model_comes_last_for_a_task_that_asks_for_judgement_and_is_warned_of():
    need = Need(task="judge", memory=80e9, gpu=True, today=TODAY)
    assert fitting(need)[-1] == "small"
    assert "expect little" in reasons("small", need)


def test_large_models_come_late_without_a_gpu():
    need = Need(memory=80e9, gpu=False, today=TODAY)
    assert fitting(need) == ["small", "vendor:dear", "vendor:unknown", "large", "vendor:cheap"]
    assert "slow without a GPU" in reasons("large", need)
