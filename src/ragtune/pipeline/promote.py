"""Which model serves: promoted, rolled back, and who did that when.

``served.json`` is the truth, whole or not there; the log follows it, and is mended from it where a promotion was killed between the two.
The lock is one of its own, so that a bad model can be taken back while a training holds the project's.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from ragtune.errors import LockedError, ProjectError
from ragtune.hosted.providers import is_gone, split_name
from ragtune.models.hosted import HOSTED
from ragtune.pipeline.records import Promotion
from ragtune.pipeline.train import find_tuned, has_tuned
from ragtune.workspace import Workspace, now, write_bytes, write_json

if TYPE_CHECKING:
    from ragtune.evaluate.gate import GateResult

Action = Literal["promote", "rollback", "refused"]
_WAIT = 10.0


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line of the audit log.

    Args:
        at: when, UTC.
        who: the API key's name, or the user of the command line.
        action: promote, rollback, or refused, where a gate did not hold.
        model: that serves now; of ``refused``, that would have.
        previous: that served before.
        note: why.
        gate: the evaluation it was compared with, and each ``--fail-if`` with what was found and whether it holds.
    """

    at: str
    who: str
    action: Action
    model: str
    previous: str
    note: str = ""
    gate: dict[str, Any] | None = None


def promoted(workspace: Workspace) -> str | None:
    """The model that was promoted; ``None`` where none is.

    Raises:
        ProjectError: the file is damaged.
    """
    served = _read(workspace)
    return None if served is None else str(served["model"])


def served(workspace: Workspace) -> str:
    """The model that answers whoever names none: what was promoted, else the newest tuned model, else ``base``."""
    return promoted(workspace) or _by_itself(workspace, None)


def promote(workspace: Workspace, name: str, *, who: str, note: str = "", gate: GateResult | None = None) -> Promotion:
    """Let a model serve, for whoever names none; where a gate failed, only note that.

    Args:
        workspace: of the project.
        name: of a tuned model, ``base``, or ``provider:model``.
        who: for the log.
        note: for the log.
        gate: what the model was compared with, and what came of it.

    Raises:
        ProjectError: there is no such model.
    """
    check_name(workspace, name)
    with _lock(workspace):
        was = _read(workspace)
        before = str(was["model"]) if was else _by_itself(workspace, name)
        made = AuditEntry(now(), who, "promote", name, before, note, None if gate is None else _gate(gate))
        if gate is not None and gate.failed:
            _write_log(workspace, [*_log(workspace), replace(made, action="refused")])
            return Promotion(before, before, refused=tuple(each.condition for each in gate.conditions if each.holds), warnings=gate.notes)
        earlier = [*was["earlier"], before] if was else [before]
        _serve(workspace, name, earlier if name != before else (was["earlier"] if was else []), made)
    return Promotion(name, before, warnings=(*_warnings(workspace, name), *(gate.notes if gate else ())))


def rollback(workspace: Workspace, *, who: str, note: str = "") -> Promotion:
    """Let the model serve again that served before the last promotion.

    Raises:
        ProjectError: nothing was promoted, or all of it was taken back; or the earlier model is gone.
    """
    with _lock(workspace):
        was = _read(workspace)
        if was is None or not was["earlier"]:
            raise ProjectError("there is no promotion to take back: 'ragtune promote NAME' says which model serves")
        *earlier, name = was["earlier"]
        check_name(workspace, name)
        _serve(workspace, name, earlier, AuditEntry(now(), who, "rollback", name, str(was["model"]), note))
    return Promotion(name, str(was["model"]))


def audit(workspace: Workspace) -> list[AuditEntry]:
    """The log, the oldest first."""
    return _log(workspace)


def check_name(workspace: Workspace, model: str) -> None:
    """Find out what is wrong with a model's name before anything is done with it.

    Raises:
        ProjectError: there is no such model, or none that could answer.
        ConfigError: its provider is unknown.
    """
    if model == "base":
        return
    if is_named_by_provider(model):
        split_name(model)
        return
    hosted = [id_ for id_ in HOSTED if id_.partition(":")[2] == model]
    if hosted and all(model != tuned.name for tuned in workspace.manifests("models")):
        raise ProjectError(f"{model} is a hosted model: name it with its provider, as {' or '.join(hosted)}")
    find_tuned(workspace, model)


def is_named_by_provider(model: str) -> bool:
    """Whether a name is one of a vendor's or a server's model, and none of this project's."""
    return ":" in model or is_gone(model)


def _by_itself(workspace: Workspace, name: str | None) -> str:
    """What would serve had nothing been promoted, and the model of that name not been there: it serves as soon as it is the newest."""
    others = [each.name for each in workspace.manifests("models") if each.name != name]
    for other in reversed(others) if has_tuned(workspace) else ():
        with contextlib.suppress(ProjectError):
            return find_tuned(workspace, other).name
    return "base"


def _warnings(workspace: Workspace, name: str) -> Iterator[str]:
    if name == "base":
        return
    asked = [each for each in workspace.manifests("evaluations") if name in each.inputs.get("model_names", {}).values()]
    if not asked:
        yield f"{name} was never evaluated in this project: 'ragtune evaluate --model {name}' says whether it is better"


def _serve(workspace: Workspace, name: str, earlier: list[str], entry: AuditEntry) -> None:
    log = _log(workspace)
    write_json(workspace.served, {"model": name, "since": entry.at, "earlier": earlier, "entry": asdict(entry)})
    _write_log(workspace, [*log, entry])


def _read(workspace: Workspace) -> dict[str, Any] | None:
    try:
        served: dict[str, Any] = json.loads(workspace.served.read_text(encoding="utf-8"))
        if not isinstance(served["model"], str) or not isinstance(served["earlier"], list):
            raise TypeError("no model")
        AuditEntry(**served["entry"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise ProjectError(f"{workspace.served} is damaged ({error}): remove it, and promote a model again") from None
    return served


def _log(workspace: Workspace) -> list[AuditEntry]:
    """The log, with the promotion that serves where it was killed before it was written down."""
    try:
        lines = workspace.audit.read_text(encoding="utf-8").split("\n")
        entries = [AuditEntry(**json.loads(line)) for line in lines if line]
    except FileNotFoundError:
        entries = []
    except (ValueError, TypeError) as error:
        raise ProjectError(f"{workspace.audit} is damaged ({error}): mend its last line, or move it away") from None
    served = _read(workspace)
    if served is not None:
        last = AuditEntry(**served["entry"])
        if all(entry.at != last.at for entry in entries):
            entries.append(last)
    return entries


def _write_log(workspace: Workspace, entries: list[AuditEntry]) -> None:
    lines = [json.dumps({name: value for name, value in asdict(each).items() if value is not None}, ensure_ascii=False) for each in entries]
    write_bytes(workspace.audit, "".join(f"{line}\n" for line in lines).encode())


def _gate(gate: GateResult) -> dict[str, Any]:
    return {"against": gate.against, "failed": gate.failed, "conditions": [asdict(each) for each in gate.conditions]}


@contextlib.contextmanager
def _lock(workspace: Workspace) -> Iterator[None]:
    workspace.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(str(workspace.folder / "served.lock"), timeout=_WAIT):
            yield
    except Timeout:
        raise LockedError("another promotion is under way: run this again") from None
