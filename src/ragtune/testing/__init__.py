"""Contract suites: what every backend must do, ragtune's own and yours alike. Call one from a test with a way to make the backend.

Plain asserts of NumPy's testing, so that no test framework is needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal, assert_array_less, assert_equal

from ragtune.errors import ContextOverflowError
from ragtune.protocols import ChatModel, Embedder, Engine, Float32, VectorStore
from ragtune.types import Generation, Message, Reply, Sampling

_DIMENSION = 16
_ANSWER_SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"], "additionalProperties": False}


def check_vector_store(make: Callable[[int], VectorStore], load: Callable[[Path], VectorStore]) -> None:
    """Hold a vector store to its contract.

    Args:
        make: an empty store of a dimension.
        load: a store as it was saved into a folder.

    Raises:
        AssertionError: it breaks the contract; the message shows where.
    """
    vectors_nd, queries_qd = _vectors(40, seed=1), _vectors(5, seed=2)
    ids_n = np.arange(40, dtype=np.int64) * 7 + 2**33  # rows are 64 bit and have gaps
    scores_qn = queries_qd @ vectors_nd.T
    best_qn = ids_n[np.argsort(-scores_qn, axis=1)]

    empty = make(_DIMENSION)
    assert_equal(len(empty), 0)
    _check_nothing_found(empty, queries_qd)

    store = make(_DIMENSION)
    store.add(ids_n[:25], vectors_nd[:25])
    store.add(ids_n[25:], vectors_nd[25:])
    store.add(ids_n[:0], vectors_nd[:0])
    assert_equal(len(store), 40)
    scores_qk, ids_qk = store.search(queries_qd, 10)
    assert_array_equal(ids_qk, best_qn[:, :10], "the ten nearest, best first")
    assert_allclose(scores_qk, -np.sort(-scores_qn, axis=1)[:, :10], atol=1e-5, err_msg="scores are inner products")
    assert_equal((scores_qk.dtype, ids_qk.dtype), (np.dtype(np.float32), np.dtype(np.int64)))

    scores_qk, ids_qk = store.search(queries_qd, 43)
    assert_array_equal(ids_qk, np.pad(best_qn, ((0, 0), (0, 3)), constant_values=-1), "fewer than k: padded with -1")
    assert_equal(store.search(queries_qd[:0], 10)[1].shape, (0, 10), "no queries, no rows")

    among = np.append(ids_n[::3], 5)
    ids_qk = store.search(queries_qd, 16, among=among)[1]
    expected = [[id_ for id_ in best if id_ in among] for best in best_qn]
    assert_array_equal(ids_qk, np.pad(expected, ((0, 0), (0, 2)), constant_values=-1), "of some ids, all are ranked and no other is found")

    gone = best_qn[0, :3]
    store.remove(np.append(gone, 5))
    store.remove(gone)
    assert_equal(len(store), 37, "unknown ids are passed over")
    assert_array_equal(store.search(queries_qd[:1], 10)[1][0], best_qn[0, 3:13], "what was removed is not found")

    with tempfile.TemporaryDirectory() as folder:
        store.save(Path(folder) / "index")  # made where it is missing
        store.save(Path(folder) / "index")  # and replaced where it is not
        loaded = load(Path(folder) / "index")
        assert_equal(len(loaded), 37)
        for one, other in zip(loaded.search(queries_qd, 10), store.search(queries_qd, 10), strict=True):
            assert_array_equal(one, other, "a loaded store answers as the saved one")
        loaded.add(gone, vectors_nd[np.isin(ids_n, gone)][np.argsort(np.argsort(gone))])
        assert_array_equal(loaded.search(queries_qd, 10)[1], best_qn[:, :10], "a loaded store can be patched")

    store.remove(ids_n)
    _check_nothing_found(store, queries_qd)


def check_embedder(make: Callable[[], Embedder], *, least_cosine: float = 0.9999) -> None:
    """Hold an embedder to its contract.

    Args:
        make: the embedder, as another process would make it.
        least_cosine: between two vectors of one text, embedded in other company; servers of quantised models need it lower.

    Raises:
        AssertionError: it breaks the contract; the message shows where.
    """
    texts = ["The ferry crosses the bay.", "Ünï – 北京", "a", "", "rust " * 20, "Who built the mill of Calder?"]
    embedder = make()
    assert_equal(make().fingerprint, embedder.fingerprint, "the fingerprint is the same in every process")
    assert_equal((bool(embedder.name), bool(embedder.fingerprint), embedder.max_tokens > 0), (True, True, True))
    for embed in (embedder.embed_documents, embedder.embed_queries):
        vectors_nd = embed(texts)
        assert_equal((vectors_nd.shape, vectors_nd.dtype), ((len(texts), embedder.dimension), np.dtype(np.float32)))
        assert_allclose(np.linalg.norm(vectors_nd, axis=1), 1, atol=1e-5, err_msg="vectors are L2-normalised")
        others_nd = np.concatenate([embed([*texts[:0:-1], texts[4]])[-2::-1], embed(texts[:1])])
        cosines_nn = np.roll(others_nd, 1, axis=0) @ vectors_nd.T
        assert_array_equal(cosines_nn.argmax(axis=1), np.arange(len(texts)), "vectors are in the order of the texts")
        assert_array_less(least_cosine, np.diag(cosines_nn), "a text has one vector, whatever it is embedded with")
        assert_equal(embed([]).shape, (0, embedder.dimension), "no texts, no rows")
    assert_equal(make().dimension, embedder.dimension)
    assert_equal(embedder.count_tokens([]), [])
    nothing, one, some, many = embedder.count_tokens(["", "a", "a " * 50, "a " * 5000])
    assert_equal((nothing, one, many > 90 * some), (0, 1, True), "tokens are counted without special ones, and never cut")


def check_chat_model(chat: ChatModel, *, window: int | None = None) -> None:
    """Hold a chat model to its contract; about a dozen short answers are asked for.

    Args:
        chat: the model.
        window: tokens that it can read; where given, a prompt that is longer is sent too, and must be refused as such.

    Raises:
        AssertionError: it breaks the contract; the message shows where.
    """
    asked = [Message("system", "You are terse."), Message("user", "What is the capital of France?")]
    assert_equal(":" in chat.name, True, "it is named provider:model")
    reply = chat.complete(asked, max_tokens=12)
    _check_reply(reply, 12)
    assert_equal(reply.usage.prompt_tokens > 0 and reply.usage.completion_tokens > 0, True, "it counts tokens")
    short = chat.complete(asked, max_tokens=1)
    _check_reply(short, 1)
    assert_equal(short.finished, False, "an answer that the limit cut off is not finished")
    turns = [*asked, Message("assistant", "Paris."), Message("user", "And of Italy?")]
    _check_reply(chat.complete(turns, max_tokens=8), 8)
    _check_reply(chat.complete(asked, max_tokens=24, schema=_ANSWER_SCHEMA, temperature=0.7, seed=3), 24)

    *pieces, last = chat.stream(asked, max_tokens=12)
    assert isinstance(last, Reply), "the last of a stream is its reply"  # noqa: S101
    assert_equal([type(piece) for piece in pieces], [str] * len(pieces), "before the reply come pieces of text")
    assert_equal("" in pieces, False, "no piece is empty")
    assert_equal("".join(str(piece) for piece in pieces), last.text, "the pieces make the reply's text")
    _check_reply(last, 12)
    begun = chat.stream(asked, max_tokens=64)
    next(begun)
    if isinstance(begun, Generator):
        begun.close()

    with ThreadPoolExecutor(3) as pool:
        for one in pool.map(lambda n: chat.complete([Message("user", f"Count to {n}.")], max_tokens=4), range(3)):
            _check_reply(one, 4)
    if window is not None:
        _check_overflow(chat, window)


def check_engine(engine: Engine) -> None:
    """Hold an engine to its contract; about a dozen short answers are asked of its base model.

    Args:
        engine: in a number format that gives the same text alone and in company, as float32.

    Raises:
        AssertionError: it breaks the contract; the message shows where.
    """
    chats = [[Message("user", f"Question: How far is {place}?")] for place in ("Calder", "the mill on the other side", "it")]
    whole = dict(engine.generate(chats, max_new_tokens=16))
    assert_equal(sorted(whole), [0, 1, 2], "each prompt has its answer")
    assert_equal(dict(engine.generate(chats[::-1], max_new_tokens=16, batch_size=2))[2].text, whole[0].text, "company changes nothing")
    for number, chat in enumerate(chats):
        last = _check_stream(engine, chat, 16, Sampling())
        assert_equal((last.text, last.finished), (whole[number].text, whole[number].finished), "a stream is the whole answer")
        assert_equal(last.completion_tokens, whole[number].completion_tokens)
        assert_allclose(last.logprob or 0.0, whole[number].logprob or 0.0, atol=1e-2)
    warm = Sampling(temperature=1.0, top_p=0.95, seed=5)
    assert_equal(_check_stream(engine, chats[0], 16, warm).text, _check_stream(engine, chats[0], 16, warm).text, "a seed repeats")
    stop = whole[1].text[3:5]
    ended = _check_stream(engine, chats[1], 16, Sampling(stop=(stop,)))
    assert_equal((ended.text, ended.finished), (whole[1].text.partition(stop)[0], True), "an answer ends before its stop text")
    ((nll, tokens),) = engine.nll([(chats[0], "a")])
    assert_equal((nll > 0, tokens > 0), (True, True), "a completion has a likelihood")


def _check_stream(engine: Engine, chat: Sequence[Message], limit: int, sampling: Sampling) -> Generation:
    *pieces, last = engine.stream(chat, max_new_tokens=limit, sampling=sampling)
    assert isinstance(last, Generation), "the last of a stream is all of it"  # noqa: S101
    assert_equal("".join(str(piece) for piece in pieces), last.text, "the pieces make the text")
    assert_equal("" in pieces, False, "no piece is empty")
    assert_equal(last.completion_tokens <= limit, True)
    return last


def _check_reply(reply: Reply, limit: int) -> None:
    assert_equal(type(reply.text), str)
    assert_equal(bool(reply.model), True, "a reply names its model")
    assert_equal(0 <= reply.usage.completion_tokens <= limit, True, f"{reply.usage} stays within {limit}")
    assert_equal(reply.seconds >= 0, True)
    assert_equal(reply.cost is None or reply.cost >= 0, True)


def _check_overflow(chat: ChatModel, window: int) -> None:
    try:
        chat.complete([Message("user", "word " * 2 * window)], max_tokens=4)
    except ContextOverflowError:
        return
    raise AssertionError("a prompt that does not fit is refused as such")


def _check_nothing_found(store: VectorStore, queries_qd: Float32) -> None:
    _, ids_qk = store.search(queries_qd, 3)
    assert_array_equal(ids_qk, np.full((len(queries_qd), 3), -1), "an empty store finds nothing")


def _vectors(n: int, seed: int) -> Float32:
    vectors_nd = np.random.default_rng(seed).standard_normal((n, _DIMENSION)).astype(np.float32)
    normalised: Float32 = vectors_nd / np.linalg.norm(vectors_nd, axis=1, keepdims=True)
    return normalised
