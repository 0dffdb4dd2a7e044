"""A picture of RAFT's order: the F1 of every arm on every data set, in the context that decides, with 95 % intervals.

Run:     .venv/bin/python benchmarks/quality/picture.py benchmarks/quality/results/ordering-squadshifts-raft-dsf.json [more of them]
Results: benchmarks/quality/results/ordering.svg, in the order in which the files are named
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from projects import BENCHMARKS

from ragtune.page.charts import Axis, axis
from ragtune.workspace import write_bytes

HERE = Path(__file__).parent
ARMS = {
    "raft": ("RAFT", "#0b6e5f"),
    "dsf": ("tuned without context", "#8a5a00"),
    "dsf-tokens": ("the same, for as many tokens as RAFT", "#b08a4a"),
    "base-fewshot": ("base with two examples", "#4b4f56"),
    "closed-book": ("base, closed-book", "#9a9ea6"),
}
NAMES = {
    "squadshifts": "SQuADShifts new_wiki",
    "huggingface": "APIBench, Hugging Face",
    "torchhub": "APIBench, TorchHub",
    "pubmedqa": "PubMedQA",
    "hotpotqa": "HotpotQA",
}
WIDTH, LEFT, RIGHT, ROW = 760, 250, 120, 22


def draw(found: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """The rows of each data set, one below the other, on one axis.

    Args:
        found: of each, its name and what ``ordering.py`` wrote.
    """
    decisive = [
        (name, context, results["contexts"][context], results["settings"]["seeds"])
        for name, results in found
        for context in BENCHMARKS[name].contexts[:1]
    ]
    across = axis(0.0, max(row["high"] or row["value"] for _, _, own, _ in decisive for row in own["f1"].values()))
    parts: list[str] = []
    y = ROW
    for name, context, own, seeds in decisive:
        y += ROW
        parts.append(f'<text x="16" y="{y}" font-weight="bold">{escape(NAMES[name])}</text>')
        about = f"{context}, {own['questions']} questions, {seeds} seed{'s' * (seeds > 1)}"
        parts.append(f'<text x="{LEFT}" y="{y}" fill="#555">{about}</text>')
        for arm, (label, colour) in ARMS.items():
            if arm in own["f1"]:
                y += ROW
                parts.append(_row(own["f1"][arm], label, colour, across, y))
        y += ROW // 2
    lines = []
    for tick in across.ticks:
        at = _x(tick, across)
        lines.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{ROW}" y2="{y}" stroke="#e4e4e4"/>')
        lines.append(f'<text x="{at:.1f}" y="{y + 16}" text-anchor="middle" fill="#555">{tick:g}</text>')
    title = "F1 on test questions, with 95 % intervals"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 28}" font-family="sans-serif" font-size="13">'
        f'<title>{title}</title><rect width="100%" height="100%" fill="white"/>{"".join(lines)}{"".join(parts)}</svg>\n'
    )


def _row(figure: Mapping[str, Any], label: str, colour: str, across: Axis, y: int) -> str:
    value, low, high = figure["value"], figure["low"], figure["high"]
    bar, words = "", f"{value:.2f}"
    if low is not None and high is not None:
        bar = (
            f'<line x1="{_x(low, across):.1f}" x2="{_x(high, across):.1f}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2.5"/>'
        )
        words += f" [{low:.2f}, {high:.2f}]"
    return (
        f'<text x="16" y="{y}">{escape(label)}</text>{bar}<circle cx="{_x(value, across):.1f}" cy="{y - 4}" r="4.5" fill="{colour}"/>'
        f'<text x="{WIDTH - 8}" y="{y}" text-anchor="end">{words}</text>'
    )


def _x(value: float, across: Axis) -> float:
    return LEFT + across.place(value) / 100 * (WIDTH - LEFT - RIGHT)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="what ordering.py wrote: ordering-NAME….json")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "ordering.svg")
    options = parser.parse_args()
    found = [(path.stem.split("-")[1], json.loads(path.read_text(encoding="utf-8"))) for path in options.results]
    if len({name for name, _ in found}) < len(found):
        parser.error("a data set is named twice: name one result of each")
    write_bytes(options.output, draw(found).encode())
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
