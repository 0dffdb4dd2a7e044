"""report.json: the same figures as the page, for scripts.

The format is stable; later versions may add fields::

    {"format": "ragtune-report", "version": 1,
     "decision": "better" | "worse" | "undecided", "sentence": str, "notes": [str],
     "questions": int, "answerable": int, "groups": int, "test_readings": int, "models": {arm: model},
     "named": CONTRAST | null, "contrasts": [CONTRAST],
     "grid": [{"arm", "context", "stratum", "questions", "groups", "metrics": {name: FIGURE}}],
     "kinds": [{"label", "arm", "f1": FIGURE}],
     "retrieval": [{"stratum", "metrics": {name: FIGURE}}],
     "abstention": [{"arm", "context", "metrics": {name: FIGURE}, "curve": [{"coverage", "risk"}]}],
     "thresholds": [{"arm", "wanted", "expected", "logodds", "coverage": FIGURE, "precision": FIGURE | null}],
     "cost": [{"arm", "context", "metrics": {name: FIGURE}}],
     "forgetting": [{"arm", "nll": FIGURE, "change": FIGURE | null}],
     "closed_book": {"exact": int, "n": int} | null, "unasked": {capability: int},
     "judge": JUDGE | null,
     "strata": [{"by", "stratum", "questions", "groups", "f1": {arm: FIGURE},
                 "difference": FIGURE | null, "p": float | null, "p_holm": float | null}],
     "robustness": [{"change", "arm", "questions", "groups", "f1": FIGURE, "served": FIGURE, "difference": FIGURE,
                     "p": float | null, "p_holm": float | null}],
     "contamination": {"answerable": int, "near_identical": int, "evidence_trained": int, "closed_book": int, "left_out": int,
                       "value": float | null, "value_against": float | null, "difference": FIGURE | null} | null}

    FIGURE   = {"value": float, "low": float | null, "high": float | null, "n": int}     95 % interval
    CONTRAST = {"arm", "against", "context", "stratum", "metric", "value", "value_against",
                "difference": FIGURE, "groups": int, "p": float | null, "p_holm": float | null,
                "power": {"now": float, "questions": int | null, "groups": int | null} | null}
    JUDGE    = {"model": str, "questions": int, "anchors_kept": int, "anchors": int, "sound": bool, "notes": [str],
                "cells": [{"arm", "scores": {name: FIGURE}, "asked": int, "failed": {reason: int}}],
                "pair": {"arm", "against", "won": int, "tied": int, "lost": int, "equal": int, "failed": int,
                         "win_rate": FIGURE | null, "flips": FIGURE | null, "first": FIGURE | null} | null,
                "agreement": {name: FIGURE}, "length": FIGURE | null}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ragtune.errors import EvaluationError
from ragtune.evaluate.abstention import RiskPoint
from ragtune.evaluate.findings import Changed, Contamination, Power, Stratum
from ragtune.evaluate.forgetting import ForgettingCell
from ragtune.evaluate.report import (
    AbstentionCell,
    Cell,
    ClosedBook,
    Contrast,
    CostCell,
    JudgeCell,
    JudgePair,
    JudgeReport,
    Labelled,
    Report,
    RetrievalCell,
    ThresholdCell,
)
from ragtune.types import JSON, Estimate
from ragtune.workspace import write_bytes

FORMAT = "ragtune-report"
VERSION = 1


def report_to_json(report: Report) -> dict[str, JSON]:
    """The report as JSON values, in the format above."""
    return {"format": FORMAT, "version": VERSION, **asdict(report)}


def report_from_json(data: Mapping[str, Any]) -> Report:
    """The report that ``report_to_json`` wrote.

    Raises:
        EvaluationError: it is not a report, or one of a later version.
    """
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        raise EvaluationError(
            f"not a {FORMAT} of version {VERSION}: found {data.get('format')!r}, version {data.get('version')!r}; "
            "run 'ragtune evaluate' again with this version"
        )
    return Report(
        decision=data["decision"],
        sentence=data["sentence"],
        named=None if data["named"] is None else _contrast(data["named"]),
        contrasts=tuple(map(_contrast, data["contrasts"])),
        grid=tuple(Cell(d["arm"], d["context"], d["stratum"], d["questions"], d["groups"], _figures(d["metrics"])) for d in data["grid"]),
        kinds=tuple(Labelled(d["label"], d["arm"], Estimate(**d["f1"])) for d in data["kinds"]),
        retrieval=tuple(RetrievalCell(d["stratum"], _figures(d["metrics"])) for d in data["retrieval"]),
        abstention=tuple(
            AbstentionCell(d["arm"], d["context"], _figures(d["metrics"]), tuple(RiskPoint(**point) for point in d["curve"]))
            for d in data["abstention"]
        ),
        cost=tuple(CostCell(d["arm"], d["context"], _figures(d["metrics"])) for d in data["cost"]),
        models=data["models"],
        questions=data["questions"],
        answerable=data["answerable"],
        groups=data["groups"],
        test_readings=data["test_readings"],
        notes=tuple(data["notes"]),
        forgetting=tuple(
            ForgettingCell(d["arm"], Estimate(**d["nll"]), None if d["change"] is None else Estimate(**d["change"]))
            for d in data.get("forgetting", ())
        ),
        closed_book=None if data.get("closed_book") is None else ClosedBook(**data["closed_book"]),
        unasked=data.get("unasked", {}),
        judge=None if data.get("judge") is None else _judge(data["judge"]),
        strata=tuple(map(_stratum, data.get("strata", ()))),
        thresholds=tuple(map(_threshold, data.get("thresholds", ()))),
        contamination=None if data.get("contamination") is None else _contamination(data["contamination"]),
        robustness=tuple(
            Changed(**{**d, **{name: Estimate(**d[name]) for name in ("f1", "served", "difference")}}) for d in data.get("robustness", ())
        ),
    )


def _threshold(data: Mapping[str, Any]) -> ThresholdCell:
    precision = None if data["precision"] is None else Estimate(**data["precision"])
    return ThresholdCell(**{**data, "coverage": Estimate(**data["coverage"]), "precision": precision})


def write_report_json(report: Report, path: Path) -> None:
    """Write ``report.json`` whole or not at all."""
    text = json.dumps(report_to_json(report), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def read_report_json(path: Path) -> Report:
    """Read ``report.json``.

    Raises:
        EvaluationError: it is missing or not a report.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"cannot read {path}: {error}") from error
    if not isinstance(data, dict):
        raise EvaluationError(f"{path} is not a {FORMAT}")
    return report_from_json(data)


def _figures(data: Mapping[str, Any]) -> dict[str, Estimate]:
    return {name: Estimate(**figure) for name, figure in data.items()}


def _contrast(data: Mapping[str, Any]) -> Contrast:
    power = data.get("power")
    return Contrast(**{**data, "difference": Estimate(**data["difference"]), "power": None if power is None else Power(**power)})


def _stratum(data: Mapping[str, Any]) -> Stratum:
    return Stratum(**{**data, "f1": _figures(data["f1"]), "difference": _figure(data["difference"])})


def _contamination(data: Mapping[str, Any]) -> Contamination:
    return Contamination(**{**data, "difference": _figure(data["difference"])})


def _judge(data: Mapping[str, Any]) -> JudgeReport:
    pair = data["pair"]
    return JudgeReport(
        model=data["model"],
        questions=data["questions"],
        cells=tuple(JudgeCell(d["arm"], _figures(d["scores"]), d["asked"], d["failed"]) for d in data["cells"]),
        pair=None if pair is None else JudgePair(**{**pair, **{name: _figure(pair[name]) for name in ("win_rate", "flips", "first")}}),
        agreement=_figures(data["agreement"]),
        length=_figure(data["length"]),
        anchors_kept=data["anchors_kept"],
        anchors=data["anchors"],
        sound=data["sound"],
        notes=tuple(data["notes"]),
    )


def _figure(data: Mapping[str, Any] | None) -> Estimate | None:
    return None if data is None else Estimate(**data)
