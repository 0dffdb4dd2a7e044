"""What the project made, over HTTP: datasets, models, and evaluations with their questions and pages."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from ragtune.errors import ProjectError
from ragtune.pipeline.evaluation_page import PAGE, rewrite_page
from ragtune.serve import catalog
from ragtune.serve.api.jobs import reader
from ragtune.serve.api.shared import errors_as_json, plain
from ragtune.serve.errors import documented
from ragtune.serve.jobs.records import NAME
from ragtune.serve.state import State, get_state, require
from ragtune.workspace import Kind, Manifest

router = APIRouter(tags=["catalog"])
Serving = Annotated[State, Depends(get_state)]
Name = Annotated[str, Path(pattern=NAME)]


class DatasetEntry(BaseModel):
    """A dataset, and how many questions each of its splits has."""

    name: str
    created: str
    train: int
    validation: int
    test: int
    figures: dict[str, Any]


class DatasetList(BaseModel):
    """Datasets, the newest first."""

    datasets: list[DatasetEntry]


class ModelEntry(BaseModel):
    """A model; ``unfinished`` while it is trained, or where that was stopped."""

    name: str
    kind: Literal["base", "tuned", "hosted"]
    base: str
    served: bool
    servable: bool
    created: str | None
    seconds: float | None
    figures: dict[str, Any]
    settings: dict[str, Any]
    dataset: str | None
    unfinished: bool


class ModelList(BaseModel):
    """The base, then tuned models, the newest first."""

    models: list[ModelEntry]


class TrainingRows(BaseModel):
    """The steps of a training."""

    rows: list[dict[str, Any]]


class Effect(BaseModel):
    """The difference of F1 that decides, with its 95 % interval."""

    value: float
    low: float | None
    high: float | None


class EvaluationEntry(BaseModel):
    """An evaluation and what it decided."""

    name: str
    created: str
    model: str | None
    split: str | None
    questions: int
    decision: str
    verdict: Literal["better", "worse", "undecided"]
    effect: Effect | None
    test_readings: int | None


class EvaluationList(BaseModel):
    """Evaluations, the newest first."""

    evaluations: list[EvaluationEntry]


class EvaluationBody(BaseModel):
    """An evaluation: its report.json and its manifest."""

    name: str
    report: dict[str, Any]
    manifest: dict[str, Any]


class QuestionList(BaseModel):
    """A page of an evaluation's questions, and the passages that their answers were shown."""

    questions: list[dict[str, Any]]
    total: int
    passages: dict[str, Any]
    kinds: list[str]
    outcomes: dict[str, int]


@router.get("/api/datasets", responses=documented(), dependencies=[Depends(reader)])
def list_datasets(state: Serving) -> DatasetList:
    """Datasets, the newest first."""
    return DatasetList.model_validate({"datasets": plain(catalog.datasets(state.project.workspace))})


@router.get("/api/models", responses=documented(), dependencies=[Depends(require("read"))])
def list_models(state: Serving) -> ModelList:
    """The base and what was tuned of it."""
    return ModelList.model_validate(
        {"models": plain(catalog.models(state.project.workspace, state.project.settings, state.answering.models.default))}
    )


@router.get("/api/models/{name}/metrics", responses=documented(404), dependencies=[Depends(require("read"))])
def show_training(name: Name, state: Serving) -> TrainingRows:
    """The steps of a model's training; of one that is being trained those that are done."""
    try:
        return TrainingRows(rows=plain(catalog.training(state.project.workspace, name)))
    except ProjectError as error:
        raise HTTPException(404, str(error)) from None


@router.get("/api/evaluations", responses=documented(), dependencies=[Depends(reader)])
def list_evaluations(state: Serving) -> EvaluationList:
    """Evaluations, the newest first."""
    return EvaluationList.model_validate({"evaluations": plain(catalog.evaluations(state.project.workspace))})


@router.get("/api/evaluations/{name}", responses=documented(404), dependencies=[Depends(reader)])
def show_evaluation(name: Name, state: Serving) -> EvaluationBody:
    """The figures of an evaluation; docs/report.md has their format."""
    manifest = _find(state, "evaluations", name)
    try:
        report = json.loads((state.project.workspace.artifact("evaluations", name) / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HTTPException(409, f"the report of {name} cannot be read ({error}): run 'ragtune evaluate' again") from None
    return EvaluationBody(name=name, report=report, manifest=plain(manifest))


@router.get("/api/evaluations/{name}/questions", responses=documented(404), dependencies=[Depends(reader)])
def list_questions(
    name: Name,
    state: Serving,
    context: Annotated[str | None, Query(description="Answers in this context alone, as retrieved.")] = None,
    arm: Annotated[str | None, Query(description="Answers of this arm alone, as tuned.")] = None,
    kind: Annotated[str | None, Query(description="Questions of this kind.")] = None,
    outcome: Annotated[str | None, Query(description="As the list counts them: won, lost, both right, both wrong.")] = None,
    query: Annotated[str, Query(max_length=500, description="What question, references or answers hold.")] = "",
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> QuestionList:
    """Questions with their answers, those first of which most changed in that context. ``outcomes`` counts those that fit otherwise."""
    _find(state, "evaluations", name)
    found = catalog.asked(state.project.workspace, name, context)
    fitting = catalog.chosen(found, context=context, arm=arm, kind=kind, query=query)
    outcomes: dict[str, int] = {}
    for each in fitting:
        outcomes[each["outcome"] or "not compared"] = outcomes.get(each["outcome"] or "not compared", 0) + 1
    fitting = [each for each in fitting if outcome in (None, each["outcome"])]
    page = [catalog.narrowed(each, context, arm) for each in fitting[offset : offset + limit]]
    return QuestionList(
        questions=plain(page),
        total=len(fitting),
        passages=plain(catalog.shown(found, page)),
        kinds=sorted({str(each["kind"]) for each in found.questions if each["kind"]}),
        outcomes=outcomes,
    )


@router.get(
    "/api/evaluations/{name}/report.html", response_class=HTMLResponse, responses=errors_as_json(404), dependencies=[Depends(reader)]
)
def show_page(name: Name, state: Serving) -> HTMLResponse:
    """The report as one page that needs no network. It has scripts of its own, and is held to run nothing else."""
    manifest = _find(state, "evaluations", name)
    page = state.project.workspace.artifact("evaluations", name) / PAGE
    text = (page if page.is_file() else rewrite_page(state.project.workspace, manifest)).read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; sandbox allow-scripts"
    return HTMLResponse(text, headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"})


def _find(state: State, kind: Kind, name: str) -> Manifest:
    try:
        return state.project.workspace.find(kind, name)
    except ProjectError as error:
        raise HTTPException(404, str(error)) from None
