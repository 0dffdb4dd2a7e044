"""By which version of the rules an evaluation was made, and what to say where two that are compared were made by different ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ragtune.pipeline.evaluation_page import evaluate_command, tuned_model
from ragtune.workspace import Manifest, Workspace, stage_key

VERSION = 6
"""Higher where the same settings and inputs come to other answers or figures."""


def evaluation_key(read: Mapping[str, Any], inputs: Mapping[str, Any], version: int = VERSION) -> str:
    """Of an evaluation, from the settings that it reads and what it is made from."""
    return stage_key("evaluate", version, read, inputs)


def rules_of(manifest: Manifest) -> int | None:
    """The version by which an evaluation was made, as its key tells; ``None`` for one that is not known here."""
    known = range(VERSION, 0, -1)
    return next((each for each in known if evaluation_key(manifest.settings, manifest.inputs, each) == manifest.key), None)


def other_rules(workspace: Workspace, manifests: Sequence[Manifest]) -> Iterator[str]:
    """Where evaluations were not all made by the same rules, a note on each that was made by others than those of now."""
    made = [(manifest, rules_of(manifest)) for manifest in manifests]
    if len({version for _, version in made}) == 1:
        return
    for manifest, version in made:
        if version != VERSION:
            command = evaluate_command(manifest, tuned_model(workspace, manifest))
            yield (
                f"{manifest.name} was made by other rules than evaluations are now (version {version or 'unknown'}, now {VERSION}), and a "
                f"difference may come from that alone. Run {command} and compare with what that makes."
            )
