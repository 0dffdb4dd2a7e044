"""The vendors' tuning jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragtune.backends.hosted import find_key, google_credentials, server_address, vertex_client
from ragtune.backends.local import extra
from ragtune.config import Settings, read_variable
from ragtune.errors import TuningJobError
from ragtune.hosted.providers import split_name
from ragtune.workspace import Workspace

if TYPE_CHECKING:
    from ragtune.protocols import TuningService


def tuning_service(workspace: Workspace, settings: Settings, base: str) -> TuningService:
    """The jobs of the vendor that tunes ``provider:model``.

    Raises:
        TuningJobError: that provider tunes nothing, or no bucket is set.
        ConfigError: the server's address or the project is missing.
        KeyRefusedError: its key is nowhere.
        MissingExtraError: its SDK is not installed.
    """
    provider, model = split_name(base)
    if provider.name != "vertex" and (provider.protocol != "openai" or provider.name == "deepseek"):
        raise TuningJobError(f"{base}: {provider.name} has no tuning that ragtune knows: see 'ragtune models list --hosted'")
    key, variable = find_key(workspace, provider)
    address = server_address(workspace, settings, provider, model)
    if provider.protocol == "openai":
        with extra("openai"):
            import openai

            from ragtune.train.openai import OpenAITuning
        client = openai.OpenAI(api_key=key or "none", base_url=address, timeout=settings.chat.timeout, max_retries=0)
        return OpenAITuning(base, model, client=client, secret=key, key_variable=variable)
    return _vertex_tuning(workspace, settings, base, model, address)


def _vertex_tuning(workspace: Workspace, settings: Settings, base: str, model: str, address: str | None) -> TuningService:
    if not settings.tuning.bucket:
        raise TuningJobError(f"{base}: examples go through a Cloud Storage bucket: set tuning.bucket (see docs/hosted.md)")
    with extra("gemini"):
        from google.auth.transport.requests import AuthorizedSession

        from ragtune.train.vertex import STORAGE, VertexTuning
    return VertexTuning(
        base,
        model,
        client=vertex_client(workspace, settings, model, address),
        session=AuthorizedSession(google_credentials(workspace)),  # type: ignore[no-untyped-call]
        bucket=settings.tuning.bucket.removeprefix("gs://").rstrip("/"),
        storage=read_variable(workspace.project, "STORAGE_EMULATOR_HOST") or STORAGE,
        timeout=settings.chat.timeout,
    )
