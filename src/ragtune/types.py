"""The records that travel between stages: frozen, plain, without behaviour beyond what their own fields say.

Offsets are Unicode code points of a document's stored text, half open: ``text[start:end]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, Union

JSON: TypeAlias = Union[bool, int, float, str, "list[JSON]", "dict[str, JSON]", None]

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation", "test"]
Stratum = Literal["new_questions", "new_documents"]
Context = Literal["closed-book", "distractors", "oracle", "oracle+distractors", "retrieved"]
Arm = Literal["base", "base-fewshot", "tuned", "dsf", "other"]

CONTEXTS: tuple[Context, ...] = ("closed-book", "distractors", "oracle", "oracle+distractors", "retrieved")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch ``[start, end)`` of one document's text, in code points."""

    document: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """One source item, cleaned to Markdown.

    Args:
        source: where it came from, unique in a corpus: a path under the ingested folder, with ``#id`` for a row or record.
        title: what a person would call it.
        text: the cleaned Markdown that every offset points into.
        media_type: of the source, e.g. ``application/pdf``.
        metadata: author, date, language, page starts, and so on; JSON values only.
    """

    source: str
    title: str
    text: str
    media_type: str = "text/markdown"
    metadata: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of one document's text: what is embedded and found.

    Args:
        id: hash of document source, content and occurrence; the same for the same text in the same document.
        document: the document's ``source``.
        start: first code point in the document's text.
        end: one past the last.
        text: exactly ``document.text[start:end]``.
        title: the document's title.
        headings: path of headings above the chunk, outermost first.
        prefix: text put before ``text`` for embedding and for the model (title, headings, table header); not in the document at this place.
        row: corpus.db's row id, which is the FAISS id; -1 before it is stored.
    """

    id: str
    document: str
    start: int
    end: int
    text: str
    title: str = ""
    headings: tuple[str, ...] = ()
    prefix: str = ""
    row: int = -1


@dataclass(frozen=True, slots=True)
class Passage:
    """What the model is shown.

    Args:
        id: of the chunk, or a hash of the chunk ids where there are several.
        document: the document's ``source``.
        title: the document's title.
        prefix: heading line(s) shown before the text.
        text: the shown text: the spans' text joined by a newline.
        spans: where the text stands in the document.
        chunk_ids: the chunks it came from.
    """

    id: str
    document: str
    title: str
    prefix: str
    text: str
    spans: tuple[Span, ...]
    chunk_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk as retrieved for a question: ``rank`` counts from 1, a higher ``score`` is better."""

    chunk: Chunk
    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class Where:
    """Which documents may be found; they are chosen before anything is ranked. ``None`` leaves out nothing.

    Args:
        access: tags that the asker has. A document with tags of its own (``access`` in its metadata) is found by who has one of them; one
            without is open to all, so ``()`` finds those alone.
        source: pattern of sources, as ``guides/*``; ``*`` matches ``/`` too.
        media_type: pattern of media types, as ``text/*``.
    """

    access: tuple[str, ...] | None = None
    source: str | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a question's answer stands; independent of chunking."""

    document: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its reference answers and where they stand.

    Args:
        id: unique among the project's questions.
        question: the text asked.
        answers: references, the best first; empty where the documents do not answer it.
        evidence: anchored to document text; empty where none is known.
        split: where the user fixed it; else ``None``.
        kind: a free label (``numeric``, ``table``, ...), used for strata.
        needs: a capability without which the question's document cannot be read (``ocr``).
        documents: sources of what the question names where no evidence is known: its document, or the rows of its table.
        reasoning: how the evidence gives the answer, in a sentence or two.
        history: what was said before it was asked, oldest first: turns of ``user`` and ``assistant``.
        reviewed: it came from the review of answers that were served, and is never tested on.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    evidence: tuple[Evidence, ...] = ()
    split: Split | None = None
    kind: str | None = None
    needs: str | None = None
    documents: tuple[str, ...] = ()
    reasoning: str | None = None
    history: tuple[Message, ...] = ()
    reviewed: bool = False

    @property
    def answerable(self) -> bool:
        """Whether the documents answer it."""
        return bool(self.answers)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that retrieval returned for a question, as kept in a dataset.

    Args:
        passage: the passage's id.
        rank: from 1, in the serving retriever's order.
        oracle: it covers gold evidence.
        holds_answer: it could answer too (the answer's text occurs in it), though it is not the gold evidence.
        allowed: it may be a training distractor (not of a held-out document group).
    """

    passage: str
    rank: int
    oracle: bool
    holds_answer: bool
    allowed: bool


@dataclass(frozen=True, slots=True)
class Example:
    """One question of a dataset, with everything that assembling a context for it needs.

    Args:
        id: the question's id.
        question: the text asked.
        answers: references; empty where the documents do not answer.
        completion: what the model learns to write when the evidence is shown (quote, then answer).
        oracles: ids of the passages that together hold the evidence.
        candidates: the retriever's ranking, best first.
        evidence: gold spans.
        split: train, validation or test.
        stratum: of a validation or test question; ``None`` in training.
        group: the document group that is resampled as one.
        kind: the question's own label.
        reasoning: how the evidence gives the answer, where the question says it.
        history: what was said before the question.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    completion: str
    oracles: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    evidence: tuple[Evidence, ...]
    split: Split
    stratum: Stratum | None
    group: str
    kind: str | None = None
    reasoning: str | None = None
    history: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class RankingList:
    """What a retriever is tuned on: a question, and texts as they are embedded, of which the first answers it and the others do not."""

    question: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """One question, what was said before it, and the completion to learn, under a context."""

    id: str
    question: str
    completion: str
    history: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class ContextGroup:
    """What is trained as one sequence: passages in order and the questions asked of them (one, or several that share them).

    ``passages`` is ``None`` where the questions are asked from memory, as for the ``dsf`` arm.
    """

    passages: tuple[Passage, ...] | None
    branches: tuple[Branch, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A chat message."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen, and what they must come to. The default is the greedy answer that evaluations measure.

    Args:
        temperature: of the distribution that is drawn from; 0, and less than 0.00001, always takes the likeliest token.
        top_p: share of the probability that is drawn from, the likeliest tokens first.
        seed: of the draws; ``None`` draws anew each time.
        stop: texts before which the answer ends.
        schema: JSON schema that the whole answer fulfils; ``{}`` is any JSON object. Quotes are then not held to passages.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, JSON] | None = None


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call as its server counts them; reasoning that is not shown counts as completion."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


Price: TypeAlias = Callable[[Usage], float]
"""US dollars of one call's tokens."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat model's whole answer.

    Args:
        text: what it wrote, without hidden reasoning.
        usage: tokens.
        finished: it stopped by itself, not at the token limit.
        model: the model as the server names it, which may be a dated snapshot of what was asked for.
        seconds: wall time of the call that made it.
        cost: US dollars; ``None`` where no price is known.
        cached: it was answered before and came from the project's own store: nothing was spent.
        abstain_logodds: as in :class:`Generation`; ``None`` where the model does not tell, and so is ``logprob``.
        logprob: as in :class:`Generation`.
    """

    text: str
    usage: Usage = Usage()
    finished: bool = True
    model: str = ""
    seconds: float = 0.0
    cost: float | None = None
    cached: bool = False
    abstain_logodds: float | None = None
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model wrote for one prompt.

    Args:
        text: without special tokens.
        prompt_tokens: tokens of the prompt.
        completion_tokens: tokens written, the end token not counted.
        seconds: wall time; of a batch, the batch's time divided by its size.
        finished: it stopped by itself, not at the token limit.
        abstain_logodds: log-odds that the answer starts as an abstention, in nats; ``None`` where the engine does not give it.
        cost: US dollars of a hosted model's answer; ``None`` where no price is known.
        logprob: log-probability of what was written, its end included, in nats; ``None`` where the engine does not give it.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    finished: bool
    abstain_logodds: float | None = None
    cost: float | None = None
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """A quotation in an answer, checked against the shown passages.

    ``document``, ``start`` and ``end`` are where it stands; ``None`` where it is in no shown passage, and then not ``valid``. ``found``:
    the answer quotes nothing, and its words stand here (:mod:`ragtune.support`).
    """

    text: str
    valid: bool
    document: str | None = None
    start: int | None = None
    end: int | None = None
    passage: str | None = None
    found: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer of one arm in one context; a line of predictions.jsonl.

    ``raw`` is what the model wrote, ``answer`` the final answer alone; ``passages`` are ids; ``answerable_in_context`` says whether all
    evidence was among them; ``cost`` is US dollars, where a hosted model answered and its price is known; ``finished`` is false where
    the token limit ended the answer. ``confidence`` is the calibrated log-odds that the passages hold the answer; ``withheld`` is true
    where that is too low for ``generate.precision``: then ``raw`` is not what a reader is given. ``history`` is what was said before.
    """

    id: str
    question: str
    arm: Arm
    model: str
    seed: int
    context: Context
    group: str
    stratum: Stratum | None
    kind: str | None
    raw: str
    answer: str
    references: tuple[str, ...]
    passages: tuple[str, ...]
    quotes: tuple[Quote, ...]
    abstained: bool
    answerable_in_context: bool
    abstain_logodds: float | None
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cost: float | None = None
    finished: bool = True
    confidence: float | None = None
    withheld: bool = False
    history: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval and the number of questions it rests on; ``None`` bounds where ``n`` is too small."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """The score from which on retrieval is trusted.

    Args:
        score: of the best hit, at least.
        wanted: precision asked for.
        precision: share of the questions at or above it whose evidence is in the top k.
        coverage: share of all questions that are at or above it.
        missed: share of the questions whose evidence was found that are below it all the same.
        n: questions that it was chosen on, those that the documents do not answer included.
    """

    score: float
    wanted: float
    precision: float
    coverage: float
    missed: float
    n: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a source was read, skipped or dropped."""

    source: str
    reason: str

    @property
    def line(self) -> str:
        """Both on one line, the source once: many a reason begins with it."""
        named = self.reason.startswith((f"{self.source} ", f"no text found in {self.source}"))
        return self.reason if named else f"{self.source} — {self.reason}"


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training run gives back; memory in bytes, seconds over all sittings, ``None`` where it was not predicted or measured.

    ``best_step`` is the step whose weights these are where the validation loss may stop a run, else ``None``.
    """

    steps: int
    answers: int
    tokens: int
    seconds: float
    train_loss: float
    validation_loss: float | None
    device: str
    dtype: str
    predicted_seconds: float | None = None
    predicted_memory: float | None = None
    peak_memory: float | None = None
    best_step: int | None = None


@dataclass(frozen=True, slots=True)
class TrainForecast:
    """What a training run would be.

    Args:
        steps: updates.
        contexts: sequences that are read, over all epochs.
        answers: that are trained on, over all epochs.
        tokens: about, over all epochs.
        batch_tokens: of the largest pass.
        parameters: of the model.
        trained: of these and of adapters.
        gradient_checkpointing: whether layers are computed twice.
        memory: bytes at the peak, by what takes them.
        peak: bytes at the peak, in all.
        memory_available: bytes that the device has for it.
        fits: whether there is room for it. What is a tenth too large may yet fit: predictions are no more exact.
        seconds: of the run; ``None`` where it was not measured.
        remedies: settings that would make it fit, with the bytes that they lead to; none where it fits.
        device: where it runs.
        dtype: of the frozen weights.
    """

    steps: int
    contexts: int
    answers: int
    tokens: int
    batch_tokens: int
    parameters: int
    trained: int
    gradient_checkpointing: bool
    memory: Mapping[str, float]
    peak: float
    memory_available: float
    fits: bool
    seconds: float | None = None
    remedies: Mapping[str, float] = field(default_factory=dict)
    device: str = "cpu"
    dtype: str = ""

    @property
    def refusal(self) -> str:
        """Why a run that does not fit is refused, and what would make it fit."""
        parts = ", ".join(f"{name} {_gb(size)}" for name, size in self.memory.items() if size)
        said = f"training would take about {_gb(self.peak)} ({parts}), and {self.device} has {_gb(self.memory_available)} for it: "
        if not self.remedies:
            return said + "no setting of train makes it fit, so choose a smaller model.base"
        return said + "set " + ", or ".join(f"{words} (about {_gb(peak)})" for words, peak in self.remedies.items())


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


@dataclass(frozen=True, slots=True)
class TuningState:
    """Where a hosted tuning job stands.

    Args:
        status: the vendor's own word, which may be one that nobody knew when this was written.
        end: how it ended; ``None`` while it goes on.
        model: the tuned model as the vendor knows it, once there is one.
        reason: why it failed, in the vendor's words.
        trained_tokens: tokens charged for.
    """

    status: str
    end: Literal["succeeded", "failed", "cancelled"] | None = None
    model: str | None = None
    reason: str = ""
    trained_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TuningEvent:
    """What a vendor tells of a running job: words, or figures of one step (``step``, ``steps``, ``loss``, ``validation_loss``)."""

    id: str
    text: str
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TuningCheckpoint:
    """A model that a job kept on its way."""

    model: str
    step: int
    metrics: Mapping[str, float] = field(default_factory=dict)
