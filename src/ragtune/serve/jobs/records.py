"""What a job is: what may be asked for, what is kept of it, and what its events make of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragtune.errors import ConfigError

Kind = Literal["ingest", "purge", "dataset", "synthesise", "train", "evaluate", "run"]
State = Literal["waiting", "running", "done", "failed", "stopped"]
FINISHED: frozenset[State] = frozenset({"done", "failed", "stopped"})
NAME = r"^\w[\w.-]{0,99}$"
"""Of datasets, models and evaluations: no path of the server's."""
Name: TypeAlias = Annotated[str, Field(pattern=NAME)]
Event: TypeAlias = dict[str, Any]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Paid(_Arguments):
    """Arguments of what may cost money. It is refused before it is begun, unless both are given."""

    yes: bool = False
    """Spend what hosted models cost, up to ``max_cost``; asks for the scope admin."""
    max_cost: float | None = Field(None, gt=0)
    """US dollars that all calls of the project together may come to; in force as the setting ``chat.max_cost``."""


class IngestArguments(Paid):
    """Sync the corpus with its sources, then the index."""


class PurgeArguments(_Arguments):
    """Remove documents from corpus and index, and keep them out."""

    sources: tuple[str, ...]
    """Their names."""


class DatasetArguments(Paid):
    """Build a dataset from the project's questions."""

    name: Name | None = None
    """Of the dataset; made from its inputs where it is not given."""


class SynthesiseArguments(Paid):
    """Have ``teacher.model`` write questions."""

    count: int | None = Field(None, ge=1, le=1_000_000)
    """Questions in the end; default: ``teacher.questions``."""


class TrainArguments(_Arguments):
    """Tune the base model, or the retriever."""

    dataset: Name | None = None
    """Default: the newest."""
    name: Name | None = None
    """Of the model."""
    without_context: bool = False
    """Train on the answers alone, as a control."""
    retriever: bool = False
    """Tune embedder and cross-encoder instead."""


class EvaluateArguments(Paid):
    """Compare base and tuned model on held-out questions."""

    model: Name | None = None
    """Default: the newest tuned one."""
    other: Name | None = None
    """A second tuned model, to compare with it."""
    dataset: Name | None = None
    """Whose questions; default: the model's own."""
    name: Name | None = None
    """Of the evaluation."""
    split: Literal["test", "validation"] = "test"
    """Each reading of the test is counted."""


class RunArguments(Paid):
    """Everything that is not done yet: ingest, index, dataset, train, evaluate."""

    budget: str | None = Field(None, max_length=20)
    """Wall time, as ``20m``: questions are sampled to fit."""


ARGUMENTS: Mapping[Kind, type[_Arguments]] = {
    "ingest": IngestArguments,
    "purge": PurgeArguments,
    "dataset": DatasetArguments,
    "synthesise": SynthesiseArguments,
    "train": TrainArguments,
    "evaluate": EvaluateArguments,
    "run": RunArguments,
}


class Job(BaseModel):
    """A job as it stands."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    kind: Kind
    arguments: dict[str, Any]
    """As they were given."""
    settings: dict[str, Any]
    """Settings for this job alone, by dotted name."""
    state: State
    created: str
    """UTC, ISO 8601, and so are the others."""
    started: str | None = None
    ended: str | None = None
    seconds: float = 0.0
    """From its start to its end, or to now; of the last sitting."""
    stage: str | None = None
    """What it is at."""
    done: float | None = None
    """Units of the stage's work that are behind."""
    total: float | None = None
    """Units in all, where the stage knows them."""
    seconds_left: float | None = None
    """Of the stage."""
    message: str | None = None
    """What it said last."""
    result: dict[str, Any] | None = None
    """What came of it; lists are cut, and counted in ``counts``."""
    error: str | None = None
    """Why it failed, and what to do."""
    model: str | None = None
    """The tuned model that it is about or made."""


class Stored(Job):
    """What job.json holds: the job, and what the server needs to find its process again."""

    format: int = 1
    pid: int | None = None
    process_started: float | None = None
    """Seconds since the epoch, as the system tells it: with ``pid`` it names one process."""
    stopping: float | None = None
    """When it is killed if it did not stop before; seconds since the epoch."""

    def public(self) -> Job:
        """Without the server's own part."""
        return Job.model_validate(self.model_dump(include=set(Job.model_fields)))


def check_arguments(kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as they are kept.

    Raises:
        ConfigError: there is no such kind or argument, a value is wrong, or money may be spent without a limit.
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"there is no kind of job {kind!r}: there are {', '.join(kind for kind in get_args(Kind) if kind != 'purge')}")
    model = ARGUMENTS[kind]  # type: ignore[index] # just looked at
    try:
        checked = model.model_validate(dict(arguments))
    except ValidationError as error:
        known = ", ".join(model.model_fields) or "none"
        faults = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in error.errors())
        raise ConfigError(f"arguments of {kind}: {faults} (there are: {known})") from None
    if isinstance(checked, Paid) and checked.yes and checked.max_cost is None:
        raise ConfigError('"yes" spends money: say with "max_cost" how many US dollars at most')
    return checked.model_dump(exclude_defaults=True)


def follow(job: Stored, event: Event) -> None:
    """Bring a job up to one of its events."""
    match event.get("type"):
        case "stage":
            job.stage, job.message = event.get("stage"), event.get("message") or job.message
            job.seconds_left = None
            if event.get("step") == "started":
                job.done, job.total = event.get("done"), event.get("total")
        case "progress":
            job.stage, job.done, job.total = event.get("stage"), event.get("done"), event.get("total")
            job.seconds_left, job.message = event.get("seconds_left"), event.get("message") or job.message
        case "note" | "log":
            job.message = event.get("message")
        case "metrics":
            job.model = event.get("model") or job.model
        case "state":
            job.message = event.get("message") or job.message
            if job.state not in FINISHED and event.get("state") in ("waiting", "running"):
                job.state = event["state"]
