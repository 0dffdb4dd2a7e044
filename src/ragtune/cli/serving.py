"""``serve`` and ``keys``."""

from __future__ import annotations

import webbrowser
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from ragtune.cli.app import JsonOption, ProjectOption, SetOption, app, open_project, show
from ragtune.errors import ConfigError

keys_app = typer.Typer(help="Make, list and revoke the keys of clients of 'ragtune serve'.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")


@app.command()
def serve(
    host: Annotated[
        str | None,
        typer.Option("--host", help="Address; default: serve.host, which is 127.0.0.1; others need keys.", show_default=False),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port; default: serve.port, 8321; 0: a free one.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="What answers as ragtune: a tuned model, base or provider:model; default: the promoted, else the newest tuned.",
            show_default=False,
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser, too.")] = False,
    project: ProjectOption = None,
    settings: SetOption = None,
) -> None:
    """Answer over HTTP: an OpenAI-compatible API at /v1, ragtune's own at /api, and a web page at /.

    Stops at Ctrl-C or SIGTERM, when the answers on their way are finished.

    Example: ragtune serve --open
    """
    given = [f"serve.host={host}"] if host is not None else []
    given += [f"serve.port={port}"] if port is not None else []
    from ragtune.build import extra

    opened = open_project(project, [*(settings or ()), *given], quiet=True)

    def ready(address: str) -> None:
        typer.echo(f"serving {opened.path.name} at {address} (OpenAI clients: {address}/v1); Ctrl-C stops it", err=True)
        if open_page:
            webbrowser.open(address)

    with extra("serve"):
        from ragtune.serve.server import serve as run
    run(opened, model, ready)


@keys_app.command("add")
def keys_add(
    name: Annotated[str, typer.Argument(help="Whose it is, or what for; unique.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="What it may do: ask (ask and search), read (see documents, runs, evaluations), write (change them), admin; default: ask.",
            show_default=False,
        ),
    ] = None,
    access: Annotated[
        list[str] | None,
        typer.Option("--access", help="A tag of documents that it may find, beside those without tags; default: all.", show_default=False),
    ] = None,
    requests: Annotated[
        int | None, typer.Option("--requests", min=1, help="Questions, searches and embeddings a minute.", show_default=False)
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", min=1, help="Tokens of prompts and answers a minute.", show_default=False)
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", min=0.01, help="Days until it expires; default: none.", show_default=False)
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key, and show it this once: only its hash is kept.

    Example: ragtune keys add website --requests 60

    Example: ragtune keys add hr-desk --access hr --scope ask --scope read
    """
    made = open_project(project, None, quiet=True).add_key(
        name,
        scopes=scope or ("ask",),
        access=access,
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        expires=None if days is None else datetime.now(UTC) + timedelta(days=days),
    )
    show(made, as_json, "show_new_key")


@keys_app.command("list")
def keys_list(project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List keys: what each may do, and when it was last used.

    Example: ragtune keys list
    """
    opened = open_project(project, None, quiet=True)
    keys = opened.keys()
    show(keys, as_json, "show_keys")
    if not keys and opened.keys_required():
        typer.echo("every key was revoked, so nobody may ask: 'ragtune keys revoke --all' asks for no key again", err=True)


@keys_app.command("revoke")
def keys_revoke(
    name: Annotated[str | None, typer.Argument(help="Of the key, as ragtune keys list shows it.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Every key; then none is needed on this machine.", show_default=False)] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key: a running server refuses it from its next request on.

    Without a key left nobody may ask; with --all, everybody on this machine may again, without one.

    Example: ragtune keys revoke website
    """
    opened = open_project(project, None, quiet=True)
    if (name is None) != every:
        raise ConfigError("name the key to revoke, or say --all")
    revoked = [opened.revoke_key(name)] if name is not None else opened.revoke_keys()
    show(revoked if every or not as_json else revoked[0], as_json, "show_revoked")
    if every:
        said = "" if revoked else "there was no key to revoke: "
        typer.echo(f"{said}everybody on this machine may ask without one", err=True)
