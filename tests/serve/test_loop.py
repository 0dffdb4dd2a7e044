"""The loop, end to end: asked, thumbs down, corrected, retrained, gated, promoted, answered right, rolled back.

With a model that learns: it is small, and its facts are few, so that a minute of training has them by heart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("torch", reason="torch is not installed")

from fastapi.testclient import TestClient

from ragtune import Project
from ragtune.errors import EvaluationError
from ragtune.prompts import build_messages
from ragtune.serve.app import create_app
from tiny_models import save_embedder, save_learner
from tiny_project import PLACES, builder, document, fact, write_project, write_sources

PLACE, THING = "Calder", "tower"
QUESTION = f"Who built the {THING} of {PLACE}?"
SETTINGS = [
    "retrieve.k=1", "retrieve.dense_weight=0", "dataset.p_oracle=1",
    "train.epochs=50", "train.learning_rate=0.006", "train.rank=16", "train.warmup=0.1", "train.rehearsal=0",
    "generate.max_new_tokens=48", "evaluate.arms=['base', 'tuned']", "evaluate.contexts=['retrieved']",
]  # fmt: skip


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose model learned all facts but one, was evaluated, and serves."""
    root = tmp_path_factory.mktemp("loop")
    texts = [document(place, 3, 4) for place in PLACES[:3]]
    chat = save_learner(root / "chat", [*texts, *(message.content for message in build_messages(QUESTION, []))])
    sources = write_sources(root / "sources", places=3, facts=3, filler=4)
    asked = [json.loads(line) for line in sources.questions.read_text().splitlines()]
    kept = [each for each in asked if each["answers"] and each["question"] != QUESTION]
    sources.questions.write_text("".join(json.dumps(each) + "\n" for each in kept))
    path = write_project(root / "project", sources, chat, save_embedder(root / "embedder", texts))
    project = Project(path, overrides=SETTINGS)
    project.ingest()
    project.dataset(name="before")
    project.train(name="first")
    project.evaluate(name="first-evaluated", model="first")
    project.promote("first")
    return project


@pytest.fixture(scope="module")
def client(deployed: Project) -> Iterator[TestClient]:
    with TestClient(create_app(deployed), base_url="http://127.0.0.1") as made:
        yield made


def ask(client: TestClient, question: str = QUESTION) -> dict[str, Any]:
    """What the page is told."""
    text = client.post("/api/ask", json={"question": question}).text
    (answer,) = [part.partition("data: ")[2] for part in text.split("\n\n") if part.startswith("event: answer")]
    return dict(json.loads(answer))


def test_what_was_answered_wrong_is_answered_right_after_it_was_corrected(deployed: Project, client: TestClient) -> None:
    right = builder(PLACE, THING)
    wrong = ask(client)
    assert (wrong["model"], wrong["passages"][0]["document"]) == ("first", f"{PLACE.lower()}.md")
    assert wrong["answer"] != right, "the test proves nothing otherwise"

    client.post(f"/api/traces/{wrong['trace']}/feedback", json={"rating": "down", "correction": right})
    item = next(each for each in client.get("/api/review").json()["items"] if each["trace"] == wrong["trace"])
    assert "thumbs down" in item["why"]

    passage = item["passages"][0]
    start = passage["start"] + passage["text"].index(fact(PLACE, THING))
    marked = {"document": passage["document"], "start": start, "end": start + len(fact(PLACE, THING))}
    decision = {"decision": "accept", "answers": [item["correction"]], "evidence": [marked]}
    assert client.post(f"/api/review/{item['id']}", json=decision).json()["warnings"] == []

    made = deployed.dataset(name="after")
    assert made.figures["reviewed"] == {"train": 1, "validation": 0}
    tests = [deployed.workspace.artifact("datasets", name) / "test.jsonl" for name in ("before", "after")]
    assert tests[0].read_bytes() == tests[1].read_bytes()
    deployed.train(name="second")
    assert ask(client)["answer"] == wrong["answer"], "what is trained does not serve by itself where something was promoted"

    refused = deployed.promote("second", against="first-evaluated", fail_if=["retrieved.f1 < 2"])
    assert (refused.refused, refused.served) == (("retrieved.f1 < 2",), "first")
    assert ask(client)["model"] == "first"
    gate = {"against": "first", "fail_if": ["retrieved.f1 < 2"], "note": "knows the tower"}
    assert client.post("/api/models/second/promote", json=gate).json()["refused"] == ["retrieved.f1 < 2"]
    assert ask(client)["model"] == "first"
    done = client.post("/api/models/second/promote", json={**gate, "fail_if": ["retrieved.f1 < -0.9"]}).json()
    assert (done["served"], done["previous"], done["refused"]) == ("second", "first", [])

    beside_base = deployed.compare_evaluated("base", ["retrieved.f1 < -0.9", "retrieved.f1 < 2"], model="second")
    assert [each.holds for each in beside_base.conditions] == [False, True]
    assert (beside_base.model, beside_base.evaluation) == ("second", beside_base.against)
    with pytest.raises(EvaluationError, match="no answers of the arm base-fewshot"):
        deployed.compare_evaluated("base-fewshot", model="second")

    corrected = ask(client)
    assert (corrected["model"], corrected["answer"]) == ("second", right)
    assert corrected["citations"][0]["quote"] == fact(PLACE, THING)

    assert client.post("/api/rollback", json={"note": "for the test"}).json()["served"] == "first"
    assert ask(client)["answer"] == wrong["answer"]
    actions = [(each["action"], each["model"]) for each in client.get("/api/audit").json()["entries"]]
    assert actions == [("rollback", "first"), ("promote", "second"), ("refused", "second"), ("refused", "second"), ("promote", "first")]

    seen = client.get("/api/monitor").json()
    assert (seen["evaluation"] is not None, seen["totals"]["down"], seen["review_open"] < seen["totals"]["answers"]) == (True, 1, True)
    assert seen["drift"]["scores"]["baseline"] == seen["drift"]["questions"]["baseline"] == 2
    assert seen["drift"]["scores"]["verdict"] == "too few questions"
