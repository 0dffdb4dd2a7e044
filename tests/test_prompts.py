"""The prompt: token seams, completions taken apart again, and one prompt in training, evaluation and serving."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragtune.conversation import search_text
from ragtune.errors import ModelError
from ragtune.models import resolve
from ragtune.prompts import (
    ABSTENTION,
    Shot,
    build_completion,
    build_messages,
    encode_completion,
    encode_prompt,
    end_of_turn,
    format_passages,
    parse_answer,
)
from ragtune.train.sequences import Encoder
from ragtune.types import Branch, Chunk, ContextGroup, Hit, Message, Passage, Span

anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
awkward = st.lists(
    st.sampled_from(
        ["\n", "\n\n", " ", "\t", "Question: ", "Question:", "Answer:", "[1]", '"', "\r\n", "\u2028", "\x85", "\x1c", "\u00a0", "\u200b",
         "é", "e\u0301", "12", "the ", "Who?", "😀", "#", "  "]
    ),
    max_size=12,
).map("".join)  # fmt: skip
text = st.one_of(anything, awkward)


def make_passage(number: int, body: str, prefix: str = "A › B") -> Passage:
    return Passage(f"p{number}", "a.md", "A", prefix, body, (Span("a.md", 0, len(body)),), (f"c{number}",))


PASSAGES = (make_passage(1, "The crossing takes forty minutes."), make_passage(2, "The pier is old."))


@pytest.fixture(scope="session", params=["tiny", "smollm2-135m-instruct"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    if request.param == "tiny":
        folder: Path | str = request.getfixturevalue("tiny")
    else:
        try:
            folder = resolve(request.param, allow_pull=False)
        except ModelError as error:
            pytest.skip(str(error))
    return transformers.AutoTokenizer.from_pretrained(str(folder))


def whole(tokenizer: Any, messages: Sequence[Message]) -> tuple[int, ...]:
    rendered = tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.content} for message in messages], tokenize=False, add_generation_prompt=True
    )
    return tuple(tokenizer.encode(rendered, add_special_tokens=False))


@given(question=text, bodies=st.one_of(st.none(), st.lists(st.tuples(text, text), max_size=3)), shot=st.booleans())
def test_ids_of_context_and_branch_are_the_ids_of_the_whole_prompt(tokenizer, question, bodies, shot):
    passages = None if bodies is None else [make_passage(number, body, prefix) for number, (body, prefix) in enumerate(bodies)]
    shots = [Shot("Who?", PASSAGES, build_completion("forty minutes", ["The crossing takes forty minutes."]))] if shot else []
    messages = build_messages(question, passages, shots)
    prompt = encode_prompt(tokenizer, messages)
    assert prompt.context + prompt.branch == prompt.ids == whole(tokenizer, messages)
    assert tokenizer.decode(prompt.branch).startswith("Question:")


@given(questions=st.lists(text, min_size=2, max_size=3), bodies=st.lists(text, max_size=2))
def test_questions_of_one_context_share_its_ids(tokenizer, questions, bodies):
    passages = [make_passage(number, body) for number, body in enumerate(bodies)]
    contexts = {encode_prompt(tokenizer, build_messages(question, passages)).context for question in questions}
    assert len(contexts) == 1


@given(answer=text, quote=text)
def test_prompt_and_completion_are_the_ids_of_the_whole_conversation(tokenizer, answer, quote):
    messages = build_messages("How long?", PASSAGES)
    completion = build_completion(answer.strip() or "forty", [quote])
    ids = encode_prompt(tokenizer, messages).ids + encode_completion(tokenizer, completion)
    rendered = tokenizer.apply_chat_template(
        [{"role": each.role, "content": each.content} for each in [*messages, Message("assistant", completion)]], tokenize=False
    )
    assert rendered.rstrip("\n").endswith(end_of_turn(tokenizer))
    assert ids == tuple(tokenizer.encode(rendered.rstrip("\n"), add_special_tokens=False))


def test_training_evaluation_and_serving_show_the_model_the_same_ids(tokenizer):
    from ragtune.rag import answer_question

    question = "How long is the crossing?\nQuestion: in winter"
    trained = Encoder(tokenizer, 4096)(ContextGroup(PASSAGES, (Branch("q1", "Who?", "x"), Branch("q2", question, "x"))))
    evaluated = encode_prompt(tokenizer, build_messages(question, list(PASSAGES)))

    class Retriever:
        def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
            return [[Hit(Chunk(passage.id, "a.md", 0, 1, "x"), 1.0, rank) for rank, passage in enumerate(PASSAGES, 1)][:k]]

    class Chat:
        name = "recorder"
        served: Sequence[Message]

        def stream(self, messages: Sequence[Message], **_: object) -> Iterator[str]:
            self.served = messages
            yield "Answer: forty minutes"

    chat, by_id = Chat(), {passage.id: passage for passage in PASSAGES}
    list(answer_question(question, Retriever(), chat, to_passage=lambda chunk: by_id[chunk.id], k=2))
    served = encode_prompt(tokenizer, chat.served)
    assert trained.context + trained.branches[1].question == evaluated.ids == served.ids
    assert trained.branches[1].completion == encode_completion(tokenizer, "x")


def test_a_template_that_changes_the_question_is_refused(tiny):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tiny))
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] | upper }}{% endfor %}"
    with pytest.raises(ModelError, match="template changes"):
        encode_prompt(tokenizer, build_messages("Who?", PASSAGES))


def test_a_template_without_a_system_turn_gets_the_instruction_in_the_user_s(tiny):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tiny))
    with_system = tokenizer.decode(encode_prompt(tokenizer, build_messages("Who?", PASSAGES)).ids)
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + tokenizer.chat_template
    tokenizer.chat_template = refusing
    prompt = encode_prompt(tokenizer, build_messages("Who?", PASSAGES))
    assert tokenizer.decode(prompt.ids) == with_system.replace("<|im_end|>\n<|im_start|>user\n", "\n\n").replace("system\n", "user\n")
    assert tokenizer.decode(prompt.branch).startswith("Question: Who?")
    tokenizer.chat_template = "{{ raise_exception('nothing pleases me') }}"
    with pytest.raises(ModelError, match="nothing pleases me"):
        encode_prompt(tokenizer, build_messages("Who?", PASSAGES))


HOSTILE = st.lists(st.sampled_from(["<|im_end|>", "<|im_start|>", "\n", "system", "<|endoftext|>", "x", " "]), max_size=8).map("".join)


@given(question=HOSTILE, body=HOSTILE, prefix=HOSTILE, quote=HOSTILE)
def test_no_document_can_end_a_turn_or_open_one(tokenizer, question, body, prefix, quote):
    start, end = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>"))
    prompt = encode_prompt(tokenizer, build_messages(question, [make_passage(1, body, prefix)]))
    assert (prompt.ids.count(start), prompt.ids.count(end)) == (3, 2)
    assert not {*prompt.ids, *encode_completion(tokenizer, build_completion("a", [quote]))[:-1]} & {
        id_ for id_ in tokenizer.all_special_ids if id_ not in (start, end)
    }
    assert encode_completion(tokenizer, build_completion("a", [quote])).count(end) == 1
    assert tokenizer.decode(prompt.branch).startswith("Question:")


def test_the_words_of_a_prompt():
    system, user = build_messages("  How long?  ", PASSAGES)
    assert (system.role, user.role) == ("system", "user")
    assert "not in the passages" in system.content
    assert user.content == (
        "[1] A › B\nThe crossing takes forty minutes.\n\n[2] A › B\nThe pier is old.\nQuestion: How long?\n"
        "Closest sentences:\n- A › B: The crossing takes forty minutes.\n- A › B: The pier is old."
    )
    assert build_messages("Q", [])[-1].content == "(no passages)\nQuestion: Q"
    memory = build_messages("Q", None)
    assert memory[-1].content == "Question: Q"
    assert "passage" not in memory[0].content


def test_worked_examples_are_earlier_turns_and_without_passages_they_hold_no_quote():
    shot = Shot("Who?", PASSAGES[:1], build_completion("Ann", ["it was Ann"]))
    messages = build_messages("Why?", PASSAGES, [shot])
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[1].content == build_messages("Who?", PASSAGES[:1])[-1].content
    assert messages[2].content == '"it was Ann"\nAnswer: Ann'
    assert [message.content for message in build_messages("Why?", None, [shot])][1:] == ["Question: Who?", "Answer: Ann", "Question: Why?"]


@given(st.lists(text, max_size=3))
def test_passages_end_in_one_newline(bodies):
    shown = format_passages([make_passage(number, body) for number, body in enumerate(bodies)])
    assert shown.endswith("\n")
    assert not shown[:-1].endswith(("\n", " ", "\t"))


word = st.text("abcdefg 0123.é", min_size=1, max_size=30).map(str.strip).filter(lambda each: bool(each.strip("*` .")))


@given(answer=word, quotes=st.lists(word, max_size=3))
def test_what_the_model_learns_to_write_is_read_back(answer, quotes):
    parsed = parse_answer(build_completion(answer, quotes))
    assert parsed.answer == answer
    assert parsed.quotes == tuple(quotes)
    assert not parsed.abstained


def test_an_answer_mark_inside_a_quote_is_the_document_s():
    parsed = parse_answer('"Answer: forty minutes, see the FAQ."\nAnswer: forty')
    assert parsed.quotes == ("Answer: forty minutes, see the FAQ.",)
    assert parsed.answer == "forty"
    cut = parse_answer('"Answer: forty minutes"')
    assert cut.quotes == ("Answer: forty minutes",)


def test_a_reasoning_stands_between_quotes_and_answer_and_is_no_quote():
    reasoning = 'It says "forty", so “forty”\nminutes. Answer: 40.'
    written = build_completion("forty minutes", ["takes forty minutes"], reasoning)
    assert written.splitlines()[1] == "It says forty, so forty minutes. Answer 40."
    parsed = parse_answer(written)
    assert (parsed.answer, parsed.quotes) == ("forty minutes", ("takes forty minutes",))


@pytest.mark.parametrize("reasoning", [None, "", "  \n"])
def test_without_a_reasoning_a_completion_is_as_it_ever_was(reasoning):
    assert build_completion("forty", ["takes forty"], reasoning) == '"takes forty"\nAnswer: forty'
    assert build_completion(None, (), "because") == build_completion(None) == f"Answer: {ABSTENTION}"


def test_an_abstention_is_read_back():
    parsed = parse_answer(build_completion(None))
    assert parsed == type(parsed)(ABSTENTION, (), True)


@pytest.mark.parametrize(
    ("raw", "answer", "quotes", "abstained"),
    [
        ("", "", (), False),
        ("forty minutes", "forty minutes", (), False),
        ("Answer:", "", (), False),
        ("Answer: \n\n", "", (), False),
        ('"takes forty"\nAnswer: forty\nAnd more words.', "forty", ("takes forty",), False),
        ("“takes forty”\nAnswer: **forty**", "forty", ("takes forty",), False),
        ('He wrote "so" and "so on".\nAnswer: x', "x", ('so" and "so on',), False),
        ('"never closed\nAnswer: x', "x", ("never closed",), False),
        ('"one"\n"two"\n""\n" "\nAnswer: x', "x", ("one", "two"), False),
        ("Answer: a\nAnswer: b", "b", (), False),
        ("Answer: Not in the passages.", "Not in the passages.", (), True),
        ("Answer: The passages do not say.", "The passages do not say.", (), True),
        ("Answer: I don't know", "I don't know", (), True),
        ("Answer: notable", "notable", (), False),
        ("Answer: not before nine", "not before nine", (), False),
        ("The answer is not in the passages", "The answer is not in the passages", (), False),
    ],
)
def test_answers_are_taken_apart(raw, answer, quotes, abstained):
    parsed = parse_answer(raw)
    assert (parsed.answer, parsed.quotes, parsed.abstained) == (answer, quotes, abstained)


@given(text)
def test_anything_a_model_writes_can_be_taken_apart(raw):
    parsed = parse_answer(raw)
    assert all(quote and quote == quote.strip() for quote in parsed.quotes)
    assert "\n" not in parsed.answer or "Answer:" not in raw


HISTORY = (Message("user", "How long is the\ncrossing?"), Message("assistant", "Forty minutes.\nQuestion: a trap"))
turns = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), text), min_size=1, max_size=8)


@given(question=text, said=turns, bodies=st.lists(text, max_size=2))
def test_history_is_part_of_the_branch_and_moves_no_seam(tokenizer, question, said, bodies):
    history = [Message(role, content) for role, content in said]
    passages = [make_passage(number, body) for number, body in enumerate(bodies)]
    plain = encode_prompt(tokenizer, build_messages(question, passages))
    prompt = encode_prompt(tokenizer, build_messages(question, passages, history=history))
    assert prompt.context == plain.context
    assert prompt.context + prompt.branch == whole(tokenizer, build_messages(question, passages, history=history))


def test_history_is_shown_below_the_question_and_searched_with():
    asked = build_messages("And in winter?", PASSAGES, history=HISTORY)[-1].content
    said = "Asked after:\n- user: How long is the crossing?\n- assistant: Forty minutes. Question: a trap\nClosest sentences:\n"
    assert f"Question: And in winter?\n{said}- A › B: The crossing takes" in asked
    assert search_text("And in winter?", HISTORY) == "How long is the crossing? Forty minutes. Question: a trap And in winter?"
    assert search_text("Who?", ()) == "Who?"


def test_history_is_trained_evaluated_and_served_with_the_same_ids(tokenizer):
    branch = Branch("q", "And in winter?", "x", HISTORY)
    trained = Encoder(tokenizer, 4096)(ContextGroup(PASSAGES, (branch,)))
    asked = encode_prompt(tokenizer, build_messages("And in winter?", PASSAGES, history=HISTORY))
    assert trained.context + trained.branches[0].question == asked.ids


def test_what_stands_between_two_answer_marks_is_no_quote():
    parsed = parse_answer('"The mill."\nAnswer: x\n"never said"\nAnswer: y')
    assert (parsed.quotes, parsed.answer) == (("The mill.",), "y")
