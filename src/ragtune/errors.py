"""The error tree.

::

    RagtuneError                 everything a user can mend: shown without a traceback, exit code 2
    ├── ConfigError              ragtune.toml, environment or a flag is wrong
    ├── ProjectError             no project here, a name taken, an artifact missing
    ├── LockedError              another command is writing to this project
    ├── CorpusError              corpus.db is missing, damaged or of another version
    ├── ReadError                one document cannot be read (listed, does not stop an ingest)
    │   └── ReadLimitError       its parser passed the time or memory limit
    ├── QuestionError            a questions file is malformed
    ├── ModelError               a model cannot be found, fetched or loaded
    │   └── ChecksumError        what was fetched is not what the catalog promises
    ├── TrainError               training cannot start or go on
    ├── EvaluationError          an evaluation cannot start or go on
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


class TrainError(RagtuneError):
    """Training cannot start or go on."""


class EvaluationError(RagtuneError):
    """An evaluation cannot start or go on."""


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
