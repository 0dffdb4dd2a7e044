"""How long will a run take? Rates are measured on this machine with the real models; a budget samples questions to fit."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragtune import build
from ragtune.config import Settings
from ragtune.dataset.questions import RawQuestion
from ragtune.dataset.split import planned_sizes
from ragtune.errors import ConfigError
from ragtune.hosted.providers import is_hosted
from ragtune.models.pull import cache_dir
from ragtune.pipeline.confidence import QUESTIONS as CALIBRATION_QUESTIONS
from ragtune.pipeline.records import Forecast
from ragtune.prompts import PROMPT_VERSION, build_completion, build_messages
from ragtune.protocols import Embedder, Engine
from ragtune.train.schedule import validations
from ragtune.types import Branch, Chunk, ContextGroup, Message, Passage, Span
from ragtune.workspace import Workspace, stage_key, write_json

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
_WORDS = [
    "the",
    "crossing",
    "from",
    "the",
    "north",
    "pier",
    "takes",
    "forty",
    "minutes",
    "at",
    "low",
    "water",
    "and",
    "the",
    "last",
    "boat",
    "leaves",
    "before",
    "dusk",
    "in",
    "winter",
]
FEWEST = 24
"""A sample of fewer questions decides nothing."""
ANSWER_TOKENS = 32
"""Tokens of an answer with its quote, on average."""
DSF_SHARE = 0.2
"""Time of an answer trained without passages, as a share of one with three."""
HOSTED_ANSWERS = 1.0
"""Answers trained in a second by a vendor, its queue included: a guess, for jobs take from minutes to hours."""
HOSTED_CALL_S = 2.0
"""Seconds of a call of a hosted model: a guess, as measuring would cost money."""
_SPEED = {"backend", "method", "targets", "rehearsal", "gradient_checkpointing", "tokens_per_batch"}
"""Settings of training that its speed depends on; the rank hardly matters."""
CHANGES_WORTH = 9.0
"""Prompts with k passages that a question in all changed contexts is worth: eight of them, two of which show 2k."""
_STEPS = 12
TRAINING_SHARE = 0.5
"""Share of a budget that training gets where it does not suffice for both training and evaluation."""
HOSTED_CHUNKS = 100.0
"""Chunks that a hosted embedder does in a second: 64 take about two seconds, a few times at once. Not measured, as that would cost."""
SHOWN = {"none": 1.0, "neighbours": 2.5, "section": 2.0}
"""Length of a passage in chunks: of the example's 743 chunks 2.6 and 1.6 on average, of longer documents' sections up to 3."""
RESERVE = 0.9
"""Share of a budget that is planned for: rates are measured in seconds and the machine may slow down."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What this machine does in a second.

    Args:
        chunks: embedded.
        answers: trained, in separate contexts of k passages.
        prompts: answered, with k passages.
        load: seconds to load the models, once.
        pairs: of question and chunk, read by the reranker; 0 without one.
        rehearsal: seconds in which the base writes what a training run rehearses, once a run.
    """

    chunks: float
    answers: float
    prompts: float
    load: float
    pairs: float = 0.0
    rehearsal: float = 0.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """What there is to do; ``to_embed`` are the chunks without a vector, of all of them where it is not set."""

    files: int
    chunks: int
    train: int
    validation: int
    test: int
    to_embed: int | None = None


def parse_budget(text: str) -> float:
    """Seconds in ``20m``, ``1h30m``, ``900s`` or a bare number of minutes.

    Raises:
        ConfigError: it is none of these.
    """
    text = text.strip().lower()
    match = _DURATION.fullmatch(f"{text}m" if text.isdecimal() else text)
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    total = hours * 3600 + minutes * 60 + seconds
    if not total:
        raise ConfigError(f"--budget {text!r}: write it like 20m, 1h30m or 900s")
    return total


def measure_sizes(settings: Settings, documents: Sequence[int], questions: Sequence[RawQuestion]) -> Sizes:
    """Count files and questions; chunks are estimated from the files' bytes of text, four to a token.

    Args:
        settings: of the project.
        documents: of each file the bytes that are text, see :func:`text_bytes`.
        questions: all of them.
    """
    answerable = sum(bool(question.answers and question.evidence) for question in questions)
    train, validation, test = planned_sizes(
        len(questions), answerable, test_fraction=settings.dataset.test_share, validation_fraction=settings.dataset.validation_share
    )
    if any(question.split == "test" for question in questions):
        test = sum(question.split == "test" for question in questions)
        train = len(questions) - test - validation
    return Sizes(len(documents), max(1, count_chunks(settings, documents)), train, validation, test)


def count_chunks(settings: Settings, documents: Sequence[int]) -> int:
    """About how many chunks texts of so many bytes are."""
    return sum(documents) // (4 * settings.prepare.chunk_size)


def text_bytes(path: Path) -> int:
    """About how many bytes of a file are text: a twelfth of a PDF, say; none where it cannot be looked at, which the ingest reports."""
    try:
        size = path.stat().st_size
    except OSError:
        return 0
    return {".pdf": size // 12, ".docx": size // 8, ".html": size // 2, ".htm": size // 2}.get(path.suffix.lower(), size)


def measure_rates(workspace: Workspace, settings: Settings) -> Rates:
    """Time a few real batches of each local model; kept in the user's cache for the same machine, models and settings."""
    read = {
        "embed": settings.embed.model,
        "model": build.model_part(settings),
        "k": settings.retrieve.k,
        "chunk": settings.prepare.chunk_size,
        "tokens": settings.generate.max_new_tokens,
        "step": settings.train.answers_per_step,
        **settings.train.model_dump(mode="json", include=_SPEED, exclude_defaults=True),
        "prompt": PROMPT_VERSION,
        **({"concurrency": settings.chat.concurrency} if is_hosted(settings.model.base) else {}),
        **({"expand": settings.retrieve.expand} if settings.retrieve.expand != "none" else {}),
        **({"reranker": reranking.name} if (reranking := _reranker_of(workspace, settings)) else {}),
    }
    key = stage_key("rates", 7, read, _machine())
    path = cache_dir() / "rates.json"
    known: dict[str, Any] = {}
    if path.is_file():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            known = {}  # a torn cache is measured again
    if key not in known:
        rates = _measure(workspace, settings)
        known[key] = [rates.chunks, rates.answers, rates.prompts, rates.load, rates.pairs, rates.rehearsal]
        write_json(path, known)
    return Rates(*known[key])


def forecast(settings: Settings, sizes: Sizes, rates: Rates, budget: float | None = None) -> Forecast:
    """Seconds by stage, and how many questions fit a budget.

    Args:
        settings: epochs, arms and contexts.
        sizes: of the work.
        rates: of the machine.
        budget: wall seconds for all of it; ``None`` takes what it takes.
    """
    fixed = {
        "ingest": 1.0 + 0.08 * sizes.files,
        "index": rates.load + (sizes.chunks if sizes.to_embed is None else sizes.to_embed) / rates.chunks,
        "dataset": 1.0 + sizes.chunks / rates.chunks / 20 + _reranking(settings, sizes, rates),
    }
    n_train = min(sizes.train, settings.train.max_answers or sizes.train)
    n_test = min(sizes.test, settings.evaluate.max_questions or sizes.test)
    # The control without context is trained on the same answers without the passages, which are most of a sequence.
    runs = 1 + DSF_SHARE * ("dsf" in settings.evaluate.arms)
    answer = settings.train.epochs * runs / rates.answers
    rehearsal = rates.rehearsal * (1 + ("dsf" in settings.evaluate.arms))
    note = _guesses(settings)
    max_answers = max_questions = None
    if budget is not None:
        left = budget * RESERVE - sum(fixed.values()) - 2 * rates.load - rehearsal
        wanted = n_train * answer + _evaluation(settings, n_test) / rates.prompts
        if left < wanted:
            # What training needs to learn the form of an answer it has learnt early; every test question more narrows the interval.
            training = min(n_train * answer, max(TRAINING_SHARE * left, left - _evaluation(settings, n_test) / rates.prompts))
            max_answers = min(n_train, max(FEWEST, int(training / answer)))
            max_questions = _affordable(settings, n_test, (left - training) * rates.prompts)
            note += (
                "; " if note else ""
            ) + f"to fit the budget, {max_answers} of {n_train} training and {max_questions} of {n_test} test questions are sampled"
            n_train, n_test = max_answers, max_questions
    stages = {
        **fixed,
        "train": rates.load
        + rehearsal
        + n_train * answer
        + validations(settings.train.early_stopping) * _watched(settings, sizes) / rates.answers,
        "evaluate": rates.load + _evaluation(settings, n_test) / rates.prompts,
    }
    total = sum(stages.values())
    if is_hosted(settings.model.base):
        note = (note + "; " if note else "") + "how long the vendor takes to tune and to answer is a guess"
    if budget is not None and total > budget:
        note = (note + "; " if note else "") + "this is the least that can be measured, and it takes longer than the budget"
    return Forecast(stages, total, budget, max_answers, max_questions, note)


def _watched(settings: Settings, sizes: Sizes) -> float:
    """Trained answers that one validation in a run is worth: read without gradients, and where questions are watched answered."""
    return 0.4 * min(40, sizes.validation) + min(settings.train.watch_questions, sizes.validation)


def _reranking(settings: Settings, sizes: Sizes, rates: Rates) -> float:
    """Seconds in which the reranker reads its candidates for every question, once: an evaluation takes the dataset's rankings."""
    questions = sizes.train + sizes.validation + sizes.test
    return questions * min(settings.retrieve.rerank_candidates, sizes.chunks) / rates.pairs if rates.pairs else 0.0


def _guesses(settings: Settings) -> str:
    """What of retrieval is guessed, or not counted."""
    said = []
    if settings.retrieve.expand != "none":
        said.append(
            f"retrieve.expand = {settings.retrieve.expand}: passages are taken to be {SHOWN[settings.retrieve.expand]:g} chunks long"
        )
    if settings.retrieve.rewrite:
        said.append(f"{settings.retrieve.rewrite} rewrites every question, which is not counted")
    return "; ".join(said)


def _affordable(settings: Settings, most: int, prompts: float) -> int:
    """The most test questions that so many prompts pay for."""
    return next((count for count in range(most, FEWEST, -1) if _evaluation(settings, count) <= prompts), min(most, FEWEST))


def _evaluation(settings: Settings, questions: int) -> float:
    """Prompts with k passages that an evaluation is worth: ``oracle+distractors`` mostly repeats ``retrieved``, controls are short."""
    control = min(questions, settings.evaluate.control_questions)
    worth = {
        "retrieved": questions,
        "oracle+distractors": 0.15 * questions,
        "oracle": 0.35 * control,
        "closed-book": 0.25 * control,
        "distractors": control,
    }
    shots = 0.5 * ("base-fewshot" in settings.evaluate.arms)
    prompts = (len(settings.evaluate.arms) + shots) * sum(worth[context] for context in settings.evaluate.contexts)
    changed = len([arm for arm in settings.evaluate.arms if arm in ("base-fewshot", "tuned")]) + shots
    # The tuned model answers validation questions too, each with and without its evidence; there are about as many as are tested.
    calibration = 2 * min(CALIBRATION_QUESTIONS, questions) if "tuned" in settings.evaluate.arms else 0
    return prompts + changed * CHANGES_WORTH * min(questions, settings.evaluate.robustness) + calibration


def _measure(workspace: Workspace, settings: Settings) -> Rates:
    started = time.monotonic()
    embedder = None if is_hosted(settings.embed.model) else build.embedder(workspace, settings)
    engine = None if is_hosted(settings.model.base) else build.engine(settings)
    load = time.monotonic() - started
    found = [_passage(number, settings.prepare.chunk_size) for number in range(settings.retrieve.k)]
    texts = [passage.text + f" {number}" for number in range(7) for passage in found][:32]
    chunks = _chunks_per_second(embedder, texts) if embedder else HOSTED_CHUNKS
    reranking = _reranker_of(workspace, settings)
    pairs = _pairs_per_second(reranking.name, settings.model.device, texts) if reranking else 0.0
    if engine is None:
        return Rates(chunks, HOSTED_ANSWERS, settings.chat.concurrency / HOSTED_CALL_S, load, pairs)
    passages = [_passage(number, int(settings.prepare.chunk_size * SHOWN[settings.retrieve.expand])) for number in range(len(found))]
    # Each in an order of its own: equal contexts would be read once, which questions of a test seldom allow.
    prompts = [
        build_messages(f"How long is crossing number {n}?", passages[n % len(passages) :] + passages[: n % len(passages)]) for n in range(4)
    ]
    read_and_one, read_and_some = (_generate_seconds(engine, prompts, tokens) for tokens in (1, 1 + _STEPS))
    # A batch of 16 writes a token for each row in about half the time that a batch of 4 takes.
    written = ANSWER_TOKENS * max(0.0, read_and_some - read_and_one) / _STEPS / 2
    answered = len(prompts) / (read_and_one + written)
    completion = build_completion("forty minutes", ["the crossing from the north pier takes forty minutes at low water"])
    groups = [
        ContextGroup(tuple(passages), (Branch(str(n), f"How long is crossing number {n}?", completion),))
        for n in range(settings.train.answers_per_step)
    ]
    trainer = build.trainer(settings)
    return Rates(chunks, trainer.answers_per_second(groups), answered, load, pairs, trainer.rehearsal_seconds())


def _chunks_per_second(embedder: Embedder, texts: Sequence[str]) -> float:
    embedder.embed_documents(texts[:4])
    began = time.monotonic()
    embedder.embed_documents(texts)
    return len(texts) / (time.monotonic() - began)


def _reranker_of(workspace: Workspace, settings: Settings) -> build.Reranking | None:
    """The cross-encoder that serves."""
    return build.reranking(settings, build.adopted(workspace, settings))


def _pairs_per_second(name: str, device: str | None, texts: Sequence[str]) -> float:
    reranker = build.reranker(name, device)
    reranker.score("How long is the crossing?", texts[:4])
    began = time.monotonic()
    reranker.score("How long is the crossing?", texts)
    return len(texts) / (time.monotonic() - began)


def _generate_seconds(engine: Engine, prompts: Sequence[list[Message]], tokens: int) -> float:
    for _ in engine.generate(prompts[:1], max_new_tokens=1):
        pass  # what is done once, at the first prompt, is not counted
    began = time.monotonic()
    for _ in engine.generate(prompts, max_new_tokens=tokens, batch_size=len(prompts)):
        pass
    return time.monotonic() - began


def _passage(number: int, size: int) -> Passage:
    words = [*_WORDS] * (size // len(_WORDS) + 1)
    text = " ".join(words[number : number + int(size * 0.85)])
    chunk = Chunk(f"probe{number}", "probe.md", 0, len(text), text)
    return Passage(chunk.id, chunk.document, "Probe", "Probe", text, (Span("probe.md", 0, len(text)),), (chunk.id,))


def _machine() -> list[Any]:
    import os
    import platform

    return [platform.node(), platform.processor(), os.cpu_count()]
