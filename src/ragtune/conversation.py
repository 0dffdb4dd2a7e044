"""What was said before a question: how it is searched with, and how it is shown to a model."""

from __future__ import annotations

from collections.abc import Sequence

from ragtune.types import Message

SHOWN = 6
"""Messages before the question that a model is shown."""
_SHOWN_LETTERS = 320
_SEARCHED_WORDS = 24


def search_text(question: str, history: Sequence[Message]) -> str:
    """What is searched for: the question, after the last thing that was asked and the answer to it.

    "And in winter?" finds nothing by itself. Without history it is the question as it is.

    Args:
        question: as asked.
        history: what was said before, oldest first.
    """
    last: dict[str, str] = {message.role: message.content for message in history}
    before = (" ".join(last[role].split()[:_SEARCHED_WORDS]) for role in ("user", "assistant") if role in last)
    return " ".join([*before, question]) if history else question


def history_lines(history: Sequence[Message]) -> list[str]:
    """The last messages, a line each, long ones cut."""
    return [f"- {message.role}: {_line(message.content)}" for message in history[-SHOWN:]]


def in_full(question: str, history: Sequence[Message]) -> str:
    """A question for whoever reads it alone: after what was said before, a line each."""
    return "\n".join([*history_lines(history), question])


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_LETTERS else f"{line[: _SHOWN_LETTERS - 1]}…"
