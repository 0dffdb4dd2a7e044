"""Web pages as sources: read once, asked again cheaply, removed when gone, kept when their site fails."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_sync_stateful import read_here

from ragtune import Project, cli
from ragtune.corpus import Corpus
from ragtune.errors import ProjectError, ReadError
from ragtune.pipeline.records import IngestResult
from site_server import Page, Site
from tiny_project import PLACES, builder, document

pytest.importorskip("urllib3", reason="urllib3 is not installed")
pytest.importorskip("protego", reason="protego is not installed")
pytest.importorskip("bs4", reason="beautifulsoup4 is not installed")
pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

SET = ["web.private=true", "web.delay=0", "web.timeout=400"]


def html(place: str, extra: str = "") -> str:
    paragraphs = "".join(f"<p>{line}</p>" for line in document(place, 3).splitlines() if line and not line.startswith("#"))
    return f"<html><head><title>{place}</title></head><body><h1>{place}</h1>{paragraphs}<p>{extra}</p></body></html>"


def sitemap(*addresses: str, index: bool = False) -> Page:
    outer, inner = ("sitemapindex", "sitemap") if index else ("urlset", "url")
    entries = "".join(f"<{inner}><loc>{each}</loc></{inner}>" for each in addresses)
    return Page(f'<?xml version="1.0"?><{outer} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</{outer}>', "application/xml")


@pytest.fixture
def served() -> Iterator[Site]:
    with Site() as server:
        server.pages |= {
            "/calder": Page(html("Calder"), etag='"c1"'),
            "/dunmere.html": Page(html("Dunmere"), etag='"d1"'),
            "/eskvale": Page(html("Eskvale"), etag='"e1"'),
        }
        server.pages["/sitemap.xml"] = sitemap(*(server.url(path) for path in ("/calder", "/dunmere.html", "/eskvale")))
        yield server


@pytest.fixture
def opened(made: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that reads without child processes, which cost a second each."""
    monkeypatch.setattr("ragtune.pipeline.ingest.read_sources", read_here)
    return made


@pytest.fixture
def made(tmp_path: Path, tiny_embedder: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "ragtune.toml").write_text(
        f"[prepare]\nchunk_size = 40\n[embed]\nmodel = {json.dumps(str(tiny_embedder))}\n", encoding="utf-8"
    )
    return Project(folder, overrides=SET)


def again(project: Project, *more: str) -> Project:
    return Project(project.path, overrides=[*SET, *more])


def sources(project: Project) -> list[str]:
    corpus = Corpus(project.workspace.corpus)
    try:
        return [source for source, _ in corpus.sources()]
    finally:
        corpus.close()


def reasons(result: IngestResult, part: str) -> dict[str, str]:
    return {each.source: each.reason for each in getattr(result, part)}


def test_a_page_is_found_by_search_from_the_command_line(served: Site, made: Project, monkeypatch: Any, capsys: Any) -> None:
    def command(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["ragtune", *words, "--project", str(made.path)])
        with pytest.raises(SystemExit, match="0"):
            cli.main()
        return str(capsys.readouterr().out)

    flags = [word for each in SET for word in ("--set", each)]
    result = json.loads(command("ingest", served.url("/calder#top"), *flags, "--json"))
    assert [each["source"] for each in result["read"]] == [served.url("/calder")]
    command("index", "--quiet")
    (hit, *_) = json.loads(command("search", "Who built the mill of Calder?", "--json"))
    assert hit["source"] == served.url("/calder")
    assert builder("Calder", "mill") in command("search", "Who built the mill of Calder?", "-k", "9")
    assert "0 read, 1 unchanged" in command("ingest", *flags, "--quiet"), "the address is remembered"


def test_the_settings_may_name_pages(served: Site, opened: Project) -> None:
    toml = opened.path / "ragtune.toml"
    toml.write_text(f"documents = [{json.dumps(served.url('/calder'))}, 'more']\n{toml.read_text()}", encoding="utf-8")
    (opened.path / "more").mkdir()
    (opened.path / "more" / "a.md").write_text(document(PLACES[7], 2), encoding="utf-8")
    assert again(opened).ingest().documents == 2


def test_an_unchanged_page_costs_a_304_and_is_not_read_again(served: Site, opened: Project, monkeypatch: Any) -> None:
    address = served.url("/sitemap.xml")
    assert opened.ingest([address]).documents == 3
    assert {status for _, status in served.took()} == {200}
    monkeypatch.setattr("ragtune.pipeline.ingest.read_sources", lambda *_, **__: pytest.fail("read again"))
    second = opened.ingest([address])
    assert (second.read, second.removed, second.unchanged) == ((), (), 3)
    assert dict(served.took()) == {"/sitemap.xml": 200, "/calder": 304, "/dunmere.html": 304, "/eskvale": 304}


def test_last_modified_is_asked_with_too(served: Site, opened: Project) -> None:
    seen: list[str | None] = []
    date = "Wed, 01 Jul 2026 10:00:00 GMT"

    def write(handler: Any) -> None:
        seen.append(handler.headers.get("If-Modified-Since"))
        handler.wfile.write(html("Farrow").encode())

    served.pages["/farrow"] = Page(write=write, headers={"Last-Modified": date})
    opened.ingest([served.url("/farrow")])
    opened.ingest()
    assert seen == [None, date]
    left_out = again(opened, "prepare.modified_since=2026-08-01").ingest()
    assert "modified on 2026-07-01" in reasons(left_out, "left_out")[served.url("/farrow")]


def test_a_changed_page_is_read_again_and_one_that_is_gone_is_removed(served: Site, opened: Project) -> None:
    opened.ingest([served.url("/sitemap.xml")])
    served.pages["/calder"] = Page(html("Calder", "A new line."), etag='"c2"')
    del served.pages["/dunmere.html"]
    served.pages["/eskvale"] = Page(status=410)
    result = opened.ingest()
    assert reasons(result, "read") == {served.url("/calder"): "changed"}
    assert set(reasons(result, "removed")) == {served.url("/dunmere.html"), served.url("/eskvale")}
    assert reasons(result, "skipped")[served.url("/eskvale")].endswith("answers 410")
    assert sources(opened) == [served.url("/calder")]
    assert len(list(opened.workspace.web.glob("*.html"))) == 1, "the copies are gone as well"


@pytest.mark.parametrize("status", [500, 503, 429, 403])
def test_a_page_that_fails_keeps_what_is_stored_and_is_reported(served: Site, opened: Project, status: int) -> None:
    opened.ingest([served.url("/sitemap.xml")])
    before = sources(opened)
    served.pages["/calder"] = Page(status=status)
    result = opened.ingest()
    assert f"answers {status}" in reasons(result, "skipped")[served.url("/calder")]
    assert (result.removed, sources(opened)) == ((), before)
    # and is read from its copy where a setting changes, which needs no network
    assert len(again(opened, "prepare.chunk_size=50").ingest().read) == 3


def test_what_cannot_be_reached_stays_whether_it_was_a_page_or_a_sitemap(served: Site, opened: Project) -> None:
    address = served.url("/sitemap.xml")
    opened.ingest([address])
    served.pages["/sitemap.xml"] = Page(status=500)
    result = opened.ingest()
    assert (result.removed, result.unchanged) == ((), 3)
    served.pages["/sitemap.xml"] = Page(status=404)
    assert opened.ingest().removed == (), "a sitemap that is gone takes no page with it"
    served.server_close()
    result = opened.ingest()
    assert (result.removed, result.unchanged, result.documents) == ((), 3, 3)
    for path in opened.workspace.web.glob("*"):
        path.unlink()
    assert (opened.ingest().removed, len(sources(opened))) == ((), 3), "without copies, too"


def test_pages_that_are_no_longer_listed_or_named_leave(served: Site, opened: Project) -> None:
    opened.ingest([served.url("/sitemap.xml")])
    served.pages["/sitemap.xml"] = sitemap(served.url("/calder"))
    assert len(opened.ingest().removed) == 2
    other = opened.path / "a.md"
    other.write_text(document(PLACES[7], 2), encoding="utf-8")
    assert set(reasons(opened.ingest([other]), "removed")) == {served.url("/calder")}
    assert list(opened.workspace.web.glob("*")) == []


def test_a_mistyped_address_does_not_empty_the_corpus(served: Site, opened: Project, monkeypatch: Any, capsys: Any) -> None:
    opened.ingest([served.url("/sitemap.xml")])
    before = sources(opened), len(list(opened.workspace.web.glob("*")))
    with pytest.raises(ReadError, match=r"nothing could be read of the sources.* with 3 files: http://\S+/nix.html answers 404"):
        opened.ingest([served.url("/nix.html")])
    assert (sources(opened), len(list(opened.workspace.web.glob("*")))) == before
    assert opened.ingest().unchanged == 3, "the last sources are those that could be read"
    other = opened.path / "a.md"
    other.write_text(document(PLACES[7], 2), encoding="utf-8")
    words = [
        "ingest",
        str(other),
        served.url("/nix.html"),
        "--project",
        str(opened.path),
        *(part for each in SET for part in ("--set", each)),
    ]
    monkeypatch.setattr("sys.argv", ["ragtune", *words])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert f"3 not among the sources any more: {served.url('/calder')}, " in capsys.readouterr().out


def test_a_sitemap_is_kept_to_its_host_and_may_list_itself(served: Site, opened: Project) -> None:
    with Site() as other:
        served.pages["/index.xml"] = sitemap(served.url("/index.xml"), served.url("/two.xml"), other.url("/sitemap.xml"), index=True)
        served.pages["/two.xml"] = sitemap(served.url("/index.xml"), served.url("/pages.xml.gz"), index=True)
        listed = sitemap(served.url("/calder"), other.url("/far"), "ftp://x/y", f"http://me:s3cret@{served.host}/eskvale", "/dunmere.html")
        served.pages["/pages.xml.gz"] = Page(gzip.compress(listed.data), "application/gzip")
        result = opened.ingest([served.url("/index.xml")])
        assert sources(opened) == [served.url("/calder"), served.url("/dunmere.html")]
        assert other.asked == []
        told = " ".join(reasons(result, "left_out").values())
        assert "another host" in told
        assert "s3cret" not in told + opened.workspace.corpus.read_bytes().decode("latin-1")


def test_a_robots_txt_leads_to_its_sitemaps_and_forbids_pages(served: Site, opened: Project) -> None:
    served.pages["/robots.txt"] = Page(
        f"User-agent: *\nDisallow: /eskvale\nSitemap: {served.url('/robots.txt')}\nSitemap: {served.url('/sitemap.xml')}\n"
    )
    result = opened.ingest([served.url("/robots.txt")])
    assert sources(opened) == [served.url("/calder"), served.url("/dunmere.html")]
    assert "robots.txt does not allow" in reasons(result, "left_out")[served.url("/eskvale")]
    served.pages["/robots.txt"] = Page(status=503)
    assert opened.ingest().removed == ()


def test_no_more_pages_are_read_than_the_setting_says(served: Site, opened: Project) -> None:
    result = again(opened, "web.pages=2").ingest([served.url("/sitemap.xml")])
    assert sources(opened) == [served.url("/calder"), served.url("/dunmere.html")]
    assert "1 more addresses than web.pages = 2" in reasons(result, "left_out")[served.url("/sitemap.xml")]
    assert opened.ingest().documents == 3


def test_filters_by_name_hold_before_anything_is_fetched(served: Site, opened: Project) -> None:
    result = again(opened, 'prepare.exclude=["*/dun*"]').ingest([served.url("/sitemap.xml")])
    assert reasons(result, "left_out") == {served.url("/dunmere.html"): "prepare.exclude has */dun*"}
    assert "/dunmere.html" not in dict(served.took())


def test_the_reader_is_told_by_the_type_then_by_the_address(served: Site, made: Project) -> None:
    opened = made
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in/side.md", document("Jarrow", 2))
    served.pages |= {
        "/data?format=csv": Page("id,text\n7,Slate heron gravel\n", "text/csv"),
        "/readme.md": Page("# Kelby\n\nWillow copper.", "text/plain; charset=utf-8"),
        "/page.php": Page(html("Lorne")),
        "/all.zip": Page(packed.getvalue(), "application/octet-stream"),
        "/image": Page(b"\x89PNG", "image/png"),
    }
    result = opened.ingest([served.url(path) for path in ("/data?format=csv", "/readme.md", "/page.php", "/all.zip", "/image")])
    assert sources(opened) == sorted(
        [served.url("/data?format=csv#7"), served.url("/readme.md"), served.url("/page.php"), served.url("/all.zip/in/side.md")]
    )
    assert "no reader for" in reasons(result, "skipped")[served.url("/image")]
    kinds = {each.source: each.media_type for each in Corpus(opened.workspace.corpus).all_documents()}
    assert kinds[served.url("/readme.md")] == "text/markdown"


@pytest.mark.parametrize(
    ("encoding", "said", "meta"),
    [
        ("iso-8859-2", "iso-8859-2", "utf-8"),
        ("utf-8", "iso-8859-1", "iso-8859-1"),
        ("cp1252", "utf-8", "windows-1252"),
        ("cp1252", "no-such-charset", ""),
        ("utf-16", "utf-16", ""),
    ],
)
def test_a_wrong_charset_does_no_harm_where_another_fits(served: Site, opened: Project, encoding: str, said: str, meta: str) -> None:
    text = html("Kelby", "Łódź żółć" if encoding == "iso-8859-2" else "Käse für Größe").replace("<head>", f'<head><meta charset="{meta}">')
    served.pages["/kelby"] = Page(text.encode(encoding), f"text/html; charset={said}")
    opened.ingest([served.url("/kelby")])
    assert ("Łódź żółć" if encoding == "iso-8859-2" else "Käse für Größe") in Corpus(opened.workspace.corpus).all_documents()[0].text


def test_a_purged_page_is_not_even_fetched_again(served: Site, opened: Project) -> None:
    address = served.url("/calder")
    opened.ingest([served.url("/sitemap.xml")])
    opened.index()
    served.pages["/twin"] = Page(html("Calder"))
    served.pages["/sitemap.xml"] = sitemap(*(served.url(path) for path in ("/calder", "/dunmere.html", "/twin")))
    telling = builder("Calder", "mill").encode()
    assert len([path for path in opened.workspace.web.glob("*") if telling in path.read_bytes()]) == 1
    opened.purge([address])
    assert not any(telling in path.read_bytes() for path in opened.workspace.folder.rglob("*") if path.is_file())
    served.took()
    result = opened.ingest()
    assert address not in sources(opened)
    assert "ragtune purge --undo" in reasons(result, "left_out")[address]
    assert "same bytes" in reasons(result, "left_out")[served.url("/twin")]
    assert "/calder" not in dict(served.took())
    holding = [path.name for path in opened.workspace.folder.rglob("*") if path.is_file() and telling in path.read_bytes()]
    assert holding == []
    opened.undo_purge([address])
    assert address in sources(opened) or reasons(opened.ingest(), "read")[address] == "new"


def test_addresses_with_credentials_and_other_schemes_are_refused_before_anything_is_stored(opened: Project) -> None:
    with pytest.raises(ReadError, match="user name"):
        opened.ingest(["https://me:s3cret@example.org/"])
    with pytest.raises(ReadError, match="only http"):
        opened.ingest(["ftp://example.org/a"])
    assert not any(b"s3cret" in path.read_bytes() for path in opened.path.rglob("*") if path.is_file())


def test_private_addresses_are_refused_unless_the_setting_allows_them(served: Site, opened: Project) -> None:
    result = Project(opened.path).ingest([served.url("/calder")])
    assert "web.private = true" in reasons(result, "skipped")[served.url("/calder")]
    assert (result.documents, served.asked) == (0, [])


def test_a_project_of_pages_equals_one_that_is_built_from_nothing(served: Site, opened: Project, tmp_path: Path) -> None:
    address = served.url("/sitemap.xml")
    opened.ingest([address])
    served.pages["/calder"] = Page(html("Calder", "Changed."), etag='"c2"')
    del served.pages["/eskvale"]
    served.pages["/new"] = Page(html("Harrock"))
    served.pages["/sitemap.xml"] = sitemap(*(served.url(path) for path in ("/calder", "/dunmere.html", "/eskvale", "/new")))
    opened.ingest()
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "ragtune.toml").write_bytes((opened.path / "ragtune.toml").read_bytes())
    Project(fresh, overrides=SET).ingest([address])
    here, there = Corpus(opened.workspace.corpus), Corpus(fresh / ".ragtune" / "corpus.db")
    assert here.files() == there.files()
    assert here.all_documents() == there.all_documents()
    assert {chunk.id for chunk in here.all_chunks()} == {chunk.id for chunk in there.all_chunks()}
    names = [{path.name for path in folder.glob("*")} for folder in (opened.workspace.web, fresh / ".ragtune" / "web")]
    assert names[0] == names[1]


def test_a_copy_that_a_killed_run_left_half_written_is_fetched_again(served: Site, opened: Project) -> None:
    opened.ingest([served.url("/calder")])
    for path in opened.workspace.web.glob("*.about.json"):
        path.unlink()
    served.took()
    assert opened.ingest().unchanged == 1
    assert served.took() == [("/calder", 200)]


def test_without_any_source_pages_are_named_in_the_error(opened: Project) -> None:
    with pytest.raises(ProjectError, match="web pages"):
        opened.ingest()


def test_a_whole_run_reads_pages_and_a_dry_one_fetches_nothing(served: Site, project: Path, tmp_path: Path) -> None:
    for place in PLACES[:8]:
        served.pages[f"/{place.lower()}"] = Page(html(place))
    served.pages["/sitemap.xml"] = sitemap(*(served.url(f"/{place.lower()}") for place in PLACES[:8]))
    questions = [
        {
            "id": f"{place}-{thing}",
            "question": f"Who built the {thing} of {place}?",
            "answers": [builder(place, thing)],
            "document": served.url(f"/{place.lower()}"),
            "evidence": f"was built by {builder(place, thing)} in stone",
        }
        for place in PLACES[:8]
        for thing in ("bridge", "mill", "tower")
    ]
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(question) + "\n" for question in questions), encoding="utf-8")
    opened = Project(project, overrides=SET)
    assert opened.run([served.url("/sitemap.xml")], [file], dry_run=True).forecast.total > 0
    assert served.took() == []
    result = opened.run([served.url("/sitemap.xml")], [file])
    assert len(served.took()) == 9, "each address is asked once"
    assert result.ingest is not None
    assert (result.ingest.documents, result.evaluation is not None) == (8, True)


def test_a_page_stands_in_the_report_under_its_host_and_beside_its_copy(served: Site, opened: Project) -> None:
    opened.ingest([served.url("/calder")])
    report = opened.ingest_report()
    assert [row.label for row in report.sources] == [served.url("").removeprefix("http://").rstrip("/")]
    asked = len(served.asked)
    preview = opened.preview("calder")
    assert "Calder" in preview.text
    assert preview.path
    assert Path(preview.path).is_relative_to(opened.workspace.web)
    assert len(served.asked) == asked, "looking fetches nothing"
