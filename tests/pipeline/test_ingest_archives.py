"""Archives in a project: what is in them is in the corpus, what was not read is told, and a changed one is read again."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from ragtune import Project
from ragtune.corpus import Corpus
from tiny_project import Sources

pytest.importorskip("faiss", reason="faiss is not installed")


def pack(path: Path, **members: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("_", "."), text)


def in_archive(project: Path) -> dict[str, str]:
    corpus = Corpus(project / ".ragtune" / "corpus.db")
    try:
        return {each.source: each.text for each in corpus.all_documents() if each.source.startswith("old.zip")}
    finally:
        corpus.close()


def test_what_is_in_an_archive_follows_the_archive(project: Path, sources: Sources) -> None:
    archive = sources.documents / "old.zip"
    pack(archive, a_md="# Old hut\n\nIt had 12 beds.", b_md="# Older hut\n\nIt had 4 beds.", c_bin="?")
    result = Project(project).ingest([sources.documents])
    assert in_archive(project).keys() == {"old.zip/a.md", "old.zip/b.md"}
    assert [reason.reason.partition(" save")[0] for reason in result.skipped if reason.source == "old.zip"] == [
        "1 of its parts: no reader for .bin:"
    ]
    assert [reason.source for reason in Project(project).ingest([sources.documents]).read] == []
    pack(archive, a_md="# Old hut\n\nIt had 14 beds.")
    Project(project).ingest([sources.documents])
    assert in_archive(project) == {"old.zip/a.md": "# Old hut\n\nIt had 14 beds."}
    archive.unlink()
    Project(project).ingest([sources.documents])
    assert in_archive(project) == {}


def test_a_file_is_kept_before_its_copy_in_an_archive_and_the_copy_takes_its_place(project: Path, sources: Sources) -> None:
    text = "# Old hut\n\nIt had 12 beds."
    pack(sources.documents / "a.zip", x_md=text)
    (sources.documents / "z.md").write_text(text, encoding="utf-8")
    result = Project(project).ingest([sources.documents])
    assert [(each.source, each.reason) for each in result.duplicates] == [("a.zip/x.md", "same text as z.md")]
    (sources.documents / "z.md").unlink()
    assert Project(project).ingest([sources.documents]).duplicates == ()


def test_named_fields_change_what_they_touch_only(project: Path, sources: Sources) -> None:
    (sources.documents / "faq.csv").write_text("key,ask,reply\nk1,When?,At noon.\n")
    Project(project).ingest([sources.documents])
    named = ['prepare.id_field="key"', 'prepare.text_fields=["ask", "reply"]']
    result = Project(project, overrides=named).ingest([sources.documents])
    assert [reason.source for reason in result.read] == ["faq.csv"]
    corpus = Corpus(project / ".ragtune" / "corpus.db")
    assert corpus.document("faq.csv#k1").text == "When?\n\nAt noon."
    corpus.close()
