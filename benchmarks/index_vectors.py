"""Vectors to measure indexes on: the paragraphs and questions of five public collections, and larger sets that are grown from them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import unescape

import numpy as np

from ragtune.embed.sentence_transformers import SentenceTransformersEmbedder
from ragtune.models.pull import resolve
from ragtune.protocols import Float32

_QUESTIONS = 1500


def real(data: Path, work: Path) -> tuple[Float32, Float32]:
    """Vectors ``[n, d]`` of all different paragraphs, in a fixed random order, and ``[q, d]`` of some questions; kept in ``work``."""
    if not (work / "questions.npy").exists():
        embedder = SentenceTransformersEmbedder(resolve("all-minilm-l6-v2"))
        paragraphs, asked = texts(data)
        np.save(work / "paragraphs.npy", embedder.embed_documents(paragraphs))
        np.save(work / "questions.npy", embedder.embed_queries(asked))
    return np.load(work / "paragraphs.npy"), np.load(work / "questions.npy")


def texts(data: Path) -> tuple[list[str], list[str]]:
    """Paragraphs with their titles, and questions."""
    found: dict[str, None] = {}
    asked: dict[str, None] = {}
    for title, text, questions in _collections(data):
        if text:
            found[f"{title}\n{text}" if title else text] = None
        asked.update((question.strip(), None) for question in questions)
    draw = random.Random(0)
    return draw.sample(list(found), len(found)), draw.sample(list(asked), _QUESTIONS)


def grown(vectors_nd: Float32, size: int, seed: int = 0) -> Float32:
    """``size`` vectors: the real ones, then points between a real one and another of its 100 nearest, at a random place, normalised."""
    import faiss

    if size <= len(vectors_nd):
        return vectors_nd[:size]
    rng = np.random.default_rng(seed)
    flat = faiss.IndexFlatIP(vectors_nd.shape[1])
    flat.add(vectors_nd)
    near = flat.search(vectors_nd, 101)[1][:, 1:]
    made = np.empty((size, vectors_nd.shape[1]), np.float32)
    made[: len(vectors_nd)] = vectors_nd
    for start in range(len(vectors_nd), size, 50_000):
        part = made[start : start + 50_000]
        one = rng.integers(len(vectors_nd), size=len(part))
        other = near[one, rng.integers(100, size=len(part))]
        share = rng.uniform(0.2, 0.8, size=(len(part), 1)).astype(np.float32)
        part[:] = share * vectors_nd[one] + (1 - share) * vectors_nd[other]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return made


def _collections(data: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Titles and texts, with questions about them."""
    for article in json.loads((data / "squadshifts_new_wiki/new_wiki_v1.0.json").read_text())["data"]:
        for paragraph in article["paragraphs"]:
            yield "", paragraph["context"], [qa["question"] for qa in paragraph["qas"]]
    folder = data / "cranfield"
    for text in re.findall(r"<text>(.*?)</text>", (folder / "cran.all.1400.xml").read_text(), re.DOTALL):
        yield "", unescape(text).strip(), []
    asked = re.findall(r"<top>.*?<title>(.*?)</title>", (folder / "cran.qry.xml").read_text(), re.DOTALL)
    yield "", "", [" ".join(unescape(question).split()) for question in asked]
    for entry in map(json.loads, (data / "beir_dbpedia/corpus.jsonl").read_text().splitlines()):
        yield entry["title"], entry["text"], []
    yield "", "", [json.loads(line)["text"] for line in (data / "beir_dbpedia/queries.jsonl").read_text().splitlines()]
    for item in map(json.loads, (data / "hotpotqa_500/test.json").read_text().splitlines()):
        for n, (title, sentences) in enumerate(item["context"]):
            yield title, "".join(sentences).strip(), [] if n else [item["question"]]
    for item in json.loads((data / "pubmedqa/ori_pqal.json").read_text()).values():
        yield "", "\n\n".join(item["CONTEXTS"]), [item["QUESTION"]]


__all__ = ["grown", "real", "texts"]
