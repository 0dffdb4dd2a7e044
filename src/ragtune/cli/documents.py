"""``ingest``, ``index``, ``purge`` and ``search``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ragtune.cli.app import (
    AccessOption,
    JsonOption,
    ProjectOption,
    QuietOption,
    SetOption,
    SourceOption,
    TypeOption,
    YesOption,
    app,
    asker,
    open_project,
    print_json,
    show,
)
from ragtune.errors import ConfigError

if TYPE_CHECKING:
    from ragtune.pipeline.records import PurgeResult, WatchRound


_LASTING = "only the files themselves bring back what is purged: 'ragtune purge --undo NAME', then 'ragtune ingest'"


@app.command()
def ingest(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="All the sources: files, folders, and addresses of web pages and sitemaps; "
            "default: `documents` in ragtune.toml, else those of the last ingest."
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on: ingest and index again whenever a source changes, until Ctrl-C.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Then show what is in the corpus and what is not, and why; as a page with documents, too.")
    ] = False,
    sync: Annotated[
        bool, typer.Option("--sync/--no-sync", help="With --report: look at the sources first, or only at what the last ingest made.")
    ] = True,
    document: Annotated[
        str | None,
        typer.Option("--document", help="Only show this document beside its source and its chunks; a unique ending of its name will do."),
    ] = None,
    yes: YesOption = False,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the corpus equal to the sources: read what is new or changed, remove what vanished, skip what is unchanged.

    The paths given are all the sources: what came from others leaves the corpus.

    With --watch the index follows, too, and --json prints a line for each round. With --report it then says what is in the corpus by
    source, format, language and length, what was skipped, cut or dropped and why, and writes a page in which documents stand beside their
    sources with the borders of their chunks.

    Example: ragtune ingest ~/handbook https://example.org/sitemap.xml --report
    """
    if paths and (document is not None or not sync):
        raise ConfigError("--document and --no-sync show what was ingested before: leave out the paths")
    if yes and not watch:
        raise ConfigError("--yes is about the embedding that --watch does: an ingest alone costs nothing")
    if watch and (report or document is not None or not sync):
        raise ConfigError("--watch goes on until Ctrl-C: leave out --report, --no-sync and --document, and run them beside it")
    shown = ("fetch", "ingest", "index") if watch else () if report else ("ingest",)
    opened = open_project(project, settings, quiet=quiet or as_json, create=document is None, shown=shown)
    if watch:
        for made in opened.watch(paths or (), yes=yes, confirm=asker()):
            _show_round(made, as_json)
    elif document is not None:
        show(opened.preview(document), as_json, "show_preview")
    elif report or not sync:
        if sync:
            opened.ingest(paths or ())
        show(opened.ingest_report(), as_json, "show_ingest_report")
    else:
        show(opened.ingest(paths or ()), as_json, "show_ingest")


def _show_round(made: WatchRound, as_json: bool) -> None:
    if as_json:
        import json

        from ragtune.project import to_json

        typer.echo(json.dumps(json.loads(to_json(made)), ensure_ascii=False))
        return
    from ragtune import screen

    screen.show_round(made)


@app.command()
def index(
    explain: Annotated[
        bool, typer.Option("--explain", help="Say why the index is of its kind, and what was measured; build nothing.")
    ] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build the index anew; nothing is embedded twice.")] = False,
    yes: YesOption = False,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Embed new chunks and bring the vector index up to date.

    Example: ragtune index --explain
    """
    opened = open_project(project, settings, quiet=quiet or as_json, shown=("index",))
    if explain:
        show(opened.explain_index(), as_json, "show_index_explanation")
    else:
        show(opened.index(yes=yes, confirm=asker(), rebuild=rebuild), as_json, "show_index")


@app.command()
def purge(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Files or documents as `ragtune search` names them; a unique ending will do.")
    ] = None,
    missing: Annotated[
        bool,
        typer.Option("--missing", help="Instead: all that ingests removed because its files are gone, where something still holds it."),
    ] = False,
    redact: Annotated[bool, typer.Option("--redact", help="Blank the text in datasets, evaluations and caches as well.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take them off the list instead: the next ingest reads them again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove documents for good, from the corpus, its free pages and the index, and keep them out of later ingests.

    Your own files are never touched. What else holds the text is listed.

    Example: ragtune purge handbook/salaries.md --redact
    """
    opened = open_project(project, settings, quiet=True)
    if bool(sources) is missing or (missing and undo):
        raise ConfigError("name what is to be purged, or say --missing for what is gone from the documents already")
    if undo:
        lifted = opened.undo_purge(sources or ())
        if as_json:
            print_json(lifted)
            return
        from ragtune import screen

        screen.show_undone(lifted, sources or ())
        return
    lasting = "what --redact blanks cannot be brought back" if redact else _LASTING

    def agrees(plan: PurgeResult) -> bool:
        if not sys.stdin.isatty():
            raise ConfigError(f"{lasting}: say --yes where nobody can be asked")
        from ragtune import screen

        screen.show_purge(plan)
        return typer.confirm(f"Purge it? ({lasting})", err=True)

    result = opened.purge(sources or (), redact=redact, missing=missing, confirm=None if yes else agrees)
    show(result, as_json, "show_purge")


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int | None, typer.Option("-k", min=1, help="Chunks to show; default: retrieve.k.")] = None,
    access: AccessOption = None,
    source: SourceOption = None,
    media_type: TypeOption = None,
    project: ProjectOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the chunks that answer a question: source, heading, score.

    Example: ragtune search "how long is the crossing"
    """
    from ragtune import screen

    with screen.waiting("loading models"):
        hits = open_project(project, settings, quiet=True).search(text, k, access=access, source=source, media_type=media_type)
    patterns = [pattern for pattern in (source, media_type) if pattern is not None]
    if patterns and not hits and not as_json:
        screen.show_none_fits(patterns)
    else:
        show(hits, as_json, "show_hits")
