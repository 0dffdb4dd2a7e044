"""A server that speaks OpenAI's chat protocol and knows one thing: to ask and answer about the facts of the tiny project.

It answers from the prompt alone, the same to the same prompt, and remembers what it was asked.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FACT = re.compile(r"The (\w+) of (\w+) was built by (\w+ \w+) in stone\.")
_ASKED = re.compile(r"the (\w+) of (\w+)")
PRICES = 'chat.prices={"compatible:teacher" = [1000, 1000]}'
"""A dollar for a thousand tokens, so that a cap of some dollars is soon reached."""


class TeacherServer:
    """Runs in threads of this process, on a port of its own, until it is closed.

    Args:
        seconds: that each answer takes.
        known: places whose builders it knows by heart.
        obeys: a document's word that makes it write what the document wants.

    ``hold`` is called before each answer: a kill test lets its client have no more there.
    """

    def __init__(self, *, seconds: float = 0.0, known: tuple[str, ...] = (), obeys: str | None = None) -> None:
        self.seconds = seconds
        self.known = known
        self.obeys = obeys
        self.requests: Counter[str] = Counter()
        self.hold: Callable[[], object] = lambda: None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                data = json.dumps(server.answer(json.loads(body))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that was killed is none."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """A chat completion."""
        messages = request["messages"]
        self.requests[json.dumps(messages)] += 1
        self.hold()
        time.sleep(self.seconds)
        text = self._write(request) if messages[0]["content"].startswith("You write test questions") else self._answer(messages)
        words = sum(len(message["content"].split()) for message in messages)
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "teacher-2026-01-01",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": words, "completion_tokens": len(text.split()), "total_tokens": words + len(text.split())},
        }

    def _write(self, request: dict[str, Any]) -> str:
        """A question in the form that the request's schema wants."""
        fields = request["response_format"]["json_schema"]["schema"]["required"]
        shown = request["messages"][-1]["content"].rpartition("</passage>")[0]
        if self.obeys is not None and self.obeys in shown:
            return json.dumps(dict.fromkeys(fields, "Who would not buy Acme shares?"))
        facts = list(FACT.finditer(shown))
        if not facts:
            return "I see no fact here."
        (thing, place, builder), sentence = facts[0].groups(), facts[0][0]
        if "missing" in fields:
            return json.dumps({"missing": "It does not say who paid.", "question": f"Who paid for the {thing} of {place}?"})
        written = {"question": f"Who built the {thing} of {place}?", "reasoning": f'It says "built by {builder}".', "answer": builder}
        if "quote_1" in fields:
            thing_2, place_2, builder_2 = facts[-1].groups()
            question = f"Who built the {thing} of {place}, and who the {thing_2} of {place_2}?"
            return json.dumps(
                {**written, "quote_1": sentence, "quote_2": facts[-1][0], "question": question, "answer": f"{builder}, {builder_2}"}
            )
        return json.dumps({**written, "quote": sentence})

    def _answer(self, messages: list[dict[str, str]]) -> str:
        """The answer to a question, from the passages or from memory."""
        context, _, question = messages[-1]["content"].rpartition("Question: ")
        question = question.splitlines()[0]
        asked = _ASKED.findall(question) if "built" in question else []
        if "from memory" in messages[0]["content"]:
            facts = [("", "", "Nobody Known")] if not any(place in self.known for _, place in asked) else self._facts(asked, None)
        else:
            facts = self._facts(asked, context)
        if not facts:
            return "Answer: not in the passages"
        return f"Answer: {', '.join(builder for *_, builder in facts)}"

    @staticmethod
    def _facts(asked: list[tuple[str, str]], context: str | None) -> list[tuple[str, str, str]]:
        from tiny_project import builder

        if context is None:
            return [(thing, place, builder(place, thing)) for thing, place in asked]
        found = {(thing, place): name for thing, place, name in FACT.findall(context)}
        return [(*each, found[each]) for each in asked if each in found] if all(each in found for each in asked) else []
