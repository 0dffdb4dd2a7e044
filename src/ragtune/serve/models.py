"""Which models a server answers with: the base and what was tuned of it over the one engine, hosted ones through their vendors.

Looked up by name at every request, so that a model that was trained or promoted meanwhile answers at once.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ragtune import __version__, build
from ragtune.compute import in_own_thread
from ragtune.confidence import Gate
from ragtune.config import Settings
from ragtune.errors import KeyRefusedError, NoSuchModelError, ProjectError
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.ask import find_chat, find_gate, find_meant
from ragtune.pipeline.promote import check_name, is_named_by_provider, promoted, served
from ragtune.pipeline.train import find_tuned
from ragtune.prompts import PROMPT_VERSION
from ragtune.protocols import ChatModel, Engine
from ragtune.serve.warnings import evaluation_warnings
from ragtune.workspace import Manifest, Workspace

DEFAULT = "ragtune"
"""The name of whichever model is served by default: the promoted one, else the newest tuned, else the base."""
BASE = "base"


@dataclass(frozen=True)
class Served:
    """A model that is ready to answer.

    Args:
        name: its own: ``base``, a tuned model's name or ``provider:model``.
        chat: it.
        k: passages that it is shown.
        gate: how sure its answers must be.
        hosted: whether it answers elsewhere.
        created: seconds since 1970.
        fingerprint: changes with whatever may change an answer.
        warnings: how it is served otherwise than it was evaluated, and what falls short of the settings.
    """

    name: str
    chat: ChatModel
    k: int
    gate: Gate | None
    hosted: bool
    created: int
    fingerprint: str
    warnings: tuple[str, ...]


class ServedModels:
    """The models of a project, by name.

    Args:
        workspace: of the project.
        settings: its settings.
        default: the model that ``ragtune`` names; ``None`` takes the promoted, else the newest tuned, else the base.
    """

    def __init__(self, workspace: Workspace, settings: Settings, default: str | None = None) -> None:
        self._workspace = workspace
        self._settings = settings
        self._default = None if default == DEFAULT else default
        self._lock = threading.RLock()
        self._engine: Engine | None = None
        self._known: dict[str | None, tuple[Any, Served]] = {}

    def find(self, name: str | None = None, *, any_hosted: bool = True) -> Served:
        """The model of a name.

        Args:
            name: ``ragtune``, ``base``, a tuned model's name or ``provider:model``; ``None`` is ``ragtune``.
            any_hosted: whether it may be a hosted model that is neither the project's own nor one of ``serve.hosted``.

        Raises:
            NoSuchModelError: there is none, or it is not served here.
        """
        meant = (self._default or promoted(self._workspace)) if name in (None, DEFAULT) else name
        if meant is not None and name == meant and not any_hosted:
            self._check_hosted(meant)
        state = self._state()
        with self._lock:
            known = self._known.get(meant)
            if known is None or known[0] != state:
                if len(self._known) > 64:
                    self._known.clear()
                known = self._known[meant] = (state, self._make(meant))
            return known[1]

    @property
    def default(self) -> str:
        """What ``ragtune`` names now."""
        return self._default or served(self._workspace)

    def names(self) -> Iterator[tuple[str, int]]:
        """Every model that may be asked by name, with its age in seconds since 1970; ``ragtune`` first."""
        own = [each for each in reversed(self._workspace.manifests("models")) if self._serves(each)]
        newest = _seconds(own[0].created) if own else 0
        yield DEFAULT, newest
        yield BASE, 0
        for each in own:
            yield each.name, _seconds(each.created)
        yield from ((name, 0) for name in self._settings.serve.hosted)

    def close(self) -> None:
        """Stop the local model; answers that are not finished fail."""
        with self._lock:
            close = getattr(self._engine, "close", None)
            if close is not None:
                close()

    @property
    def load(self) -> tuple[int, int]:
        """Answers that the local model is writing, and that wait for it."""
        return getattr(self._engine, "load", (0, 0))

    def _make(self, name: str | None) -> Served:
        if name is not None and not is_named_by_provider(name):
            try:
                check_name(self._workspace, name)
            except ProjectError as error:
                raise NoSuchModelError(str(error)) from None
        manifest = find_meant(self._workspace, name)
        chat, k = find_chat(self._workspace, self._settings, name, self._engine_of)
        gate = find_gate(self._workspace, self._settings, name)
        own = manifest.name if manifest else BASE if name is None else name
        hosted = bool(manifest.settings.get("hosted")) if manifest else is_hosted(self._settings.model.base if own == BASE else own)
        created = _seconds(manifest.created) if manifest else 0
        engine = None if hosted else build.engine(self._settings)
        device, dtype = (str(getattr(engine, attribute, "hosted")) for attribute in ("device", "dtype"))
        decides = f"{__version__} {PROMPT_VERSION} {own} {manifest.key if manifest else ''} {chat.name} {device} {dtype}"
        short = gate.unreached if gate is not None else ""
        said = (*evaluation_warnings(self._workspace, self._settings, manifest, device), *filter(None, [short]))
        return Served(own, chat, k, gate, hosted, created, f"fp_{hashlib.sha256(decides.encode()).hexdigest()[:10]}", said)

    def _engine_of(self, own: Settings) -> Engine:
        """The one engine, for models of its base."""
        base = self._settings.model
        if (own.model.base, own.model.chat_template) != (base.base, base.chat_template):
            raise NoSuchModelError(
                f"this server holds {base.base} and what was tuned of it, and this model is one of {own.model.base}: start another server "
                f"with --set model.base={own.model.base}"
            )
        with self._lock:
            if self._engine is None:
                self._engine = in_own_thread(lambda: build.continuous_engine(self._settings))
            return self._engine

    def _serves(self, manifest: Manifest) -> bool:
        try:
            find_tuned(self._workspace, manifest.name)
        except ProjectError:
            return False
        model, base = manifest.settings.get("model", {}), self._settings.model
        own = (model.get("base"), model.get("chat_template"))
        return bool(manifest.settings.get("hosted")) or own == (base.base, base.chat_template)

    def _check_hosted(self, name: str) -> None:
        if ":" in name and name not in (self._settings.model.base, *self._settings.serve.hosted):
            raise KeyRefusedError(
                f"{name} is not one of the hosted models that this server offers: add it to serve.hosted, or use a key that may write"
            )

    def _state(self) -> Any:
        """Whatever decides which models there are, as it lies on disk now."""
        folder = self._workspace.folder
        files = [folder / "served.json", *sorted(folder.glob("models/*/manifest.json")), *sorted(folder.glob("models/*/confidence.json"))]
        files += sorted(folder.glob("evaluations/*/manifest.json"))
        return [(file, file.stat().st_mtime_ns) for file in files if file.is_file()]


def _seconds(created: str) -> int:
    return int(datetime.fromisoformat(created).timestamp()) if created else 0
