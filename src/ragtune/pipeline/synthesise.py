"""Have a teacher write questions from the documents, filter them, and put them beside the user's own.

Row by row: what became of a question is on disk before another is begun, so a killed run, or one that the spending cap stopped, goes on
where it was. Rows are judged in the order of their tasks, in waves of as many as are still wanted, so that the result does not depend on
which answer came first or on where a run was interrupted.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from ragtune import build
from ragtune.chat.generate import side_by_side
from ragtune.config import Settings
from ragtune.corpus import Corpus
from ragtune.dataset.anchor import anchor
from ragtune.dataset.filters import FILTERS, Filter, Known, duplicate_of
from ragtune.dataset.questions import RawQuestion, load_questions
from ragtune.dataset.sampling import Task, plan_tasks
from ragtune.dataset.synthesise import TEACHER_PROMPTS, teacher_messages
from ragtune.errors import ConfigError, SpendingCapError
from ragtune.evaluate.answers import f1
from ragtune.hosted.providers import is_hosted, split_name
from ragtune.passages import to_passage
from ragtune.pipeline.consent import Bill, Confirm, agree, warn_of
from ragtune.pipeline.dataset import corpus_hash, question_files, synthesised_file
from ragtune.pipeline.index import build_index, check_index, index_bill, open_retriever
from ragtune.pipeline.records import SynthesisPlan, SynthesisResult
from ragtune.pipeline.synthesis_rows import Row, Rows
from ragtune.pipeline.teacher import Teacher
from ragtune.progress import Progress, counted
from ragtune.prompts import PROMPT_VERSION
from ragtune.protocols import ChatModel, Embedder, Float32
from ragtune.types import Chunk, Message, Price, Usage
from ragtune.workspace import Workspace, now, stage_key, write_bytes, write_json

VERSION = 1
MOST = 4
"""Questions asked for at most, for each that is wanted."""
_CALLS = 3
"""Calls for a question that comes through: written, asked from memory, asked from its passages."""
_PASSING = 0.6
"""Share of questions that is expected to come through before any was written."""
_EXAMPLES = 3
_SEARCHED = 50
"""Tokens of a question that are embedded: to find its passages, and to compare it with others."""
_SMALL = (
    "{model}: expect few questions to come through from a small local model (of smollm2-135m-instruct, none of 60 did on the example "
    "documents); what falls is counted in the manifest"
)


def synthesise(
    workspace: Workspace,
    settings: Settings,
    wanted: int | None,
    progress: Progress,
    *,
    yes: bool = False,
    dry_run: bool = False,
    confirm: Confirm | None = None,
) -> SynthesisResult:
    """Write questions until as many as are wanted came through, the tasks run out, or the spending cap is reached.

    Args:
        workspace: with an ingested corpus; where questions are to be written, the index is brought up to date first.
        settings: teacher, chat, retrieve, embed and questions are read.
        wanted: questions in the file in the end, those counted that were written before; ``None`` takes ``teacher.questions``.
        progress: told what goes on.
        yes: spend what it takes, up to ``chat.max_cost``.
        dry_run: only plan; nobody is asked anything.
        confirm: asked before money is spent, where ``yes`` was not said.

    Raises:
        ConfigError: no teacher or no number is set.
        CorpusError: a dry run meets an index that is older than the corpus.
        ConsentError: it costs money and nobody agreed to it.
        ChatError: the teacher does not answer; what was written is kept.
    """
    model, wanted = _asked_for(settings, wanted)
    plan = _plan(workspace, settings, model, wanted, dry_run=dry_run)
    if dry_run:
        return SynthesisResult(plan)
    if not is_hosted(model) and plan.calls:
        progress.note(_SMALL.format(model=model))
    chat = build.chat_model(workspace, settings, model) if plan.calls else None
    if plan.calls:
        warn_of([model, settings.embed.model], progress)
    if plan.paid:
        cap = f"chat.max_cost (${settings.chat.max_cost:g}) is never passed, and --dry-run shows a prompt"
        agree(f"{describe(plan)}; {cap}", yes=yes, confirm=confirm, progress=progress)
    if chat is None:
        return _open(workspace, settings, model, wanted).finish(plan, None, progress)
    build_index(workspace, settings, progress, quiet=True, yes=True)
    work = _open(workspace, settings, model, wanted)
    with open_retriever(workspace, settings) as retriever:
        stopped = work.run(chat, Teacher(model, retriever, work.chunks), progress)
    return work.finish(plan, stopped, progress)


def expected_calls(questions: int) -> int:
    """About how many calls it takes until so many questions came through."""
    return round(_CALLS * questions / _PASSING)


def describe(plan: SynthesisPlan) -> str:
    """A plan in one sentence."""
    if not plan.calls and not plan.paid:
        return f"{plan.teacher}: {plan.there} of {plan.wanted} questions are there, and nothing is to be asked"
    price = "of unknown cost" if plan.dollars is None else f"about ${plan.dollars:.2f}" if plan.paid else "free of charge"
    embedding = ", embedding included" if plan.embedding_dollars else ""
    most = f", ${plan.most_dollars:.2f} at most" if plan.paid and plan.most_dollars is not None else ""
    return (
        f"{plan.teacher}: about {plan.calls} calls with {plan.prompt_tokens} prompt and {plan.completion_tokens} completion tokens for "
        f"{plan.wanted - plan.there} more questions ({plan.there} of {plan.wanted} are there), {price}{embedding}{most}"
    )


def _asked_for(settings: Settings, wanted: int | None) -> tuple[str, int]:
    if settings.teacher.model is None:
        raise ConfigError("no model is set that writes questions: set teacher.model, e.g. --set teacher.model=openai:gpt-5.2")
    split_name(settings.teacher.model)
    wanted = settings.teacher.questions if wanted is None else wanted
    if wanted < 1:
        raise ConfigError("how many questions? Give --count N, or set teacher.questions")
    return settings.teacher.model, wanted


def _plan(workspace: Workspace, settings: Settings, model: str, wanted: int, *, dry_run: bool) -> SynthesisPlan:
    """What is still to be done; nobody is asked for it."""
    with closing(build.open_corpus(workspace)) as corpus:
        if dry_run:
            check_index(workspace, settings, corpus)
        index = index_bill(workspace, settings, corpus)
    return _open(workspace, settings, model, wanted, asks=False).plan(index)


@dataclass(frozen=True, slots=True)
class _Work:
    """One synthesis, opened.

    Args:
        settings: of the project.
        model: the teacher, ``provider:model``.
        wanted: questions in the end.
        folder: of its rows and manifest.
        file: the question file that is written.
        chunks: of the whole corpus.
        tasks: all that may be asked for.
        rows: what became of them.
        before: questions that are there from others: the user's own, and those of other syntheses.
        kept: how many of those are a teacher's and can be used.
        similarity: cosine of two questions.
        concurrency: questions on their way at once.
        price: of the teacher's tokens, ``None`` where unknown.
        embedding_price: of the embedder's.
    """

    settings: Settings
    model: str
    wanted: int
    folder: Path
    file: Path
    chunks: Sequence[Chunk]
    tasks: Sequence[Task]
    rows: Rows
    before: Sequence[RawQuestion]
    kept: int
    similarity: Callable[[str, str], float]
    concurrency: int
    price: Price | None
    embedding_price: Price | None

    @property
    def missing(self) -> int:
        """Questions that this synthesis is to add."""
        return max(0, self.wanted - self.kept)

    def plan(self, index: Bill) -> SynthesisPlan:
        """What is still to be done, and what it may cost with what the index lacks."""
        judged, unknown = self._judged()
        there = sum(row.dropped is None for row in judged)
        left = self.missing - there
        open_ = [task for task in self.tasks if task.number not in self.rows]
        share = max(there / len(judged), 1 / MOST) if len(judged) >= 20 else _PASSING
        sample = open_[:50]
        prompt = sum(_tokens(message.content) for task in sample for message in _about_prompt(task)) / max(1, len(sample))
        questions = min(len(open_), round(left / share)) if left > 0 else 0
        most = len(open_) if left > 0 else 0
        # Of the two further calls one shows the passages again, the other nothing.
        into, out = round(1.4 * prompt + 150), 160 + 2 * 25
        each = self.price(Usage(into, out)) if self.price else None
        embedding = self._embedding_dollars(index, questions, len(self.rows) if unknown else 0)
        asking = None if each is None else each * questions
        first = next((task for task in self.tasks if task.kind == "fact"), None)
        return SynthesisPlan(
            teacher=self.model,
            wanted=self.wanted,
            there=self.kept + there,
            calls=_CALLS * questions,
            prompt_tokens=into * questions,
            completion_tokens=out * questions,
            dollars=None if asking is None or embedding is None else asking + embedding,
            most_dollars=None if each is None or embedding is None else min(each * most + embedding, self.settings.chat.max_cost),
            paid=asking != 0.0 or embedding != 0.0,
            embedding_dollars=embedding,
            kinds=dict(Counter(task.kind for task in open_[:questions])),
            prompt="\n\n".join(f"[{m.role}]\n{m.content}" for m in teacher_messages("fact", [to_passage(first.chunk)])) if first else "",
        )

    def _embedding_dollars(self, index: Bill, questions: int, rows: int) -> float | None:
        """For what the index lacks, for what questions that are to be written look up, and for rows that were not compared yet."""
        if not (questions or rows):
            return 0.0
        if index.dollars is None or self.embedding_price is None:
            return None
        about = self.settings.prepare.chunk_size + _SEARCHED
        return index.dollars + questions * self.embedding_price(Usage(about)) + rows * self.embedding_price(Usage(_SEARCHED))

    def _judged(self) -> tuple[list[Row], str | None]:
        """What can be judged with what may be spent, and why that is not all."""
        judged: list[Row] = []
        try:
            judged.extend(self.judge())
        except SpendingCapError as error:
            return judged, str(error)
        return judged, None

    def judge(self) -> Iterator[Row]:
        """The finished rows in order, those dropped that are like another, up to as many as are wanted.

        Raises:
            SpendingCapError: the embedder cannot be asked how alike two questions are.
        """
        known = [Known(each.question, each.answers) for each in self.before]
        accepted = 0
        for task in self.tasks:
            if accepted == self.missing or task.number not in self.rows:
                break
            row = self.rows[task.number]
            if row.dropped is None and row.entry is not None:
                new = Known(row.entry["question"], tuple(row.entry["answers"]))
                like = duplicate_of(new, known, f1, self.similarity)
                if like:
                    row = replace(row, dropped="duplicate", detail=like)
                else:
                    known.append(new)
                    accepted += 1
            yield row

    def run(self, chat: ChatModel, teacher: Teacher, progress: Progress) -> str | None:
        """Ask, in waves of as many as are missing; why it was stopped, where it was."""
        progress.start("synthesise", self.missing)
        accepted = calls = 0

        def told(more: int = 1) -> None:
            nonlocal calls
            calls += more
            progress.update("synthesise", accepted, f"{len(self.rows)} written, {counted(calls, 'call')}")

        while True:
            judged, stopped = self._judged()
            if stopped is not None:
                return stopped
            accepted = sum(row.dropped is None for row in judged)
            wave = self.tasks[len(judged) : len(judged) + self.missing - accepted]
            if not wave:
                return None
            accepted += sum(self.rows[task.number].dropped is None for task in wave if task.number in self.rows)
            told(0)
            open_ = [task for task in wave if task.number not in self.rows]
            try:
                for _, row in side_by_side(partial(teacher.examine, chat, told=told), open_, self.concurrency):
                    self.rows.add(row)
                    accepted += row.dropped is None
                    told(0)
            except SpendingCapError as error:
                return str(error)

    def finish(self, plan: SynthesisPlan, stopped: str | None, progress: Progress) -> SynthesisResult:
        """Write the questions and the manifest, and say what came of it."""
        judged, unknown = self._judged()
        stopped = stopped or unknown
        accepted = [row.entry for row in judged if row.dropped is None and row.entry is not None]
        path = self.folder / "manifest.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"written": []}
        written = _merge(self.file, accepted, before["written"])
        dropped = Counter(row.dropped for row in judged if row.dropped is not None)
        costs = [row.dollars for row in judged]
        figures = {
            "format": VERSION,
            "teacher": self.model,
            "prompts": TEACHER_PROMPTS,
            "wanted": self.wanted,
            "asked": len(judged),
            "accepted": len(accepted),
            "kinds": dict(Counter(entry["kind"] for entry in accepted)),
            "dropped": {name: {"reason": FILTERS[name], "count": dropped[name], "examples": _fallen(judged, name)} for name in FILTERS},
            "calls": sum(row.calls for row in judged),
            "prompt_tokens": sum(row.prompt_tokens for row in judged),
            "completion_tokens": sum(row.completion_tokens for row in judged),
            "dollars": None if None in costs else round(sum(filter(None, costs)), 6),
            "stopped": stopped,
            "file": str(self.file),
            "written": [entry["id"] for entry in accepted],
        }
        if {**before, "created": None} != {**figures, "created": None}:
            write_json(path, {**figures, "created": now()})
        result = SynthesisResult(plan, str(self.file), len(accepted), len(judged), written, figures, stopped)
        if stopped:
            progress.note(f"synthesise: stopped with {len(accepted)} of {self.missing} questions: {stopped}")
        elif len(accepted) < self.missing:
            progress.note(f"synthesise: the documents gave {len(accepted)} of {self.missing} questions; what fell is in {path}")
        if written or plan.calls:
            progress.finish("synthesise", f"{len(accepted)} of {len(judged)} questions came through, {written} new in {self.file.name}")
        return result


def _open(workspace: Workspace, settings: Settings, model: str, wanted: int, *, asks: bool = True) -> _Work:
    """A synthesis; where ``asks`` is not set, a hosted embedder is asked nothing."""
    file = synthesised_file(workspace, settings)
    with closing(build.open_corpus(workspace)) as corpus:
        chunks = corpus.all_chunks()
        folder = workspace.folder / "synthesis" / _key(workspace, settings, model, corpus)
        rows = Rows(folder / "rows.jsonl")
        own_files = [path for path in question_files(workspace, settings, (), missing_ok=True) if path != file]
        earlier = [each for each in load_questions([file] if file.is_file() else []) if each.id not in rows.ids]
        return _Work(
            settings=settings,
            model=model,
            wanted=wanted,
            folder=folder,
            file=file,
            chunks=chunks,
            tasks=list(itertools.islice(plan_tasks(chunks, settings.dataset.seed), MOST * wanted)),
            rows=rows,
            before=[*load_questions(own_files), *earlier],
            kept=_usable(earlier, corpus),
            similarity=_similarity(build.embedder(workspace, settings, asks=asks)),
            concurrency=settings.chat.concurrency if is_hosted(model) else 1,
            price=build.price(workspace, settings, model),
            embedding_price=build.price(workspace, settings, settings.embed.model),
        )


def _about_prompt(task: Task) -> list[Message]:
    """A prompt of about the length that a task's will have: which second passage it shows is for the retriever to say."""
    return teacher_messages(task.kind, [to_passage(task.chunk)] * (2 if task.kind == "multi" else 1))


def _key(workspace: Workspace, settings: Settings, model: str, corpus: Corpus) -> str:
    """Of all that decides what becomes of a task; how many are wanted, and what other questions there are, does not."""
    read = {
        "teacher": model,
        "thinking": settings.chat.thinking,
        "prompts": [TEACHER_PROMPTS, PROMPT_VERSION],
        "retrieve": settings.retrieve.model_dump(mode="json"),
        "embedder": build.embedder(workspace, settings).fingerprint,
        "seed": settings.dataset.seed,
    }
    return stage_key("synthesise", VERSION, read, corpus_hash(corpus))


def _usable(questions: Sequence[RawQuestion], corpus: Corpus) -> int:
    """How many questions still stand in the documents."""
    if not questions:
        return 0
    return len(anchor(questions, {each.source: each for each in corpus.all_documents()}, corpus.copies()).questions)


def _similarity(embedder: Embedder) -> Callable[[str, str], float]:
    @cache
    def vector(question: str) -> Float32:
        vectors_qd = embedder.embed_queries([question])
        return vectors_qd.reshape(-1)

    return lambda one, other: float(vector(one) @ vector(other))


def _merge(file: Path, entries: Sequence[Mapping[str, Any]], written_before: Collection[str]) -> int:
    """Add entries to the question file; how many were added. What is there stays as it is, and what the user removed stays away."""
    there = file.read_bytes() if file.is_file() else None
    known = {each.id for each in load_questions([file])} | set(written_before) if there is not None else set()
    new = [entry for entry in entries if entry["id"] not in known]
    if new:
        head = there.rstrip(b"\n") + b"\n" if there else b""
        write_bytes(file, head + "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in new).encode())
    return len(new)


def _fallen(judged: Sequence[Row], name: Filter) -> list[dict[str, str]]:
    some = [row for row in judged if row.dropped == name][:_EXAMPLES]
    return [{"question": row.entry["question"] if row.entry else "", "detail": row.detail} for row in some]


def _tokens(text: str) -> int:
    """About how many tokens a text is."""
    return len(text) // 4
