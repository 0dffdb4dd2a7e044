"""Vendors' keys and other variables of a project: from the environment, .env or a mounted file, and lent where a library looks for them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from dotenv import dotenv_values
from pydantic import SecretStr

from ragtune.errors import ConfigError
from ragtune.hosted.providers import KEYS as VENDOR_KEYS

PREFIX = "RAGTUNE_"
"""What ragtune's own settings begin with in the environment."""
KEYS = (*VENDOR_KEYS, "HF_TOKEN")
"""The keys that ragtune looks for; what LangChain's integrations want has names of its own."""
_environment = threading.RLock()
"""Held while the environment is read, or lent what is a project's own."""
_lent_token: list[str] = []
"""The HF_TOKEN that a project put into the environment, if one did."""


def present_keys(project: Path, names: Sequence[str] = KEYS) -> dict[str, str | None]:
    """Which vendors' keys are set, and where (``environment``, ``.env``, a file's name); values are never returned."""
    dotenv = read_dotenv(project)
    found: dict[str, str | None] = {}
    for name in names:
        if os.environ.get(name):
            found[name] = "environment"
        elif dotenv.get(name):
            found[name] = ".env"
        else:
            file = os.environ.get(f"{name}_FILE") or dotenv.get(f"{name}_FILE")
            found[name] = file if file and Path(file).is_file() else None
    return found


def read_key(project: Path, name: str) -> SecretStr | None:
    """A vendor's key from the environment, .env, or the file that ``NAME_FILE`` names."""
    with _environment:
        where = present_keys(project, [name])[name]
        if where == "environment":
            return SecretStr(os.environ[name])
    if where is None:
        return None
    if where == ".env":
        return SecretStr(str(read_dotenv(project)[name]))
    return SecretStr(Path(where).read_text(encoding="utf-8").strip())


def read_variable(project: Path, name: str) -> str | None:
    """A variable that is no secret, such as ``OPENAI_BASE_URL``, from the environment or .env."""
    with _environment:
        return os.environ.get(name) or read_dotenv(project).get(name) or None


@contextlib.contextmanager
def dotenv_in_environment(project: Path) -> Iterator[None]:
    """What .env holds beside ragtune's own settings, and keys that ``NAME_FILE`` names, in the environment for as long as the block lasts.

    For libraries that look for a key there alone, when an object is made: afterwards another project of this process must not find it.
    Other threads wait for the block's end: they would take what is lent for theirs, and miss it when it is taken back.
    """
    with _environment:
        held = {name: value for name, value in read_dotenv(project).items() if value and not name.upper().startswith(PREFIX)}
        for name in [name.removesuffix("_FILE") for name in (*os.environ, *held) if name.endswith("_API_KEY_FILE")]:
            secret = read_key(project, name)
            if secret is not None:
                held.setdefault(name, secret.get_secret_value())
        added = {name: value for name, value in held.items() if name not in os.environ}
        os.environ.update(added)
        try:
            yield
        finally:
            for name in added:
                os.environ.pop(name, None)


def lend_token(project: Path) -> None:
    """Put a project's HF_TOKEN where Hugging Face's libraries look for it, in place of the one that an earlier project brought.

    They look whenever a model is loaded, in the middle of training too, so it stays there; of several projects that are open in one
    process it is the last one's, or none.
    """
    with _environment:
        if _lent_token and os.environ.get("HF_TOKEN") == _lent_token.pop():
            del os.environ["HF_TOKEN"]
        token = read_key(project, "HF_TOKEN")
        if token is not None and "HF_TOKEN" not in os.environ:
            os.environ["HF_TOKEN"] = token.get_secret_value()
            _lent_token.append(token.get_secret_value())


def read_dotenv(project: Path) -> dict[str, str | None]:
    """What a project's .env holds; nothing where there is none."""
    path = project / ".env"
    try:
        return dict(dotenv_values(path)) if path.is_file() else {}
    except UnicodeDecodeError as error:
        raise ConfigError(f".env is not UTF-8 (byte {error.start}): save it as UTF-8") from None
