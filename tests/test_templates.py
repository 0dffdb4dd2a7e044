"""Chat templates: one prompt in training, evaluation and serving for each family, losses where they belong, and refusals that help."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_templates import CHAT, FAMILIES, Family, make_family_tokenizer
from ragtune.errors import ModelError
from ragtune.models import CATALOG, resolve
from ragtune.prompts import build_completion, build_messages, encode_completion, encode_prompt, end_of_turn, render
from ragtune.templates import check_template, load_tokenizer
from ragtune.train.sequences import Encoder
from ragtune.types import Branch, ContextGroup, Passage, Span

pytest.importorskip("transformers", reason="transformers is not installed")
CATALOG_CHATS = [name for name, entry in CATALOG.items() if entry.kind == "chat"]
plain = ["\n", "\n\n", " ", "\t", "Question: ", "Answer:", "[1]", '"', "é", "12", "the ", "Who?", "😀", "  "]
controls = ["<|im_end|>", "[/INST]", "<end_of_turn>", "<|eot_id|>", "<|end|>", "</s>", "<think>"]
text = st.lists(st.sampled_from([*plain, *controls]), max_size=10).map("".join)


def passage(number: int, body: str) -> Passage:
    return Passage(f"p{number}", "a.md", "A", "A › B", body, (Span("a.md", 0, len(body)),), (f"c{number}",))


@pytest.fixture(scope="module", params=[*FAMILIES, *CATALOG_CHATS], ids=lambda param: getattr(param, "name", param))
def tokenizer(request: pytest.FixtureRequest) -> Any:
    if isinstance(request.param, Family):
        return make_family_tokenizer(request.param)
    try:
        return load_tokenizer(resolve(request.param, allow_pull=False))
    except ModelError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def chatml() -> Any:
    return make_family_tokenizer(FAMILIES[0])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_chat_is_written_as_the_family_documents_it(family):
    tokenizer = make_family_tokenizer(family)
    check_template(tokenizer, family.name)
    assert render(tokenizer, CHAT[:2], ask=True) == family.asked
    assert end_of_turn(tokenizer) == family.end
    assert tokenizer.convert_ids_to_tokens(encode_completion(tokenizer, "Ann.")[-1:]) == [family.end]


@given(question=text, bodies=st.lists(text, max_size=3))
def test_the_ids_of_context_and_branch_are_those_of_the_whole_prompt(tokenizer, question, bodies):
    passages = [passage(number, body) for number, body in enumerate(bodies)]
    prompt = encode_prompt(tokenizer, build_messages(question, passages))
    written = tokenizer.decode(list(prompt.ids), clean_up_tokenization_spaces=False)
    assert prompt.context + prompt.branch == tuple(tokenizer.encode(written, add_special_tokens=False))
    assert tokenizer.decode(list(prompt.branch)).startswith("Question:")


@given(question=text, body=text, answer=text, quote=text)
def test_the_loss_is_on_the_completion_and_its_end_of_turn_exactly(tokenizer, question, body, answer, quote):
    batches = pytest.importorskip("ragtune.train.batches", reason="torch is not installed")
    completion = build_completion(answer.strip() or "forty", [quote])
    group = ContextGroup((passage(1, body),), (Branch("a", question, completion), Branch("b", "Who?", build_completion(None))))
    sequence = Encoder(tokenizer, 100_000)(group)
    batch = batches.pack([sequence], fused=True)
    assert batch.ids_1t[0][batch.at_c + 1].tolist() == batch.targets_c.tolist(), "each is predicted from the token before it"
    learnt = tokenizer.decode(batch.targets_c.tolist(), clean_up_tokenization_spaces=False).replace("\u200b", "")
    end = end_of_turn(tokenizer)
    assert learnt == f"{completion}{end}{build_completion(None)}{end}".replace("\u200b", "")
    masked = set(range(batch.tokens)) - set((batch.at_c + 1).tolist())
    read = tokenizer.decode([batch.ids_1t[0][at].item() for at in sorted(masked)], clean_up_tokenization_spaces=False)
    first, second = (encode_prompt(tokenizer, build_messages(each, group.passages)) for each in (question, "Who?"))
    assert read == tokenizer.decode([*first.ids, *second.branch], clean_up_tokenization_spaces=False)


def test_a_completion_ends_in_the_one_token_that_stops_an_answer(tokenizer):
    end = tokenizer.encode(end_of_turn(tokenizer), add_special_tokens=False)
    ids = encode_completion(tokenizer, build_completion("forty", ["takes forty"]))
    assert list(ids[-1:]) == end
    assert end[0] not in ids[:-1]


_TURNS = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
_BUT = _TURNS.replace("}}{%", "}}{% endif %}{%")
_ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "the thing has no chat template: choose an instruction-tuned .* or set model.chat_template to a .jinja file"),
        (_BUT.replace("%}{{", "%}{% if m.role != 'system' %}{{") + _ASK, "leaves out the system message"),
        ("{{ messages[0].content + messages[-1].content | upper }}" + _ASK, "changes the user's message"),
        (_TURNS.replace("m.content", "m.content | replace('  ', ' ')") + _ASK, "changes the system message"),
        (_TURNS.replace("m.content", "m.content | replace('\t', ' ')") + _ASK, "changes the user's message"),
        (_TURNS.replace("m.content", "m.content | escape") + _ASK, "changes the system message"),
        (_BUT.replace("%}{{", "%}{% if m.role != 'assistant' %}{{") + _ASK, "leaves out the assistant's message"),
        (_TURNS, "ignores add_generation_prompt"),
        (_TURNS.replace("<|im_end|>", " ### End") + _ASK, "ends the assistant's turn in '### End', which is no token"),
        ("{% for m in messages %}{{ m.content", "chat template fails .*set model.chat_template"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_carry_the_prompt_is_refused_with_the_mend(chatml, template, message):
    before, chatml.chat_template = chatml.chat_template, template
    try:
        with pytest.raises(ModelError, match=message):
            check_template(chatml, "the thing")
        with pytest.raises(ModelError, match=r"set model\.chat_template"):
            check_template(chatml, "the thing")
    finally:
        chatml.chat_template = before


def test_a_chat_without_any_end_is_refused(chatml):
    before = chatml.chat_template, chatml.eos_token
    chatml.chat_template = _TURNS.replace("<|im_end|>\n", "") + _ASK
    try:
        check_template(chatml, "the thing")
        assert end_of_turn(chatml) == "<|im_end|>", "the end token then"
        chatml.eos_token = None
        with pytest.raises(ModelError, match="does not end the assistant's turn, and there is no end token"):
            check_template(chatml, "the thing")
    finally:
        chatml.chat_template, chatml.eos_token = before


def test_a_template_that_asks_the_clock_gives_the_same_ids_on_every_day():
    tokenizer = make_family_tokenizer(FAMILIES[0])
    clock = "{{ '<|im_start|>system\nIt is ' + strftime_now('%A, %d %b %Y %H:%M:%S') + '.<|im_end|>\n' }}"
    tokenizer.chat_template = clock + tokenizer.chat_template
    check_template(tokenizer, "model m")
    assert render(tokenizer, CHAT[:2]).startswith(
        "<|im_start|>system\nIt is Friday, 26 Jul 2024 00:00:00.<|im_end|>\n<|im_start|>system\nBe brief."
    )


TURN = "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
SWAPPED = TURN.replace("m.role", "{'user': 'assistant', 'assistant': 'user'}.get(m.role, m.role)")
LAST_TWO = f"{{% for m in messages %}}{{% if m.role == 'system' or loop.revindex < 3 %}}{TURN}{{% endif %}}{{% endfor %}}"
FIRST_AND_LAST = "{{ '<|im_start|>user\n' + messages[0].content + messages[-1].content + '<|im_end|>\n' }}"
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "wrong"),
    [
        (f"{{% for m in messages|reverse %}}{TURN}{{% endfor %}}{ASK}", "changes the order of the turns"),
        (f"{{% for m in messages %}}{TURN}{TURN}{{% endfor %}}{ASK}", "writes a turn more than once"),
        (LAST_TWO + ASK, "leaves out an earlier turn"),
        (FIRST_AND_LAST + ASK, "leaves out an earlier turn"),
        ("{% for m in messages %}{{ m.content + '<|im_end|>\n' }}{% endfor %}", "does not tell the user's turns from the assistant's"),
        (f"{{% for m in messages %}}{SWAPPED}{{% endfor %}}{ASK}", "begins an answer otherwise than it writes one"),
    ],
)
def test_a_template_that_garbles_a_chat_of_several_turns_is_refused_with_the_mend(template, wrong):
    tokenizer = make_family_tokenizer(FAMILIES[0])
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match=rf"{wrong}.*set model\.chat_template"):
        check_template(tokenizer, "model m")
