"""Words of a refusal to errors; waiting times; and no key in any of them."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ragtune.errors import UnreachableError
from ragtune.hosted.failures import classify, is_lost_connection, is_never_sent, redact, retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"Retry-After-Ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_read(headers, seconds):
    assert retry_after(headers) == seconds


def test_a_date_to_wait_for_is_read():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (retry_after({"Retry-After": later}) or 0) <= 30
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


@pytest.mark.parametrize(
    "text", ["sk-proj-0123456789abcdef", "AIzaSyA0123456789abcdef", "sk-local*********3456", "hf_0123456789abcdef", "own0secret"]
)
def test_what_looks_like_a_key_is_taken_out(text):
    assert text not in redact(f"the key {text} is wrong", "own0secret")


def test_the_key_is_taken_out_before_a_message_is_shortened():
    secret = "x" * 40
    error = classify("openai:m", status=400, message="a" * 280 + secret, secret=secret)
    assert "xxx" not in str(error)


@pytest.mark.parametrize(
    ("status", "answered"), [(500, True), (503, True), (429, None), (408, False), (502, False), (504, False), (None, False)]
)
def test_a_server_in_between_may_have_waited_for_a_paid_answer(status, answered):
    error = classify("openai:m", status=status, message="busy")
    assert (error.answered if isinstance(error, UnreachableError) else None) is answered


def test_what_was_never_sent_is_told_from_what_may_have_been_charged():
    httpx = pytest.importorskip("httpx")
    httpx2 = pytest.importorskip("httpx2")

    def wrapped(cause):
        error = RuntimeError("Connection error.")
        error.__cause__ = cause
        return error

    never = [kind("x") for each in (httpx, httpx2) for kind in (each.ConnectError, each.ConnectTimeout)]
    never += [ConnectionRefusedError("x"), socket.gaierror("x")]
    perhaps = [httpx.ReadError("x"), httpx2.ReadTimeout("x"), httpx.RemoteProtocolError("x"), ConnectionResetError("x"), TimeoutError("x")]
    assert all(is_never_sent(error) and is_never_sent(wrapped(error)) for error in never)
    assert not any(is_never_sent(error) or is_never_sent(wrapped(error)) for error in perhaps)


def test_errors_of_any_http_library_are_lost_connections():
    httpx = pytest.importorskip("httpx")
    httpx2 = pytest.importorskip("httpx2")
    assert all(is_lost_connection(error("x")) for error in (httpx.ReadError, httpx2.ReadError, httpx2.ReadTimeout, ConnectionResetError))
    assert not is_lost_connection(ValueError("x"))
