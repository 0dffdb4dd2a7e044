from __future__ import annotations

from dataclasses import replace

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


def test_after_a_quote_the_text_cannot_end(engine, constraint):
    (stop,) = engine.stop
    assert stop in constraint([])
    assert stop not in constraint(ids(engine, '"Main Street"\n'))
    assert writable(engine, constraint, '"Main Street"\n"far"\nAnswer: x')


@pytest.mark.parametrize("text", ['"no"\n"no"\n', '"no"\n"far"\n"no"\n', '"no"\n"no"\nAns'])
def test_a_repeated_quote_is_the_last(engine, constraint, text):
    written = ids(engine, text)
    while (allowed := constraint(written)) is not None:
        written.append(min(allowed))
        assert len(written) < 500
    assert engine.decode(written).rpartition("\n")[2].startswith("Answer:")


@pytest.mark.parametrize("limit", [160, 96, 64])
@pytest.mark.parametrize("text", ['"She said', '"twice in 1999', '"no"\n"She', '"no"\n"far"\n"The café stands'])
def test_quotes_leave_room_for_the_answer(engine, text, limit):
    long = "She said " + "and said " * 60 + "twice in 1999 far. The café stands. no"
    passages = [replace(PASSAGES[0], text=long, spans=(Span("d", 0, len(long)),)), *PASSAGES]
    constraint = SpanConstraint(engine.tokenizer, passages, limit)
    written = ids(engine, text)
    closing = ids(engine, '"')[0]
    while (allowed := constraint(written)) is not None:
        # A model that quotes for ever: on within its quote as long as it may, and another one after it.
        going_on = sorted(allowed - {closing}) or sorted(allowed)
        another = closing in allowed and engine.decode(written).endswith("\n")
        written.append(closing if another else going_on[0])
        assert len(written) <= limit
    *quotes, answer = engine.decode(written).split("\n")
    assert answer.strip() == "Answer:"
    assert all(check_quote(quote.strip().strip('"'), passages).valid for quote in quotes)


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
