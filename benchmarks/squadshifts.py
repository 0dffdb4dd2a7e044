"""The whole loop on public data: SQuADShifts new_wiki, 300 test questions of unseen articles and 150 new questions on seen ones.

Run:     RAGTUNE_DATA=/path/to/data .venv/bin/python benchmarks/squadshifts.py
Results: benchmarks/results/squadshifts.json, and the report in build/squadshifts/.ragtune/evaluations/

A killed run goes on where it was: every stage of ragtune does. Data: Miller et al., The Effect of Natural Distribution Shift on
Question Answering Models, ICML 2020; ``$RAGTUNE_DATA/squadshifts_new_wiki/new_wiki_v1.0.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

from rich.console import Console

from ragtune import Project
from ragtune.evaluate.report_json import report_to_json
from ragtune.evaluate.terminal import terminal_table
from ragtune.screen import LiveProgress
from ragtune.workspace import library_versions, write_bytes, write_json

HERE = Path(__file__).parent
NEW_DOCUMENTS, NEW_QUESTIONS, VALIDATION = 300, 150, 60
UNSEEN_ARTICLES, VALIDATION_ARTICLES = 12, 3


def draw(*key: object) -> int:
    """A number that follows from the key alone."""
    return int.from_bytes(blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest(), "big")


def write_project(folder: Path, source: Path) -> None:
    """Articles as Markdown files, questions with a fixed split: whole articles are held out, and single questions of the others."""
    articles = sorted(json.loads(source.read_text(encoding="utf-8"))["data"], key=lambda article: draw("article", article["title"]))
    unseen = {article["title"] for article in articles[:UNSEEN_ARTICLES]}
    watched = {article["title"] for article in articles[UNSEEN_ARTICLES : UNSEEN_ARTICLES + VALIDATION_ARTICLES]}
    pools: dict[str, list[dict[str, Any]]] = {"unseen": [], "watched": [], "seen": []}
    for article in articles:
        title = article["title"]
        text = f"# {title.replace('_', ' ')}\n\n" + "\n\n".join(paragraph["context"].strip() for paragraph in article["paragraphs"]) + "\n"
        write_bytes(folder / "documents" / f"{title}.md", text.encode())
        pool = pools["unseen" if title in unseen else "watched" if title in watched else "seen"]
        for paragraph in article["paragraphs"]:
            pool += [squad_question(title, paragraph["context"], item) for item in paragraph["qas"]]
    for pool in pools.values():
        pool.sort(key=lambda question: draw("question", question["id"]))
    chosen = [{**question, "split": "test"} for question in pools["unseen"][:NEW_DOCUMENTS] + pools["seen"][:NEW_QUESTIONS]]
    chosen += [{**question, "split": "validation"} for question in pools["watched"][:VALIDATION]]
    chosen += [{**question, "split": "train"} for question in pools["seen"][NEW_QUESTIONS:]]
    write_bytes(folder / "questions" / "new_wiki.jsonl", "".join(json.dumps(question) + "\n" for question in chosen).encode())


def squad_question(title: str, context: str, item: dict[str, Any]) -> dict[str, Any]:
    """The evidence is the sentence that holds the answer, as near as a full stop tells."""
    answer = item["answers"][0]
    start = context.rfind(". ", 0, answer["answer_start"]) + 2 if ". " in context[: answer["answer_start"]] else 0
    end = context.find(". ", answer["answer_start"] + len(answer["text"]))
    evidence = context[start : len(context) if end < 0 else end + 1].strip()
    answers = list(dict.fromkeys(each["text"].strip() for each in item["answers"] if each["text"].strip()))
    return {"id": item["id"], "question": item["question"], "answers": answers, "document": f"{title}.md", "evidence": evidence}


def _wall_seconds(project: Project, sitting: float) -> dict[str, float]:
    """This sitting's seconds, and what training and answering took over all sittings of a run that was killed in between."""
    spent = {"this_sitting": round(sitting, 1)}
    for manifest in project.workspace.manifests("models"):
        spent[f"train {'dsf' if manifest.settings['without_context'] else 'tuned'}"] = round(manifest.figures["seconds"], 1)
    evaluation = project.workspace.find("evaluations", None)
    lines = (project.workspace.artifact("evaluations", evaluation.name) / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    # Equal prompts are answered once and told apart by nothing but their arm and passages.
    once = {(each["arm"], each["id"], tuple(each["passages"])): each["seconds"] for each in map(json.loads, lines)}
    return {**spent, "answer": round(sum(once.values()), 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/squadshifts"))
    parser.add_argument("--answers", type=int, default=600, help="training questions")
    parser.add_argument("--only-dataset", action="store_true", help="stop at the dataset, and print its folder")
    parser.add_argument("--set", action="append", default=[], help="a setting, as in ragtune --set")
    options = parser.parse_args()
    data = os.environ.get("RAGTUNE_DATA")
    source = Path(data or "") / "squadshifts_new_wiki" / "new_wiki_v1.0.json"
    if not data or not source.is_file():
        print("skipped: set RAGTUNE_DATA to the folder that holds squadshifts_new_wiki/new_wiki_v1.0.json")
        return 0
    if not (options.folder / "questions" / "new_wiki.jsonl").is_file():
        write_project(options.folder, source)
    settings = [
        'documents=["documents"]',
        f"train.max_answers={options.answers}",
        'evaluate.arms=["base", "base-fewshot", "tuned", "dsf"]',
        "evaluate.control_questions=60",
        *options.set,
    ]
    started = time.monotonic()
    project = Project(options.folder, overrides=settings, progress=LiveProgress(), create=True)
    if options.only_dataset:
        project.ingest()
        project.index()
        print(project.dataset().folder)
        return 0
    result = project.run()
    seconds = time.monotonic() - started
    assert result.evaluation is not None
    Console().print(terminal_table(result.evaluation.report))
    report = report_to_json(result.evaluation.report)
    path = HERE / "results" / "squadshifts.json"
    written = {"wall_seconds": _wall_seconds(project, seconds), "settings": settings, "versions": library_versions(), "report": report}
    write_json(path, written)
    print(f"{seconds / 60:.1f} minutes in this sitting, {written['wall_seconds']}; {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
