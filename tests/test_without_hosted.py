"""ragtune[local] alone: without the hosted extras everything is imported, and what needs none of them runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from waiting import PATIENCE_S

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")

HOSTED = ("openai", "google.genai", "google.auth", "langchain", "langchain_core", "genai_prices")
IMPORTS = """
import importlib, pkgutil, sys
from ragtune import build, cli, config, pipeline, project, workspace
for module in pkgutil.iter_modules(pipeline.__path__, "ragtune.pipeline."):
    importlib.import_module(module.name)
"""


def python(project: Path, blocked: tuple[str, ...], code: str, *arguments: str) -> tuple[int, str, str]:
    """Code after all of the pipeline was imported, in a process in which some packages are missing."""
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})){IMPORTS}{code}"
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_BASE_URL")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=project, env=clean, timeout=PATIENCE_S
    )
    return done.returncode, done.stdout, done.stderr


def test_models_are_listed_chosen_and_looked_at(project: Path) -> None:
    for arguments in (["models", "list", "--hosted"], ["models", "choose", "--budget", "1"], ["doctor"]):
        code, out, err = python(project, HOSTED, "cli.main()", *arguments, "--json")
        assert code == 0, err
        assert json.loads(out)


def test_a_run_is_predicted(project: Path) -> None:
    code, out, err = python(project, HOSTED, "cli.main()", "run", "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["forecast"]["stages"]


@pytest.mark.parametrize(
    ("name", "extra", "blocked"),
    [
        ("openai:gpt-4o-mini", "openai", HOSTED),
        ("openai:gpt-4o-mini", "openai", ("genai_prices",)),
        ("gemini:gemini-3.8-flash", "gemini", HOSTED),
        ("gemini:gemini-3.8-flash", "gemini", ("genai_prices",)),
        ("langchain:anthropic:m", "langchain", HOSTED),
    ],
)
def test_a_hosted_model_names_the_extra_of_its_provider(project: Path, name: str, extra: str, blocked: tuple[str, ...]) -> None:
    (project / ".env").write_text("OPENAI_API_KEY=sk-x\nGEMINI_API_KEY=x\n", encoding="utf-8")
    here = "workspace.Workspace(project.Path()), config.load_settings(project.Path())"
    code, _, err = python(project, blocked, f"build.chat_model({here}, {name!r})")
    assert code == 1
    assert err.splitlines()[-1].startswith("ragtune.errors.MissingExtraError"), err
    assert f"pip install 'ragtune[{extra}]'" in err.splitlines()[-1]
