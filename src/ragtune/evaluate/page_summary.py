"""The first screen of report.html: the decision, what it means in plain words, what it costs, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from ragtune.evaluate.advice import advice, main_arm
from ragtune.evaluate.charts import difference_plot
from ragtune.evaluate.report import ARM_WORDS, Contrast, CostCell, Report
from ragtune.page import safe
from ragtune.types import Arm

SHORT: Mapping[Arm, str] = {"base": "base model", "base-fewshot": "base with examples", "tuned": "tuned", "dsf": "tuned without context"}


def summary(report: Report, outcomes: Mapping[str, int], trained: str = "") -> str:
    """The screen.

    Args:
        report: its figures.
        outcomes: questions by outcome, as ``compare_questions`` tells them: ``won``, ``lost`` and others.
        trained: what training took, in words.
    """
    verdict, _, figures = report.sentence.partition(": ")
    plot = ""
    if report.named is not None:
        against, arm = (_short(name) for name in (report.named.against, report.named.arm))
        plot = f"<figure>{difference_plot(report.named.difference, f'{against} better', f'{arm} better')}</figure>"
    lead = f'<p class="lead">{keep_figures(figures[:1].upper() + figures[1:])}</p>' if figures else ""
    cards = {
        "Effect": [*_effect(report, outcomes)],
        "Cost": [*_cost(report), *([trained] if trained else [])],
        "What to do next": [*advice(report, outcomes.get("lost", 0))],
    }
    shown = "".join(
        f'<section class="card"><h2>{title}</h2><ul>{"".join(f"<li>{_code(line)}</li>" for line in lines)}</ul></section>'
        for title, lines in cards.items()
        if lines
    )
    return (
        f'<section class="hero"><h1 class="decision {report.decision}">{safe(verdict.rstrip("."))}</h1>{lead}{plot}'
        f'<div class="cards">{shown}</div>{_facts(report)}</section>'
    )


def keep_figures(sentence: str) -> str:
    """The sentence, escaped, with its intervals kept on one line."""
    head, mark, tail = safe(sentence).partition("ifference ")
    if not mark:
        return head
    figures, bracket, rest = tail.partition("]")
    return f'{head}{mark}<span class="figures">{figures}{bracket}</span>{rest}'


def _facts(report: Report) -> str:
    facts = [f"{report.questions} {report.split} questions, answerable or not, on {report.groups} groups of documents"]
    if report.test_readings:
        facts.append(f"test split read {'once' if report.test_readings == 1 else f'{report.test_readings} times'}")
    facts += [f"{count} more not asked: their documents need {capability} to be read" for capability, count in report.unasked.items()]
    notes = "".join(f"<li>{safe(note)}</li>" for note in report.notes)
    return f'<p class="facts">{" · ".join(map(safe, facts))} · intervals are 95 %, resampling groups of documents</p>' + (
        f'<ul class="notes" aria-label="Notes">{notes}</ul>' if notes else ""
    )


def _effect(report: Report, outcomes: Mapping[str, int]) -> Iterator[str]:
    named = report.named
    if named is not None:
        yield (
            f"On a scale from 0 (no word right) to 100 (word for word) its answers score {100 * named.value:.0f}, those of the "
            f"{_long(named.against)} {100 * named.value_against:.0f}."
        )
        yield _certainty(named)
        asked = sum(outcomes.values())
        if asked:
            won, lost = outcomes.get("won", 0), outcomes.get("lost", 0)
            yield f"Of {asked} questions it does better on {won}, worse on {lost} and alike on {asked - won - lost}."
    cell = report.cell(main_arm(report), "retrieved")
    if cell is not None and "quotes_valid" in cell.metrics:
        valid, gold = cell.metrics["quotes_valid"], cell.metrics.get("quotes_gold")
        evidence = "" if gold is None else f", and {100 * gold.value:.0f} % of the answers that quote have a part of the evidence in them"
        yield f"{100 * valid.value:.0f} % of its quotes stand word for word in the passages that it was shown{evidence}."


def _certainty(named: Contrast) -> str:
    low, high = named.difference.low, named.difference.high
    if low is None or high is None:
        return "How certain that is cannot be said: the questions are on too few documents."
    if low <= 0 <= high:
        return "The difference may be chance: with other questions it could as well come out the other way."
    bounds = sorted((abs(low), abs(high)))
    return f"The difference is not chance alone: it is likely between {100 * bounds[0]:.0f} and {100 * bounds[1]:.0f} points."


def _cost(report: Report) -> Iterator[str]:
    cells = {cell.arm: cell for cell in report.cost if cell.context == "retrieved"}
    arm = main_arm(report)
    if arm not in cells:
        return
    yield f"An answer takes {_price(cells[arm])}."
    against = report.named.against if report.named else None
    if against in cells:
        yield f"One of the {_long(against)} takes {_price(cells[against])}."


def _price(cell: CostCell) -> str:
    parts = [f"{cell.metrics['seconds'].value:.2g} s"] if "seconds" in cell.metrics else []
    tokens = [cell.metrics[name].value for name in ("prompt_tokens", "completion_tokens") if name in cell.metrics]
    if tokens:
        parts.append(f"{sum(tokens):,.0f} tokens")
    if "dollars" in cell.metrics:
        parts.append(f"{cell.metrics['dollars'].value:.2g} US dollars")
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def _code(line: str) -> str:
    """A line, escaped, with commands between quotes shown as such."""
    parts = escape(line, quote=False).split("'")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts)) if len(parts) % 2 else safe(line)


def _long(arm: Arm) -> str:
    return ARM_WORDS.get(arm, arm)


def _short(arm: Arm) -> str:
    return SHORT.get(arm, arm)
