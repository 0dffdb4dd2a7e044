"""Archives and mail: what is in them by name, and what is refused."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

import pytest

from ragtune.prepare import ReadResult, Source, read_sources, reader_version

pytest.importorskip("charset_normalizer", reason="needs ragtune[documents]")


def read(path: Path) -> ReadResult:
    (result,) = read_sources([Source(path, path.name)], timeout_s=30)
    return result


def names(result: ReadResult) -> list[str]:
    return [document.source for document in result.documents or ()]


def zipped(members: Sequence[tuple[str, bytes | str]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def tarred(members: Sequence[tuple[str, bytes]], mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("link.md")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return stream.getvalue()


def test_members_of_a_zip_are_documents_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "docs.zip"
    members = [("a/Wind.md", "# Wind\n\nStop."), ("b.csv", "id,x\n7,one\n"), (".git/x.md", "no"), ("__MACOSX/y.md", "no"), ("c.bin", "?")]
    path.write_bytes(zipped(members))
    result = read(path)
    assert names(result) == ["docs.zip/a/Wind.md", "docs.zip/b.csv#7"]
    assert result.documents is not None
    assert (result.documents[0].title, result.documents[0].text) == ("Wind", "# Wind\n\nStop.")
    assert [(reason.source, reason.reason.partition(":")[0]) for reason in result.skipped] == [("docs.zip/c.bin", "no reader for .bin")]


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_members_of_a_tar_are_documents_and_links_are_not(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"docs.{ending}"
    packing = {"tar": "", "tgz": "gz"}.get(ending, ending.rpartition(".")[2])
    path.write_bytes(tarred([("./a/one.md", b"One."), ("two.txt", b"Two.")], f"w:{packing}"))
    assert names(read(path)) == [f"docs.{ending}/a/one.md", f"docs.{ending}/two.txt"]
    assert read(path).skipped == ()


def test_paths_that_lead_out_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped([("../evil.md", "x"), ("/etc/evil.md", "x"), ("C:\\evil.md", "x"), ("ok..md", "fine")]))
    (tmp_path / "b.tar").write_bytes(tarred([("a/../../evil.md", b"x"), ("ok.md", b"fine")], "w"))
    for name, refused in (("a.zip", 3), ("b.tar", 1)):
        result = read(tmp_path / name)
        assert [document.text for document in result.documents or ()] == ["fine"]
        assert len(result.skipped) == refused
        assert all("leads out of" in reason.reason for reason in result.skipped)


def test_an_archive_in_an_archive_is_read_and_one_in_that_refused(tmp_path: Path) -> None:
    deepest = zipped([("deep.md", "too deep")])
    inner = zipped([("in.md", "inside"), ("deepest.zip", deepest)])
    (tmp_path / "outer.zip").write_bytes(zipped([("inner.zip", inner), ("out.md", "outside")]))
    result = read(tmp_path / "outer.zip")
    assert names(result) == ["outer.zip/inner.zip/in.md", "outer.zip/out.md"]
    assert [reason.source for reason in result.skipped] == ["outer.zip/inner.zip/deepest.zip"]
    assert "packed 3 deep" in result.skipped[0].reason


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, kind: str) -> None:
    zeros = bytes(202 << 20)
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(zipped([("a.txt", zeros)]) if kind == "zip" else tarred([("a.txt", zeros)], f"w:{kind[4:]}"))
    assert path.stat().st_size < 1 << 20
    result = read(path)
    assert result.documents is None
    assert "would swell from" in (result.reason or "")


def test_what_is_there_twice_is_read_once_and_what_is_broken_costs_itself(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped([("a.md", "first"), ("a.md", "second"), ("b.md", "b" * 300), ("c.md", "third")])
    stored = data.index(b"b.md") + 4
    (tmp_path / "x.zip").write_bytes(data[:stored] + bytes([data[stored] ^ 0xFF]) + data[stored + 1 :])
    result = read(tmp_path / "x.zip")
    assert [document.text for document in result.documents or ()] == ["first", "third"]
    assert [reason.reason.partition(" ")[2][:14] for reason in result.skipped] == ["holds x.zip/a.", "is damaged: Er"]


@pytest.mark.parametrize(("name", "data"), [("a.zip", b"PK\3\4 nothing"), ("a.tar", b"nothing" * 200), ("a.tar.gz", b"\x1f\x8b\x08 no")])
def test_a_damaged_archive_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert "is damaged" in (read(tmp_path / name).reason or "")


def test_an_archive_of_too_many_files_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped([(f"{i}.md", "x") for i in range(10_003)]))
    result = read(tmp_path / "a.zip")
    assert len(names(result)) == 10_000
    assert [reason.reason.partition(":")[0] for reason in result.skipped] == ["a.zip holds more than 10,000 files"]


def test_a_message_is_a_document_and_so_is_each_attachment(tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Ann <ann@example.org>", "bob@example.org", "Störung am Lift"
    message["Date"] = "Fri, 16 Dec 2022 17:04:16 -0500"
    message.set_content("Der Lift steht.\n")
    message.add_alternative("<p>Der <b>Lift</b> steht.</p>", subtype="html")
    message.add_attachment("id,x\n1,one\n", subtype="csv", filename="../log.csv")
    message.add_attachment("A note.", filename="log.csv.txt")
    message.add_attachment("Another.", filename="log.csv.txt")
    forwarded = EmailMessage()
    forwarded["Subject"] = "Earlier"
    forwarded.set_content("<ul><li>one</li></ul>", subtype="html")
    message.add_attachment(forwarded)
    (tmp_path / "m.eml").write_bytes(message.as_bytes())
    result = read(tmp_path / "m.eml")
    assert names(result) == ["m.eml", "m.eml/log.csv#1", "m.eml/log.csv.txt", "m.eml/log.csv-2.txt", "m.eml/message-4.eml"]
    first, *_, last = result.documents or ()
    assert first.title == "Störung am Lift"
    lines = "From: Ann <ann@example.org>\nTo: bob@example.org\nDate: Fri, 16 Dec 2022 17:04:16 -0500"
    assert first.text == f"# Störung am Lift\n\n{lines}\n\nDer Lift steht."
    assert first.metadata == {"author": "Ann <ann@example.org>", "to": "bob@example.org", "date": "2022-12-16T17:04:16-05:00"}
    assert last.text == "# Earlier\n\n- one"


def test_what_is_no_message_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.eml").write_bytes(b"\0\1\2 nothing")
    assert "not an e-mail message" in (read(tmp_path / "m.eml").reason or "")


def test_an_archive_is_read_again_when_any_reader_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = reader_version("a.zip"), reader_version("a.pdf")
    monkeypatch.setitem(__import__("ragtune.prepare.read", fromlist=["_READERS"])._READERS, ".md", ("markdown", 99))
    assert reader_version("a.zip") != before[0]
    assert reader_version("a.pdf") == before[1]
