"""Answers in a form: JSON asked for, found in whatever was written, mended, checked, and asked for once more where it still is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar

import json_repair
from pydantic import BaseModel, ValidationError

from ragtune.errors import StructureError
from ragtune.protocols import ChatModel
from ragtune.types import Message

T = TypeVar("T", bound=BaseModel)


def ask_for(
    chat: ChatModel,
    messages: Sequence[Message],
    form: type[T],
    *,
    max_tokens: int = 512,
    temperature: float = 0.0,
    seed: int = 0,
    repairs: int = 1,
) -> T:
    """Ask for a record.

    Args:
        chat: any chat model; one that can is held to the record's JSON schema, the others are asked for it.
        messages: the last one asks; what JSON to write is added to it.
        form: the record.
        max_tokens: of the answer.
        temperature: of the answer.
        seed: of the answer.
        repairs: how often the model is shown what is wrong and asked again.

    Raises:
        StructureError: it is wrong to the end.
        ChatError: there is no answer at all.
    """
    schema = _closed(form.model_json_schema())
    turns = [*messages[:-1], Message(messages[-1].role, f"{messages[-1].content}\n\n{_instruction(form)}")]
    wrong = ""
    for _ in range(repairs + 1):
        reply = chat.complete(turns, max_tokens=max_tokens, schema=schema, temperature=temperature, seed=seed)
        try:
            return form.model_validate(_find(reply.text))
        except (ValidationError, ValueError) as error:
            wrong = _explain(error)
            turns = [
                *turns[: len(messages)],
                Message("assistant", reply.text[:2000] or "(nothing)"),
                Message("user", f"That is not what was asked for: {wrong}. {_instruction(form)}"),
            ]
    raise StructureError(f"{chat.name}: the answer is not the JSON that was asked for ({wrong})")


def _instruction(form: type[BaseModel]) -> str:
    fields = ", ".join(f'"{name}": {info.description or "…"}' for name, info in form.model_fields.items())
    return f"Write one JSON object and nothing else: {{{fields}}}"


def _find(text: str) -> object:
    """The object in a text; json_repair passes over prose and fences around it and closes what was left open."""
    start = text.find("{")
    if start < 0:
        raise ValueError("there is no JSON object in it")
    try:
        found, _ = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        found = json_repair.loads(text[start:])
    if isinstance(found, list):  # several objects were written: the first counts
        found = next((item for item in found if isinstance(item, dict)), None)
    if not isinstance(found, dict):
        raise ValueError("there is no JSON object in it")
    return found


def _closed(schema: dict[str, object]) -> dict[str, object]:
    """The schema as strict servers want it: every field required, no others, no titles and defaults."""
    schema = {name: value for name, value in schema.items() if name not in ("title", "default")}
    if schema.get("type") == "object":
        properties = schema["properties"]
        assert isinstance(properties, dict)  # noqa: S101 - of pydantic's making
        schema["properties"] = {name: _closed(value) for name, value in properties.items()}
        schema["required"] = list(properties)
        schema["additionalProperties"] = False
    if isinstance(schema.get("items"), dict):
        schema["items"] = _closed(schema["items"])  # type: ignore[arg-type]
    return schema


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:4])
    return str(error)
