"""What this machine and project have, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from ragtune import build
from ragtune.config import Settings, present_keys
from ragtune.errors import ModelError, ProjectError
from ragtune.hosted.providers import is_hosted, split_name
from ragtune.models import catalog
from ragtune.models.pull import resolve
from ragtune.workspace import Workspace

State = Literal["ok", "note", "problem"]
_EXTRAS = {
    "torch": "torch",
    "transformers": "torch",
    "peft": "torch",
    "sentence_transformers": "torch",
    "faiss": "faiss",
    "liteparse": "documents",
    "mammoth": "documents",
    "trafilatura": "documents",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: ``problem`` stops ragtune from working, ``note`` limits it; ``advice`` says what to do."""

    name: str
    state: State
    found: str
    advice: str = ""


def run_checks(project: Path, settings: Settings) -> list[Check]:
    """Look at Python, cores, memory, disk, GPU, packages, models (the project's and the catalog's) and keys: named, never shown."""
    own = _models(settings)
    checks = [_python(), _cores(), _memory(), _disk(project), _gpu(), *_packages()]
    models = (_model(name, own.get(name, ""), project, settings) for name in dict.fromkeys([*own, *catalog.CATALOG]))
    return [*checks, *models, *_retriever(project, settings), *_keys(project, list(own)), _project(project)]


def _models(settings: Settings) -> dict[str, str]:
    """The project's models, each with the first setting that names it."""
    named = {"judge.model": settings.judge.model, "teacher.model": settings.teacher.model}
    asked = {name.removeprefix("local:"): setting for setting, name in named.items() if name}
    own = {settings.model.base: "model.base", settings.embed.model: "embed.model"}
    return {**own, **{name: setting for name, setting in asked.items() if name not in own}}


def _python() -> Check:
    return Check("Python", "ok", f"{platform.python_version()} at {sys.executable}")


def _cores() -> Check:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    fast = next((name for flag, name in (("amx_bf16", "AMX bf16"), ("avx512_bf16", "AVX-512 bf16")) if flag in flags), None)
    return Check("Cores", "ok", f"{count}{f' with {fast}' if fast else ''}")


def _memory() -> Check:
    memory = psutil.virtual_memory()
    found = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    if memory.available < 3 * 2**30:
        return Check(
            "Memory",
            "note",
            found,
            "the default model trains in about 3 GiB: close other programs, or lower retrieve.k and train.answers_per_step",
        )
    return Check("Memory", "ok", found)


def _disk(project: Path) -> Check:
    free = shutil.disk_usage(project if project.exists() else Path.cwd()).free
    found = f"{free / 2**30:.1f} GiB free at {project}"
    if free < 2 * 2**30:
        return Check("Disk", "problem", found, "free at least 2 GiB: models and the workspace need it")
    return Check("Disk", "ok", found)


def _gpu() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check("GPU", "note", "PyTorch is not installed")
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Check("GPU", "ok", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        return Check("GPU", "ok", "Apple MPS")
    built = bool(torch.version.cuda or torch.version.hip)
    why = "PyTorch is built for a GPU, but no GPU or driver answers" if built else "this PyTorch is a build for CPUs alone"
    return Check(
        "GPU", "note", f"none: {why}", "the default model needs none; larger ones need a machine with a GPU and PyTorch's build for it"
    )


def _packages() -> list[Check]:
    missing = {package: extra for package, extra in _EXTRAS.items() if importlib.util.find_spec(package) is None}
    if not missing:
        return [Check("Packages", "ok", "all of ragtune[local]")]
    return [
        Check("Packages", "problem", f"{package} is not installed", f"pip install 'ragtune[{extra}]'") for package, extra in missing.items()
    ]


def _model(name: str, setting: str, project: Path, settings: Settings) -> Check:
    """Whether a model is here, or could be asked, with all that it needs; no server is asked."""
    label = f"Model {name}"
    try:
        if is_hosted(name):
            missing = build.what_is_missing(Workspace(project), settings, name)
            return Check(label, "problem" if missing else "ok", "; ".join(missing) or "hosted: nothing is missing to ask it")
        found = resolve(name, allow_pull=False)
    except ModelError as error:
        if name in catalog.CATALOG:
            return Check(label, "note", "not fetched yet", f"ragtune models pull {name} (or it is fetched when first used)")
        return Check(label, "problem", str(error), f"set {setting}")
    if isinstance(found, str):
        return Check(label, "note", "of the model hub", "it is fetched when first used, or taken from the hub's cache")
    lacking = _lacking(found, ("*.safetensors", "*.bin") if name == settings.embed.model else ("*.safetensors",))
    if not lacking:
        return Check(label, "ok", str(found))
    again = f"remove that folder and run 'ragtune models pull {name}'" if name in catalog.CATALOG else "save it again with save_pretrained"
    return Check(label, "problem", f"{found} lacks its {lacking}", again)


def _lacking(folder: Path, weights: tuple[str, ...]) -> str:
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        return "config.json"
    if not any(file.stat().st_size for pattern in weights for file in folder.rglob(pattern)):
        return f"weights ({' or '.join(weights)})"
    return ""


def _retriever(project: Path, settings: Settings) -> list[Check]:
    """Whether a tuned retriever serves."""
    workspace = Workspace(project)
    try:
        record, tuned = build.read_adoption(workspace), build.adopted(workspace, settings)
    except ProjectError as error:
        return [Check("Retriever", "problem", str(error))]
    if record is None:
        return []
    if tuned is None:
        found = f"{record['name']} was tuned of {record['embed_model']}, and does not serve with embed.model = {settings.embed.model}"
        return [Check("Retriever", "note", found, "ragtune train --retriever, or with --undo")]
    parts = " and ".join(part for part, there in (("embedder", tuned.embedder), ("reranker", tuned.reranker)) if there)
    return [Check("Retriever", "ok", f"tuned: {parts} of {tuned.name}")]


def _keys(project: Path, models: Sequence[str]) -> list[Check]:
    """The keys that are set, and the ones that the project's models want."""
    found = present_keys(project)
    checks = [Check(f"Key {name}", "ok", f"set ({where})") for name, where in found.items() if where]
    for name in models:
        keys = _wanted_keys(name)
        if keys and not any(found[key] for key in keys):
            checks.append(Check(f"Key {keys[0]}", "note", "not set", f"{name} may want it: put it in .env"))
    return list(dict.fromkeys(checks))


def _wanted_keys(name: str) -> tuple[str, ...]:
    """Variables of which one may hold the key that a model wants."""
    try:
        if is_hosted(name):
            return split_name(name)[0].keys
        return ("HF_TOKEN",) if isinstance(resolve(name, allow_pull=False), str) else ()
    except ModelError:
        return ()


def _project(project: Path) -> Check:
    if (project / "ragtune.toml").is_file():
        return Check("Project", "ok", str(project))
    return Check("Project", "note", f"no ragtune.toml in {project}", "ragtune init")
