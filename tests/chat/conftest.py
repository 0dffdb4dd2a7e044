from __future__ import annotations

from collections.abc import Callable

import pytest
from vendor_words import KEY

from faults import FaultServer
from waiting import PATIENCE_S


@pytest.fixture
def openai_chat(faults: FaultServer) -> Callable[..., object]:
    """Makes chat models of OpenAI's protocol over the failing server."""
    pytest.importorskip("openai")
    from ragtune.chat.openai import OpenAIChat

    def make(model: str = "m", *, name: str = "compatible:m", timeout: float = PATIENCE_S, thinking: bool = False) -> OpenAIChat:
        return OpenAIChat(
            name, model, base_url=faults.url, api_key=KEY, key_variable="COMPATIBLE_API_KEY", timeout=timeout, thinking=thinking
        )

    return make


@pytest.fixture
def gemini_chat(faults: FaultServer) -> Callable[..., object]:
    """Makes chat models of Gemini's protocol over the failing server."""
    pytest.importorskip("google.genai")
    from ragtune.chat.gemini import GeminiChat
    from ragtune.hosted.gemini import connect

    def make(model: str = "m", *, timeout: float = PATIENCE_S, thinking: bool = False) -> GeminiChat:
        client = connect(KEY, base_url=faults.root, timeout=timeout)
        return GeminiChat(f"gemini:{model}", model, client=client, secret=KEY, key_variable="GEMINI_API_KEY", thinking=thinking)

    return make
