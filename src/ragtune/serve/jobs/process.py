"""A job's child process: started in a session of its own, known again by its number and start, ended with all that it started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

LOG = "log.txt"
OUTCOME = "outcome.json"
_SAME_START_S = 2.0  # the clock may have been set meanwhile; a number is not given anew so soon
_started: dict[int, subprocess.Popen[bytes]] = {}  # by number; kept, since Python complains of a child that it forgot


def start(folder: Path) -> tuple[int, float]:
    """Start the worker of a job; its number and when it started, in seconds since the epoch.

    A session of its own: Ctrl-C at the server's terminal does not reach it, and all of it can be ended at once. ``-P``: what lies in the
    folder that the server was started in is no part of the program.
    """
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ragtune.serve.jobs.worker", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started[process.pid] = process
    return process.pid, psutil.Process(process.pid).create_time()


def find(pid: int | None, process_started: float | None) -> psutil.Process | None:
    """The process, where it still works."""
    if pid is None or process_started is None or exit_code(pid) is not None:
        return None
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        # Of a child of one's own, exit_code tells: it is a zombie for a while before it can be waited for, if it has threads.
        ended = pid not in _started and process.status() == psutil.STATUS_ZOMBIE
        if abs(process.create_time() - process_started) < _SAME_START_S and not ended:
            return process
    return None


def exit_code(pid: int | None) -> int | None:
    """How a process ended that this one started, negative for a signal; ``None`` of any other."""
    return _started[pid].poll() if pid in _started else None


def ask_to_stop(process: psutil.Process) -> None:
    """Tell it to end, which it does when what it is at lets it."""
    with contextlib.suppress(psutil.Error):
        process.terminate()


def kill(process: psutil.Process) -> None:
    """End it and all that it started."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        family = process.children(recursive=True)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    for each in (process, *family):
        with contextlib.suppress(psutil.Error):
            each.kill()


def give_way() -> None:
    """Called by the worker: answers go before it, and where memory runs out it is what the system ends."""
    os.nice(5)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def read_outcome(folder: Path) -> dict[str, Any] | None:
    """What the worker wrote last; ``None`` where it did not come to that.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        return dict(json.loads((folder / OUTCOME).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
