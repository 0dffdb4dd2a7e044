"""Answer one question from the project's index, with the base or a tuned model."""

from __future__ import annotations

from collections.abc import Iterator

from ragtune import build
from ragtune.chat.local import LocalChat
from ragtune.config import Settings
from ragtune.errors import ProjectError
from ragtune.pipeline.index import open_retriever
from ragtune.pipeline.train import find_tuned, has_tuned
from ragtune.rag import Answer, answer_question
from ragtune.retrieve.passages import to_passage
from ragtune.workspace import Workspace


def ask(workspace: Workspace, settings: Settings, question: str, model: str | None, k: int | None) -> Iterator[str | Answer]:
    """Pieces of the answer as they are written, then the answer with its checked citations.

    Args:
        workspace: of a project that has an index.
        settings: its settings.
        question: as asked.
        model: a tuned model's name, ``base``, or ``None`` for the newest tuned model, else the base.
        k: passages shown; ``None`` shows as many as the model was tuned with.
    """
    if not question.strip():
        raise ProjectError('the question is empty: write it in quotes, like ragtune ask "How long is the crossing?"')
    adapter = None
    name = settings.model.base
    if model not in (None, "base") or (model is None and has_tuned(workspace)):
        manifest = find_tuned(workspace, model)
        k = k or int(manifest.settings["k"])
        adapter = workspace.artifact("models", manifest.name) / "adapter"
        name = f"{manifest.settings['model']['base']} + {manifest.name}"
        settings = build.with_base(settings, str(manifest.settings["model"]["base"]))
    with open_retriever(workspace, settings) as retriever:
        chat = LocalChat(build.engine(settings), name, adapter)
        yield from answer_question(
            question,
            retriever,
            chat,
            to_passage=to_passage,
            k=k or settings.retrieve.k,
            max_tokens=settings.generate.max_new_tokens,
            constrained_quotes=settings.generate.constrained_quotes,
        )
