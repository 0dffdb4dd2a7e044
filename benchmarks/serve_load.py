"""What does serving cost, and does it hold? Loads ``ragtune serve`` over HTTP with streaming clients.

    python benchmarks/serve_load.py --project demo                            # goodput and time to first token, some minutes a rival
    python benchmarks/serve_load.py --project demo --soak 120 --clients 100   # only 200 and 429, and memory that stays what it is

The prompts are test questions of the project's newest dataset with the passages that they are served with. At 1, 8 and 32 clients:

- goodput: completion tokens of finished answers a second, over HTTP (``retrieve: false``, so that the prompts are the same), beside
  ``HuggingFaceEngine.generate`` in this process with as many prompts in a batch as the server has rows; the two take turns;
- time to first token of the base model, beside ``transformers serve`` and llama.cpp's server (8-bit weights, as its package has them);
- with retrieval: goodput, and at one client the time that retrieval takes.

A rival that is not installed is left out. Writes ``benchmarks/results/serve_load.json``, or ``serve_soak.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
Chat = list[dict[str, str]]
LLAMA = """
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.model_alias = sys.argv[1], {"base"}
params.n_ctx, params.n_parallel = 2048 * int(sys.argv[2]), int(sys.argv[2])
params.hostnames, params.port = ["127.0.0.1"], 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[3])
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@dataclass
class Load:
    """What so many clients saw. Times in seconds."""

    seconds: float = 0.0
    tokens: int = 0
    first: list[float] = field(default_factory=list)
    retrieval: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def tokens_per_second(self) -> float:
        """Goodput: what was asked for and refused, or broke, gave no tokens."""
        return self.tokens / self.seconds

    def add(self, other: Load) -> None:
        """Take another round into account."""
        self.seconds += other.seconds
        self.tokens += other.tokens
        self.first += other.first
        self.retrieval += other.retrieval
        self.statuses += other.statuses

    def row(self) -> dict[str, Any]:
        """The figures."""
        return {
            "tokens_per_second": round(self.tokens_per_second, 1),
            "first_token_p50": _percentile(self.first, 50),
            "first_token_p95": _percentile(self.first, 95),
            "retrieval_p50": _percentile(self.retrieval, 50),
            "retrieval_p95": _percentile(self.retrieval, 95),
            "statuses": dict(self.statuses),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, help="with an index, a dataset and a tuned model")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--prompts", type=int, default=12, help="asked by all clients together in a round; at least one each")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rivals", nargs="*", default=["transformers", "llama.cpp"])
    parser.add_argument("--soak", type=float, help="seconds of load without end, instead")
    parser.add_argument("--clients", type=int, default=100, help="of --soak")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.project is None or importlib.util.find_spec("fastapi") is None:
        print("skipped: it needs ragtune[serve] and a project: python benchmarks/serve_load.py --project demo (make demo makes one)")
        return
    from ragtune.workspace import library_versions, write_json

    measured = soak(options.project, options.soak, options.clients) if options.soak else compare(options)
    found = {"machine": {"processor": platform.processor(), "cores": os.cpu_count()}, "versions": library_versions(), **measured}
    write_json(options.output or RESULTS / ("serve_soak.json" if options.soak else "serve_load.json"), found)
    if strange := set(found.get("statuses", ())) - {"200", "429"}:
        sys.exit(f"other than 200 and 429: {', '.join(sorted(strange))}")


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Goodput beside the bare engine, time to first token beside other servers, and what retrieval adds."""
    from ragtune import Project

    project = Project(options.project)
    limit, rows = project.settings.generate.max_new_tokens, project.settings.serve.rows
    streams = {clients: max(clients, options.prompts) for clients in options.streams}
    chats, questions = prompts(project, max(streams.values()))
    found: dict[str, Any] = {"prompts": streams, "max_tokens": limit, "rows": rows, "rounds": options.rounds, "loads": [], "goodput": {}}

    def note(arm: str, clients: int, load: Load) -> None:
        found["loads"].append({"arm": arm, "clients": clients, **load.row()})
        print(json.dumps(found["loads"][-1]), flush=True)

    with ragtune_server(options.project) as (url, _):
        bare = BareEngine(project, limit)
        body = {"model": "ragtune", "max_tokens": limit, "ragtune": {"retrieve": False}}
        fire(url, chats[:2], 2, body)  # warm
        bare.answer(chats[:2], 2)
        for clients, count in streams.items():
            served, alone, shares = Load(), Load(), []
            for _ in range(options.rounds):
                one, other = fire(url, chats[:count], clients, body), bare.answer(chats[:count], min(clients, rows))
                shares.append(one.tokens_per_second / other.tokens_per_second)
                served.add(one)
                alone.add(other)
            note("ragtune serve", clients, served)
            note("bare engine", clients, alone)
            share = statistics.median(shares)
            found["goodput"][clients] = {"share": round(share, 3), "rounds": [round(each, 3) for each in shares]}
            print(f"{clients} clients: goodput is {share:.1%} of the bare engine's", flush=True)
        asked = [[{"role": "user", "content": question}] for question in questions]
        for clients, count in streams.items():
            note("ragtune serve, with retrieval", clients, fire(url, asked[:count], clients, {"model": "ragtune", "max_tokens": limit}))
        for clients, count in streams.items():
            note("ragtune serve, base", clients, fire(url, chats[:count], clients, {**body, "model": "base"}))
        bare.close()
    for rival in options.rivals:
        try:
            with RIVALS[rival](project, max(options.streams)) as (url, name):
                own = {"model": name, "max_tokens": limit, "temperature": 0}
                fire(url, chats[:2], 2, own)
                for clients, count in streams.items():
                    note(rival, clients, fire(url, chats[:count], clients, own))
        except (MissingError, RuntimeError) as error:
            print(f"{rival}: left out, {error}", flush=True)
    return found


def soak(folder: Path, seconds: float, clients: int) -> dict[str, Any]:
    """So many clients ask without end; the server's memory is looked at every second."""
    import psutil

    from ragtune import Project

    _, questions = prompts(Project(folder), 1000)
    with ragtune_server(folder) as (url, process):
        body = {"model": "ragtune"}
        fire(url, [[{"role": "user", "content": questions[0]}]], 1, body)
        sizes: list[float] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(1):
                sizes.append(psutil.Process(process.pid).memory_info().rss / 2**20)

        watching = threading.Thread(target=watch)
        watching.start()
        load = Load()
        asyncio.run(_fire(url, [[{"role": "user", "content": question}] for question in questions], clients, body, load, seconds))
        over.set()
        watching.join()
    third = len(sizes) // 3
    memory = {
        "first_third_mib": round(statistics.median(sizes[third // 2 : third] or sizes), 1),
        "last_third_mib": round(statistics.median(sizes[-third:] or sizes), 1),
        "peak_mib": round(max(sizes), 1),
        "every_tenth_second_mib": [round(size) for size in sizes[::10]],
    }
    found = {"clients": clients, "seconds": round(load.seconds, 1), **load.row(), "memory": memory}
    print(json.dumps(found), flush=True)
    return found


def prompts(project: Any, count: int) -> tuple[list[Chat], list[str]]:
    """Chats as the model is shown them, and their questions."""
    from ragtune.dataset.raft import evaluation_context
    from ragtune.dataset.store import read_dataset
    from ragtune.prompts import build_messages

    source = project.workspace.find("datasets", None)
    data, k = read_dataset(project.workspace.artifact("datasets", source.name)), int(source.settings["retrieve"]["k"])
    chats = []
    for example in data.test[:count]:
        shown = [data.passages[id_] for id_ in evaluation_context(example, "retrieved", k).passages or ()]
        chats.append([{"role": each.role, "content": each.content} for each in build_messages(example.question, shown)])
    return chats, [example.question for example in data.test[:count]]


class BareEngine:
    """The engine without a server."""

    def __init__(self, project: Any, limit: int) -> None:
        from ragtune import build
        from ragtune.pipeline.answerers import adapter_of
        from ragtune.pipeline.ask import find_meant

        tuned = find_meant(project.workspace, None)
        self._engine: Any = build.engine(build.with_base_of(project.settings, tuned.settings["model"]) if tuned else project.settings)
        self._adapter = adapter_of(project.workspace, tuned) if tuned else None
        self._limit = limit
        self._release = build.release_engine

    def answer(self, chats: Sequence[Chat], batch: int) -> Load:
        """Answer all, so many in a batch."""
        from ragtune.types import Message

        asked = [[Message(turn["role"], turn["content"]) for turn in chat] for chat in chats]  # type: ignore[arg-type]
        began = time.perf_counter()
        made = list(self._engine.generate(asked, adapter=self._adapter, max_new_tokens=self._limit, batch_size=batch))
        return Load(time.perf_counter() - began, sum(generation.completion_tokens for _, generation in made))

    def close(self) -> None:
        """Free its memory, for the rivals."""
        self._engine = None
        self._release()


def fire(url: str, chats: Sequence[Chat], clients: int, body: dict[str, Any]) -> Load:
    """Ask all chats, so many at once."""
    load = Load()
    asyncio.run(_fire(url, chats, clients, body, load))
    return load


async def _fire(url: str, chats: Sequence[Chat], clients: int, body: dict[str, Any], load: Load, seconds: float | None = None) -> None:
    import httpx

    began = time.perf_counter()
    left = iter(chats) if seconds is None else _without_end(chats, began + seconds)

    async def ask(client: httpx.AsyncClient) -> None:
        for chat in left:  # shared: each client takes the next
            await _ask(client, {**body, "messages": chat, "stream": True, "stream_options": {"include_usage": True}}, load)

    async with httpx.AsyncClient(base_url=url, timeout=600, limits=httpx.Limits(max_connections=None)) as client:
        await asyncio.gather(*(ask(client) for _ in range(clients)))
    load.seconds += time.perf_counter() - began


async def _ask(client: Any, body: dict[str, Any], load: Load) -> None:
    import httpx

    began, first, tokens, status = time.perf_counter(), None, 0, "broken"
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            status = str(response.status_code)
            if response.status_code == 429:
                await asyncio.sleep(min(2.0, float(response.headers.get("retry-after", 1))))
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    status = "error in the stream"
                if first is None and any(choice["delta"].get("content") for choice in chunk.get("choices", ())):
                    first = time.perf_counter() - began
                tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
                if "ragtune" in chunk:
                    load.retrieval.append(chunk["ragtune"]["seconds"]["retrieval"])
                    first = chunk["ragtune"]["seconds"]["first_token"] if first is None else first
    except httpx.HTTPError as error:
        status = type(error).__name__
    load.statuses[status] += 1
    load.tokens += tokens
    if first is not None:
        load.first.append(first)


def _without_end(chats: Sequence[Chat], end: float) -> Iterator[Chat]:
    while True:
        for chat in chats:
            if time.perf_counter() > end:
                return
            yield chat


class MissingError(Exception):
    """A rival is not installed."""


@contextlib.contextmanager
def ragtune_server(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``ragtune serve``, and its process."""
    command = [sys.executable, "-m", "ragtune.cli", "serve", "--port", "0", "--project", str(folder), "--set", "traces.keep=false"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if line.startswith("serving "):
                    break
            else:
                raise RuntimeError("ragtune serve did not start")
            threading.Thread(target=sys.stderr.writelines, args=(process.stderr,), daemon=True).start()
            yield line.split(" at ")[1].split(" ")[0], process
        finally:
            process.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def transformers_server(project: Any, clients: int) -> Iterator[tuple[str, str]]:  # noqa: ARG001 - it has no limit of its own
    """``transformers serve`` with the same weights, and the model's name."""
    from ragtune.models.pull import resolve

    folder = str(resolve(project.settings.model.base))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", folder, "--device", "cpu", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with _process(command, environment) as process:
        url = f"http://127.0.0.1:{port}"
        _wait(f"{url}/health", process)
        yield url, folder


@contextlib.contextmanager
def llama_server(project: Any, clients: int) -> Iterator[tuple[str, str]]:  # noqa: ARG001 - it has weights of its own
    """llama.cpp's server with SmolLM2 135M, and the model's name."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise MissingError("xllamacpp is not installed")
    sys.path.insert(0, str(HERE.parent / "tests"))
    from servers import _weights

    rows = min(clients, 16)
    command = [sys.executable, "-c", LLAMA, str(_weights()), str(rows), str(os.cpu_count() or 1)]
    with _process(command, dict(os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url.startswith("http"):
            raise RuntimeError("llama.cpp's server did not start")
        yield url, "base"


RIVALS = {"transformers": transformers_server, "llama.cpp": llama_server}


@contextlib.contextmanager
def _process(command: Sequence[str], environment: dict[str, str], **streams: Any) -> Iterator[subprocess.Popen[str]]:
    try:
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, text=True, **streams)
    except FileNotFoundError as error:
        raise MissingError(str(error)) from None
    with process:
        try:
            yield process
        finally:
            process.kill()


def _wait(url: str, process: subprocess.Popen[str]) -> None:
    import httpx

    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url).status_code == 200:
                return
        time.sleep(0.5)
    raise RuntimeError("it did not start")


def _percentile(values: Sequence[float], share: int) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 4)


if __name__ == "__main__":
    main()
