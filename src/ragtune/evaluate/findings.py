"""Records of what a report holds beside its grid: strata, power, changed contexts, contamination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ragtune.types import Arm, Estimate

Factor = Literal["kind", "source", "hops", "oracle_place", "question_words", "answer_words", "context_words"]


@dataclass(frozen=True, slots=True)
class Stratum:
    """One stratum of the answerable questions, retrieved.

    Args:
        by: what the questions are parted by.
        stratum: which part.
        questions: in it, that all of the arms answered.
        groups: document groups that they come from.
        f1: by arm.
        difference: tuned − base-fewshot, paired; ``None`` where either was not evaluated.
        p: of the difference.
        p_holm: corrected for all strata together.
    """

    by: Factor
    stratum: str
    questions: int
    groups: int
    f1: Mapping[Arm, Estimate]
    difference: Estimate | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True, slots=True)
class Power:
    """What an undecided comparison lacks, at the difference and spread that were observed.

    Args:
        now: chance that as many questions again, of such documents, would decide it at the 5 % level.
        questions: with which that chance is 80 %, the observed ones included; ``None`` where more than a million groups would be needed.
        groups: document groups that they come from, of the size observed.
    """

    now: float
    questions: int | None
    groups: int | None


@dataclass(frozen=True, slots=True)
class Contamination:
    """What may have been known beforehand, and the contrast that decides without those questions.

    Args:
        answerable: questions, of which those below.
        near_identical: a training question has nearly the same words.
        evidence_trained: half of the evidence or more stands in training completions.
        closed_book: the base answers exactly without passages; of those that it was asked so.
        left_out: questions of any of these.
        value: F1 of the tuned model on the others, retrieved; ``None`` where there is no such contrast.
        value_against: of base-fewshot.
        difference: paired.
    """

    answerable: int
    near_identical: int
    evidence_trained: int
    closed_book: int
    left_out: int
    value: float | None = None
    value_against: float | None = None
    difference: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """One arm on a sample of questions whose served context was changed.

    Args:
        change: what was changed; see docs/evaluation.md.
        arm: which model.
        questions: answerable ones that were asked both ways.
        groups: document groups that they come from.
        f1: in the changed context.
        served: in the context as served, of the same questions.
        difference: changed − served, paired.
        p: of the difference.
        p_holm: corrected for all changes and arms together.
    """

    change: str
    arm: Arm
    questions: int
    groups: int
    f1: Estimate
    served: Estimate
    difference: Estimate
    p: float | None
    p_holm: float | None = None
