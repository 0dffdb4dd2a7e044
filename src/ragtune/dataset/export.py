"""A dataset in the formats of other trainers. The prompts are those of local training, answer by answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ragtune.prompts import build_messages
from ragtune.types import ContextGroup, Message
from ragtune.workspace import write_bytes


def export_trl(groups: Sequence[ContextGroup], path: Path) -> int:
    """Write TRL's conversational prompt-completion format as JSON Lines: one line a question, whether or not contexts are shared.

    Args:
        groups: of one epoch.
        path: of the file, written whole or not at all.

    Returns:
        How many lines were written.
    """
    return _write(
        groups,
        path,
        lambda prompt, completion: {"prompt": _turns(prompt), "completion": _turns([Message("assistant", completion)])},
    )


def export_openai(groups: Sequence[ContextGroup], path: Path) -> int:
    """Write OpenAI's chat format for supervised fine-tuning, one line a question; see :func:`export_trl`."""
    return _write(groups, path, lambda prompt, completion: {"messages": _turns([*prompt, Message("assistant", completion)])})


def export_vertex(groups: Sequence[ContextGroup], path: Path) -> int:
    """Write Vertex AI's format for supervised fine-tuning of Gemini, one line a question; see :func:`export_trl`."""

    def line(prompt: Sequence[Message], completion: str) -> dict[str, Any]:
        system = "\n\n".join(message.content for message in prompt if message.role == "system")
        turns = [*(message for message in prompt if message.role != "system"), Message("assistant", completion)]
        contents = [{"role": "model" if message.role == "assistant" else "user", "parts": [{"text": message.content}]} for message in turns]
        return {"systemInstruction": {"role": "system", "parts": [{"text": system}]}, "contents": contents}

    return _write(groups, path, line)


def _write(groups: Sequence[ContextGroup], path: Path, line: Callable[[Sequence[Message], str], dict[str, Any]]) -> int:
    lines = [json.dumps(line(prompt, completion), ensure_ascii=False) + "\n" for prompt, completion in _answers(groups)]
    write_bytes(path, "".join(lines).encode())
    return len(lines)


def _answers(groups: Sequence[ContextGroup]) -> Iterator[tuple[list[Message], str]]:
    for group in groups:
        for branch in group.branches:
            yield build_messages(branch.question, group.passages, history=branch.history), branch.completion


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
