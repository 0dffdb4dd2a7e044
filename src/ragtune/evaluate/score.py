"""Predictions to a report: every figure that is shown anywhere is computed here, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ragtune.evaluate.abstention import abstention_metrics, risk_coverage
from ragtune.evaluate.answers import answer_metrics, loops
from ragtune.evaluate.decide import decide, named_contrast, other_contrasts, reading_notes
from ragtune.evaluate.intervals import bootstrap
from ragtune.evaluate.quoting import quote_metrics
from ragtune.evaluate.report import (
    ARMS,
    SLICES,
    AbstentionCell,
    Cell,
    ClosedBook,
    CostCell,
    Labelled,
    Report,
    RetrievalCell,
)
from ragtune.evaluate.retrieval import Ranking, retrieval_metrics
from ragtune.evaluate.strata import strata
from ragtune.types import CONTEXTS, Arm, Context, Estimate, Evidence, Example, Passage, Prediction

Observation = tuple[str, str, float, float]
"""Question id, document group, value, weight."""
CUTS = (1, 3, 5, 10)


def score(
    predictions: Sequence[Prediction],
    examples: Sequence[Example],
    retrieved: Mapping[str, Ranking],
    passages: Mapping[str, Passage] | None = None,
    *,
    cuts: Sequence[int] = CUTS,
    test_readings: int = 1,
    seed: int = 0,
) -> Report:
    """The report of an evaluation.

    Answers of several seeds to one question stay in its document group, so intervals cover both, and ``n`` counts questions.

    Args:
        predictions: of all arms and contexts, in any order.
        examples: the test split, for evidence, strata and groups.
        retrieved: by question id, the hits best first, each as its spans; as many as the largest cut.
        passages: that were shown, by id; without them nothing is parted by what was shown.
        cuts: the k of recall@k.
        test_readings: how often the test split has been read, this time included.
        seed: of the resampling.
    """
    evidence = {example.id: example.evidence for example in examples}
    cells = _by_cell(predictions)
    counted = {p.id: p for cell in cells.values() for p in cell}
    named = named_contrast(cells, seed=seed)
    decision, sentence = decide(named, tuned=any(arm == "tuned" for arm, _ in cells))
    groups = len({p.group for p in counted.values()})
    return Report(
        decision=decision,
        sentence=sentence,
        named=named,
        contrasts=other_contrasts(cells, seed=seed),
        grid=tuple(_grid(cells, evidence, seed)),
        kinds=tuple(_kinds(cells, seed)),
        retrieval=tuple(_retrieval(examples, retrieved, cuts, seed)),
        abstention=tuple(_abstention(cells, seed)),
        cost=tuple(CostCell(arm, context, _cost(cell, seed)) for (arm, context), cell in cells.items()),
        models={p.arm: p.model for p in predictions},
        questions=len(counted),
        answerable=sum(bool(p.references) for p in counted.values()),
        groups=groups,
        test_readings=test_readings,
        notes=tuple(reading_notes(groups, test_readings, named)),
        closed_book=_closed_book(cells),
        strata=strata(cells, examples, passages or {}, seed=seed),
    )


def _by_cell(predictions: Iterable[Prediction]) -> dict[tuple[Arm, Context], list[Prediction]]:
    found: dict[tuple[Arm, Context], list[Prediction]] = {}
    for prediction in sorted(predictions, key=lambda p: (p.id, p.seed)):
        found.setdefault((prediction.arm, prediction.context), []).append(prediction)
    return {(arm, context): found[arm, context] for context in CONTEXTS for arm in ARMS if (arm, context) in found}


def _grid(
    cells: Mapping[tuple[Arm, Context], Sequence[Prediction]], evidence: Mapping[str, tuple[Evidence, ...]], seed: int
) -> Iterable[Cell]:
    for stratum in SLICES:
        for (arm, context), cell in cells.items():
            chosen = [p for p in cell if stratum in ("all", p.stratum)]
            if not chosen or context == "distractors":  # where every answer is wrong: see the figures of abstention
                continue
            observed: dict[str, list[Observation]] = {}
            for p in chosen:
                metrics = {name: (value, 1.0) for name, value in answer_metrics(p).items()} | quote_metrics(p, evidence.get(p.id, ()))
                metrics |= {"cut_off": (float(not p.finished), 1.0), "looping": (float(not p.finished and loops(p.raw)), 1.0)}
                for name, (value, weight) in metrics.items():
                    observed.setdefault(name, []).append((p.id, p.group, value, weight))
            estimates = {name: _estimate(values, seed, share=name != "length_ratio") for name, values in observed.items()}
            yield Cell(arm, context, stratum, len({p.id for p in chosen}), len({p.group for p in chosen}), estimates)


def _abstention(cells: Mapping[tuple[Arm, Context], Sequence[Prediction]], seed: int) -> Iterable[AbstentionCell]:
    """With distractors alone, beside the answers to the same questions where the evidence was shown: half should be abstained from."""
    for (arm, context), cell in cells.items():
        asked = list(cell)
        if context == "distractors":
            ids = {p.id for p in cell}
            asked += [p for p in cells.get((arm, "retrieved"), ()) if p.id in ids and p.answerable_in_context]
        if context != "closed-book":
            yield AbstentionCell(arm, context, abstention_metrics(asked, seed=seed), risk_coverage(asked))


def _closed_book(cells: Mapping[tuple[Arm, Context], Sequence[Prediction]]) -> ClosedBook | None:
    """Of several seeds' answers to a question, one that is exact will do."""
    asked = [p for p in cells.get(("base", "closed-book"), ()) if p.references]
    exact = {p.id for p in asked if answer_metrics(p)["exact_match"] == 1}
    return ClosedBook(len(exact), len({p.id for p in asked})) if asked else None


def _kinds(cells: Mapping[tuple[Arm, Context], Sequence[Prediction]], seed: int) -> Iterable[Labelled]:
    retrieved = {arm: cell for (arm, context), cell in cells.items() if context == "retrieved"}
    for name in sorted({p.kind for cell in retrieved.values() for p in cell if p.kind is not None}):
        for arm, cell in retrieved.items():
            observed = [(p.id, p.group, answer_metrics(p)["f1"], 1.0) for p in cell if p.references and p.kind == name]
            if observed:
                yield Labelled(name, arm, _estimate(observed, seed))


def _retrieval(examples: Sequence[Example], retrieved: Mapping[str, Ranking], cuts: Sequence[int], seed: int) -> Iterable[RetrievalCell]:
    deepest = max(map(len, retrieved.values()), default=0)
    cuts = [k for k in cuts if k <= deepest] or [deepest]
    for stratum in SLICES:
        observed: dict[str, list[Observation]] = {}
        for example in examples:
            if example.evidence and example.id in retrieved and stratum in ("all", example.stratum):
                for name, value in retrieval_metrics(example.evidence, retrieved[example.id], cuts).items():
                    observed.setdefault(name, []).append((example.id, example.group, value, 1.0))
        if observed:
            yield RetrievalCell(stratum, {name: _estimate(values, seed) for name, values in observed.items()})


def _cost(cell: Sequence[Prediction], seed: int) -> dict[str, Estimate]:
    costs = {
        "prompt_tokens": [(p.id, p.group, float(p.prompt_tokens), 1.0) for p in cell],
        "completion_tokens": [(p.id, p.group, float(p.completion_tokens), 1.0) for p in cell],
        "seconds": [(p.id, p.group, p.seconds, 1.0) for p in cell],
        # Answers over the seconds that they took: a mean of rates, weighted by time.
        "answers_per_second": [(p.id, p.group, 1 / p.seconds, p.seconds) for p in cell if p.seconds > 0],
        "dollars": [(p.id, p.group, p.cost, 1.0) for p in cell if p.cost is not None],
    }
    return {name: _estimate(observed, seed, share=False) for name, observed in costs.items() if observed}


def _estimate(observed: Sequence[Observation], seed: int, *, share: bool = True) -> Estimate:
    ids, groups, values, weights = zip(*observed, strict=True)
    return bootstrap(values, groups, weights, n=len(set(ids)), share=share, seed=seed)
