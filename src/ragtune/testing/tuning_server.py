"""A vendor's tuning jobs on loopback, for tests: OpenAI's fine-tuning API, and Gemini's tuning on Vertex AI with a bucket.

Nothing is trained. Requests and answers are held to the types of the vendors' own SDKs, jobs advance a status each time they are looked
at, state is on disk so that a server may be stopped and started again, and each request can be made to fail in every way that counts. A
tuned model answers chat requests with what it was told to say.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from google.genai import types as google
from openai.types import FileObject
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent, JobCreateParams
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from pydantic import TypeAdapter, ValidationError

from ragtune.testing.loopback import Answer, Fault, Loopback, Refusal
from ragtune.workspace import write_bytes, write_json

KEY = "sk-stub-tuning-key-0123456789"
"""What the server takes for a key, and as the token of Google's credentials."""
STEPS = 4
_EXAMPLES = 10
_PAGE = 3


@dataclass
class TuningServer:
    """A server of both vendors' tuning; use it as a context manager, or :meth:`start` and :meth:`stop` it.

    Args:
        folder: where its state lies.
        port: 0 takes a free one.
        script: the statuses of a job, one a look; the last is kept. ``failed`` fails it with ``reason``.
        reason: code and message of a job that fails.
        faults: for an operation (``upload``, ``create``, ``list``, ``state``, ``events``, ``cancel``, ``checkpoints``, ``chat``) how its
            next requests fail.
        gate: called with ``OPERATION:before`` and ``OPERATION:after`` the work; a kill test kills its client there.
        says: what tuned models answer.
    """

    folder: Path
    port: int = 0
    script: Sequence[str] = ("validating_files", "queued", "running", "running", "succeeded")
    reason: tuple[str, str] = ("server_error", "the job failed")
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    gate: Callable[[str], object] = lambda _: None
    says: str = "Answer: not in the passages"
    requests: list[str] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)

    def start(self) -> TuningServer:
        """Listen, going on from the state on disk."""
        self._lock = threading.Lock()
        path = self.folder / "state.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.files: dict[str, dict[str, Any]] = known.get("files", {})
        self.jobs: dict[str, dict[str, Any]] = known.get("jobs", {})
        self._http = Loopback(self.port, self._serve, self.errors)
        self.port = self._http.server_address[1]
        return self

    def stop(self) -> None:
        """Stop listening; what was stored stays."""
        self._http.stop()

    def __enter__(self) -> TuningServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def root(self) -> str:
        """Address of the server, which is Vertex AI's, Cloud Storage's and the token's."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Base URL of OpenAI's API."""
        return f"{self.root}/v1"

    def content(self, file: str) -> bytes:
        """What was uploaded under an id."""
        return (self.folder / "files" / str(self.files[file]["stored"])).read_bytes()

    def _serve(self, method: str, target: str, headers: Any, body: bytes) -> tuple[Answer, Fault | None]:
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        matches = ((re.fullmatch(pattern, f"{method} {parts.path}"), operation, work) for pattern, operation, work in _ROUTES)
        match, operation, work = next((found for found in matches if found[0]), (None, "", None))
        if match is None or work is None:
            raise Refusal(404, f"no such page: {method} {parts.path}")
        self.requests.append(operation)
        if operation != "token" and headers.get("Authorization") != f"Bearer {KEY}":
            raise Refusal(401, f"Incorrect API key provided: {headers.get('Authorization', '')[7:]}", "invalid_api_key")
        faults = self.faults.get(operation, [])
        fault = faults.pop(0) if faults else None
        self.gate(f"{operation}:before")
        if fault is not None and fault.cut == "before":
            return Answer({}), fault
        if fault is not None and fault.status:
            raise Refusal(fault.status, fault.message, fault.code)
        with self._lock:
            answer = work(self, match.groups(), query, headers, body)
            write_json(self.folder / "state.json", {"files": self.files, "jobs": self.jobs})
        self.gate(f"{operation}:after")
        return answer, fault

    # OpenAI

    def _upload(self, _: Any, __: Any, headers: Any, body: bytes) -> Answer:
        form = email.message_from_bytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP)
        fields = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
        if fields["purpose"].get_content().strip() != "fine-tune":
            raise Refusal(400, "purpose must be fine-tune", "invalid_request")
        name, data = str(fields["file"].get_filename()), bytes(fields["file"].get_payload(decode=True))
        id_ = self._store(f"file-{len(self.files) + 1:04}", name, data)
        return Answer(self._file(id_))

    def _store(self, id_: str, name: str, data: bytes) -> str:
        write_bytes(self.folder / "files" / id_.replace("/", "_"), data)
        self.files[id_] = {"name": name, "bytes": len(data), "stored": id_.replace("/", "_"), "at": int(time.time())}
        return id_

    def _file(self, id_: str) -> dict[str, Any]:
        file = self.files[id_]
        payload = {"id": id_, "object": "file", "bytes": file["bytes"], "created_at": file["at"], "filename": file["name"]}
        return _held(FileObject, {**payload, "purpose": "fine-tune", "status": "processed"})

    def _list_files(self, _: Any, query: dict[str, str], __: Any, ___: bytes) -> Answer:
        return _page([self._file(id_) for id_ in reversed(self.files)], query)

    def _create(self, _: Any, __: Any, ___: Any, body: bytes) -> Answer:
        try:
            asked: Any = TypeAdapter(JobCreateParams).validate_python(json.loads(body))
        except ValidationError as error:
            raise Refusal(400, str(error), "invalid_request") from None
        unknown = set(json.loads(body)) - set(JobCreateParams.__annotations__)
        if unknown or asked["training_file"] not in self.files:
            raise Refusal(400, f"unknown parameters {unknown} or file {asked['training_file']}", "invalid_request")
        job = {"vendor": "openai", "model": asked["model"], "training": asked["training_file"], "validation": asked.get("validation_file")}
        job |= {"suffix": asked.get("suffix"), "tag": asked.get("metadata"), "epochs": asked["hyperparameters"]["n_epochs"]}
        id_ = self._begin(f"ftjob-{len(self.jobs) + 1:04}", {**job, "seed": asked.get("seed") or 0}, _openai_fault)
        return Answer(self._job(id_))

    def _begin(self, id_: str, job: dict[str, Any], check: Callable[[Any], str]) -> str:
        lines = [json.loads(line) for line in self.content(job["training"]).decode().splitlines()]
        bad = next((f"line {number}: {check(line)}" for number, line in enumerate(lines, 1) if check(line)), "")
        if not bad and job["vendor"] == "openai" and len(lines) < _EXAMPLES:
            bad = f"the training file has {len(lines)} example(s), but must have at least {_EXAMPLES}"
        self.jobs[id_] = {**job, "at": int(time.time()), "looks": -1, "cancelled": False, "bad": bad, "examples": len(lines)}
        return id_

    def _status(self, id_: str, *, look: bool = False) -> str:
        job = self.jobs[id_]
        job["looks"] += look
        if job["cancelled"]:
            return "cancelled"
        if job["bad"] and job["looks"] > 0:
            return "failed"
        return str(self.script[min(max(job["looks"], 0), len(self.script) - 1)])

    def _job(self, id_: str, *, look: bool = False) -> dict[str, Any]:
        job, status = self.jobs[id_], self._status(id_, look=look)
        done = status == "succeeded"
        bad = ("invalid_training_file", job["bad"]) if job["bad"] else self.reason
        payload = {
            "id": id_,
            "object": "fine_tuning.job",
            "created_at": job["at"],
            "error": {"code": bad[0], "message": bad[1], "param": None} if status == "failed" else None,
            "fine_tuned_model": self._tuned(id_) if done else None,
            "finished_at": job["at"] + 60 if done else None,
            "hyperparameters": {"n_epochs": job["epochs"]},
            "model": job["model"],
            "organization_id": "org-stub",
            "result_files": [],
            "seed": job["seed"],
            "status": status,
            "trained_tokens": 100 * job["examples"] if done else None,
            "training_file": job["training"],
            "validation_file": job["validation"],
            "metadata": job["tag"],
        }
        _held(FineTuningJob, {**payload, "status": status if status in _STATUSES else "running"})
        return payload

    def _tuned(self, id_: str, step: int | None = None) -> str:
        job = self.jobs[id_]
        return f"ft:{job['model']}:org-stub:{job['suffix'] or ''}:{id_[-4:]}" + (f":ckpt-step-{step}" if step else "")

    def _list_jobs(self, _: Any, query: dict[str, str], __: Any, ___: bytes) -> Answer:
        return _page([self._job(id_) for id_, job in reversed(self.jobs.items()) if job["vendor"] == "openai"], query)

    def _known(self, id_: str) -> str:
        if id_ not in self.jobs:
            raise Refusal(404, f"No such job: {id_}", "fine_tune_not_found")
        return id_

    def _retrieve(self, found: tuple[str, ...], _: Any, __: Any, ___: bytes) -> Answer:
        return Answer(self._job(self._known(found[0]), look=True))

    def _events(self, found: tuple[str, ...], query: dict[str, str], _: Any, __: bytes) -> Answer:
        id_ = self._known(found[0])
        told = [{"type": "message", "message": f"Created fine-tuning job: {id_}", "data": {}}]
        running = 0 if self.jobs[id_]["bad"] else sum(status != "queued" for status in self.script[: self.jobs[id_]["looks"] + 1])
        for step in range(1, min(STEPS, 2 * max(running - 1, 0)) + 1):
            data = {"step": step, "total_steps": STEPS, "train_loss": round(2.0 / step, 4)}
            data |= {"valid_loss": 1.5} if step % 2 == 0 else {}
            told.append({"type": "metrics", "message": f"Step {step}/{STEPS}: training loss={data['train_loss']}", "data": data})
        at = {"object": "fine_tuning.job.event", "created_at": self.jobs[id_]["at"], "level": "info"}
        events = [_held(FineTuningJobEvent, {"id": f"ftevent-{number}", **at, **each}) for number, each in enumerate(told)]
        return _page(events[::-1], query)

    def _checkpoints(self, found: tuple[str, ...], query: dict[str, str], _: Any, __: bytes) -> Answer:
        id_ = self._known(found[0])
        steps = (2, STEPS) if self._status(id_) == "succeeded" else ()
        kept = [
            {
                "id": f"ftckpt-{step}",
                "object": "fine_tuning.job.checkpoint",
                "created_at": self.jobs[id_]["at"],
                "fine_tuned_model_checkpoint": self._tuned(id_, step if step < STEPS else None),
                "fine_tuning_job_id": id_,
                "metrics": {"step": step, "train_loss": round(2.0 / step, 4), "full_valid_loss": 1.25},
                "step_number": step,
            }
            for step in reversed(steps)
        ]
        return _page([_held(FineTuningJobCheckpoint, each) for each in kept], query)

    def _cancel(self, found: tuple[str, ...], _: Any, __: Any, ___: bytes) -> Answer:
        id_ = self._known(found[0])
        if self._status(id_) in ("succeeded", "failed"):
            raise Refusal(400, f"Job has already completed: {id_}", "invalid_request")
        self.jobs[id_]["cancelled"] = True
        return Answer(self._job(id_) if self.jobs[id_]["vendor"] == "openai" else {})

    def _chat(self, _: Any, __: Any, ___: Any, body: bytes) -> Answer:
        asked = json.loads(body)
        tuned = [self._tuned(id_, step) for id_, job in self.jobs.items() if job["vendor"] == "openai" for step in (None, 2)]
        if asked["model"] not in (*tuned, *(job["model"] for job in self.jobs.values())):
            raise Refusal(404, f"The model `{asked['model']}` does not exist", "model_not_found")
        if asked.get("stream"):
            return self._chat_stream(asked["model"])
        payload = {
            "id": "chatcmpl-stub",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": asked["model"],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "logprobs": None,
                    "message": {"role": "assistant", "content": self.says, "refusal": None},
                }
            ],
            "usage": {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55},
        }
        return Answer(_held(ChatCompletion, payload))

    def _chat_stream(self, model: str) -> Answer:
        usage = {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55}
        head = {"id": "chatcmpl-stub", "object": "chat.completion.chunk", "created": int(time.time()), "model": model}
        pieces: list[dict[str, Any]] = [
            *({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]} for word in re.findall(r"\s*\S+", self.says)),
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": usage},
        ]
        return Answer({}, stream=[_held(ChatCompletionChunk, {**head, **piece}) for piece in pieces])

    # Vertex AI and Cloud Storage

    def _token(self, *_: Any) -> Answer:
        return Answer({"access_token": KEY, "expires_in": 3600, "token_type": "Bearer"})

    def _store_object(self, found: tuple[str, ...], query: dict[str, str], _: Any, body: bytes) -> Answer:
        if found[0] != "examples":
            raise Refusal(404, f"The specified bucket does not exist: {found[0]}", "NOT_FOUND")
        self._store(f"gs://{found[0]}/{query['name']}", query["name"], body)
        return Answer({"kind": "storage#object", "name": query["name"], "bucket": found[0]})

    def _tune(self, found: tuple[str, ...], _: Any, __: Any, body: bytes) -> Answer:
        try:
            asked = google.TuningJob.model_validate_json(body)
        except ValidationError as error:
            raise Refusal(400, str(error), "INVALID_ARGUMENT") from None
        spec = asked.supervised_tuning_spec
        if spec is None or spec.training_dataset_uri not in self.files:
            raise Refusal(400, "there is no such file of examples", "INVALID_ARGUMENT")
        epochs = spec.hyper_parameters.epoch_count if spec.hyper_parameters else None
        job: dict[str, Any] = {
            "vendor": "vertex",
            "model": asked.base_model,
            "training": spec.training_dataset_uri,
            "validation": spec.validation_dataset_uri,
        }
        job |= {"suffix": asked.tuned_model_display_name, "tag": asked.labels, "epochs": epochs}
        return Answer(self._vertex_job(self._begin(f"{found[0]}/tuningJobs/{len(self.jobs) + 1:04}", job, _vertex_fault)))

    def _vertex_job(self, id_: str, *, look: bool = False) -> dict[str, Any]:
        job, status = self.jobs[id_], self._status(id_, look=look)
        state = "JOB_STATE_" + {"validating_files": "pending"}.get(status, status).upper()
        endpoint = id_.replace("tuningJobs", "endpoints")
        payload: dict[str, Any] = {
            "name": id_,
            "state": state,
            "baseModel": job["model"],
            "labels": job["tag"],
            "tunedModelDisplayName": job["suffix"],
            "supervisedTuningSpec": {"trainingDatasetUri": job["training"], "validationDatasetUri": job["validation"]},
        }
        if status == "succeeded":
            kept = [{"checkpointId": str(n), "epoch": n, "step": n * 2, "endpoint": f"{endpoint}{n}"} for n in (1, 2)]
            payload["tunedModel"] = {"model": "models/1@1", "endpoint": endpoint, "checkpoints": kept}
            payload["tuningDataStats"] = {"supervisedTuningDataStats": {"totalBillableTokenCount": 100 * job["examples"]}}
        if status == "failed":
            payload["error"] = {"code": 3, "message": job["bad"] or self.reason[1]}
        known = state in google.JobState.__members__
        google.TuningJob.model_validate({**payload, "state": state if known else "JOB_STATE_RUNNING"})
        return payload

    def _vertex_get(self, found: tuple[str, ...], _: Any, __: Any, ___: bytes) -> Answer:
        return Answer(self._vertex_job(self._known(found[0]), look=True))

    def _vertex_list(self, *_: Any) -> Answer:
        return Answer({"tuningJobs": [self._vertex_job(id_) for id_, job in reversed(self.jobs.items()) if job["vendor"] == "vertex"]})

    def _generate(self, *_: Any) -> Answer:
        payload = {
            "candidates": [{"content": {"role": "model", "parts": [{"text": self.says}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 50, "candidatesTokenCount": 5},
            "modelVersion": "stub",
        }
        google.GenerateContentResponse.model_validate(payload)
        return Answer(payload)


_STATUSES = ("validating_files", "queued", "running", "succeeded", "failed", "cancelled")
_PLACE = r"/v1beta1/(projects/[^/]+/locations/[^/]+"
_Work = Callable[[TuningServer, Any, Any, Any, bytes], Answer]
_ROUTES: tuple[tuple[str, str, _Work], ...] = (
    (r"POST /v1/files", "upload", TuningServer._upload),
    (r"GET /v1/files", "files", TuningServer._list_files),
    (r"POST /v1/fine_tuning/jobs", "create", TuningServer._create),
    (r"GET /v1/fine_tuning/jobs", "list", TuningServer._list_jobs),
    (r"GET /v1/fine_tuning/jobs/([^/]+)", "state", TuningServer._retrieve),
    (r"GET /v1/fine_tuning/jobs/([^/]+)/events", "events", TuningServer._events),
    (r"GET /v1/fine_tuning/jobs/([^/]+)/checkpoints", "checkpoints", TuningServer._checkpoints),
    (r"POST /v1/fine_tuning/jobs/([^/]+)/cancel", "cancel", TuningServer._cancel),
    (r"POST /v1/chat/completions", "chat", TuningServer._chat),
    (r"POST /token", "token", TuningServer._token),
    (r"POST /upload/storage/v1/b/([^/]+)/o", "upload", TuningServer._store_object),
    (rf"POST {_PLACE})/tuningJobs", "create", TuningServer._tune),
    (rf"GET {_PLACE})/tuningJobs", "list", TuningServer._vertex_list),
    (rf"GET {_PLACE}/tuningJobs/[^/:]+)", "state", TuningServer._vertex_get),
    (rf"POST {_PLACE}/tuningJobs/[^/:]+):cancel", "cancel", TuningServer._cancel),
    (rf"POST {_PLACE}/(?:endpoints|publishers/google/models)/[^/:]+):generateContent", "chat", TuningServer._generate),
)


def _openai_fault(line: Any) -> str:
    try:
        messages: Any = TypeAdapter(list[ChatCompletionMessageParam]).validate_python(line["messages"])
    except (ValidationError, KeyError) as error:
        return f"no chat ({error})"
    return "" if messages and messages[-1]["role"] == "assistant" else "the last message must be from the assistant"


def _vertex_fault(line: Any) -> str:
    try:
        turns = [google.Content.model_validate(turn) for turn in (line["systemInstruction"], *line["contents"])]
    except (ValidationError, KeyError) as error:
        return f"no chat ({error})"
    return "" if turns[-1].role == "model" else "the last turn must be the model's"


def _held(model: Any, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload, once the SDK's type takes it."""
    model.model_validate(payload)
    return payload


def _page(items: Sequence[dict[str, Any]], query: dict[str, str]) -> Answer:
    """A page of few, so that clients have to turn pages."""
    ids = [item["id"] for item in items]
    start = ids.index(query["after"]) + 1 if "after" in query else 0
    end = start + min(_PAGE, int(query.get("limit", _PAGE)))
    return Answer({"object": "list", "data": list(items[start:end]), "has_more": end < len(items)})
