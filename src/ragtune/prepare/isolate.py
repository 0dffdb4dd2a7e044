"""Read files in child processes, so that a hostile or broken file costs that file and nothing else.

A worker (:mod:`ragtune.prepare.worker`) lives as long as it behaves: it is asked for one file at a time over pipes, and killed and replaced
when it passes its time or dies. Of an archive it gives one member after the other, each with a time of its own. Messages are JSON after a
four-byte length; nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ragtune.errors import ReadError, ReadLimitError
from ragtune.prepare.clean import RULES, Rule
from ragtune.prepare.language import with_language
from ragtune.prepare.read import is_container
from ragtune.prepare.sources import Source
from ragtune.types import Document, Reason

_MOST_FAILURES = 5  # of parsers in one archive: each costs its whole time, and a new child
_AHEAD = 32  # files for each worker
_START_S = 60.0  # for a child to start: a busy machine is not the file's fault


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What became of one source.

    Args:
        source: that was read.
        documents: cleaned; ``None`` where there are none.
        reason: why there are none.
        skipped: what a container holds that was not read, while something else in it was.
        repairs: what cleaning did, by rule.
    """

    source: Source
    documents: tuple[Document, ...] | None
    reason: str | None = None
    skipped: tuple[Reason, ...] = ()
    repairs: Mapping[str, int] = field(default_factory=dict)


def read_sources(
    sources: Sequence[Source],
    timeout_s: float = 60.0,
    memory_mb: int = 2048,
    workers: int = 2,
    rules: Collection[Rule] = RULES,
    on_progress: Callable[[int, int, Source], None] | None = None,
) -> Iterator[ReadResult]:
    """Read sources in parallel child processes, under limits.

    Args:
        sources: what to read.
        timeout_s: wall seconds for one file, or one member of an archive.
        memory_mb: MiB of address space for a worker.
        workers: child processes.
        rules: of cleaning, those that are switched on.
        on_progress: called with (files done, files in all, the file just done), in the caller's thread.

    Yields:
        One result for each source, in the order of ``sources``.
    """
    if not sources:
        return
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, ReadResult | BaseException]] = queue.SimpleQueue()
    for index in range(len(sources)):
        todo.put(index)
    stop = threading.Event()
    room = threading.Semaphore(workers * _AHEAD)  # what was read waits in memory until it is taken

    def work() -> None:
        with Worker(timeout_s, memory_mb, rules) as worker:
            while not stop.is_set():
                if not room.acquire(timeout=0.2):
                    continue
                try:
                    index = todo.get_nowait()
                except queue.Empty:
                    return
                try:
                    done.put((index, _read(worker, sources[index])))
                except BaseException as error:  # a bug here must reach the caller, not vanish with the thread
                    done.put((index, error))

    threads = [threading.Thread(target=work, name=f"reader-{i}", daemon=True) for i in range(min(workers, len(sources)))]
    for thread in threads:
        thread.start()
    try:
        for result in _in_order(sources, done, on_progress):
            room.release()
            yield result
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _in_order(
    sources: Sequence[Source],
    done: queue.SimpleQueue[tuple[int, ReadResult | BaseException]],
    on_progress: Callable[[int, int, Source], None] | None,
) -> Iterator[ReadResult]:
    early: dict[int, ReadResult] = {}
    next_index = 0
    for count in range(1, len(sources) + 1):
        index, result = done.get()
        if isinstance(result, BaseException):
            raise result
        early[index] = result
        if on_progress is not None:
            on_progress(count, len(sources), result.source)
        while next_index in early:
            yield early.pop(next_index)
            next_index += 1


def _read(worker: Worker, source: Source) -> ReadResult:
    try:
        documents, skipped, repairs = worker.read(source)
    except ReadError as error:
        return ReadResult(source, None, str(error))
    if documents:
        return ReadResult(source, tuple(map(with_language, documents)), skipped=tuple(skipped), repairs=repairs)
    first = f"{source.name} holds nothing that can be read" + (f": {skipped[0].reason}" if skipped else "")
    others = f", and {len(skipped) - 1} more" if len(skipped) > 1 else ""
    return ReadResult(source, None, skipped[0].reason if [reason.source for reason in skipped] == [source.name] else first + others)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Of one part of a file; ``broken`` where the child is gone with it."""

    part: str
    documents: list[Document]
    error: ReadError | None
    broken: bool
    repairs: Mapping[str, int] = field(default_factory=dict)


class Worker:
    """One child process that reads files; started when first needed.

    Args:
        timeout_s: wall seconds for one file, or one member of an archive.
        memory_mb: MiB of address space.
        rules: of cleaning, those that are switched on.
    """

    def __init__(self, timeout_s: float, memory_mb: int, rules: Collection[Rule] = RULES) -> None:
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._rules = sorted(rules)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def read(self, source: Source) -> tuple[list[Document], list[Reason], Mapping[str, int]]:
        """Read one file in the child: its documents, what cleaning did to them and, of a container, what in it was not read.

        Raises:
            ReadLimitError: it took too long or too much memory.
            ReadError: it cannot be read, or the parser crashed on it.
        """
        documents: list[Document] = []
        skipped: list[Reason] = []
        errors: list[ReadError] = []
        repairs: Counter[str] = Counter()
        done = failures = 0
        while True:
            broken = False
            for outcome in self._ask(source, done):
                done += 1
                broken = outcome.broken
                documents += outcome.documents
                repairs.update(outcome.repairs)
                if outcome.error is not None:
                    errors.append(outcome.error)
                    skipped.append(Reason(outcome.part, str(outcome.error)))
            if errors and not is_container(source.like):
                raise errors[0]
            if not broken:
                return documents, skipped, repairs
            failures += 1
            if failures == _MOST_FAILURES:
                skipped.append(
                    Reason(source.name, f"{failures} files in {source.name} broke their parsers: the others after them are not read")
                )
                return documents, skipped, repairs

    def _ask(self, source: Source, skip: int) -> Iterator[_Outcome]:
        """What became of each part of a file after the first ``skip``; ends early with the child."""
        process = self._process or self._start()
        late = threading.Event()
        part = source.name
        request: dict[str, Any] | None = {
            "path": str(source.path.absolute()),
            "name": source.name,
            "fields": asdict(source.fields),
            "ending": source.ending,
            "rules": self._rules,
            "skip": skip,
        }
        while True:
            timer = threading.Timer(self._timeout_s, _expire, (process, late))
            timer.start()
            try:
                reply = _exchange(process, request)
            finally:
                timer.cancel()
            request = None
            if reply is None:
                status = self.close()
                took = f"reading {part} took more than {self._timeout_s:g} s and was stopped"
                crashed = f"reading {part} crashed its parser ({_describe(status)})"
                yield _Outcome(part, [], ReadLimitError(took) if late.is_set() else ReadError(crashed), broken=True)
                return
            if "part" in reply:
                part = reply["part"]
                continue
            if late.is_set() or reply.get("restart"):
                self.close()
            if "end" in reply:
                return
            found = [Document(**document) for document in reply.get("documents", ())]
            error = (ReadLimitError if reply.get("limit") else ReadError)(reply["error"]) if "error" in reply else None
            yield _Outcome(part, found, error, broken=bool(reply.get("restart")), repairs=reply.get("repairs", {}))
            if reply.get("restart"):
                return

    def close(self) -> int:
        """End the child, by force where it does not end by itself at once; gives its exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
        try:
            return process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            _kill(process)
            return process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        package_root = Path(__file__).parents[2]
        keep = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV") if key in os.environ}
        environment = keep | {
            # the parent's path, so that the same packages are found; nothing else of its environment (keys, proxies) is passed on
            "PYTHONPATH": os.pathsep.join([str(package_root), *filter(None, sys.path)]),
            "MALLOC_ARENA_MAX": "2",  # an arena reserves 64 MiB of address space for each thread, which counts against the limit
            "OMP_NUM_THREADS": "1",
            "RAYON_NUM_THREADS": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "ragtune.prepare.worker", str(self._memory_mb), str(self._timeout_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # so that the whole group can be killed, and Ctrl-C reaches the parent alone
        )
        timer = threading.Timer(_START_S, _kill, (process,))
        timer.start()
        ready = process.stdout is not None and receive(process.stdout) is not None
        timer.cancel()
        self._process = process
        if not ready:
            status = self.close()
            raise ReadError(f"the process that reads files does not start ({_describe(status)}): is {self._memory_mb} MiB enough?")
        return process


def send(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Write one message."""
    data = json.dumps(message).encode()
    stream.write(len(data).to_bytes(4, "big") + data)
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any] | None:
    """Read one message; ``None`` at the end of the stream, or where it breaks off."""
    head = stream.read(4)
    size = int.from_bytes(head, "big")
    data = stream.read(size) if len(head) == 4 else b""
    if len(head) < 4 or len(data) < size:
        return None
    message: dict[str, Any] = json.loads(data)
    return message


def encode(document: Document) -> dict[str, Any]:
    """A document as JSON values."""
    return asdict(document)


def _exchange(process: subprocess.Popen[bytes], request: dict[str, Any] | None) -> dict[str, Any] | None:
    if process.stdin is None or process.stdout is None:
        return None
    try:
        if request is not None:
            send(process.stdin, request)
        return receive(process.stdout)
    except OSError:  # it died before it had read the request
        return None


def _expire(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _describe(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
