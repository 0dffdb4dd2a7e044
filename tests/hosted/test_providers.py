"""provider:model: who is meant, what is told to who mistypes it, and where nothing is charged."""

from __future__ import annotations

import pytest

from ragtune.errors import ConfigError
from ragtune.hosted.providers import PROVIDERS, is_hosted, is_own_machine, price_name, split_name


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("openai:gpt-4.1", "openai", "gpt-4.1"),
        ("ollama:llama3.2:1b", "ollama", "llama3.2:1b"),
        ("langchain:anthropic:claude-x", "langchain", "anthropic:claude-x"),
        ("local:smollm2-135m-instruct", "local", "smollm2-135m-instruct"),
        ("smollm2-135m-instruct", "local", "smollm2-135m-instruct"),
        ("HuggingFaceTB/SmolLM2", "local", "HuggingFaceTB/SmolLM2"),
        (r"C:\models\mine", "local", r"C:\models\mine"),
        ("openai:ft:gpt-4.1-mini:org::id", "openai", "ft:gpt-4.1-mini:org::id"),
    ],
)
def test_a_name_is_split_at_its_provider(name, provider, model):
    found, rest = split_name(name)
    assert (found.name, rest) == (provider, model)
    assert is_hosted(name) is (provider != "local")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("opnai:gpt-4.1", "did you mean openai:gpt-4.1?"),
        ("Gemini:x", "did you mean gemini:x?"),
        ("deep-seek:chat", "did you mean deepseek:chat?"),
        ("qqq:m", "known are local, openai"),
        ("qqq:m", "compatible:MODEL"),
        ("openai:", "write it as openai:MODEL"),
        ("langchain:gpt-4.1", "langchain:PROVIDER:MODEL"),
        ("langchain:openai:", "langchain:PROVIDER:MODEL"),
        ("gemini-pro", "write gemini:gemini-"),
        ("gemini:gemini-pro", "google-genai is the successor"),
        ("gemini:models/gemini-pro", "write gemini:gemini-"),
        ("langchain:google_genai:gemini-pro", "write gemini:gemini-"),
        ("models/gemini-pro", "write gemini:gemini-"),
        ("google:gemini-pro", "write gemini:gemini-"),
        ("google_genai:gemini-pro", "write gemini:gemini-"),
        ("vertex:gemini-pro", "on Vertex AI vertex:gemini-"),
    ],
)
def test_a_wrong_name_is_told_the_right_one(name, words):
    with pytest.raises(ConfigError) as caught:
        split_name(name)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1:1/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://192.168.1.7/v1", True),
        ("http://vllm:8000/v1", True),
        ("http://gpu.local/v1", True),
        ("https://api.openai.com/v1", False),
        ("https://localhost.example.com", False),
        ("http://8.8.8.8/v1", False),
        (None, False),
    ],
)
def test_nothing_is_charged_on_ones_own_machines(url, own):
    assert is_own_machine(url) is own


def test_prices_are_looked_up_under_the_vendors_name():
    assert price_name("gemini:m") == ("google", "m")
    assert price_name("langchain:google_genai:m") == ("google", "m")
    assert price_name("langchain:anthropic:m") == ("anthropic", "m")
    assert price_name("ollama:m") == (None, "m")


def test_every_priced_provider_is_in_the_price_list():
    genai_prices = pytest.importorskip("genai_prices")
    from genai_prices.data_snapshot import get_snapshot

    assert genai_prices
    listed = {provider.id for provider in get_snapshot().providers}
    assert {provider.prices for provider in PROVIDERS.values() if provider.prices} <= listed
