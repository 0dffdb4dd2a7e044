"""Ask every arm the held-out questions in every context, score the answers, and write the report."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ragtune import build
from ragtune.config import Settings, TrainSettings
from ragtune.conversation import search_text
from ragtune.dataset.draws import draw
from ragtune.dataset.raft import evaluation_context
from ragtune.dataset.store import Dataset, read_dataset
from ragtune.errors import EvaluationError, ProjectError
from ragtune.evaluate.forgetting import GENERAL, ForgettingCell, forgetting
from ragtune.evaluate.html import PageMeta, render_html
from ragtune.evaluate.report import Report
from ragtune.evaluate.report_json import read_report_json, write_report_json
from ragtune.evaluate.score import score
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.answerers import answerers, device
from ragtune.pipeline.consent import Bill, Confirm, agree_to, estimate, prompt_tokens
from ragtune.pipeline.forecast import ANSWER_TOKENS
from ragtune.pipeline.judge import Judged, check_judge, judge, judge_bill, judge_key
from ragtune.pipeline.records import EvaluationResult
from ragtune.pipeline.train import find_tuned, train
from ragtune.pipeline.train_hosted import hosted_key
from ragtune.progress import Progress
from ragtune.prompts import PROMPT_VERSION, Shot, build_messages, parse_answer
from ragtune.quotes import check_quote
from ragtune.types import JSON, Arm, Context, Example, Generation, Message, Passage, Prediction, Usage
from ragtune.workspace import (
    Manifest,
    Workspace,
    hash_file,
    library_versions,
    now,
    read_manifest,
    stage_key,
    write_bytes,
    write_json,
    write_manifest,
)

VERSION = 1
SHOTS = 2
CONTROLS: tuple[Context, ...] = ("closed-book", "oracle")


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm in one context: which examples, with which prompts and passages."""

    arm: Arm
    context: Context
    examples: tuple[Example, ...]
    prompts: tuple[list[Message], ...]
    passages: tuple[tuple[str, ...], ...]
    answerable: tuple[bool, ...]


def evaluate(
    workspace: Workspace,
    settings: Settings,
    model: str | None,
    name: str | None,
    split: str,
    progress: Progress,
    *,
    yes: bool = False,
    confirm: Confirm | None = None,
) -> EvaluationResult:
    """Evaluate, go on with an interrupted evaluation, or give what equal inputs made.

    Args:
        workspace: with a tuned model.
        settings: evaluate and generate are read; the dataset's own settings decide what is shown.
        model: the tuned model's name; ``None`` takes the newest that was tuned with context.
        name: of the evaluation; ``None`` makes one from the key.
        split: ``test``, of which each reading is counted, or ``validation``.
        progress: told what goes on.
        yes: spend what hosted models and a judge cost, up to ``chat.max_cost``.
        confirm: asked before money is spent, where ``yes`` was not said.

    Raises:
        EvaluationError: the split is empty or unknown, or there is no hosted model for an arm.
        ConsentError: it costs money and nobody agreed to it.
    """
    started = time.monotonic()
    if split not in ("test", "validation"):
        raise EvaluationError(f"there is no split {split!r} to evaluate on: use test or validation")
    tuned = find_tuned(workspace, model)
    settings = build.with_base_of(settings, tuned.settings["model"])
    source = workspace.find("datasets", str(tuned.inputs["dataset"]))
    folder = workspace.artifact("datasets", source.name)
    models: dict[Arm, Manifest] = {"tuned": tuned}
    if "dsf" in settings.evaluate.arms:
        # The control differs in its passages alone: it learns as much, as fast and from the same questions.
        alike = settings.model_copy(update={"train": TrainSettings(**tuned.settings["train"])})
        models["dsf"] = _control(workspace, alike, source, progress)
    key, read, inputs = _key(settings, source, folder, models, split)
    found = workspace.find_key("evaluations", key)
    if found is not None and name in (None, found.name):
        progress.note(f"evaluate: unchanged, {found.name} is as these inputs make it")
        return load_evaluation(workspace, found.name, made=False)
    name = name or f"{split}-{key[:8]}"
    output = workspace.artifact("evaluations", name)
    if read_manifest(output) is not None:
        raise ProjectError(f"an evaluation named {name} exists and was made from other inputs: choose another --name")
    data = read_dataset(folder)
    examples = _sample(data.test if split == "test" else data.validation, settings.evaluate.max_questions, settings.evaluate.seed)
    check_judge(workspace, settings)
    if not examples:
        raise EvaluationError(f"the {split} split of {source.name} is empty: add questions, or change dataset.{split}_share")
    k = int(source.settings["retrieve"]["k"])
    cells = plan_cells(data, examples, settings, k)
    agree_to(list(_bills(workspace, settings, cells, models, data.passages)), settings, yes=yes, confirm=confirm, progress=progress)
    readings = count_reading(workspace, examples, key) if split == "test" else 0
    predictions = _predict(workspace, settings, cells, models, progress, data.passages)
    retrieved = {
        example.id: [data.passages[candidate.passage].spans for candidate in example.candidates] for example in examples if example.evidence
    }
    report = score(predictions, examples, retrieved, cuts=sorted({1, 3, 5, k, 10}), test_readings=readings, seed=settings.evaluate.seed)
    report = replace(
        report,
        notes=(*report.notes, *_notes(settings, source, data, examples, split)),
        unasked=_unasked(source),
        forgetting=_forgetting(workspace, settings, models),
    )
    judged = judge(workspace, settings, predictions, data.passages, progress)
    if judged is not None:
        report = replace(report, judge=judged.report)
    seconds = time.monotonic() - started
    manifest = Manifest(
        "evaluations", name, key, inputs, read, _figures(report), now(), round(seconds, 3), library_versions(), device(settings)
    )
    _write(output, manifest, report, predictions, data, examples, workspace, tuned, judged)
    progress.finish("evaluate", f"{len(predictions)} answers by {len(report.arms)} arms, {seconds:.0f} s: {name}")
    return EvaluationResult(name, str(output), True, report)


def _control(workspace: Workspace, settings: Settings, source: Manifest, progress: Progress) -> Manifest:
    """The ``dsf`` control: trained here where it is not yet; of a hosted base only found, for its job is paid and to be asked about."""
    if not is_hosted(settings.model.base):
        return workspace.find("models", train(workspace, settings, source.name, None, progress, without_context=True).name)
    found = workspace.find_key("models", hosted_key(workspace, settings, source, without_context=True)[0])
    if found is None:
        raise EvaluationError(
            f"the arm dsf needs a tuning job of its own, which costs money and is not started here: run 'ragtune train --without-context "
            f"--dataset {source.name}' with the settings of the tuned model, or take dsf out of evaluate.arms"
        )
    return found


def load_evaluation(workspace: Workspace, name: str | None, *, made: bool = False) -> EvaluationResult:
    """A finished evaluation."""
    manifest = workspace.find("evaluations", name)
    folder = workspace.artifact("evaluations", manifest.name)
    return EvaluationResult(manifest.name, str(folder), made, read_report_json(folder / "report.json"))


def plan_cells(data: Dataset, examples: Sequence[Example], settings: Settings, k: int) -> list[Cell]:
    """Every arm × context with its prompts; the arms of a context are shown the same passages."""
    shots = choose_shots(data, settings.evaluate.seed)
    cells = []
    for context in settings.evaluate.contexts:
        chosen = _sample(examples, settings.evaluate.control_questions, settings.evaluate.seed) if context in CONTROLS else list(examples)
        if context == "oracle":
            chosen = [example for example in chosen if example.oracles]
        if not chosen:
            continue
        shown = [evaluation_context(example, context, k) for example in chosen]
        for arm in settings.evaluate.arms:
            own_shots = shots if arm == "base-fewshot" else ()
            cells.append(
                Cell(
                    arm,
                    context,
                    tuple(chosen),
                    tuple(
                        build_messages(
                            example.question,
                            None if each.passages is None else [data.passages[id_] for id_ in each.passages],
                            own_shots,
                            example.history,
                        )
                        for example, each in zip(chosen, shown, strict=True)
                    ),
                    tuple(each.passages or () for each in shown),
                    tuple(each.answerable for each in shown),
                )
            )
    return cells


def choose_shots(data: Dataset, seed: int) -> tuple[Shot, ...]:
    """Two worked examples from training, each with the passage that answers and one distractor before it."""
    answered = [example for example in data.train if len(example.oracles) == 1 and not example.history]
    chosen = sorted(answered, key=lambda example: draw("shot", seed, example.id))[:SHOTS]
    shots = []
    for example in chosen:
        distractor = [each.passage for each in example.candidates if each.allowed and not (each.oracle or each.holds_answer)][:1]
        shots.append(Shot(example.question, tuple(data.passages[id_] for id_ in (*distractor, *example.oracles)), example.completion))
    return tuple(shots)


def _bills(
    workspace: Workspace, settings: Settings, cells: Sequence[Cell], models: Mapping[Arm, Manifest], passages: Mapping[str, Passage]
) -> Iterator[Bill]:
    """What the evaluation will ask of hosted models, answers and grades."""
    if is_hosted(settings.model.base):
        asked: dict[str, dict[tuple[Message, ...], None]] = {}
        for cell in cells:
            name = str(models[cell.arm].settings.get("hosted")) if cell.arm in models else settings.model.base
            asked.setdefault(name, {}).update(dict.fromkeys(tuple(prompt) for prompt in cell.prompts))
        for name, prompts in asked.items():
            usage = Usage(prompt_tokens(prompts), ANSWER_TOKENS * len(prompts))
            yield estimate(workspace, settings, name, f"answers {len(prompts)} prompts", len(prompts), usage)
    written = (
        # Answers of the usual length, of which no two are equal.
        _prediction(
            cell,
            index,
            Generation(f"{example.completion} {cell.arm}", 0, 0, 0.0, finished=True),
            cell.arm,
            settings.evaluate.seed,
            passages,
        )
        for cell in cells
        for index, example in enumerate(cell.examples)
        if cell.context == "retrieved"
    )
    bill = judge_bill(workspace, settings, list(written), passages)
    if bill is not None:
        yield bill


def _predict(
    workspace: Workspace,
    settings: Settings,
    cells: Sequence[Cell],
    models: Mapping[Arm, Manifest],
    progress: Progress,
    passages: Mapping[str, Passage],
) -> list[Prediction]:
    who = answerers(workspace, settings, models)
    arms: dict[Arm, list[Cell]] = {}
    for cell in cells:
        arms.setdefault(cell.arm, []).append(cell)
    total = sum(len(cell.examples) for cell in cells)
    progress.start("evaluate", total)
    done = 0
    predictions: list[Prediction] = []
    for arm, own in arms.items():
        # One call for all contexts of an arm: where retrieval found the evidence, two contexts share a prompt, which is answered once.
        places = [(cell, index) for cell in own for index in range(len(cell.examples))]
        prompts = [cell.prompts[index] for cell, index in places]
        quotable = [[passages[id_] for id_ in cell.passages[index]] for cell, index in places]
        for place, generation in who[arm].generate(prompts, quotable):
            cell, index = places[place]
            predictions.append(_prediction(cell, index, generation, who[arm].label, settings.evaluate.seed, passages))
            done += 1
            progress.update("evaluate", done, arm)
    order = {(cell.arm, cell.context): number for number, cell in enumerate(cells)}
    return sorted(predictions, key=lambda each: (order[each.arm, each.context], each.id))


def _forgetting(workspace: Workspace, settings: Settings, models: Mapping[Arm, Manifest]) -> tuple[ForgettingCell, ...]:
    """How likely general answers are to the base and to each model made of it; servers do not tell."""
    if is_hosted(settings.model.base):
        return ()
    pairs = [([Message("user", question)], answer) for question, answer in GENERAL]
    engine = build.engine(settings)
    adapters: dict[Arm, Path | None] = {"base": None}
    adapters |= {arm: workspace.artifact("models", manifest.name) / "adapter" for arm, manifest in models.items()}
    return forgetting({arm: engine.nll(pairs, adapter=adapter) for arm, adapter in adapters.items()}, seed=settings.evaluate.seed)


def _prediction(cell: Cell, index: int, generation: Generation, label: str, seed: int, passages: Mapping[str, Passage]) -> Prediction:
    example = cell.examples[index]
    parsed = parse_answer(generation.text)
    shown = [passages[id_] for id_ in cell.passages[index]]
    return Prediction(
        id=example.id,
        question=example.question,
        arm=cell.arm,
        model=label,
        seed=seed,
        context=cell.context,
        group=example.group,
        stratum=example.stratum,
        kind=example.kind,
        raw=generation.text,
        answer=parsed.answer,
        references=example.answers,
        passages=cell.passages[index],
        quotes=tuple(check_quote(quote, shown) for quote in parsed.quotes),
        abstained=parsed.abstained,
        answerable_in_context=cell.answerable[index],
        abstain_logodds=generation.abstain_logodds,
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=generation.completion_tokens,
        seconds=generation.seconds,
        cost=generation.cost,
    )


def _write(
    output: Path,
    manifest: Manifest,
    report: Report,
    predictions: Sequence[Prediction],
    data: Dataset,
    examples: Sequence[Example],
    workspace: Workspace,
    tuned: Manifest,
    judged: Judged | None,
) -> None:
    if judged is not None:
        write_bytes(output / "grades.jsonl", judged.lines().encode())
    write_bytes(output / "predictions.jsonl", "".join(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in predictions).encode())
    used = sorted({id_ for prediction in predictions for id_ in prediction.passages})
    write_bytes(
        output / "passages.jsonl", "".join(json.dumps(asdict(data.passages[id_]), ensure_ascii=False) + "\n" for id_ in used).encode()
    )
    write_report_json(report, output / "report.json")
    page = render_html(
        report,
        predictions,
        {id_: data.passages[id_] for id_ in used},
        examples,
        _meta(workspace, manifest, tuned),
        gradings=judged.gradings if judged is not None else (),
    )
    write_bytes(output / "report.html", page.encode())
    write_manifest(output, manifest)


def _key(
    settings: Settings, source: Manifest, folder: Path, models: Mapping[Arm, Manifest], split: str
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    read = {
        "evaluate": settings.evaluate.model_dump(mode="json"),
        "generate": settings.generate.model_dump(mode="json"),
        "model": build.model_part(settings),
        "prompt": PROMPT_VERSION,
        "k": source.settings["retrieve"]["k"],
        "split": split,
        **judge_key(settings),
        **({"thinking": settings.chat.thinking} if is_hosted(settings.model.base) else {}),
    }
    inputs = {
        "dataset": source.name,
        "questions": hash_file(folder / f"{split}.jsonl"),
        "train": hash_file(folder / "train.jsonl"),
        "passages": hash_file(folder / "passages.jsonl"),
        "models": {arm: manifest.key for arm, manifest in models.items()},
        "model_names": {arm: manifest.name for arm, manifest in models.items()},
        "corpus": source.inputs["corpus"],
    }
    return stage_key("evaluate", VERSION, read, inputs), read, inputs


def _sample(examples: Sequence[Example], limit: int | None, seed: int) -> list[Example]:
    if limit is None or limit >= len(examples):
        return list(examples)
    kept = {example.id for example in sorted(examples, key=lambda example: draw("evaluate", seed, example.id))[:limit]}
    return [example for example in examples if example.id in kept]


def count_reading(workspace: Workspace, examples: Sequence[Example], key: str) -> int:
    """How often these test questions have been read, this evaluation included; going on with an interrupted one is no new reading.

    What counts is the question and its answers, not the dataset: other passages, settings or splits do not make a read question unread. Of
    several questions the one that was read most often counts.
    """
    path = workspace.folder / "test_readings.json"
    readings: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if key not in readings:
        readings[key] = sorted(
            hashlib.sha256(json.dumps([search_text(each.question, each.history), *each.answers]).encode()).hexdigest()[:16]
            for each in examples
        )
        write_json(path, readings)
    upto = list(readings)[: list(readings).index(key) + 1]
    times = Counter(question for earlier in upto for question in set(readings[earlier]))
    return max(times[question] for question in readings[key])


def _notes(settings: Settings, source: Manifest, data: Dataset, examples: Sequence[Example], split: str) -> Iterator[str]:
    full = data.test if split == "test" else data.validation
    if split != "test":
        yield "These are validation questions, on which choices are made: the figures flatter what was chosen. Only a test split is proof."
    if len(examples) < len(full):
        yield f"A sample of {len(examples)} of the {len(full)} {split} questions was asked (evaluate.max_questions)."
    for author, count in source.figures.get("synthesised", {}).get(split, {}).items():
        whose = f"The {split} questions were" if count == len(full) else f"{count} of the {len(full)} {split} questions were"
        yield f"{whose} written by {author} from the documents: they say less than questions that people ask."
    for capability, count in _unasked(source).items():
        yield f"{count} questions were not asked, because their documents need {capability} to be read."
    if source.figures.get("stale"):
        yield (
            f"{source.figures['stale']} questions were left out, because their evidence was not found in the documents: "
            "the dataset's manifest lists them."
        )
    controls = [context for context in CONTROLS if context in settings.evaluate.contexts]
    if controls and len(examples) > settings.evaluate.control_questions:
        context = "is a control" if len(controls) == 1 else "are controls"
        yield f"{' and '.join(controls)} {context}, asked on a sample of {settings.evaluate.control_questions} questions."


def _unasked(source: Manifest) -> dict[str, int]:
    """Questions of a dataset that never became examples, as their documents are not read, by the capability that it would take."""
    return dict(Counter(source.figures.get("unread", {}).values()))


def _figures(report: Report) -> dict[str, Any]:
    named = report.named
    return {
        "decision": report.decision,
        "sentence": report.sentence,
        "questions": report.questions,
        "test_readings": report.test_readings,
        "named": asdict(named) if named else None,
        "closed_book": asdict(report.closed_book) if report.closed_book else None,
    }


def _meta(workspace: Workspace, manifest: Manifest, tuned: Manifest) -> PageMeta:
    """What the page says about where its figures come from."""
    training: list[tuple[float, float]] = []
    validation: list[tuple[float, float]] = []
    metrics = workspace.artifact("models", tuned.name) / "metrics.jsonl"
    for line in metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else ():
        values = json.loads(line)
        if "loss" in values:
            training.append((values["step"], values["loss"]))
        if values.get("validation_loss") is not None:
            validation.append((values["step"], values["validation_loss"]))
    lineage: dict[str, Mapping[str, JSON]] = {
        "Evaluation": {"name": manifest.name, "key": manifest.key, "device": manifest.device, **_words(manifest.inputs)},
        "Tuned model": {"name": tuned.name, "key": tuned.key, "device": tuned.device, **_words(tuned.inputs), **_words(tuned.figures)},
        "Training settings": _words(tuned.settings["train"]),
        "Evaluation settings": {
            **_words(manifest.settings["evaluate"]),
            **_words(manifest.settings["generate"]),
            "k": manifest.settings["k"],
        },
        "Versions": _words(manifest.versions),
    }
    return PageMeta(manifest.name, manifest.created[:16].replace("T", " ") + " UTC", lineage, training, validation)


def _words(values: Mapping[str, Any]) -> dict[str, JSON]:
    return {name: value if value is None or isinstance(value, int | float | str) else json.dumps(value) for name, value in values.items()}
