"""The questions of a page: controls and a list that report.js fills, and a plain list for who runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ragtune.page import safe

_PLAIN = 200  # questions of the list that needs no script


def questions(data: Mapping[str, Any]) -> str:
    """The section; empty where there is no question to show."""
    return f"{_resource('report_questions.html')}<noscript>{_plain(data)}</noscript>" if data["questions"] else ""


def script() -> str:
    """What fills the section."""
    return _resource("report.js")


def _plain(data: Mapping[str, Any]) -> str:
    names = [side["name"] for side in data["sides"]]
    items = "".join(_item(question, names) for question in data["questions"][:_PLAIN])
    more = len(data["questions"]) - _PLAIN
    rest = f"<p>And {more:,} more: a script in this file shows them all, without network; predictions.jsonl holds them too.</p>"
    return f'<ol class="plain-list">{items}</ol>{rest if more > 0 else ""}'


def _item(question: Mapping[str, Any], names: list[str]) -> str:
    references = " | ".join(question["references"]) or "none: the documents do not answer this"
    answers = "".join(
        f"<dt>{safe(name)}</dt><dd>{safe(answer['raw'])} ({answer['score']:.2f})</dd>"
        for name, answer in zip(names, question["answers"], strict=True)
        if answer is not None
    )
    asked = f"{safe(question['question'])} ({safe(question['outcome'])})"
    return f"<li>{asked}<dl><dt>Reference</dt><dd>{safe(references)}</dd>{answers}</dl></li>"


def _resource(name: str) -> str:
    return files("ragtune.evaluate").joinpath(name).read_text(encoding="utf-8").strip()
