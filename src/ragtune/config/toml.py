"""Settings back to a ragtune.toml with comments, and what a new project gets beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ragtune.config.settings import setting_fields


def render_toml(values: Mapping[str, Any] | None = None) -> str:
    """A ragtune.toml in which every default stands as a comment and ``values`` (dotted names) are set."""
    values = values or {}
    lines = ["# ragtune's settings. A line that starts with '#' shows the default; remove the '#' to change it.", ""]
    section = ""
    for name, description, default in setting_fields():
        head, _, leaf = name.rpartition(".")
        if head != section:
            section = head
            lines += [f"[{head}]"]
        lines += [f"# {line}" for line in description.splitlines()]
        if name in values:
            lines.append(f"{leaf} = {toml_value(values[name])}")
        elif default is None:
            lines.append(f"# {leaf} =")
        else:
            lines.append(f"# {leaf} = {toml_value(default)}")
        lines.append("")
    return "\n".join(lines)


ENV_EXAMPLE = """\
# Copy to .env and fill in what you use; .env is never committed. Each name may also end in _FILE and hold the path of a mounted secret.
# OPENAI_API_KEY=
# DEEPSEEK_API_KEY=
# GEMINI_API_KEY=
# HF_TOKEN=
# Any setting of ragtune.toml may stand here too, for example:
# RAGTUNE_TRAIN__EPOCHS=2
"""
BESIDE = {".env.example": ENV_EXAMPLE, ".gitignore": ".ragtune/\n.env\n"}
"""What a new project gets beside its settings."""


def toml_value(value: Any) -> str:
    """A value as it stands in TOML, on one line."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_value(name)} = {toml_value(item)}" for name, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON lets stand and TOML does not
