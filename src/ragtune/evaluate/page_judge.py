"""The judge's section of report.html: its scores by arm, its preference, and what speaks for and against believing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from ragtune.evaluate.judge import SCORES
from ragtune.evaluate.page_parts import show_figure
from ragtune.evaluate.report import JudgeCell, JudgeReport
from ragtune.page import fold, framed

_AGREEMENT: Mapping[str, tuple[str, str]] = {
    "spearman_f1": ("Rank correlation with F1", "Of correctness, over the answers of all models; 1 ranks them alike."),
    "kappa_exact_match": ("Kappa with exact match", "Is an answer right? A grade of 4 or 5 against exact match, beyond chance."),
    "kappa_containment": ("Kappa with containment", "The same against “contains the reference”, which forgives wordy answers."),
}


def judge_section(judge: JudgeReport) -> str:
    """The section; its checks are folded away, its warnings are not."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in judge.notes)
    heads = '<th scope="col">Model</th>' + "".join(
        f'<th scope="col" class="number">{words}</th>' for words in (*map(str.capitalize, SCORES), "Without a grade")
    )
    rows = "".join(map(_row, judge.cells))
    checks = "".join(
        f'<tr class="first"><th scope="row">{name}</th><td>{figure}</td><td>{says}</td></tr>' for name, figure, says in _checks(judge)
    )
    return (
        (f'<ul class="notes" aria-label="Notes on the judge">{notes}</ul>' if notes else "")
        + f'<p class="verdict">{escape(judge_verdict(judge))}</p>'
        + framed("What the judge thinks of each model", f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>", "plain")
        + fold("Is this judge to be believed?", framed("Checks of the judge", f"<tbody>{checks}</tbody>", "plain checks"))
    )


def judge_verdict(judge: JudgeReport) -> str:
    """Who judged what, and which of two arms it prefers."""
    asked = f"{judge.model} graded the answers to {judge.questions} questions, from retrieved passages."
    pair = judge.pair
    if pair is None or pair.win_rate is None:
        return asked
    low, high = pair.win_rate.low, pair.win_rate.high
    interval = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    equal = f" ({pair.equal} of them equal answers)" if pair.equal else ""
    return (
        f"{asked} Asked in both orders, it prefers {pair.arm} on {pair.won}, {pair.against} on {pair.lost} and neither on {pair.tied}"
        f"{equal}: {pair.arm} wins {pair.win_rate.value:.2f}{interval}, ties counted half."
    )


def _row(cell: JudgeCell) -> str:
    scores = "".join(f'<td class="number">{show_figure(cell.scores[name], n=True) if name in cell.scores else "–"}</td>' for name in SCORES)
    kinds = ", ".join(f"{count} {reason}" for reason, count in cell.failed.items())
    failed = f'<span class="figure"><b>{sum(cell.failed.values())}</b> <i>of {cell.asked}</i> <small>{escape(kinds)}</small></span>'
    arm = escape(cell.arm)
    return f'<tr class="first"><th scope="row" class="arm arm-{arm}">{arm}</th>{scores}<td class="number">{failed}</td></tr>'


def _checks(judge: JudgeReport) -> Iterable[tuple[str, str, str]]:
    kept = f'<span class="figure"><b>{judge.anchors_kept} of {judge.anchors}</b></span>'
    yield "Anchors in order", kept, "Pairs of invented answers whose order is beyond doubt."
    for name, (words, says) in _AGREEMENT.items():
        if name in judge.agreement:
            yield words, show_figure(judge.agreement[name], plus=True, n=True), says
    if judge.length is not None:
        says = "Rank correlation of correctness with an answer's words, among answers alike in F1 and containment; 0 is no bias."
        yield "Length", show_figure(judge.length, plus=True, n=True), says
    pair = judge.pair
    if pair is not None and pair.flips is not None:
        yield "Preferences that flip", show_figure(pair.flips, n=True), "When the two answers change places; such questions are ties."
    if pair is not None and pair.first is not None:
        yield "Prefers the first", show_figure(pair.first, n=True), "Share of its single preferences; 0.5 is no bias of position."
    if pair is not None and pair.failed:
        yield (
            "Pairs without a verdict",
            f'<span class="figure"><b>{pair.failed}</b></span>',
            "A preference is missing in one of the orders.",
        )
