"""How long do ingest and index take at size, in how much memory, and what does a run cost when nothing or one file changed?

    python benchmarks/ingest_scale.py --files 5000 20000

Writes synthetic Markdown files (a tenth of them nearly the same as another, a twentieth exact copies) and ingests them at each size, each
step in a process of its own: from nothing, again unchanged, and with one file changed. Prints, and writes to
``benchmarks/results/ingest_scale.json``, seconds and the process's peak memory.
``--index`` embeds and indexes as well, with the embedder that is the default.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from ragtune import Project
from ragtune.workspace import library_versions, write_json

RESULTS = Path(__file__).parent / "results" / "ingest_scale.json"
WORDS = [
    a + b + c for a in ("ba", "ke", "li", "mo", "su", "tra") for b in ("n", "r", "st", "ll", "d") for c in ("a", "er", "ing", "o", "um")
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[5000, 20000], help="sizes")
    parser.add_argument("--words", type=int, default=120, help="words in a file")
    parser.add_argument("--index", action="store_true", help="embed and index, too")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "STEP"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(step(Path(options.one[0]), options.one[1])))
        return
    rows = []
    for files in options.files:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(Path(folder), files, options.words, options.index)
        hardware = {"cores": os.cpu_count(), "memory_gb": round(psutil.virtual_memory().total / 1e9), "machine": platform.machine()}
        write_json(options.output, {"versions": library_versions(), "hardware": hardware, "words": options.words, "rows": rows})


def measure(folder: Path, files: int, words: int, index: bool) -> list[dict[str, Any]]:
    """One row for each step, each in a process of its own, so that memory is that step's."""
    write_files(folder / "documents", files, words)
    steps = ["ingest", "ingest"] + (["index", "index"] if index else [])
    names = ["from nothing", "unchanged"] + (["index from nothing", "index unchanged"] if index else [])
    rows = [run(folder, what, name, files) for what, name in zip(steps, names, strict=True)]
    (folder / "documents" / "000" / "000007.md").write_text("# Changed\n\nA new text about a gondola.\n", encoding="utf-8")
    rows.append(run(folder, "ingest", "one changed", files))
    if index:
        rows.append(run(folder, "index", "index one changed", files))
    return rows


def run(folder: Path, what: str, name: str, files: int) -> dict[str, Any]:
    called = subprocess.run([sys.executable, __file__, "--one", str(folder), what], check=True, capture_output=True, text=True)
    row = {"files": files, "step": name, **json.loads(called.stdout.splitlines()[-1])}
    print(row, flush=True)
    return row


def step(folder: Path, what: str) -> dict[str, Any]:
    project = Project(folder / "project", create=True)
    base = psutil.Process().memory_info().rss
    began, used = time.monotonic(), time.process_time()
    result: Any = project.ingest([folder / "documents"]) if what == "ingest" else project.index()
    seconds, cpu = time.monotonic() - began, time.process_time() - used
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    counts = {"chunks": result.chunks, "duplicates": len(result.duplicates)} if what == "ingest" else {"vectors": result.vectors}
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_mb": round(peak / 1e6),
        "added_mb": round((peak - base) / 1e6),
        **counts,
    }


def write_files(folder: Path, files: int, words: int) -> None:
    draw = random.Random(0)
    text: list[str] = []
    for number in range(files):
        kind = number % 20
        if kind == 5:
            pass  # an exact copy of the one before
        elif kind in (9, 15) and text:
            text = [*text[:-1], draw.choice(WORDS)]  # nearly the same
        else:
            text = [draw.choice(WORDS) for _ in range(words)]
        path = folder / f"{number // 1000:03}" / f"{number:06}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [" ".join(text[at : at + 12]).capitalize() + "." for at in range(0, len(text), 12)]
        path.write_text("# " + lines[0] + "\n\n" + "\n".join(lines[1:]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
