"""Size of report.html and how long it takes to make and to open, for a synthetic evaluation.

python benchmarks/report_page.py [--questions 5000]

Opening needs chromium; its time is that of a run that loads the page and ends, less that of a run with an empty page.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "evaluate"))

from synthetic_evaluation import make_evaluation

from ragtune.evaluate.html import PageMeta, render_html
from ragtune.evaluate.score import score

RUNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=5000)
    questions = parser.parse_args().questions
    made = make_evaluation(questions, max(questions // 4, 1))
    passages = {key: replace(p, text=p.text + " filler text" * 45) for key, p in made.passages.items()}
    report = score(made.predictions, made.examples, made.retrieved)
    began = time.process_time()
    page = render_html(report, made.predictions, passages, made.examples, PageMeta("Synthetic"))
    found = {"questions": questions, "passages": len(passages), "render_cpu_seconds": round(time.process_time() - began, 2)}
    found["megabytes"] = round(len(page.encode()) / 1e6, 2)
    if shutil.which("chromium"):
        found["open_seconds"] = round(opening(page) - opening("<!doctype html><title>empty</title>"), 2)
    print(json.dumps(found, indent=1))


def opening(page: str) -> float:
    """Median wall time of a browser that loads a page and ends."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        command = ["chromium", *options, f"--user-data-dir={folder}/profile", f"--screenshot={folder}/page.png", path.as_uri()]
        times = []
        for _ in range(RUNS):
            began = time.monotonic()
            subprocess.run(command, capture_output=True, check=True, timeout=300)
            times.append(time.monotonic() - began)
        return median(times)


if __name__ == "__main__":
    main()
