"""What a call costs, from the list, from the user, or nothing."""

from __future__ import annotations

import pytest

from ragtune.models.prices import find_price
from ragtune.types import Usage

MILLION = Usage(1_000_000, 1_000_000)


def price(*args, **options):
    pytest.importorskip("genai_prices")
    found = find_price(*args, **options)
    assert found is not None
    return found


def test_a_listed_models_tokens_have_their_vendors_price():
    found = price("openai", "gpt-4o-mini")  # $0.15 and $0.60 a million since July 2024
    assert found(MILLION) == pytest.approx(0.75)
    assert found(Usage()) == 0


def test_a_tuned_model_costs_twice_its_base():
    assert price("openai", "ft:gpt-4o-mini-2024-07-18:org::id")(MILLION) == pytest.approx(2 * 0.75)


def test_the_users_own_price_counts_before_any_other():
    assert price("openai", "gpt-4o-mini", (1.0, 3.0), free=True)(MILLION) == pytest.approx(4.0)


def test_nothing_is_charged_where_it_is_free():
    assert price("openai", "gpt-4o-mini", free=True)(MILLION) == 0


@pytest.mark.parametrize(("provider", "model"), [("openai", "no-such-model"), ("no-such-provider", "m"), (None, "m")])
def test_no_price_is_made_up(provider, model):
    pytest.importorskip("genai_prices")
    assert find_price(provider, model) is None
