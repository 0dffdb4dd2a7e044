"""A dataset in the formats of other trainers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ragtune.prompts import build_messages
from ragtune.types import ContextGroup
from ragtune.workspace import write_bytes


def export_trl(groups: Sequence[ContextGroup], path: Path) -> int:
    """Write TRL's conversational prompt-completion format as JSON Lines: one line a question, whether or not contexts are shared.

    Args:
        groups: of one epoch.
        path: of the file, written whole or not at all.

    Returns:
        How many lines were written.
    """
    lines = []
    for group in groups:
        for branch in group.branches:
            prompt = [{"role": each.role, "content": each.content} for each in build_messages(branch.question, group.passages)]
            completion = [{"role": "assistant", "content": branch.completion}]
            lines.append(json.dumps({"prompt": prompt, "completion": completion}, ensure_ascii=False) + "\n")
    write_bytes(path, "".join(lines).encode())
    return len(lines)
