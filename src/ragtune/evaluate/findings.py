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
