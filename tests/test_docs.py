"""The documentation says what is so: commands parse, links lead somewhere, examples are read, generated pages are current."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import ragtune
from ragtune.cli import app
from ragtune.config import setting_names
from ragtune.dataset.questions import load_questions
from ragtune.evaluate.report import Report
from ragtune.project import Project
from ragtune.types import Candidate, Example, Passage, Prediction

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
REFERENCE = ROOT / "docs" / "make_reference.py"
FENCE = re.compile(r"^[ ]*```(\w*)\n(.*?)^[ ]*```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`((?:[^`\n]|\n(?!\n))+)`(?!`)")
ROOT_COMMAND = typer.main.get_command(app)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def fences(page: Path, *languages: str) -> list[str]:
    return [inspect.cleandoc(body) for language, body in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def spans(page: Path) -> list[str]:
    """What stands in backticks within the text."""
    return [" ".join(span.split()) for span in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8")))]


def shell_lines(page: Path) -> list[str]:
    return [line for block in fences(page, "sh") for line in block.splitlines()] + spans(page)


def commands(page: Path) -> Iterator[list[str]]:
    """Every command with its arguments; one that the text only names, as in ``ragtune ask``, has none."""
    for line in shell_lines(page):
        line = line.strip().removeprefix(".venv/bin/")
        if line.startswith("ragtune "):
            yield shlex.split(line, comments=True)[1:]


def parse(arguments: list[str]) -> None:
    """Parse as the command line does, without running anything; raises where a command, an option or a value is wrong."""
    if arguments == ["--help"]:
        return
    command = ROOT_COMMAND
    context = command.make_context("ragtune", list(arguments))
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    for override in context.params.get("settings") or ():
        name = override.partition("=")[0]
        assert name in {*setting_names(), "NAME"}, f"--set {name}: no such setting"


def test_the_readme_and_the_tutorial_have_commands():
    assert sum(1 for _ in commands(ROOT / "README.md")) > 8
    assert sum(1 for _ in commands(ROOT / "docs" / "tutorial.md")) > 12


@pytest.mark.parametrize(
    "wrong",
    [["runn"], ["run", "--docs", "d"], ["models", "fetch"], ["search"], ["search", "x", "-k", "zero"], ["train", "--set", "train.epoch=2"]],
)
def test_a_wrong_command_would_be_noticed(wrong):
    with pytest.raises(Exception):  # noqa: B017, PT011 - typer's own classes are private
        parse(wrong)


@pages
def test_every_command_parses(page):
    for arguments in commands(page):
        try:
            parse(arguments)
        except Exception as error:
            if type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError") and shlex.join(["ragtune", *arguments]) in spans(page):
                continue  # named in the text, not shown to be typed
            pytest.fail(f"ragtune {shlex.join(arguments)}: {getattr(error, 'message', error)}")


@pages
def test_every_make_target_exists(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {match.group(1) for line in shell_lines(page) if (match := re.match(r"make ([a-z]+)\b", line))}
    assert named <= targets


@pages
def test_every_extra_exists(page):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"].keys()
    for line in shell_lines(page):
        for found in re.findall(r"(?:ragtune|\.)\[([\w,]+)\]", line):
            assert set(found.split(",")) <= extras


@pages
def test_every_setting_exists(page):
    known = setting_names()
    sections = {name.partition(".")[0] for name in known if "." in name}
    files = {"toml", "py", "db", "jsonl", "json", "html", "md"}
    for span in spans(page):
        match = re.match(r"(?:--set '?)?([a-z]+)\.([a-z_]+)\b", span)
        if match and match.group(1) in sections and match.group(2) not in files:
            assert f"{match.group(1)}.{match.group(2)}" in known, f"{span} is no setting"


@pages
def test_every_link_within_the_project_resolves(page):
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert found.is_relative_to(ROOT), f"{target} leads out of the project"
        assert not anchor or anchor in anchors(found), f"{target}: no such heading"


def anchors(page: Path) -> set[str]:
    """As GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_python_examples_call_what_is_there(page):
    for block in fences(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = __import__(str(node.module), fromlist=[alias.name for alias in node.names])
                assert all(hasattr(module, alias.name) for alias in node.names)
            if not isinstance(node, ast.Call):
                continue
            names = [keyword.arg for keyword in node.keywords]
            if isinstance(node.func, ast.Name) and node.func.id == "Project":
                inspect.signature(Project).bind(*node.args, **dict.fromkeys(map(str, names)))
            elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "project":
                inspect.signature(getattr(Project, node.func.attr)).bind(None, *node.args, **dict.fromkeys(map(str, names)))


@pages
def test_question_examples_are_read(page, tmp_path):
    for number, block in enumerate(fences(page, "jsonl")):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(block, encoding="utf-8")
        assert len(load_questions([path])) == len(block.splitlines())


def test_the_squad_example_is_read(tmp_path):
    (block,) = fences(ROOT / "docs" / "questions.md", "json")
    (tmp_path / "squad.json").write_text(block, encoding="utf-8")
    answered, unanswerable = load_questions([tmp_path / "squad.json"])
    assert answered.document == "Harbour.md"
    assert answered.evidence[0].text == "The ferry needs forty minutes."
    assert not unanswerable.answers


@pytest.mark.parametrize("record", [Example, Candidate, Passage, Prediction], ids=lambda record: record.__name__)
def test_every_field_of_a_file_is_explained(record):
    explained = spans(ROOT / "docs" / "questions.md")
    assert {field.name for field in dataclasses.fields(record)} <= set(explained)


def test_the_format_of_the_report_is_whole():
    (shown,) = [block for block in fences(ROOT / "docs" / "questions.md", "text") if "ragtune-report" in block]
    assert {field.name for field in dataclasses.fields(Report)} <= set(re.findall(r'"(\w+)":', shown))


def test_the_changelog_has_the_version():
    assert f"## [{ragtune.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", ["40", "250"])
def test_the_generated_pages_are_current_whatever_the_terminal(columns):
    done = subprocess.run(
        [sys.executable, REFERENCE, "--check"], env={**os.environ, "COLUMNS": columns}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_outdated_page_is_noticed_left_alone_and_mended(tmp_path):
    script = shutil.copy(REFERENCE, tmp_path)
    page = tmp_path / "cli.md"
    subprocess.run([sys.executable, script], check=True)
    current = page.read_text(encoding="utf-8")
    page.write_text(current.replace("--json", "--jsn"), encoding="utf-8")
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, "cli.md" in done.stderr, "--jsn" in page.read_text(encoding="utf-8")) == (1, True, True)
    subprocess.run([sys.executable, script], check=True)
    assert page.read_text(encoding="utf-8") == current


def test_every_command_and_setting_is_in_the_reference():
    commands_page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name in ROOT_COMMAND.commands:
        assert f"## ragtune {name}" in commands_page
    assert set(setting_names()) <= set(spans(ROOT / "docs" / "settings.md"))


def test_every_test_that_the_docs_name_is_there() -> None:
    named = [
        found
        for page in (ROOT / "docs").glob("**/*.md")
        for found in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    ]
    assert len(named) > 20
    for path, name in named:
        assert re.search(rf"^(def|class) {name}\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), f"{path} has no {name}"
