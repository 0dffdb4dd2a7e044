"""The report of an ingest: what is in the corpus, what is not and why, and documents beside their sources."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ragtune import Project
from ragtune.cli import app
from ragtune.errors import ConfigError, ProjectError
from ragtune.pipeline import ingest_report as stage
from ragtune.prepare.report import IngestReport
from ragtune.prepare.report_terminal import preview_terminal, report_terminal
from ragtune.project import to_json
from tiny_project import Sources

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")


def forbidden(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("this must not be called")


def add(sources: Sources, name: str, content: str | bytes) -> Path:
    path = sources.documents / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def page(report: IngestReport) -> str:
    return Path(report.page).read_text(encoding="utf-8")


@pytest.fixture
def mixed(project: Path, sources: Sources) -> Project:
    """Eight documents, and one each of what can happen to a file."""
    add(
        sources,
        "records/lines.csv",
        "id,title,text\n1,Slate line,The heron crosses the meadow.\n2,Gravel line,The ferry waits in the marsh.\n",
    )
    add(sources, "records/setup.exe", b"MZ\0\0")
    add(sources, "cafe.txt", "The cafÃ© beside the marsh opens before the ferry leaves in autumn.")
    add(sources, "copy.md", (sources.documents / "ardmoor.md").read_bytes())
    add(sources, "draft.md", "# Draft\n\nNot yet.\n")
    opened = Project(project, overrides=['prepare.exclude=["draft.md"]'])
    opened.ingest()
    return opened


def test_the_report_says_what_is_in_the_corpus_and_what_is_not(mixed: Project) -> None:
    report = mixed.ingest_report()
    assert report.documents == sum(share.documents for share in report.sources) == 11
    assert report.chunks == sum(share.chunks for share in report.formats) == report.chunk_lengths.n
    assert {(share.label, share.documents) for share in report.sources} == {("(files at the top)", 9), ("records", 2)}
    assert {(share.label, share.documents) for share in report.formats} == {("Markdown", 8), ("CSV", 2), ("text", 1)}
    assert [(cause.reason.partition(":")[0], cause.count) for cause in report.skipped] == [("no reader for .exe", 1)]
    assert [cause.items[0].source for cause in report.left_out] == ["draft.md"]
    assert [(cause.reason, cause.items[0].source, cause.items[0].reason) for cause in report.duplicates] == [
        ("same text as another", "copy.md", "same text as ardmoor.md")
    ]
    mojibake = next(rule for rule in report.cleaning if rule.rule == "mojibake")
    assert (mojibake.on, mojibake.times, mojibake.most) == (True, 1, (("cafe.txt", 1),))
    assert report.window == 256
    assert not report.settings_changed
    for words in ("setup.exe", "draft.md", "same text as ardmoor.md", "Ã©", "café"):
        assert words in page(report)


def test_the_report_reads_no_file_again_and_can_be_had_when_the_sources_are_gone(
    mixed: Project, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragtune.prepare.preview.read_sources", forbidden)
    before = mixed.ingest_report()
    sources.documents.rename(sources.documents.with_name("elsewhere"))
    assert mixed.ingest_report() == before
    assert "no longer where it was read from" in page(before)


def test_the_report_is_of_when_an_ingest_last_changed_something(mixed: Project, sources: Sources) -> None:
    before = mixed.ingest_report().created
    mixed.ingest()
    assert mixed.ingest_report().created == before
    add(sources, "cafe.txt", "The tea house beside the marsh opens before the ferry leaves in autumn.")
    mixed.ingest()
    assert mixed.ingest_report().created > before


def test_settings_that_are_others_now_are_named(mixed: Project) -> None:
    other = Project(mixed.path, overrides=["prepare.mojibake=false"])
    assert other.ingest_report().settings_changed == ("exclude", "mojibake")


def test_of_many_chunks_every_few_are_measured(mixed: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "MEASURED", 10)
    found = mixed.ingest_report().chunk_lengths
    assert found.n <= 10 < found.of


def test_the_page_of_many_documents_is_bounded_and_says_how_to_see_the_others(mixed: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "PREVIEWS", 3)
    monkeypatch.setattr(stage, "LONGEST_PREVIEW", 50)
    text = page(mixed.ingest_report())
    assert "3 of 12 documents" in text
    assert text.count('<details class="document"') == 3
    assert "ragtune ingest --document" in text
    assert "The first 50 of" in text


def test_a_document_is_shown_beside_its_file_with_its_chunks(mixed: Project, sources: Sources) -> None:
    shown = mixed.preview("cafe.txt")
    assert (shown.original, shown.original_is) == ("The cafÃ© beside the marsh opens before the ferry leaves in autumn.", "file")
    assert "café" in shown.text
    assert [shown.text[each.start : each.end] for each in shown.chunks] == [shown.text]
    assert not shown.changed
    add(sources, "cafe.txt", "Closed.")
    again = mixed.preview("cafe.txt")
    assert again.changed
    assert "has changed since it was read" in Path(again.page).read_text(encoding="utf-8")


def test_a_file_that_is_no_text_is_read_as_it_was_before_cleaning(mixed: Project, sources: Sources) -> None:
    docx = pytest.importorskip("docx", reason="needs python-docx")
    made = docx.Document()
    made.add_paragraph("The cafÃ© beside the marsh opens before the ferry leaves in autumn, and closes at dusk.")
    made.save(str(sources.documents / "cafe.docx"))
    mixed.ingest()
    shown = mixed.preview("cafe.docx")
    assert shown.original_is == "reader"
    assert shown.original is not None
    assert "cafÃ©" in shown.original
    assert "café" in shown.text


def test_a_record_is_shown_and_a_unique_ending_is_enough(mixed: Project) -> None:
    shown = mixed.preview("lines.csv#2")
    assert (shown.source, shown.original_is) == ("records/lines.csv#2", "reader")
    duplicate = mixed.preview("copy.md")
    assert (duplicate.kept, duplicate.chunks) == ("ardmoor.md", ())
    assert duplicate.left_out == "same text as ardmoor.md"


def test_the_terminal_names_a_duplicates_twin_and_heads_each_text(mixed: Project) -> None:
    console = Console(file=io.StringIO(), width=60)
    console.print(report_terminal(mixed.ingest_report()))
    console.print(preview_terminal(mixed.preview("copy.md")))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "      copy.md (same text as ardmoor.md)\n" in shown
    assert "── as it is stored ──" in shown
    reason = shown[shown.index("  1 no reader for .exe") :].splitlines()[1]
    assert reason.startswith("  "), "a long reason goes on where it began"
    assert "<dt>format</dt><dd><bdi>Markdown</bdi>" in Path(mixed.preview("copy.md").page).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ardmor.md", r"there is no document 'ardmor.md'.*ardmoor.md"),
        ("nothing like it", "there is no document"),
        ("", "there is no document"),
        ("setup.exe", r"not in the corpus: records/setup.exe — no reader for .exe"),
        ("draft.md", r"not in the corpus: draft.md — "),
        ("lines.csv", r"records/lines.csv has 2 documents, name one of them: records/lines.csv#1, records/lines.csv#2$"),
    ],
)
def test_a_name_that_is_none_is_answered_with_near_ones(mixed: Project, name: str, says: str) -> None:
    with pytest.raises(ProjectError, match=says):
        mixed.preview(name)


def test_a_report_that_a_purge_overtakes_is_made_again(mixed: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage.render_report
    purged: list[str] = []

    def overtaken(*given: Any) -> str:
        if not purged:
            purged.append("cafe.txt")
            mixed.purge(["cafe.txt"])
        return before(*given)

    monkeypatch.setattr(stage, "render_report", overtaken)
    assert "beside the marsh" not in page(mixed.ingest_report())


def test_a_purge_removes_the_pages_with_the_text(mixed: Project) -> None:
    report = mixed.ingest_report()
    shown = mixed.preview("cafe.txt")
    assert "beside the marsh" in page(report)
    mixed.purge(["cafe.txt"])
    assert not Path(report.page).exists()
    assert not Path(shown.page).exists()
    assert mixed.ingest_report().left_out[0].items  # what the last ingest left out is still told


def test_the_command_syncs_first_and_can_be_kept_from_it(mixed: Project, sources: Sources) -> None:
    call = ["ingest", "--project", str(mixed.path), "--set", 'prepare.exclude=["draft.md"]', "--json"]
    add(sources, "new.md", "# New\n\nThe slate heron waits beside the granite well.\n")

    def run(*more: str) -> Any:
        result = CliRunner().invoke(app, [*call, *more])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert run("--report", "--no-sync")["documents"] == 11
    assert run("--report")["documents"] == 12
    assert run("--document", "new.md")["title"] == "New"


def test_the_terminal_shows_report_and_document_without_control_characters(mixed: Project, sources: Sources) -> None:
    add(sources, "evil.md", "# \x1b[2J\u202eevil\n\nThe heron.\n")
    Project(mixed.path, overrides=["prepare.control_characters=false"]).ingest()
    for more in (["--report", "--no-sync"], ["--document", "evil.md"]):
        result = CliRunner().invoke(app, ["ingest", "--project", str(mixed.path), *more])
        assert result.exit_code == 0, result.output
        assert "\x1b[2J" not in result.stdout
        assert "\u202e" not in result.stdout
    assert "⟨U+202E⟩evil" in result.stdout


def test_paths_are_refused_where_nothing_is_read(mixed: Project) -> None:
    result = CliRunner().invoke(app, ["ingest", "--project", str(mixed.path), "--document", "cafe.txt", "docs"])
    assert isinstance(result.exception, ConfigError)


def test_an_empty_name_is_a_name_and_syncs_nothing(mixed: Project) -> None:
    result = CliRunner().invoke(app, ["ingest", "--project", str(mixed.path), "--document", ""])
    assert isinstance(result.exception, ProjectError)
    assert "there is no document ''" in str(result.exception)


def test_numbers_that_json_lacks_are_null(mixed: Project, tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_text('{"text": "Slate heron.", "depth": NaN, "height": -Infinity}\n', encoding="utf-8")
    mixed.ingest([tmp_path / "odd.jsonl"])
    written = to_json(mixed.preview("odd.jsonl#1"))
    assert json.loads(written, parse_constant=pytest.fail)["metadata"] == {"depth": None, "height": None}


def test_the_record_is_plain_json(mixed: Project) -> None:
    assert json.loads(json.dumps(asdict(mixed.ingest_report())))["chunk_size"] == 40
