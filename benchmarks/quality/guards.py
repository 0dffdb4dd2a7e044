"""What tuning must not cost, and what it should learn: abstention, quotes that are real, and general text as likely as before.

Run:     RAGTUNE_DATA=/path/to/data .venv/bin/python benchmarks/quality/guards.py squadshifts --rate 1e-3
Results: benchmarks/quality/results/guards-NAME.json, printed as a table

Abstention: each test question as served with its evidence, and with passages of which none could answer. The few-shot base and the tuned
model are calibrated alike, on the validation split; AUROC of their own doubt and of the calibrated confidence, and risk against coverage
beside the policies that need no model. Forgetting: negative log-likelihood of ragtune's general answers and of Wikipedia paragraphs
(HotpotQA's, none of them of the data set), with rehearsal and without, against the base. Quotes: the same questions answered with quotes
held to the passages, and freely. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cells import Experiment, Model
from projects import BENCHMARKS

from ragtune import build
from ragtune.confidence import Confidence, answer_signals
from ragtune.evaluate.abstention import abstention_metrics, risk_coverage
from ragtune.evaluate.calibration import fit_confidence
from ragtune.evaluate.decide import question_f1
from ragtune.evaluate.forgetting import GENERAL, forgetting
from ragtune.evaluate.intervals import bootstrap, paired_difference
from ragtune.evaluate.quoting import quote_metrics
from ragtune.pipeline.cells import choose_shots, sample_questions
from ragtune.types import Arm, Context, Estimate, Example, Generation, Message, Prediction
from ragtune.workspace import library_versions, write_json

HERE = Path(__file__).parent
CONTEXTS: tuple[Context, ...] = ("oracle+distractors", "distractors")
PARAGRAPHS = 100
COVERAGES = (0.2, 0.4, 0.6, 0.8, 1.0)


def abstention(experiment: Experiment, arm: Arm, model: Model | None, tested: Sequence[Example]) -> dict[str, Any]:
    """Figures of one arm on test questions, its confidence learned on validation."""
    learned = _learn(experiment, arm, model)
    answers = [
        replace(prediction, confidence=learned.logodds(_signals(experiment, prediction, generation)))
        for prediction, generation in _asked(experiment, arm, model, [e for e in tested if e.oracles])
    ]
    metrics = abstention_metrics(answers)
    own = [replace(answer, confidence=None) for answer in answers]
    return {
        "weights": dict(zip(("coverage", "abstain_logodds", "mean_logprob"), learned.weights, strict=True)),
        "metrics": {name: _figure(value) for name, value in metrics.items()},
        "risk_at_coverage": {
            "its own doubt": _at(risk_coverage(own)),
            "calibrated": _at(risk_coverage(answers)),
        },
    }


def _learn(experiment: Experiment, arm: Arm, model: Model | None) -> Confidence:
    asked = _asked(experiment, arm, model, [e for e in experiment.data.validation if e.oracles])
    signals = [_signals(experiment, prediction, generation) for prediction, generation in asked]
    learned = fit_confidence(signals, [prediction.answerable_in_context for prediction, _ in asked])
    assert learned is not None
    return learned


def _asked(experiment: Experiment, arm: Arm, model: Model | None, examples: Sequence[Example]) -> list[tuple[Prediction, Generation]]:
    shots = choose_shots(experiment.data, 0) if arm == "base-fewshot" else ()
    return [pair for context in CONTEXTS for pair in experiment.answers(arm, context, examples, model=model, shots=shots)]


def _signals(experiment: Experiment, prediction: Prediction, generation: Generation) -> tuple[float, ...]:
    found = answer_signals(prediction.question, [experiment.data.passages[id_] for id_ in prediction.passages], generation)
    assert found is not None
    return found


def _at(curve: Sequence[Any]) -> dict[str, float]:
    """The risk of the largest coverage up to each of some shares."""
    return {f"{share:.0%}": round([p.risk for p in curve if p.coverage <= share + 1e-9][-1], 4) for share in COVERAGES}


def quoting(experiment: Experiment, model: Model, tested: Sequence[Example]) -> dict[str, Any]:
    """Quotes held to the passages against free ones: how many are real, how many overlap the evidence, and the answers' F1."""
    asked = [example for example in tested if example.answers]
    evidence = {example.id: example.evidence for example in asked}
    found: dict[str, Any] = {}
    scores: dict[str, dict[str, float]] = {}
    groups: dict[str, str] = {}
    for way in ("held", "free"):
        answers = experiment.answer("tuned", "retrieved", asked, model=model, constrained=way == "held", label=f"quotes {way}")
        scores[way] = question_f1(answers)
        groups = {answer.id: answer.group for answer in answers}
        rows = [(answer, quote_metrics(answer, evidence[answer.id])) for answer in answers]
        for name in ("quotes", "quotes_valid", "quotes_gold"):
            own = [(answer.group, *metrics[name]) for answer, metrics in rows if name in metrics]
            places, values, weights = zip(*own, strict=True)
            found.setdefault(way, {})[name] = _figure(bootstrap(values, places, weights))
        found[way]["f1"] = _figure(bootstrap(list(scores[way].values()), [groups[id_] for id_ in scores[way]]))
        found[way]["seconds"] = round(sum(answer.seconds for answer in answers), 1)
    ids = sorted(groups)
    difference = paired_difference([scores["held"][i] for i in ids], [scores["free"][i] for i in ids], [groups[i] for i in ids])
    return {**found, "f1_held_less_free": {**_figure(difference.estimate), "p": difference.p}}


def general_text(data: Path) -> list[tuple[list[Message], str]]:
    """Paragraphs of Wikipedia as answers to who or what they are about."""
    lines = (data / "hotpotqa_500" / "test.json").read_text(encoding="utf-8").splitlines()
    first = [contexts[0] for line in lines if (contexts := json.loads(line)["context"])][:PARAGRAPHS]
    return [([Message("user", f"Tell me about {title}.")], "".join(sentences).strip()[:600]) for title, sentences in first]


def forgotten(experiment: Experiment, models: dict[str, Model], data: Path) -> dict[str, Any]:
    """Relative rise of the negative log-likelihood against the base, by text and model; the interval draws texts."""
    engine = build.engine(experiment.settings())
    texts = {"general answers": [([Message("user", question)], answer) for question, answer in GENERAL], "wikipedia": general_text(data)}
    found: dict[str, Any] = {}
    for name, pairs in texts.items():
        base = engine.nll(pairs)
        for label, model in models.items():
            _, cell = forgetting({"base": base, "tuned": engine.nll(pairs, adapter=model.adapter)})
            before = sum(value for value, _ in base) / sum(tokens for _, tokens in base)
            assert cell.change is not None
            figure = {key: None if value is None else round(value / before, 5) for key, value in
                      (("value", cell.change.value), ("low", cell.change.low), ("high", cell.change.high))}  # fmt: skip
            found.setdefault(label, {})[name] = {"base_nats": round(before, 4), "rise": figure, "texts": len(pairs)}
    return found


def _figure(estimate: Estimate) -> dict[str, float | int | None]:
    low, high = (None if bound is None else round(bound, 4) for bound in (estimate.low, estimate.high))
    return {"value": round(estimate.value, 4), "low": low, "high": high, "n": estimate.n}


def print_tables(results: dict[str, Any]) -> None:
    """What was found, for people."""
    for arm, found in results["abstention"].items():
        print(f"\n{arm}: " + ", ".join(f"{name} {figure['value']:.3f}" for name, figure in found["metrics"].items()))
        for name, curve in found["risk_at_coverage"].items():
            print(f"  risk, {name}: " + ", ".join(f"{share} {risk:.3f}" for share, risk in curve.items()))
    for way in ("held", "free"):
        print(f"quotes {way}: " + ", ".join(f"{k} {v['value']:.3f}" for k, v in results["quoting"][way].items() if k != "seconds"))
    print(f"F1, held less free: {results['quoting']['f1_held_less_free']}")
    for model, texts in results["forgetting"].items():
        for name, found in texts.items():
            rise = found["rise"]
            print(f"{model}, {name}: {rise['value']:+.2%} [{rise['low']:+.2%}, {rise['high']:+.2%}] of {found['base_nats']} nats a token")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--folder", type=Path, default=Path("build/quality"))
    parser.add_argument("--answers", type=int, default=600)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--questions", type=int, help="test questions, a seeded sample; default: all")
    parser.add_argument("--without-rehearsal", action="store_true", help="train a model without rehearsal too, for comparison")
    options = parser.parse_args()
    data = os.environ.get("RAGTUNE_DATA")
    if not data:
        print("skipped: set RAGTUNE_DATA to the folder that holds the public data sets")
        return 0
    experiment = Experiment(options.name, options.folder, Path(data))
    settings = (f"train.max_answers={options.answers}", "train.epochs=1", f"train.learning_rate={options.rate}", "train.seed=0")
    models = {"tuned": experiment.train(f"raft-{options.rate:g}-0", *settings)}
    if options.without_rehearsal:
        models["tuned without rehearsal"] = experiment.train(f"plain-{options.rate:g}-0", *settings, "train.rehearsal=0.0")
    tested = sample_questions(experiment.data.test, options.questions, 0)
    results = {
        "settings": {"answers": options.answers, "rate": options.rate, "questions": len(tested), "overrides": experiment.overrides},
        "versions": library_versions(),
        "abstention": {
            "base-fewshot": abstention(experiment, "base-fewshot", None, tested),
            "tuned": abstention(experiment, "tuned", models["tuned"], tested),
        },
        "quoting": quoting(experiment, models["tuned"], tested),
        "forgetting": forgotten(experiment, models, Path(data)),
    }
    write_json(HERE / "results" / f"guards-{options.name}.json", results)
    print_tables(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
