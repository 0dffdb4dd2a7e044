"""The hosted tuning jobs of a project: what is known of them, stopping one, and taking a checkpoint as a model of its own."""

from __future__ import annotations

from dataclasses import replace

from ragtune import build
from ragtune.config import Settings
from ragtune.errors import ProjectError, TuningJobError
from ragtune.hosted.providers import split_name
from ragtune.pipeline.records import ModelResult, TuningJob
from ragtune.train import jobs
from ragtune.types import TuningCheckpoint
from ragtune.workspace import Workspace, now, stage_key, write_manifest


def list_jobs(workspace: Workspace) -> list[TuningJob]:
    """Every job as it was last seen, oldest first; nothing is asked of a vendor."""
    found = []
    for path in (workspace.folder / "models").glob(f"*/{jobs.FILE}"):
        record = jobs.read_record(path.parent)
        if record is not None:
            found.append(TuningJob(path.parent.name, record.base, record.job, record.status, record.model, record.created, record.reason))
    return sorted(found, key=lambda job: job.started)


def cancel_job(workspace: Workspace, settings: Settings, name: str | None) -> TuningJob:
    """Ask the vendor to stop a job; ``ragtune train`` then sees its end.

    Raises:
        ProjectError: there is no such job.
        TuningJobError: it has ended, or was not started yet.
        ChatError: the vendor does not answer, or refuses.
    """
    job = _find(workspace, name)
    record = jobs.read_record(workspace.artifact("models", job.name))
    if record is None or (record.job is None and record.status != "creating"):
        raise TuningJobError(f"the job of {job.name} was not started yet, so there is nothing to stop: 'ragtune train' would start it")
    if record.end is not None:
        raise TuningJobError(f"the job of {job.name} has ended ({record.status})")
    service = build.tuning_service(workspace, settings, record.base)
    # It was asked for, and the answer lost: 'ragtune train' finds it the same way, and notes how it ended.
    id_ = record.job or service.find(record.tag, record.training or "")
    if id_ is None:
        raise TuningJobError(
            f"the job of {job.name} was asked for, and its vendor knows of none yet: run this again in a minute; "
            "if it stays so, none was started and nothing is charged"
        )
    service.cancel(id_)
    return replace(job, job=id_, status=service.state(id_).status)


def checkpoints(workspace: Workspace, settings: Settings, name: str | None) -> list[TuningCheckpoint]:
    """The models that a job kept, oldest first.

    Raises:
        ProjectError: there is no such job.
        ChatError: the vendor does not answer, or refuses.
    """
    job = _find(workspace, name)
    if job.job is None:
        raise TuningJobError(f"the job of {job.name} is not known to have been started: run 'ragtune train', which looks for it")
    return build.tuning_service(workspace, settings, job.base).checkpoints(job.job)


def use_checkpoint(workspace: Workspace, settings: Settings, name: str | None, step: int) -> ModelResult:
    """Make a checkpoint a model of its own, ``NAME-stepN``, which can be asked and evaluated like the one it was kept on the way to.

    Raises:
        ProjectError: there is no such job, or it is not finished.
        TuningJobError: it kept no checkpoint at that step.
    """
    job = _find(workspace, name)
    parent = workspace.find("models", job.name)
    kept = checkpoints(workspace, settings, job.name)
    found = next((each for each in kept if each.step == step), None)
    if found is None:
        steps = f" (there are: {', '.join(str(each.step) for each in kept)})" if kept else ", nor any other"
        raise TuningJobError(f"{job.name} kept no checkpoint at step {step}{steps}")
    hosted = f"{split_name(job.base)[0].name}:{found.model}"
    output = workspace.artifact("models", f"{job.name}-step{step}")
    figures = {
        **parent.figures,
        "train_loss": found.metrics.get("loss"),
        "validation_loss": found.metrics.get("validation_loss"),
        "hosted": hosted,
    }
    manifest = replace(
        parent,
        name=output.name,
        key=stage_key("checkpoint", 1, {"step": step}, parent.key),
        settings={**parent.settings, "hosted": hosted},
        figures=figures,
        created=now(),
    )
    write_manifest(output, manifest)
    return ModelResult(output.name, str(output), True, figures)


def _find(workspace: Workspace, name: str | None) -> TuningJob:
    known = list_jobs(workspace)
    for job in reversed(known):
        if name in (None, job.name):
            return job
    names = f" (there are: {', '.join(job.name for job in known)})" if known else ""
    raise ProjectError(f"there is no tuning job{f' of a model named {name}' if name else ''}{names}: run 'ragtune train'")
