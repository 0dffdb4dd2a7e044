"""Tuning jobs over OpenAI's fine-tuning API with its own SDK: OpenAI while it takes jobs, and every server that speaks the same."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import openai

from ragtune.errors import ChatError, RagtuneError, TuningJobError, UnreachableError
from ragtune.hosted.openai import translate
from ragtune.types import TuningCheckpoint, TuningEvent, TuningState

_PAGE = 100
_TAG = "ragtune"
_METRICS = {
    "step": "step",
    "total_steps": "steps",
    "train_loss": "loss",
    "valid_loss": "validation_loss",
    "full_valid_loss": "validation_loss",
}


class OpenAITuning:
    """Jobs on one base model; see :class:`~ragtune.protocols.TuningService`.

    Args:
        name: ``provider:model``, for messages.
        model: the base, as the server knows it.
        client: of the server; it should make one attempt a request.
        secret: the key, taken out of every message.
        key_variable: the variable that the key belongs into, for messages.
    """

    def __init__(self, name: str, model: str, *, client: openai.OpenAI, secret: str | None = None, key_variable: str | None = None) -> None:
        self._name = name
        self._model = model
        self._client = client
        self._secret = secret
        self._key_variable = key_variable

    def upload(self, path: Path, name: str) -> str:
        """Upload under a name of its own, by which it is found if it is there."""
        with self._asking():
            for known in self._client.files.list(purpose="fine-tune"):
                if known.filename == name and known.bytes == path.stat().st_size:
                    return known.id
            return self._client.files.create(file=(name, path.read_bytes(), "application/jsonl"), purpose="fine-tune").id

    def create(self, training: str, validation: str | None, *, tag: str, suffix: str, seed: int) -> str:
        """Start a job: one epoch, as the file holds every epoch's own contexts."""
        with self._asking():
            return self._client.fine_tuning.jobs.create(
                model=self._model,
                training_file=training,
                validation_file=validation if validation is not None else openai.omit,
                # Not `method`, which the other servers of this API do not know.
                hyperparameters={"n_epochs": 1},
                suffix=suffix,
                seed=seed,
                metadata={_TAG: tag},
            ).id

    def find(self, tag: str, training: str) -> str | None:
        """By metadata, or where a server keeps none by the file, which belongs to one job alone."""
        with self._asking():
            for job in self._client.fine_tuning.jobs.list(limit=_PAGE):
                if (job.metadata or {}).get(_TAG) == tag or (training and getattr(job, "training_file", None) == training):
                    return job.id
        return None

    def state(self, job: str) -> TuningState:
        """Where the job stands."""
        with self._asking():
            found = self._client.fine_tuning.jobs.retrieve(job)
            reason = ""
            if found.status == "failed":
                error = found.error
                said = [str(part) for part in (getattr(error, "code", None), getattr(error, "message", None)) if part]
                reason = ": ".join(said) or "the vendor gives no reason"
            return TuningState(
                status=str(found.status),
                end=found.status if found.status in ("succeeded", "failed", "cancelled") else None,
                model=found.fine_tuned_model,
                reason=reason,
                trained_tokens=found.trained_tokens,
            )

    def events(self, job: str, seen: Container[str]) -> list[TuningEvent]:
        """The newest come first, and what is older than one that was seen was seen."""
        told: list[TuningEvent] = []
        with self._asking():
            for event in self._client.fine_tuning.jobs.list_events(job, limit=_PAGE):
                if event.id in seen:
                    break
                data = event.data if isinstance(event.data, dict) else {}
                told.append(TuningEvent(event.id, event.message, _figures(data) if event.type == "metrics" else {}))
        return told[::-1]

    def cancel(self, job: str) -> None:
        """Stop the job."""
        with self._asking():
            self._client.fine_tuning.jobs.cancel(job)

    def checkpoints(self, job: str) -> list[TuningCheckpoint]:
        """The models of its last epochs."""
        with self._asking():
            found = [
                TuningCheckpoint(each.fine_tuned_model_checkpoint, each.step_number, _figures(each.metrics.model_dump()))
                for each in self._client.fine_tuning.jobs.checkpoints.list(job)
            ]
        return sorted(found, key=lambda each: each.step)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except openai.APIError as error:
            raise self._translate(error) from None
        except (AttributeError, TypeError, ValueError) as error:
            raise UnreachableError(
                f"{self._name}: the answer is not one of a fine-tuning API ({type(error).__name__}): check chat.base_urls", answered=True
            ) from None

    def _translate(self, error: openai.APIError) -> ChatError:
        return translate(self._name, error, secret=self._secret, key_variable=self._key_variable)

    def _refused(self, error: openai.APIStatusError) -> RagtuneError:
        if error.code == "training_not_available":
            return TuningJobError(
                f"{self._name}: the vendor takes no tuning jobs from this organisation (training_not_available): tune a model of your own, "
                "as in --set model.base=smollm2-135m-instruct, or Gemini on Vertex AI, as in --set model.base=vertex:gemini-3.5-flash"
            )
        translated = self._translate(error)
        if error.status_code == 404 and error.code != "model_not_found":
            return TuningJobError(
                f"{self._name}: the server knows no such job, or has no fine-tuning API like OpenAI's ({translated}): check chat.base_urls"
            )
        # What is wrong with the job rather than with the key, the account or the line is said plainly, in the vendor's words.
        return TuningJobError(str(translated)) if type(translated) is ChatError else translated


def _figures(data: Mapping[str, Any]) -> dict[str, float]:
    """Of a step what was told, under ragtune's names; a whole validation counts above a batch's."""
    found: dict[str, float] = {}
    for theirs, ours in _METRICS.items():
        if isinstance(data.get(theirs), int | float):
            found[ours] = float(data[theirs])
    return found
