"""The score from which on something counts as found: kept with what decides a score, and used while that is the same."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ragtune import build
from ragtune.config import Settings
from ragtune.pipeline.serving import retrieve_key
from ragtune.types import Threshold
from ragtune.workspace import Workspace, stage_key, write_json

VERSION = 1


def threshold_key(workspace: Workspace, settings: Settings) -> str:
    """Of what decides a score: a threshold that was chosen for other scores is none."""
    return stage_key("threshold", VERSION, retrieve_key(workspace, settings), build.embedder(workspace, settings).fingerprint)


def store_threshold(workspace: Workspace, settings: Settings, threshold: Threshold) -> None:
    """Keep it for search and ask."""
    write_json(_file(workspace), {"key": threshold_key(workspace, settings), "threshold": asdict(threshold)})


def load_threshold(workspace: Workspace, settings: Settings) -> Threshold | None:
    """The stored threshold, if one was chosen for retrieval as it is set now."""
    if not _file(workspace).is_file():
        return None
    kept = json.loads(_file(workspace).read_text(encoding="utf-8"))
    return Threshold(**kept["threshold"]) if kept["key"] == threshold_key(workspace, settings) else None


def _file(workspace: Workspace) -> Path:
    return workspace.folder / "threshold.json"
