"""Who may see what of traces and of what is made of them."""

from __future__ import annotations

from ragtune.serve.errors import ApiError
from ragtune.serve.state import Caller, State
from ragtune.traces.records import Asker
from ragtune.workspace import now


def whose(state: State, caller: Caller, scope: str = "read") -> Asker | None:
    """Whose traces a caller may see or change: everyone's (``None``) with the scope and all documents, else its own.

    Its own are those since it was made: an earlier key of its name may have been someone else's.
    """
    if scope in caller.scopes and caller.access is None:
        return None
    made = {key.name: key.created for key in state.access.keys()}  # noqa: SIM118 - no mapping
    return Asker(caller.name, made.get(caller.name, now()))  # revoked just now: nothing


def need_all_documents(caller: Caller) -> None:
    """Refuse a key whose tags leave documents out: what is shown here holds text of any.

    Raises:
        ApiError: it is one.
    """
    if caller.access is not None:
        raise ApiError(
            403, f"the key {caller.name} sees only some documents, and this shows text of any: use a key without tags", code="access"
        )
