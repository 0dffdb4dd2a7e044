"""report.html: one file that needs no network, for people. The figures come from the report, none is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from ragtune.evaluate import page_parts as parts
from ragtune.evaluate.comparison import compare_questions, embed_json
from ragtune.evaluate.judged import Grading
from ragtune.evaluate.page_judge import judge_section
from ragtune.evaluate.report import Report
from ragtune.page import render_page, section
from ragtune.types import JSON, Example, Passage, Prediction

_ABOUT: Mapping[str, tuple[str, str]] = {
    "Answers": (
        "answers",
        "F1 is the overlap of words with the best reference, as SQuAD counts it; an abstention on an answerable question counts 0. "
        "The models see the same questions and the same prompt.",
    ),
    "Differences": (
        "differences",
        "Paired: the same questions on both sides. One contrast was named before any figure was seen, and it alone decides. "
        "The p-values of the others are corrected for their number (Holm).",
    ),
    "Judge": (
        "judge",
        "What another model thinks of a sample of these answers. It sees the question, the references, the passages and the answer, not "
        "who wrote it. Grades of 1 to 5 are shown as 0 to 1. It decides nothing here; the checks say how far to believe it.",
    ),
    "Questions won and lost": (
        "questions",
        "Both models answering from the same retrieved passages. A question is won or lost where F1 differs by 0.1 or more, and right "
        "from 0.5 on. An unanswerable question is right where the model abstains.",
    ),
    "By kind of question": ("kinds", "F1 on retrieved passages, by the label that the questions carry."),
    "Quotes": (
        "quotes",
        "A quote is real where it stands word for word in a passage that was shown. Abstentions are not expected to quote.",
    ),
    "Retrieval": (
        "retrieval",
        "Recall@k is the share of evidence that the first k passages hold in full. Retrieval ran once, for all models alike.",
    ),
    "Abstention": (
        "abstention",
        "A model should abstain where the passages it was shown do not hold the evidence. AUROC asks whether its doubt tells those "
        "cases apart, at any threshold; 0.5 is chance.",
    ),
    "Training": (
        "training",
        "The negative log-likelihood of the completions alone, the mean over answers: an answer's is the sum over its tokens, in nats, "
        "divided by 32, about the tokens of an answer.",
    ),
    "Cost": ("cost", "Means of an answer, on the machine and with the batch size of this evaluation."),
    "Forgetting": (
        "forgetting",
        "How unlikely ten general answers, which have nothing to do with the documents, are to each model's weights. Lower is better.",
    ),
    "Where this comes from": ("lineage", "What the figures were made from, so that they can be made again."),
}


@dataclass(frozen=True, slots=True)
class PageMeta:
    """What a page says about itself.

    Args:
        title: of the project or evaluation.
        created: when, as it is to be shown.
        lineage: section → name → value: hashes, settings, versions, device.
        training_loss: ``(step, loss)``, where training metrics are at hand.
        validation_loss: likewise.
    """

    title: str
    created: str = ""
    lineage: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)
    training_loss: Sequence[tuple[float, float]] = ()
    validation_loss: Sequence[tuple[float, float]] = ()


def render_html(
    report: Report,
    predictions: Sequence[Prediction],
    passages: Mapping[str, Passage],
    examples: Sequence[Example],
    meta: PageMeta,
    gradings: Sequence[Grading] = (),
) -> str:
    """The page.

    Args:
        report: its figures.
        predictions: for the questions won and lost.
        passages: by id; those that predictions were shown.
        examples: the test split, for the gold evidence.
        meta: title, lineage, losses.
        gradings: a judge's, for the questions won and lost.
    """
    sections = {
        "Answers": parts.answers(report),
        "Differences": parts.contrasts(report),
        "Judge": judge_section(report.judge) if report.judge else "",
        "Questions won and lost": _resource("report_questions.html"),
        "By kind of question": parts.kinds(report),
        "Quotes": parts.quotes(report),
        "Retrieval": parts.retrieval(report),
        "Abstention": parts.abstention(report),
        "Training": parts.loss(meta.training_loss, meta.validation_loss) if meta.training_loss or meta.validation_loss else "",
        "Cost": parts.cost(report),
        "Forgetting": parts.forgetting(report),
        "Where this comes from": parts.lineage({"Models": {str(arm): name for arm, name in report.models.items()}, **meta.lineage}),
    }
    shown = {title: body for title, body in sections.items() if body}
    links = "".join(f'<a href="#{_ABOUT[title][0]}">{title}</a>' for title in shown)
    data = embed_json(compare_questions(predictions, passages, examples, gradings))
    sections_html = "".join(section(_ABOUT[title][0], title, _ABOUT[title][1], body) for title, body in shown.items())
    main = f'<section class="hero">{parts.headline(report)}</section><nav aria-label="Sections">{links}</nav>{sections_html}'
    return render_page(meta.title, meta.created, main, script=_resource("report.js"), data=data)


def _resource(name: str) -> str:
    return files("ragtune.evaluate").joinpath(name).read_text(encoding="utf-8").strip()
