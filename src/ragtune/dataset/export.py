"""A dataset in the formats of other trainers. The prompts are those of local training, answer by answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ragtune.dataset.store import Fields
from ragtune.prompts import build_messages, parse_answer
from ragtune.types import ContextGroup, Example, Message, Passage
from ragtune.workspace import write_new


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


def export_raft(groups: Sequence[ContextGroup], examples: Sequence[Example], passages: Mapping[str, Passage], path: Path) -> int:
    """Write the columns of RAFT's own script (https://github.com/ShishirPatil/gorilla/blob/main/raft/raft.py) as JSON Lines.

    Args:
        groups: of one epoch.
        examples: of the same split, for the oracles.
        passages: by id.
        path: of the file, written whole or not at all.

    Returns:
        How many lines were written.
    """
    oracles = {example.id: [shown(passages[id_]) for id_ in example.oracles] for example in examples}
    lines = []
    for group in groups:
        texts = [shown(passage) for passage in group.passages or ()]
        documents = "".join(f"<DOCUMENT>{text}</DOCUMENT>\n" for text in texts)
        lines += [
            {
                "id": branch.id,
                "type": "general",
                "question": branch.question,
                "context": {"title": [[passage.title for passage in group.passages or ()]], "sentences": [texts]},
                "oracle_context": "\n\n".join(oracles[branch.id]),
                "cot_answer": _raft_answer(branch.completion),
                "instruction": f"{documents}{branch.question}",
            }
            for branch in group.branches
        ]
    return _write_lines(lines, path)


def hub_rows(groups: Sequence[ContextGroup], examples: Sequence[Example], fields: Fields) -> Iterator[dict[str, Any]]:
    """Rows for a folder that ``datasets`` loads: the questions as a question file has them, their contexts, and prompt and completion.

    Args:
        groups: of one epoch, or as retrieved.
        examples: of the same split; their questions can be imported again without loss.
        fields: what else is known of the questions; what ragtune does not know is one text of JSON.
    """
    by_id = {example.id: example for example in examples}
    for group in groups:
        for branch in group.branches:
            example, beyond = by_id[branch.id], fields.get(branch.id, {})
            yield {
                "id": example.id,
                "question": example.question,
                "answers": list(example.answers),
                "evidence": [asdict(evidence) for evidence in example.evidence],
                "split": example.split,
                "kind": example.kind,
                "reasoning": example.reasoning,
                "history": _turns(example.history),
                **{name: beyond.get(name) for name in ("document", "needs", "synthesised_by", "reviewed")},
                "extra": json.dumps(beyond["extra"], ensure_ascii=False) if "extra" in beyond else None,
                "context": [
                    {"document": passage.document, "text": shown(passage), "oracle": passage.id in example.oracles}
                    for passage in group.passages or ()
                ],
                "prompt": _turns(build_messages(branch.question, group.passages, history=branch.history)),
                "completion": _turns([Message("assistant", branch.completion)]),
            }


def shown(passage: Passage) -> str:
    """A passage's text under its heading lines, as a prompt shows it."""
    return f"{passage.prefix}\n{passage.text}".strip()


def _raft_answer(completion: str) -> str:
    parsed = parse_answer(completion)
    rest = [line for line in completion.split("\n")[:-1] if not line.startswith('"')]
    return "\n".join([*(f"##begin_quote##{quote}##end_quote##" for quote in parsed.quotes), *rest, f"<ANSWER>: {parsed.answer}"])


def _write(groups: Sequence[ContextGroup], path: Path, line: Callable[[Sequence[Message], str], dict[str, Any]]) -> int:
    return _write_lines([line(prompt, completion) for prompt, completion in _answers(groups)], path)


def _write_lines(records: Sequence[Mapping[str, Any]], path: Path) -> int:
    write_new({path: "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()})
    return len(records)


def _answers(groups: Sequence[ContextGroup]) -> Iterator[tuple[list[Message], str]]:
    for group in groups:
        for branch in group.branches:
            yield build_messages(branch.question, group.passages, history=branch.history), branch.completion


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
