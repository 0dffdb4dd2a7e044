"""The two training backends beside each other: does Keras on TensorFlow learn what PyTorch learns, in what time and memory?

    python benchmarks/backends.py
    python benchmarks/backends.py --answers 40 --epochs 1 --test-questions 20    # a short look

The example's documents and questions are trained on with the settings of ``make demo``, by PyTorch with two seeds and by Keras with the
first of them, each in a process of its own; then PyTorch's and Keras' models of the first seed are evaluated. Everything is in float32, so
that only the libraries differ. What is done is not done again: a killed benchmark goes on. Writes ``results/backends.json`` and, as a
picture of the validation losses, ``results/backends.svg``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import replace
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from ragtune import Project, build
from ragtune.evaluate.report_json import report_to_json
from ragtune.page.charts import axis
from ragtune.screen import LiveProgress
from ragtune.workspace import library_versions, write_bytes, write_json

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
ARMS = {"torch": ("torch", 0), "torch, another seed": ("torch", 1), "keras": ("keras", 0)}
COLOURS = ("#4269d0", "#9db4ea", "#ff725c")
DASHES = ("", "", ' stroke-dasharray="6 6"')  # two curves that are the same are both seen
WIDTH, HEIGHT, EDGE = 640, 320, 44


def settings_of(options: argparse.Namespace) -> list[str]:
    """Those of ``make demo``, and what was asked for."""
    sources = (f"{name}={json.dumps([str(EXAMPLES / name)])}" for name in ("documents", "questions"))
    epochs = [f"train.epochs={options.epochs}"] if options.epochs else []
    return [
        *sources, f"train.max_answers={options.answers}", f"evaluate.max_questions={options.test_questions}",
        f"evaluate.control_questions={min(30, options.test_questions)}", "model.dtype=float32", *epochs, *options.set,
    ]  # fmt: skip


def name_of(arm: str, options: argparse.Namespace) -> str:
    """The name of an arm's model."""
    backend, seed = ARMS[arm]
    return f"{backend}-{seed}-{options.answers}"


def train(arm: str, options: argparse.Namespace) -> None:
    """In a process of its own: train an arm's model, with the validation loss measured more often than three times."""
    made = build.trainer

    def trainer(settings: Any) -> Any:
        found: Any = made(settings)
        found.course = replace(found.course, validations=options.validations)
        return found

    build.trainer = trainer
    backend, seed = ARMS[arm]
    own = [*settings_of(options), f"train.backend={backend}", f"train.seed={seed}"]
    Project(options.folder, overrides=own, progress=LiveProgress()).train(name=name_of(arm, options))


def read_arm(project: Project, arm: str, options: argparse.Namespace) -> dict[str, Any]:
    """What an arm's run wrote."""
    name = name_of(arm, options)
    manifest = project.workspace.find("models", name)
    text = (project.workspace.artifact("models", name) / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    spent = [after["seconds"] - before["seconds"] for before, after in pairwise(lines) if "validation_loss" not in after]
    return {
        "backend": manifest.figures["backend"],
        "seed": ARMS[arm][1],
        "device": manifest.device,
        "dtype": manifest.figures["dtype"],
        "validation": [[line["step"], line["validation_loss"]] for line in lines if "validation_loss" in line],
        "train_loss": manifest.figures["train_loss"],
        "steps": len(lines),
        "seconds": round(manifest.figures["seconds"], 1),
        "seconds_per_step": round(statistics.median(spent), 3),
        "answers_per_second": round(manifest.figures["answers_per_second"], 3),
        "peak_memory": manifest.figures["peak_memory"],
        "predicted_memory": manifest.figures["predicted_memory"],
    }


def draw(curves: dict[str, list[list[float]]]) -> str:
    """Curves of (step, loss) as an SVG."""
    points = [point for curve in curves.values() for point in curve]
    across, up = axis(0, max(step for step, _ in points)), axis(min(loss for _, loss in points), max(loss for _, loss in points))

    def x(step: float) -> float:
        return EDGE + across.place(step) / 100 * (WIDTH - 2 * EDGE)

    def y(loss: float) -> float:
        return HEIGHT - EDGE - up.place(loss) / 100 * (HEIGHT - 2 * EDGE)

    parts = [f'<text x="{x(tick):.1f}" y="{HEIGHT - EDGE + 18}" text-anchor="middle">{tick:g}</text>' for tick in across.ticks]
    for tick in up.ticks:
        parts.append(f'<line x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{EDGE - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for number, ((arm, curve), colour, dash) in enumerate(zip(curves.items(), COLOURS, DASHES, strict=True)):
        line = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in curve)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="{WIDTH - EDGE}" y="{EDGE + 16 * number}" text-anchor="end" fill="{colour}">{escape(arm)}</text>')
    title = "validation loss by step"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
        f'<title>{title}</title><rect width="100%" height="100%" fill="white"/><text x="{EDGE}" y="20">{title}</text>'
        f"{''.join(parts)}</svg>\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/backends"))
    parser.add_argument("--output", type=Path, default=HERE / "results" / "backends.json")
    parser.add_argument("--answers", type=int, default=200, help="training questions")
    parser.add_argument("--epochs", type=int, help="times that each is trained on; default: as the settings have it")
    parser.add_argument("--validations", type=int, default=12, help="points of a curve")
    parser.add_argument("--test-questions", type=int, default=90)
    parser.add_argument("--set", action="append", default=[], help="a setting, as in ragtune --set")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        train(options.arm, options)
        return 0
    project = Project(options.folder, overrides=settings_of(options), progress=LiveProgress(), create=True)
    project.ingest()
    project.index()
    project.dataset()
    for arm in ARMS:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--arm", arm], check=True)
    arms = {arm: read_arm(project, arm, options) for arm in ARMS}
    final = {arm: made["validation"][-1][1] for arm, made in arms.items()}
    evaluations = {arm: report_to_json(project.evaluate(model=name_of(arm, options)).report) for arm in ("torch", "keras")}
    found = {
        "settings": settings_of(options)[2:],
        "validations": options.validations,
        "versions": library_versions(),
        "arms": arms,
        "final_validation_loss": final,
        "keras_less_torch": final["keras"] - final["torch"],
        "seeds_of_torch_apart": final["torch, another seed"] - final["torch"],
        "evaluations": evaluations,
    }
    write_json(options.output, found)
    write_bytes(options.output.with_suffix(".svg"), draw({arm: made["validation"] for arm, made in arms.items()}).encode())
    for arm, made in arms.items():
        peak = (made["peak_memory"] or 0) / 1e9
        print(f"{arm}: validation loss {final[arm]:.4f}, {made['seconds_per_step']:.2f} s a step, {peak:.2f} GB at the peak")
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
