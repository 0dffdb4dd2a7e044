"""Answer one question from the project's index, with the base or a tuned model."""

from __future__ import annotations

from collections.abc import Iterator

from ragtune import build
from ragtune.config import Settings
from ragtune.errors import ProjectError
from ragtune.hosted.providers import is_gone
from ragtune.pipeline.answerers import tuned_chat
from ragtune.pipeline.index import open_retriever
from ragtune.pipeline.train import find_tuned, has_tuned
from ragtune.protocols import ChatModel
from ragtune.rag import Answer, answer_question
from ragtune.retrieve.passages import to_passage
from ragtune.workspace import Workspace


def ask(workspace: Workspace, settings: Settings, question: str, model: str | None, k: int | None) -> Iterator[str | Answer]:
    """Pieces of the answer as they are written, then the answer with its checked citations.

    Args:
        workspace: of a project that has an index.
        settings: its settings.
        question: as asked.
        model: a tuned model's name, ``base``, ``provider:model``, or ``None`` for the newest tuned model, else the base.
        k: passages shown; ``None`` shows as many as the model was tuned with.
    """
    if not question.strip():
        raise ProjectError('the question is empty: write it in quotes, like ragtune ask "How long is the crossing?"')
    chat, k = _chat(workspace, settings, model, k)
    with open_retriever(workspace, settings) as retriever:
        yield from answer_question(
            question,
            retriever,
            chat,
            to_passage=to_passage,
            k=k,
            max_tokens=settings.generate.max_new_tokens,
            constrained_quotes=settings.generate.constrained_quotes,
        )


def _chat(workspace: Workspace, settings: Settings, model: str | None, k: int | None) -> tuple[ChatModel, int]:
    """Who answers, and how many passages it is shown: a tuned model sees as many as it was tuned with."""
    if model == "base" or (model is None and not has_tuned(workspace)):
        return build.chat_model(workspace, settings, settings.model.base), k or settings.retrieve.k
    if model is not None and (":" in model or is_gone(model)):
        return build.chat_model(workspace, settings, model), k or settings.retrieve.k
    manifest = find_tuned(workspace, model)
    return tuned_chat(workspace, settings, manifest), k or int(manifest.settings["k"])
