"""The app over a project, as a client meets it, and jobs that have ended when a test does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from served_project import KEPT_OPEN_S

from ragtune import Project
from ragtune.errors import JobError
from ragtune.serve.app import close_state, create_app
from ragtune.serve.jobs import Jobs
from ragtune.serve.jobs.records import FINISHED
from waiting import until


@contextlib.contextmanager
def open_app(project: Project) -> Iterator[FastAPI]:
    """The app; at the end no job works any more."""
    app = create_app(project)
    try:
        yield app
    finally:
        if not app.state.ragtune.jobs.closed:
            close_state(app.state.ragtune)
        end_jobs(Jobs(project.workspace))


def end_jobs(jobs: Jobs) -> None:
    """Stop what is under way."""
    for job in jobs.all():
        if job.state not in FINISHED:
            with contextlib.suppress(JobError):  # it has ended just now
                jobs.stop(job.id)
    until(lambda: all(job.state in FINISHED for job in jobs.all()))
    jobs.close()


def client_of(app: FastAPI) -> TestClient:
    """A client on the same machine."""
    return TestClient(app, base_url="http://127.0.0.1")


@contextlib.contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The address of a real server with it, on loopback."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off", ws="none", timeout_keep_alive=KEPT_OPEN_S))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def finished(client: TestClient, job: str) -> dict[str, object]:
    """A job when it has ended."""
    until(lambda: client.get(f"/api/jobs/{job}").json()["state"] in FINISHED)
    found: dict[str, object] = client.get(f"/api/jobs/{job}").json()
    return found
