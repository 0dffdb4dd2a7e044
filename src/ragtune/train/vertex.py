"""Tuning jobs for Gemini on Vertex AI with google-genai; examples go through a bucket, by the JSON API of Cloud Storage."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from google import genai
from google.auth.transport.requests import AuthorizedSession
from google.genai import errors, types

from ragtune.errors import ChatError, TuningJobError
from ragtune.hosted.gemini import translate
from ragtune.types import TuningCheckpoint, TuningEvent, TuningState

STORAGE = "https://storage.googleapis.com"
_TAG = "ragtune"
_ENDS: dict[str, Literal["succeeded", "failed", "cancelled"]] = {
    "succeeded": "succeeded",
    "partially_succeeded": "succeeded",
    "failed": "failed",
    "expired": "failed",
    "cancelled": "cancelled",
}


class VertexTuning:
    """Jobs on one Gemini model; see :class:`~ragtune.protocols.TuningService`.

    Args:
        name: ``vertex:model``, for messages.
        model: the base, as Vertex AI knows it.
        client: of Vertex AI, with project and location.
        session: with the same credentials, for the bucket.
        bucket: where examples are uploaded to.
        storage: address of Cloud Storage.
        timeout: seconds to wait for the bucket.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        client: genai.Client,
        session: AuthorizedSession,
        bucket: str,
        storage: str = STORAGE,
        timeout: float = 120.0,
    ) -> None:
        self._name = name
        self._model = model
        self._client = client
        self._session = session
        self._bucket = bucket
        self._storage = storage
        self._timeout = timeout

    def upload(self, path: Path, name: str) -> str:
        """Put the file into the bucket; what is there under this name is replaced by the same."""
        url = f"{self._storage}/upload/storage/v1/b/{quote(self._bucket, safe='')}/o"
        with self._asking(), path.open("rb") as file:
            answer = self._session.post(
                url,
                params={"uploadType": "media", "name": f"ragtune/{name}"},
                data=file,
                headers={"Content-Type": "application/jsonl"},
                timeout=self._timeout,
            )
        if answer.status_code in (403, 404):
            raise TuningJobError(
                f"{self._name}: the bucket gs://{self._bucket} does not exist, or may not be written to (status {answer.status_code}): run "
                f"'gcloud storage buckets create gs://{self._bucket}', or ask for the role Storage Object User on it"
            )
        if not answer.ok:
            raise translate(self._name, errors.APIError(answer.status_code, {"message": answer.reason, "status": ""}))
        return f"gs://{self._bucket}/ragtune/{name}"

    def create(self, training: str, validation: str | None, *, tag: str, suffix: str, seed: int) -> str:  # noqa: ARG002 - takes no seed
        """Start a job: one epoch, as the file holds every epoch's own contexts."""
        config = types.CreateTuningJobConfig(
            epoch_count=1,
            tuned_model_display_name=suffix,
            labels={_TAG: tag},
            validation_dataset=types.TuningValidationDataset(gcs_uri=validation) if validation else None,
        )
        with self._asking():
            job = self._client.tunings.tune(base_model=self._model, training_dataset=types.TuningDataset(gcs_uri=training), config=config)
        return self._job_name(job)

    def find(self, tag: str, training: str) -> str | None:
        """By label, or by the file, which belongs to one job alone."""
        with self._asking():
            for job in self._client.tunings.list():
                spec = job.supervised_tuning_spec
                if (job.labels or {}).get(_TAG) == tag or (spec is not None and training and spec.training_dataset_uri == training):
                    return self._job_name(job)
        return None

    def state(self, job: str) -> TuningState:
        """Where the job stands."""
        with self._asking():
            found = self._client.tunings.get(name=job)
        status = str(found.state.value if found.state is not None else "unknown").removeprefix("JOB_STATE_").lower()
        end = _ENDS.get(status)
        error = found.error
        reason = (error.message if error is not None else None) or "the vendor gives no reason"
        stats = found.tuning_data_stats.supervised_tuning_data_stats if found.tuning_data_stats is not None else None
        return TuningState(
            status=status,
            end=end,
            model=found.tuned_model.endpoint if found.tuned_model is not None else None,
            reason=reason if end == "failed" else "",
            trained_tokens=stats.total_billable_token_count if stats is not None else None,
        )

    def events(self, job: str, seen: Container[str]) -> list[TuningEvent]:  # noqa: ARG002 - the contract's
        """None: Vertex AI shows losses in its console, and tells no client of them."""
        return []

    def cancel(self, job: str) -> None:
        """Stop the job."""
        with self._asking():
            self._client.tunings.cancel(name=job)

    def checkpoints(self, job: str) -> list[TuningCheckpoint]:
        """The endpoints of its checkpoints."""
        with self._asking():
            tuned = self._client.tunings.get(name=job).tuned_model
        kept = (tuned.checkpoints or []) if tuned is not None else []
        found = [TuningCheckpoint(each.endpoint, each.step or 0) for each in kept if each.endpoint]
        return sorted(found, key=lambda each: each.step)

    def _job_name(self, job: types.TuningJob) -> str:
        if not job.name:
            raise TuningJobError(f"{self._name}: the answer names no job: look in the console before you try again")
        return job.name

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        with warnings.catch_warnings():
            # The SDK warns that tuning is experimental in it, and of states that it does not know.
            warnings.simplefilter("ignore")
            try:
                yield
            except TuningJobError:
                raise
            except Exception as error:
                raise self._refused(error) from None

    def _refused(self, error: Exception) -> Exception:
        translated = translate(self._name, error)
        return TuningJobError(str(translated)) if type(translated) is ChatError else translated
