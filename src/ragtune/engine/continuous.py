"""Many answers at once over one engine: each joins the running batch when it comes and leaves it when it ends.

One thread has the model. Between two steps of the batch it reads at most one prompt, of a long one a part, if a row is free: reading one
takes as long as some five to ten steps, so that running answers go on, slower, while others join, and whoever waits never waits for a
running answer's end where there is room. A batch has one adapter's weights; :mod:`ragtune.engine.turns` says whose turn it is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from queue import Empty
from typing import Any

from torch import Tensor

from ragtune.engine.adapters import tuned_by
from ragtune.engine.decode import Prefixes
from ragtune.engine.huggingface import HuggingFaceEngine
from ragtune.engine.running import Reading, Row
from ragtune.engine.turns import Asked, Token, Turns
from ragtune.engine.words import Words
from ragtune.errors import AbandonedError, BusyError, ChatError, LateError
from ragtune.fitting import ran_out, release
from ragtune.listening import nobody_listens
from ragtune.prompts import PromptIds, encode_prompt
from ragtune.types import GREEDY, Generation, Message, Passage, Sampling

_LOOK_S = 0.2
"""How often an asker that waits looks whether its own client does."""
_SMOOTHING = 0.2
"""Weight of the last answer in the mean time between two answers' ends."""
_PAUSE_S = 5.0
"""Till there should be room again where memory ran out."""

logger = logging.getLogger(__name__)


class ContinuousEngine:
    """Fulfils the engine's contract for many callers at once. Answers are those of the engine it is over.

    Args:
        engine: has the model; others may use it at the same time, each step of theirs takes its turn.
        rows: answers that are written at once.
        waiting: answers that may wait for a row.
        timeout: seconds that one answer may take, waiting included.
    """

    def __init__(self, engine: HuggingFaceEngine, *, rows: int, waiting: int, timeout: float) -> None:
        self._engine = engine
        self._most = rows + waiting
        self._rows = rows
        self._timeout = timeout
        self._changed = threading.Condition()
        self._turns = Turns(rows)
        self._running: list[Asked] = []
        """Those that have a row, and the one whose prompt is being read."""
        self._reading: tuple[Asked, Reading | None] | None = None
        self._batch = engine.running(rows)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pace = 1.0
        """Seconds between two answers' ends while there is work."""
        self._last_end: float | None = None

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._engine.tokenizer

    @property
    def load(self) -> tuple[int, int]:
        """How many answers are written and how many wait."""
        with self._changed:
            return self._count()

    def stream(
        self,
        prompt: Sequence[Message],
        *,
        quotable: Sequence[Passage] | None = None,
        adapter: Path | None = None,
        max_new_tokens: int = 96,
        sampling: Sampling = GREEDY,
    ) -> Iterator[str | Generation]:
        """Pieces of one answer as they are written, then all of it. Its place is taken now; closing the iterator gives it back.

        Raises:
            BusyError: as many as may are waiting; at once.
            LateError: the answer took too long; while iterating.
            AbandonedError: nobody listens any more (:mod:`ragtune.listening`); while iterating.
        """
        with self._changed:
            self._refuse()
        encoded = _without_history(self._engine.tokenizer, prompt, self._engine.encode(prompt, max_new_tokens))
        writing = self._engine.writing(quotable, sampling, max_new_tokens)
        asked = Asked(encoded, writing, max_new_tokens, tuned_by(adapter), time.monotonic() + self._timeout)
        self._queue(asked)
        pieces = self._pieces(asked, sampling)
        next(pieces)  # begun, so that closing it, or forgetting it, is noticed from now on
        return pieces

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        quotable: Sequence[Sequence[Passage]] | None = None,
        adapter: Path | None = None,
        max_new_tokens: int = 96,
        batch_size: int = 16,
    ) -> Iterator[tuple[int, Generation]]:
        """Greedy answers as ``(index, generation)``, in order; at most ``batch_size`` of them take places at once."""
        size = min(batch_size, self._rows)
        for start in range(0, len(prompts), size):
            streams = [
                self.stream(
                    prompts[index],
                    quotable=None if quotable is None else quotable[index],
                    adapter=adapter,
                    max_new_tokens=max_new_tokens,
                )
                for index in range(start, min(start + size, len(prompts)))
            ]
            for index, stream in enumerate(streams, start):
                *_, whole = stream
                assert isinstance(whole, Generation)  # noqa: S101 - for the type checker: the last of a stream is all of it
                yield index, whole

    def nll(
        self, pairs: Sequence[tuple[Sequence[Message], str]], *, adapter: Path | None = None, batch_size: int = 8
    ) -> list[tuple[float, int]]:
        """The engine's own, between two steps of the batch."""
        return self._engine.nll(pairs, adapter=adapter, batch_size=batch_size)

    def close(self) -> None:
        """End the thread; answers that are not finished fail."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _queue(self, asked: Asked) -> None:
        with self._changed:
            self._refuse()
            self._turns.put(asked)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ragtune-engine", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _refuse(self) -> None:
        if self._closed:
            raise ChatError("the local model was stopped: start the server again")
        running, waiting = self._count()
        if running + waiting >= self._most:
            pause = min(max(1.0, self._pace * max(1, waiting // 2)), self._timeout)
            raise BusyError(f"{waiting} questions wait for the local model, as many as may: try again in {pause:.0f} s", pause)

    def _count(self) -> tuple[int, int]:
        waiting = sum(not asked.cancelled for asked in self._turns)
        return sum(not asked.cancelled for asked in self._running), waiting

    def _pieces(self, asked: Asked, sampling: Sampling) -> Iterator[Any]:
        """What the caller's own thread makes of the tokens: text costs the others nothing there."""
        begun = time.perf_counter()
        words = Words(self._engine.decode, sampling.stop)
        written, logprob = 0, 0.0
        try:
            yield None
            while written < asked.limit and not words.ended:
                token = _heard(asked)
                if isinstance(token, Exception):
                    raise token
                written += token.id is not None
                logprob = token.logprob
                if piece := words.take(token.id):
                    yield piece
            asked.cancelled = True  # at a stop text the row goes on, for nobody
            if piece := words.rest():
                yield piece
            yield Generation(
                text=words.text,
                prompt_tokens=len(asked.prompt.ids),
                completion_tokens=written,
                seconds=time.perf_counter() - begun,
                finished=words.ended,
                abstain_logodds=None if asked.row is None else asked.row.probe_logodds,
                logprob=logprob,
            )
        finally:
            asked.cancelled = True

    def _run(self) -> None:
        """The thread. Should it die, whoever waits is told, and the next question begins another one."""
        try:
            self._batch = self._engine.running(self._rows)
            self._rounds()
        except BaseException as error:  # what Rust code panics with is no Exception
            logger.exception("the thread of the local model ended")
            if not isinstance(error, Exception):
                error = ChatError(f"the local model failed: {error!r}")
            with self._changed:
                self._fail([*self._running, *self._turns], error)
                self._running, self._reading, self._turns, self._thread = [], None, Turns(self._rows), None

    def _rounds(self) -> None:
        """Rounds of one prompt read and one token written in each row, until closed."""
        while True:
            with self._changed:
                while not (self._closed or self._running or self._turns):
                    self._last_end = None
                    self._changed.wait()
                if self._closed:
                    self._fail([*self._running, *self._turns], ChatError("the local model was stopped before the answer was whole"))
                    self._running, self._turns = [], Turns(self._rows)
                    return
            full = False
            try:
                with self._changed:
                    self._sweep()
                    self._next()
                self._round()
            except Exception as error:
                logger.exception("a step of the running batch failed")
                full = ran_out(error)
                self._fail(self._running, self._full() if full else error)
                with self._changed:
                    self._running, self._reading = [], None
                self._batch = self._engine.running(self._rows)  # what the old one's buffers hold is not to be trusted
            if full:  # behind the handler: what failed is held by its traceback till there
                release()

    def _full(self) -> BusyError:
        return BusyError(
            f"memory on {self._engine.device} did not suffice for the answers under way: ask again in {_PAUSE_S:.0f} s; if it happens "
            "again, end what else uses that memory, or lower serve.rows or serve.longest_answer",
            _PAUSE_S,
        )

    def _sweep(self) -> None:
        """Let go whom nobody waits for any more, and who waits for too long."""
        now = time.monotonic()
        for asked in [*self._running, *self._turns]:
            if not asked.cancelled and now >= asked.deadline:
                asked.cancelled = True
                late = f"no whole answer within {self._timeout:g} s: ask for fewer tokens, ask again later, or raise serve.timeout"
                asked.outbox.put(LateError(late))
        for asked in self._running:
            if asked.cancelled and asked.row is not None:
                self._batch.leave(asked.row)
        self._running = [asked for asked in self._running if not asked.cancelled]
        if self._reading is not None and self._reading[0].cancelled:
            self._reading = None
        self._turns.keep()

    def _next(self) -> None:
        """Begin to read another prompt, if there is room."""
        if self._reading is not None or not self._batch.free:
            return
        tuned = self._turns.tuned
        asked = self._turns.next(empty=not self._running)
        if self._turns.tuned != tuned:
            self._batch.forget()
        if asked is not None:
            self._running.append(asked)
            self._reading = asked, None

    def _round(self) -> None:
        """Between two rounds each row has a token that the model has not been fed yet."""
        with self._engine.using(self._turns.tuned) as prefixes:
            if self._reading is not None:
                asked, reading = self._reading
                full = False
                try:
                    joined = self._read(asked, reading, prefixes)
                except Exception as error:  # a prompt that cannot be read is its asker's trouble alone
                    self._reading = None
                    full = ran_out(error)
                    self._end(asked, self._full() if full else error)
                else:
                    if joined:
                        self._write([asked])
                if full:
                    release()
            going = [asked for asked in self._running if asked.row is not None]
            if going:
                self._batch.advance()
                self._write(going)

    def _read(self, asked: Asked, reading: Reading | None, prefixes: Prefixes) -> bool:
        """Read a part of a prompt; whether its answer has joined the batch."""
        if reading is None:
            reading = self._batch.begin(asked.prompt, prefixes)
        if not self._batch.read(reading, prefixes):
            self._reading = asked, reading
            return False
        self._reading = None
        asked.row = self._batch.join(reading, asked.writing, asked.limit)
        return True

    def _write(self, those: Sequence[Asked]) -> None:
        """The next token of each, handed over before another one is begun."""
        writing: list[tuple[Asked, Row]] = []
        allowed: list[Tensor | None] = []
        for asked in those:
            assert asked.row is not None  # noqa: S101 - for the type checker: who runs has joined
            try:
                allowed.append(asked.writing.allowed(asked.row.logits_v.device))
                writing.append((asked, asked.row))
            except Exception as error:  # so is a constraint that fails
                self._end(asked, error)
        if not writing:
            return
        tokens = self._batch.choose([row for _, row in writing], allowed)
        for (asked, _), token in zip(writing, tokens, strict=True):
            ended = token in self._engine.stop
            if not ended:
                asked.writing.ids.append(token)
            asked.outbox.put(Token(None if ended else token, asked.writing.logprob))
            if ended or len(asked.writing.ids) == asked.limit:
                self._end(asked)

    def _end(self, asked: Asked, error: Exception | None = None) -> None:
        if error is not None:
            self._fail([asked], error)
        if asked.row is not None:
            self._batch.leave(asked.row)
        now = time.monotonic()
        with self._changed:
            self._running.remove(asked)
            if self._last_end is not None:
                self._pace += _SMOOTHING * (now - self._last_end - self._pace)
            self._last_end = now

    @staticmethod
    def _fail(those: Sequence[Asked], error: Exception) -> None:
        for asked in those:
            asked.outbox.put(error)


def _without_history(tokenizer: Any, prompt: Sequence[Message], encoded: PromptIds) -> PromptIds:
    """A prompt whose prefix is the leading system turn alone: earlier turns are one conversation's, and would drive out what many share."""
    if not encoded.prefix:
        return encoded
    if prompt[0].role != "system":
        return replace(encoded, prefix=0)
    if len(prompt) == 2:
        return encoded
    opening = encode_prompt(tokenizer, [prompt[0], Message("user", "?")])
    shared = opening.context[: opening.prefix]
    return replace(encoded, prefix=len(shared) if encoded.context[: len(shared)] == shared else 0)


def _heard(asked: Asked) -> Token | Exception:
    """What comes next of an answer, as long as somebody waits for it.

    Raises:
        AbandonedError: nobody does.
    """
    while not nobody_listens():
        try:
            return asked.outbox.get(timeout=_LOOK_S)
        except Empty:
            continue
    raise AbandonedError("nobody waits for the answer any more")
