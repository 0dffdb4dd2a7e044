"""A judge's second look at a share of the answers, in a thread of its own: no asker waits for it."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading

from ragtune.config import Settings
from ragtune.dataset.draws import draw_unit
from ragtune.errors import ChatError, RagtuneError, RateLimitError, UnreachableError
from ragtune.pipeline.groundedness import judge_groundedness, open_judge
from ragtune.traces.store import TraceStore
from ragtune.workspace import Workspace

logger = logging.getLogger(__name__)

_WAITING = 100
"""Answers that wait for the judge; beyond, the share is what it keeps up with."""


class Checks:
    """Grades ``traces.checked`` of the answers, where ``judge.model`` is set and texts are kept; else does nothing.

    Args:
        workspace: of the project.
        settings: judge, traces and chat are read.
        store: of the traces.
    """

    def __init__(self, workspace: Workspace, settings: Settings, store: TraceStore) -> None:
        self._workspace = workspace
        self._settings = settings
        self._store = store
        self._waiting: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        if settings.judge.model and settings.traces.checked and settings.traces.keep:
            self._thread = threading.Thread(target=self._work, name="ragtune-checks", daemon=True)
            self._thread.start()

    def offer(self, trace: str) -> None:
        """Grade a trace, if it is of the share."""
        if self._thread is not None and draw_unit("checked", trace) < self._settings.traces.checked:
            try:
                self._waiting.put_nowait(trace)
            except queue.Full:
                logger.debug("the judge is behind: %s is not graded", trace)

    def close(self, timeout: float = 5.0) -> None:
        """Grade no more; an answer that is being graded has so many seconds left."""
        if self._thread is not None:
            while not self._waiting.empty():
                self._waiting.get_nowait()
            self._waiting.put(None)
            self._thread.join(timeout)

    def _work(self) -> None:
        try:
            judge = open_judge(self._workspace, self._settings)
            while judge is not None and (trace := self._waiting.get()) is not None:
                try:
                    judge_groundedness(judge, self._store, trace)
                except (RateLimitError, UnreachableError, sqlite3.Error) as error:
                    logger.warning("%s was not graded: %s", trace, error)
                except ChatError:
                    raise
                except RagtuneError as error:  # it was deleted meanwhile
                    logger.debug("%s was not graded: %s", trace, error)
        except RagtuneError as error:
            logger.warning("groundedness is not judged any more: %s", error)
