"""Cells of an experiment, models and answers: each is made once, kept in the data set's project, and found again after a kill.

What a cell came to is kept in ``results/cells`` beside this file too, so that an experiment can be made in pieces on several machines.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from projects import BENCHMARKS, Benchmark

from ragtune import Project, build
from ragtune.config import Settings, load_settings
from ragtune.dataset.raft import evaluation_context
from ragtune.dataset.store import Dataset, read_dataset
from ragtune.dtype import best_dtype
from ragtune.engine.cached import CachedEngine
from ragtune.pipeline.answerers import engine_key
from ragtune.pipeline.cells import Cell, make_prediction
from ragtune.pipeline.train import train
from ragtune.prompts import PROMPT_VERSION, Shot, build_messages
from ragtune.screen import LiveProgress
from ragtune.types import Arm, Context, Example, Generation, Prediction
from ragtune.workspace import Manifest, write_json

KEPT = Path(__file__).parent / "results" / "cells"


@dataclass(frozen=True, slots=True)
class Model:
    """A tuned model of the experiment: its adapter, and what training it took."""

    name: str
    adapter: Path
    figures: Mapping[str, Any]


class Experiment:
    """One data set's project, with the cells that were done on it; ``machines`` are those that made what was asked for.

    Args:
        name: of :data:`projects.BENCHMARKS`.
        folder: where the project and the cells lie.
        data: folder of the public data.
        overrides: settings beside the data set's own.
        dataset: name of the one that another process has made and asks for cells of; ``None`` makes it where it is not there yet.
        cells: where what they came to is kept.
    """

    def __init__(
        self, name: str, folder: Path, data: Path, overrides: Sequence[str] = (), dataset: str | None = None, cells: Path = KEPT
    ) -> None:
        self.cells = cells
        self.benchmark_name = name
        self.benchmark: Benchmark = BENCHMARKS[name]
        self.folder = folder / name
        self.overrides = ['documents=["documents"]', *self.benchmark.settings, *overrides]
        self.progress = LiveProgress()
        self.machines: set[str] = set()
        if dataset is None and not (self.folder / "questions" / "questions.jsonl").is_file():
            self.benchmark.write(self.folder, data)
        project = Project(self.folder, overrides=self.overrides, progress=self.progress, create=True)
        if dataset is None:
            project.ingest()
            project.index()
            dataset = project.dataset().name
        self.workspace = project.workspace
        self.dataset_name = dataset
        self.source: Manifest = self.workspace.find("datasets", self.dataset_name)
        self.data: Dataset = read_dataset(self.workspace.artifact("datasets", self.dataset_name))

    def settings(self, *more: str) -> Settings:
        """The project's settings with a cell's own."""
        return load_settings(self.folder, [*self.overrides, *more])

    def kept(self, label: str, made_of: Sequence[str], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a cell came to, from its file where that is of the same dataset, prompt and settings; else made now, and written there.

        How many questions are answered at once is no setting of it: it changes what is rounded and how long it takes, and nothing else.
        """
        path = self.cells / self.benchmark_name / f"{label.replace(' ', '-')}.json"
        chosen = [each for each in (*self.overrides, *made_of) if not each.startswith("generate.batch_size=")]
        key = {"dataset": self.dataset_name, "prompt": PROMPT_VERSION, "settings": chosen}
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if {name: found.get(name) for name in key} != key:
            found = {**key, "machine": machine(), **make()}
            write_json(path, found)
        self.machines.add(found.get("machine", "unknown"))
        return found

    def train(self, name: str, *settings: str, without_context: bool = False) -> Model:
        """A model, trained with the settings where it is not there yet."""
        made = train(self.workspace, self.settings(*settings), self.dataset_name, name, self.progress, without_context=without_context)
        return Model(made.name, self.workspace.weights(made.name), made.figures)

    def answers(
        self,
        arm: Arm,
        context: Context,
        examples: Sequence[Example],
        *,
        model: Model | None = None,
        seed: int = 0,
        shots: Sequence[Shot] = (),
        constrained: bool = True,
        label: str = "",
    ) -> list[tuple[Prediction, Generation]]:
        """Answers to questions in a context, by question id; those that were given before are found again."""
        settings = self.settings()
        shown = [evaluation_context(example, context, int(self.source.settings["retrieve"]["k"])) for example in examples]
        passages = [None if each.passages is None else [self.data.passages[id_] for id_ in each.passages] for each in shown]
        prompts = [build_messages(e.question, own, shots, e.history) for e, own in zip(examples, passages, strict=True)]
        cell = Cell(
            arm, context, tuple(examples), tuple(prompts), tuple(e.passages or () for e in shown), tuple(e.answerable for e in shown)
        )
        engine = CachedEngine(build.engine(settings), self.workspace.generations, engine_key(settings))
        label = label or (model.name if model else arm)
        self.progress.start(f"{label} {context}", len(prompts))
        written = engine.generate(
            prompts,
            quotable=[own or [] for own in passages] if constrained else None,
            adapter=model.adapter if model else None,
            max_new_tokens=settings.generate.max_new_tokens,
            batch_size=settings.generate.batch_size,
        )
        found: list[tuple[Prediction, Generation]] = []
        for at, generation in written:
            found.append((make_prediction(cell, at, generation, label, seed, self.data.passages), generation))
            self.progress.update(f"{label} {context}", len(found))
        return sorted(found, key=lambda pair: pair[0].id)

    def answer(self, arm: Arm, context: Context, examples: Sequence[Example], **options: Any) -> list[Prediction]:
        """The same without the generations."""
        return [prediction for prediction, _ in self.answers(arm, context, examples, **options)]


def machine() -> str:
    """What computes, and with which PyTorch: other kernels round otherwise."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {best_dtype(torch.device('cpu'))}".replace("torch.", "")
    return f"{device}, PyTorch {torch.__version__}"
