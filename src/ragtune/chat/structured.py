"""Answers in a form: JSON asked for, found in whatever was written, mended, checked, and asked for once more where it still is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import json_repair
from pydantic import BaseModel, ValidationError

from ragtune.errors import StructureError
from ragtune.protocols import ChatModel
from ragtune.types import Message, Reply

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
        wrong = "there is no JSON object in it" if reply.finished else f"it was cut off at {max_tokens} tokens: write less"
        for found in _objects(reply):
            try:
                return form.model_validate(found)
            except ValidationError as error:
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


def _objects(reply: Reply) -> Iterator[dict[str, object]]:
    """The objects in an answer, whatever stands around them; then what json_repair makes of one that is not quite JSON.

    An answer that the token limit cut off is not repaired: it would pass with half a sentence.
    """
    text, decoder = reply.text, json.JSONDecoder()
    start = first = text.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
        except ValueError:
            end = start + 1
        else:
            yield found
        start = text.find("{", end)
    if first >= 0 and reply.finished:
        mended = json_repair.loads(text[first:])
        yield from (item for item in (mended if isinstance(mended, list) else [mended]) if isinstance(item, dict))


def _closed(schema: Any) -> Any:
    """The schema as strict servers want it: every field required, no others, no titles and defaults."""
    if not isinstance(schema, dict):
        return [_closed(item) for item in schema] if isinstance(schema, list) else schema
    closed = {name: _closed(value) for name, value in schema.items() if name not in ("title", "default")}
    for names in ("properties", "$defs"):  # whose keys are names, "title" too
        if names in schema:
            closed[names] = {name: _closed(value) for name, value in schema[names].items()}
    if "properties" in closed:
        closed["required"] = list(closed["properties"])
        closed["additionalProperties"] = False
    return closed


def _explain(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:4])
