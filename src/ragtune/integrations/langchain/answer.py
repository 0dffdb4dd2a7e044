"""Answers with checked citations as a LangChain chain: ragtune's prompt, any chat model, ragtune's check of every quote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel, RunnablePassthrough

from ragtune.integrations.langchain.chat import ChatRagtune
from ragtune.prompts import build_messages
from ragtune.rag import Answer, finish
from ragtune.types import Passage, Span


class Found(TypedDict):
    """A question and the documents that a retriever found for it."""

    question: str
    documents: list[Document]


def answer_chain(retriever: Runnable[str, list[Document]], chat: BaseChatModel) -> Runnable[str, Answer]:
    """A chain from a question to an answer whose citations are checked, as ``ragtune ask`` gives it.

    Args:
        retriever: a project's, or any of LangChain's: then a citation names what the document's metadata has as ``source``.
        chat: a project's, whose quotes are held to the passages while it writes, or any of LangChain's.
    """

    def answer(found: Any, config: RunnableConfig) -> Answer:
        passages = to_passages(found["documents"])
        options: dict[str, Any] = {"quotable": passages} if isinstance(chat, ChatRagtune) else {}
        return check_citations(found, chat.invoke(_messages(found["question"], passages), config, **options))

    found: Runnable[str, Any] = RunnableParallel({"question": RunnablePassthrough(), "documents": retriever})
    return found.pipe(RunnableLambda(answer))


def check_citations(found: Found, reply: AIMessage) -> Answer:
    """Take a model's reply to :data:`passages_prompt` apart and look up every quote in the documents that it was shown."""
    about = reply.response_metadata
    return finish(found["question"], str(reply.text), to_passages(found["documents"]), about.get("model_name", ""), about.get("cost"))


def to_passages(documents: Sequence[Document]) -> list[Passage]:
    """What the model is shown of documents; of a retriever's of ragtune the very passages that ``ragtune ask`` shows."""
    return [_passage(number, document) for number, document in enumerate(documents)]


def _passage(number: int, document: Document) -> Passage:
    about, content = document.metadata, document.page_content
    source, title = str(about.get("source", "")), str(about.get("title", ""))
    start, end = (about["start"], about["end"]) if "chunk" in about else (0, len(content))
    prefix, text = content[: len(content) - (end - start)].rstrip("\n"), content[len(content) - (end - start) :]
    id_ = document.id or str(number)
    return Passage(id_, source, title, prefix, text, (Span(source, start, end),), (id_,))


def _messages(question: str, passages: Sequence[Passage]) -> list[BaseMessage]:
    system, user = build_messages(question, passages)
    return [SystemMessage(system.content), HumanMessage(user.content)]


def _prompt(found: Found) -> list[BaseMessage]:
    return _messages(found["question"], to_passages(found["documents"]))


passages_prompt: Runnable[Found, list[BaseMessage]] = RunnableLambda(_prompt, name="passages_prompt")
"""The prompt that ragtune trains on and serves with: ``{"question": …, "documents": […]}`` to messages."""
