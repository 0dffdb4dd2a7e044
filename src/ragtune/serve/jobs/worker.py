"""The child process of a job: ``python -m ragtune.serve.jobs.worker FOLDER``.

It calls the same method of :class:`ragtune.Project` that the command line does, tells what goes on as events, and writes what came of it.
It may be killed at any moment: every stage goes on from there when it is called again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ragtune.errors import ConsentError, LockedError, RagtuneError
from ragtune.project import Project, to_json
from ragtune.serve.jobs import events, process
from ragtune.serve.jobs.progress import EventHandler, EventProgress, TrainingRows
from ragtune.serve.jobs.records import Stored
from ragtune.serve.jobs.settings import check_settings, to_overrides
from ragtune.workspace import Workspace, write_json

_POLL_S = 1.0
_LISTED = 100  # entries of a list in a result
_T = TypeVar("_T")


class _StopError(BaseException):
    """The server, or the system, asks it to end."""


def main(folder: Path) -> int:
    """Do a job; 0 where it was done, 1 where not."""
    signal.signal(signal.SIGTERM, _stop)
    process.give_way()
    job = Stored.model_validate_json((folder / "job.json").read_bytes())
    write = partial(_write, folder)
    logging.getLogger().addHandler(EventHandler(write))
    try:
        outcome = {"state": "done", "result": _do(folder, job)}
    except _StopError:
        outcome = {"state": "stopped"}
    except ConsentError as error:
        how = 'through the API that is "arguments": {"yes": true, "max_cost": DOLLARS}, with a key of the scope admin'
        outcome = {"state": "failed", "error": f"{error}; {how}"}
    except RagtuneError as error:
        outcome = {"state": "failed", "error": str(error)}
    except Exception as error:
        traceback.print_exc()
        outcome = {
            "state": "failed",
            "error": f"a bug in ragtune: {type(error).__name__}; the job's log.txt on the server has the whole of it",
        }
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    write_json(folder / process.OUTCOME, outcome)
    return 0 if outcome["state"] == "done" else 1


def _write(folder: Path, type_: str, values: Mapping[str, Any]) -> None:
    """An event; that it cannot be written ends no job."""
    with contextlib.suppress(OSError):
        events.append(folder, type_, values)


def _stop(*_: object) -> NoReturn:
    raise _StopError


def _do(folder: Path, job: Stored) -> dict[str, Any]:
    path = folder.parents[2]
    write = partial(_write, folder)
    check_settings(path, job.settings)  # the files may not be what they were when it was asked for
    overrides = to_overrides(path, job.settings)
    if "max_cost" in job.arguments:
        overrides.append(f"chat.max_cost={job.arguments['max_cost']}")
    progress = EventProgress(write, TrainingRows(Workspace(path), _told(folder)))
    project = Project(path, overrides=overrides, progress=progress)
    arguments = {name: value for name, value in job.arguments.items() if name != "max_cost"}
    made = {name: _when_free(project.workspace, name, stage, write) for name, stage in _stages(project, job.kind, arguments).items()}
    shortened: dict[str, Any] = _shortened(json.loads(to_json(made if len(made) > 1 else next(iter(made.values())))))
    return shortened


def _stages(project: Project, kind: str, arguments: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """What a job calls, in order, each by itself holding the writers' lock."""
    match kind:
        case "ingest":
            return {"ingest": project.ingest, "index": partial(project.index, **arguments)}
        case "purge":
            return {"purge": partial(project.purge, arguments["sources"])}
        case "dataset":
            return {"dataset": partial(project.dataset, **arguments)}
        case "synthesise":
            return {"synthesise": partial(project.synthesise, **arguments)}
        case "train" if arguments.pop("retriever", False):
            arguments.pop("without_context", None)
            return {"train": partial(project.train_retriever, **arguments)}
        case "train":
            return {"train": partial(project.train, **arguments)}
        case "evaluate":
            return {"evaluate": partial(project.evaluate, **arguments)}
        case _:
            return {"run": partial(project.run, **arguments)}


def _when_free(workspace: Workspace, command: str, stage: Callable[[], _T], write: Callable[[str, dict[str, Any]], None]) -> _T:
    """Call a stage as soon as no other command writes to the project."""
    waiting = False
    while True:
        try:
            with workspace.lock(command):  # looked at first, since a stage does not tell when it has it
                pass
            if waiting:
                write("state", {"state": "running", "message": "it goes on"})
                waiting = False
            return stage()
        except LockedError as error:
            if not waiting:
                who = str(error).partition(": wait for it")[0]
                write("state", {"state": "waiting", "message": f"{who}: this goes on by itself when that has ended"})
            waiting = True
            time.sleep(_POLL_S)


def _told(folder: Path) -> dict[str, int]:
    """The last step of each model that an earlier sitting told."""
    told: dict[str, int] = {}
    place = 0
    while True:
        found, after = events.read(folder, place)
        for _, event in found:
            if event["type"] == "metrics":
                told[event["model"]] = event["step"]
        if after == place:
            return told
        place = after


def _shortened(value: Any) -> Any:
    """A result without the server's paths, its report's sentence in place of the report, and its lists cut and counted."""
    if isinstance(value, list):
        return [_shortened(each) for each in value[:_LISTED]]
    if not isinstance(value, dict):
        return value
    if value.get("decision") and "sentence" in value:
        return {name: value[name] for name in ("decision", "sentence", "questions") if name in value}
    kept = {name: _shortened(each) for name, each in value.items() if name not in ("folder", "file")}
    counts = {name: len(each) for name, each in value.items() if isinstance(each, list)}
    return {**kept, "counts": counts} if counts else kept


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
