"""Documents: upload with progress, list, what was left out, chunks, delete."""

from __future__ import annotations

from typing import Any

import pytest
from web_steps import DESKTOP, PHONE


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_documents_are_searched_read_and_shown_with_their_chunks(visit: Any, address: str, size: tuple[int, int]) -> None:
    page = visit(address, "#/documents", size=size)
    page.get_by_text("36 documents", exact=True).last.wait_for()
    page.get_by_label("Search titles and paths").fill("arvel")
    page.get_by_text("1 document", exact=True).wait_for()
    page.get_by_role("link", name="Arvel Link").click()
    page.get_by_role("heading", name="Arvel Link: line description and working rules").wait_for()
    assert page.locator(".line.even").count() > 5
    assert page.locator(".line.odd").count() > 5
    page.get_by_text("Show the chunks").click()
    assert page.locator(".line.odd").count() == 0
    page.get_by_label("Find in this document").fill("haul rope")
    page.locator("mark.found").first.wait_for()
    assert not page.said


def test_files_are_uploaded_and_refusals_are_said(visit: Any, address: str) -> None:
    page = visit(address, "#/documents")
    files = [
        {"name": "lantern.md", "mimeType": "text/markdown", "buffer": b"# The new lantern\n\nIt burns."},
        {"name": "tool.exe", "mimeType": "application/octet-stream", "buffer": b"MZ"},
    ]
    page.get_by_role("button", name="Upload").wait_for()
    page.locator("input[type=file]").set_input_files(files)
    upload = page.get_by_role("region", name="Upload")
    upload.get_by_text("tool.exe").wait_for()
    assert "ragtune reads no such files" in upload.inner_text()
    upload.get_by_role("heading", name="1 file read").wait_for()
    assert page.get_by_role("link", name="uploads/lantern.md").is_visible()


def test_a_changed_file_is_put_in_the_place_of_the_old_one(visit: Any, address: str) -> None:
    page = visit(address, "#/documents")
    page.get_by_role("button", name="Upload").wait_for()
    upload = page.get_by_role("region", name="Upload")

    def send(text: bytes) -> None:
        page.locator("input[type=file]").set_input_files({"name": "wharf.md", "mimeType": "text/markdown", "buffer": text})

    send(b"# The wharf")
    upload.get_by_role("heading", name="1 file read").wait_for()
    send(b"# The new wharf")
    upload.get_by_text("another file of this name is there already").wait_for()
    upload.get_by_role("heading", name="Nothing was taken").wait_for()
    upload.get_by_role("button", name="Put this one in its place").click()
    upload.get_by_text("In place of what was there: uploads/wharf.md").wait_for()
    assert upload.get_by_role("button", name="Put this one in its place").count() == 0
    assert not page.said


def test_an_uploaded_file_that_could_not_be_read_is_said_with_the_reason(visit: Any, address: str) -> None:
    page = visit(address, "#/documents")
    page.get_by_role("button", name="Upload").wait_for()
    page.locator("input[type=file]").set_input_files({"name": "plan.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 and no more"})
    upload = page.get_by_role("region", name="Upload")
    upload.get_by_role("heading", name="Not everything could be read").wait_for()
    assert upload.locator(".notice.warning").all_inner_texts() == [
        "uploads/plan.pdf: it is damaged, or no PDF: make it again, or remove it"
    ]


def test_dropped_files_are_uploaded(visit: Any, address: str) -> None:
    page = visit(address, "#/documents")
    page.get_by_role("button", name="Upload").wait_for()
    transfer = page.evaluate_handle("() => { const t = new DataTransfer(); t.items.add(new File(['# Dropped'], 'dropped.md')); return t; }")
    page.dispatch_event("main", "dragenter", {"dataTransfer": transfer})
    page.get_by_text("Drop the files").wait_for()
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    page.get_by_role("heading", name="1 file read").wait_for()
    assert page.get_by_text("Drop the files").count() == 0


def test_what_was_skipped_is_said_with_the_reason(visit: Any, address: str) -> None:
    page = visit(address, "#/documents")
    page.get_by_text("Skipped: nothing could be read").click()
    assert page.get_by_text("install ragtune[ocr] and ingest again").is_visible()


def test_a_document_is_deleted_after_a_confirmation(visit: Any, server: Any) -> None:
    page = visit(server.address, "#/documents/lines%2Farvel-link.md")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert "lines/arvel-link.md" in server.example.documents
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_text("35 documents", exact=True).last.wait_for()
    assert "lines/arvel-link.md" not in server.example.documents
