"""The sections of report.html: tables and charts of a report's figures. Everything that comes from outside is escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from ragtune.evaluate.charts import Line, axis_plot, interval_plot, line_chart
from ragtune.evaluate.decide import closed_book_words, signed
from ragtune.evaluate.page_blocks import words_of
from ragtune.evaluate.report import Cell, Contrast, Report, Slice, ThresholdCell
from ragtune.page import fold, framed, safe
from ragtune.page.charts import Axis, axis
from ragtune.types import JSON, Arm, Context, Estimate

METRICS: Mapping[str, str] = {
    "f1": "F1",
    "exact_match": "Exact match",
    "containment": "Contains the reference",
    "rouge_l": "ROUGE-L",
    "length_ratio": "Length ÷ reference",
}
QUOTES: Mapping[str, str] = {
    "quotes": "Answers that quote",
    "quotes_valid": "Quotes that are real",
    "quotes_gold": "Quote the evidence",
    "cites_gold": "Cite the evidence",
}
ABSTENTION: Mapping[str, str] = {
    "auroc": "AUROC of its own doubt",
    "auroc_calibrated": "AUROC calibrated",
    "abstained": "Abstained",
    "accuracy": "Accuracy",
    "always_answer": "Always answering",
    "always_abstain": "Always abstaining",
    "precision": "Precision",
    "recall": "Recall",
}
_ABSTENTION_CONTEXT: Mapping[str, str] = {"distractors": "with and without the evidence"}
"""Distractors alone are counted beside the same questions with their evidence."""
COST: Mapping[str, tuple[str, int]] = {
    "prompt_tokens": ("Prompt tokens", 0),
    "completion_tokens": ("Tokens written", 1),
    "seconds": ("Seconds an answer", 2),
    "answers_per_second": ("Answers a second", 2),
    "dollars": ("US dollars an answer", 6),
}
SLICE_WORDS: Mapping[Slice, str] = {
    "all": "All questions",
    "new_questions": "New questions, known documents",
    "new_documents": "New documents",
}


def answers(report: Report) -> str:
    """F1 of each arm in each context with its interval, then every metric in tables."""
    estimates = {(c.context, c.arm): c.metrics["f1"] for c in report.grid if c.stratum == "all" and "f1" in c.metrics}
    groups = [
        (context, [(arm, arm, estimates[context, arm]) for arm in report.arms if (context, arm) in estimates])
        for context in report.contexts
    ]
    tables = []
    for stratum, words in SLICE_WORDS.items():
        cells = [c for c in report.grid if c.stratum == stratum]
        if cells:
            caption = f"{words}: every metric, {max(c.questions for c in cells)} questions"
            tables.append(fold(caption, _grid_table(cells, METRICS, caption)))
    known = closed_book_words(report)
    shown = f"<p>{escape(known)}</p>" if known else ""
    return forest(groups, "Context", "Answer F1 by context and model") + shown + "".join(tables)


def contrasts(report: Report) -> str:
    """All differences, the named one first."""
    rows = ([report.named] if report.named else []) + list(report.contrasts)
    if not rows:
        return "<p>Nothing to compare: fewer than two arms answered the same questions.</p>"
    bounds = [b for c in rows for b in (0.0, c.difference.value, c.difference.low, c.difference.high) if b is not None]
    scale = axis(min(bounds), max(bounds), ticks=4)
    body = "".join(_contrast_row(contrast, scale, named=contrast is report.named) for contrast in rows)
    heads = ("Difference", "Where", "F1", "95 % interval", "Figures", "n", "p")
    head = "".join(f'<th scope="col"{" class=number" if i > 3 or i == 2 else ""}>{words}</th>' for i, words in enumerate(heads))
    foot = f'<tr><td colspan="3"></td><td>{axis_plot(scale, difference=True)}</td><td colspan="3"></td></tr>'
    inner = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody><tfoot>{foot}</tfoot>"
    return framed("Differences in F1 between models", inner, "forest wide")


def retrieval(report: Report) -> str:
    """recall@k, nDCG and MRR by slice."""
    if not report.retrieval:
        return "<p>No question has known evidence, so retrieval was not measured.</p>"
    names = {
        name: name.replace("recall@", "Recall@").replace("ndcg@", "nDCG@").replace("mrr", "MRR") for name in report.retrieval[0].metrics
    }
    rows = [((SLICE_WORDS[cell.stratum],), cell.metrics) for cell in report.retrieval]
    return table("Retrieval of the evidence", ("Questions",), names, rows)


def quotes(report: Report) -> str:
    """Quotes by arm and context."""
    cells = [c for c in report.grid if c.stratum == "all" and any(name in c.metrics for name in QUOTES)]
    return _grid_table(cells, QUOTES, "Quotes in answers", percent=True) if cells else "<p>No arm was shown passages.</p>"


def abstention(report: Report) -> str:
    """Abstention by arm and context, and risk against coverage in the retrieved context."""
    cells = report.abstention
    if not cells:
        return "<p>No arm was shown passages.</p>"
    rows = [((_ABSTENTION_CONTEXT.get(cell.context, cell.context), cell.arm), cell.metrics) for cell in cells]
    drawn = "distractors" if any(cell.context == "distractors" and cell.curve for cell in cells) else "retrieved"
    curves = [
        Line(cell.arm, cell.arm, [(p.coverage, p.risk) for p in cell.curve]) for cell in cells if cell.context == drawn and cell.curve
    ]
    chart = ""
    if curves:
        ends = " ".join(f"{line.name}: {line.points[0][1]:.2f} of the surest, {line.points[-1][1]:.2f} of all." for line in curves)
        where = _ABSTENTION_CONTEXT.get(drawn, "retrieved passages")
        label = f"Risk against coverage, {where}: the lower the line, the better the model knows what it does not know. {ends}"
        lines = line_chart(curves, label, "Share of questions answered, the surest first", "Risk: mean of 1 − F1", x_axis=axis(0, 1))
        chart = f"<figure>{lines}</figure>{fold('Figures of the curves', _curve_table(curves, drawn))}"
    return chart + table("Abstention by context and model", ("Context", "Model"), ABSTENTION, rows) + _thresholds(report)


def _thresholds(report: Report) -> str:
    """What ``generate.precision`` would do."""
    if not report.thresholds:
        return ""
    rows = [
        (
            (_wanted(cell), cell.arm),
            {"coverage": cell.coverage} | ({} if cell.precision is None else {"precision": cell.precision}),
        )
        for cell in report.thresholds
    ]
    about = (
        "<p>With the setting <code>generate.precision</code> answers are withheld that are less sure than those which were right so often "
        "on validation. On the questions of this evaluation, retrieved passages:</p>"
    )
    names = {"coverage": "Questions answered", "precision": "Of them right (F1 ≥ 0.5)"}
    return about + table("Answering only where it is sure", ("generate.precision", "Model"), names, rows)


def _wanted(cell: ThresholdCell) -> str:
    """The precision asked for, and what was reached instead."""
    short = cell.expected < cell.wanted
    return f"{cell.wanted:.0%}, not reached: at best {cell.expected:.0%} on validation" if short else f"{cell.wanted:.0%}"


def _curve_table(curves: Sequence[Line], context: str) -> str:
    """The risk of each model at every tenth of coverage."""
    shares = [number / 10 for number in range(1, 11)]
    head = "".join(f'<th scope="col" class="number">{share:.0%}</th>' for share in shares)
    rows = ""
    for line in curves:
        within = [[risk for coverage, risk in line.points if coverage <= share + 1e-9] for share in shares]
        cells = "".join(f'<td class="number">{f"{risks[-1]:.2f}" if risks else "–"}</td>' for risks in within)
        rows += f'<tr class="first"><th scope="row" class="arm arm-{escape(line.style)}">{escape(line.name)}</th>{cells}</tr>'
    inner = f'<thead><tr><th scope="col">Answered</th>{head}</tr></thead><tbody>{rows}</tbody>'
    shown = _ABSTENTION_CONTEXT.get(context, "retrieved passages")
    return framed(f"Risk by share of questions answered, {shown}", inner, "plain")


def kinds(report: Report) -> str:
    """F1 by kind of question."""
    if not report.kinds:
        return ""
    names = dict.fromkeys(x.label for x in report.kinds)
    groups = [(name, [(x.arm, x.arm, x.f1) for x in report.kinds if x.label == name]) for name in names]
    return forest(groups, "Kind", "Answer F1 by kind, retrieved passages")


def cost(report: Report) -> str:
    """Tokens and time of an answer."""
    rows = [((cell.context, cell.arm), cell.metrics) for cell in report.cost]
    return table(
        "Cost of an answer", ("Context", "Model"), {k: words for k, (words, _) in COST.items()}, rows, {k: d for k, (_, d) in COST.items()}
    )


def forgetting(report: Report) -> str:
    """Likelihood of general text before and after tuning."""
    if not report.forgetting:
        return ""
    rows: list[tuple[tuple[str, ...], Mapping[str, Estimate]]] = [
        ((cell.arm,), {"nll": cell.nll} | ({} if cell.change is None else {"change": cell.change})) for cell in report.forgetting
    ]
    names = {"nll": "Nats a token", "change": "Less the base model's"}
    return table("Likelihood of general text", ("Model",), names, rows, {"nll": 3, "change": 3})


def contamination(report: Report) -> str:
    """How many questions may have been known beforehand, and the contrast that decides without them."""
    found = report.contamination
    if found is None:
        return ""
    rows: list[tuple[str, str]] = [
        ("Answerable questions", f"{found.answerable:,}"),
        ("that nearly repeat a training question", f"{found.near_identical:,}"),
        ("whose evidence training answers quote", f"{found.evidence_trained:,}"),
        ("that the base answers exactly without passages, of those it was asked so", f"{found.closed_book:,}"),
        ("Left out: any of these", f"{found.left_out:,}"),
    ]
    if report.named is not None and found.value is not None and found.value_against is not None:
        rows += [
            (f"F1 of {report.named.arm} on the others", signed(found.value, plus=False)),
            (f"F1 of {report.named.against} on the others", signed(found.value_against, plus=False)),
        ]
    if found.difference is not None:
        rows.append(("Difference", show_figure(found.difference, plus=True, n=True)))
    body = "".join(f'<tr class="first"><th scope="row">{name}</th><td class="number">{shown}</td></tr>' for name, shown in rows)
    head = '<thead><tr><th scope="col">Questions</th><th scope="col" class="number">Figure</th></tr></thead>'
    return framed("Questions that may have been known", f"{head}<tbody>{body}</tbody>", "plain pairs")


def commands(lines: Sequence[str]) -> str:
    """What to type to make the figures again."""
    shown = "\n".join(map(safe, lines))
    return f'<h3>Make it again</h3><pre role="region" tabindex="0" aria-label="Commands"><code>{shown}</code></pre>' if lines else ""


def lineage(sections: Mapping[str, Mapping[str, JSON]]) -> str:
    """What the figures were made from, one list a section."""
    parts = []
    for title, values in sections.items():
        items = "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}</dd>"
            for name, value in values.items()
        )
        parts.append(f"<section><h3>{escape(title)}</h3><dl>{items}</dl></section>")
    return f'<div class="lineage">{"".join(parts)}</div>'


def forest(groups: Sequence[tuple[str, Sequence[tuple[str, str, Estimate]]]], first: str, caption: str) -> str:
    """Estimates of F1 as dots with intervals, in groups.

    Args:
        groups: name → rows of name, style (``tuned``: drawn as class ``arm-tuned``) and estimate.
        first: what the groups are.
        caption: of the table.
    """
    scale = _scale(estimate for _, rows in groups for _, _, estimate in rows)
    bodies = []
    for name, rows in groups:
        if rows:
            heading = f'<th scope="rowgroup" rowspan="{len(rows)}">{safe(name)}</th>'
            lines = [f"<tr>{heading if i == 0 else ''}{_forest_row(*row, scale)}</tr>" for i, row in enumerate(rows)]
            bodies.append(f"<tbody>{''.join(lines)}</tbody>")
    heads = (first, "Model", "F1 with 95 % interval", "Figures", "n")
    head = "".join(f'<th scope="col"{" class=number" if i > 2 else ""}>{words}</th>' for i, words in enumerate(heads))
    foot = f'<tr><td colspan="2"></td><td>{axis_plot(scale)}</td><td colspan="2"></td></tr>'
    return framed(caption, f"<thead><tr>{head}</tr></thead>{''.join(bodies)}<tfoot>{foot}</tfoot>", "forest")


def _forest_row(name: str, style: str, estimate: Estimate, scale: Axis) -> str:
    return (
        f'<th scope="row" class="arm arm-{escape(style)}">{safe(name)}</th><td class="plots">{interval_plot(estimate, scale, style)}</td>'
        f'<td class="number">{show_figure(estimate)}</td><td class="number quiet">{estimate.n}</td>'
    )


def _contrast_row(contrast: Contrast, scale: Axis, *, named: bool) -> str:
    where = contrast.context if contrast.stratum == "all" else f"{contrast.context}, {contrast.stratum.replace('_', ' ')}"
    name = f"{escape(contrast.arm)} − {escape(contrast.against)}" + ('<small class="tag">named beforehand</small>' if named else "")
    shown = show_p(contrast.p if named else contrast.p_holm)
    return (
        f'<tr{" class=named" if named else ""}><th scope="row" class="pair">{name}</th><td>{escape(where)}</td>'
        f'<td class="number">{contrast.value:.2f} − {contrast.value_against:.2f}</td>'
        f'<td class="plots">{interval_plot(contrast.difference, scale, "tuned" if named else "base")}</td>'
        f'<td class="number">{show_figure(contrast.difference, plus=True)}</td>'
        f'<td class="number quiet">{contrast.difference.n}</td><td class="number quiet">{shown}</td></tr>'
    )


def show_p(p: float | None) -> str:
    """A p-value, escaped."""
    return "–" if p is None else "&lt; 0.001" if p < 0.001 else f"{p:.3f}"


def _grid_table(cells: Sequence[Cell], names: Mapping[str, str], caption: str, *, percent: bool = False) -> str:
    rows: list[tuple[tuple[Context | Arm, ...], Mapping[str, Estimate]]] = [((c.context, c.arm), c.metrics) for c in cells]
    return table(caption, ("Context", "Model"), names, rows, percent=percent, more=names is METRICS)


def table(
    caption: str,
    heads: Sequence[str],
    names: Mapping[str, str],
    rows: Sequence[tuple[tuple[str, ...], Mapping[str, Estimate]]],
    decimals: Mapping[str, int] | None = None,
    *,
    percent: bool = False,
    more: bool = True,
) -> str:
    """Figures in columns; a column that no row has is left out, one without words shows under its own name.

    Args:
        caption: of the table.
        heads: of the columns before the figures.
        names: metric → words.
        rows: labels for ``heads``, then the figures.
        decimals: metric → decimals, 2 by default.
        percent: show shares as percent.
        more: show metrics that are not in ``names``, too.
    """
    names = {**names, **(_unknown(names, rows) if more else {})}
    names = {name: words for name, words in names.items() if any(name in metrics for _, metrics in rows)}
    columns = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    columns += "".join(f'<th scope="col" class="number">{escape(words)}</th>' for words in names.values())
    body = []
    last = ""
    for labels, metrics in rows:
        repeated = len(labels) > 1 and labels[0] == last
        first = "" if repeated else escape(labels[0])
        cells = f'<th scope="row">{first}{f"<span class=hidden>{escape(labels[0])}</span>" if repeated else ""}</th>'
        cells += "".join(f'<th scope="row" class="arm arm-{escape(label)}">{escape(label)}</th>' for label in labels[1:])
        for name in names:
            found = metrics.get(name)
            figure = "–" if found is None else show_figure(found, digits=(decimals or {}).get(name, 2), percent=percent, n=True)
            cells += f'<td class="number">{figure}</td>'
        body.append(f"<tr{'' if repeated else ' class=first'}>{cells}</tr>")
        last = labels[0]
    return framed(caption, f"<thead><tr>{columns}</tr></thead><tbody>{''.join(body)}</tbody>", "plain")


def _unknown(names: Mapping[str, str], rows: Sequence[tuple[tuple[str, ...], Mapping[str, Estimate]]]) -> dict[str, str]:
    """Metrics that this page has no words for, shown all the same."""
    return {name: words_of(name) for _, metrics in rows for name in metrics if name not in names and name not in QUOTES}


def show_figure(estimate: Estimate, *, digits: int = 2, plus: bool = False, percent: bool = False, n: bool = False) -> str:
    """A value with its interval; ``plus`` gives it a sign, ``n`` the number that it rests on."""

    def words(value: float, *, sign: bool = False) -> str:
        if percent:
            return f"{100 * value:.0f}"
        return signed(value, plus=sign) if plus else f"{value:,.{digits}f}"

    unit = " %" if percent else ""
    interval = "" if estimate.low is None or estimate.high is None else f"[{words(estimate.low)}, {words(estimate.high)}]"
    count = f" <small>n {estimate.n}</small>" if n else ""
    return f'<span class="figure"><b>{words(estimate.value, sign=True)}{unit}</b> <i>{interval}</i>{count}</span>'


def _scale(estimates: Iterable[Estimate]) -> Axis:
    bounds = [e.value if e.high is None else e.high for e in estimates]
    return axis(0.0, min(1.0, max([0.1, *bounds])), ticks=5)
