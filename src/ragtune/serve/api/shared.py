"""What the routers share: who may see more than a part of the documents, and values that JSON can hold."""

from __future__ import annotations

import json
from typing import Any

from fastapi import HTTPException

from ragtune.project import to_json
from ragtune.serve.errors import documented
from ragtune.serve.state import Caller


def whole(caller: Caller) -> Caller:
    """A caller who may see all documents: datasets, evaluations and jobs hold text of any of them.

    Raises:
        HTTPException: the key has access tags.
    """
    if caller.access is not None:
        raise HTTPException(403, f"the key {caller.name} is for documents of some tags, and this shows others: use a key without tags")
    return caller


def errors_as_json(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a path whose answer itself is no JSON."""
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    return {status: {"description": said["description"], "content": body} for status, said in documented(*statuses).items()}


def plain(value: Any) -> Any:
    """Records, paths and numbers that JSON lacks as what it has."""
    return json.loads(to_json(value))
