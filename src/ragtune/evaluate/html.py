"""report.html: one file that needs no network, for people. The figures come from the report, none is computed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from ragtune.evaluate import page_parts as parts
from ragtune.evaluate.comparison import compare_questions, embed_json
from ragtune.evaluate.judged import Grading
from ragtune.evaluate.page_blocks import block, words_of
from ragtune.evaluate.page_judge import judge_section
from ragtune.evaluate.page_questions import questions, script
from ragtune.evaluate.page_summary import summary
from ragtune.evaluate.page_training import Curves, Step, learning_curves
from ragtune.evaluate.report import Report
from ragtune.page import render_page, safe, section
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
    "Questions": (
        "questions",
        "Every question with the answers side by side and the passages that were retrieved for it. The second model wins or loses "
        "one where its F1 differs from the first's by 0.1 or more; an answer is right from 0.5 on, to an unanswerable question where it "
        "abstains. Whose quote a stretch of a passage is, a letter says; the gold evidence is underlined.",
    ),
    "By kind of question": ("kinds", "F1 on retrieved passages, by the label that the questions carry."),
    "Strata": (
        "strata",
        "F1 on retrieved passages by what questions are like, and the paired difference of the two models that are compared. The last p is "
        "corrected for all strata together.",
    ),
    "Robustness": (
        "robustness",
        "A sample asked again in changed contexts, beside the context as served: F1 of the same questions, and the paired difference.",
    ),
    "Contamination": (
        "contamination",
        "Answerable questions that may have been known beforehand, and the difference that decides without them (left out).",
    ),
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
    "Where this comes from": ("lineage", "What the figures were made from, and how they are made again."),
}
_ABOUT_MORE = "Further figures of report.json, under the names that they have there."
_KNOWN = frozenset({"named", "contrasts", "grid", "kinds", "retrieval", "abstention", "cost", "models", "forgetting", "closed_book"})
_KNOWN |= {"unasked", "judge", "notes", "thresholds", "contamination"}


@dataclass(frozen=True, slots=True)
class PageMeta:
    """What a page says about itself.

    Args:
        title: of the project or evaluation.
        created: when, as it is to be shown.
        lineage: section → name → value: hashes, settings, versions, device.
        training: lines of the tuned model's metrics.jsonl, where they are at hand.
        trained: what its training took, in words.
        commands: that make the evaluation again.
    """

    title: str
    created: str = ""
    lineage: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)
    training: Sequence[Step] = ()
    trained: str = ""
    commands: Sequence[str] = ()


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
        predictions: for the questions.
        passages: by id; those that predictions were shown.
        examples: the test split, for the gold evidence.
        meta: title, lineage, learning curves.
        gradings: a judge's, for the questions.
    """
    data = compare_questions(predictions, passages, examples, gradings)
    shown = {title: body for title, body in _sections(report, data, meta).items() if body}
    links = "".join(f'<a href="#{_anchor(title)}">{safe(title)}</a>' for title in shown)
    sections = "".join(section(_anchor(title), safe(title), _ABOUT.get(title, ("", _ABOUT_MORE))[1], body) for title, body in shown.items())
    asked = data["questions"] if isinstance(data["questions"], list) else []
    outcomes = Counter(str(each["outcome"]) for each in asked if isinstance(each, dict))
    main = f'{summary(report, outcomes if report.named else {}, meta.trained)}<nav aria-label="Sections">{links}</nav>{sections}'
    return render_page(meta.title, meta.created, main, script=script(), data=embed_json(data))


def _sections(report: Report, data: Mapping[str, JSON], meta: PageMeta) -> dict[str, str]:
    """By title, in reading order; what is empty is left out by the caller."""
    return {
        "Answers": parts.answers(report),
        "Differences": parts.contrasts(report),
        "Judge": judge_section(report.judge) if report.judge else "",
        "Questions": questions(data),
        "By kind of question": parts.kinds(report),
        "Contamination": parts.contamination(report),
        **_further(report),
        "Quotes": parts.quotes(report),
        "Retrieval": parts.retrieval(report),
        "Abstention": parts.abstention(report),
        "Training": learning_curves([Curves(meta.title, "training", meta.training)]),
        "Cost": parts.cost(report),
        "Forgetting": parts.forgetting(report),
        "Where this comes from": parts.commands(meta.commands)
        + parts.lineage({"Models": {str(arm): name for arm, name in report.models.items()}, **meta.lineage}),
    }


def _further(report: Report) -> dict[str, str]:
    """What a report holds besides the figures that this page has words for."""
    held = {name: value for name, value in asdict(report).items() if name not in _KNOWN and isinstance(value, tuple | list | dict)}
    return {words_of(name): block(f"{words_of(name)}: figures", value) for name, value in held.items()}


def _anchor(title: str) -> str:
    return _ABOUT[title][0] if title in _ABOUT else "more-" + "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
