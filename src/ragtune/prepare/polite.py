"""Fetching as a site wants it: what its robots.txt allows, with pauses, and no longer where it fails again and again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from ragtune.errors import ReadError
from ragtune.prepare.sitemap import Robots
from ragtune.prepare.web import Fetched, HostError, Limits, RefusedError, fetch, normalise, site

_MOST_FAILURES = 5  # in a row, of one host
_ROBOTS_BYTES = 512 << 10  # RFC 9309 asks for 500 KiB at least


class NotAllowedError(ReadError):
    """The site's robots.txt rules it out."""


class Visitor:
    """One visit to any number of sites.

    Args:
        limits: of a fetch.
        delay_s: seconds between two requests to a host, at least.
    """

    def __init__(self, limits: Limits, delay_s: float) -> None:
        self._limits, self._delay_s = limits, delay_s
        self._robots: dict[str, Robots | ReadError] = {}
        self._due: dict[str, float] = {}
        self._failures: Counter[str] = Counter()

    def fetch(self, address: str, known: Mapping[str, str]) -> Fetched:
        """Fetch an address.

        Args:
            address: normalised.
            known: headers that make the request conditional.

        Raises:
            NotAllowedError: robots.txt rules it out, or what it redirects to.
            ReadError: it cannot be fetched, or robots.txt cannot.
        """
        host = site(address)
        self._check(address)
        if self._failures[host] >= _MOST_FAILURES:
            raise HostError(f"{host} failed {_MOST_FAILURES} times in a row, and is asked no more in this run")
        self._wait(host)
        try:
            answer = fetch(address, self._limits, known=known, allow=self._check)
        except HostError:
            self._failures[host] += 1
            raise
        finally:
            self._due[host] = time.monotonic() + max(self._delay_s, self.robots(address).delay_s)
        self._failures[host] = 0
        return answer

    def robots(self, address: str) -> Robots:
        """What the robots.txt of an address's site says; of a site without one, that all is allowed.

        Raises:
            ReadError: it cannot be fetched, and then nothing may be (RFC 9309, 2.3.1.4).
        """
        place = normalise("/robots.txt", address)
        if place not in self._robots:
            self._robots[place] = self._read_robots(place)
        found = self._robots[place]
        if isinstance(found, ReadError):
            raise HostError(f"{address} is not fetched, because the site's robots.txt cannot be read: {found}")
        return found

    def _read_robots(self, place: str) -> Robots | ReadError:
        self._wait(site(place))
        try:
            answer = fetch(place, replace(self._limits, largest=_ROBOTS_BYTES))
        except RefusedError:
            return Robots()
        except ReadError as error:
            return error
        return Robots(answer.data.decode("utf-8-sig", errors="replace"))

    def _check(self, address: str) -> None:
        if not self.robots(address).allows(address):
            raise NotAllowedError(f"the site's robots.txt does not allow {address}")

    def _wait(self, host: str) -> None:
        time.sleep(max(0.0, self._due.get(host, 0.0) - time.monotonic()))
