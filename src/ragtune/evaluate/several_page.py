"""The page of several evaluations: who is better than the first, by how much, at what cost, and with which settings."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ragtune.evaluate.charts import axis_plot, interval_plot
from ragtune.evaluate.comparison import Side, embed_json, question_data
from ragtune.evaluate.page_blocks import words_of
from ragtune.evaluate.page_parts import forest, show_figure, show_p
from ragtune.evaluate.page_questions import questions, script
from ragtune.evaluate.page_training import Curves, learning_curves
from ragtune.evaluate.several import Evaluated, Result, Several, answers_of, common_questions, evidence_of, verdict
from ragtune.page import framed, render_page, safe, section
from ragtune.page.charts import axis
from ragtune.types import JSON, Context, Passage

STYLES = 8  # of page.css, arm-run-0 to arm-run-7
_NAMES = {
    "quotes": "Answers that quote",
    "quotes_valid": "Quotes that are real",
    "quotes_gold": "Quote the evidence",
    "cites_gold": "Cite the evidence",
    "exact_match": "Exact match",
    "containment": "Contains the reference",
    "abstention_abstained": "Abstained",
    "abstention_accuracy": "Abstains where it should",
    "abstention_auroc": "AUROC of abstaining",
    "prompt_tokens": "Prompt tokens",
    "completion_tokens": "Tokens written",
    "seconds": "Seconds an answer",
    "dollars": "US dollars an answer",
}
_DIGITS = {"prompt_tokens": 0, "completion_tokens": 1, "dollars": 6}
_ABOUT = {
    "Differences": (
        "differences",
        "Paired: the same questions on both sides, each evaluation against the first. The intervals are of each difference by itself; the "
        "p-values are corrected for their number (Holm), and they decide.",
    ),
    "Answers": ("answers", "F1 by context, on the questions that all asked in it."),
    "Results": ("results", "Quotes, abstention and cost on the common questions. Seconds are those of the machine that each ran on."),
    "Settings": ("settings", "What differs between the evaluations, their models and their datasets. All else is alike."),
    "Training": ("training", "What training wrote down, the models over each other."),
    "Questions": (
        "questions",
        "Every common question with the answers side by side. Whose quote a stretch of a passage is, a letter says; the gold evidence is "
        "underlined.",
    ),
}


def render_several(found: Several, evaluated: Sequence[Evaluated], created: str) -> str:
    """The page.

    Args:
        found: its figures.
        evaluated: the evaluations, in the same order.
        created: when, as it is to be shown.
    """
    data = _data(found, evaluated)
    sections = {
        "Differences": _differences(found),
        "Answers": _answers(found),
        "Results": _results(found),
        "Settings": _settings(found),
        "Training": learning_curves([Curves(each.name, style(number), each.training) for number, each in enumerate(evaluated)]),
        "Questions": questions(data),
    }
    shown = {title: body for title, body in sections.items() if body}
    links = "".join(f'<a href="#{_ABOUT[title][0]}">{title}</a>' for title in shown)
    body = "".join(section(_ABOUT[title][0], title, _ABOUT[title][1], inner) for title, inner in shown.items())
    main = f'{_summary(found)}<nav aria-label="Sections">{links}</nav>{body}'
    return render_page(" · ".join(each.name for each in evaluated), created, main, script=script(), data=embed_json(data))


def style(number: int) -> str:
    """Of an evaluation's lines and dots: ``run-1`` is class ``arm-run-1`` of page.css."""
    return f"run-{number % STYLES}"


def _summary(found: Several) -> str:
    facts = (
        f"{found.common} questions that all asked, {found.answerable} of them answerable, from {found.groups} groups of documents · "
        f"{found.context} passages · intervals are 95 %, resampling groups of documents"
    )
    notes = "".join(f"<li>{safe(note)}</li>" for note in found.notes)
    cards = "".join(_card(result, found.context) for result in found.results)
    return (
        f'<section class="hero"><h1 class="decision">{safe(found.sentence)}</h1><div class="cards">{cards}</div>'
        f'<p class="facts">{safe(facts)}</p>' + (f'<ul class="notes" aria-label="Notes">{notes}</ul>' if notes else "") + "</section>"
    )


def _card(result: Result, context: Context) -> str:
    f1 = result.f1.get(context)
    lines = [f"Model {safe(result.model)}"]
    if f1 is not None:
        lines.append(f"F1 {show_figure(f1)}")
    if result.difference is None:
        lines.append("The others are measured against it.")
    else:
        lines.append(f"{verdict(result).capitalize()}: {show_figure(result.difference, plus=True)}")
    if "seconds" in result.metrics:
        tokens = sum(result.metrics[name].value for name in ("prompt_tokens", "completion_tokens") if name in result.metrics)
        lines.append(f"An answer takes {result.metrics['seconds'].value:.2g} s and {tokens:,.0f} tokens.")
    return f'<section class="card"><h2>{safe(result.name)}</h2><ul>{"".join(f"<li>{line}</li>" for line in lines)}</ul></section>'


def _answers(found: Several) -> str:
    contexts = dict.fromkeys(context for each in found.results for context in each.f1)
    groups = [
        (context, [(each.name, style(number), each.f1[context]) for number, each in enumerate(found.results) if context in each.f1])
        for context in contexts
    ]
    return forest(groups, "Context", "Answer F1 by context and evaluation") if groups else ""


def _differences(found: Several) -> str:
    rows = [(number, each, each.difference) for number, each in enumerate(found.results) if each.difference is not None]
    bounds = [bound for _, _, d in rows for bound in (0.0, d.value, d.low, d.high) if bound is not None]
    if not rows:
        return "<p>No common question is answerable, so that F1 cannot be compared.</p>"
    scale = axis(min(bounds), max(bounds), ticks=4)
    body = "".join(
        f'<tr class="first"><th scope="row" class="pair">{safe(each.name)} − {safe(found.results[0].name)}</th><td>{verdict(each)}</td>'
        f'<td class="number">{_values(each, found)}</td><td class="plots">{interval_plot(difference, scale, style(number))}</td>'
        f'<td class="number">{show_figure(difference, plus=True)}</td><td class="number quiet">{difference.n}</td>'
        f'<td class="number quiet">{show_p(each.p)}</td></tr>'
        for number, each, difference in rows
    )
    heads = ("Difference", "Verdict", "F1", "95 % interval", "Figures", "n", "p")
    head = "".join(f'<th scope="col"{" class=number" if i > 3 or i == 2 else ""}>{words}</th>' for i, words in enumerate(heads))
    foot = f'<tr><td colspan="3"></td><td>{axis_plot(scale, difference=True)}</td><td colspan="3"></td></tr>'
    inner = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody><tfoot>{foot}</tfoot>"
    return framed(f"Differences in F1 from {found.results[0].name}", inner, "forest wide")


def _values(result: Result, found: Several) -> str:
    pair = [each.f1[found.context].value for each in (result, found.results[0]) if found.context in each.f1]
    return " − ".join(f"{value:.2f}" for value in pair)


def _results(found: Several) -> str:
    """Metrics as rows, so that the evaluations stand side by side."""
    names = dict.fromkeys([*_NAMES, *(name for each in found.results for name in each.metrics)])
    rows = "".join(
        f'<tr class="first"><th scope="row">{safe(_NAMES.get(name, words_of(name)))}</th>'
        + "".join(f'<td class="number">{_metric(each, name)}</td>' for each in found.results)
        + "</tr>"
        for name in names
        if any(name in each.metrics for each in found.results)
    )
    head = "".join(f'<th scope="col" class="number">{safe(each.name)}</th>' for each in found.results)
    return framed(
        "Results by evaluation", f'<thead><tr><th scope="col">Metric</th>{head}</tr></thead><tbody>{rows}</tbody>', "plain settings"
    )


def _metric(result: Result, name: str) -> str:
    return show_figure(result.metrics[name], digits=_DIGITS.get(name, 2), n=True) if name in result.metrics else "–"


def _settings(found: Several) -> str:
    if not found.settings:
        return "<p>Nothing differs.</p>"
    head = "".join(f'<th scope="col">{safe(each.name)}</th>' for each in found.results)
    body = "".join(
        f'<tr class="first"><th scope="row">{safe(name)}</th>{"".join(f"<td>{safe(_words(value))}</td>" for value in values)}</tr>'
        for name, values in found.settings.items()
    )
    inner = f'<thead><tr><th scope="col">Setting</th>{head}</tr></thead><tbody>{body}</tbody>'
    return framed("Settings that differ", inner, "plain settings")


def _words(value: JSON) -> str:
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _data(found: Several, evaluated: Sequence[Evaluated]) -> dict[str, JSON]:
    common = common_questions(evaluated)[found.context]
    sides = [Side(each.name, style(number), answers_of(each, found.context, common)) for number, each in enumerate(evaluated)]
    passages: dict[str, Passage] = {}
    for each in evaluated:
        passages = {**each.passages, **passages}
    return question_data(sides, passages, evidence_of(evaluated), paired=len(evaluated) == 2)
