"""Prometheus: what was answered is what is counted, in a registry that is nobody else's."""

from __future__ import annotations

import pytest

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from made_traces import trace
from ragtune.serve.metrics import Metrics
from ragtune.types import Usage


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (each.name, *(each.labels[label] for label in sorted(each.labels))): each.value for family in families for each in family.samples
    }


def test_answers_are_counted_by_model_and_outcome() -> None:
    metrics = Metrics()
    metrics.observe(trace())
    metrics.observe(trace(seconds_total=7.0, cost=None))
    metrics.observe(trace(abstained=True))
    metrics.observe(trace(abstained=True, withheld=True))
    metrics.observe(trace(model="base", error="busy", usage=Usage(), cost=None))
    metrics.rated("down")
    metrics.rated(None)
    found = samples(metrics)
    assert {key[1:]: value for key, value in found.items() if key[0] == "ragtune_answers_total"} == {
        ("tuned", "answered"): 2, ("tuned", "abstained"): 1, ("tuned", "withheld"): 1, ("base", "error"): 1,
    }  # fmt: skip
    assert found["ragtune_tokens_total", "prompt", "tuned"] == 800
    assert found["ragtune_cost_dollars_total", "tuned"] == pytest.approx(0.003)
    assert found["ragtune_answer_seconds_count", "tuned"] == 4, "an error's time says nothing of an answer's"
    assert found["ragtune_answer_seconds_bucket", "5.0", "tuned"] == 3
    assert found["ragtune_retrieval_seconds_sum",] == pytest.approx(0.08)
    assert (found["ragtune_feedback_total", "down"], found["ragtune_feedback_total", "up"]) == (1, 0)


def test_the_queue_is_asked_when_someone_looks() -> None:
    metrics, load = Metrics(), [(1, 2)]
    metrics.watch_queue(lambda: load[-1])
    load.append((3, 4))
    found = samples(metrics)
    assert (found["ragtune_running",], found["ragtune_waiting",]) == (3, 4)


def test_requests_are_counted_by_route() -> None:
    metrics = Metrics()
    metrics.request("GET", "/api/traces/{id}", 404, 0.2)
    found = samples(metrics)
    assert found["ragtune_requests_total", "GET", "/api/traces/{id}", "404"] == 1
    assert found["ragtune_request_seconds_bucket", "0.25", "/api/traces/{id}"] == 1


def test_a_client_that_names_ever_new_models_makes_no_more_series() -> None:
    metrics = Metrics()
    for number in range(200):
        metrics.observe(trace(model=f"compatible:m{number}", error="no such model"))
    models = {key[1] for key in samples(metrics) if key[0] == "ragtune_answers_total"}
    assert len(models) == 51
    assert samples(metrics)["ragtune_answers_total", "other", "error"] == 150


def test_the_global_registry_is_left_alone_and_servers_share_nothing() -> None:
    before = {each.name for each in REGISTRY.collect()}
    first, second = Metrics(), Metrics()
    first.observe(trace())
    assert {each.name for each in REGISTRY.collect()} == before
    assert not any(key[0] == "ragtune_answers_total" for key in samples(second))
