"""Hosted embedders: a real llama.cpp server, and a loopback server of both protocols that can be made to fail."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from waiting import PATIENCE_S

pytest.importorskip("openai", reason="openai is not installed")
pytest.importorskip("google.genai", reason="google-genai is not installed")

from embedding_server import KEY, Answer, error, openai_body, vector
from ragtune.chat.generate import side_by_side
from ragtune.embed.cache import VectorCache
from ragtune.embed.gemini import GeminiEmbeddings
from ragtune.embed.hosted import HostedEmbedder, fingerprint
from ragtune.embed.openai import OpenAIEmbeddings
from ragtune.errors import (
    ChatError,
    ContextOverflowError,
    KeyRefusedError,
    RateLimitError,
    SpendingCapError,
    UnreachableError,
)
from ragtune.hosted.gemini import connect
from ragtune.hosted.ledger import Ledger
from ragtune.hosted.meter import Meter
from ragtune.testing import check_embedder

PROTOCOLS = ("openai", "gemini")
TEXTS = [f"text number {number}" for number in range(10)]


def words(texts):
    return [len(text.split()) for text in texts]


def make(protocol, url, folder: Path, *, key=KEY, model=None, dimensions=None, cap=float("inf"), retries=2, **options) -> HostedEmbedder:
    model = model or {"openai": "text-embedding-3-small", "gemini": "gemini-embedding-001"}[protocol]
    name = f"{protocol}:{model}"
    if protocol == "openai":
        server = OpenAIEmbeddings(
            name, model, base_url=url, api_key=key, key_variable="OPENAI_API_KEY", dimensions=dimensions, timeout=PATIENCE_S
        )
    else:
        client = connect(key, base_url=url.removesuffix("/v1"), timeout=PATIENCE_S)
        server = GeminiEmbeddings(name, model, client=client, secret=key, key_variable="GEMINI_API_KEY", dimensions=dimensions)
    meter = Meter(name, Ledger(folder / "chat.db", cap), price=lambda usage: usage.prompt_tokens * 1.0, retries=retries)
    mark = fingerprint(protocol, model, dimensions, url)
    options = {"count_tokens": words, "max_tokens": 512, "batch_size": 4, **options}
    return HostedEmbedder(server, meter, VectorCache(folder / "embeddings.db"), fingerprint=mark, dimensions=dimensions, **options)


@pytest.fixture(params=PROTOCOLS)
def made(request, embeddings, tmp_path):
    """A way to make an embedder of each protocol over the loopback server."""
    return lambda **options: make(request.param, embeddings.openai, tmp_path, **options)


def test_an_interrupt_of_who_asks_ends_the_embedders_waits_too(embeddings, tmp_path):
    embeddings.faults = [lambda _: error(429, "slow down", retry_after="60")] * 9
    embedder = make("openai", embeddings.openai, tmp_path)

    def items():
        yield "a question"
        time.sleep(0.5)
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(side_by_side(lambda text: embedder.embed_queries([text]), items(), 2))
    assert time.monotonic() - began < 50, "it would have waited for a minute"


def test_hosted_embedders_fulfil_the_contract(made):
    check_embedder(made)


def test_a_real_server_fulfils_the_contract(llama_embeddings, tmp_path):
    # In other batches, the 4-bit weights of this server give some texts a vector with a cosine of 0.96 to the one from before.
    check_embedder(lambda: make("openai", llama_embeddings.url, tmp_path, key=llama_embeddings.key), least_cosine=0.9)


def test_a_real_server_that_cannot_shorten_vectors_is_found_out(llama_embeddings, tmp_path):
    embedder = make("openai", llama_embeddings.url, tmp_path, key=llama_embeddings.key, dimensions=64)
    with pytest.raises(ChatError, match=r"asks for 64, and vectors of 576 came"):
        embedder.embed_documents(["a"])


def test_a_real_server_says_that_a_text_is_too_long_for_it(llama_embeddings, tmp_path):
    embedder = make("openai", llama_embeddings.url, tmp_path, key=llama_embeddings.key)
    with pytest.raises(ContextOverflowError, match=r"prepare\.chunk_size"):
        embedder.embed_documents(["wind " * 3000])


def test_a_real_server_refuses_a_wrong_key(llama_embeddings, tmp_path):
    with pytest.raises(KeyRefusedError, match="OPENAI_API_KEY"):
        make("openai", llama_embeddings.url, tmp_path, key="sk-wrong-0123456789").embed_queries(["a"])


def test_vectors_are_the_servers_and_normalised_whatever_the_order_of_its_rows(made, embeddings):
    expected_nd = np.array([vector(text, 24) for text in TEXTS])
    expected_nd /= np.linalg.norm(expected_nd, axis=1, keepdims=True)
    np.testing.assert_allclose(made().embed_documents(TEXTS), expected_nd, atol=1e-6)


def test_requests_keep_to_the_vendors_limits(embeddings, tmp_path):
    make("gemini", embeddings.openai, tmp_path, batch_size=5000).embed_documents([f"t{n}" for n in range(250)])
    assert sorted(len(body["requests"]) for body in embeddings.requests) == [50, 100, 100]
    embeddings.requests.clear()
    big = make("openai", embeddings.openai, tmp_path, batch_size=5000)
    big.embed_documents([f"t{n}" for n in range(2100)])
    assert sorted(len(body["input"]) for body in embeddings.requests) == [52, 2048]
    embeddings.requests.clear()
    big.embed_documents([letter * 120_000 for letter in "abcde"])
    assert sorted(len(body["input"]) for body in embeddings.requests) == [1, 2, 2]


def test_gemini_is_told_what_a_text_is_for(embeddings, tmp_path):
    first = make("gemini", embeddings.openai, tmp_path)
    first.embed_documents(["a"])
    first.embed_queries(["a"])
    assert [body["requests"][0]["taskType"] for body in embeddings.requests] == ["RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"]
    second = make("gemini", embeddings.openai, tmp_path, model="gemini-embedding-2")
    assert second.embed_documents(["a", "b"]).shape == (2, 24)  # and not one vector for both
    second.embed_queries(["a"])
    assert "taskType" not in embeddings.requests[-1]["requests"][0]
    assert embeddings.texts[-3:] == ["title: none | text: a", "title: none | text: b", "task: search result | query: a"]


def test_shorter_vectors_are_asked_for_and_normalised(made, embeddings):
    embedder = made(dimensions=8)
    assert embedder.dimension == 8
    assert embeddings.requests == []  # which costs no call
    np.testing.assert_allclose(np.linalg.norm(embedder.embed_documents(TEXTS), axis=1), 1, atol=1e-6)
    assert embedder.fingerprint != made().fingerprint


def test_a_model_that_cannot_be_shortened_may_still_have_the_length_asked_for(embeddings, tmp_path):
    embeddings.fixed = True
    assert make("openai", embeddings.openai, tmp_path, dimensions=24).embed_documents(TEXTS).shape == (10, 24)
    with pytest.raises(ChatError, match=r"asks for 8, and vectors of 24 came"):
        make("openai", embeddings.openai, tmp_path, dimensions=8).embed_documents(TEXTS)


def test_a_busy_server_is_asked_again_and_paid_once(made, embeddings, tmp_path):
    embeddings.faults = [lambda _: error(429, "slow down", retry_after="0"), lambda _: error(503, "overloaded", retry_after="0")]
    assert made(concurrency=1).embed_documents(TEXTS[:2]).shape == (2, 24)
    assert len(embeddings.requests) == 3
    assert Ledger(tmp_path / "chat.db").spent == 6  # words, at a dollar each


def test_a_server_that_stays_busy_is_said_to_be(made, embeddings):
    embeddings.faults = [lambda _: error(429, "slow down", retry_after="0")] * 9
    with pytest.raises(RateLimitError, match="too many requests"):
        made(retries=1).embed_documents(TEXTS[:2])


def test_a_wrong_key_is_named_by_its_variable_and_never_shown(made):
    with pytest.raises(KeyRefusedError, match=r"(OPENAI|GEMINI)_API_KEY") as caught:
        made(key="sk-mistaken-0123456789").embed_documents(["a"])
    assert "mistaken" not in str(caught.value)


def test_a_cut_connection_is_tried_again_and_its_cost_stays_set_aside(made, embeddings, tmp_path):
    embeddings.faults = [lambda _: Answer(cut=True)] * 2
    with pytest.raises(UnreachableError):
        made(retries=1).embed_documents(["a b"])
    assert Ledger(tmp_path / "chat.db").spent == 2 * len(b"a b" + b"\0" * 8)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda texts: Answer(body=openai_body([vector(text, 24) for text in texts[1:]], 1)), "3 vectors came for 4 texts"),
        (lambda texts: Answer(body=openai_body([[0.0] * 24 for _ in texts], 1)), "zero or no number"),
        (
            lambda texts: Answer(body=openai_body([[1.0]] + [vector(text, 24) for text in texts[1:]], 1)),
            "1 dimensions came, and of 24 before",
        ),
        (lambda _: Answer(body={"object": "list", "data": []}), "not one of an embeddings API"),
        (lambda _: Answer(body=b"<html>It works!</html>", headers={"content-type": "text/html"}), "not one of an embeddings API"),
    ],
    ids=["count", "zero", "dimension", "empty", "page"],
)
def test_a_wrong_answer_is_an_error_that_says_what_is_wrong(embeddings, tmp_path, answer, message):
    embedder = make("openai", embeddings.openai, tmp_path)
    embedder.embed_queries(["learn the dimension"])
    embeddings.faults = [answer]
    with pytest.raises(ChatError, match=message):
        embedder.embed_documents(TEXTS[:4])


def test_a_server_with_another_model_is_found_out_in_another_process_too(made, embeddings):
    made().embed_queries(TEXTS)
    embeddings.dimension = 12
    with pytest.raises(ChatError, match=r"of 12 dimensions came, and of 24 before.*embed\.dimensions = 12"):
        made().embed_documents(TEXTS)
    assert made(dimensions=12).embed_documents(TEXTS).shape == (10, 12)  # as the message says


def test_too_many_tokens_for_one_request_are_sent_in_two(embeddings, tmp_path):
    embeddings.faults = [lambda _: error(400, "Too many tokens in batch. Max is 16384 got 20000")]
    assert make("openai", embeddings.openai, tmp_path).embed_documents(TEXTS[:4]).shape == (4, 24)
    assert [len(body["input"]) for body in embeddings.requests] == [4, 2, 2]


def test_a_server_without_base64_is_asked_for_numbers(embeddings, tmp_path):
    embeddings.faults = [lambda _: error(400, "unknown encoding_format: base64")]
    assert make("openai", embeddings.openai, tmp_path).embed_documents(TEXTS[:4]).shape == (4, 24)
    assert [body["encoding_format"] for body in embeddings.requests] == ["base64", "float"]


def test_a_question_is_asked_for_once_and_the_dimension_never_again(made, embeddings):
    first = made().embed_queries([*TEXTS, *TEXTS])
    assert sorted(embeddings.texts) == sorted(TEXTS)  # each once
    embeddings.requests.clear()
    again = made()
    np.testing.assert_array_equal(again.embed_queries([*TEXTS, *TEXTS]), first)
    assert again.dimension == 24
    assert embeddings.requests == []


def test_the_cap_stops_before_it_is_passed_and_what_was_paid_for_is_kept(made, embeddings, tmp_path):
    texts = [f"{'long ' * 4}{number}" for number in range(12)]  # 5 words; a request of 4 may cost 29 dollars a text, and costs 20
    with pytest.raises(SpendingCapError, match=r"chat\.max_cost"):
        made(cap=150, concurrency=1).embed_documents(texts)
    assert Ledger(tmp_path / "chat.db").spent == 40
    assert embeddings.texts == texts[:8]
    assert made(concurrency=1).embed_documents(texts).shape == (12, 24)
    assert embeddings.texts == texts  # nothing was asked for twice


def test_several_requests_are_on_their_way_at_once_and_no_more_than_allowed(embeddings, tmp_path):
    running, most, first = [], [], threading.Barrier(3)

    def watch(_):
        running.append(1)
        most.append(len(running))
        if len(most) <= 3:
            first.wait(PATIENCE_S)  # until the others are on their way too
        time.sleep(0.1)
        running.pop()

    embeddings.faults = [watch] * 10
    make("openai", embeddings.openai, tmp_path, batch_size=1, concurrency=3).embed_documents(TEXTS)
    assert max(most) == 3
