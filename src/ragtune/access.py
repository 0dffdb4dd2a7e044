"""Who may use a served project: keys with scopes, limits and access tags, in one SQLite file that knows no key, only hashes of keys."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast, get_args

from ragtune.errors import ConfigError, ProjectError
from ragtune.sqlite import BUSY_SECONDS, use_wal
from ragtune.workspace import now

logger = logging.getLogger(__name__)

Scope = Literal["ask", "read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "rt-"
LOCAL = "local"
"""What a caller without a key is called, where none is required."""
_FORMAT = 1
_NAME = re.compile(r"\w[\w .@-]{0,99}")
_SEEN_SECONDS = 60
"""Seconds between two notes of when a key was last used: not each request is worth a write."""
_REQUIRED = "SELECT EXISTS (SELECT 1 FROM keys) OR NOT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'opened')"
_FIELDS = "name, scopes, access, requests, tokens, created, used, expires"


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key; the key itself is known to its holder alone.

    Args:
        name: unique, for people.
        scopes: ``ask`` (ask and search), ``read`` (documents, runs, evaluations), ``write`` (change them), ``admin``
            (promote models, see the audit log).
        access: tags of documents that may be found, besides those without tags; ``None`` is all documents.
        requests_per_minute: questions, searches and embeddings; ``None`` is no limit.
        tokens_per_minute: of prompts and answers together; ``None`` is no limit.
        created: UTC, ISO 8601, as the others.
        used: when it was last used, to the minute; ``None`` if never.
        expires: from when on it is refused; ``None`` is never.
    """

    name: str
    scopes: tuple[Scope, ...]
    access: tuple[str, ...] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    created: str
    used: str | None
    expires: str | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; ``secret`` is shown this once."""

    secret: str
    key: Key


class AccessStore:
    """The project's keys. Safe to use from several threads and processes.

    Args:
        path: of keys.db; made with the first key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._open: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    def add(
        self,
        name: str,
        *,
        scopes: Sequence[str] = ("ask",),
        access: Sequence[str] | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        expires: datetime | None = None,
    ) -> NewKey:
        """Make a key of 256 random bits.

        Raises:
            ConfigError: the name, a scope or the expiry is wrong.
            ProjectError: there is a key of that name.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot be a key's name: use up to 100 letters, digits, spaces and -_.@, a letter or digit first")
        if name.casefold() == LOCAL:
            raise ConfigError(f"{name!r} cannot be a key's name: what is asked without a key goes by it")
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise ConfigError(f"there is no scope {', '.join(unknown) or '(none given)'}: choose of {', '.join(SCOPES)}")
        if expires is not None and expires.astimezone(UTC) <= datetime.now(UTC):
            raise ConfigError(f"the key would have expired at {expires.isoformat()}: give a day to come")
        secret = PREFIX + secrets.token_urlsafe(32)
        row = (
            name,
            _hash(secret),
            json.dumps([scope for scope in SCOPES if scope in scopes]),
            None if access is None else json.dumps(list(access), ensure_ascii=False),
            requests_per_minute,
            tokens_per_minute,
            now(),
            None if expires is None else expires.astimezone(UTC).isoformat(),
        )
        with self._writing() as db:
            db.execute("DROP TABLE IF EXISTS opened")
            try:
                db.execute(
                    "INSERT INTO keys (name, hash, scopes, access, requests, tokens, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row
                )
            except sqlite3.IntegrityError:
                raise ProjectError(
                    f"there is a key named {name} already: choose another name, or run 'ragtune keys revoke {name}' first"
                ) from None
        return NewKey(secret, next(key for key in self.keys() if key.name == name))

    def keys(self) -> list[Key]:
        """Every key, oldest first."""
        with self._reading() as db:
            return [] if db is None else [_key(row) for row in db.execute(f"SELECT {_FIELDS} FROM keys ORDER BY created, name")]  # noqa: S608

    def revoke(self, name: str) -> Key:
        """Remove a key; a running server refuses it from its next request on.

        Raises:
            ProjectError: there is none of that name.
        """
        found = [key for key in self.keys() if key.name == name]
        if not found:
            known = ", ".join(key.name for key in self.keys())
            raise ProjectError(f"there is no key named {name}{f' (there are: {known})' if known else ': none was made'}")
        with self._writing() as db:
            db.execute("DELETE FROM keys WHERE name = ?", (name,))
        return found[0]

    def open_again(self) -> list[Key]:
        """Remove every key, and require none any more; gives those that were removed."""
        revoked = self.keys()
        if self._path.is_file():
            with self._writing() as db:
                db.execute("DELETE FROM keys")
                db.execute("CREATE TABLE IF NOT EXISTS opened (at TEXT)")
        return revoked

    @property
    def required(self) -> bool:
        """Whether every caller needs a key: once one was made, until :meth:`open_again`. Revoking the last opens nothing."""
        with self._reading() as db:
            return db is not None and bool(db.execute(_REQUIRED).fetchone()[0])

    def find(self, secret: str) -> Key | None:
        """The key, if it is one that was made, not revoked and not expired. It is found by its hash, so timing tells nothing of it."""
        hashed = _hash(secret)
        with self._reading() as db:
            row = None if db is None else db.execute(f"SELECT {_FIELDS} FROM keys WHERE hash = ?", (hashed,)).fetchone()  # noqa: S608
        if row is None:
            return None
        key = _key(row)
        if key.expires is not None and datetime.fromisoformat(key.expires) <= datetime.now(UTC):
            return None
        if key.used is None or (datetime.now(UTC) - datetime.fromisoformat(key.used)).total_seconds() > _SEEN_SECONDS:
            self._note_use(hashed)
        return key

    def _note_use(self, hashed: str) -> None:
        """Write down that a key was used, if that can be done at once: nobody is to wait for it, or be sent away."""
        with self._writing() as db:
            try:
                db.execute("PRAGMA busy_timeout = 0")
                db.execute("UPDATE keys SET used = ? WHERE hash = ?", (now(), hashed))
            except sqlite3.Error as error:
                logger.warning("when a key was last used is not noted in %s: %s", self._path, error)
            finally:
                db.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """The open file; ``None`` while no key was ever made."""
        with self._lock:
            yield self._connect() if self._open is not None or self._path.is_file() else None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            yield self._connect()

    def _connect(self) -> sqlite3.Connection:
        if self._open is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._path.chmod(0o600)
                use_wal(db)
                db.execute(
                    "CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL, access TEXT, "
                    "requests INTEGER, tokens INTEGER, created TEXT NOT NULL, used TEXT, expires TEXT) WITHOUT ROWID"
                )
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version > _FORMAT:
                    raise ProjectError(f"{self._path} has format {version} and this ragtune reads format {_FORMAT}: update ragtune")
                db.execute(f"PRAGMA user_version = {_FORMAT}")
            except sqlite3.DatabaseError as error:
                db.close()
                raise ProjectError(f"{self._path} cannot be read ({error}): move it away and make the keys again") from None
            except BaseException:
                db.close()
                raise
            self._open = db
        return self._open


def _key(row: Sequence[object]) -> Key:
    name, scopes, access, requests, tokens, created, used, expires = row
    return Key(
        str(name),
        cast("tuple[Scope, ...]", tuple(json.loads(str(scopes)))),
        None if access is None else tuple(json.loads(str(access))),
        cast("int | None", requests),
        cast("int | None", tokens),
        str(created),
        None if used is None else str(used),
        None if expires is None else str(expires),
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
