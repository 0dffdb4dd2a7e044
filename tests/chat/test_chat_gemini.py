"""Chat over Gemini's protocol: a proxy over a real model answers, and a failing server fails in each way."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from vendor_words import ASKED, GEMINI, KEY

from faults import Answer, gemini_error, gemini_reply, gemini_stream
from ragtune.errors import ChatError, ContextOverflowError, CutStreamError, RateLimitError, RefusalError, UnreachableError
from ragtune.types import Message, Sampling, Usage

pytest.importorskip("google.genai")

from ragtune.chat.gemini import GeminiChat
from ragtune.hosted.gemini import connect
from ragtune.hosted.meter import THINKING_TOKENS


def proxied(proxy, key=None):
    return GeminiChat(f"gemini:{proxy.model}", proxy.model, client=connect(key or proxy.key, base_url=proxy.url), secret=key)


def test_a_model_answers_through_googles_sdk(gemini_proxy):
    reply = proxied(gemini_proxy).complete(ASKED, max_tokens=16)
    assert "Paris" in reply.text
    assert reply.finished
    assert reply.usage.prompt_tokens > 10
    *pieces, streamed = proxied(gemini_proxy).stream(ASKED, max_tokens=8)
    assert len(pieces) > 2
    assert streamed.text == "".join(pieces)


def test_a_wrong_key_and_a_long_prompt_are_refused(gemini_proxy):
    with pytest.raises(ChatError):
        proxied(gemini_proxy, KEY).complete(ASKED)
    for call in (proxied(gemini_proxy).complete, lambda messages: list(proxied(gemini_proxy).stream(messages))):
        with pytest.raises(ContextOverflowError):
            call([Message("user", "word " * 9000)])


@pytest.mark.parametrize("case", GEMINI)
@pytest.mark.parametrize("streamed", [False, True])
def test_each_refusal_is_its_own_error(case, streamed, faults, gemini_chat):
    answer, kind, words = GEMINI[case]
    faults.script(answer)
    with pytest.raises(ChatError) as caught:
        list(gemini_chat().stream(ASKED)) if streamed else gemini_chat().complete(ASKED)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert len(faults.requests) == 1


def test_a_stream_says_how_tokens_are_chosen_and_ends_before_a_stop_text(faults, gemini_chat):
    faults.script(gemini_stream())
    stop = ("one", "two", "three", "four", "five", "ris")
    *pieces, reply = gemini_chat().stream(ASKED, sampling=Sampling(0.5, top_p=0.9, seed=3, stop=stop, schema={"type": "object"}))
    assert "".join(pieces) == reply.text == "Pa"
    assert reply.finished
    sent = faults.requests[0].body["generationConfig"]
    assert (sent["temperature"], sent["topP"], sent["seed"], sent["stopSequences"]) == (0.5, 0.9, 3, list(stop[:5]))
    assert sent["responseJsonSchema"] == {"type": "object"}


def test_how_long_to_wait_is_read_from_the_body(faults, gemini_chat):
    faults.script(GEMINI["the quota of a minute"][0])
    with pytest.raises(RateLimitError) as caught:
        gemini_chat().complete(ASKED)
    assert caught.value.retry_after == 34.5


@pytest.mark.parametrize(
    ("answer", "charged"),
    [
        (gemini_reply(block="PROHIBITED_CONTENT"), False),
        (gemini_reply(None, finish="SAFETY"), True),
        (gemini_reply("Par", finish="RECITATION"), True),
        (gemini_stream(["Par"], finish="SAFETY"), True),
    ],
)
def test_a_filtered_prompt_or_answer_is_a_refusal(answer, charged, faults, gemini_chat):
    faults.script(answer)
    with pytest.raises(RefusalError, match="filter") as caught:
        list(gemini_chat().stream(ASKED)) if answer.events else gemini_chat().complete(ASKED)
    assert caught.value.charged is charged


def test_thinking_is_turned_down_as_the_model_lets_it(faults, gemini_chat):
    faults.script(
        gemini_error(400, "Budget 0 is invalid. This model only works in thinking mode.", "INVALID_ARGUMENT"),
        gemini_error(400, "Thinking level is not supported for this model.", "INVALID_ARGUMENT"),
        gemini_reply(),
    )
    chat = gemini_chat()
    assert chat.complete(ASKED).usage == Usage(20, 7), "thoughts count as answer"
    sent = [request.body["generationConfig"].get("thinkingConfig", {}) for request in faults.requests]
    assert [list(config.values()) for config in sent] == [[0], ["LOW"], []]
    room = [request.body["generationConfig"]["maxOutputTokens"] - 512 for request in faults.requests]
    assert room == [0, THINKING_TOKENS, THINKING_TOKENS], "an answer is not cut short by thoughts"
    faults.script(gemini_error(400, "thinking is unsupported", "INVALID_ARGUMENT"))
    with pytest.raises(ChatError, match="status 400"):
        chat.complete(ASKED)


def test_threads_that_meet_a_refusal_together_all_get_their_answer(faults, gemini_chat):
    def strict(request):
        time.sleep(0.05)  # so that the first calls are all on their way when the first refusal comes
        refused = "thinkingConfig" in request.body["generationConfig"]
        return gemini_error(400, "thinking is unsupported", "INVALID_ARGUMENT") if refused else gemini_reply()

    faults.script(strict)
    chat = gemini_chat()
    with ThreadPoolExecutor(8) as pool:
        assert {reply.text for reply in pool.map(lambda _: chat.complete(ASKED), range(16))} == {"Paris."}


def test_a_schema_is_sent_and_left_out_where_it_is_refused(faults, gemini_chat):
    faults.script(gemini_error(400, 'Invalid JSON payload: Unknown name "responseJsonSchema"', "INVALID_ARGUMENT"), gemini_reply("{}"))
    gemini_chat().complete(ASKED, schema={"type": "object", "properties": {}})
    first, second = (request.body["generationConfig"] for request in faults.requests)
    assert first["responseJsonSchema"] == {"type": "object", "properties": {}}
    assert "responseJsonSchema" not in second
    assert second["responseMimeType"] == "application/json"


def test_a_stream_that_is_cut_is_no_answer(faults, gemini_chat):
    faults.script(gemini_stream(cut=True))
    pieces = []
    with pytest.raises(CutStreamError, match="in the middle of an answer"):
        pieces.extend(gemini_chat().stream(ASKED))
    assert pieces == ["Par", "is."]


def test_a_connection_that_is_cut_before_the_first_piece_is_worth_another_try(faults, gemini_chat):
    for answer in (gemini_stream([], cut=True), Answer(body=gemini_reply().body, cut=True)):
        faults.script(answer)
        with pytest.raises(UnreachableError, match="cannot be reached, or does not answer"):
            list(gemini_chat().stream(ASKED)) if answer.events is not None else gemini_chat().complete(ASKED)


def test_a_stream_without_an_end_is_no_answer(faults, gemini_chat):
    faults.script(gemini_stream(finish=None))
    with pytest.raises(CutStreamError, match="it sent no end"):
        list(gemini_chat().stream(ASKED))


def test_an_error_within_a_stream_is_told(faults, gemini_chat):
    faults.script(gemini_stream(finish=None, then=[{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}]))
    with pytest.raises(CutStreamError, match="overloaded"):
        list(gemini_chat().stream(ASKED))
    for odd in ("overloaded", {"message": "overloaded"}):
        faults.script(gemini_stream([], finish=None, then=[{"error": odd}]))
        with pytest.raises(ChatError):
            list(gemini_chat().stream(ASKED))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_server_that_says_nothing_is_not_waited_for(streamed, faults, gemini_chat):
    faults.script(Answer(silent=True))
    chat = gemini_chat(timeout=0.2)
    with pytest.raises(UnreachableError, match=r"(?i)timed? ?out"):
        list(chat.stream(ASKED)) if streamed else chat.complete(ASKED)


@pytest.mark.parametrize(
    "answer",
    [Answer(body="<html>Welcome</html>"), Answer(body="{", headers={"Content-Type": "application/json"}), Answer(body={"ok": True})],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_of_something_else_names_the_address_setting(answer, streamed, faults, gemini_chat):
    faults.script(answer)
    with pytest.raises(ChatError, match=r"chat\.base_urls"):
        list(gemini_chat().stream(ASKED)) if streamed else gemini_chat().complete(ASKED)


def test_an_answer_without_usage_counts_nothing(faults, gemini_chat):
    faults.script(gemini_reply(usage=False))
    assert gemini_chat().complete(ASKED).usage == Usage()


def test_no_server_is_unreachable(faults, gemini_chat):
    faults.__exit__()
    with pytest.raises(UnreachableError, match="cannot be reached") as caught:
        gemini_chat().complete(ASKED)
    assert caught.value.answered, "nothing was sent, so nothing was charged"


def test_system_messages_and_turns_go_where_gemini_wants_them(faults, gemini_chat):
    faults.script(gemini_reply())
    gemini_chat().complete([*ASKED, Message("assistant", "Paris."), Message("user", "Sure?")])
    body = faults.requests[0].body
    assert body["systemInstruction"]["parts"] == [{"text": "Answer the question."}]
    assert [(turn["role"], turn["parts"][0]["text"]) for turn in body["contents"]] == [
        ("user", "What is the capital of France?"),
        ("model", "Paris."),
        ("user", "Sure?"),
    ]


def test_the_failing_servers_answers_are_the_sdks_own():
    from google.genai import types

    for body in (gemini_reply().body, gemini_reply(block="SAFETY").body, *(gemini_stream().events or ())):
        types.GenerateContentResponse.model_validate(body)
