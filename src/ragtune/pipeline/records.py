"""What each stage gives back: what the command line shows and ``--json`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ragtune.progress import counted
from ragtune.traces.records import ReviewItem
from ragtune.types import Estimate, Message, Reason, TrainForecast

if TYPE_CHECKING:
    from ragtune.evaluate.retrieval_report import RetrievalReport
    from ragtune.evaluate.several import Several


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What an ingest did. Lists name sources with a reason; ``unchanged`` and ``chunks`` are counts.

    ``repairs`` counts what cleaning did to all texts that are in the corpus now; ``left_out`` is what a filter or the purge list keeps out.
    """

    read: tuple[Reason, ...]
    skipped: tuple[Reason, ...]
    duplicates: tuple[Reason, ...]
    removed: tuple[Reason, ...]
    unchanged: int
    documents: int
    chunks: int
    seconds: float
    repairs: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[Reason, ...] = ()
    retagged: int = 0
    """Documents that ``prepare.metadata`` gives other metadata than before."""

    @property
    def counts(self) -> str:
        """All of them in a line; what is left out only where something is."""
        left_out = f", {len(self.left_out)} left out" if self.left_out else ""
        return (
            f"{len(self.read)} read, {self.unchanged} unchanged, {len(self.removed)} removed, {len(self.skipped)} skipped{left_out}, "
            f"{counted(len(self.duplicates), 'duplicate')}: {counted(self.documents, 'document')} in {counted(self.chunks, 'chunk')}"
        )


def grouped(reasons: Sequence[Reason], names: int = 3) -> list[str]:
    """One line for each reason, with how many sources it is about and the first of their names."""
    by: dict[str, list[str]] = {}
    for each in reasons:
        by.setdefault(each.reason, []).append(each.source)
    return [
        Reason(own[0], why).line if len(own) == 1 else f"{len(own)} ({', '.join(own[:names])}{', …' if len(own) > names else ''}) — {why}"
        for why, own in by.items()
    ]


@dataclass(frozen=True, slots=True)
class Held:
    """A file that holds what is purged.

    Args:
        path: under the project, or of a question file.
        places: stretches of text in it.
        own: it is the user's, and never changed.
        redacted: it was blanked.
    """

    path: str
    places: int
    own: bool = False
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """What a purge did, or would do.

    Args:
        purged: files and documents that are on the list now.
        documents: removed from the corpus.
        held: files besides the corpus and the index that hold the text.
        copies: documents that stay and say the same.
        tuned: models that were tuned on it, and may remember it.
        already: files and documents that were on the list before.
        done: false of a plan that nobody agreed to.
        seconds: that it took.
    """

    purged: tuple[str, ...]
    documents: int
    held: tuple[Held, ...]
    copies: tuple[Reason, ...]
    tuned: tuple[str, ...]
    already: tuple[str, ...] = ()
    done: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promotion or its withdrawal did.

    Args:
        served: the model that serves now, for whoever names none.
        previous: that served before.
        refused: conditions that hold and must not, so that nothing was changed.
        warnings: what should be known of the model.
    """

    served: str
    previous: str
    refused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReviewResult:
    """What a decision on a question in the review queue did.

    Args:
        item: as it is now.
        question: id of the question that was made of it; ``None`` where none was.
        file: that it was written to.
        warnings: what the person who decided should know.
    """

    item: ReviewItem
    question: str | None = None
    file: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexResult:
    """What an index run did: chunks embedded anew, vectors in the index, how it came to be, and why it is being built anew, if it is."""

    embedded: int
    vectors: int
    generation: int
    action: str
    seconds: float
    kind: str = "flat"
    rebuilding: str | None = None

    @property
    def counts(self) -> str:
        """In words; chunks that were not embedded now have the vector of an earlier run, or that of a chunk with the same text."""
        known = self.vectors - self.embedded
        had = f" ({known} had theirs, or share it with an equal text)" if self.embedded and known > 0 else ""
        return f"{counted(self.embedded, 'chunk')} embedded, {counted(self.vectors, 'vector')} in the index{had}"


@dataclass(frozen=True, slots=True)
class IndexExplanation:
    """Why the index is as it is.

    Args:
        vectors: in it.
        dimension: of each.
        embedder: that made them.
        kind: of the index.
        why: it is that one.
        parameters: how much a search reads, as it was tuned.
        measured: recall and milliseconds beside exact search, by :class:`ragtune.index.tune.Measured`'s names; ``None`` of exact search.
        sizes: bytes that each kind takes for so many vectors.
        bytes: of its files.
        action: how it was last brought up to date.
        built: when, of how many vectors and in how many seconds it was last built whole.
        changed: vectors that came or went since then.
        current: whether it is of the corpus and the settings as they are now.
        due: why it should be built anew, where it should.
        otherwise: what would have another kind chosen.
    """

    vectors: int
    dimension: int
    embedder: str
    kind: str
    why: str
    parameters: Mapping[str, int]
    measured: Mapping[str, float] | None
    sizes: Mapping[str, int]
    bytes: int
    action: str
    built: Mapping[str, Any]
    changed: int
    current: bool
    due: str | None
    otherwise: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WatchRound:
    """What one round of ``ingest --watch`` did: up to its error, where it met one.

    Args:
        at: when it ended, in UTC.
        ingested: what the ingest did; of skipped, left out and duplicate sources, those that the round before did not have.
        indexed: what the index run did.
        error: what went wrong; the next round tries again.
    """

    at: str
    ingested: IngestResult | None = None
    indexed: IndexResult | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One line of a search's result."""

    rank: int
    score: float
    source: str
    heading: str
    start: int
    end: int
    text: str
    sure: bool | None = None
    """Its score reaches the threshold that was calibrated; ``None`` where none was."""


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """A retrieval report, and the folder of its files."""

    folder: str
    report: RetrievalReport


@dataclass(frozen=True, slots=True)
class WeightRow:
    """Mean nDCG@10 of a dense weight, on the questions that choose and on those that measure."""

    weight: float
    training: float
    validation: float


@dataclass(frozen=True, slots=True)
class WeightResult:
    """What other weights of dense search would bring; ``difference`` is ``best`` less ``current`` in nDCG@10 on validation questions."""

    dataset: str
    current: float
    best: float
    difference: Estimate
    weights: tuple[WeightRow, ...]

    @property
    def better(self) -> bool:
        """Whether the difference is clear of zero."""
        return self.difference.low is not None and self.difference.low > 0


@dataclass(frozen=True, slots=True)
class DatasetResult:
    """A dataset: its counts, what was left out and why, and its audit."""

    name: str
    folder: str
    made: bool
    figures: Mapping[str, Any]
    left_out: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class SynthesisPlan:
    """What a teacher is still to be asked, and about what it costs.

    Args:
        teacher: ``provider:model``.
        wanted: questions in the end.
        there: questions that are there already.
        calls: of the teacher; 0 where nothing is left to do.
        prompt_tokens: of all calls together.
        completion_tokens: of all calls together.
        dollars: of all calls together, and of embedding; ``None`` where no price is known.
        most_dollars: if every question that may be asked for is.
        paid: money may be spent.
        kinds: of the questions that will be asked for first.
        prompt: one whole example.
        embedding_dollars: the hosted embedder's part of ``dollars``, for what the index lacks and for the questions.
    """

    teacher: str
    wanted: int
    there: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    dollars: float | None
    most_dollars: float | None
    paid: bool
    kinds: Mapping[str, int]
    prompt: str
    embedding_dollars: float | None = 0.0


@dataclass(frozen=True, slots=True)
class SynthesisResult:
    """What a teacher wrote; of a dry run, the plan alone.

    ``accepted`` of the questions ``asked`` for came through, ``written`` of them are new in ``file``. ``figures`` are the manifest's.
    """

    plan: SynthesisPlan
    file: str | None = None
    accepted: int = 0
    asked: int = 0
    written: int = 0
    figures: Mapping[str, Any] = field(default_factory=dict)
    stopped: str | None = None


@dataclass(frozen=True, slots=True)
class ExampleView:
    """An example as the model sees it."""

    id: str
    split: str
    messages: tuple[Message, ...]
    completion: str
    text: str
    tokens: int
    trained_tokens: int
    oracle_present: bool


@dataclass(frozen=True, slots=True)
class ViewResult:
    """A page of examples: where it is, and how many questions in how many contexts it shows."""

    dataset: str
    path: str
    questions: int
    contexts: int


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A dataset in another format: where it is, and how many questions of each split."""

    dataset: str
    format: str
    path: str
    questions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ModelExport:
    """A tuned model for other programs: where it is, and its bytes."""

    model: str
    format: str
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class ModelResult:
    """A tuned model."""

    name: str
    folder: str
    made: bool
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetrieverResult:
    """A tuned retriever, or of an undoing the one that was in force.

    Args:
        name: of its folder.
        folder: of its models.
        made: in this run.
        adopted: which of its parts are in force now: ``embedder``, ``reranker``.
        figures: before and after, differences with their intervals, and what it was tuned on.
    """

    name: str
    folder: str
    made: bool
    adopted: tuple[str, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """What a hosted tuning job would be sent and cost; ``dollars`` is ``None`` where no price is known.

    ``training`` is the file as it would be uploaded, ``problems`` what its vendor would refuse, ``warnings`` what to know before paying,
    ``made`` the finished model of the same inputs, where there is one: then nothing would be sent or paid.
    """

    base: str
    training: str
    examples: int
    validation_examples: int
    tokens: int
    dollars: float | None
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    made: str | None = None

    @property
    def sentence(self) -> str:
        """What will be done and what it will cost."""
        if self.made is not None:
            return f"{self.base} was tuned on this already: model {self.made} is as these inputs make it, and nothing would be sent or paid"
        cost = "its price is not known to ragtune" if self.dollars is None else f"about ${self.dollars:,.2f}"
        return f"tuning {self.base} on {self.examples} examples: about {self.tokens:,} tokens, {cost}"


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a training run on this machine would be; bytes and seconds.

    Args:
        base: the model to tune.
        dataset: that it is tuned on.
        method: lora, dora or full.
        questions: trained on, each ``epochs`` times.
        forecast: steps, contexts, answers and tokens; memory and time.
        watched_seconds: of the time what answering ``train.watch_questions`` takes.
        made: the finished model of the same inputs, where there is one: then nothing would be trained.
        rehearsal_seconds: what the base takes to write what is rehearsed, where it has not yet.
    """

    base: str
    dataset: str
    method: str
    questions: int
    epochs: int
    forecast: TrainForecast
    watched_seconds: float = 0.0
    made: str | None = None
    rehearsal_seconds: float = 0.0

    @property
    def seconds(self) -> float | None:
        """Of the whole run; ``None`` where it does not fit, as it was not measured then."""
        return None if self.forecast.seconds is None else self.forecast.seconds + self.watched_seconds + self.rehearsal_seconds


@dataclass(frozen=True, slots=True)
class TuningJob:
    """A hosted tuning job as job.json of its model last told it."""

    name: str
    base: str
    job: str | None
    status: str
    model: str | None
    started: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """An evaluation: where its files are and the report's content."""

    name: str
    folder: str
    made: bool
    report: Any


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """What ``ragtune report A B`` found.

    Args:
        folder: where report.html and report.json are.
        comparison: the figures.
    """

    folder: str
    comparison: Several


@dataclass(frozen=True, slots=True)
class FoldsPlan:
    """What a cross-fitted evaluation still has to train.

    Args:
        dataset: that is parted.
        folds: into so many, a model each.
        done: models that are there.
        answers: to train for the others, in all.
        seconds: that takes, at the rate of the newest training of this base; ``None`` where there was none.
    """

    dataset: str
    folds: int
    done: int
    answers: int
    seconds: float | None

    @property
    def words(self) -> str:
        """In a sentence."""
        todo = self.folds - self.done
        if not todo:
            return f"cross-fitting {self.dataset}: all {self.folds} models are trained"
        took = "how long that takes is not known here" if self.seconds is None else f"about {self.seconds / 60:.0f} minutes"
        there = f", {self.done} are there" if self.done else ""
        return f"cross-fitting {self.dataset}: {counted(todo, 'training')} of {self.answers} answers in all, {took}{there}"


@dataclass(frozen=True, slots=True)
class Trial:
    """What a model did on a sample of validation questions.

    Args:
        model: ``provider:model``.
        f1: of its answers; ``None`` where it did not answer.
        quoting: share of the answers with a quote that stands in a passage shown.
        cost: US dollars an answer; ``None`` where no price is known.
        seconds: median of an answer.
        questions: asked.
        problem: why it did not answer.
    """

    model: str
    f1: Estimate | None
    quoting: float | None
    cost: float | None
    seconds: float | None
    questions: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Predicted seconds of each stage, and what was sampled to stay inside a budget."""

    stages: Mapping[str, float]
    total: float
    budget: float | None = None
    max_answers: int | None = None
    max_questions: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a whole run made."""

    forecast: Forecast
    ingest: IngestResult | None = None
    index: IndexResult | None = None
    dataset: DatasetResult | None = None
    model: ModelResult | None = None
    evaluation: EvaluationResult | None = None
    seconds: float = 0.0
