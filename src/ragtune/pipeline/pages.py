"""Web addresses to sources: pages are fetched into copies (:mod:`ragtune.pipeline.copies`), which are then read like files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ragtune.config import WebSettings
from ragtune.errors import ReadError
from ragtune.pipeline.copies import Copies, Copy, as_utf8, file_name
from ragtune.pipeline.purged import Purged
from ragtune.prepare import Filters, Source
from ragtune.prepare.polite import NotAllowedError, Visitor
from ragtune.prepare.sitemap import Robots, is_sitemap, listed, unpacked
from ragtune.prepare.web import Limits, normalise, site
from ragtune.progress import Progress, counted
from ragtune.types import Reason
from ragtune.workspace import now

_ROBOTS = "/robots.txt"


@dataclass
class Pages:
    """What the addresses gave.

    Args:
        sources: one for each page that there is a copy of.
        skipped: what could not be fetched; of what there is an older copy of, that is read.
        left_out: what is not wanted, or not allowed.
        staying: addresses of which the corpus keeps what it has, though there is no copy.
        staying_sites: hosts of which it keeps everything.
        used: addresses whose copies are needed.
        copies: to be tidied; ``None`` where nothing was asked for.
    """

    sources: list[Source] = field(default_factory=list)
    skipped: list[Reason] = field(default_factory=list)
    left_out: list[Reason] = field(default_factory=list)
    staying: set[str] = field(default_factory=set)
    staying_sites: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    copies: Copies | None = None

    def tidy(self) -> None:
        """Remove the copies that nothing needs any more."""
        if self.copies is not None and not self.staying_sites:
            self.copies.keep_only(self.used)

    def hides(self, name: str) -> bool:
        """Whether the corpus keeps what it has of a page."""
        return name in self.staying or (bool(self.staying_sites) and site(name) in self.staying_sites)


def find_pages(
    folder: Path, web: WebSettings, addresses: Sequence[str], filters: Filters, purged: Purged, progress: Progress, *, ask: bool = True
) -> Pages:
    """The pages of web addresses: each itself, of a sitemap those that it lists, of a robots.txt those of its sitemaps.

    Args:
        folder: of the copies; what is of no page any more is removed from it by :meth:`Pages.tidy`.
        web: limits.
        addresses: as the user wrote them.
        filters: pages that their names rule out are not fetched.
        purged: what must not be fetched again.
        progress: told what goes on.
        ask: fetch what is new or changed; else the copies are taken as they are.

    Raises:
        ReadError: one is no address of the web.
    """
    walk = _Walk(Copies(folder), web, filters, purged, progress, Visitor(Limits(web.largest, web.timeout, web.private), web.delay), ask)
    starts = [normalise(address) for address in addresses]
    if ask and addresses:
        progress.start("fetch")
    for address in starts:
        walk.root(address)
    pages = walk.pages
    if ask and addresses:
        progress.finish("fetch", _fetched(walk.done, pages))
    pages.copies = walk.copies if ask else None
    return pages


def _fetched(asked: int, pages: Pages) -> str:
    what = counted(asked, "web address", "web addresses")
    return f"{what} asked, {counted(len(pages.sources), 'page')}, {len(pages.skipped)} not fetched"


@dataclass
class _Walk:
    """One look at all addresses; each is asked once."""

    copies: Copies
    web: WebSettings
    filters: Filters
    purged: Purged
    progress: Progress
    visitor: Visitor
    ask: bool
    pages: Pages = field(default_factory=Pages)
    done: int = 0
    _seen: dict[str, Copy | None] = field(default_factory=dict)
    _given: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._hashes = {entry.hash for entry in self.purged.sources.values() if entry.hash}

    def root(self, url: str) -> None:
        """What a user named."""
        if url.endswith(site(url) + _ROBOTS):
            self._robots(url)
            return
        copy = self._look(url)
        data = self._sitemap(copy)
        if data is not None:
            self._pages(url, data)
        elif copy is not None:
            self._give(copy)
        elif url in self.pages.staying:  # it may be a sitemap
            self.pages.staying_sites.add(site(url))

    def _robots(self, url: str) -> None:
        """Sitemaps that a robots.txt names."""
        again = url in self._seen
        copy = self._look(url, whole=True)
        if copy is None or again:
            return
        named = Robots(self.copies.path(copy).read_bytes().decode("utf-8", errors="replace")).sitemaps
        if not named:
            self._fail(url, f"{url} names no sitemap: give the address of one, or of single pages")
        for sitemap in self._own(url, named):
            self.root(sitemap)

    def _pages(self, root: str, data: bytes) -> None:
        """Pages of a sitemap and of those that it lists; each is opened once, however they list each other."""
        wanted: dict[str, None] = {}
        waiting, opened, beyond = [(root, data)], {root}, 0
        while waiting:
            url, data = waiting.pop(0)
            try:
                found, index = listed(data)
            except ReadError as error:
                self._fail(url, f"{url}: {error}", whole=True)
                continue
            fresh = [page for page in self._own(url, found) if page not in (opened if index else wanted)]
            room = self.web.pages - (len(opened) if index else len(wanted))
            beyond += len(fresh[room:])
            if not index:
                wanted.update(dict.fromkeys(fresh[:room]))
                continue
            opened.update(fresh[:room])
            waiting += [(each, inner) for each in fresh[:room] if (inner := self._inner(url, each)) is not None]
        if beyond:
            self.pages.left_out.append(Reason(root, f"{beyond} more addresses than web.pages = {self.web.pages} are left out: raise it"))
        for page in wanted:
            if (copy := self._look(page)) is not None:
                self._give(copy)

    def _inner(self, index: str, url: str) -> bytes | None:
        """A sitemap that an index lists."""
        copy = self._look(url, whole=True)
        data = self._sitemap(copy)
        if copy is not None and data is None:
            self._fail(url, f"{url} is no sitemap, though {index} lists it as one", whole=True)
        return data

    def _own(self, url: str, found: Sequence[str]) -> list[str]:
        """Of listed addresses those of the same host, in their one form; the others are counted."""
        own: dict[str, None] = {}
        others = []
        for address in found:
            try:
                page = normalise(address, url)
            except ReadError as error:
                others.append(str(error))
                continue
            if site(page) == site(url):
                own[page] = None
            else:
                others.append(f"{page} is on another host")
        if others:
            more = f", and {len(others) - 1} more like it" if len(others) > 1 else ""
            self.pages.left_out.append(Reason(url, f"of what it lists, {others[0]}{more}"))
        return list(own)

    def _give(self, copy: Copy) -> None:
        if copy.url not in self._given:
            self._given.add(copy.url)
            self.pages.sources.append(self.copies.source(copy))

    def _sitemap(self, copy: Copy | None) -> bytes | None:
        """The bytes of a sitemap, unpacked; ``None`` of anything else."""
        if copy is None:
            return None
        try:
            data = unpacked(self.copies.path(copy).read_bytes(), self.web.largest)
        except ReadError:
            return None
        return data if is_sitemap(data) else None

    def _look(self, url: str, *, whole: bool = False) -> Copy | None:
        """The copy of an address as it is now, ``None`` where there is none; ``whole``: it lists pages, not known without it."""
        if url not in self._seen:
            self._seen[url] = self._look_once(url, whole)
            self.done += 1
            if self.ask:
                self.progress.update("fetch", self.done, url)
        return self._seen[url]

    def _look_once(self, url: str, whole: bool) -> Copy | None:
        reason = None if whole else self.filters.refuses_name(url)
        if url in self.purged.sources:
            reason = self.purged.reason(url)
        if reason is not None:
            self.pages.left_out.append(Reason(url, reason))
            return None
        copy = self.copies.find(url)
        if self.ask:
            try:
                copy = self._refresh(url, copy, whole)
            except NotAllowedError as error:
                self.pages.left_out.append(Reason(url, str(error)))
                copy = None
            except ReadError as error:
                self._fail(url, str(error), whole=whole, copy=copy)
        elif copy is None:
            (self.pages.staying_sites if whole else self.pages.staying).add(site(url) if whole else url)
        if copy is not None:
            self.pages.used.add(url)
        elif self.ask:
            self.copies.drop(url)
        return copy

    def _fail(self, url: str, reason: str, *, whole: bool = False, copy: Copy | None = None) -> None:
        self.pages.skipped.append(Reason(url, reason + (f" (what it was on {copy.at[:10]} is kept)" if copy is not None else "")))
        if copy is None:
            (self.pages.staying_sites if whole else self.pages.staying).add(site(url) if whole else url)

    def _refresh(self, url: str, copy: Copy | None, whole: bool) -> Copy | None:
        """Ask for an address, and keep what is new."""
        known = {"If-None-Match": copy.etag, "If-Modified-Since": copy.modified} if copy is not None else {}
        answer = self.visitor.fetch(url, {name: value for name, value in known.items() if value})
        if answer.status == 304 and copy is not None:
            return copy
        if answer.status != 200:
            gone = f"{url} answers {answer.status}"
            if whole or self._sitemap(copy) is not None:  # what it listed has not vanished with it
                raise ReadError(gone)
            self.pages.skipped.append(Reason(url, gone))
            return None
        name = file_name(url, answer.media_type)
        data = as_utf8(answer.data, answer.charset, name)
        if hashlib.sha256(data).hexdigest() in self._hashes:
            self.pages.left_out.append(Reason(url, "it has the same bytes as something that was purged"))
            return None
        fresh = Copy(url, name, answer.etag, answer.modified, now())
        self.copies.put(fresh, data)
        return fresh
