"""The error tree.

::

    RagtuneError                 everything a user can mend: shown without a traceback, exit code 2
    ├── ConfigError              ragtune.toml, environment or a flag is wrong
    ├── ProjectError             no project here, a name taken, an artifact missing
    ├── LockedError              another command is writing to this project
    ├── JobError                 a job of the server is not in the state for that
    ├── CorpusError              corpus.db is missing, damaged or of another version
    ├── ReadError                one document cannot be read (listed, does not stop an ingest)
    │   └── ReadLimitError       its parser passed the time or memory limit
    ├── QuestionError            a questions file is malformed
    ├── ModelError               a model cannot be found, fetched or loaded
    │   └── ChecksumError        what was fetched is not what the catalog promises
    ├── ChatError                a chat model or hosted embedder did not answer
    │   ├── KeyRefusedError      there is no key, or the server refuses it
    │   ├── QuotaError           the account has no money or quota left
    │   ├── RateLimitError       too many requests: worth another try, after a pause
    │   ├── BusyError            as many questions wait for the local model as may
    │   ├── AbandonedError       whoever asked does not wait for the answer any more
    │   ├── UnreachableError     no connection, no answer in time, or the server failed: worth another try
    │   │   ├── CutStreamError   the connection ended in the middle of an answer
    │   │   └── LateError        the local model's answer was not whole in time
    │   ├── NoSuchModelError     the model is unknown or retired
    │   ├── RefusalError         the model or a filter of its vendor declines to answer
    │   ├── ContextOverflowError the prompt does not fit the model
    │   ├── SpendingCapError     the next call could cost more than chat.max_cost leaves
    │   ├── StructureError       the answer is not the JSON that was asked for, repair included
    │   └── SchemaError          no answer can be held to the JSON schema that was given
    ├── TrainError               training cannot start or go on
    │   └── TuningJobError       a hosted tuning job cannot be started, followed or used
    ├── EvaluationError          an evaluation cannot start or go on
    ├── ConsentError             money would be spent, and nobody agreed to it
    └── MissingExtraError        an optional dependency is not installed
"""

from __future__ import annotations


class RagtuneError(Exception):
    """Base of all errors that a user can mend."""


class ConfigError(RagtuneError):
    """A setting is wrong or unknown."""


class ProjectError(RagtuneError):
    """The project or one of its artifacts is missing or in the way."""


class LockedError(ProjectError):
    """Another command is writing to this project."""


class JobError(ProjectError):
    """A job of the server is not in the state for what is asked, or there are too many."""


class CorpusError(RagtuneError):
    """The corpus store cannot be used."""


class ReadError(RagtuneError):
    """A document cannot be read."""


class ReadLimitError(ReadError):
    """A parser passed its time or memory limit."""


class QuestionError(RagtuneError):
    """A questions file is malformed."""


class ModelError(RagtuneError):
    """A model cannot be found, fetched or loaded."""


class ChecksumError(ModelError):
    """A fetched file differs from what the catalog promises."""


class ChatError(RagtuneError):
    """A chat model or hosted embedder did not answer."""


class KeyRefusedError(ChatError):
    """There is no key, or the server refuses it."""


class QuotaError(ChatError):
    """The account has no money or quota left."""


class RateLimitError(ChatError):
    """Too many requests.

    Args:
        message: what happened.
        retry_after: seconds that the server asks to wait; ``None`` where it does not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BusyError(ChatError):
    """As many questions wait for the local model as may.

    Args:
        message: what happened.
        retry_after: seconds after which there should be room.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AbandonedError(ChatError):
    """Whoever asked does not wait for the answer any more."""


class UnreachableError(ChatError):
    """No connection, no answer in time, or the server failed.

    Args:
        message: what happened.
        retry_after: seconds that the server asks to wait; ``None`` where it does not say.
        answered: the server said no before it worked on an answer, or was not reached at all, so nothing can have been charged.
    """

    def __init__(self, message: str, retry_after: float | None = None, *, answered: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.answered = answered


class CutStreamError(UnreachableError):
    """The connection ended in the middle of an answer."""


class LateError(UnreachableError):
    """The local model's answer was not whole in the time that one may take."""


class NoSuchModelError(ChatError):
    """The model is unknown or retired."""


class RefusalError(ChatError):
    """The model, or a filter of its vendor, declines to answer.

    Args:
        message: what happened.
        charged: the answer was begun, so that the vendor may have charged for it.
        tokens: of prompt and completion, as the server counted them; ``None`` where it does not say.
        cost: US dollars; ``None`` where they are not known.
    """

    def __init__(self, message: str, *, charged: bool = False, tokens: tuple[int, int] | None = None, cost: float | None = None) -> None:
        super().__init__(message)
        self.charged = charged
        self.tokens = tokens
        self.cost = cost if charged else 0.0


class ContextOverflowError(ChatError):
    """The prompt does not fit the model."""


class SpendingCapError(ChatError):
    """The next call could cost more than the cap leaves."""


class StructureError(ChatError):
    """The answer is not the JSON that was asked for, repair included."""


class SchemaError(ChatError):
    """No answer can be held to the JSON schema that was given."""


class TrainError(RagtuneError):
    """Training cannot start or go on."""


class TuningJobError(TrainError):
    """A hosted tuning job cannot be started, followed or used."""


class EvaluationError(RagtuneError):
    """An evaluation cannot start or go on."""


class ConsentError(RagtuneError):
    """Money would be spent, and nobody agreed to it."""


class MissingExtraError(RagtuneError):
    """An optional dependency is not installed.

    Args:
        extra: the name to put in ``pip install 'ragtune[extra]'``.
        package: the module that was missing.
    """

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(f"{package} is not installed: run pip install 'ragtune[{extra}]'")
        self.extra = extra
        self.package = package
