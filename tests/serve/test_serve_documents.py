"""Documents over HTTP: the list, one of them, uploads under hostile names, removal, and what a key with tags sees."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from api_app import client_of, finished, open_app
from fastapi.testclient import TestClient

from ragtune import Project
from ragtune.errors import ConfigError
from ragtune.prompts import build_completion
from ragtune.serve import state, uploads
from ragtune.serve.jobs import queue
from ragtune.serve.state import Caller
from ragtune.types import Reply

pytest.importorskip("faiss", reason="faiss is not installed")


@pytest.fixture
def opened(project: Path) -> Project:
    return Project(project)


@pytest.fixture
def client(opened: Project) -> Iterator[TestClient]:
    with open_app(opened) as app, client_of(app) as client:
        yield client


def send(client: TestClient, *files: tuple[str, bytes], **fields: str) -> Any:
    return client.post("/api/documents", files=[("files", (name, data)) for name, data in files], data=fields)


def stored(project: Project) -> set[str]:
    folder = project.workspace.uploads
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_an_upload_is_read_found_shown_and_deleted(client, opened):
    made = send(client, ("Mill.md", b"# The mill\n\nThe mill of Zennor was built by Ada Quill in slate.")).json()
    assert (made["saved"], made["refused"]) == (["uploads/Mill.md"], [])
    done = finished(client, made["job"]["id"])
    assert done["state"] == "done", done
    listed = client.get("/api/documents", params={"query": "mill.MD"}).json()
    assert [(each["source"], each["uploaded"], each["title"]) for each in listed["documents"]] == [("uploads/Mill.md", True, "The mill")]
    assert client.get("/api/documents", params={"limit": 3, "offset": 6}).json()["total"] == 9
    shown = client.get("/api/document", params={"source": "uploads/Mill.md"}).json()
    chunk = shown["chunks"][0]
    assert "Ada Quill" in shown["text"][chunk["start"] : chunk["end"]]
    part = client.get("/api/document", params={"source": "uploads/Mill.md", "start": 2, "length": 5}).json()
    assert (part["text"], part["characters"]) == (shown["text"][2:7], len(shown["text"]))
    job = client.delete("/api/document", params={"source": "uploads/Mill.md"}).json()["job"]
    assert finished(client, job["id"])["state"] == "done"
    assert stored(opened) == set()
    assert client.get("/api/document", params={"source": "uploads/Mill.md"}).status_code == 404
    assert client.delete("/api/document", params={"source": "uploads/Mill.md"}).status_code == 404


def test_an_upload_that_no_job_can_be_begun_for_is_not_deleted(client, opened, monkeypatch):
    made = send(client, ("Mill.md", b"# The mill\n\nThe mill of Zennor was built by Ada Quill in slate.")).json()
    assert finished(client, made["job"]["id"])["state"] == "done"
    with monkeypatch.context() as patch:
        patch.setattr(queue, "KEPT", 0)
        answer = client.delete("/api/document", params={"source": "uploads/Mill.md"})
    assert (answer.status_code, stored(opened)) == (409, {"Mill.md"})
    job = client.delete("/api/document", params={"source": "uploads/Mill.md"}).json()["job"]
    assert finished(client, job["id"])["state"] == "done"
    assert stored(opened) == set()


def test_what_takes_the_name_of_a_file_that_is_put_back_stays(tmp_path):
    path = tmp_path / "Mill.md"
    path.write_text("old")

    def remove() -> None:
        with uploads.removed(path):
            path.write_text("new")
            raise ValueError("no job")

    with pytest.raises(ValueError, match="no job"):
        remove()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("Mill.md", "new")]


def test_what_a_killed_server_left_of_uploads_is_swept(tmp_path):
    left, young, own = (tmp_path / "deep" / name for name in (f".{'a' * 16}.tmp", f".{'b' * 16}.tmp", ".notes.tmp"))
    left.parent.mkdir()
    for path in (left, young, own):
        path.write_text("x")
    for path in (left, own):
        os.utime(path, (1e9, 1e9))
    uploads.sweep(tmp_path)
    assert {path.name for path in left.parent.iterdir()} == {young.name, own.name}
    uploads.sweep(tmp_path / "nowhere")


def test_another_document_is_purged_and_its_file_stays(client, opened, sources):
    opened.ingest()
    opened.index()
    job = client.delete("/api/document", params={"source": "calder.md"}).json()["job"]
    assert job["kind"] == "purge"
    assert finished(client, job["id"])["state"] == "done"
    assert (sources.documents / "calder.md").is_file()
    assert client.get("/api/document", params={"source": "calder.md"}).status_code == 404
    opened.ingest()
    assert [each["source"] for each in client.get("/api/documents").json()["left_out"]] == ["calder.md"]


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("../../x.md", "x.md"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\Users\\a\\note.txt", "note.txt"),
        ("a\0b.md", "ab.md"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("COM1.tar.gz", "_COM1.tar.gz"),
        (".env", "env"),
        ("...hidden.md", "hidden.md"),
        ("trailing. . ", "trailing"),
        ('a<b>:"|?*#%.md', "a_b________.md"),
        ("cafe\u0301.md", "caf\u00e9.md"),
        ("invoice\u202egnp.md", "invoicegnp.md"),
        ("日本語の文書.pdf", "日本語の文書.pdf"),
        ("x" * 5000 + ".md", "x" * 197 + ".md"),
        ("日" * 300 + ".md", "日" * 65 + ".md"),
        ("-rf", "-rf"),
    ],
)
def test_a_hostile_name_becomes_a_plain_one(tmp_path, name, saved):
    folder = tmp_path / "uploads"
    assert uploads.save(folder, "", name, io.BytesIO(b"text"), replace=False) == (f"uploads/{saved}", "saved")
    assert [path.name for path in folder.iterdir()] == [saved]
    assert [path.name for path in tmp_path.iterdir()] == ["uploads"], "nothing is written beside it"


@pytest.mark.parametrize("name", ["", ".", "..", "a/", "\0\0", " . . ", "\u202e"])
def test_a_name_without_anything_in_it_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="nothing that can be a file's name"):
        uploads.save(tmp_path / "uploads", "", name, io.BytesIO(b"text"), replace=False)
    assert not (tmp_path / "uploads").exists() or not list((tmp_path / "uploads").iterdir())


@pytest.mark.parametrize("folder", ["..", "a/../../b", "/".join("abcdefghij"), "\0", "/".join(["y" * 190] * 7)])
def test_a_folder_that_leads_elsewhere_or_too_deep_is_refused(tmp_path, folder):
    with pytest.raises(ConfigError):
        uploads.save(tmp_path / "uploads", folder, "x.md", io.BytesIO(b"text"), replace=False)
    assert list(tmp_path.rglob("*.md")) == []


def test_a_link_that_leads_out_is_not_followed(tmp_path):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "uploads" / "way").symlink_to(tmp_path / "outside")
    (tmp_path / "uploads" / "own.md").symlink_to(tmp_path / "outside" / "own.md")
    with pytest.raises(ConfigError, match="leads out"):
        uploads.save(tmp_path / "uploads", "way", "x.md", io.BytesIO(b"text"), replace=True)
    with pytest.raises(ConfigError, match="replace=true"):
        uploads.save(tmp_path / "uploads", "", "own.md", io.BytesIO(b"text"), replace=False)
    uploads.save(tmp_path / "uploads", "", "own.md", io.BytesIO(b"text"), replace=True)
    assert not (tmp_path / "uploads" / "own.md").is_symlink()
    assert list((tmp_path / "outside").iterdir()) == []


def test_nothing_is_overwritten_unless_that_is_asked_for(client, opened):
    assert send(client, ("a.md", b"one"), ("b/../c.md", b"two"), folder="notes/2026").json()["saved"] == [
        "uploads/notes/2026/a.md",
        "uploads/notes/2026/c.md",
    ]
    again = send(client, ("a.md", b"one"), ("c.md", b"other"), folder="notes/2026").json()
    assert (again["unchanged"], again["saved"], again["job"]) == (["uploads/notes/2026/a.md"], [], None)
    assert "replace=true" in again["refused"][0]["reason"]
    assert again["refused"][0]["taken"]
    assert (opened.workspace.uploads / "notes/2026/c.md").read_bytes() == b"two"
    assert send(client, ("c.md", b"other"), folder="notes/2026", replace="true").json()["replaced"] == ["uploads/notes/2026/c.md"]
    assert (opened.workspace.uploads / "notes/2026/c.md").read_bytes() == b"other"
    assert "folder of that name" in send(client, ("2026", b"x"), folder="notes").json()["refused"][0]["reason"]
    assert "folder of that name" in send(client, ("x.md", b"x"), folder="notes/2026/a.md").json()["refused"][0]["reason"]
    assert stored(opened) == {"notes/2026/a.md", "notes/2026/c.md"}


@pytest.mark.parametrize("links", [True, False])
def test_of_several_files_that_are_sent_at_once_under_one_name_one_is_taken(tmp_path, monkeypatch, links):
    def none(*_):
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", none)
    at_once = threading.Barrier(8)

    def send_one(number):
        at_once.wait()
        try:
            return uploads.save(tmp_path, folder, "a.md", io.BytesIO(b"text %d" % number), replace=False)[1]
        except ConfigError:
            return "refused"

    with ThreadPoolExecutor(8) as threads:
        for folder in map(str, range(20)):
            outcomes = list(threads.map(send_one, range(8)))
            assert sorted(outcomes) == ["refused"] * 7 + ["saved"]
            assert (tmp_path / folder / "a.md").read_bytes() == b"text %d" % outcomes.index("saved")


def test_several_uploads_that_wait_are_read_by_one_job(client, opened):
    with opened.workspace.lock("train"):
        first = send(client, ("a.md", b"one")).json()["job"]["id"]
        later = {send(client, (f"{n}.md", b"text %d" % n)).json()["job"]["id"] for n in range(4)}
    assert len(later - {first}) <= 1
    assert finished(client, later.pop())["state"] == "done"


def test_what_is_too_large_is_refused_before_it_is_read_to_its_end(project):
    opened = Project(project, overrides=["serve.largest_upload=2000"])
    with open_app(opened) as app, client_of(app) as client:
        assert send(client, ("a.md", b"x" * 3_000_000)).status_code == 413

        def without_length() -> Iterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.md"\r\n\r\n'
            yield from [b"x" * 100_000] * 30

        chunked = client.post("/api/documents", content=without_length(), headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert chunked.status_code == 413
        assert not opened.workspace.uploads.exists()


FILE = b'--b\r\nContent-Disposition: form-data; name="files"'


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--x"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", FILE + b"\r\n\r\nx\r\n--b--\r\n"),
    ],
)
def test_what_is_no_form_is_told_so(client, kind, content):
    assert client.post("/api/documents", content=content, headers={"Content-Type": kind}).status_code == 400


def test_a_key_with_tags_sees_its_documents_alone_and_uploads_nothing(client, opened, sources, monkeypatch):
    (sources.documents / "secret.md").write_text("---\naccess: board\n---\n# Secret\n\nNobody knows the tower of Zennor.", encoding="utf-8")
    opened.ingest()
    assert client.get("/api/documents", params={"query": "secret"}).json()["documents"][0]["access"] == ["board"]
    scopes = frozenset({"ask", "read", "write"})
    monkeypatch.setattr(state, "LOCAL", Caller("staff", scopes, ("staff",)))
    seen = client.get("/api/documents", params={"limit": 500}).json()
    assert "secret.md" not in {each["source"] for each in seen["documents"]}
    assert seen["total"] == 8
    assert (seen["skipped"], seen["left_out"]) == ([], [])
    assert client.get("/api/document", params={"source": "secret.md"}).status_code == 404
    assert client.get("/api/document", params={"source": "calder.md"}).status_code == 200
    assert send(client, ("a.md", b"x")).status_code == 403
    assert client.delete("/api/document", params={"source": "calder.md"}).status_code == 403
    monkeypatch.setattr(state, "LOCAL", Caller("board", scopes, ("board",)))
    assert client.get("/api/document", params={"source": "secret.md"}).json()["title"] == "Secret"


def test_a_project_without_documents_has_an_empty_list(tmp_path):
    with open_app(Project(tmp_path / "new", create=True)) as app, client_of(app) as client:
        assert client.get("/api/documents").json()["total"] == 0
        assert client.get("/api/document", params={"source": "x"}).status_code == 404


@dataclass
class Says:
    """A model that always writes the same."""

    text: str
    name: str = "says"

    def stream(self, messages: Any, **_: Any) -> Iterator[str | Reply]:
        yield self.text
        yield Reply(self.text)


def test_a_passage_and_a_citation_tell_the_page(own, tmp_path, monkeypatch):
    platypus = pytest.importorskip("reportlab.platypus", reason="needs reportlab, of ragtune[examples]")
    from reportlab.lib.styles import getSampleStyleSheet

    quote = "The kiln of Zennor burns driftwood on nine nights of the year."
    body = getSampleStyleSheet()["BodyText"]
    first = [platypus.Paragraph(f"On stair {i} of the quay a lamp is lit at dusk for the ferries that come late.", body) for i in range(12)]
    path = tmp_path / "kiln.pdf"
    platypus.SimpleDocTemplate(str(path)).build([*first, platypus.PageBreak(), platypus.Paragraph(quote, body)])

    project = own()
    settings = project.path / "ragtune.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("chunk_size = 40", "chunk_size = 160"), encoding="utf-8")
    with open_app(Project(project.path)) as app, client_of(app) as client:
        assert finished(client, send(client, ("kiln.pdf", path.read_bytes())).json()["job"]["id"])["state"] == "done"
        models = app.state.ragtune.answering.models
        find = models.find
        monkeypatch.setattr(models, "find", lambda *a, **k: replace(find(*a, **k), chat=Says(build_completion("nine", [quote]))))
        asked = {"messages": [{"role": "user", "content": "On how many nights does the kiln of Zennor burn driftwood?"}]}
        found = client.post("/v1/chat/completions", json=asked).json()["ragtune"]
        (citation,) = found["citations"]
        assert (citation["document"], citation["quote"], citation["page"]) == ("uploads/kiln.pdf", quote, 2)
        shown = client.get("/api/document", params={"source": "uploads/kiln.pdf"}).json()
        assert shown["text"][citation["start"] : citation["end"]] == quote
        (passage,) = (each for each in found["passages"] if quote in each["text"])
        assert passage["page"] == (1 if passage["start"] < citation["start"] else 2)
        asked["messages"][0]["content"] = "On which stair of the quay is a lamp lit at dusk for the ferries?"
        pages = {each["page"] for each in client.post("/v1/chat/completions", json=asked).json()["ragtune"]["passages"]}
        assert pages == {1}
        assert client.post("/v1/chat/completions", json=asked).json()["ragtune"]["citations"] == []
