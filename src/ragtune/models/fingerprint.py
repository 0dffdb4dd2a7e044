"""A model's fingerprint: the hash of its weights, whatever folder they lie in; of a hub's model its revision."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from ragtune.errors import ModelError

_SIDECAR = ".ragtune-fingerprint.json"


def fingerprint(folder: Path) -> str:
    """SHA-256 over a folder's safetensors files, in hexadecimal.

    Reading the weights takes a while, so the result is kept beside them and used again while names, sizes and times stay the same.

    Args:
        folder: of a model, as :func:`ragtune.models.resolve` gives it.

    Raises:
        ModelError: there are no safetensors files in the folder.
    """
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise ModelError(f"no .safetensors file in {folder}: give the folder of a model saved with save_pretrained")
    stamp = [[str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    sidecar = folder / _SIDECAR
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(sidecar.read_text(encoding="utf-8"))
        if known["files"] == stamp:
            return str(known["sha256"])
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    value = digest.hexdigest()
    with contextlib.suppress(OSError):  # a folder that we may not write to is hashed anew each time
        temporary = sidecar.with_name(f"{_SIDECAR}.{os.getpid()}")
        temporary.write_text(json.dumps({"files": stamp, "sha256": value}), encoding="utf-8")
        temporary.replace(sidecar)
    return value


def hub_revision(name: str) -> str:
    """The commit of a hub's model that is loaded now: the hub's newest, or the cache's where the hub is not reached.

    Args:
        name: ``organisation/model``.

    Raises:
        ModelError: neither the hub nor its cache has the model.
    """
    from huggingface_hub import hf_hub_download  # here, as it is of an extra

    try:
        return Path(hf_hub_download(name, "config.json")).parent.name  # snapshots/COMMIT/config.json
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"cannot find model {name} ({reason}): check model.base and the connection to the hub") from error
