"""What the stand-in shows: the example documents, answers looked up in the example questions, and figures from a fixed seed."""

from __future__ import annotations

import json
import math
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import special_answers

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
ARMS = {"base": (0.11, 0.03), "base-fewshot": (0.24, 0.1), "tuned": (0.62, 0.45)}
CONTEXTS = {"closed-book": 0.3, "oracle": 1.15, "oracle+distractors": 1.05, "retrieved": 1.0}
PRESETS = [
    (
        "quick",
        "A quick look",
        "Two hundred answers, one pass, ninety questions. Ten minutes on a laptop.",
        {"train.max_answers": 200, "train.epochs": 1},
    ),
    ("standard", "Standard", "What the defaults are. Good for most folders of documents.", {"train.epochs": 2}),
    ("thorough", "Thorough", "More passes, a higher rank and every held-out question.", {"train.epochs": 4, "train.rank": 32}),
    (
        "free",
        "Costs nothing",
        "Questions are made from the documents by the local model. No hosted teacher is asked.",
        {"dataset.teacher": "local"},
    ),
]


def iso(at: datetime) -> str:
    """A time as the server writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=4096)
def words(text: str) -> frozenset[str]:
    """What a text is searched by."""
    return frozenset(word for word in re.findall(r"[a-z0-9]+", text.lower()) if len(word) > 2)


def chunks_of(text: str, size: int = 700) -> list[dict[str, Any]]:
    """Cut at headings and paragraphs, as offsets into the text."""
    chunks: list[dict[str, Any]] = []
    heading, start, at = "", 0, 0
    for block in re.split(r"(?<=\n)\n", text):
        level = re.match(r"(#+) (.*)", block)
        if (level or at + len(block) - start > size) and at > start:
            chunks.append({"start": start, "end": at, "headings": heading})
            start = at
        if level:
            heading = level[2].strip()
        at += len(block) + 1
    chunks.append({"start": start, "end": len(text), "headings": heading})
    return [{"id": f"{number:04x}", **chunk} for number, chunk in enumerate(chunks) if text[chunk["start"] : chunk["end"]].strip()]


def read_documents() -> dict[str, dict[str, Any]]:
    """The Markdown and CSV documents of the example, and a hostile one."""
    folder = EXAMPLES / "documents"
    texts = {str(path.relative_to(folder)): path.read_text("utf-8") for kind in ("md", "csv") for path in sorted(folder.rglob(f"*.{kind}"))}
    texts["uploads/hostile.md"] = special_answers.HOSTILE_DOCUMENT
    found = {}
    for source, text in texts.items():
        title = re.search(r"^# (.*)", text)
        found[source] = {
            "source": source, "title": title[1] if title else Path(source).stem.replace("-", " ").capitalize(),
            "media_type": "text/csv" if source.endswith("csv") else "text/markdown", "text": text,
            "metadata": {"modified": "2026-10-02"}, "chunks": chunks_of(text), "characters": len(text), "language": "en",
            "access": ["staff"] if source.startswith("people/") else None, "duplicate_of": None, "uploaded": source.startswith("uploads/"),
        }  # fmt: skip
    return found


def interval(value: float, n: int, top: float = 1.0) -> dict[str, float | int]:
    """A plausible 95 % interval for a share."""
    half = 1.96 * math.sqrt(max(0.02, value * (top - value)) / n)
    return {"value": value, "low": max(0.0, value - half), "high": min(top, value + half), "n": n}


class Example:
    """A project with everything in it, or with nothing."""

    def __init__(self, *, empty: bool) -> None:
        self.empty = empty
        self.lock = threading.Lock()
        self.random = random.Random(7)
        self.documents = {} if empty else read_documents()
        lines = (EXAMPLES / "questions/questions.jsonl").read_text("utf-8").splitlines()
        self.questions = [json.loads(line) for line in lines]
        self.presets = [
            {"name": name, "title": title, "about": about, "kind": "run", "arguments": {}, "settings": settings}
            for name, title, about, settings in PRESETS
        ]
        notice = "archive/notice-to-passengers-1958.pdf"
        scan = {"source": notice, "reason": "no text found (1 page, an image): install ragtune[ocr] and ingest again"}
        self.skipped = [] if empty else [scan]
        self.left_out = [] if empty else [{"source": "lines/brenna-line-old.md", "reason": "the same text as lines/brenna-line.md"}]
        self.jobs: dict[str, dict[str, Any]] = {}
        self.traces: dict[str, dict[str, Any]] = {}
        self.reviews: dict[str, dict[str, Any]] = {}
        self.decided: dict[str, dict[str, Any]] = {}
        self.audit: list[dict[str, Any]] = []
        self.models = [self._model("base", "base")]
        self.report: dict[str, Any] = {}
        self.evaluations: list[dict[str, Any]] = []
        self.evaluated: list[dict[str, Any]] = []
        if not empty:
            self._fill()

    def _model(self, name: str, kind: str, **more: Any) -> dict[str, Any]:
        row = {
            "name": name,
            "kind": kind,
            "base": "smollm2-135m-instruct",
            "served": False,
            "servable": True,
            "created": None,
            "seconds": None,
            "figures": {},
        }
        return {**row, "settings": {}, "dataset": None, "unfinished": False, **more}

    def _fill(self) -> None:
        for number, (name, epochs) in enumerate([("tuned-1fdca424", 2), ("tuned-77b0c1e9", 4)]):
            made = {"created": iso(NOW - timedelta(days=2 - number)), "seconds": 612.0 * (number + 1), "dataset": "data-0e639540"}
            settings = {"train.epochs": epochs, "train.rank": 16 * (number + 1)}
            self.models.append(
                self._model(name, "tuned", served=number == 0, figures={"validation_loss": 0.91 - 0.05 * number}, settings=settings, **made)
            )
            job = self._new_job("train", {}, settings, f"job-{number + 1}")
            job.update(
                state="done", started=made["created"], ended=made["created"], seconds=made["seconds"], model=name, done=120, total=120
            )
        self.models.append(self._model("openai:gpt-4o-mini", "hosted", base="openai:gpt-4o-mini"))
        failed = self._new_job("evaluate", {"model": "tuned-77b0c1e9"}, {}, "job-3")
        failed.update(
            state="failed", error="the disk is full: free 2 GB and resume", seconds=41.0, started=failed["created"], ended=failed["created"]
        )
        note = "better by 0.38 F1 on the held-out questions"
        self.audit.append(
            {
                "at": iso(NOW - timedelta(days=1)),
                "who": "local",
                "action": "promote",
                "model": "tuned-1fdca424",
                "previous": "base",
                "note": note,
                "gate": None,
            }
        )
        self._evaluate()
        self._traffic()

    def status(self, caller: dict[str, Any], keys: bool) -> dict[str, Any]:
        """GET /api/status."""
        served = next((model["name"] for model in self.models if model["served"] and model["kind"] != "base"), "base")
        chunks = sum(len(document["chunks"]) for document in self.documents.values())
        queue = {"rows": 16, "running": 1, "waiting": 0, "capacity": 64}
        return {
            "version": "0.6.0", "project": "Hallowmere handbook", "model": served, "base": "smollm2-135m-instruct", "documents": len(self.documents),
            "chunks": chunks, "generation": 3, "queue": queue, "warnings": [], "caller": caller, "keys_required": keys, "tracing": True,
        }  # fmt: skip

    # Asking

    def search(self, text: str, k: int, source: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
        """Passages by the words that they share with the question, rare words first."""
        rows = [
            (document, chunk, document["text"][chunk["start"] : chunk["end"]])
            for document in self.documents.values()
            if (not source or fnmatchcase(document["source"], source)) and (not kind or document["media_type"] == kind)
            for chunk in document["chunks"]
        ]
        counted = Counter(word for _, _, chunk_text in rows for word in words(chunk_text))
        wanted = words(text)
        scored = [(sum(math.log(1 + len(rows) / counted[word]) for word in wanted & words(row[2]) if counted[word]), row) for row in rows]
        best = sorted(scored, key=lambda pair: -pair[0])[:k]
        return [
            {
                "number": number, "document": document["source"], "title": document["title"], "headings": chunk["headings"], "text": chunk_text,
                "start": chunk["start"], "end": chunk["end"], "page": None, "score": round(score, 3),
            }
            for number, (score, (document, chunk, chunk_text)) in enumerate(best, start=1)
        ]  # fmt: skip

    def answer(self, request: dict[str, Any]) -> tuple[list[dict[str, Any]], str, dict[str, Any]]:
        """What is retrieved, what the model writes and the checked answer."""
        question = request["question"]
        passages = self.search(question, request.get("k") or 5, request.get("source"), request.get("media_type"))
        special = special_answers.answer_for(question)
        known = next((each for each in self.questions if each["question"].lower().strip("?") == question.lower().strip("? ")), None)
        base = request.get("model") in {"base", "smollm2-135m-instruct"}
        quotes, unsupported, text, abstained = [], [], "", False
        if special is not None:
            text, unsupported = special
        elif not (known or (request.get("history") and re.search(r"\b(she|he|it|they)\b", question))) or (known and not known["answers"]):
            abstained = True
        else:
            text = known["answers"][0] if known else "It does, within the limits that the passages give."
            evidence = known["evidence"] if known else (re.split(r"(?<=\.)\s", passages[0]["text"].strip())[-1] if passages else "")
            quotes = [] if base else [evidence] if isinstance(evidence, str) else list(evidence)
            if base:
                text = f"The answer is {text}, as it is stated in the handbook of the Cooperative, which was written by the Cooperative."
                unsupported = ["as it is stated in the handbook of the Cooperative"]
        citations = [citation for quote in quotes if (citation := self._cite(quote, passages))]
        raw = "".join(f'"{each["quote"]}"\n' for each in citations) + "".join(f'"{each}"\n' for each in unsupported)
        raw += f"Answer: {text}" if not abstained else "Answer: The passages do not answer this."
        confidence = None if special else 0.11 if abstained else 0.58 if base else 0.93
        answer = {
            "trace": f"t{len(self.traces):05d}", "question": question, "answer": text, "abstained": abstained, "withheld": False, "confidence": confidence,
            "markdown": text, "model": "smollm2-135m-instruct" if base else "tuned-1fdca424", "citations": citations, "unsupported": unsupported,
            "passages": passages, "usage": {"prompt_tokens": 812, "completion_tokens": len(raw) // 4}, "cost": 0.0,
            "seconds": {"retrieval": 0.021, "first_token": 0.19, "total": 1.24},
        }  # fmt: skip
        self._trace(answer, raw, NOW, request.get("conversation"), history=request.get("history") or [])
        return passages, raw, answer

    def _cite(self, quote: str, passages: list[dict[str, Any]]) -> dict[str, Any] | None:
        for passage in passages:
            at = passage["text"].find(quote)
            if at >= 0:
                same = {name: passage[name] for name in ("number", "document", "title", "page")}
                return {**same, "quote": quote, "start": passage["start"] + at, "end": passage["start"] + at + len(quote), "found": False}
        return None

    # Documents

    def list_documents(self, query: dict[str, str]) -> dict[str, Any]:
        """GET /api/documents."""
        wanted = query.get("query", "").lower()
        rows = [row for row in self.documents.values() if wanted in f"{row['source']} {row['title']}".lower()]
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 50))
        kept = ("source", "title", "media_type", "characters", "language", "access", "duplicate_of", "uploaded")
        shown = [{**{name: row[name] for name in kept}, "chunks": len(row["chunks"])} for row in rows[offset : offset + limit]]
        return {
            "documents": shown, "total": len(rows), "skipped": self.skipped, "left_out": self.left_out,
            "skipped_total": len(self.skipped), "left_out_total": len(self.left_out),
        }  # fmt: skip

    def upload(self, files: list[tuple[str, bytes]]) -> dict[str, Any]:
        """Keep the texts, skip what is no PDF for all its name, refuse the rest."""
        saved, replaced, refused = [], [], []
        replace = ("", b"true") in files
        for name, content in ((name, content) for name, content in files if name):
            source = f"uploads/{Path(name).name}"
            if name.endswith(".pdf"):
                self.skipped.append({"source": source, "reason": "it is damaged, or no PDF: make it again, or remove it"})
                saved.append(source)
                continue
            if not name.endswith((".md", ".txt", ".csv")):
                refused.append({"name": name, "reason": "ragtune reads no such files: see docs/documents.md", "taken": False})
                continue
            text = content.decode("utf-8", "replace")
            there = source in self.documents and self.documents[source]["text"] != text
            if there and not replace:
                reason = f"{source} is there already, with other content: send replace=true, or another name"
                refused.append({"name": name, "reason": reason, "taken": True})
                continue
            self.documents[source] = {
                "source": source, "title": Path(name).stem, "media_type": "text/markdown", "text": text, "metadata": {}, "chunks": chunks_of(text),
                "characters": len(text), "language": "en", "access": None, "duplicate_of": None, "uploaded": True,
            }  # fmt: skip
            (replaced if there else saved).append(source)
        job = self.start_job("ingest", {}, {}) if saved or replaced else None
        return {"saved": saved, "replaced": replaced, "unchanged": [], "refused": refused, "job": job}

    # Jobs

    def _new_job(self, kind: str, arguments: dict[str, Any], settings: dict[str, Any], name: str) -> dict[str, Any]:
        job = {
            "id": name, "kind": kind, "arguments": arguments, "settings": settings, "state": "waiting", "created": iso(NOW), "started": None, "ended": None,
            "seconds": 0.0, "stage": None, "done": None, "total": None, "seconds_left": None, "message": None, "result": None, "error": None, "model": None,
        }  # fmt: skip
        self.jobs[name] = job
        return job

    def start_job(self, kind: str, arguments: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
        """A job that runs for as long as its events are read, and for eight seconds at most."""
        job = self._new_job(kind, arguments, settings, f"job-{len(self.jobs) + 1}")
        if kind in {"train", "run"}:
            job["model"] = f"tuned-{len(self.jobs):08x}"
        return self.begin(job["id"])

    def begin(self, name: str) -> dict[str, Any]:
        """Start it, or do it again."""
        job = self.jobs[name]
        stage = "reading" if job["kind"] == "ingest" else "training"
        job.update(state="running", started=iso(NOW), ended=None, error=None, stage=stage, done=0, total=120, begun=time.monotonic())
        return self.job(name)

    def job(self, name: str) -> dict[str, Any]:
        """The record as it is now."""
        job = self.jobs[name]
        if job["state"] == "running":
            passed = time.monotonic() - job["begun"]
            length = 2.0 if job["kind"] == "ingest" else 8.0
            job.update(
                done=min(120, int(120 * passed / length)), seconds=round(passed, 1), seconds_left=max(0.0, round(length - passed, 1))
            )
            if passed > length:
                job.update(state="done", ended=iso(NOW), message="done")
                if job["kind"] == "ingest":
                    job["result"] = {"ingest": {"skipped": self.skipped, "left_out": self.left_out}}
        return {field: value for field, value in job.items() if field != "begun"}

    def stop_job(self, name: str) -> None:
        """Stop it."""
        if self.jobs[name]["state"] in {"running", "waiting"}:
            self.jobs[name].update(state="stopped", ended=iso(NOW), message="stopped: what was finished is kept")

    def job_events(self, name: str) -> Iterator[tuple[str, Any]]:
        """Replay and follow."""
        job = self.jobs[name]
        rows = self.metrics(job["model"] or "")
        yield "stage", {"at": iso(NOW), "type": "stage", "stage": job["stage"] or job["kind"]}
        yield "log", {"at": iso(NOW), "type": "log", "text": f"{job['kind']}: 36 documents, 412 chunks"}
        shown = 0
        while True:
            now = self.job(name)
            done = now["done"] or 0
            for row in rows[shown : done if job["kind"] in {"train", "run"} else 0]:
                yield "metrics", {"at": iso(NOW), "type": "metrics", **row}
            shown = max(shown, done)
            yield (
                "progress",
                {
                    "at": iso(NOW),
                    "type": "progress",
                    "stage": now["stage"],
                    "done": done,
                    "total": now["total"],
                    "seconds_left": now["seconds_left"],
                },
            )
            if now["state"] != "running":
                yield "state", {"at": iso(NOW), "type": "state", "state": now["state"], "message": now["message"], "error": now["error"]}
                return
            time.sleep(0.2)

    def metrics(self, model: str) -> list[dict[str, Any]]:
        """A learning curve: the longer run gets lower."""
        chance = random.Random(model)
        floor = 0.55 if model.endswith("e9") else 0.72
        rows = []
        for step in range(1, 121):
            loss = floor + 1.9 * math.exp(-step / 22) + chance.gauss(0, 0.035)
            row = {
                "step": step,
                "steps": 120,
                "loss": loss,
                "rate": 2e-4 * min(step / 10, 1) * (1 - step / 130),
                "gradient_norm": 0.8 + chance.random() / 3,
            }
            row["answers_per_second"] = 5.1 + chance.gauss(0, 0.25)
            if step % 20 == 0:
                row["validation_loss"] = loss + 0.12
            rows.append(row)
        return rows

    def promote(self, model: str, note: str, fail_if: Sequence[str] = ()) -> dict[str, Any]:
        """Serve another model; as far as this stand-in is concerned, every condition holds."""
        previous = next((row["name"] for row in self.models if row["served"]), "base")
        if fail_if:
            return {"served": previous, "previous": previous, "refused": list(fail_if), "warnings": []}
        for row in self.models:
            row["served"] = row["name"] == model
        self.audit.insert(
            0, {"at": iso(NOW), "who": "local", "action": "promote", "model": model, "previous": previous, "note": note, "gate": None}
        )
        warning = f"{model} was never evaluated in this project: 'ragtune evaluate --model {model}' says whether it is better"
        return {"served": model, "previous": previous, "refused": [], "warnings": [warning]}

    def rollback(self) -> dict[str, Any]:
        """Back to what was served before."""
        done = self.promote(self.audit[0]["previous"], "")
        self.audit[0]["action"] = "rollback"
        return done

    # Evaluations

    def _evaluate(self) -> None:
        answerable = [
            each for each in self.questions if each["answers"] and isinstance(each["evidence"], str) and each["document"] in self.documents
        ]
        for question in self.random.sample(answerable, 60):
            self.evaluated.append(self._evaluated(question))
        grid = []
        for stratum in ("all", "new_questions", "new_documents"):
            for context in CONTEXTS:
                for arm in ARMS:
                    rows = [each["arms"][arm][context] for each in self.evaluated if stratum in ("all", each["stratum"])]
                    metrics = {
                        "f1": interval(sum(row["f1"] for row in rows) / len(rows), len(rows)),
                        "exact_match": interval(sum(row["exact"] for row in rows) / len(rows), len(rows)),
                    }
                    grid.append(
                        {"arm": arm, "context": context, "stratum": stratum, "questions": len(rows), "groups": 20, "metrics": metrics}
                    )
        named = {
            "arm": "tuned", "against": "base-fewshot", "context": "retrieved", "stratum": "all", "metric": "f1", "value": 0.62, "value_against": 0.24,
            "difference": {"value": 0.38, "low": 0.29, "high": 0.46, "n": 60}, "groups": 20, "p": 0.0008, "p_holm": 0.002,
        }  # fmt: skip
        sentence = "The tuned model answers better: F1 0.62 against 0.24 for the base model with two worked examples, difference +0.38 [0.29, 0.46] on 60 questions it was not trained on."
        retrieval = [
            {"stratum": "all", "metrics": {"recall@1": interval(0.75, 60), "recall@5": interval(0.92, 60), "mrr": interval(0.82, 60)}}
        ]
        self.report = {
            "format": "ragtune-report", "decision": "better", "sentence": sentence, "named": named, "contrasts": [named], "grid": grid, "retrieval": retrieval,
            "models": {"base": "smollm2-135m-instruct", "base-fewshot": "smollm2-135m-instruct", "tuned": "tuned-1fdca424"}, "questions": 60,
        }  # fmt: skip
        same = {"created": iso(NOW - timedelta(days=2)), "questions": 60, "split": "test", "test_readings": 1}
        effect = {name: named["difference"][name] for name in ("value", "low", "high")}
        self.evaluations = [
            {**same, "name": "test-f0142b99", "model": "tuned-1fdca424", "decision": sentence, "verdict": "better", "effect": effect},
            {**same, "name": "validation-9b8b94c8", "model": "tuned-77b0c1e9", "split": "validation", "verdict": "undecided", "effect": {"value": 0.02, "low": -0.03, "high": 0.07},
             "decision": "Whether the tuned model answers better is undecided: difference +0.02 [-0.03, 0.07] on 60 questions."},
        ]  # fmt: skip

    def _evaluated(self, question: dict[str, Any]) -> dict[str, Any]:
        passages = self.search(question["question"], 3)
        ids = [f"{passage['document']}@{passage['start']}" for passage in passages]
        rank = next((number for number, passage in enumerate(passages, 1) if question["evidence"] in passage["text"]), None)
        arms: dict[str, Any] = {}
        for arm, (mean, exact) in ARMS.items():
            for context, factor in CONTEXTS.items():
                right = self.random.random() < min(0.95, mean * factor)
                wrong = "The Cooperative was founded in the valley, and the valley is the place of the Cooperative."
                answer = question["answers"][0] if right else "The passages do not answer this." if arm == "tuned" else wrong
                cites = context == "retrieved" and (arm == "tuned" or (arm == "base" and right))
                cited = self._cite(question["evidence"], passages) if cites else None
                place = {name: cited[name] for name in ("document", "start", "end")} if cited else {}
                quotes = [{"text": cited["quote"], **place, "valid": True, "found": arm != "tuned"}] if cited else []
                if arm == "base" and context == "retrieved" and not cited:
                    quotes = [
                        {"text": "the valley is the place", "document": None, "start": None, "end": None, "valid": False, "found": False}
                    ]
                arms.setdefault(arm, {})[context] = {
                    "answer": answer, "raw": answer, "f1": 0.97 if right else 0.04, "exact": float(right and self.random.random() < exact * 2),
                    "abstained": answer.startswith("The passages do not"), "quotes": quotes, "passages": ids if context == "retrieved" else ids[:1],
                }  # fmt: skip
        return {
            "id": question["id"], "question": question["question"], "references": question["answers"], "kind": question["kind"], "rank": rank, "arms": arms,
            "stratum": self.random.choice(["new_questions", "new_documents"]), "found": dict(zip(ids, passages, strict=True)),
        }  # fmt: skip

    @staticmethod
    def _outcome(tuned: float, base: float) -> str:
        if abs(tuned - base) > 0.01:
            return "won" if tuned > base else "lost"
        return "both right" if tuned > 0.5 else "both wrong"

    def questions_page(self, query: dict[str, str]) -> dict[str, Any]:
        """GET /api/evaluations/{name}/questions."""
        context = query.get("context", "retrieved")
        rows = [each for each in self.evaluated if query.get("query", "").lower() in each["question"].lower()]
        if query.get("kind"):
            rows = [each for each in rows if each["kind"] == query["kind"]]
        outcome_of = {each["id"]: self._outcome(each["arms"]["tuned"][context]["f1"], each["arms"]["base"][context]["f1"]) for each in rows}
        outcomes = dict(Counter(outcome_of.values()))
        rows = [each for each in rows if query.get("outcome") in (None, outcome_of[each["id"]])]
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 20))
        shown = rows[offset : offset + limit]
        passages = {
            name: {field: passage[field] for field in ("document", "title", "text", "start")}
            for each in shown
            for name, passage in each["found"].items()
        }
        kinds = sorted({each["kind"] for each in self.evaluated})
        narrowed = [{**each, "found": None, "outcome": outcome_of[each["id"]]} for each in shown]
        return {"questions": narrowed, "total": len(rows), "passages": passages, "kinds": kinds, "outcomes": outcomes}

    # Traces, review, monitoring

    def _trace(self, answer: dict[str, Any], raw: str, at: datetime, conversation: str | None = None, **more: Any) -> dict[str, Any]:
        trace = {
            **{field: value for field, value in answer.items() if field != "trace"}, "id": answer["trace"], "at": iso(at), "groundedness": 0.0 if answer["unsupported"] else 0.97, "rating": None, "key": "local", "raw": raw, "history": [],
            "conversation": conversation, "scores": [passage["score"] for passage in answer["passages"]], "error": None, "grounded_by": "quotes",
            "feedback": {"rating": None, "reason": None, "correction": None}, **more,
        }  # fmt: skip
        self.traces[trace["id"]] = trace
        return trace

    def _traffic(self) -> None:
        chosen = self.random.sample([each for each in self.questions if not isinstance(each["evidence"], list)], 24)
        for number, question in enumerate(chosen):
            self.answer({"question": question["question"], "model": "base" if number % 6 == 5 else None})
            trace = self.traces[f"t{number:05d}"]
            trace["at"] = iso(NOW - timedelta(hours=3 * (24 - number)))
            trace["rating"] = trace["feedback"]["rating"] = {3: "down", 5: "down", 8: "up", 12: "up", 15: "up"}.get(number)
            if number in (3, 5, 9):
                why = (
                    ["unanswered"]
                    if trace["abstained"]
                    else ["thumbs down", "low groundedness"]
                    if trace["unsupported"]
                    else ["thumbs down"]
                )
                self._queue(trace, why, "The number is wrong." if trace["rating"] == "down" else None)

    def _queue(self, trace: dict[str, Any], why: list[str], reason: str | None, correction: str | None = None) -> None:
        name = f"r{len(self.reviews):04d}"
        kept = {field: trace[field] for field in ("question", "history", "answer", "passages", "at")}
        self.reviews[name] = {
            **kept,
            "id": name,
            "trace": trace["id"],
            "why": why,
            "reason": reason,
            "correction": correction,
            "state": "open",
            "times": 1,
            "decided": None,
            "by": None,
            "note": "",
        }

    def list_traces(self, query: dict[str, str]) -> dict[str, Any]:
        """GET /api/traces."""
        rows = [row for row in self.traces.values() if query.get("query", "").lower() in row["question"].lower()]
        rows = [row for row in rows if not query.get("rating") or row["rating"] == query["rating"]]
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 25))
        fields = (
            "id",
            "at",
            "question",
            "answer",
            "model",
            "abstained",
            "withheld",
            "confidence",
            "groundedness",
            "rating",
            "key",
            "error",
        )
        shown = [
            {**{field: row[field] for field in fields}, "seconds": row["seconds"]["total"], "tokens": sum(row["usage"].values())}
            for row in sorted(rows, key=lambda row: row["at"], reverse=True)[offset : offset + limit]
        ]
        return {"traces": shown, "total": len(rows)}

    def trace(self, name: str) -> dict[str, Any]:
        """GET /api/traces/{id}."""
        row = self.traces[name]
        return {**row, "tokens": sum(row["usage"].values())}

    def rate(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """A thumb; a thumb down queues the answer."""
        trace = self.traces[name]
        trace["rating"], trace["feedback"] = body["rating"], {"reason": None, "correction": None, **body}
        if body["rating"] == "down":
            self._queue(trace, ["thumbs down"], body.get("reason"), body.get("correction"))
        return self.trace(name)

    def list_review(self, query: dict[str, str]) -> dict[str, Any]:
        """GET /api/review."""
        rows = [row for row in self.reviews.values() if row["state"] == query.get("state", "open")]
        return {"items": rows, "total": len(rows), "open": sum(row["state"] == "open" for row in self.reviews.values())}

    def decide(self, name: str, body: dict[str, Any], who: str) -> dict[str, Any]:
        """POST /api/review/{id}."""
        self.decided[name] = body
        self.reviews[name].update(state="accepted" if body["decision"] == "accept" else "dismissed", decided=iso(NOW), by=who)
        held = " ".join(self.documents[span["document"]]["text"][span["start"] : span["end"]] for span in body["evidence"])
        loose = body["evidence"] and not any(answer in held for answer in body["answers"])
        warnings = ["the evidence does not hold the answer's words: a model learns to write what it cannot quote"] if loose else []
        return {"item": self.reviews[name], "question": f"reviewed-{name}", "file": "questions/reviewed.jsonl", "warnings": warnings}

    def monitor(self, days: int) -> dict[str, Any]:
        """GET /api/monitor."""
        chance = random.Random(3)
        hours = []
        for hour in range(0 if self.empty else days * 24):
            at = NOW - timedelta(hours=days * 24 - hour)
            busy = max(0, math.sin((at.hour - 7) / 12 * math.pi)) * 38 + 2
            answers = int(busy + chance.random() * 8)
            hours.append({
                "at": iso(at), "answers": answers, "abstained": int(answers * 0.12), "errors": int(chance.random() < 0.03), "seconds_p50": 0.9 + chance.random() / 4,
                "seconds_p95": 1.8 + chance.random() + busy / 40, "first_token_p50": 0.18 + chance.random() / 20, "tokens": answers * 890, "cost": answers * 0.0004,
                "up": int(answers * chance.random() * 0.2), "down": int(answers * chance.random() * 0.06), "groundedness": 0.93 + chance.random() / 20,
                "confidence": 0.82 + chance.random() / 12, "top_score": 0.7 + chance.random() / 10,
            })  # fmt: skip
        summed = {name: sum(row[name] for row in hours) for name in ("answers", "abstained", "errors", "tokens", "cost", "up", "down")}
        means = {
            "seconds_p50": 1.02,
            "seconds_p95": 2.9,
            "first_token_p50": 0.2,
            "groundedness": 0.953,
            "confidence": 0.86,
            "top_score": 0.74,
        }
        none = {"psi": None, "ks": None, "p": None, "n": 0, "baseline": 0, "verdict": "no baseline"}
        drift = {
            "questions": {"psi": 0.06, "ks": 0.07, "p": 0.41, "n": 812, "baseline": 450, "verdict": "stable"},
            "lengths": {"psi": 0.09, "ks": 0.08, "p": 0.2, "n": 812, "baseline": 450, "verdict": "some change"},
            "scores": {"psi": 0.27, "ks": 0.19, "p": 0.003, "n": 812, "baseline": 450, "verdict": "changed"},
        }
        return {
            "hours": hours,
            "totals": {**summed, **(means if hours else dict.fromkeys(means))},
            "drift": drift if hours else dict.fromkeys(drift, none),
            "review_open": self.list_review({})["open"],
            "evaluation": "test-f0142b99" if hours else None,
        }
