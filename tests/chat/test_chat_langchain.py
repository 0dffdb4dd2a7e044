"""Any model of LangChain's, shown with the one of OpenAI's protocol over a real and a failing server."""

from __future__ import annotations

import pytest
from vendor_words import ASKED, GARBAGE, KEY, OPENAI

from faults import Answer, openai_reply, openai_stream
from ragtune.errors import (
    ChatError,
    ContextOverflowError,
    CutStreamError,
    KeyRefusedError,
    NoSuchModelError,
    RefusalError,
    UnreachableError,
)
from ragtune.types import Message, Sampling, Usage
from waiting import PATIENCE_S

pytest.importorskip("langchain_openai")

from ragtune.chat.langchain import LangChainChat, load


@pytest.fixture
def chat(faults, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def make(timeout: float = PATIENCE_S) -> LangChainChat:
        return LangChainChat("langchain:openai:m", load("langchain:openai:m", "openai:m", timeout=timeout, base_url=faults.url))

    return make


def test_room_to_think_comes_on_top_of_what_is_asked_for(faults, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    faults.script(openai_reply())
    model = load("langchain:openai:m", "openai:m", base_url=faults.url)
    LangChainChat("langchain:openai:m", model, headroom=4000).complete(ASKED, max_tokens=16)
    sent = faults.requests[0].body
    assert sent.get("max_completion_tokens", sent.get("max_tokens")) == 4016


def test_a_stream_says_how_tokens_are_chosen_and_ends_before_a_stop_text(faults, chat):
    faults.script(openai_stream())
    *pieces, reply = chat().stream(ASKED, sampling=Sampling(0.5, top_p=0.9, seed=0, stop=("ris",)))
    assert "".join(pieces) == reply.text == "Pa"
    assert reply.finished
    sent = faults.requests[0].body
    assert (sent["temperature"], sent["top_p"], sent["seed"], sent["stop"]) == (0.5, 0.9, 0, ["ris"])


def test_no_server_costs_nothing(faults, chat):
    faults.__exit__()
    with pytest.raises(UnreachableError) as caught:
        chat().complete(ASKED)
    assert caught.value.answered


def test_a_real_server_answers_streams_and_counts(llama_server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", llama_server.key)
    chat = LangChainChat("langchain:openai:m", load("langchain:openai:m", f"openai:{llama_server.model}", base_url=llama_server.url))
    assert "Paris" in chat.complete(ASKED, max_tokens=16).text
    *pieces, reply = chat.stream(ASKED, max_tokens=6)
    assert len(pieces) > 2
    assert reply.usage.completion_tokens == 6
    assert not reply.finished
    assert reply.model == llama_server.model
    with pytest.raises(ContextOverflowError):
        chat.complete([Message("user", "word " * 9000)])
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    wrong = LangChainChat("langchain:openai:m", load("langchain:openai:m", "openai:m", base_url=llama_server.url))
    with pytest.raises(KeyRefusedError):
        wrong.complete(ASKED)


@pytest.mark.parametrize("case", OPENAI)
@pytest.mark.parametrize("streamed", [False, True])
def test_each_refusal_is_its_own_error(case, streamed, faults, chat):
    answer, kind, _ = OPENAI[case]
    faults.script(answer)
    with pytest.raises(ChatError) as caught:
        list(chat().stream(ASKED)) if streamed else chat().complete(ASKED)
    assert type(caught.value) is kind
    assert str(caught.value).startswith("langchain:openai:m: ")
    assert len(faults.requests) == 1, "it makes one attempt"


@pytest.mark.parametrize(
    "answer",
    [openai_reply("", finish="content_filter"), openai_reply(None, refusal="I will not."), openai_stream(["I"], finish="content_filter")],
)
def test_a_refused_answer_is_a_refusal(answer, faults, chat):
    faults.script(answer)
    with pytest.raises(RefusalError) as caught:
        list(chat().stream(ASKED)) if answer.events else chat().complete(ASKED)
    assert caught.value.charged


def test_a_temperature_reaches_the_server(faults, chat):
    for temperature in (0.0, 0.7):
        faults.script(openai_reply())
        chat().complete(ASKED, temperature=temperature)
        assert faults.requests[-1].body["temperature"] == temperature


def test_a_stream_that_is_cut_is_no_answer(faults, chat):
    faults.script(openai_stream(cut=True))
    pieces = []
    with pytest.raises(CutStreamError, match="in the middle of an answer"):
        pieces.extend(chat().stream(ASKED))
    assert pieces == ["Par", "is."]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_server_that_says_nothing_is_not_waited_for(streamed, faults, chat):
    faults.script(Answer(silent=True))
    with pytest.raises(UnreachableError, match="timed out"):
        list(chat(timeout=0.2).stream(ASKED)) if streamed else chat(timeout=0.2).complete(ASKED)


@pytest.mark.parametrize("answer", GARBAGE)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_of_something_else_is_no_answer(answer, streamed, faults, chat):
    faults.script(answer)
    with pytest.raises(ChatError):
        list(chat().stream(ASKED)) if streamed else chat().complete(ASKED)


def test_no_server_is_unreachable(faults, chat):
    faults.__exit__()
    with pytest.raises(UnreachableError, match="cannot be reached"):
        chat().complete(ASKED)


def test_an_answer_without_usage_counts_nothing(faults, chat):
    faults.script(openai_reply(usage=False))
    assert chat().complete(ASKED).usage == Usage()


def test_no_key_says_where_it_belongs():
    with pytest.raises(KeyRefusedError, match=r"write it into \.env"):
        load("langchain:openai:m", "openai:m")


def test_a_missing_integration_says_what_to_install():
    with pytest.raises(ChatError, match="pip install langchain-nvidia-ai-endpoints"):
        load("langchain:nvidia:m", "nvidia:m")


def test_an_unknown_provider_is_told():
    with pytest.raises(NoSuchModelError, match="LangChain cannot make this model"):
        load("langchain:nobody:m", "nobody:m")
