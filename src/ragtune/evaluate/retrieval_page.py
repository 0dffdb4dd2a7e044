"""A retrieval report as a page of its own and in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ragtune.evaluate.retrieval_report import Miss, RetrievalReport, RetrievalRow
from ragtune.page import framed, render_page
from ragtune.types import Estimate

SOURCES_SHOWN, MISSES_SHOWN = 12, 8
_STYLE = "section > h2 { margin-top: 2.2rem; }"


def render_retrieval(report: RetrievalReport, created: str) -> str:
    """The page: figures in tables, then every miss with its evidence and what was served instead."""
    body = [f"<p>{escape(line)}</p>" for line in summary(report)]
    body.append(_html_table("All questions", [report.overall]))
    body += [_html_table(f"By {name}", rows) for name, rows in (("kind", report.kinds), ("source", report.sources)) if rows]
    body.append(f"<h2>Misses</h2><p>{len(report.misses)} questions whose evidence is not wholly in the top {report.k}.</p>")
    body += [_html_miss(miss) for miss in report.misses]
    title = f"Retrieval on {report.dataset}, {report.split} questions"
    return render_page(title, created, f"<section><h1>{escape(title)}</h1>{''.join(body)}</section>", style=_STYLE)


def retrieval_table(report: RetrievalReport) -> RenderableType:
    """The same, shortened to what a terminal holds."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", overflow="fold")
    for name in ("n", *report.overall.metrics):
        table.add_column(name, justify="right", no_wrap=True)
    for title, rows in (("", [report.overall]), ("by kind", report.kinds), ("by source", report.sources[:SOURCES_SHOWN])):
        if title and rows:
            table.add_row(Text(title, style="bold"))
        for row in rows:
            table.add_row(Text(row.label), str(row.n), *(f"{estimate.value:.2f}" for estimate in row.metrics.values()))
    lines: list[RenderableType] = [table]
    if len(report.sources) > SOURCES_SHOWN:
        lines.append(Text(_rest(len(report.sources) - SOURCES_SHOWN), style="dim"))
    lines += [Text(line) for line in summary(report)]
    lines.append(Text(f"{len(report.misses)} misses in the top {report.k}", style="bold"))
    for miss in report.misses[:MISSES_SHOWN]:
        instead = ", ".join(f"{found.rank}. {found.source}[{found.start}:{found.end}]" for found in miss.found) or "nothing"
        lines.append(Text(f"  {miss.question}"))
        wanted = ", ".join(f"{gold.document}[{gold.start}:{gold.end}]" for gold in miss.evidence)
        lines.append(Text(f"    wanted {wanted}; found {instead}", style="dim"))
    if len(report.misses) > MISSES_SHOWN:
        lines.append(Text(f"  {_rest(len(report.misses) - MISSES_SHOWN)}", style="dim"))
    return Group(*lines)


def _rest(more: int) -> str:
    return f"… and {more} more, in report.html"


def summary(report: RetrievalReport) -> list[str]:
    """What has to be said beside the figures."""
    lines = []
    if report.split != "test":
        lines.append(f"These are {report.split} questions, on which choices are made: the figures flatter what was chosen on them.")
    else:
        lines.append(f"These test questions have been read {report.test_readings} times, this one included.")
    if report.stale:
        lines.append(f"{len(report.stale)} questions were left out, because their documents have changed: build the dataset again.")
    if report.threshold is not None:
        lines.append(
            f"Below a score of {report.threshold.score:.4g} nothing counts as found: of the {report.threshold.n} questions that it "
            f"was chosen on, {report.threshold.coverage:.0%} reach it, and {report.threshold.precision:.0%} of these have "
            f"their evidence in the top {report.k}; of those whose evidence was found, {report.threshold.missed:.0%} do not reach it."
        )
    return lines


def _html_table(caption: str, rows: Sequence[RetrievalRow]) -> str:
    names = list(rows[0].metrics)
    head = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in ("n", *names))
    body = "".join(
        f'<tr><th scope="row">{escape(row.label)}</th><td class="number">{row.n}</td>'
        + "".join(f'<td class="number">{_figure(row.metrics[name])}</td>' for name in names)
        + "</tr>"
        for row in rows
    )
    inner = f'<thead><tr><th scope="col"></th>{head}</tr></thead><tbody>{body}</tbody>'
    return f"<h2>{escape(caption)}</h2>{framed(caption, inner, 'plain')}"


def _figure(estimate: Estimate) -> str:
    interval = "" if estimate.low is None or estimate.high is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:.3f}{interval}"


def _html_miss(miss: Miss) -> str:
    gold = "".join(
        f"<blockquote>{escape(each.text)}<br>{escape(each.document)}[{each.start}:{each.end}]</blockquote>" for each in miss.evidence
    )
    found = "".join(
        f"<li>{escape(each.source)}[{each.start}:{each.end}] {escape(each.heading)}, score {each.score:.4g}<br>{escape(each.text)}</li>"
        for each in miss.found
    )
    kind = f" ({escape(miss.kind)})" if miss.kind else ""
    return f"<details><summary>{escape(miss.question)}{kind}</summary><p>Wanted:</p>{gold}<p>Served:</p><ol>{found}</ol></details>"
