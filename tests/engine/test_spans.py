from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from ragtune.engine.huggingface import HuggingFaceEngine
from ragtune.engine.spans import SpanConstraint
from ragtune.prompts import build_messages, parse_answer
from ragtune.quotes import check_quote
from ragtune.types import Passage, Span

TEXTS = ("The café stands on\nMain Street, above the “Old” mill.", 'She said "no" twice in 1999, and 日本 was far.')
PASSAGES = [Passage(f"p{i}", "d", "t", "", text, (Span("d", 0, len(text)),), (f"c{i}",)) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def engine(tiny) -> HuggingFaceEngine:
    return HuggingFaceEngine(tiny, device="cpu", dtype="float32")


@pytest.fixture
def constraint(engine) -> SpanConstraint:
    return SpanConstraint(engine.tokenizer, PASSAGES)


def ids(engine, text: str) -> list[int]:
    return engine.tokenizer.encode(text, add_special_tokens=False)


def writable(engine, constraint, text: str) -> bool:
    """Whether the model may write the text from the start, token by token."""
    tokens = ids(engine, text)
    for at, token in enumerate(tokens):
        allowed = constraint(tokens[:at])
        if allowed is not None and token not in allowed:
            return False
    return True


@pytest.mark.parametrize("quote", ["The café", "café stands on", "Main Street, above", "twice in 1999", "日本", "no"])
def test_spans_may_be_quoted(engine, constraint, quote):
    assert writable(engine, constraint, f'"{quote}"\nAnswer: anything "at all"')


@pytest.mark.parametrize("quote", ["The cafe", "af", "stands on Main", "Street, abov", "", "twice in 2000"])
def test_other_words_may_not_be_quoted(engine, constraint, quote):
    assert not writable(engine, constraint, f'"{quote}"\nAnswer: x')


def test_a_line_ends_after_its_quote(engine, constraint):
    assert not writable(engine, constraint, '"Main Street" and more')


def test_an_answer_without_quotes_is_free(engine, constraint):
    assert writable(engine, constraint, "Answer: not in the passages")


def test_a_model_that_knows_nothing_still_quotes_spans(engine):
    quotation_mark = ids(engine, '"')[0]
    prompt = build_messages("what?", PASSAGES)
    constraint = SpanConstraint(engine.tokenizer, PASSAGES)
    for opening in range(3, 40):
        first = sorted(constraint([quotation_mark]))[opening % 17]

        def quoting(written, first=first):
            start = [quotation_mark, first]
            return [start[len(written)]] if len(written) < 2 else constraint(written)

        ((_, generation),) = engine.generate([prompt], max_new_tokens=100, constraints=[quoting])
        head, closed, _ = generation.text[1:].partition('"')
        quotes = parse_answer(f'"{head}"\nAnswer: x').quotes
        assert all(check_quote(quote, PASSAGES).valid for quote in quotes)
        assert closed
