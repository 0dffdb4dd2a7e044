"""Cells of an experiment: each is done once, kept with its settings and wall time, and found again after a kill."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from projects import BENCHMARKS, Benchmark

from ragtune import Project, build
from ragtune.config import Settings, load_settings
from ragtune.dataset.raft import evaluation_context
from ragtune.dataset.store import Dataset, read_dataset
from ragtune.engine.cached import CachedEngine
from ragtune.pipeline.answerers import engine_key
from ragtune.pipeline.train import train
from ragtune.prompts import Shot, build_messages, parse_answer
from ragtune.quotes import check_quote
from ragtune.screen import LiveProgress
from ragtune.types import Arm, Context, Example, Prediction
from ragtune.workspace import Manifest, write_json


@dataclass(frozen=True, slots=True)
class Model:
    """A tuned model of the experiment: its adapter, and what training it took."""

    name: str
    adapter: Path
    figures: Mapping[str, Any]


class Experiment:
    """One data set's project, with the cells that were done on it.

    Args:
        name: of :data:`projects.BENCHMARKS`.
        folder: where the project and the cells lie.
        data: folder of the public data.
        overrides: settings beside the data set's own.
    """

    def __init__(self, name: str, folder: Path, data: Path, overrides: Sequence[str] = ()) -> None:
        self.benchmark: Benchmark = BENCHMARKS[name]
        self.folder = folder / name
        self.overrides = ['documents=["documents"]', *self.benchmark.settings, *overrides]
        self.progress = LiveProgress()
        if not (self.folder / "questions" / "questions.jsonl").is_file():
            self.benchmark.write(self.folder, data)
        project = Project(self.folder, overrides=self.overrides, progress=self.progress, create=True)
        project.ingest()
        project.index()
        self.workspace = project.workspace
        self.dataset_name = project.dataset().name
        self.source: Manifest = self.workspace.find("datasets", self.dataset_name)
        self.data: Dataset = read_dataset(self.workspace.artifact("datasets", self.dataset_name))

    def settings(self, *more: str) -> Settings:
        """The project's settings with a cell's own."""
        return load_settings(self.folder, [*self.overrides, *more])

    def cell(self, name: str, key: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """What ``make`` gives, kept as JSON under a name and a hash of the key."""
        key = {**key, "dataset": self.source.key}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:10]
        path = self.folder / "cells" / f"{name}-{digest}.json"
        if not path.is_file():
            started = time.monotonic()
            result = make()
            write_json(path, {"name": name, "key": key, "seconds": round(time.monotonic() - started, 1), "result": result})
        return json.loads(path.read_text(encoding="utf-8"))["result"]

    def train(self, name: str, *settings: str, without_context: bool = False) -> Model:
        """A model, trained with the settings where it is not there yet."""
        made = train(self.workspace, self.settings(*settings), self.dataset_name, name, self.progress, without_context=without_context)
        return Model(made.name, Path(made.folder) / "adapter", made.figures)

    def answer(
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
    ) -> list[Prediction]:
        """Answers to questions in a context, kept answer by answer."""
        settings = self.settings()
        k = int(self.source.settings["retrieve"]["k"])
        shown = [evaluation_context(example, context, k) for example in examples]
        passages = [None if each.passages is None else [self.data.passages[id_] for id_ in each.passages] for each in shown]
        prompts = [build_messages(e.question, own, shots) for e, own in zip(examples, passages, strict=True)]
        engine = CachedEngine(build.engine(settings), self.workspace.generations, engine_key(settings))
        label = label or (model.name if model else arm)
        self.progress.start(f"{label} {context}", len(prompts))
        found: list[Prediction] = []
        quotable = [own or [] for own in passages] if constrained else None
        adapter = model.adapter if model else None
        for at, generation in engine.generate(prompts, quotable=quotable, adapter=adapter, max_new_tokens=96, batch_size=16):
            example, parsed = examples[at], parse_answer(generation.text)
            found.append(
                Prediction(
                    id=example.id, question=example.question, arm=arm, model=label, seed=seed, context=context, group=example.group,
                    stratum=example.stratum, kind=example.kind, raw=generation.text, answer=parsed.answer, references=example.answers,
                    passages=shown[at].passages or (), quotes=tuple(check_quote(quote, passages[at] or ()) for quote in parsed.quotes),
                    abstained=parsed.abstained, answerable_in_context=shown[at].answerable, abstain_logodds=generation.abstain_logodds,
                    prompt_tokens=generation.prompt_tokens, completion_tokens=generation.completion_tokens, seconds=generation.seconds,
                    cost=None,
                )
            )  # fmt: skip
            self.progress.update(f"{label} {context}", len(found))
        return sorted(found, key=lambda prediction: prediction.id)


def as_json(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Predictions as the cells keep them."""
    return [asdict(prediction) for prediction in predictions]
