"""The vendors' rules for files of examples, checked before anything is uploaded: each fault with its line, and what there is to pay."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BYTES_A_TOKEN = 4
"""Of English text in the vendors' tokenizers, which are not at hand."""
_FRAME_TOKENS = 4
"""That mark a message's role, its beginning and its end."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a vendor takes.

    Args:
        examples: fewest in a file of training examples.
        tokens: most in one example; longer ones are cut, so that the answer is lost.
        size: most bytes of a file.
        texts: of a parsed line its texts, or the fault that it has.
    """

    examples: int
    tokens: int
    size: int
    texts: Callable[[Any], list[str] | str]


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What a file of examples holds: how many, about how many tokens in all, and what is wrong with it."""

    examples: int
    tokens: int
    problems: tuple[str, ...]


def _openai_texts(line: Any) -> list[str] | str:
    messages = line.get("messages") if isinstance(line, dict) else None
    if not isinstance(messages, list) or not messages:
        return "there are no messages"
    texts: list[str] = []
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("system", "user", "assistant"):
            return f"the role {role!r} is none of system, user and assistant"
        content = message.get("content")
        if not isinstance(content, str) or not content.strip():
            return f"the {role} message is empty"
        texts.append(content)
    if messages[-1]["role"] != "assistant":
        return f"the last message is the {messages[-1]['role']}'s, and must be the assistant's"
    return texts


def _vertex_texts(line: Any) -> list[str] | str:
    contents = line.get("contents") if isinstance(line, dict) else None
    if not isinstance(contents, list) or not contents:
        return "there are no contents"
    system = line.get("systemInstruction")
    texts: list[str] = []
    for number, content in enumerate([*([system] if system else []), *contents]):
        parts = content.get("parts") if isinstance(content, dict) else None
        text = "".join(str(part.get("text", "")) for part in parts) if isinstance(parts, list) else ""
        if not text.strip():
            return f"turn {number + 1} has no text"
        texts.append(text)
    roles = [content.get("role") for content in contents]
    expected = ["user", "model"] * (len(roles) // 2 + 1)
    if roles != expected[: len(roles)] or roles[-1] != "model":
        return f"the roles are {', '.join(map(repr, roles))}: user and model must take turns, and the model have the last"
    return texts


# OpenAI, "Supervised fine-tuning" and "Create file"; the context of a training example is that of its page "Model optimization".
OPENAI = Rules(examples=10, tokens=65_536, size=512 * 2**20, texts=_openai_texts)
# Google, "About supervised fine-tuning for Gemini models".
VERTEX = Rules(examples=1, tokens=131_072, size=2**30, texts=_vertex_texts)


def check_file(path: Path, rules: Rules, *, training: bool = True) -> FileCheck:
    """Hold a file of examples to a vendor's rules.

    Args:
        path: of the JSON Lines.
        rules: of the vendor.
        training: whether the least number of examples counts; a file for validation may be shorter.
    """
    problems: list[str] = []
    examples = total = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line:
            continue
        examples += 1
        try:
            texts = rules.texts(json.loads(line))
        except ValueError as error:
            texts = f"it is not JSON ({error})"
        if isinstance(texts, str):
            problems.append(f"{path.name}:{number}: {texts}")
            continue
        tokens = sum(len(text.encode()) // _BYTES_A_TOKEN + 1 + _FRAME_TOKENS for text in texts)
        total += tokens
        if tokens > rules.tokens:
            problems.append(f"{path.name}:{number}: about {tokens:,} tokens, and an example may have {rules.tokens:,}: show fewer passages")
    size = path.stat().st_size
    if size > rules.size:
        problems.append(f"{path.name} has {size:,} bytes, and may have {rules.size:,}: set train.max_answers lower")
    if training and examples < rules.examples:
        problems.append(f"{path.name} has {examples} examples, and must have {rules.examples}: bring more questions")
    return FileCheck(examples, total, tuple(problems))
