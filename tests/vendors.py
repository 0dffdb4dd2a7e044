"""One answering rule behind the wire protocols of several vendors, so that what works with one is seen to work with each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google.genai import types as google
from openai.types.chat import ChatCompletion

from ragtune.testing.loopback import Answer, Fault, Loopback, Refusal

Rule = Callable[[dict[str, Any]], str]
"""A request of OpenAI's protocol, its schema always in it, to what is written."""

OPENAI = ("openai:gpt-6-luna", "deepseek:deepseek-flash", "langchain:openai:gpt-6-luna")
GEMINI = ("gemini:gemini-3.8-flash",)
KEYS = {name: f"sk-stub-{name.lower()}-0123456789" for name in ("OPENAI", "DEEPSEEK", "GEMINI")}
_FIELD = re.compile(r'"(\w+)":')


@dataclass
class Vendors:
    """Where they listen, and how often each protocol was spoken."""

    root: str
    spoken: dict[str, int]

    @property
    def dotenv(self) -> str:
        """Keys and addresses for a project."""
        lines = [f"{name}_API_KEY={key}" for name, key in KEYS.items()]
        return "\n".join(
            [*lines, *(f"{name}_BASE_URL={self.root}/v1" for name in ("OPENAI", "DEEPSEEK")), f"GEMINI_BASE_URL={self.root}", ""]
        )


@contextmanager
def serve(rule: Rule) -> Iterator[Vendors]:
    """Serve until the block ends."""
    spoken = {"openai": 0, "gemini": 0}
    errors: list[BaseException] = []

    def answer(method: str, target: str, headers: Any, body: bytes) -> tuple[Answer, Fault | None]:
        asked = json.loads(body)
        if target.endswith("/chat/completions"):
            if headers["Authorization"].removeprefix("Bearer ") not in KEYS.values():
                raise Refusal(401, "Incorrect API key provided", "invalid_api_key")
            spoken["openai"] += 1
            return Answer(_completion(asked["model"], rule(_with_schema(asked)))), None
        if target.split("?")[0].endswith(":generateContent"):
            if headers["x-goog-api-key"] != KEYS["GEMINI"]:
                raise Refusal(400, "API key not valid", "INVALID_ARGUMENT")
            spoken["gemini"] += 1
            return Answer(_content(rule(_with_schema(_as_openai(asked))))), None
        raise Refusal(404, f"there is no {method} {target}")

    http = Loopback(0, answer, errors)
    try:
        yield Vendors(f"http://127.0.0.1:{http.server_address[1]}", spoken)
    finally:
        http.stop()
    assert errors == []


def _with_schema(asked: dict[str, Any]) -> dict[str, Any]:
    """A client that sends no schema (LangChain's) asks for it in words."""
    fields = asked.get("response_format", {}).get("json_schema", {}).get("schema", {}).get("required")
    if fields is None:
        fields = _FIELD.findall(asked["messages"][-1]["content"].rpartition("Write one JSON object")[2])
    return {**asked, "response_format": {"json_schema": {"schema": {"required": fields}}}}


def _as_openai(asked: dict[str, Any]) -> dict[str, Any]:
    system = [{"role": "system", "content": "".join(part["text"] for part in asked["systemInstruction"]["parts"])}]
    turns = [
        {"role": "assistant" if turn["role"] == "model" else "user", "content": "".join(part["text"] for part in turn["parts"])}
        for turn in asked["contents"]
    ]
    schema = asked.get("generationConfig", {}).get("responseJsonSchema")
    return {"messages": [*system, *turns], **({"response_format": {"json_schema": {"schema": schema}}} if schema else {})}


def _completion(model: str, text: str) -> dict[str, Any]:
    payload = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }
    ChatCompletion.model_validate(payload)
    return payload


def _content(text: str) -> dict[str, Any]:
    payload = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120},
        "modelVersion": "stub",
    }
    google.GenerateContentResponse.model_validate(payload)
    return payload
