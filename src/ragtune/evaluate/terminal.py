"""The report in a terminal: the grid of F1, the decision, and what else is worth a line or two."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ragtune.evaluate.decide import closed_book_words, signed
from ragtune.evaluate.gate import GateResult
from ragtune.evaluate.report import JudgeReport, Report
from ragtune.types import Estimate

_COLOURS = {"better": "green", "worse": "red", "undecided": "yellow"}


def terminal_table(report: Report) -> RenderableType:
    """Arms as rows, contexts as columns with F1 and its interval; then the decision, retrieval, quotes and notes. Fits 80 columns."""
    title = f"Answer F1 [95 % interval] on {report.answerable} answerable {report.split} questions"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("arm", no_wrap=True)
    for context in report.contexts:
        table.add_column(context, justify="right", no_wrap=True)
    for arm in report.arms:
        row: list[RenderableType] = [Text(arm, style="bold" if arm == "tuned" else "")]
        for context in report.contexts:
            cell = report.cell(arm, context)
            row.append(_figure(cell.metrics.get("f1") if cell else None, bold=arm == "tuned"))
        table.add_row(*row)
    lines: list[RenderableType] = [Padding(table, (1, 0)), Text(report.sentence, style=f"bold {_COLOURS[report.decision]}")]
    lines += [Text(line) for line in (_retrieval_line(report), _quotes_line(report), closed_book_words(report)) if line]
    lines += [Text(line) for line in (_other_line(report), _changed_line(report)) if line]
    if report.judge is not None:
        lines += [Text(line) for line in _judge_lines(report.judge)]
    lines += [Text(f"Note: {note}", style="yellow") for note in (*report.notes, *(report.judge.notes if report.judge else ()))]
    return Group(*lines)


_GATE_METRICS = ("f1", "exact_match", "containment", "quotes", "quotes_valid", "quotes_gold", "cites_gold", "abstained", "evidence_shown")
"""Of the retrieved context; of the others F1 alone, and whatever a condition names."""


def gate_table(result: GateResult) -> RenderableType:
    """Figures of both models and their differences, then each condition with what was found."""
    other = result.model_against if result.arm_against == "tuned" else f"{result.arm_against} ({result.model_against})"
    table = Table(box=None, title=f"{result.model} against {other}, 95 % interval", title_justify="left")
    table.add_column("")
    for name in ("this", "other", "difference", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    named = {checked.figure for checked in result.conditions}
    for row in result.rows:
        label = f"{row.context}.{row.metric}"
        # Without its evidence no answer is right: of distractors F1 tells nothing.
        shown = (row.metric == "f1" and row.context != "distractors") or (row.context == "retrieved" and row.metric in _GATE_METRICS)
        if not shown and label not in named:
            continue
        table.add_row(label, f"{row.value:.2f}", f"{row.value_against:.2f}", _change(row.difference), str(row.difference.n))
    lines: list[RenderableType] = [Padding(table, (1, 0))]
    if result.evaluation == result.against and result.arm_against == "tuned":
        same = f"Note: {result.evaluation} is the evaluation to compare with: nothing that decides an answer has changed since."
        lines.append(Text(same, style="yellow"))
    if result.shown_otherwise:
        lines.append(
            Text(f"Note: retrieval served other passages for {result.shown_otherwise} of {result.questions} questions.", style="yellow")
        )
    lines += [Text(f"Note: {note}", style="yellow") for note in result.notes]
    for checked in result.conditions:
        state, style = ("holds", "red") if checked.holds else ("does not hold", "green")
        lines.append(Text(f"{checked.condition}: {state} ({checked.found:+.4f})", style=style))
    return Group(*lines)


def _figure(estimate: Estimate | None, *, bold: bool) -> Text:
    if estimate is None:
        return Text("–", style="dim")
    text = Text(f"{estimate.value:.2f}", style="bold" if bold else "")
    if estimate.low is not None and estimate.high is not None:
        text.append(f"\n[{estimate.low:.2f}, {estimate.high:.2f}]", style="not bold dim")
    return text


def _retrieval_line(report: Report) -> str:
    if not report.retrieval:
        return ""
    figures = [f"{name} {estimate.value:.2f}" for name, estimate in report.retrieval[0].metrics.items()]
    return f"Retrieval: {', '.join(figures)} (n = {next(iter(report.retrieval[0].metrics.values())).n})"


def _quotes_line(report: Report) -> str:
    cell = report.cell("tuned", "retrieved")
    if cell is None or "quotes" not in cell.metrics:
        return ""
    words = {
        "quotes": "of answers quote",
        "quotes_valid": "of quotes are real",
        "quotes_gold": "of quoting answers quote the evidence",
    }
    if cell.metrics["quotes"].value < 1:  # else that is the same
        words["cites_gold"] = "of answers cite the evidence, those that quote nothing by the words found"
    shown = {name: cell.metrics[name] for name in words if name in cell.metrics}
    alike = len({each.n for each in shown.values()}) == 1
    figures = [f"{100 * each.value:.0f} % {words[name]}" + ("" if alike else f" (n = {each.n})") for name, each in shown.items()]
    return f"Quotes (tuned, retrieved): {', '.join(figures)}" + (f" (n = {shown['quotes'].n})" if alike else "")


def _other_line(report: Report) -> str:
    found = next((each for each in report.contrasts if (each.arm, each.against) == ("tuned", "other")), None)
    if found is None:
        return ""
    models = f"{report.models.get('tuned')} against {report.models.get('other')}"
    holm = "" if found.p_holm is None else f", p {found.p_holm:.3f} (Holm)"
    return f"{models}: F1 {found.value:.2f} against {found.value_against:.2f}, difference {_change(found.difference)}{holm}"


def _changed_line(report: Report) -> str:
    """F1 of the tuned model in changed contexts less that in those served."""
    own = [each for each in report.robustness if each.arm == "tuned"]
    changes = ", ".join(f"{each.change.replace('_', ' ')} {_change(each.difference)}" for each in own)
    return f"Changed contexts (tuned, F1 less that as served): {changes}" if own else ""


def _change(difference: Estimate) -> str:
    low, high = difference.low, difference.high
    interval = "" if low is None or high is None else f" [{signed(low, plus=False)}, {signed(high, plus=False)}]"
    return f"{signed(difference.value)}{interval}"


def _judge_lines(judge: JudgeReport) -> list[str]:
    graded = [f"{cell.arm} {_short(cell.scores['correctness'])}" for cell in judge.cells if cell.scores]
    pair = judge.pair
    wins = f"; {pair.arm} wins {_short(pair.win_rate)} against {pair.against}" if pair and pair.win_rate else ""
    checks = [f"{judge.anchors_kept} of {judge.anchors} anchors in order"]
    if "spearman_f1" in judge.agreement:
        checks.append(f"rank correlation with F1 {_short(judge.agreement['spearman_f1'])}")
    if pair is not None and pair.flips is not None:
        checks.append(f"{100 * pair.flips.value:.0f} % of {pair.flips.n} preferences flip with the order")
    checks.append(f"{sum(sum(cell.failed.values()) for cell in judge.cells)} of {sum(cell.asked for cell in judge.cells)} without a grade")
    return [
        f"Judge ({judge.model}), correctness on {judge.questions} questions: {', '.join(graded) or 'none graded'}{wins}",
        f"Is the judge to be believed? {', '.join(checks)}",
    ]


def _short(estimate: Estimate) -> str:
    interval = "" if estimate.low is None or estimate.high is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:.2f}{interval}"
