"""Check examples/questions/questions.jsonl against examples/documents.

Standard library only. Prints the counts by kind; exits 1 with a list of faults.
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from build_documents import SCAN_PATH, sources  # noqa: E402

DOCUMENTS = HERE / "documents"
KINDS = ("fact", "paraphrase", "numeric", "table", "multi", "unanswerable")
FIELDS = {"id", "question", "answers", "document", "evidence", "kind"}
BUILT = sources()


def fold(text: str) -> str:
    """Collapse all runs of white space to one blank."""
    return re.sub(r"\s+", " ", text).strip()


def document_text(path: str, cache: dict[str, str]) -> str | None:
    """Folded text of a document, or None where there is no such document."""
    if path not in cache:
        file = DOCUMENTS / path
        if not file.is_file():
            return None
        text = BUILT[path] if path in BUILT else file.read_text(encoding="utf-8")
        if file.suffix == ".html":
            text = re.sub(r"(?s)<(script|style|head)\b.*?</\1>", " ", text)
            text = html.unescape(re.sub(r"<[^>]+>", " ", text))
        cache[path] = fold(text)
    return cache[path]


def spans_of(item: dict[str, Any]) -> list[tuple[str, str]]:
    """Evidence as (document, span) pairs."""
    evidence = item["evidence"]
    parts = evidence if isinstance(evidence, list) else [evidence]
    return [(p["document"], p["text"]) if isinstance(p, dict) else (item["document"], p) for p in parts]


def check_item(item: dict[str, Any], cache: dict[str, str]) -> list[str]:
    """Faults of one question."""
    missing = FIELDS - item.keys()
    if missing:
        return [f"fields missing: {', '.join(sorted(missing))}"]
    faults: list[str] = []
    if item["kind"] not in KINDS or item.keys() - FIELDS - {"needs"}:
        faults.append("unknown kind or field")
    if not str(item["question"]).endswith("?"):
        faults.append("question has no question mark")
    if item["kind"] == "unanswerable":
        if item["answers"] or item["document"] is not None or item["evidence"] is not None:
            faults.append("an unanswerable question must have no answers, document or evidence")
        return faults
    if not item["answers"] or not all(isinstance(a, str) and a.strip() for a in item["answers"]):
        return [*faults, "no answers"]
    if len(item["answers"][0].split()) > 8:
        faults.append("first answer is longer than eight words")
    if (item.get("needs") == "ocr") != (item["document"] == SCAN_PATH):
        faults.append('"needs": "ocr" must be set for the scanned page, and only there')
    spans = spans_of(item)
    for path, span in spans:
        text = document_text(path, cache)
        if text is None:
            faults.append(f"no such document: {path}")
        elif not span.strip() or fold(span) not in text:
            faults.append(f"evidence is not in {path}: {span[:60]!r}")
        if len(span.split()) > 45:
            faults.append(f"evidence longer than 45 words: {span[:60]!r}")
    joined = " ".join(fold(span) for _, span in spans)
    if item["answers"][0] not in joined and not (item["kind"] == "multi" and item["answers"][0] in ("yes", "no")):
        faults.append(f"first answer {item['answers'][0]!r} is not in the evidence")
    if item["kind"] == "multi" and len({path for path, _ in spans}) < 2:
        faults.append("a multi question needs evidence from two documents")
    return faults


def main() -> int:
    """Check every line; return the exit status."""
    cache: dict[str, str] = {}
    seen: dict[str, str] = {}
    faults: list[str] = []
    kinds: Counter[str] = Counter()
    per_document: Counter[str] = Counter()
    lines = (HERE / "questions" / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        item = json.loads(line)
        name = str(item.get("id", f"line {number}"))
        faults += [f"{name}: {fault}" for fault in check_item(item, cache)]
        for key in (f"id {name}", f"question {str(item.get('question')).lower()}"):
            if key in seen:
                faults.append(f"{name}: {key!r} is already used by {seen[key]}")
            seen[key] = name
        kinds[str(item.get("kind"))] += 1
        per_document[str(item.get("document"))] += 1
    paths = sorted(p.relative_to(DOCUMENTS).as_posix() for p in DOCUMENTS.rglob("*") if p.is_file())
    faults += [f"fewer than six questions: {path} ({per_document[path]})" for path in paths if per_document[path] < 6]
    print(f"{sum(kinds.values())} questions over {len(paths)} documents")
    print("\n".join([f"  {kind:13} {kinds[kind]}" for kind in KINDS] + [f"FAULT {fault}" for fault in faults]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
