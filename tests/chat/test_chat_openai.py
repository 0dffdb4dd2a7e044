"""Chat over OpenAI's protocol: a real server answers, and a failing one fails in each way."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from vendor_words import ASKED, KEY, OPENAI

import servers
from faults import Answer, openai_error, openai_reply, openai_stream
from ragtune.errors import ChatError, ContextOverflowError, CutStreamError, KeyRefusedError, RefusalError, UnreachableError
from ragtune.types import Message, Reply, Sampling, Usage

pytest.importorskip("openai")

from ragtune.chat.openai import OpenAIChat
from ragtune.hosted.meter import THINKING_TOKENS

SCHEMA = {"type": "object", "properties": {"capital": {"type": "string"}}, "required": ["capital"], "additionalProperties": False}


def test_a_server_answers_the_same_twice(llama_server):
    chat = OpenAIChat("compatible:m", llama_server.model, base_url=llama_server.url, api_key=llama_server.key)
    reply = chat.complete(ASKED, max_tokens=16)
    assert "Paris" in reply.text
    assert reply.finished
    assert reply.model == llama_server.model
    assert chat.complete(ASKED, max_tokens=16).text == reply.text


def test_a_server_is_held_to_a_schema(llama_server):
    chat = OpenAIChat("compatible:m", llama_server.model, base_url=llama_server.url, api_key=llama_server.key)
    assert list(json.loads(chat.complete(ASKED, max_tokens=64, schema=SCHEMA).text)) == ["capital"]


def test_a_stream_says_what_the_server_counted(llama_server):
    chat = OpenAIChat("compatible:m", llama_server.model, base_url=llama_server.url, api_key=llama_server.key)
    *pieces, reply = chat.stream(ASKED, max_tokens=8)
    assert len(pieces) > 2
    assert isinstance(reply, Reply)
    assert reply.usage.prompt_tokens > 10
    assert 0 < reply.usage.completion_tokens <= 8


def test_a_server_refuses_a_wrong_key_and_a_long_prompt(llama_server):
    wrong = OpenAIChat("compatible:m", "m", base_url=llama_server.url, api_key=KEY, key_variable="COMPATIBLE_API_KEY")
    with pytest.raises(KeyRefusedError, match=r"check COMPATIBLE_API_KEY in \.env"):
        wrong.complete(ASKED)
    right = OpenAIChat("compatible:m", "m", base_url=llama_server.url, api_key=llama_server.key)
    for call in (right.complete, lambda messages: list(right.stream(messages))):
        with pytest.raises(ContextOverflowError, match="fewer or shorter passages"):
            call([Message("user", "word " * 9000)])


@pytest.mark.parametrize("case", OPENAI)
@pytest.mark.parametrize("streamed", [False, True])
def test_each_refusal_is_its_own_error(case, streamed, faults, openai_chat):
    answer, kind, words = OPENAI[case]
    faults.script(answer)
    chat = openai_chat()
    with pytest.raises(ChatError) as caught:
        list(chat.stream(ASKED)) if streamed else chat.complete(ASKED)
    assert type(caught.value) is kind
    assert str(caught.value).startswith("compatible:m: ")
    assert words in str(caught.value)
    assert len(faults.requests) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (openai_reply(None, refusal="I can't help with that."), "declines to answer"),
        (openai_reply("", finish="content_filter"), "filter stopped"),
        (openai_stream(["I"], finish="content_filter"), "filter stopped"),
    ],
)
def test_a_refused_answer_may_have_been_charged(answer, words, faults, openai_chat):
    faults.script(answer)
    with pytest.raises(RefusalError, match=words) as caught:
        list(openai_chat().stream(ASKED)) if answer.events else openai_chat().complete(ASKED)
    assert caught.value.charged


def test_a_parameter_that_is_refused_is_written_otherwise_from_then_on(faults, openai_chat):
    faults.script(
        openai_error(400, "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.", param="max_tokens"),
        openai_error(400, "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."),
        openai_error(400, "Unrecognized request argument supplied: seed"),
        openai_error(400, "This response_format type is unavailable now"),
        openai_reply('{"capital": "Paris"}'),
    )
    chat = openai_chat()
    assert chat.complete(ASKED, max_tokens=9, schema=SCHEMA).text
    assert chat.complete(ASKED, max_tokens=9, schema=SCHEMA).text
    first, *_, last = (request.body for request in faults.requests)
    assert (first["max_tokens"], first["temperature"], first["seed"]) == (9, 0.0, 0)
    assert first["response_format"]["json_schema"]["schema"] == SCHEMA
    assert last["max_completion_tokens"] == 9
    assert last["response_format"] == {"type": "json_object"}
    assert not {"max_tokens", "temperature", "seed"} & set(last)
    assert len(faults.requests) == 6, "each refusal is met once"


def test_a_server_that_refuses_everything_is_asked_a_bounded_number_of_times(faults, openai_chat):
    faults.script(openai_error(400, "max_tokens, max_completion_tokens, temperature, seed, response_format: unsupported"))
    with pytest.raises(ChatError, match="status 400"):
        openai_chat().complete(ASKED, schema=SCHEMA)
    assert len(faults.requests) <= 7


def test_threads_that_meet_a_refusal_together_all_get_their_answer(faults, openai_chat):
    """Whether a call was refused is judged by what it sent, not by what another thread has learned meanwhile."""

    def strict(request):
        time.sleep(0.05)  # so that the first calls are all on their way when the first refusal comes
        if "max_tokens" in request.body:
            return openai_error(400, "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.")
        if "response_format" in request.body:
            return openai_error(400, "response_format is not supported")
        return openai_reply("{}")

    faults.script(strict)
    chat = openai_chat()
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: chat.complete(ASKED, schema=SCHEMA), range(16)))
    assert {reply.text for reply in replies} == {"{}"}
    assert "max_completion_tokens" in faults.requests[-1].body


def test_a_stream_says_how_tokens_are_chosen(faults, openai_chat):
    faults.script(openai_stream(("{", "}")))
    list(openai_chat().stream(ASKED, sampling=Sampling(0.5, top_p=0.9, seed=3, stop=("END",), schema=SCHEMA)))
    list(openai_chat().stream(ASKED, sampling=Sampling(0.5, schema={})))
    list(openai_chat().stream(ASKED))
    full, drawn, plain = (request.body for request in faults.requests)
    assert (full["temperature"], full["top_p"], full["seed"], full["stop"]) == (0.5, 0.9, 3, ["END"])
    assert full["response_format"]["json_schema"]["schema"] == SCHEMA
    assert drawn["response_format"] == {"type": "json_object"}
    assert "seed" not in drawn
    assert (plain["temperature"], plain["seed"]) == (0.0, 0)
    assert not {"top_p", "stop", "response_format"} & set(plain)


@pytest.mark.parametrize("knows", [True, False])
def test_a_stop_text_ends_an_answer_whether_or_not_the_server_knows_it(knows, faults, openai_chat):
    faults.script(
        *([] if knows else [openai_error(400, "Unsupported parameter: 'stop' is not supported with this model.")]), openai_stream()
    )
    *pieces, reply = openai_chat().stream(ASKED, sampling=Sampling(stop=("ris",)))
    assert "".join(pieces) == reply.text == "Pa"
    assert (reply.finished, reply.usage) == (True, Usage(20, 5))
    assert ("stop" in faults.requests[-1].body) is knows


def test_words_about_temperature_in_another_error_drop_nothing(faults, openai_chat):
    faults.script(openai_error(400, "the prompt about temperature and seed cannot be read"))
    with pytest.raises(ChatError):
        openai_chat().complete(ASKED)
    assert len(faults.requests) == 1


def test_thinking_is_turned_down_as_far_as_the_model_lets_it(faults, openai_chat):
    refused = "Unsupported value: 'reasoning_effort' does not support '{}' with this model."
    faults.script(*(openai_error(400, refused.format(effort), param="reasoning_effort") for effort in ("none", "minimal")), openai_reply())
    openai_chat("gpt-5").complete(ASKED)
    assert [request.body["reasoning_effort"] for request in faults.requests] == ["none", "minimal", "low"]
    assert [request.body["max_completion_tokens"] - 512 for request in faults.requests] == [0, THINKING_TOKENS, THINKING_TOKENS]
    faults.script(openai_reply())
    openai_chat("gpt-5", thinking=True).complete(ASKED)
    openai_chat("m", name="deepseek:m").complete(ASKED)
    openai_chat("m", name="deepseek:m", thinking=True).complete(ASKED)
    assert "reasoning_effort" not in faults.requests[0].body
    assert faults.requests[0].body["max_completion_tokens"] == 512 + THINKING_TOKENS
    assert [request.body["max_tokens"] - 512 for request in faults.requests[1:]] == [0, THINKING_TOKENS]
    assert faults.requests[1].body["thinking"] == {"type": "disabled"}
    assert "thinking" not in faults.requests[2].body


def test_a_stream_that_is_cut_is_no_answer(faults, openai_chat):
    faults.script(openai_stream(cut=True))
    pieces = []
    with pytest.raises(CutStreamError, match="in the middle of an answer"):
        pieces.extend(openai_chat().stream(ASKED))
    assert pieces == ["Par", "is."]


def test_a_connection_that_is_cut_before_the_first_piece_is_worth_another_try(faults, openai_chat):
    for answer in (openai_stream([], cut=True), Answer(body=openai_reply().body, cut=True)):
        faults.script(answer)
        with pytest.raises(UnreachableError, match="cannot be reached, or does not answer") as caught:
            list(openai_chat().stream(ASKED)) if answer.events is not None else openai_chat().complete(ASKED)
        assert not caught.value.answered


def test_a_server_that_is_killed_in_the_middle_is_told(llama_server):
    with servers.llama() as own:
        chat = OpenAIChat("compatible:m", own.model, base_url=own.url, api_key=own.key)
        stream = chat.stream([Message("user", "Count from one to a thousand, in words.")], max_tokens=1000)
        next(stream)
        own.process.kill()
        with pytest.raises(CutStreamError, match="in the middle of an answer"):
            list(stream)
        with pytest.raises(UnreachableError, match="cannot be reached"):
            chat.complete(ASKED)


def test_a_stream_without_an_end_is_no_answer(faults, openai_chat):
    faults.script(openai_stream(finish=None))
    with pytest.raises(CutStreamError, match="it sent no end"):
        list(openai_chat().stream(ASKED))


def test_an_error_within_a_stream_is_told(faults, openai_chat):
    faults.script(openai_stream(cut=False, finish=None, then=[{"error": {"message": "The engine is overloaded", "code": "overloaded"}}]))
    with pytest.raises(CutStreamError, match="The engine is overloaded"):
        list(openai_chat().stream(ASKED))
    faults.script(openai_stream([], finish=None, then=[{"error": {"message": "request exceeds the context size", "code": 400}}]))
    with pytest.raises(ContextOverflowError):
        list(openai_chat().stream(ASKED))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_server_that_says_nothing_is_not_waited_for(streamed, faults, openai_chat):
    faults.script(Answer(silent=True))
    chat = openai_chat(timeout=0.2)
    with pytest.raises(UnreachableError, match="timed out"):
        list(chat.stream(ASKED)) if streamed else chat.complete(ASKED)


@pytest.mark.parametrize(
    "answer",
    [Answer(body="<html>Welcome</html>"), Answer(body="{", headers={"Content-Type": "application/json"}), Answer(body={"ok": True})],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_of_something_else_names_the_address_setting(answer, streamed, faults, openai_chat):
    faults.script(answer)
    with pytest.raises(ChatError, match=r"chat\.base_urls"):
        list(openai_chat().stream(ASKED)) if streamed else openai_chat().complete(ASKED)


def test_an_error_behind_a_router_is_told(faults, openai_chat):
    faults.script(Answer(body={"error": {"message": "Provider returned error", "code": 502}}))
    with pytest.raises(UnreachableError, match="Provider returned error"):
        openai_chat().complete(ASKED)


def test_an_answer_without_usage_counts_nothing(faults, openai_chat):
    faults.script(openai_reply(usage=False))
    assert openai_chat().complete(ASKED).usage == Usage()
    faults.script(openai_stream(usage=False))
    assert list(openai_chat().stream(ASKED))[-1].usage == Usage()


def test_no_server_is_unreachable(openai_chat, faults):
    faults.__exit__()
    with pytest.raises(UnreachableError, match="cannot be reached") as caught:
        openai_chat().complete(ASKED)
    assert caught.value.answered, "nothing was sent, so nothing was charged"


def test_the_failing_servers_answers_are_the_sdks_own():
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    ChatCompletion.model_validate(openai_reply(refusal="no").body, strict=True)
    for event in (openai_stream().events or ())[:-1]:
        ChatCompletionChunk.model_validate(event, strict=True)
