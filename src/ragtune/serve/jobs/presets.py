"""Jobs to choose from: each a kind with arguments and settings, which a page may show and change before it asks for it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from ragtune.serve.jobs.records import Kind


class Preset(BaseModel):
    """A job to choose."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    title: str
    about: str
    """What it is for and what it takes, in a sentence or two."""
    kind: Kind
    arguments: dict[str, Any] = {}
    settings: dict[str, Any] = {}


PRESETS = (
    Preset(
        name="quick",
        title="Quick look",
        about="Everything from documents to report on samples of the questions: whether tuning is worth more, in minutes.",
        kind="run",
        settings={"train.epochs": 1, "train.max_answers": 150, "evaluate.max_questions": 60, "evaluate.control_questions": 15},
    ),
    Preset(
        name="standard",
        title="Standard",
        about="Everything with the project's own settings: all training questions, all test questions. What is unchanged is skipped.",
        kind="run",
    ),
    Preset(
        name="thorough",
        title="Thorough",
        about="Three epochs, averaged weights, every control and changed contexts: a longer run, and a report with narrower intervals.",
        kind="run",
        settings={
            "train.epochs": 3,
            "train.average_checkpoints": 3,
            "evaluate.control_questions": 200,
            "evaluate.robustness": 60,
            "evaluate.arms": ["base", "base-fewshot", "tuned", "dsf"],
        },
    ),
    Preset(
        name="budget",
        title="Within 20 minutes",
        about="Everything, with questions sampled so that this machine is done in 20 minutes.",
        kind="run",
        arguments={"budget": "20m"},
    ),
    Preset(
        name="local",
        title="At no cost",
        about="Everything with a small model on this machine, and no teacher that writes questions. What would cost money all the "
        "same, as a judge, is refused before it is asked.",
        kind="run",
        settings={"teacher.questions": 0, "model.base": "smollm2-135m-instruct"},
    ),
    Preset(
        name="sync",
        title="Sync the documents",
        about="Read what is new or changed among the sources, and bring the index up to it.",
        kind="ingest",
    ),
    Preset(
        name="validation",
        title="Evaluate on validation",
        about="Compare the newest tuned model on validation questions: for choosing, so that the test stays unread.",
        kind="evaluate",
        arguments={"split": "validation"},
    ),
)
