"""The settings that a job may bring along: checked before it starts, and none that reaches into the server's files or network."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragtune.config import Settings, load_settings, setting_names, toml_value
from ragtune.errors import ConfigError

_ON_THE_SERVER = (
    "documents", "questions", "web.", "chat.", "tuning.", "serve.", "traces.",
    "model.chat_template", "retrieve.rewrite", "prepare.metadata",
)  # fmt: skip
"""What the server reads, where it connects, what it may spend and who may see what is written into its ragtune.toml."""
_MODELS = ("model.base", "embed.model", "retrieve.reranker", "prepare.tokenizer", "teacher.model", "judge.model")
"""Settings that take a folder as well as a name."""


def to_overrides(project: Path, settings: Mapping[str, Any]) -> list[str]:
    """As ``--set`` takes them, each of which sets what its name says and nothing else.

    Raises:
        ConfigError: one is unknown, may not be set by a job, or has a value that TOML cannot hold.
    """
    for name, value in settings.items():
        _check(project, name, value)
    return [f"{name}={_written(name, value)}" for name, value in settings.items()]


def check_settings(project: Path, settings: Mapping[str, Any]) -> Settings:
    """The project's settings with a job's own.

    Raises:
        ConfigError: one is unknown, has a value that it cannot have, or may not be set by a job.
    """
    try:
        return load_settings(project, to_overrides(project, settings))
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("--set ")) from None


def _check(project: Path, name: str, value: Any) -> None:
    known = setting_names()
    if name not in known:  # first of all: what stands before a "=" in a name would be set in its place
        close = difflib.get_close_matches(name, known, n=1)
        raise ConfigError(f"there is no setting {name!r}{f'; did you mean {close[0]}?' if close else ': docs/settings.md has them all'}")
    if name.startswith(_ON_THE_SERVER):
        raise ConfigError(f"{name} cannot be set for a job: write it into the project's ragtune.toml on the server")
    if value is None:
        raise ConfigError(f"{name} = null: leave it out, and the project's own value holds")
    if name in _MODELS and isinstance(value, str) and _is_path(project, value):
        raise ConfigError(f"{name} = {value!r} is a path: a job takes names of models; write a folder into ragtune.toml on the server")


def _written(name: str, value: Any) -> str:
    """A value in TOML, that is read as that value again: what is no TOML, as a null in a list, would be taken for text."""
    try:
        text = toml_value(value)
        text.encode()
        same = tomllib.loads(f"value = {text}") == {"value": value}
    except (ValueError, TypeError, RecursionError):
        same = False
    if not same:
        raise ConfigError(f"{name} = {value!r:.200}: this cannot be written in TOML, which has no null, and of numbers only those that are")
    return text


def _is_path(project: Path, value: str) -> bool:
    name = value.strip().removeprefix("local:").strip()
    if "\0" in name or "\\" in name or name.startswith(("/", ".", "~")) or ".." in name.split("/"):
        return True
    try:
        return Path(name).exists() or (project / name).exists()
    except (OSError, ValueError):  # a name that no file can have
        return True
