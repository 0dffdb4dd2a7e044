"""``uploads/`` is among the sources whatever else is named."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from ragtune import Project
from ragtune.build import open_corpus
from ragtune.errors import ReadError


def sources_of(project: Project) -> list[str]:
    with contextlib.closing(open_corpus(project.workspace)) as corpus:
        return [source for source, _ in corpus.sources()]


def upload(project: Project, name: str, text: str) -> Path:
    path = project.workspace.uploads / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_an_upload_is_ingested_beside_the_documents_and_keeps_its_name(project, sources):
    opened = Project(project)
    upload(opened, "calder.md", "# Another Calder\n\nIt says other things than the document of that name.")
    opened.ingest()
    assert {"calder.md", "uploads/calder.md"} <= {*sources_of(opened)}
    (sources.documents / "calder.md").unlink()
    opened.ingest([sources.documents])
    assert "uploads/calder.md" in sources_of(opened)
    assert "calder.md" not in sources_of(opened)


def test_a_project_may_have_uploads_alone_and_lose_them_all(tmp_path, tiny_embedder):
    opened = Project(tmp_path / "new", create=True, overrides=[f"embed.model={tiny_embedder}"])
    path = upload(opened, "one.md", "# One\n\nThe mill of Calder was built in stone.")
    assert opened.ingest().documents == 1
    path.unlink()
    assert opened.ingest().documents == 0


def test_sources_that_cannot_be_read_do_not_empty_the_corpus_because_an_upload_can(project, sources):
    opened = Project(project)
    upload(opened, "one.md", "# One\n\nSomething.")
    opened.ingest([sources.documents])
    before = sources_of(opened)
    with pytest.raises(ReadError, match="nothing could be read of the sources"):
        opened.ingest(["https://127.0.0.1:1/nothing"])
    assert sources_of(opened) == before
