"""Questions and the serving index to a named, immutable dataset."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ragtune import build
from ragtune.config import Settings
from ragtune.conversation import search_text
from ragtune.corpus import Corpus
from ragtune.dataset.anchor import AnchorReport, anchor
from ragtune.dataset.audit import NEAR, audit, nearest_texts
from ragtune.dataset.matching import holds_answer, is_trivial, normalise
from ragtune.dataset.questions import RawQuestion, is_question_file, load_questions
from ragtune.dataset.raft import Built, build_examples, by_split, draw_present, evaluation_context, recall_at_k
from ragtune.dataset.split import Splits, assign_splits, sections_of
from ragtune.dataset.store import read_dataset, write_dataset
from ragtune.errors import ProjectError, QuestionError
from ragtune.hosted.providers import is_hosted
from ragtune.pipeline.consent import Confirm, agree_to
from ragtune.pipeline.crossfit import open_cross_fitted
from ragtune.pipeline.index import build_index, questions_bill
from ragtune.pipeline.readings import read_before
from ragtune.pipeline.records import DatasetResult, ExampleView
from ragtune.pipeline.serving import retrieve_key
from ragtune.pipeline.train import sample_training, tell_of_few, training_groups
from ragtune.prepare import near_pairs
from ragtune.progress import Progress, counted
from ragtune.prompts import PROMPT_VERSION, build_messages, encode_completion, encode_prompt
from ragtune.retrieve.hybrid import MOST
from ragtune.types import JSON, Chunk, Example, Message, Question, Reason
from ragtune.workspace import Manifest, Workspace, hash_file, library_versions, now, read_manifest, stage_key, write_manifest

VERSION = 2
_FEW_OTHERS = 0.25
"""Share of the questions up to which answers in other words than the evidence's may be slips."""
LEAST_SHOWN = 0.9
"""Share of training contexts that hold the evidence, at least: a small model that lacks it oftener abstains anywhere (decision 0018)."""


def build_dataset(
    workspace: Workspace,
    settings: Settings,
    questions: Sequence[Path],
    test: Sequence[Path],
    name: str | None,
    progress: Progress,
    *,
    yes: bool = False,
    confirm: Confirm | None = None,
) -> DatasetResult:
    """Build a dataset, or give the one that the same inputs made.

    Args:
        workspace: with an ingested corpus; the index is brought up to date first.
        settings: dataset, retrieve and embed are read.
        questions: files or folders; empty takes the setting ``questions``.
        test: files that are the whole test split.
        name: of the dataset; ``None`` makes one from the key.
        progress: told what goes on.
        yes: spend what a hosted embedder costs, up to ``chat.max_cost``.
        confirm: asked before money is spent, where ``yes`` was not said.

    Raises:
        ConsentError: it costs money and nobody agreed to it.
        QuestionError: a question file is missing or malformed, or no question can be used.
        ProjectError: the name belongs to a dataset of other inputs.
    """
    started = time.monotonic()
    build_index(workspace, settings, progress, quiet=True, yes=yes, confirm=confirm)
    files = question_files(workspace, settings, questions)
    test_files = question_files(workspace, settings, test) if test else []
    files = [path for path in files if path not in test_files]
    with contextlib.closing(build.open_corpus(workspace)) as corpus:
        key, read, inputs = _key(workspace, settings, corpus, files, test_files)
        found = workspace.find_key("datasets", key)
        if found is not None and name in (None, found.name):
            progress.note(f"dataset: unchanged, {found.name} is as these inputs make it")
            tell_of_few(found.figures["questions"]["train"], progress)
            return _result(workspace, found, made=False)
        name = name or f"data-{key[:8]}"
        folder = workspace.artifact("datasets", name)
        if read_manifest(folder) is not None:
            raise ProjectError(f"a dataset named {name} exists and was made from other inputs: choose another --name")
        held_out = load_questions(test_files, progress.note)
        _check_unreviewed(held_out)
        raw = [*load_questions(files, progress.note), *(replace(question, split="test") for question in held_out)]
        if not raw:
            raise QuestionError(
                f"no questions found in {', '.join(map(str, files)) or 'questions/'}: write some (see docs/questions.md) and run this again"
            )
        bills = questions_bill(workspace, settings, [search_text(each.question, each.history) for each in raw])
        agree_to(bills, settings, yes=yes, confirm=confirm, progress=progress)
        shutil.rmtree(folder, ignore_errors=True)
        progress.start("dataset")
        anchored = anchor(raw, {document.source: document for document in corpus.all_documents()}, corpus.copies())
        built, figures = _build(workspace, settings, corpus, raw, anchored, progress)
        write_dataset(folder, built.examples, built.passages, _fields(raw, built.examples))
    figures["left_out"] = [asdict(reason) for reason in (*anchored.stale, *anchored.unread, *built.problems)]
    manifest = Manifest("datasets", name, key, inputs, read, figures, now(), round(time.monotonic() - started, 3), library_versions())
    write_manifest(folder, manifest)
    counts = figures["questions"]
    whole = figures["recall"]["validation"]
    # Not called recall, which is a share of the evidence (ragtune evaluate --retrieval): this is one of the questions.
    served = "" if whole < 0 else f", all evidence in the top {settings.retrieve.k} for {whole:.0%} of those of validation"
    progress.finish(
        "dataset",
        f"{counts['train']} training, {counts['validation']} validation and {counts['test']} test questions{served}: {name}",
    )
    tell_of_few(counts["train"], progress)
    _tell_of_other_words(anchored.questions, progress)
    if tested := read_before(workspace, [each for each in built.examples if each.split != "test"]):
        progress.note(
            f"{counted(len(tested), 'question')} that an evaluation asked as test questions "
            f"{'is' if len(tested) == 1 else 'are'} no longer in the test split, but trained on or chosen with "
            f'({", ".join(tested[:3])}{", …" if len(tested) > 3 else ""}): give them "split": "test", or set them apart with --test FILE, '
            "where figures are to be compared"
        )
    return _result(workspace, manifest, made=True)


def _tell_of_other_words(questions: Sequence[Question], progress: Progress) -> None:
    """Name questions whose evidence holds none of their answers, where most questions' evidence does: some are slips."""
    told = [each for each in questions if each.evidence and not all(is_trivial(normalise(answer)) for answer in each.answers)]
    other = [each.id for each in told if not holds_answer(each.answers, normalise(" ".join(own.text for own in each.evidence)))]
    if other and len(other) <= _FEW_OTHERS * len(told):
        progress.note(
            f"{counted(len(other), 'question')} with evidence in which no answer of theirs stands ({', '.join(other[:3])}"
            f"{', …' if len(other) > 3 else ''}): right where it says the same in other words; look them over for slips"
        )


def synthesised_file(workspace: Workspace, settings: Settings) -> Path:
    """Where the questions that a teacher wrote lie: in the first folder of the setting ``questions``, else in ``questions/``."""
    named = [workspace.project / item for item in settings.questions]
    return next((path for path in named if path.is_dir()), workspace.project / "questions") / "synthesised.jsonl"


def reviewed_file(workspace: Workspace, settings: Settings) -> Path:
    """Where the questions lie that were accepted in a review: beside those that a teacher wrote."""
    return synthesised_file(workspace, settings).with_name("reviewed.jsonl")


def question_files(workspace: Workspace, settings: Settings, given: Sequence[Path], *, missing_ok: bool = False) -> list[Path]:
    """The question files of a run: those given, else those of the setting with what a teacher wrote and was reviewed, folders opened.

    Raises:
        QuestionError: a path does not exist, unless ``missing_ok``.
    """
    files: list[Path] = []
    for path in given or [workspace.project / item for item in settings.questions]:
        if path.is_dir():
            files += _in_folder(path)
        elif path.is_file():
            files.append(path)
        elif not missing_ok:
            raise QuestionError(f"there is no question file {path}: give --questions FILE, or put .jsonl files into questions/")
    for written in (synthesised_file(workspace, settings), reviewed_file(workspace, settings)):
        if not given and written.is_file() and written not in files:
            files.append(written)
    return files


def _in_folder(folder: Path) -> list[Path]:
    """The question files of a folder; of what ``datasets`` saved, those of its splits' folders."""
    if (folder / "dataset_dict.json").is_file():
        return [file for split in sorted(folder.iterdir()) if split.is_dir() for file in _in_folder(split)]
    return sorted(path for path in folder.iterdir() if is_question_file(path))


def show_example(workspace: Workspace, settings: Settings, example: str | None, name: str | None, epoch: int) -> ExampleView:
    """One example of a dataset as the model sees it, tokens counted with the base model's tokenizer.

    A training example is shown in the context that the epoch trains it in, its own or one that it shares; the first example is one that is
    trained on, and one beyond ``train.max_answers`` is shown as it would be without that limit. Others are shown as they are retrieved.
    """
    manifest = workspace.find("datasets", name)
    data = read_dataset(workspace.artifact("datasets", manifest.name))
    trained = sample_training(data.train, settings)
    everything = {each.id: each for each in (*trained, *data.train, *data.validation, *data.test)}
    chosen = everything.get(example) if example else next(iter(everything.values()), None)
    if chosen is None:
        some = ", ".join(list(everything)[:5])
        raise ProjectError(f"dataset {manifest.name} has no example {example!r}; some that it has: {some}")
    if chosen.split == "train":
        among = trained if chosen in trained else data.train
        groups = training_groups(data, among, settings, manifest)(epoch)
        found = next(((g.passages, b.completion) for g in groups for b in g.branches if b.id == chosen.id), None)
        if found is None:
            raise ProjectError(f"{chosen.id} is left out of epoch {epoch}, as its evidence is absent and train.absent is drop: try another")
        passages, written = found
        present = chosen.id in draw_present(among, epoch=epoch, seed=settings.train.seed, p=manifest.figures["p_oracle"])
    else:
        shown = evaluation_context(chosen, "retrieved", int(manifest.settings["retrieve"]["k"]))
        passages, written = tuple(data.passages[id_] for id_ in shown.passages or ()), chosen.completion
        present = shown.answerable
    messages = build_messages(chosen.question, passages, history=chosen.history)
    text, completion, tokens, trained_tokens = _as_seen(settings, messages, written)
    return ExampleView(
        id=chosen.id,
        split=chosen.split,
        messages=tuple(messages),
        completion=completion,
        text=text,
        tokens=tokens,
        trained_tokens=trained_tokens,
        oracle_present=present,
    )


def _as_seen(settings: Settings, messages: Sequence[Message], written: str) -> tuple[str, str, int, int]:
    """Prompt and completion as the base model's template writes them, and tokens in all and of the completion.

    How a hosted model is shown its messages, and how it counts them, only its vendor knows: four bytes are taken for a token.
    """
    if is_hosted(settings.model.base):
        text = "\n\n".join(f"[{message.role}]\n{message.content}" for message in messages)
        trained = len(written.encode()) // 4
        return text, written, len(text.encode()) // 4 + trained, trained
    tokenizer = build.tokenizer(settings)
    prompt, completion = encode_prompt(tokenizer, messages).ids, encode_completion(tokenizer, written)
    return tokenizer.decode(prompt), tokenizer.decode(completion), len(prompt) + len(completion), len(completion)


def _key(
    workspace: Workspace, settings: Settings, corpus: Corpus, files: Sequence[Path], test_files: Sequence[Path]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    read = {
        "dataset": settings.dataset.model_dump(mode="json"),
        "retrieve": retrieve_key(workspace, settings),
        "embed": settings.embed.model,
        "near_duplicates": settings.prepare.near_duplicates,
        "prompt": PROMPT_VERSION,
    }
    inputs = {
        "corpus": corpus_hash(corpus),
        "duplicates": stage_key("duplicates", 1, None, corpus.copies()),
        "embedder": build.embedder(workspace, settings).fingerprint,
        "questions": _hashes(files),
        "test_questions": _hashes(test_files),
    }
    tuned = build.adopted(workspace, settings)
    if tuned is not None:  # whose folds find the training questions' passages
        inputs["retriever"] = tuned.name
    return stage_key("dataset", VERSION, read, inputs), read, inputs


def _hashes(files: Sequence[Path]) -> dict[str, str]:
    """Hash by the file's name; files of one name are told apart by a number, in the order of their hashes, wherever they lie."""
    hashes: dict[str, str] = {}
    for name, hash_ in sorted((path.name, hash_file(path)) for path in files):
        number, key = 1, name
        while key in hashes:
            number += 1
            key = f"{name} {number}"
        hashes[key] = hash_
    return hashes


def corpus_hash(corpus: Corpus) -> str:
    """Hash of every chunk with its place, which covers every document that can be found."""
    digest = hashlib.sha256()
    for place in corpus.places():
        digest.update(place.encode() + b"\n")
    return digest.hexdigest()


def _build(
    workspace: Workspace, settings: Settings, corpus: Corpus, raw: Sequence[RawQuestion], anchored: AnchorReport, progress: Progress
) -> tuple[Built, dict[str, Any]]:
    chunks: dict[str, list[Chunk]] = {}
    for chunk in corpus.all_chunks():
        chunks.setdefault(chunk.document, []).append(chunk)
    splits = assign_splits(
        anchored.questions,
        sections=sections_of(chunks),
        near_duplicates=near_pairs(corpus.documents(), settings.prepare.near_duplicates),
        seed=settings.dataset.seed,
        test_fraction=settings.dataset.test_share,
        validation_fraction=settings.dataset.validation_share,
        new_document_fraction=settings.dataset.new_documents_share,
    )
    copies = _copies_of_tests(anchored.questions, splits)
    questions = [each for each in anchored.questions if each.id not in copies]
    asked = [
        (search_text(each.question, each.history), splits.assignments[each.id].group, splits.assignments[each.id].split)
        for each in questions
    ]
    with open_cross_fitted(workspace, settings, asked, progress) as retriever:
        built = build_examples(
            questions,
            splits,
            retriever,
            chunks,
            retriever.to_passage,
            candidates=MOST,
            quote_words=settings.dataset.quote_words,
            reasoning=settings.dataset.reasoning,
        )
    problems = [Reason(id_, f"much like the test question {test}, so it is not learnt from") for id_, test in copies.items()]
    built = replace(built, problems=[*problems, *built.problems])
    by = by_split(built.examples)
    k = settings.retrieve.k
    # Not of the test split: that is locked, and a look at it belongs to an evaluation, where it is counted.
    recall = {split: recall_at_k(by.get(split, []), k) for split in ("train", "validation")}
    p = settings.dataset.p_oracle
    if p is None:
        # A handful of validation questions says little about recall; training questions are retrieved in just the same way.
        measured = recall["validation"] if len(by.get("validation", [])) >= 30 else recall["train"]
        p = 1.0 if measured is None else max(LEAST_SHOWN, round(measured, 3))
    queries = {each.id: search_text(each.question, each.history) for each in built.examples}
    retrieved_by = {id_: f"fold {fold}" for id_, query in queries.items() if (fold := retriever.fold_of.get(query)) is not None}
    audited = audit(built.examples, seed=settings.dataset.seed, p=p)
    figures = {
        "questions": {split: len(by.get(split, [])) for split in ("train", "validation", "test")},
        "unanswerable": {split: sum(not example.answers for example in by.get(split, [])) for split in ("train", "validation", "test")},
        "synthesised": _synthesised(raw, by),
        **_reviewed(anchored.questions, by),
        "test_strata": _strata(by.get("test", [])),
        "p_oracle": p,
        "recall": {split: -1.0 if value is None else round(value, 4) for split, value in recall.items()},
        "groups": {"unit": splits.unit, "count": splits.groups},
        "answer_elsewhere": _elsewhere(built.examples, k),
        "audit": {
            "near_identical_test_questions": audited.near_identical,
            "trained_evidence": [[id_, share] for id_, share in audited.trained.items()],
            "nearest": [[each.test, each.train, each.similarity] for each in audited.nearest],
            "counts": dict(audited.counts),
        },
        **({"retrieved_by": retrieved_by} if retrieved_by else {}),
        "stale": len(anchored.stale),
        "unread": {question.id: question.needs for question in raw if question.id in {reason.source for reason in anchored.unread}},
    }
    return built, figures


def _fields(raw: Sequence[RawQuestion], examples: Sequence[Example]) -> dict[str, dict[str, JSON]]:
    """What question files say of questions and their examples do not, by id; where evidence is known, it names the documents."""
    ids = {example.id for example in examples}
    found: dict[str, dict[str, JSON]] = {}
    for each in raw:
        said: dict[str, JSON] = {
            "document": None if each.evidence else each.document,
            "needs": each.needs,
            "synthesised_by": each.synthesised_by,
            "reviewed": each.reviewed,
            "extra": dict(each.extra),
        }
        if each.id in ids and any(said.values()):
            found[each.id] = {name: value for name, value in said.items() if value}
    return found


def _synthesised(raw: Sequence[RawQuestion], by: Mapping[str, Sequence[Example]]) -> dict[str, dict[str, int]]:
    """How many questions of each split were written by which model."""
    author = {question.id: question.synthesised_by for question in raw if question.synthesised_by}
    counted = {split: Counter(author[each.id] for each in own if each.id in author) for split, own in by.items()}
    return {split: dict(authors) for split, authors in counted.items() if authors}


def _check_unreviewed(test: Sequence[RawQuestion]) -> None:
    for question in test:
        if question.reviewed:
            raise QuestionError(
                f"{question.where}: {question.id} was reviewed, and such questions are never tested on: leave it out of --test"
            )


def _copies_of_tests(questions: Sequence[Question], splits: Splits) -> dict[str, str]:
    """Reviewed questions that are all but the same as a test question, to that."""
    texts = [(each.id, search_text(each.question, each.history), each.reviewed) for each in questions]
    test = [(id_, text) for id_, text, _ in texts if splits.assignments[id_].split == "test"]
    reviewed = [(id_, text) for id_, text, is_reviewed in texts if is_reviewed]
    return {each.test: each.train for each in nearest_texts(test, reviewed) if each.similarity >= NEAR}


def _reviewed(questions: Sequence[Question], by: Mapping[str, Sequence[Example]]) -> dict[str, dict[str, int]]:
    """How many reviewed questions there are in each split, where there are any."""
    ids = {each.id for each in questions if each.reviewed}
    counted = {split: sum(each.id in ids for each in by.get(split, [])) for split in ("train", "validation")}
    return {"reviewed": counted} if ids else {}


def _strata(test: Sequence[Example]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for example in test:
        label = example.stratum or "without documents"
        counted[label] = counted.get(label, 0) + 1
    return counted


def _elsewhere(examples: Sequence[Example], k: int) -> float:
    """Share of the questions with evidence for which another passage of the top k also holds the answer's words."""
    known = [example for example in examples if example.oracles]
    return round(sum(any(c.holds_answer for c in e.candidates[:k]) for e in known) / len(known), 4) if known else 0.0


def _result(workspace: Workspace, manifest: Manifest, made: bool) -> DatasetResult:
    """The same of a dataset that was just made and of one that was there."""
    left_out = tuple(Reason(**reason) for reason in manifest.figures["left_out"])
    return DatasetResult(manifest.name, str(workspace.artifact("datasets", manifest.name)), made, _brief(manifest.figures), left_out)


def _brief(figures: Mapping[str, Any]) -> dict[str, Any]:
    brief = {name: value for name, value in figures.items() if name not in ("audit", "left_out", "unread", "retrieved_by")}
    brief["near_identical_test_questions"] = figures["audit"]["near_identical_test_questions"]
    brief["left_out"] = len(figures["left_out"])
    return brief


__all__ = ["Reason", "build_dataset", "corpus_hash", "question_files", "reviewed_file", "show_example", "synthesised_file"]
