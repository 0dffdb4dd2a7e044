"""A hosted tuning job from its first request to its end, in whatever sittings: job.json says how far it got.

What is about to be done is written before it is done. A job is marked with a tag that was written before the vendor was asked for it, so
that a crash between the vendor's yes and the note of it finds the job again instead of paying twice.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ragtune.errors import ChatError, RateLimitError, TuningJobError, UnreachableError
from ragtune.hosted.meter import patience
from ragtune.progress import Progress
from ragtune.protocols import TuningService
from ragtune.train.metrics import FILE as METRICS
from ragtune.types import TuningState
from ragtune.workspace import now, write_bytes, write_json

FILE = "job.json"
_CREATIONS = 4
"""Requests for one job, of which at most one is granted."""
_LOOKS = 2
"""Times that a job is looked for where it may have been granted to a request whose answer was lost."""
_LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class TuningRecord:
    """What job.json holds.

    Args:
        base: ``provider:model`` that is tuned.
        tag: the job's mark at the vendor.
        created: UTC, ISO 8601.
        status: ``intended`` (uploading), ``creating`` (asked for), then the vendor's own word.
        training: the vendor's id of the uploaded file.
        validation: of the other file, where there is one.
        job: the vendor's id of the job.
        model: the tuned model as the vendor knows it.
        end: how it ended.
        reason: why it failed.
        trained_tokens: tokens charged for, as the vendor counts them.
        estimate: what was said before it was started: examples, tokens, dollars.
        earlier: jobs of the same model that failed or were cancelled.
    """

    base: str
    tag: str
    created: str
    status: str = "intended"
    training: str | None = None
    validation: str | None = None
    job: str | None = None
    model: str | None = None
    end: str | None = None
    reason: str = ""
    trained_tokens: int | None = None
    estimate: Mapping[str, Any] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()
    format: int = 1


def new_record(base: str, estimate: Mapping[str, Any], before: TuningRecord | None = None) -> TuningRecord:
    """The intent of a job; ``before`` is one of the same model that came to nothing."""
    earlier = (*before.earlier, before.job or before.tag) if before else ()
    return TuningRecord(base, f"ragtune-{secrets.token_hex(8)}", now(), estimate=dict(estimate), earlier=earlier)


def read_record(folder: Path) -> TuningRecord | None:
    """What is known of a model's job; ``None`` where none was started.

    Raises:
        TuningJobError: job.json is damaged.
    """
    path = folder / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return TuningRecord(**{**values, "earlier": tuple(values["earlier"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise TuningJobError(f"{path} is damaged ({error}): look for the job at the vendor before you remove the folder") from None


def write_record(folder: Path, record: TuningRecord) -> TuningRecord:
    """Write job.json atomically."""
    write_json(folder / FILE, asdict(record))
    return record


def submit(
    service: TuningService,
    folder: Path,
    record: TuningRecord,
    training: Path,
    validation: Path | None,
    *,
    suffix: str,
    seed: int,
    pause_s: float,
    retries: int,
) -> TuningRecord:
    """Upload the files and start the job, whatever of it an earlier sitting left to do.

    Args:
        service: of the vendor.
        folder: of the model, where job.json is.
        record: as last written.
        training: file of examples.
        validation: file whose loss is watched, if any.
        suffix: goes into the tuned model's name.
        seed: of the job.
        pause_s: seconds before a job whose fate is not known is looked for.
        retries: further attempts at requests that cost nothing.

    Raises:
        TuningJobError: the vendor does not take such a job.
        ChatError: it does not answer, or refuses for another reason.
    """
    if record.job is not None:
        return record
    for part, path in (("training", training), ("validation", validation)):
        if path is not None and getattr(record, part) is None:
            uploaded: str = patience(retries)(service.upload, path, f"{record.tag}-{part}.jsonl")
            sent = replace(record, training=uploaded) if part == "training" else replace(record, validation=uploaded)
            record = write_record(folder, sent)
    job = _create(service, folder, record, suffix, seed, min(pause_s, _LONGEST_PAUSE_S), retries)
    return write_record(folder, replace(record, job=job, status="submitted"))


def _create(service: TuningService, folder: Path, record: TuningRecord, suffix: str, seed: int, pause_s: float, retries: int) -> str:
    uploaded = record.training or ""
    asked_before = record.status == "creating"
    write_record(folder, replace(record, status="creating"))
    lost: ChatError | None = None
    for _ in range(_CREATIONS):
        # A request whose answer was lost may have been granted, or still be on its way.
        for _ in range(_LOOKS if asked_before else 0):
            found: str | None = patience(retries)(service.find, record.tag, uploaded)
            if found is not None:
                return found
            time.sleep(pause_s)
        try:
            return service.create(uploaded, record.validation, tag=record.tag, suffix=suffix, seed=seed)
        except (UnreachableError, RateLimitError) as error:
            lost, asked_before = error, True
            time.sleep(pause_s)
    raise lost or TuningJobError(f"{record.base}: the job was not taken: try again")


def follow(service: TuningService, folder: Path, record: TuningRecord, *, poll_s: float, retries: int, progress: Progress) -> TuningRecord:
    """Wait for a job's end, telling its status, events and losses; metrics.jsonl is written on the way.

    A status that ragtune does not know is told and waited on.

    Raises:
        ChatError: the vendor does not answer; the job goes on, and so can this.
    """
    job = record.job or ""
    seen: set[str] = set()
    steps: dict[int, dict[str, float]] = {}
    progress.start("train", None)
    while True:
        # The events after the state: at the end none is missing.
        state: TuningState = patience(retries)(service.state, job)
        for event in patience(retries)(service.events, job, seen):
            seen.add(event.id)
            if "step" in event.metrics:
                steps[int(event.metrics["step"])] = dict(event.metrics)
                progress.update("train", event.metrics["step"], _told(event.metrics))
            elif event.text:
                progress.note(f"train: {event.text}")
        _write_metrics(folder, steps)
        if state.status != record.status:
            progress.note(f"train: the job is {state.status}")
        record = replace(
            record, status=state.status, end=state.end, model=state.model, reason=state.reason, trained_tokens=state.trained_tokens
        )
        write_record(folder, record)
        if state.end is not None:
            return record
        time.sleep(poll_s)


def last_losses(folder: Path) -> tuple[float | None, float | None]:
    """The last training and validation loss that were told, in nats a token."""
    path = folder / METRICS
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    found = [next((line[name] for line in reversed(lines) if name in line), None) for name in ("loss", "validation_loss")]
    return found[0], found[1]


def _write_metrics(folder: Path, steps: Mapping[int, Mapping[str, float]]) -> None:
    text = "".join(json.dumps(steps[step]) + "\n" for step in sorted(steps))
    path = folder / METRICS
    if text and (not path.is_file() or path.read_text(encoding="utf-8") != text):
        write_bytes(path, text.encode())


def _told(metrics: Mapping[str, float]) -> str:
    words = [f"loss {metrics['loss']:.3f}"] if "loss" in metrics else []
    words += [f"validation loss {metrics['validation_loss']:.3f}"] if "validation_loss" in metrics else []
    return " · ".join([*words, f"step {metrics['step']:.0f}" + (f" of {metrics['steps']:.0f}" if "steps" in metrics else "")])
