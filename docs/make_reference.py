"""Write docs/cli.md from the typer app and docs/settings.md from the settings' fields; ``--check`` exits 1 where either is out of date.

The pages are built from the declarations themselves, not from rendered help, so they do not depend on a terminal or its width.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import typing
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Any

import annotated_types
import typer
from pydantic import JsonValue
from pydantic.fields import FieldInfo

from ragtune.cli import app
from ragtune.config import Section, Settings

HERE = Path(__file__).parent
MADE = "<!-- Made by docs/make_reference.py (make docs): do not edit. -->"
CLI_INTRO = """\
Results go to standard output, messages and progress to standard error. `--json` prints the same result for scripts. Options that may be
given several times are marked with `…`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | `ragtune doctor` found a problem, a `--fail-if` holds, or ragtune has a bug (then with a traceback) |
| 2 | something that you can mend: one line says what was found and what to do |
| 130 | stopped by Ctrl-C: the same command goes on where it was |
"""
SETTINGS_INTRO = """\
`ragtune init` writes a `ragtune.toml` in which all of these stand as comments with their defaults. What is set in several places is taken
from the first of:

1. `--set NAME=VALUE` on the command line, the value in TOML, e.g. `--set train.epochs=2`;
2. the environment, e.g. `RAGTUNE_TRAIN__EPOCHS=2` (prefix, section, two underscores, name; lists as JSON);
3. `.env` in the project, with the same names;
4. `ragtune.toml` in the project;
5. the default.

An unknown name or a value out of range is an error that names the nearest setting there is. Models lie in `~/.cache/ragtune`, or where
`RAGTUNE_CACHE` says.
"""
BOUNDS: dict[type, str] = {annotated_types.Ge: "≥", annotated_types.Gt: ">", annotated_types.Le: "≤", annotated_types.Lt: "<"}


def main() -> int:
    """Write both pages, or with ``--check`` compare them with what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, text in (("cli.md", cli_page()), ("settings.md", settings_page())):
        path = HERE / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, encoding="utf-8", newline="\n")
    if stale:
        sys.stderr.write(f"{', '.join(stale)} {'out of date: run make docs' if check else 'written'}\n")
    return 1 if check and stale else 0


def cli_page() -> str:
    """Every command with its help, arguments and options, in the order of ``ragtune --help``."""
    root = typer.main.get_command(app)
    commands = list(_commands(root, "ragtune"))
    listed = [f"| [`{name}`](#{name.replace(' ', '-')}) | {_cell(_first(command))} |" for name, command in commands]
    lines = ["# Command line", "", MADE, "", f"{root.help}", "", CLI_INTRO, "| command | what it does |", "|---|---|", *listed, ""]
    for name, command in commands:
        lines += _command(name, command)
    return "\n".join(lines).rstrip() + "\n"


def settings_page() -> str:
    """Every setting by section: type and bounds, default, meaning."""
    own = {name: field for name, field in Settings.model_fields.items() if not isinstance(field.default, Section)}
    lines = ["# Settings", "", MADE, "", SETTINGS_INTRO, "## Project", "", *_settings(own, "")]
    for name, field in Settings.model_fields.items():
        section = type(field.default)
        if issubclass(section, Section):
            lines += [f"## {name}", "", inspect.getdoc(section) or "", "", *_settings(section.model_fields, f"{name}.")]
    return "\n".join(lines).rstrip() + "\n"


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        sub = getattr(command, "commands", None)
        if sub is None or command.invoke_without_command:
            yield f"{path} {name}", command
        if sub is not None:
            yield from _commands(command, f"{path} {name}")


def _command(name: str, command: Any) -> list[str]:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    types = typing.get_type_hints(inspect.unwrap(command.callback))
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *map(_placeholder, arguments)])
    text, *examples = inspect.cleandoc(command.help or "").split("Example: ")
    lines = [f"## {name}", "", text.strip(), "", "```text", usage, "```", ""]
    if examples:
        lines += ["Examples:" if len(examples) > 1 else "Example:", "", "```sh", *(each.strip() for each in examples), "```", ""]
    if arguments:
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [f"| `{_placeholder(each)}` | {_meaning(each)} |" for each in arguments] + [""]
    if options:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| {_flags(each, types.get(each.name))} | {_meaning(each)} |" for each in options] + [""]
    return lines


def _placeholder(argument: Any) -> str:
    name = argument.name.upper() + ("…" if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _flags(option: Any, type_: Any) -> str:
    names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=lambda name: (not name.startswith("--"), name)))
    if option.is_flag:
        return names
    several = " …" if option.multiple else ""
    return f"{names} `{option.metavar or _type_name(type_).upper()}`{several}"


def _meaning(parameter: Any) -> str:
    default = parameter.default
    shown = not getattr(parameter, "is_flag", False) and default not in (None, (), [], "") and not parameter.required
    return _cell(f"{parameter.help or ''}{f' Default: `{default}`.' if shown else ''}")


def _type_name(type_: Any) -> str:
    """``list[Path] | None`` is a path, as one value of it is what a user writes."""
    inner = [each for each in typing.get_args(type_) if each is not type(None)]
    if inner:
        return _type_name(inner[0])
    return {str: "text", int: "number", float: "number", Path: "path", bool: "true or false"}.get(type_, "value")


def _first(command: Any) -> str:
    return inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ")


def _settings(fields: dict[str, FieldInfo], prefix: str) -> list[str]:
    lines = ["| setting | values | default | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        value = field.get_default(call_default_factory=True)
        default = "unset" if value is None else f"`{_toml(value)}`"
        lines.append(f"| `{prefix}{name}` | {_cell(_values(field))} | {_cell(default)} | {_cell(field.description or '')} |")
    return [*lines, ""]


def _values(field: FieldInfo) -> str:
    bounds = [f"{BOUNDS[type(each)]} {getattr(each, type(each).__name__.lower())}" for each in field.metadata if type(each) in BOUNDS]
    return " ".join([_kind(field.annotation), ", ".join(bounds)]).strip()


def _kind(type_: Any) -> str:
    """What may be written: choices in quotes, else the kind of value."""
    origin, inner = typing.get_origin(type_), typing.get_args(type_)
    if origin is typing.Literal:
        return " or ".join(f"`{_toml(value)}`" for value in inner)
    if origin in (UnionType, typing.Union):
        return _kind(next(each for each in inner if each is not type(None)))
    if origin is dict:
        return f"table of {_kind(inner[1])}"
    if origin is tuple and Ellipsis not in inner:
        return f"{len(inner)} {_kind(inner[0])}s"
    if origin is tuple:
        return f"list of {_kind(inner[0]).replace(' or ', ', ')}"
    return {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", date: "date", JsonValue: "values"}[type_]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + "}"
    return repr(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
