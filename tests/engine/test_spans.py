from __future__ import annotations

import random
from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from ragtune.engine.huggingface import HuggingFaceEngine
from ragtune.engine.spans import SpanConstraint, _vocabulary
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


@pytest.mark.parametrize("prose", ["It is", "The mill is old.", "So\nthe street"])
def test_prose_after_a_quote_ends_in_an_answer(engine, constraint, prose):
    (stop,) = engine.stop
    assert stop not in constraint(ids(engine, f'"Main Street"\n{prose}'))
    assert writable(engine, constraint, f'"Main Street"\n{prose}\n"far"\nAnswer: x')
    assert constraint(ids(engine, f'"Main Street"\n{prose} so Answer: x')) is None
    limited = SpanConstraint(engine.tokenizer, PASSAGES, 96)
    written = ids(engine, f'"Main Street"\n{prose}')
    while (allowed := limited(written)) is not None:
        written.append(max(allowed - set(ids(engine, "\n"))) if len(allowed) > 1000 else min(allowed))
        assert len(written) <= 96
    assert engine.decode(written).rpartition("\n")[2].startswith("Answer:")


@pytest.mark.parametrize("before", ["", "It is ", '"Main Street"\nIt is '])
def test_a_typographic_mark_is_not_put_together_of_its_bytes(engine, constraint, before):
    texts = [text for text in _vocabulary(engine.tokenizer).texts if len(text) == 1]
    byte = {text: _vocabulary(engine.tokenizer).ids[text] for text in texts if text not in (b'"', b"\n")}
    begun = [*ids(engine, before), byte[b"\xe2"], byte[b"\x80"]]
    assert byte[b"\x9c"] not in constraint(begun)
    assert byte[b"\x93"] in constraint(begun)  # an en dash


@pytest.mark.parametrize("quote", ["|", "**", "---", "| ---"])
def test_marks_alone_are_no_quote(engine, quote):
    text = "| berth | depth |\n| --- | --- |\n- ** 9 m **"
    constraint = SpanConstraint(engine.tokenizer, [replace(PASSAGES[0], text=text, spans=(Span("d", 0, len(text)),))])
    assert not writable(engine, constraint, f'"{quote}"\nAnswer: x')
    assert writable(engine, constraint, '"| berth"\n"9 m"\nAnswer: x')


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


@pytest.mark.parametrize(
    "text",
    [
        "It says “the mill fell”\nAnswer: x",
        'It says "the mill fell"\nAnswer: x',
        '"Main Street"\nso “it fell”\nAnswer: x',
        'see ("the mill fell")\nAnswer: x',
        'so ",the mill\nAnswer: x',
    ],
)
def test_no_words_of_its_own_stand_in_marks_within_a_line(engine, constraint, text):
    assert not writable(engine, constraint, text)


def test_a_quote_within_a_line_is_held_as_one_that_opens_it(engine, constraint):
    assert writable(engine, constraint, 'It says "Main Street, above"\nAnswer: x')


def test_whatever_is_written_under_the_constraint_every_quote_is_in_a_passage(engine):
    random_ = random.Random(0)
    mark = [id_ for id_ in range(len(engine.tokenizer)) if engine.tokenizer.decode([id_]).strip() in ('"', "“")]
    quotes = 0
    for trial in range(200):
        held = SpanConstraint(engine.tokenizer, PASSAGES, limit=random_.choice([None, 24, 60]))
        written: list[int] = []
        for at in range(40):
            allowed = held(written)
            may = range(len(engine.tokenizer)) if allowed is None else sorted(allowed)
            opening = [id_ for id_ in mark if id_ in may] if trial % 3 == 1 and at == trial % 7 else []
            written.append(random_.choice(opening or may))
        found = parse_answer(engine.tokenizer.decode(written, skip_special_tokens=True)).quotes
        quotes += len(found)
        assert all(check_quote(quote, PASSAGES).valid for quote in found), found
    assert quotes > 20, "they were tried"
