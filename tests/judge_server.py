"""A judge on loopback: OpenAI's protocol, and a rule in place of a model. It reads what a real one is shown, and nothing else."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Rule = Callable[[dict[str, Any]], "dict[str, Any] | str | None"]
"""What the judge is shown to what it writes: a form, a text that is none, or ``None`` for a refusal."""


@dataclass
class JudgeServer:
    """Where it listens, every prompt that it was sent, and the tokens that it counted."""

    url: str
    prompts: list[str] = field(default_factory=list)
    tokens: int = 0


@contextmanager
def serve_judge(rule: Rule) -> Iterator[JudgeServer]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
            judge.prompts.append(json.dumps(asked))
            # The first user turn holds the data; later ones only ask again.
            data, _ = json.JSONDecoder().raw_decode(asked[1]["content"])
            written = rule(data)
            message = {"role": "assistant", "content": written if isinstance(written, str) else json.dumps(written)}
            if written is None:
                message = {"role": "assistant", "content": None, "refusal": "I would rather not."}  # type: ignore[dict-item]
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": len(json.dumps(asked)) // 4, "completion_tokens": len(str(written)) // 3, "total_tokens": 0}
            judge.tokens += usage["prompt_tokens"] + usage["completion_tokens"]
            body = json.dumps({"id": "x", "object": "chat.completion", "created": 0, "model": "rule", "choices": [choice], "usage": usage})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    judge = JudgeServer(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fair(data: dict[str, Any]) -> dict[str, Any] | str | None:
    """Grades by the words that answer and references share, and prefers by the same; equals are neither."""
    if "first_answer" in data:
        first, second = (correctness(data, data[f"{place}_answer"]["text"]) for place in ("first", "second"))
        return {"reason": "by words", "better": "first" if first > second else "second" if second > first else "neither"}
    text = data["answer"]["text"]
    found, abstains = words(" ".join(data["passages"])), "not in the passages" in text
    held = 1.0 if abstains else len(words(text) & found) / max(1, len(words(text)))
    grade = correctness(data, text)
    return form(grade, 1 + round(4 * held), 5 if abstains or grade > 1 else 1, 5)


def correctness(data: dict[str, Any], text: str) -> int:
    abstains = "not in the passages" in text
    if not data["references"] or abstains:
        return 5 if abstains and not data["references"] else 1
    share = max(len(words(text) & words(reference)) / len(words(reference)) for reference in data["references"])
    return 5 if share == 1 else 3 if share >= 0.5 else 1


def form(*grades: int) -> dict[str, Any]:
    """A filled-in grading form."""
    names = ("correctness", "faithfulness", "relevance", "coherence")
    return {
        key: value
        for name, grade in zip(names, grades, strict=True)
        for key, value in ((f"{name}_reason", f"because {name}"), (name, grade))
    }


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
