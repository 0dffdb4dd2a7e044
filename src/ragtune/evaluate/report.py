"""What an evaluation found: plain records that the JSON file, the page and the terminal all show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ragtune.evaluate.abstention import RiskPoint
from ragtune.evaluate.findings import Changed, Contamination, Power, Stratum
from ragtune.evaluate.forgetting import ForgettingCell
from ragtune.types import Arm, Context, Estimate

Slice = Literal["all", "new_questions", "new_documents"]
Decision = Literal["better", "worse", "undecided"]

SLICES: tuple[Slice, ...] = ("all", "new_questions", "new_documents")
ARMS: tuple[Arm, ...] = ("base", "base-fewshot", "dsf", "other", "tuned")
ARM_WORDS: Mapping[Arm, str] = {
    "base": "base model",
    "base-fewshot": "base model with two worked examples",
    "tuned": "tuned model",
    "dsf": "model tuned without context",
    "other": "other tuned model",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm in one context on one slice of the test questions.

    Args:
        arm: which model.
        context: what it was shown.
        stratum: which test questions.
        questions: how many it answered.
        groups: document groups that they come from.
        metrics: answers (``f1``, ``exact_match``, ``containment``, ``rouge_l``, ``length_ratio``), quotes (``quotes``, ``quotes_valid``,
            ``quotes_gold``, ``cites_gold``), and the shares ended by the token limit (``cut_off``), of those in a loop (``looping``); one
            without a question to rest on is absent.
    """

    arm: Arm
    context: Context
    stratum: Slice
    questions: int
    groups: int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Contrast:
    """One arm less another on the same questions.

    ``p_holm`` is corrected for all contrasts but the one named beforehand, which has none. ``power`` says what an undecided one lacks.
    """

    arm: Arm
    against: Arm
    context: Context
    stratum: Slice
    metric: str
    value: float
    value_against: float
    difference: Estimate
    groups: int
    p: float | None
    p_holm: float | None = None
    power: Power | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """F1 of one arm, retrieved, on the questions with one label."""

    label: str
    arm: Arm
    f1: Estimate


@dataclass(frozen=True, slots=True)
class RetrievalCell:
    """``recall@k``, ``ndcg@k`` and ``mrr`` on one slice of the test questions that have evidence."""

    stratum: Slice
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class AbstentionCell:
    """See ``abstention_metrics`` and ``risk_coverage``."""

    arm: Arm
    context: Context
    metrics: Mapping[str, Estimate]
    curve: tuple[RiskPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class ThresholdCell:
    """What a confidence threshold does to the questions served: those below it are not answered.

    Args:
        arm: whose answers.
        wanted: share of right answers that it was chosen for (F1 of at least .5), the setting ``generate.precision``.
        expected: that share on validation; less than wanted where no threshold reached it.
        logodds: the threshold.
        coverage: share of these questions that is answered.
        precision: share of right ones among the answers given here; ``None`` where none is given.
    """

    arm: Arm
    wanted: float
    expected: float
    logodds: float
    coverage: Estimate
    precision: Estimate | None


@dataclass(frozen=True, slots=True)
class CostCell:
    """Means of one answer: ``prompt_tokens``, ``completion_tokens``, ``seconds``, ``dollars`` of hosted models; ``answers_per_second``."""

    arm: Arm
    context: Context
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class ClosedBook:
    """How many answerable questions the base answers exactly (exact match 1) without passages, of the ``n`` that it was asked so."""

    exact: int
    n: int


@dataclass(frozen=True, slots=True)
class JudgeCell:
    """What the judge thinks of one arm, retrieved.

    Args:
        arm: which model.
        scores: ``correctness``, ``faithfulness``, ``relevance`` and ``coherence`` in [0, 1]; empty where no answer could be graded.
        asked: answers that were given to the judge.
        failed: answers without a grade, by reason: ``malformed``, ``refused``, ``too long``.
    """

    arm: Arm
    scores: Mapping[str, Estimate]
    asked: int
    failed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class JudgePair:
    """One arm against another, each question asked with the answers in both orders.

    Args:
        arm: which model.
        against: which other.
        won: questions on which both orders prefer ``arm``.
        tied: on which they do not agree, or agree that neither is better; equal answers too, which are not asked.
        lost: on which both prefer ``against``.
        equal: of those tied, the equal answers.
        failed: questions without a preference in one of the orders; in no other figure.
        win_rate: won and half of tied, of all.
        flips: share of the questions asked on which the preference changes with the order.
        first: share of single preferences for the answer that is shown first; 0.5 shows no bias.
    """

    arm: Arm
    against: Arm
    won: int
    tied: int
    lost: int
    equal: int
    failed: int
    win_rate: Estimate | None
    flips: Estimate | None
    first: Estimate | None


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """A judge's grades, and whether to believe them.

    Args:
        model: the judge.
        questions: how many it was given, of the retrieved context.
        cells: by arm.
        pair: tuned against base-fewshot; ``None`` where either was not evaluated.
        agreement: of its correctness with exact metrics on answerable questions: ``spearman_f1``, ``kappa_exact_match``,
            ``kappa_containment``; one that is undefined is absent.
        length: rank correlation of its correctness with an answer's words, among answers alike in F1 (to a tenth) and containment.
        anchors_kept: how many of the orders that are beyond doubt its grades keep.
        anchors: how many there are.
        sound: enough of them to believe it.
        notes: what a reader must know before trusting the grades.
    """

    model: str
    questions: int
    cells: tuple[JudgeCell, ...]
    pair: JudgePair | None
    agreement: Mapping[str, Estimate]
    length: Estimate | None
    anchors_kept: int
    anchors: int
    sound: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The whole evaluation.

    Args:
        decision: on the contrast named beforehand: tuned − base-fewshot, retrieved, F1, all test questions.
        sentence: the decision in plain words.
        named: that contrast; ``None`` where its arms were not both evaluated.
        contrasts: the others, Holm-corrected together.
        grid: arm × context × slice.
        kinds: F1 by the questions' own label, retrieved.
        retrieval: by slice.
        abstention: by arm and context.
        cost: by arm and context.
        models: the model behind each arm.
        questions: test questions counted in the grid.
        answerable: of those, the ones that the documents answer.
        groups: document groups among them.
        test_readings: how often the test split has been read, this time included; 0 where the questions are of the validation split.
        notes: what a reader must know before trusting the figures.
        forgetting: likelihood of general text, by arm with weights of its own; empty where it was not measured.
        closed_book: what the base knows without documents, of which a test proves nothing; ``None`` where it was not asked.
        unasked: questions by the capability without which their documents could not be read; they are in no figure.
        judge: what a judge thinks of the answers; ``None`` where none was asked.
        thresholds: how much is answered, and how much of it is right, where answers must be surer; by arm and precision wanted.
        strata: F1 by what a question is like, retrieved, where questions differ in it.
        robustness: F1 in changed contexts beside that in those served; empty where it was not asked for.
        contamination: questions that may have been known beforehand, and the named contrast without them.
    """

    decision: Decision
    sentence: str
    named: Contrast | None
    contrasts: tuple[Contrast, ...]
    grid: tuple[Cell, ...]
    kinds: tuple[Labelled, ...]
    retrieval: tuple[RetrievalCell, ...]
    abstention: tuple[AbstentionCell, ...]
    cost: tuple[CostCell, ...]
    models: Mapping[Arm, str]
    questions: int
    answerable: int
    groups: int
    test_readings: int
    notes: tuple[str, ...] = field(default=())
    forgetting: tuple[ForgettingCell, ...] = field(default=())
    closed_book: ClosedBook | None = None
    unasked: Mapping[str, int] = field(default_factory=dict)
    judge: JudgeReport | None = None
    strata: tuple[Stratum, ...] = field(default=())
    thresholds: tuple[ThresholdCell, ...] = field(default=())
    robustness: tuple[Changed, ...] = field(default=())
    contamination: Contamination | None = None

    def cell(self, arm: Arm, context: Context, stratum: Slice = "all") -> Cell | None:
        """The cell of the grid, where there is one."""
        for cell in self.grid:
            if (cell.arm, cell.context, cell.stratum) == (arm, context, stratum):
                return cell
        return None

    @property
    def split(self) -> Literal["test", "validation"]:
        """Where the questions come from."""
        return "test" if self.test_readings else "validation"

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Those evaluated, in reading order."""
        return tuple(arm for arm in ARMS if arm in self.models)

    @property
    def contexts(self) -> tuple[Context, ...]:
        """Those evaluated, in the order of the grid."""
        return tuple(dict.fromkeys(cell.context for cell in self.grid))
