"""Around a hosted model: nothing is paid twice, the cap holds, servers are waited for as they ask, and no words are taken back."""

from __future__ import annotations

import contextlib
import gc
import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from vendor_words import ASKED

from faults import Answer, openai_error, openai_reply, openai_stream
from ragtune.errors import (
    ChatError,
    CutStreamError,
    KeyRefusedError,
    QuotaError,
    RateLimitError,
    RefusalError,
    SpendingCapError,
    UnreachableError,
)
from ragtune.hosted.ledger import Ledger
from ragtune.types import Message, Reply, Sampling
from waiting import PATIENCE_S

pytest.importorskip("tenacity")

from ragtune.chat.generate import generate, side_by_side
from ragtune.chat.metered import MeteredChat
from ragtune.hosted import meter
from ragtune.hosted.meter import RateLimit

CENT = 0.01
BUSY = openai_error(429, "Rate limit reached", "rate_limit_exceeded", headers={"retry-after-ms": "50"})


def price(usage):
    """A cent a token."""
    return CENT * (usage.prompt_tokens + usage.completion_tokens)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.db", cap=100.0)


@pytest.fixture
def metered_chat(openai_chat, ledger):
    def make(**options):
        return MeteredChat(openai_chat(timeout=options.pop("timeout", PATIENCE_S)), ledger, **{"price": price, "retries": 2, **options})

    return make


@pytest.fixture
def _no_patience(monkeypatch):
    """Where the server does not say how long to wait, a test waits not at all."""
    monkeypatch.setattr(meter, "_backoff", lambda _: 0.0)


def test_the_same_question_is_paid_for_once(faults, metered_chat, ledger):
    faults.script(openai_reply())
    first, again = (metered_chat().complete(ASKED) for _ in range(2))
    assert (first.cached, again.cached) == (False, True)
    assert (first.text, first.cost) == (again.text, again.cost) == ("Paris.", pytest.approx(25 * CENT))
    assert ledger.spent == pytest.approx(25 * CENT)
    assert len(faults.requests) == 1


def test_a_stream_is_paid_for_once_and_shares_its_answer_with_a_whole_one(faults, metered_chat, ledger):
    faults.script(openai_stream())
    first, again = (list(metered_chat().stream(ASKED)) for _ in range(2))
    assert first[:-1] == ["Par", "is."]
    assert again[:-1] == ["Paris."]
    assert (first[-1].cached, again[-1].cached) == (False, True)
    assert metered_chat().complete(ASKED).cached
    assert list(metered_chat(cache=False).stream(ASKED))[:-1] == ["Par", "is."]
    assert ledger.spent == pytest.approx(2 * 25 * CENT)
    assert len(faults.requests) == 2


def test_without_a_cache_nothing_that_was_written_is_kept(faults, metered_chat, ledger):
    faults.script(openai_reply(), openai_stream(), openai_reply(None, refusal="never"))
    metered_chat(cache=False).complete(ASKED)
    list(metered_chat(cache=False).stream(ASKED))
    with pytest.raises(RefusalError):
        metered_chat(cache=False).complete(ASKED)
    assert ledger.spent > 50 * CENT, "what it cost is"
    with contextlib.closing(sqlite3.connect(ledger._path)) as db:
        assert db.execute("SELECT COUNT(*) FROM replies").fetchone() == (0,)


def test_a_seeded_answer_is_kept_and_one_to_be_drawn_anew_is_not(faults, metered_chat):
    faults.script(openai_stream())
    for ways, asked in (
        ({}, 1), ({"temperature": 0.5, "seed": 1}, 1), ({"temperature": 0.5, "seed": 2}, 1), ({"temperature": 0.5}, 2),
        ({"top_p": 0.5}, 1), ({"stop": ("x",)}, 1), ({"schema": {}}, 1),
    ):  # fmt: skip
        before = len(faults.requests)
        replies = [list(metered_chat().stream(ASKED, sampling=Sampling(**ways)))[-1] for _ in range(2)]
        assert len(faults.requests) - before == asked, ways
        assert [reply.cached for reply in replies] == [False, asked == 1]


@pytest.mark.usefixtures("_no_patience")
def test_a_stream_that_was_cut_is_not_kept(faults, metered_chat):
    faults.script(openai_stream(cut=True), openai_stream())
    with pytest.raises(CutStreamError):
        list(metered_chat().stream(ASKED))
    assert not list(metered_chat().stream(ASKED))[-1].cached


@pytest.mark.parametrize("answer", [openai_reply(None, refusal="no"), openai_reply("", finish="content_filter")])
def test_a_refusal_that_was_charged_is_paid_for_once_and_has_its_cost(answer, faults, metered_chat, ledger):
    faults.script(answer)
    for _ in range(2):
        with pytest.raises(RefusalError) as caught:
            metered_chat().complete(ASKED)
        assert caught.value.cost == pytest.approx(25 * CENT)
    assert len(faults.requests) == 1
    assert ledger.spent == pytest.approx(25 * CENT)
    ((_, generation),) = generate(metered_chat(), [ASKED])
    assert (generation.text, generation.cost) == ("", pytest.approx(25 * CENT))


def test_a_refused_prompt_costs_nothing_and_is_asked_again(faults, metered_chat):
    faults.script(openai_error(400, "flagged by the content filter", "content_filter"))
    for _ in range(2):
        with pytest.raises(RefusalError) as caught:
            metered_chat().complete(ASKED)
        assert caught.value.cost == 0.0
    assert len(faults.requests) == 2


def test_where_nobody_listens_nothing_is_charged(faults, metered_chat, ledger):
    faults.__exit__()
    for _ in range(2):
        with pytest.raises(UnreachableError):
            metered_chat(retries=0).complete(ASKED)
    assert ledger.spent == 0


def test_room_to_think_is_set_aside_too(faults, openai_chat, ledger):
    spent = []

    def note(_):
        spent.append(ledger.spent)
        return openai_reply()

    faults.script(note)
    chat = openai_chat("m", name="deepseek:m", thinking=True)
    MeteredChat(chat, ledger, price=lambda usage: usage.completion_tokens / 1000, headroom=lambda: chat.headroom).complete(
        ASKED, max_tokens=16
    )
    assert spent == [pytest.approx((16 + meter.THINKING_TOKENS) / 1000)]


@pytest.mark.parametrize("limit", [None, RateLimit(1)])
def test_an_interrupt_ends_waits_for_another_attempt_at_once(limit, faults, metered_chat):
    faults.script(openai_error(429, "slow down", headers={"Retry-After": "60"}) if limit is None else openai_reply())
    chat = metered_chat(limit=limit)
    if limit is not None:
        limit.wait()

    def items():
        yield from range(2)
        time.sleep(0.5)
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(side_by_side(lambda n: chat.complete(ASKED, seed=n), items(), 2))
    assert time.monotonic() - began < 50, "it would have waited for a minute"


@pytest.mark.parametrize(
    "change",
    [{"max_tokens": 7}, {"seed": 1}, {"temperature": 0.5}, {"schema": {"type": "object"}}, {"messages": [Message("user", "Other?")]}],
)
def test_another_question_is_asked(change, faults, metered_chat):
    faults.script(openai_reply())
    metered_chat().complete(ASKED)
    assert not metered_chat().complete(**{"messages": ASKED, **change}).cached


@pytest.mark.parametrize("change", [{"cache": False}, {"address": "http://other"}, {"thinking": True}])
def test_another_server_another_way_or_no_cache_asks_again(change, faults, metered_chat):
    faults.script(openai_reply())
    metered_chat().complete(ASKED)
    assert not metered_chat(**change).complete(ASKED).cached


def test_eight_threads_never_pass_the_cap(faults, openai_chat, tmp_path):
    counted, spent = [], []

    def note(usage):
        counted.append(usage)
        return price(usage)

    def gone(_):
        spent.append(ledger.spent)
        return openai_error(504, "Gateway Timeout")  # which may have been charged

    faults.script(openai_reply())
    MeteredChat(openai_chat(), Ledger(tmp_path / "other.db"), price=note).complete(ASKED, max_tokens=16)
    most = price(counted[0])  # what is set aside comes first
    ledger = Ledger(tmp_path / "ledger.db", cap=3.5 * most)
    chat = MeteredChat(openai_chat(), ledger, price=price, retries=0)
    faults.script(gone)

    def ask(n):
        with pytest.raises((UnreachableError, SpendingCapError)) as caught:
            chat.complete(ASKED, max_tokens=16, seed=n)
        return caught.type

    with ThreadPoolExecutor(8) as pool:
        kinds = list(pool.map(ask, range(24)))
    assert kinds.count(UnreachableError) == len(faults.requests) == 3
    assert max(spent) <= 3.5 * most
    assert ledger.spent == pytest.approx(3 * most)


def test_what_is_set_aside_is_more_than_a_server_counts_schema_included(llama_server, tmp_path):
    from ragtune.chat.openai import OpenAIChat

    schema = {"type": "object", "properties": {f"field {n}": {"type": "string"} for n in range(30)}, "additionalProperties": False}
    counted = []
    chat = OpenAIChat("compatible:m", "m", base_url=llama_server.url, api_key=llama_server.key)
    around = MeteredChat(chat, Ledger(tmp_path / "ledger.db"), price=lambda usage: counted.append(usage) or 0.0)
    around.complete(ASKED, max_tokens=4)
    around.complete(ASKED, max_tokens=4, schema=schema)
    before, true, with_schema, _ = counted
    assert before.prompt_tokens > true.prompt_tokens > 0
    assert with_schema.prompt_tokens - before.prompt_tokens >= len(json.dumps(schema))


@pytest.mark.parametrize("case", ["seconds", "milliseconds", "date"])
def test_a_server_is_waited_for_as_long_as_it_asks(case, faults, metered_chat):
    def busy(_):
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)  # one to two seconds after it was asked
        asked = {"seconds": {"Retry-After": "1"}, "milliseconds": {"retry-after-ms": "700"}, "date": {"Retry-After": date}}[case]
        return openai_error(429, "slow down", headers=asked)

    faults.script(busy, openai_reply())
    began = time.monotonic()
    assert metered_chat().complete(ASKED).text == "Paris."
    assert time.monotonic() - began > 0.5


def test_a_wait_that_is_too_long_is_told_instead(faults, metered_chat):
    faults.script(openai_error(429, "slow down", headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimitError):
        metered_chat().complete(ASKED)
    assert len(faults.requests) == 1


@pytest.mark.usefixtures("_no_patience")
@pytest.mark.parametrize("first", [openai_error(500, "failed"), Answer(503, "<html>"), Answer(body="{", cut=True)])
def test_a_server_that_failed_once_is_asked_again(first, faults, metered_chat):
    faults.script(first, openai_reply())
    assert metered_chat().complete(ASKED).text == "Paris."
    faults.script(first, openai_stream())
    assert list(metered_chat(cache=False).stream(ASKED))[:-1] == ["Par", "is."]


@pytest.mark.usefixtures("_no_patience")
def test_attempts_come_to_an_end(faults, metered_chat):
    faults.script(openai_error(500, "failed"))
    with pytest.raises(UnreachableError, match="failed with status 500"):
        metered_chat(retries=3).complete(ASKED)
    assert len(faults.requests) == 4


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (openai_error(401, "no", "invalid_api_key"), KeyRefusedError),
        (openai_error(429, "no", "insufficient_quota"), QuotaError),
        (openai_reply(None, refusal="no"), RefusalError),
        (Answer(body="<html>"), ChatError),
    ],
)
def test_what_waiting_does_not_mend_is_not_tried_again(answer, kind, faults, metered_chat):
    faults.script(answer)
    with pytest.raises(kind):
        metered_chat().complete(ASKED)
    assert len(faults.requests) == 1


@pytest.mark.usefixtures("_no_patience")
def test_a_stream_is_tried_again_only_before_its_first_piece(faults, metered_chat):
    faults.script(openai_stream([], cut=True), BUSY, openai_stream())
    *pieces, reply = metered_chat().stream(ASKED)
    assert pieces == ["Par", "is."]
    assert isinstance(reply, Reply)
    assert reply.cost == pytest.approx(25 * CENT)
    faults.script(openai_stream(cut=True), openai_stream())
    with pytest.raises(CutStreamError):
        list(metered_chat(cache=False).stream(ASKED))
    assert len(faults.requests) == 1


@pytest.mark.parametrize(
    ("answer", "charged"),
    [
        (openai_error(401, "no", "invalid_api_key"), False),
        (openai_error(500, "failed"), False),
        (openai_error(400, "flagged by the content filter", "content_filter"), False),
        (openai_error(504, "Gateway Timeout"), True),
        (Answer(body=openai_reply().body, cut=True), True),
        (Answer(silent=True), True),
        (openai_reply("", finish="content_filter"), True),
        (openai_reply(usage=False), True),
    ],
)
def test_what_may_have_been_charged_stays_set_aside(answer, charged, faults, metered_chat, ledger):
    faults.script(answer)
    chat = metered_chat(retries=0, timeout=0.3 if answer.silent else PATIENCE_S)
    with contextlib.suppress(ChatError):
        chat.complete(ASKED)
    assert (ledger.spent > 0) is charged


def test_who_stops_listening_hangs_up_and_may_have_been_charged(faults, metered_chat, ledger):
    faults.script(openai_stream(["word "] * 50))
    stream = metered_chat().stream(ASKED)
    assert next(stream) == "word "
    stream.close()
    gc.collect()  # an unclosed connection would be a warning, and so an error
    assert ledger.spent > 0


def test_a_price_that_is_not_known_leaves_the_cost_open(faults, metered_chat, ledger):
    faults.script(openai_reply())
    assert metered_chat(price=None).complete(ASKED).cost is None
    assert ledger.spent == 0


def test_calls_keep_their_distance_in_all_threads_together(faults, metered_chat):
    times = []

    def note(_):
        times.append(time.monotonic())
        return openai_reply()

    faults.script(note)
    chat = metered_chat(limit=RateLimit(600))
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: chat.complete(ASKED, seed=n), range(6)))
    assert max(times) - began > 0.45, "the sixth call is let through half a second after the first, however slow the others are"
