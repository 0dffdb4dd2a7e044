"""What a hosted model still needs before it can be asked; no server is asked for it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from ragtune.backends.hosted import find_key, server_address, vertex_place
from ragtune.config import Settings, read_variable
from ragtune.errors import ConfigError, KeyRefusedError, MissingExtraError
from ragtune.hosted.providers import split_name
from ragtune.workspace import Workspace

_PACKAGES = {
    "openai": ("openai", "genai_prices", "tokenizers"),
    "gemini": ("google.genai", "genai_prices", "tokenizers"),
    "langchain": ("langchain", "genai_prices"),
}
_CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS"


def what_is_missing(workspace: Workspace, settings: Settings, name: str) -> list[str]:
    """What is to be installed, written into .env or set before ``provider:model`` can be asked, each in words.

    What a chat model of LangChain's wants beside its package, only LangChain knows.

    Raises:
        ConfigError: the name is not one.
    """
    provider, model = split_name(name)
    said = [str(MissingExtraError(provider.protocol, package)) for package in _PACKAGES.get(provider.protocol, ()) if not _is_here(package)]
    for look in (lambda: find_key(workspace, provider), lambda: server_address(workspace, settings, provider, model)):
        try:
            look()
        except (ConfigError, KeyRefusedError) as error:
            said.append(str(error))
    if provider.name == "vertex":
        said += _of_vertex(workspace, settings, model)
    return said


def _of_vertex(workspace: Workspace, settings: Settings, model: str) -> Iterator[str]:
    named = read_variable(workspace.project, _CREDENTIALS)
    # https://cloud.google.com/docs/authentication/application-default-credentials
    login = Path(os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud") / "application_default_credentials.json"
    if named and not Path(named).is_file():
        yield f"vertex: {_CREDENTIALS} names {named}, and there is no such file"
    elif not named and not login.is_file():
        yield f"vertex: there are no credentials: run 'gcloud auth application-default login', or name an account's file in {_CREDENTIALS}"
    try:
        vertex_place(workspace, settings, model)
    except ConfigError as error:
        yield str(error)


def _is_here(package: str) -> bool:
    with contextlib.suppress(ModuleNotFoundError):  # of the package that it is in
        return importlib.util.find_spec(package) is not None
    return False
