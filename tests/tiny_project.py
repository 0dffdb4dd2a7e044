"""A tiny project: documents of made-up facts, questions whose evidence stands in them, and settings that make every stage quick."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from ragtune import Project

PLACES = ("Ardmoor", "Brenholt", "Calder", "Dunmere", "Eskvale", "Farrow", "Glenhythe", "Harrock", "Inverlay", "Jarrow", "Kelby", "Lorne")
THINGS = ("bridge", "mill", "tower", "well", "market", "chapel", "quarry", "lighthouse")
FILLER = """
slate heron gravel willow copper autumn ferry lantern granite meadow harvest timber marsh beacon orchard winter pebble saddle
cellar thistle anchor barley cobble drizzle ember fiddle garnet hollow
"""
WORDS = FILLER.split()
TOML = """\
documents = [{documents}]
questions = [{questions}]

[prepare]
chunk_size = 40
[embed]
model = {embedder}
[retrieve]
k = 2
[model]
base = {chat}
dtype = "float32"
device = "cpu"
[train]
rank = 2
epochs = 2
answers_per_step = 4
learning_rate = 0.01
[generate]
max_new_tokens = 6
batch_size = 4
[evaluate]
control_questions = 4
"""


@dataclass(frozen=True)
class Sources:
    """Documents and questions on disk."""

    documents: Path
    questions: Path


def document(place: str, facts: int, filler: int = 12) -> str:
    """One document: a section with one fact for each thing, between sentences that say nothing."""
    draw = random.Random(place)
    lines = [f"# {place}", ""]
    for thing in THINGS[:facts]:
        lines += [f"## The {thing} of {place}", "", f"{_words(draw, filler)}. {fact(place, thing)} {_words(draw, filler)}.", ""]
    return "\n".join(lines)


def fact(place: str, thing: str) -> str:
    """The sentence that answers a question."""
    return f"The {thing} of {place} was built by {builder(place, thing)} in stone."


def builder(place: str, thing: str) -> str:
    """The answer."""
    draw = random.Random(place + thing)
    return f"{draw.choice(WORDS).title()} {draw.choice(WORDS).title()}"


def write_sources(folder: Path, places: int = 8, facts: int = 4, filler: int = 12) -> Sources:
    """``places`` documents, ``places · facts`` questions that they answer and two that they do not."""
    sources = Sources(folder / "documents", folder / "questions.jsonl")
    sources.documents.mkdir(parents=True)
    for place in PLACES[:places]:
        (sources.documents / f"{place.lower()}.md").write_text(document(place, facts, filler), encoding="utf-8")
    questions: list[dict[str, object]] = [
        {
            "id": f"{place}-{thing}".lower(),
            "question": f"Who built the {thing} of {place}?",
            "answers": [builder(place, thing)],
            "document": f"{place.lower()}.md",
            "evidence": fact(place, thing),
        }
        for place in PLACES[:places]
        for thing in THINGS[:facts]
    ]
    questions += [{"id": f"none-{n}", "question": f"Who painted ship number {n}?", "answers": [], "document": None} for n in range(2)]
    sources.questions.write_text("".join(json.dumps(question) + "\n" for question in questions), encoding="utf-8")
    return sources


def write_project(folder: Path, sources: Sources, chat: Path, embedder: Path) -> Path:
    """A project over sources and models; nothing is run."""
    folder.mkdir(parents=True)
    paths = {"documents": sources.documents, "questions": sources.questions, "chat": chat, "embedder": embedder}
    text = TOML.format(**{name: json.dumps(str(path)) for name, path in paths.items()})
    (folder / "ragtune.toml").write_text(text, encoding="utf-8")
    return folder


def write_project_with_dataset(root: Path, chat: Path, embedder: Path) -> Path:
    """A project over generated documents whose dataset is made, ready to train."""
    folder = write_project(root / "project", write_sources(root / "sources"), chat, embedder)
    project = Project(folder)
    project.ingest()
    project.index()
    project.dataset()
    return folder


def _words(draw: random.Random, count: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(count)).capitalize()
