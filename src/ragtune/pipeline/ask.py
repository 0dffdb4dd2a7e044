"""Answer one question from the project's index, with the base or a tuned model, local or hosted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ragtune import build
from ragtune.confidence import Gate
from ragtune.config import Settings
from ragtune.errors import ProjectError
from ragtune.pipeline.answerers import tuned_chat
from ragtune.pipeline.confidence import load_calibration, make_gate
from ragtune.pipeline.index import open_retriever
from ragtune.pipeline.promote import check_name, is_named_by_provider, promoted
from ragtune.pipeline.threshold import load_threshold
from ragtune.pipeline.train import find_tuned, has_tuned
from ragtune.progress import Progress
from ragtune.protocols import ChatModel, Engine
from ragtune.rag import Answer, answer_question
from ragtune.types import Message, Where
from ragtune.workspace import Manifest, Workspace


def ask(
    workspace: Workspace,
    settings: Settings,
    question: str,
    model: str | None,
    k: int | None,
    where: Where | None = None,
    history: Sequence[Message] = (),
    progress: Progress | None = None,
) -> Iterator[str | Answer]:
    """Pieces of the answer as they are written, then the answer with its checked citations.

    Args:
        workspace: of a project that has an index.
        settings: its settings.
        question: as asked.
        model: see :func:`find_chat`.
        k: passages shown; ``None`` shows as many as the model was tuned with.
        where: which documents may be found.
        history: what was said before the question.
        progress: told what falls short of the settings.
    """
    if not question.strip():
        raise ProjectError('the question is empty: write it in quotes, like ragtune ask "How long is the crossing?"')
    if any(turn.role not in ("user", "assistant") for turn in history):
        raise ProjectError("a history has turns of user and assistant alone: leave out others, such as the system's")
    if model is not None and not is_named_by_provider(model):
        check_name(workspace, model)  # what is wrong with a name is said before an index is opened and a model loaded
    with open_retriever(workspace, settings, where) as retriever:
        chat, shown = find_chat(workspace, settings, model)
        threshold = load_threshold(workspace, settings)
        gate = find_gate(workspace, settings, model)
        if progress is not None and gate is not None and gate.unreached:
            progress.note(gate.unreached)
        yield from answer_question(
            question,
            retriever,
            chat,
            to_passage=retriever.to_passage,
            k=k or shown,
            least_score=None if threshold is None else threshold.score,
            gate=gate,
            max_tokens=settings.generate.max_new_tokens,
            constrained_quotes=settings.generate.constrained_quotes,
            history=history,
        )


def find_chat(
    workspace: Workspace, settings: Settings, model: str | None, engine: Callable[[Settings], Engine] = build.engine
) -> tuple[ChatModel, int]:
    """A chat model by name, and how many passages it is shown: as many as it was tuned with, else ``retrieve.k``.

    Args:
        workspace: of the project.
        settings: its settings.
        model: a tuned model's name, ``base``, ``provider:model``, or ``None`` for what was promoted, else the newest tuned model, else the
            base.
        engine: gives the engine of a local model's base.
    """
    model = model or promoted(workspace)
    manifest = find_meant(workspace, model)
    if manifest is None:
        named = settings.model.base if model in (None, "base") else model
        return build.chat_model(workspace, settings, named, engine), settings.retrieve.k
    return tuned_chat(workspace, settings, manifest, engine), int(manifest.settings["k"])


def find_gate(workspace: Workspace, settings: Settings, model: str | None) -> Gate | None:
    """How sure a tuned model's answers must be; nothing for other models, of which nothing was learned.

    Raises:
        ProjectError: a precision is wanted of a model that was not calibrated.
    """
    manifest = find_meant(workspace, model or promoted(workspace))
    if manifest is None or manifest.settings.get("hosted"):
        return None
    return make_gate(settings, load_calibration(workspace, settings, manifest), manifest.name)


def find_meant(workspace: Workspace, model: str | None) -> Manifest | None:
    """The tuned model that is meant, by name or as the newest; ``None`` where another is."""
    if model == "base" or (model is None and not has_tuned(workspace)) or (model is not None and is_named_by_provider(model)):
        return None
    return find_tuned(workspace, model)
