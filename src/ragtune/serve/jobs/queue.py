"""The jobs of a project: asked for, started one after the other, stopped, found again after a restart.

Everything lies on the disk, and is changed only under a lock there, so that a server may end at any moment, and two may serve one project.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ragtune.errors import ConfigError, JobError, ProjectError
from ragtune.hosted.providers import is_hosted
from ragtune.serve.jobs import events, process
from ragtune.serve.jobs.records import FINISHED, Event, Job, State, Stored, check_arguments, follow
from ragtune.serve.jobs.settings import check_settings
from ragtune.workspace import Workspace, now, write_json

KEPT = 50
"""Finished jobs beyond are forgotten, the oldest first; and as many may be under way."""
GRACE_S = 10.0
"""Seconds that a job has to stop by itself."""
_TICK_S = 0.3
_IDLE_S = 3.0  # another server of the project may have asked for a job, and be gone
_RETRY_S = 10.0
_LOCK_S = 10.0  # the lock is held for milliseconds
_log = logging.getLogger(__name__)
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")


class Jobs:
    """The jobs of one project. A thread starts what waits and looks after what works, until :meth:`close`, which stops no job.

    Args:
        workspace: of the project.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.folder = workspace.jobs
        self.closed = False
        self._mutex = threading.RLock()
        self._wake = threading.Event()
        self._followed: dict[str, tuple[Stored, int]] = {}
        self._thread = threading.Thread(target=self._look_after, name="ragtune-jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look after them no more. One that works goes on, and the next server finds it."""
        self.closed = True
        self._wake.set()
        self._thread.join()

    def create(self, kind: str, arguments: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None) -> Job:
        """Ask for a job; it starts when those before it have ended.

        Args:
            kind: as ``train``.
            arguments: of the method of :class:`ragtune.Project` of that name, as far as :mod:`ragtune.serve.jobs.records` has them.
            settings: for this job alone, by dotted name.

        Raises:
            ConfigError: the kind, an argument or a setting is wrong.
            JobError: too many are under way.
        """
        checked, own = check_arguments(kind, arguments or {}), dict(settings or {})
        base = check_settings(self._workspace.project, own).model.base
        if kind in ("train", "run") and is_hosted(base) and not checked.get("retriever"):
            raise ConfigError(f"tuning {base} costs what its vendor charges, whatever max_cost says: run 'ragtune train' on the server")
        with self._changing():
            known = self._stored()
            if sum(job.state not in FINISHED for job in known) >= KEPT:
                raise JobError(f"{KEPT} jobs are under way: stop some, or wait")
            id_ = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
            job = Stored.model_validate(
                {"id": id_, "kind": kind, "arguments": checked, "settings": own, "state": "waiting", "created": now()}
                | {"model": checked.get("model")}
            )
            (self.folder / id_).mkdir()
            self._write(job)
            self._tell(job)
            for old in [each for each in known if each.state in FINISHED][KEPT - 1 :]:
                self._forget(old.id)
        self._wake.set()
        return job.public()

    def all(self) -> list[Job]:
        """All that are kept, the newest first."""
        return [self._followed_up(job).public() for job in self._stored()]

    def find(self, id_: str) -> Job | None:
        """One of them."""
        job = self._load(id_)
        return None if job is None else self._followed_up(job).public()

    def stop(self, id_: str) -> Job:
        """End a job; what it did stays, and :meth:`resume` goes on from there. One that does not stop by itself is killed.

        Raises:
            ProjectError: there is no such job.
            JobError: it has ended.
        """
        with self._changing():
            job = self._get(id_)
            if job.state in FINISHED:
                raise JobError(f"job {id_} is {job.state} already")
            running = process.find(job.pid, job.process_started)
            if job.state == "waiting":
                self._end(job, "stopped", message="stopped before it began")
            elif running is None:
                self._settle(job)
            elif job.stopping is None:
                process.ask_to_stop(running)
                job.stopping = time.time() + GRACE_S
                self._write(job)
                events.append(self.folder / id_, "note", {"message": "stopping …"})
        self._wake.set()
        return self._followed_up(job).public()

    def resume(self, id_: str) -> Job:
        """Do a job again that failed or was stopped, with the same arguments: its stages go on where they were.

        Raises:
            ProjectError: there is no such job.
            JobError: it is under way or done.
        """
        with self._changing():
            job = self._get(id_)
            if job.state not in ("failed", "stopped"):
                raise JobError(f"job {id_} is {job.state}: only one that failed or was stopped can be resumed")
            check_settings(self._workspace.project, job.settings)
            (self.folder / id_ / process.OUTCOME).unlink(missing_ok=True)
            fresh = Stored(id=id_, kind=job.kind, arguments=job.arguments, settings=job.settings, state="waiting", created=job.created)
            fresh.model = job.model
            self._write(fresh)
            self._tell(fresh)
        self._wake.set()
        return fresh.public()

    def remove(self, id_: str) -> None:
        """Forget a job that has ended; what it made stays.

        Raises:
            ProjectError: there is no such job.
            JobError: it is under way.
        """
        with self._changing():
            job = self._get(id_)
            if job.state not in FINISHED:
                raise JobError(f"job {id_} is {job.state}: stop it first")
            self._forget(id_)

    def events(self, id_: str, after: int = 0) -> tuple[list[tuple[int, Event]], int]:
        """Events of a job after a number, each with its own, and where to go on; progress that was overtaken is left out."""
        found, place = events.read(self._path(id_), after)
        return events.condense(found), place

    # The thread

    def _look_after(self) -> None:
        while not self.closed:
            self._wake.clear()
            try:
                pause = _TICK_S if self._look() else _IDLE_S
            except Exception:  # as a full disk: the next look may do it
                _log.exception("looking after the jobs failed; it is tried again")
                pause = _RETRY_S
            self._wake.wait(pause)

    def _look(self) -> bool:
        """Settle what ended, kill what does not stop, start what is next; whether something is under way."""
        if not self.folder.is_dir() or all(job.state in FINISHED for job in self._stored()):
            return False
        with self._changing():
            under_way = [job for job in reversed(self._stored()) if job.state not in FINISHED]
            working = [job for job in under_way if job.state == "running" and self._works(job)]
            waiting = [job for job in under_way if job.state == "waiting"]
            if waiting and not working:
                self._start(waiting[0])
        return bool(working or waiting)

    def _works(self, job: Stored) -> bool:
        """Whether it does; one whose process ended is settled."""
        running = process.find(job.pid, job.process_started)
        if running is None:
            self._settle(job)
            return False
        if job.stopping is not None and time.time() > job.stopping:
            process.kill(running)
        return True

    def _start(self, job: Stored) -> None:
        job.state, job.started = "running", now()
        self._write(job)  # first: a server that ends just now must not start it twice
        self._tell(job)  # before the child, which may say that it waits for another command
        job.pid, job.process_started = process.start(self.folder / job.id)
        self._write(job)

    def _settle(self, job: Stored) -> None:
        """Write down how a job ended whose process is gone."""
        try:
            outcome = process.read_outcome(self.folder / job.id)
        except ValueError as damage:
            outcome = {"state": "failed", "error": f"what came of it cannot be read ({damage}): resume it"}
        code = process.exit_code(job.pid)
        if outcome is not None:
            self._end(job, outcome["state"], result=outcome.get("result"), error=outcome.get("error"))
        elif job.stopping is not None:
            self._end(job, "stopped", message="stopped")
        elif code is None:
            self._end(job, "stopped", message="it ended while no server looked after it: resume it, and it goes on")
        else:
            why = f"by signal {-code}" if code < 0 else f"with code {code}"
            memory = ", as the system does when memory runs out" if code == -9 else ""
            self._end(job, "failed", error=f"its process was ended {why}{memory}; see its log.txt. Resume it, and it goes on")

    # The files

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(self.folder / "lock"))
        with self._mutex:
            try:
                lock.acquire(timeout=_LOCK_S)
            except Timeout:
                raise JobError(f"another server holds {lock.lock_file}: try again in a moment") from None
            try:
                yield
            finally:
                lock.release()

    def _end(
        self, job: Stored, state: State, *, message: str | None = None, result: dict[str, Any] | None = None, error: str | None = None
    ) -> None:
        ended = self._followed_up(job)
        ended.state, ended.ended, ended.seconds_left = state, now(), None
        ended.seconds = _between(ended.started, ended.ended)
        ended.result, ended.error, ended.message = result, error, message or error or ended.message
        ended.model = _model(ended) or ended.model
        self._tell(ended)  # first: who finds that it has ended finds that told, and a server killed here tells it again
        self._write(ended)
        self._followed.pop(job.id, None)

    def _followed_up(self, job: Stored) -> Stored:
        """A job with what it told since it was written down; that of one which works is read on from where it was read to."""
        if job.state != "running":
            return job
        with self._mutex:
            kept, place = self._followed.get(job.id, (job, 0))
            if kept.started != job.started:
                kept, place = job, 0
            while True:
                found, after = events.read(self._path(job.id), place)
                for _, event in found:
                    if event.get("at", "") >= (job.started or ""):
                        follow(kept, event)
                if after == place:
                    break
                place = after
            kept.pid, kept.process_started, kept.stopping = job.pid, job.process_started, job.stopping
            kept.seconds = _between(job.started, now())
            self._followed[job.id] = kept, place
            return kept.model_copy(deep=True)

    def _tell(self, job: Stored) -> None:
        events.append(self._path(job.id), "state", {"state": job.state, "message": job.error or job.message})

    def _path(self, id_: str) -> Path:
        return self.folder / id_

    def _write(self, job: Stored) -> None:
        write_json(self._path(job.id) / "job.json", job.model_dump())

    def _load(self, id_: str) -> Stored | None:
        if not _ID.fullmatch(id_):
            return None
        try:
            return Stored.model_validate_json((self._path(id_) / "job.json").read_bytes())
        except (FileNotFoundError, ValueError):  # being removed, or not a job
            return None

    def _get(self, id_: str) -> Stored:
        job = self._load(id_)
        if job is None:
            raise ProjectError(f"there is no job {id_!r}")
        return job

    def _stored(self) -> list[Stored]:
        """As they were written down, the newest first."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        found = [job for name in names if (job := self._load(name)) is not None]
        return sorted(found, key=lambda job: (job.created, job.id), reverse=True)

    def _forget(self, id_: str) -> None:
        shutil.rmtree(self._path(id_), ignore_errors=True)
        self._followed.pop(id_, None)


def _model(job: Job) -> str | None:
    """The tuned model that came of a job."""
    made = job.result if job.kind == "train" and not job.arguments.get("retriever") else (job.result or {}).get("model")
    return made.get("name") if isinstance(made, dict) else None


def _between(start: str | None, end: str) -> float:
    return 0.0 if start is None else round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds(), 3)
