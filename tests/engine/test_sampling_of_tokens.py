"""Temperature, top_p, seeds, stop texts and schemas in the local engine."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from ragtune.engine.choose import Sampler, Writing, choose
from ragtune.engine.huggingface import HuggingFaceEngine
from ragtune.errors import MissingExtraError, SchemaError
from ragtune.prompts import build_messages
from ragtune.types import Passage, Sampling, Span

TEXT = "The pier of Calder is forty metres long."
PASSAGES = [Passage("p1", "d", "t", "T", TEXT, (Span("d", 0, len(TEXT)),), ("c1",))]
PROMPT = build_messages("how long is it?", PASSAGES)
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "maxLength": 8}, "metres": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["answer", "metres"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine(tiny) -> HuggingFaceEngine:
    return HuggingFaceEngine(tiny, device="cpu", dtype="float32")


def answer(engine, limit: int = 40, **sampling):
    *pieces, whole = engine.stream(PROMPT, max_new_tokens=limit, sampling=Sampling(**sampling))
    assert "".join(pieces) == whole.text
    assert all(pieces)
    return whole


def test_a_seed_gives_the_same_answer_again_and_another_seed_another(engine):
    texts = [answer(engine, temperature=1.5, seed=seed).text for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3
    assert answer(engine, temperature=1.5, seed=2**64 + 5).text


def test_without_a_seed_every_answer_is_drawn_anew(engine):
    assert len({answer(engine, temperature=1.5).text for _ in range(4)}) > 1


def test_a_hardly_warm_answer_is_the_greedy_one(engine):
    ((_, greedy),) = engine.generate([PROMPT], max_new_tokens=40)
    for ways in (
        {},
        {"temperature": 1e-4, "seed": 1},
        {"temperature": 1e-40, "seed": 1},
        {"temperature": 5.0, "top_p": 1e-9, "seed": 1},
        {"top_p": 0.5},
    ):
        found = answer(engine, **ways)
        assert (found.text, found.finished) == (greedy.text, greedy.finished)
        assert found.logprob == pytest.approx(greedy.logprob, abs=1e-3)


def test_tokens_are_drawn_as_often_as_the_temperature_says():
    logits = torch.tensor([1.0, 0.0, -1.0, float("-inf")])
    sampler = Sampler(Sampling(temperature=2.0, seed=7))
    counts = Counter(sampler(logits) for _ in range(4000))
    expected = (logits / 2).softmax(-1)
    assert counts[3] == 0
    for token in range(3):
        assert counts[token] / 4000 == pytest.approx(float(expected[token]), abs=0.03)


def test_top_p_draws_from_the_fewest_tokens_that_hold_it():
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    for top_p, drawn in ((0.4, {0}), (0.6, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3})):
        sampler = Sampler(Sampling(temperature=1.0, top_p=top_p, seed=3))
        assert {sampler(probabilities.log()) for _ in range(500)} == drawn


def test_a_draw_does_not_depend_on_the_neighbours_or_the_last_bits():
    logits = torch.randn(3, 200, generator=torch.Generator().manual_seed(1))
    alone, together = (Writing(sampler=Sampler(Sampling(temperature=1.0, top_p=0.9, seed=4))) for _ in range(2))
    others = [Writing(), Writing(sampler=Sampler(Sampling(temperature=1.0)))]
    for _ in range(20):
        (one,) = choose(logits[1:2].clone(), [alone], [None])
        assert one == choose(logits + 1e-6, [others[0], together, others[1]], [None] * 3)[1]
    assert alone.logprob == pytest.approx(together.logprob, abs=1e-3)


def test_an_answer_ends_before_its_stop_text_and_nothing_of_it_is_streamed(engine):
    whole = answer(engine, 60).text
    for at in (0, 5, len(whole) // 2):
        stop = whole[at : at + 4]
        found = answer(engine, 60, stop=("never written", stop))
        assert found.text == whole[: whole.index(stop)]
        assert found.finished
    almost = whole[:6] + "\x00"
    assert answer(engine, 60, stop=(almost,)).text == whole
    assert answer(engine, 60, stop=(whole[-3:] + "\x00",)).text == whole, "what was held back is given when nothing came of it"


def test_what_comes_after_a_stop_text_is_not_written(engine):
    whole = answer(engine, 60)
    cut = answer(engine, 60, stop=(whole.text[3:6],))
    assert cut.completion_tokens < whole.completion_tokens


@pytest.mark.parametrize("ways", [{}, {"temperature": 1.0, "seed": 1}, {"temperature": 3.0, "top_p": 0.9, "seed": 2}])
def test_json_fulfils_its_schema(engine, ways):
    pytest.importorskip("llguidance")
    found = answer(engine, 120, schema=SCHEMA, **ways)
    assert found.finished
    written = json.loads(found.text)
    assert list(written) == ["answer", "metres"]
    assert len(written["answer"]) <= 8
    assert 0 <= written["metres"] < 100


def test_any_object_will_do_for_an_empty_schema(engine):
    pytest.importorskip("llguidance")
    for seed in range(4):
        found = answer(engine, 200, schema={}, temperature=1.0, seed=seed)
        assert found.text.startswith("{")
        if found.finished:
            assert isinstance(json.loads(found.text), dict)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "animal"}, "animal"),
        ({"type": "object", "properties": 3}, "properties"),
        ({"$ref": "http://x/y"}, "http://x/y"),
        ({"a": set()}, "set"),
        ({"$ref": "#"}, "cannot be used"),
    ],
)
def test_a_schema_that_cannot_be_used_is_an_error_that_names_what_is_wrong(engine, schema, said):
    pytest.importorskip("llguidance")
    with pytest.raises(SchemaError, match=said):
        answer(engine, schema=schema)


def test_a_schema_without_llguidance_names_the_extra(engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtraError, match=r"ragtune\[serve\]"):
        answer(engine, schema=SCHEMA)
