"""The local engine as a chat model."""

from __future__ import annotations

import pytest
from vendor_words import ASKED

from ragtune.errors import ContextOverflowError
from ragtune.types import Message

pytest.importorskip("torch")

from ragtune.chat.local import LocalChat
from ragtune.engine.huggingface import HuggingFaceEngine


@pytest.fixture(scope="module")
def chat(tiny) -> LocalChat:
    return LocalChat(HuggingFaceEngine(tiny, device="cpu"), "local:tiny")


def test_a_stream_is_the_whole_answer_in_pieces(chat):
    whole = chat.complete(ASKED, max_tokens=20)
    *pieces, streamed = chat.stream(ASKED, max_tokens=20)
    assert "".join(pieces) == streamed.text == whole.text
    assert streamed.usage.prompt_tokens == whole.usage.prompt_tokens
    assert streamed.finished is whole.finished
    assert whole.cost == streamed.cost == 0
    assert streamed.logprob == pytest.approx(whole.logprob, abs=1e-3)
    assert streamed.abstain_logodds == pytest.approx(whole.abstain_logodds, abs=1e-3)


def test_a_prompt_that_does_not_fit_is_refused(chat):
    for call in (chat.complete, lambda messages: list(chat.stream(messages))):
        with pytest.raises(ContextOverflowError, match="show fewer or shorter passages"):
            call([Message("user", "word " * 2000)])
