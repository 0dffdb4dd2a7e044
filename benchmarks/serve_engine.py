"""Does answering many at once cost anything beside the bare engine? Goodput and time to first token of the two, on the same prompts.

    python benchmarks/serve_engine.py --project /path/to/project                     # streams 1, 8 and 32; a few minutes on two free cores
    python benchmarks/serve_engine.py --project /path/to/project --streams 8 --prompts 16 --rounds 3

The prompts are the test questions of the project's newest dataset with the passages that they are served with, answered by its newest tuned
model or the base. So many clients each stream one answer after another from a ``ContinuousEngine``; the bare engine is
``HuggingFaceEngine.generate`` with a batch as wide as there are clients, and with 16 and 32 rows. They take turns on the same prompts.
Goodput is completion tokens of finished answers a second: of the clock, and of the processor, which other work on the machine disturbs
less. Writes ``benchmarks/results/serve_engine.json``, or ``--output``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch

from ragtune import Project
from ragtune.dataset.shared import served_contexts
from ragtune.dataset.store import read_dataset
from ragtune.engine.continuous import ContinuousEngine
from ragtune.engine.huggingface import HuggingFaceEngine
from ragtune.models.pull import resolve
from ragtune.prompts import build_messages
from ragtune.types import Generation, Message, Passage
from ragtune.workspace import library_versions, write_json

RESULTS = Path(__file__).parent / "results" / "serve_engine.json"
Prompt: TypeAlias = tuple[list[Message], tuple[Passage, ...]]


@dataclass
class Measured:
    """What one arm did in all its rounds."""

    tokens: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def add(self, answer: Callable[[], list[tuple[Generation, float]]]) -> None:
        """Time one round."""
        begun, cpu_begun = time.perf_counter(), time.process_time()
        answers = answer()
        self.seconds += time.perf_counter() - begun
        self.cpu_seconds += time.process_time() - cpu_begun
        self.tokens += sum(generation.completion_tokens for generation, _ in answers)
        self.first += [first for _, first in answers]
        self.texts = [generation.text for generation, _ in answers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--project", type=Path, help="with a dataset, and a tuned model if there is one")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--prompts", type=int, help="default: as many as streams, at least 8")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=16, help="of the running batch")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.project is None:
        print("skipped: it has to be given a project: python benchmarks/serve_engine.py --project demo (make demo makes one)")
        return
    project = Project(options.project)
    settings, folder = project.settings, project.workspace.folder
    datasets, models = finished(folder / "datasets"), finished(folder / "models")
    if not datasets:
        raise SystemExit(f"{options.project} has no dataset: run 'ragtune dataset' there")
    prompts = read_prompts(datasets[-1], settings.retrieve.k)
    adapter = models[-1] / "adapter" if models else None
    engine = HuggingFaceEngine(resolve(settings.model.base), dtype=settings.model.dtype)
    limit = settings.generate.max_new_tokens
    list(engine.generate([prompts[0][0]], adapter=adapter, max_new_tokens=2))
    print("| streams | engine | tokens a second | a processor second | first token, median s | beside the bare engine as wide |")
    print("|---|---|---|---|---|---|")
    rows: list[dict[str, Any]] = []
    for streams in options.streams:
        chosen = prompts[: options.prompts or max(streams, 8)]
        rows += bench(engine, adapter, chosen, streams, limit, options.rows, options.rounds)
    hardware = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "dtype": str(engine.dtype)}
    write_json(options.output, {"hardware": hardware, "versions": library_versions(), "rows": rows})


def bench(
    engine: HuggingFaceEngine, adapter: Path | None, prompts: Sequence[Prompt], streams: int, limit: int, rows: int, rounds: int
) -> list[dict[str, Any]]:
    """The rows of the table at one number of streams, printed."""
    continuous = ContinuousEngine(engine, rows=rows, waiting=max(0, streams - rows), timeout=3600)
    widths = sorted({min(streams, rows), 16, 32} if streams > 1 else {1})
    arms = {0: Measured(), **{width: Measured() for width in widths}}
    for turn in range(rounds):
        for width in list(arms) if turn % 2 == 0 else list(arms)[::-1]:
            if width:
                arms[width].add(lambda width=width: alone(engine, adapter, prompts, limit, width))
            else:
                arms[0].add(lambda: together(continuous, adapter, prompts, limit, streams))
    continuous.close()
    bare = arms[min(streams, rows)]
    found = []
    for width, arm in arms.items():
        goodput, by_cpu = arm.tokens / arm.seconds, arm.tokens / arm.cpu_seconds
        ratio, cpu_ratio = goodput / (bare.tokens / bare.seconds), by_cpu / (bare.tokens / bare.cpu_seconds)
        name = f"generate, batch of {width}" if width else f"continuous, {rows} rows"
        first = statistics.median(arm.first)
        print(f"| {streams} | {name} | {goodput:.1f} | {by_cpu:.1f} | {first:.2f} | {ratio:.2f} (processor {cpu_ratio:.2f}) |", flush=True)
        found.append(
            {"streams": streams, "engine": name, "prompts": len(prompts), "rounds": rounds, "tokens": arm.tokens,
             "tokens_per_second": goodput,
             "tokens_per_cpu_second": by_cpu, "first_token_median": first, "ratio": ratio, "cpu_ratio": cpu_ratio,
             "same_texts": sum(a == b for a, b in zip(arm.texts, bare.texts, strict=True))}
        )  # fmt: skip
    return found


def together(
    engine: ContinuousEngine, adapter: Path | None, prompts: Sequence[Prompt], limit: int, streams: int
) -> list[tuple[Generation, float]]:
    """Answers, with the seconds to each one's first piece, of so many clients that each take the next prompt when they are done."""
    left = iter(range(len(prompts)))
    taking = threading.Lock()
    answers: dict[int, tuple[Generation, float]] = {}

    def client() -> None:
        while True:
            with taking:
                index = next(left, None)
            if index is None:
                return
            messages, passages = prompts[index]
            begun, first = time.perf_counter(), 0.0
            for piece in engine.stream(messages, quotable=passages, adapter=adapter, max_new_tokens=limit):
                first = first or time.perf_counter() - begun
                if isinstance(piece, Generation):
                    answers[index] = (piece, first)

    clients = [threading.Thread(target=client) for _ in range(streams)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    return [answers[index] for index in range(len(prompts))]


def alone(
    engine: HuggingFaceEngine, adapter: Path | None, prompts: Sequence[Prompt], limit: int, width: int
) -> list[tuple[Generation, float]]:
    """The same of the bare engine, which shows nothing before a batch is whole."""
    begun = time.perf_counter()
    answers: dict[int, tuple[Generation, float]] = {}
    chats, quotable = [messages for messages, _ in prompts], [passages for _, passages in prompts]
    for index, generation in engine.generate(chats, quotable=quotable, adapter=adapter, max_new_tokens=limit, batch_size=width):
        answers[index] = (generation, time.perf_counter() - begun)
    return [answers[index] for index in range(len(prompts))]


def read_prompts(folder: Path, k: int) -> list[Prompt]:
    """Test questions as they are served."""
    dataset = read_dataset(folder)
    groups = served_contexts(dataset.test, dataset.passages, k=k)
    return [(build_messages(group.branches[0].question, group.passages), group.passages or ()) for group in groups]


def finished(folder: Path) -> list[Path]:
    """Artifacts of one kind, the newest last."""
    return sorted((path.parent for path in folder.glob("*/manifest.json")), key=lambda path: path.stat().st_mtime)


if __name__ == "__main__":
    main()
