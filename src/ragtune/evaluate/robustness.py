"""Does an answer hold where its context is changed? F1 in each changed context, beside that of the context as served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ragtune.evaluate.decide import question_f1
from ragtune.evaluate.findings import Changed
from ragtune.evaluate.intervals import bootstrap, holm, paired_difference
from ragtune.types import Arm, Prediction


def robustness(served: Sequence[Prediction], changed: Mapping[str, Sequence[Prediction]], *, seed: int = 0) -> tuple[Changed, ...]:
    """Every change and arm on the questions that were asked both ways; p-values are corrected for all of them together.

    Args:
        served: answers from the context as served, of all arms.
        changed: by change, answers from the changed contexts.
        seed: of the resampling.
    """
    before = {arm: question_f1(own) for arm, own in _by_arm(served).items()}
    found = []
    for change, predictions in changed.items():
        for arm, own in _by_arm(predictions).items():
            after = question_f1(own)
            ids = sorted(after.keys() & before.get(arm, {}).keys())
            if not ids:
                continue
            group_of = {each.id: each.group for each in own}
            groups = [group_of[id_] for id_ in ids]
            a, b = [after[id_] for id_ in ids], [before[arm][id_] for id_ in ids]
            difference = paired_difference(a, b, groups, seed=seed)
            figures = bootstrap(a, groups, seed=seed), bootstrap(b, groups, seed=seed), difference.estimate
            found.append(Changed(change, arm, len(ids), len(set(groups)), *figures, difference.p))
    tested = [at for at, each in enumerate(found) if each.p is not None]
    corrected = dict(zip(tested, holm([p for each in found if (p := each.p) is not None]), strict=True))
    return tuple(replace(each, p_holm=corrected.get(at)) for at, each in enumerate(found))


def _by_arm(predictions: Iterable[Prediction]) -> dict[Arm, list[Prediction]]:
    found: dict[Arm, list[Prediction]] = {}
    for each in predictions:
        if each.context == "retrieved":
            found.setdefault(each.arm, []).append(each)
    return found
