"""Every chat model keeps the contract of ragtune.testing: local, OpenAI's protocol, Gemini's, LangChain's, and with a ledger around."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragtune.chat.local import LocalChat
from ragtune.chat.metered import MeteredChat
from ragtune.hosted.ledger import Ledger
from ragtune.testing import check_chat_model
from servers import CONTEXT, Server


def openai_chat(server: Server):
    pytest.importorskip("openai")
    from ragtune.chat.openai import OpenAIChat

    return OpenAIChat(f"compatible:{server.model}", server.model, base_url=server.url, api_key=server.key)


def test_openais_protocol(llama_server):
    check_chat_model(openai_chat(llama_server), window=CONTEXT)


def test_geminis_protocol(gemini_proxy):
    pytest.importorskip("google.genai")
    from ragtune.chat.gemini import GeminiChat
    from ragtune.hosted.gemini import connect

    client = connect(gemini_proxy.key, base_url=gemini_proxy.url)
    check_chat_model(GeminiChat(f"gemini:{gemini_proxy.model}", gemini_proxy.model, client=client), window=CONTEXT)


def test_a_langchain_model(llama_server, monkeypatch):
    pytest.importorskip("langchain_openai")
    from ragtune.chat.langchain import LangChainChat, load

    monkeypatch.setenv("OPENAI_API_KEY", llama_server.key)
    name = f"langchain:openai:{llama_server.model}"
    check_chat_model(LangChainChat(name, load(name, f"openai:{llama_server.model}", base_url=llama_server.url)), window=CONTEXT)


def test_with_a_ledger_around(llama_server, tmp_path: Path):
    ledger = Ledger(tmp_path / "ledger.db", cap=1.0)
    check_chat_model(MeteredChat(openai_chat(llama_server), ledger, price=lambda usage: 1e-6 * usage.completion_tokens), window=CONTEXT)
    assert 0 < ledger.spent < 1e-3


def test_a_local_model(tiny):
    from ragtune.engine.huggingface import HuggingFaceEngine

    check_chat_model(LocalChat(HuggingFaceEngine(tiny, device="cpu"), "local:tiny"), window=1024)
