"""One web address, within limits, from real servers on loopback."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from ragtune.errors import ReadError
from site_server import Page, Site
from waiting import PATIENCE_S

pytest.importorskip("urllib3", reason="urllib3 is not installed")
pytest.importorskip("protego", reason="protego is not installed")

from ragtune.prepare.polite import NotAllowedError, Visitor
from ragtune.prepare.sitemap import Robots, is_sitemap, listed, unpacked
from ragtune.prepare.web import HostError, Limits, RefusedError, fetch, is_public, normalise, site

HERE = Limits(largest=100_000, timeout_s=PATIENCE_S, private=True)


@pytest.fixture
def served() -> Iterator[Site]:
    with Site() as server:
        yield server


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("HTTP://Example.ORG", "http://example.org/"),
        ("https://example.org:443/a/../b?x=1#part", "https://example.org/b?x=1"),
        ("http://example.org:8080/ü x", "http://example.org:8080/%C3%BC%20x"),
        (" http://[::1]:80/ ", "http://[::1]/"),
    ],
)
def test_an_address_has_one_form(given: str, expected: str) -> None:
    assert normalise(given) == expected
    assert normalise(expected) == expected


@pytest.mark.parametrize("given", ["ftp://example.org/a", "file:///etc/passwd", "gopher://x/", "http://", "javascript://x"])
def test_what_is_not_of_the_web_is_refused(given: str) -> None:
    with pytest.raises(ReadError, match="not a web address"):
        normalise(given)


@pytest.mark.parametrize("given", ["https://me:s3cret@example.org/", "https://s3cret@example.org/a@b", "http://a%40b:s3cret@h/"])
def test_credentials_are_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(ReadError, match="user name") as refused:
        normalise(given)
    assert "s3cret" not in str(refused.value)
    assert normalise("https://example.org/@people") == "https://example.org/@people"


@pytest.mark.parametrize(
    "number",
    [
        *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255"),  # noqa: S104
        *("224.0.0.1", "198.18.0.1", "192.0.2.1", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::127.0.0.1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:c000:201:0:0:80ff:fefe"),
    ],
)
def test_addresses_inside_networks_are_not_public(number: str) -> None:
    assert not is_public(number)


@pytest.mark.parametrize("number", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(number: str) -> None:
    assert is_public(number)


def test_a_private_address_is_not_even_connected_to(served: Site) -> None:
    for address in (served.url("/"), f"http://localhost:{served.server_address[1]}/"):
        with pytest.raises(ReadError, match=r"no public address: web.private = true allows it"):
            fetch(address, Limits(1000, PATIENCE_S))
    assert served.asked == []


def test_a_name_that_resolves_elsewhere_the_second_time_leads_nowhere_else(served: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was checked is the one that is connected to: no second look-up is made."""
    answers: list[Any] = [("93.184.215.14", 9), ("127.0.0.1", served.server_address[1])]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", answers.pop(0))])
    reached: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _self, where: reached.append(where) or (_ for _ in ()).throw(OSError(111, "no")))
    with pytest.raises(HostError):
        fetch("http://rebound.example/", Limits(1000, PATIENCE_S))
    assert reached == [("93.184.215.14", 9)]
    with pytest.raises(ReadError, match="no public address"):
        fetch("http://rebound.example/", Limits(1000, PATIENCE_S))
    assert len(reached) == 1


def test_a_page_is_fetched_with_what_its_server_says_of_it(served: Site) -> None:
    served.pages["/a?b=1"] = Page("grün".encode("cp1252"), "Text/HTML; Charset=windows-1252", etag='"1"')
    answer = fetch(served.url("/a?b=1"), HERE)
    assert (answer.status, answer.data, answer.media_type, answer.charset, answer.etag) == (
        200,
        b"gr\xfcn",
        "text/html",
        "windows-1252",
        '"1"',
    )
    assert fetch(served.url("/a?b=1"), HERE, known={"If-None-Match": '"1"'}).status == 304
    assert fetch(served.url("/gone"), HERE).status == 404
    (agent,) = served.agents
    assert agent.startswith("ragtune/")
    assert "+https://" in agent


@pytest.mark.parametrize(
    ("status", "kind"), [(403, RefusedError), (401, RefusedError), (429, HostError), (500, HostError), (503, HostError)]
)
def test_a_refusal_and_a_failing_host_are_told_apart(served: Site, status: int, kind: type[ReadError]) -> None:
    served.pages["/"] = Page(status=status)
    with pytest.raises(kind, match=f"answers {status}"):
        fetch(served.url("/"), HERE)


def test_redirects_stay_on_their_host_and_end(served: Site) -> None:
    with Site() as other:
        served.pages |= {
            "/moved": Page(status=301, headers={"Location": "/new"}),
            "/new": Page("here"),
            "/away": Page(status=302, headers={"Location": other.url("/secret")}),
            "/loop": Page(status=302, headers={"Location": "/loop"}),
            "/login": Page(status=302, headers={"Location": f"http://me:s3cret@{served.host}/new"}),
            "/file": Page(status=302, headers={"Location": "file:///etc/passwd"}),
        }
        assert fetch(served.url("/moved"), HERE).data == b"here"
        for path, why in (
            ("/away", "redirects to another host"),
            ("/loop", "more than 5 times"),
            ("/login", "user name"),
            ("/file", "web addr"),
        ):
            with pytest.raises(ReadError, match=why) as refused:
                fetch(served.url(path), HERE)
            assert "s3cret" not in str(refused.value)
        assert other.asked == []


def test_a_redirect_to_a_private_address_is_checked_like_the_first(served: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same host by name, whose look-up then gives a private address."""
    served.pages["/"] = Page(status=302, headers={"Location": "/inner"})
    port = served.server_address[1]
    from ragtune.prepare import web

    public = iter([True, False])
    monkeypatch.setattr(web, "is_public", lambda _number: next(public))
    with pytest.raises(ReadError, match="no public address"):
        fetch(f"http://localhost:{port}/", Limits(1000, PATIENCE_S))
    assert [path for path, _ in served.asked] == ["/"]


def chunked(piece: bytes, count: int, pause_s: float = 0.0) -> Any:
    def write(handler: Any) -> None:
        for _ in range(count):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.wfile.flush()
            time.sleep(pause_s)
        handler.wfile.write(b"0\r\n\r\n")

    return write


def test_a_body_that_is_too_large_is_not_read_whether_its_size_is_declared_or_not(served: Site) -> None:
    sent: list[int] = []

    def endless(handler: Any) -> None:
        try:
            while len(sent) < 10_000:
                handler.wfile.write(b"x" * 10_000)
                sent.append(1)
        except OSError:
            return

    served.pages |= {
        "/declared": Page("short", headers={"Content-Length": "100001"}),
        "/streamed": Page(write=chunked(b"x" * 10_000, 50), headers={"Transfer-Encoding": "chunked"}),
        "/endless": Page(write=endless),
        "/fits": Page(write=chunked(b"x" * 10_000, 10), headers={"Transfer-Encoding": "chunked"}),
    }
    for path in ("/declared", "/streamed", "/endless"):
        with pytest.raises(ReadError, match=r"larger than 100000 bytes \(web.largest\)"):
            fetch(served.url(path), HERE)
    assert len(fetch(served.url("/fits"), HERE).data) == 100_000
    assert len(sent) < 9_000, "the server was not read to the end"


@pytest.mark.parametrize("layers", [1, 2])
def test_a_gzip_bomb_is_unpacked_no_further_than_the_limit(served: Site, layers: int) -> None:
    data = b"\0" * 200_000_000
    for _ in range(layers):
        data = gzip.compress(data, 9 if layers == 1 else 1)
    served.pages["/"] = Page(data, headers={"Content-Encoding": ", ".join(["gzip"] * layers)})
    tracemalloc.start()
    try:
        with pytest.raises(ReadError, match="larger than"):
            fetch(served.url("/"), Limits(1_000_000, PATIENCE_S, private=True))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def drip(handler: Any) -> None:
    try:
        for _ in range(600):
            handler.wfile.write(b"x")
            time.sleep(0.1)
    except OSError:
        return


def test_a_server_that_sends_a_byte_now_and_then_is_cut_off_in_time(served: Site) -> None:
    served.pages |= {"/body": Page(write=drip), "/chunks": Page(write=chunked(b"x", 600, 0.1), headers={"Transfer-Encoding": "chunked"})}
    for path in ("/body", "/chunks"):
        began = time.monotonic()
        with pytest.raises(HostError, match=r"took more than 0.5 s"):
            fetch(served.url(path), Limits(100_000, 0.5, private=True))
        assert time.monotonic() - began < 30, "it takes a minute"


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 200 OK\r\nX: "])
def test_a_server_that_never_ends_its_head_is_cut_off_in_time(words: bytes) -> None:
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            client, _ = listening.accept()
            with client:
                try:
                    client.sendall(words)
                    while not done.wait(0.05):
                        client.sendall(b"y" if words else b"")
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(HostError, match=r"took more than 0.4 s"):
            fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/", Limits(1000, 0.4, private=True))
        done.set()
        thread.join()


def test_nobody_listening_is_a_line_without_object_addresses() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # so that nobody else is given it, and nobody listens
        port = held.getsockname()[1]
        with pytest.raises(HostError, match=rf"http://127.0.0.1:{port}/ cannot be fetched: Connection refused") as refused:
            fetch(f"http://127.0.0.1:{port}/", HERE)
    assert "0x" not in str(refused.value)


def test_proxies_of_the_environment_are_not_used(served: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    served.pages["/"] = Page("direct")
    assert fetch(served.url("/"), HERE).data == b"direct"


def test_robots_txt_is_obeyed_with_wildcards_and_the_longest_rule(served: Site) -> None:
    served.pages["/robots.txt"] = Page(
        "User-agent: *\nDisallow: /\n\nUser-agent: ragtune\nDisallow: /private/\nAllow: /private/open$\nDisallow: /*?session=\n",
        "text/plain",
    )
    served.pages |= dict.fromkeys(("/a", "/private/open", "/private/x", "/b?session=1"), Page("text"))
    served.pages["/there"] = Page(status=301, headers={"Location": "/private/x"})
    visitor = Visitor(HERE, 0)
    for path in ("/a", "/private/open"):
        assert visitor.fetch(served.url(path), {}).status == 200
    for path in ("/private/x", "/b?session=1", "/there"):
        with pytest.raises(NotAllowedError, match=r"robots\.txt does not allow"):
            visitor.fetch(served.url(path), {})
    assert [path for path, _ in served.asked] == ["/robots.txt", "/a", "/private/open", "/there"]


@pytest.mark.parametrize(("status", "allowed"), [(404, True), (403, True), (410, True), (500, False), (503, False), (429, False)])
def test_a_site_without_robots_txt_may_be_read_and_one_whose_robots_txt_fails_may_not(served: Site, status: int, allowed: bool) -> None:
    served.pages |= {"/robots.txt": Page(status=status), "/a": Page("text")}
    visitor = Visitor(HERE, 0)
    if allowed:
        assert visitor.fetch(served.url("/a"), {}).data == b"text"
    else:
        with pytest.raises(HostError, match=r"robots.txt cannot be read: .* answers"):
            visitor.fetch(served.url("/a"), {})


def test_pauses_are_the_longer_of_the_setting_and_the_crawl_delay(served: Site) -> None:
    served.pages |= {"/robots.txt": Page("User-agent: *\nCrawl-delay: 0.3\n"), "/a": Page("a"), "/b": Page("b")}
    visitor = Visitor(HERE, 0.05)
    began = time.monotonic()
    visitor.fetch(served.url("/a"), {})
    visitor.fetch(served.url("/b"), {})
    assert time.monotonic() - began > 0.25
    assert Robots("User-agent: *\nCrawl-delay: 86400").delay_s == 60


def test_a_host_that_fails_again_and_again_is_left_alone(served: Site) -> None:
    served.pages |= {f"/{n}": Page(status=500) for n in range(9)}
    visitor = Visitor(HERE, 0)
    for n in range(9):
        with pytest.raises(HostError, match="answers 500" if n < 5 else "asked no more"):
            visitor.fetch(served.url(f"/{n}"), {})
    assert len(served.took()) == 5


def test_rules_that_are_made_to_be_slow_are_not() -> None:
    robots = Robots("User-agent: *\n" + "".join(f"Disallow: /x{'*a' * 40}*c{n}*b$\n" for n in range(200)))
    began = time.thread_time()
    assert robots.allows(f"http://h/x{'a' * 2000}b")
    assert time.thread_time() - began < 2


MAP = '<?xml version="1.0"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</urlset>'


def test_a_sitemap_lists_pages_and_an_index_sitemaps() -> None:
    pages = MAP.format(
        "<url><loc> http://h/a </loc><lastmod>2026</lastmod></url><url><loc>http://h/b</loc></url><url><loc>http://h/a</loc></url>"
    )
    assert is_sitemap(pages.encode())
    assert listed(pages.encode()) == (["http://h/a", "http://h/b"], False)
    index = b"<s:sitemapindex xmlns:s='x'><s:sitemap><s:loc>http://h/1.xml</s:loc></s:sitemap></s:sitemapindex>"
    assert is_sitemap(index)
    assert listed(index) == (["http://h/1.xml"], True)
    assert not is_sitemap(b"<html><body>about <urlset></body></html>")
    assert unpacked(gzip.compress(index), 1000) == index
    with pytest.raises(ReadError, match="more than 1000 bytes"):
        unpacked(gzip.compress(b"x" * 100_000), 1000)
    with pytest.raises(ReadError, match="damaged"):
        unpacked(b"\x1f\x8bnonsense", 1000)


@pytest.mark.parametrize("text", [MAP.format("<url>"), '<!DOCTYPE a [<!ENTITY b "c">]><urlset><url><loc>&b;</loc></url></urlset>'])
def test_a_sitemap_that_is_broken_or_declares_entities_is_refused(text: str) -> None:
    with pytest.raises(ReadError, match="not well-formed"):
        listed(text.encode())


def test_the_same_host_is_the_same_name_and_port() -> None:
    assert site("http://h/a") == site("https://h/b") == "h"
    assert site("http://h:81/") != site("http://h/")
