"""Let the judge say how far a served answer rests on its passages: the faithfulness of an evaluation's grades, one answer at a time."""

from __future__ import annotations

from collections.abc import Sequence

from ragtune import build
from ragtune.chat.structured import ask_for
from ragtune.config import Settings
from ragtune.conversation import in_full
from ragtune.evaluate.judge import Case, grade
from ragtune.pipeline.judge import MAX_TOKENS
from ragtune.protocols import ChatModel, Form
from ragtune.traces.records import TraceRecord
from ragtune.traces.store import TraceStore
from ragtune.types import Message
from ragtune.workspace import Workspace


def open_judge(workspace: Workspace, settings: Settings) -> ChatModel | None:
    """The judge, where one is set.

    Raises:
        RagtuneError: it cannot be asked.
    """
    return build.chat_model(workspace, settings, settings.judge.model) if settings.judge.model else None


def judge_groundedness(judge: ChatModel, store: TraceStore, id_: str) -> float | None:
    """Grade a trace's answer and keep the grade; where that is low, the question is queued for review.

    Args:
        judge: who grades.
        store: of the traces.
        id_: of the trace.

    Returns:
        Faithfulness in [0, 1]; ``None`` where there is no answer to grade, or the judge's form was not filled in.

    Raises:
        ProjectError: there is no such trace any more.
        ChatError: the judge cannot be asked: the key, the line, the spending cap.
    """
    record = store.find(id_).record
    if record.abstained or record.error is not None or not record.answer or not record.passages:
        return None

    def ask(messages: Sequence[Message], form: type[Form], /) -> Form:
        return ask_for(judge, messages, form, max_tokens=MAX_TOKENS)

    value = grade(ask, _case(record)).scores.get("faithfulness")
    if value is not None:
        store.ground(id_, value, "judge")
    return value


def _case(record: TraceRecord) -> Case:
    """What the judge sees; there is no reference, so that of its grades faithfulness alone means something."""
    shown = tuple(f"{each.get('headings') or each.get('title') or ''}\n{each['text']}".strip() for each in record.passages)
    quotes = tuple(str(each["quote"]) for each in record.citations if not each.get("found")) + record.unsupported
    return Case(in_full(record.question, record.history), (), shown, record.answer, quotes)
