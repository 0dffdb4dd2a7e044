"""The pages on the example project, served by ragtune itself with a model that was tuned for it, however little."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_accessibility import AXE, assert_accessible
from test_hostile_content import assert_harmless
from web_steps import DESKTOP, PHONE, ask, elsewhere

from ragtune.errors import ModelError
from ragtune.models.pull import resolve
from waiting import PATIENCE_S

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = (
    *("train.max_answers=24", "train.epochs=1", "train.rehearsal=0", "dataset.validation_share=0.03"),
    *("evaluate.max_questions=6", "evaluate.control_questions=2"),
    *('evaluate.arms=["base-fewshot", "tuned"]', 'evaluate.contexts=["oracle", "retrieved"]'),
)
QUESTION = "Who was the first chair of the Cooperative?"
HOSTILE = """# Lantern <script>window.hacked = 1</script>

<img src="http://example.invalid/a.png" onerror="window.hacked = 2"> The zyxwv lantern hangs in the tower.
[a link](javascript:window.hacked=3) ![far](http://example.invalid/b.png)
"""


def ragtune(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ragtune.cli", *arguments]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, run from its documents to an evaluation."""
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    try:
        for model in ("smollm2-135m-instruct", "all-minilm-l6-v2"):
            resolve(model, allow_pull=False)
    except ModelError as error:
        pytest.skip(f"run 'ragtune models pull' first: {error}")
    folder = tmp_path_factory.mktemp("example") / "example"
    shutil.copytree(EXAMPLES / "questions", folder / "questions")
    told = ["--project", str(folder), "--documents", str(EXAMPLES / "documents"), "--questions", str(folder / "questions"), "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run(ragtune("run", *told, *(f"--set={each}" for each in QUICK)), check=True, env=environment, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def address(example: Path) -> Iterator[str]:
    """Of ``ragtune serve`` over it."""
    command = ragtune("serve", "--project", str(example), "--port", "0")
    with subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            pytest.fail("the server ended before it was ready")
        yield found[0]
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture
def page(visit: Any, address: str) -> Any:
    opened = visit(address)
    opened.context.set_default_timeout(PATIENCE_S * 1000)
    return opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_page_shows_the_example(visit: Any, address: str, scheme: str, size: tuple[int, int]) -> None:
    page = visit(address, size=size, scheme=scheme)
    page.context.set_default_timeout(PATIENCE_S * 1000)
    page.get_by_label("Your question").wait_for()
    ask(page, QUESTION)
    assert page.locator(".sources li").count() == 3
    shown = {
        "#/documents": ".documents li",
        "#/documents/lines%2Farvel-link.md": ".line",
        "#/evaluate": ".evaluations li",
        "#/runs/models": ".models li",
        "#/runs/new": ".preset",
        "#/monitor": ".plot canvas",
        "#/monitor/traces": ".traces li",
    }
    for path, sign in shown.items():
        page.evaluate("path => { location.hash = path; }", path)
        page.locator(sign).first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than the screen"
        if AXE.is_file():
            assert_accessible(page, path)
    page.evaluate("() => { location.hash = '#/evaluate'; }")
    page.locator(".evaluations a").first.click()
    page.locator(".asked").first.wait_for()
    if AXE.is_file():
        assert_accessible(page, "evaluation")
    assert not page.said
    assert elsewhere(page, address) == []


def test_a_source_opens_at_its_place(page: Any) -> None:
    ask(page, QUESTION)
    page.locator(".sources button").first.click()
    panel = page.locator("dialog.source")
    panel.locator(".line.chunk").first.wait_for()
    assert "founding members" in panel.inner_text() or "Cooperative" in panel.inner_text()


def test_a_bad_answer_is_corrected_and_becomes_a_question(page: Any, example: Path) -> None:
    ask(page, "Who taught at the school when the Cooperative was founded?")
    page.get_by_role("button", name="Bad answer").click()
    with page.expect_response("**/feedback"):  # the queue is looked at when it is there
        page.get_by_role("button", name=re.compile("Send")).click()
    page.evaluate("() => { location.hash = '#/monitor/review'; }")
    page.get_by_label("The right answer").fill("Agathe Brandlow")
    page.get_by_role("button", name="Another document").click()
    page.get_by_label("Search the documents").fill("A short history")
    page.locator(".other").get_by_role("button", name="A short history").first.click()
    page.get_by_label("Words of the document").fill("The schoolteacher Agathe Brandlow")
    page.get_by_role("button", name="Mark these words").click()
    page.get_by_role("button", name="Accept").click()
    page.get_by_role("heading", name="Who taught at the school").wait_for(state="detached")
    written = [json.loads(line) for line in (example / "questions/reviewed.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(each["answers"], each["evidence"][0]["text"]) for each in written] == [
        (["Agathe Brandlow"], "The schoolteacher Agathe Brandlow")
    ]
    assert written[0]["reviewed"]
    assert "split" not in written[0]


def test_a_hostile_document_is_uploaded_found_and_shown_harmless(visit: Any, address: str) -> None:
    page = visit(address, "#/documents", bypass_csp=True)
    page.context.set_default_timeout(PATIENCE_S * 1000)
    page.get_by_role("button", name="Upload").wait_for()
    page.locator("input[type=file]").set_input_files({"name": "lantern.md", "mimeType": "text/markdown", "buffer": HOSTILE.encode()})
    page.get_by_role("region", name="Upload").get_by_role("heading", name="1 file read").wait_for()
    page.goto(f"{address}/#/documents/uploads%2Flantern.md")
    page.locator(".document-text .line").first.wait_for()
    assert_harmless(page, address)
    page.goto(f"{address}/#/")
    ask(page, "Where does the zyxwv lantern hang?")
    page.get_by_text("Lantern").first.wait_for()
    assert_harmless(page, address)


def test_an_upload_that_cannot_be_read_is_said_with_the_reason(page: Any, address: str) -> None:
    page.goto(f"{address}/#/documents")
    page.get_by_role("button", name="Upload").wait_for()
    files = [("plan.pdf", b"%PDF-1.7 and no more"), ("note.md", b"# A note\n\nThe ladder is behind the hut.")]
    page.locator("input[type=file]").set_input_files([{"name": name, "mimeType": "", "buffer": content} for name, content in files])
    upload = page.get_by_role("region", name="Upload")
    upload.get_by_role("heading", name="Not everything could be read").wait_for()
    warning = upload.locator(".notice.warning")
    assert warning.count() == 1
    assert re.match(r"uploads/plan\.pdf: \w+", warning.inner_text())
    page.goto(f"{address}/#/documents/uploads%2Fnote.md")
    page.locator(".document-text .line").first.wait_for()


def test_a_run_is_started_stopped_and_resumed(page: Any, address: str) -> None:
    page.goto(f"{address}/#/runs/new")
    page.get_by_role("radio", name="Quick look").check()
    page.get_by_label("Others, one").fill("train.seed=5\nevaluate.max_questions=6\nevaluate.control_questions=2")
    page.get_by_role("button", name="Start").click()
    page.locator(".state.running").wait_for()
    where = page.url
    page.get_by_role("button", name="Stop").click()
    page.locator(".state.stopped").wait_for()
    page.get_by_role("button", name="Resume").click()
    page.locator(".state.running").wait_for()
    assert page.url == where
    page.get_by_role("button", name="Stop").click()
    page.locator(".state.stopped").wait_for()
    assert not page.said
