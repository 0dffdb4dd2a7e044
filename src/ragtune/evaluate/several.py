"""Several evaluations against the first of them, on the questions that all of them asked.

A question is the same where its id, its text and its references are. Differences are paired by question, resample the groups of
documents that the first evaluation knows, and their p-values are corrected for their number (Holm).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ragtune.errors import EvaluationError
from ragtune.evaluate.advice import main_arm
from ragtune.evaluate.decide import FEW_GROUPS, question_f1
from ragtune.evaluate.intervals import holm, paired_difference
from ragtune.evaluate.page_training import Step
from ragtune.evaluate.report import Report
from ragtune.evaluate.score import score
from ragtune.progress import listed
from ragtune.types import CONTEXTS, JSON, Context, Estimate, Evidence, Example, Passage, Prediction

LEVEL = 0.05
FORMAT, VERSION = "ragtune-comparison", 1
Key = tuple[str, str, tuple[str, ...]]
_RESULTS = ("quotes", "quotes_valid", "quotes_gold", "cites_gold", "exact_match", "containment")


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A finished evaluation.

    Args:
        name: of it.
        report: its figures.
        predictions: its answers.
        passages: those shown, by id.
        examples: its questions, for the gold evidence; none where their dataset is gone.
        settings: what it, its model and its dataset were made with: name → value.
        training: what training its model wrote down.
    """

    name: str
    report: Report
    predictions: Sequence[Prediction]
    passages: Mapping[str, Passage]
    examples: Sequence[Example]
    settings: Mapping[str, JSON] = field(default_factory=dict)
    training: Sequence[Step] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """One evaluation on the common questions.

    Args:
        name: of the evaluation.
        model: behind its arm.
        arm: that is compared.
        asked: questions that it asked in the context that is compared.
        f1: by context.
        metrics: in the context that is compared: quotes, abstention (``abstention_…``), tokens, seconds.
        difference: of F1, less the first evaluation's; ``None`` for the first itself.
        p: of it, corrected; ``None`` with too few groups.
    """

    name: str
    model: str
    arm: str
    asked: int
    f1: Mapping[Context, Estimate]
    metrics: Mapping[str, Estimate]
    difference: Estimate | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Several:
    """What the comparison found.

    Args:
        sentence: in plain words.
        context: in which the models are compared.
        common: questions that all asked in it.
        answerable: of those.
        groups: of documents among the answerable ones.
        results: by evaluation, in the order given.
        settings: those that differ: name → a value for each evaluation, ``None`` where it has none.
        notes: what a reader must know before trusting the figures.
    """

    sentence: str
    context: Context
    common: int
    answerable: int
    groups: int
    results: tuple[Result, ...]
    settings: Mapping[str, Sequence[JSON]]
    notes: tuple[str, ...]
    format: str = FORMAT
    version: int = VERSION


def compare_evaluations(evaluated: Sequence[Evaluated], *, seed: int = 0) -> Several:
    """Compare two or more.

    Raises:
        EvaluationError: they have no context or no question in common.
    """
    shared = common_questions(evaluated)
    context, common = next(iter(shared.items()))
    groups = {key: p.group for key, p in _cell(evaluated[0], context).items()}
    results = [_result(each, shared, context, seed) for each in evaluated]
    scores = [_f1(each, context, common) for each in evaluated]
    keys = sorted(scores[0])
    for number in range(1, len(results)) if keys else ():
        a, b = ([each[key] for key in keys] for each in (scores[number], scores[0]))
        found = paired_difference(a, b, [groups[key] for key in keys], seed=seed)
        results[number] = replace(results[number], difference=found.estimate, p=found.p)
    corrected = iter(holm([each.p for each in results if each.p is not None]))
    results = [each if each.p is None else replace(each, p=next(corrected)) for each in results]
    tested = len({groups[key] for key in keys})
    return Several(
        sentence=_sentence(results),
        context=context,
        common=len(common),
        answerable=len(keys),
        groups=tested,
        results=tuple(results),
        settings=_differing(evaluated),
        notes=tuple(_notes(evaluated, results, common, tested)),
    )


def common_questions(evaluated: Sequence[Evaluated]) -> dict[Context, frozenset[Key]]:
    """The questions that all asked, by context; first the context that the models are compared in, the retrieved one where all have it.

    Raises:
        EvaluationError: there is none.
    """
    names = ", ".join(each.name for each in evaluated)
    cells = {context: [frozenset(_cell(each, context)) for each in evaluated] for context in reversed(CONTEXTS)}
    there = {context: asked for context, asked in cells.items() if all(asked)}
    if not there:
        raise EvaluationError(f"{names} have no context in common: evaluate them with the same evaluate.contexts")
    found = {context: frozenset.intersection(*asked) for context, asked in there.items()}
    if not found[next(iter(found))]:
        raise EvaluationError(
            f"no question was asked in all of {names}: compare evaluations of one dataset, or of one file of test questions"
        )
    return {context: common for context, common in found.items() if common}


def verdict(result: Result) -> str:
    """``better``, ``worse`` or ``undecided`` than the first evaluation, by the corrected p-value."""
    if result.difference is None or result.p is None or result.p >= LEVEL or result.difference.value == 0:
        return "undecided"
    return "better" if result.difference.value > 0 else "worse"


def answers_of(evaluated: Evaluated, context: Context, common: frozenset[Key]) -> dict[str, Prediction]:
    """The answers of the model that an evaluation is about, to the common questions, by id."""
    return {key[0]: p for key, p in _cell(evaluated, context).items() if key in common}


def evidence_of(evaluated: Sequence[Evaluated]) -> dict[str, Sequence[Evidence]]:
    """Gold evidence by question, from the first evaluation that knows it."""
    return {example.id: example.evidence for each in reversed(evaluated) for example in each.examples if example.evidence}


def _cell(evaluated: Evaluated, context: Context) -> dict[Key, Prediction]:
    found: dict[Key, Prediction] = {}
    arm = main_arm(evaluated.report)
    for p in sorted(evaluated.predictions, key=lambda p: p.seed):
        if (p.arm, p.context) == (arm, context):
            found.setdefault(_key(p), p)
    return found


def _key(p: Prediction) -> Key:
    return p.id, p.question, p.references


def _f1(evaluated: Evaluated, context: Context, common: frozenset[Key]) -> dict[Key, float]:
    """Of each answerable common question, averaged over seeds."""
    arm = main_arm(evaluated.report)
    chosen = [p for p in evaluated.predictions if (p.arm, p.context) == (arm, context) and _key(p) in common]
    means = question_f1(chosen)
    return {_key(p): means[p.id] for p in chosen if p.id in means}


def _result(evaluated: Evaluated, shared: Mapping[Context, frozenset[Key]], context: Context, seed: int) -> Result:
    arm = main_arm(evaluated.report)
    chosen = [p for p in evaluated.predictions if p.arm == arm and _key(p) in shared.get(p.context, ())]
    report = score(chosen, evaluated.examples, {}, seed=seed)
    cells = {cell.context: cell.metrics for cell in report.grid if cell.stratum == "all"}
    metrics = {name: cells[context][name] for name in _RESULTS if name in cells[context]}
    for abstained in report.abstention:
        if abstained.context == context:
            metrics |= {
                f"abstention_{name}": abstained.metrics[name] for name in ("abstained", "accuracy", "auroc") if name in abstained.metrics
            }
    metrics |= next(cell.metrics for cell in report.cost if cell.context == context)
    f1 = {name: metric["f1"] for name, metric in cells.items() if "f1" in metric}
    return Result(evaluated.name, report.models[arm], arm, len(_cell(evaluated, context)), f1, metrics)


def _sentence(results: Sequence[Result]) -> str:
    """Who is better and worse than the first, all that is undecided last."""
    first = results[0].name
    words = {"better": f"better than {first}", "worse": f"worse than {first}"}
    told = []
    for kind, than in words.items():
        names = [each.name for each in results[1:] if verdict(each) == kind]
        if names:
            told.append(f"{listed(names)} answer{'' if len(names) > 1 else 's'} {than}")
    open_ = [each.name for each in results[1:] if verdict(each) == "undecided"]
    if open_:
        told.append(
            f"{'whether ' if told else 'it is undecided whether '}{listed(open_)} and {first} differ{' is undecided' if told else ''}"
        )
    text = "; ".join(told)
    return text[:1].upper() + text[1:] if text.startswith("it is") else text


def _differing(evaluated: Sequence[Evaluated]) -> dict[str, Sequence[JSON]]:
    names = dict.fromkeys(name for each in evaluated for name in each.settings)
    rows = {name: [each.settings.get(name) for each in evaluated] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def _notes(evaluated: Sequence[Evaluated], results: Sequence[Result], common: frozenset[Key], groups: int) -> Iterator[str]:
    if any(result.asked != len(common) for result in results):
        counts = listed([f"{result.name} {result.asked}" for result in results])
        yield f"The evaluations did not ask the same questions: asked were {counts}. Only the {len(common)} that all asked are compared."
    splits = {each.report.split for each in evaluated}
    if len(splits) > 1:
        yield f"Some asked test and some validation questions: {listed([f'{e.name} {e.report.split}' for e in evaluated])}."
    if "test" in splits:
        yield "Whoever chooses among these models by test questions flatters the choice: choose on validation, confirm on new questions."
    if groups < FEW_GROUPS:
        yield f"The answerable questions come from only {groups} groups of documents; below {FEW_GROUPS}, intervals are unreliable."
    alike = [each.name for each in evaluated[1:] if _same(evaluated[0], each)]
    if alike:
        yield f"{listed(alike)} answered every question as {evaluated[0].name} did."


def _same(a: Evaluated, b: Evaluated) -> bool:
    """Whether two wrote the same answers, as one model under two names does."""
    context = next(iter(common_questions([a, b])))
    left, right = _cell(a, context), _cell(b, context)
    return all((left[key].raw, left[key].withheld) == (right[key].raw, right[key].withheld) for key in left.keys() & right.keys())
