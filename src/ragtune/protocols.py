"""The plug-in contracts on one page. A backend is any object of the right shape; none inherits from these.

Array shapes in names: ``n`` rows, ``q`` queries, ``d`` dimensions, ``k`` neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ragtune.types import (
    GREEDY,
    ContextGroup,
    Generation,
    Hit,
    Message,
    Passage,
    Reply,
    Sampling,
    TrainForecast,
    TrainResult,
    TuningCheckpoint,
    TuningEvent,
    TuningState,
)

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
CHECKPOINT = "checkpoint.safetensors"
"""The file in a model's folder from which a trainer goes on after a kill."""
REHEARSED = "rehearsal.json"
"""The file beside it with the texts that are rehearsed."""
Form = TypeVar("Form", bound=BaseModel)


class Embedder(Protocol):
    """Text to L2-normalised float32 vectors."""

    @property
    def name(self) -> str:
        """What the user configured."""

    @property
    def fingerprint(self) -> str:
        """Hash of the weights: part of a vector's key."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    @property
    def max_tokens(self) -> int:
        """Longer texts are cut by the model."""

    def embed_documents(self, texts: Sequence[str]) -> Float32:
        """Vectors ``[n, d]`` of what is searched."""

    def embed_queries(self, texts: Sequence[str]) -> Float32:
        """Vectors ``[q, d]`` of what is asked."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens, never truncated."""


class VectorStore(Protocol):
    """Nearest neighbours by inner product; ids are corpus.db's row ids."""

    def __len__(self) -> int:
        """How many vectors it holds."""

    def add(self, ids_n: Int64, vectors_nd: Float32) -> None:
        """Add vectors under new ids."""

    def remove(self, ids_n: Int64) -> None:
        """Remove ids; unknown ones are passed over."""

    def search(self, queries_qd: Float32, k: int, *, among: Int64 | None = None) -> tuple[Float32, Int64]:
        """Scores ``[q, k]``, best first, and ids ``[q, k]``; -1 where there are fewer than k. ``among``: only these ids are ranked."""

    def save(self, folder: Path) -> None:
        """Write atomically into a folder."""


class Retriever(Protocol):
    """Questions to ranked chunks."""

    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """For each question its k best chunks, ranks from 1."""


class Reranker(Protocol):
    """Reads a question and a text together, and says how well the one answers the other."""

    @property
    def name(self) -> str:
        """What the user configured."""

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, or the hub's name and revision."""

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """A score for each text, higher for better; comparable between questions."""


class Engine(Protocol):
    """Local generation, one base model with any of its adapters."""

    @property
    def tokenizer(self) -> Any:
        """The model's Hugging Face tokenizer."""

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        quotable: Sequence[Sequence[Passage]] | None = None,
        adapter: Path | None = None,
        max_new_tokens: int = 96,
        batch_size: int = 16,
    ) -> Iterator[tuple[int, Generation]]:
        """Greedy answers as ``(index of the prompt, generation)``, in any order, as batches finish.

        ``quotable`` holds the quotes that open a line before the answer to spans of a prompt's passages; without it they are free.
        """

    def stream(
        self,
        prompt: Sequence[Message],
        *,
        quotable: Sequence[Passage] | None = None,
        adapter: Path | None = None,
        max_new_tokens: int = 96,
        sampling: Sampling = GREEDY,
    ) -> Iterator[str | Generation]:
        """Pieces of one answer as they are written, then all of it; a greedy one is what :meth:`generate` gives.

        Who stops listening early closes the iterator.
        """

    def nll(
        self, pairs: Sequence[tuple[Sequence[Message], str]], *, adapter: Path | None = None, batch_size: int = 8
    ) -> list[tuple[float, int]]:
        """For each (prompt, completion): summed negative log-likelihood of the completion in nats, and its tokens."""


class ChatModel(Protocol):
    """A chat model, local or hosted.

    Both methods raise a :class:`~ragtune.errors.ChatError` where there is no answer.
    """

    @property
    def name(self) -> str:
        """``provider:model``."""

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        schema: Mapping[str, Any] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Reply:
        """A whole answer; a model that can holds it to a JSON schema. Temperature and seed are kept to where the model knows them."""

    def stream(
        self,
        messages: Sequence[Message],
        *,
        quotable: Sequence[Passage] | None = None,
        max_tokens: int = 512,
        sampling: Sampling = GREEDY,
    ) -> Iterator[str | Reply]:
        """Pieces of an answer as they are written, then the whole reply.

        A model that can holds its quotes to the passages that are ``quotable``. Stop texts always end the answer; the rest of
        ``sampling`` is kept to where the model knows it.
        """


class Trainer(Protocol):
    """Tunes a base model on context groups and writes a PEFT adapter."""

    def train(
        self,
        epoch_groups: Callable[[int], Sequence[ContextGroup]],
        validation: Sequence[ContextGroup],
        output: Path,
        on_step: Callable[[dict[str, float]], None],
        watch: Callable[[Any, Any], float] | None = None,
        on_prepare: Callable[[str, int, int], None] | None = None,
    ) -> TrainResult:
        """Train to the end of the budget, resuming from what an interrupted run left in ``output``; writes ``output/adapter/``.

        A whole model is written as ``output/model/``. ``watch`` is given the model and its tokenizer whenever validation is measured, and
        gives the F1 of its answers. ``on_prepare`` is told what goes on before the first step: its name, and how much of how much is done.

        The checkpoint stays, and training again from it only writes the adapter again: whoever calls removes it when the model is finished.
        """

    def forecast(self, epoch_groups: Callable[[int], Sequence[ContextGroup]], validation: Sequence[ContextGroup]) -> TrainForecast:
        """What :meth:`train` would take of memory and time; nothing is kept."""

    def answers_per_second(self, groups: Sequence[ContextGroup]) -> float:
        """The rate that training on such groups has here, measured in a few seconds; nothing is kept."""

    def rehearsal_seconds(self) -> float:
        """About how long the base takes to write what a new run rehearses (:data:`REHEARSED`); 0 where none does."""


class TuningService(Protocol):
    """A vendor's tuning jobs. Each method makes one attempt.

    All raise a :class:`~ragtune.errors.ChatError` where the vendor does not answer or refuses, and
    :class:`~ragtune.errors.TuningJobError` where it is the job that cannot be.
    """

    def upload(self, path: Path, name: str) -> str:
        """Bring a file of examples to the vendor under a name of its own and give its id; what is there already is not sent again."""

    def create(self, training: str, validation: str | None, *, tag: str, suffix: str, seed: int) -> str:
        """Start a job of one epoch over uploaded files, marked with a tag, and give its id. This costs money."""

    def find(self, tag: str, training: str) -> str | None:
        """The job that carries a tag or trains on a file, if there is one."""

    def state(self, job: str) -> TuningState:
        """Where a job stands."""

    def events(self, job: str, seen: Container[str]) -> list[TuningEvent]:
        """What was told since the events that were seen, oldest first."""

    def cancel(self, job: str) -> None:
        """Stop a job; what it has trained so far may be charged."""

    def checkpoints(self, job: str) -> list[TuningCheckpoint]:
        """The models that it kept, oldest first."""


class Judge(Protocol):
    """Fills in forms about answers: a chat model that is asked for a record."""

    def __call__(self, messages: Sequence[Message], form: type[Form], /) -> Form:
        """The form, filled in.

        Raises:
            ChatError: there is none; :class:`~ragtune.errors.StructureError`, where what came is not the form.
        """
