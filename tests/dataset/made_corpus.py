"""A made corpus with a word-overlap retriever: documents of paragraphs, several questions a paragraph, some answers in two places."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ragtune.types import Chunk, Document, Evidence, Hit, Passage, Question, Span

_WORD = re.compile(r"\w+")


class WordRetriever:
    """Ranks chunks by the rarity of the words they share with the question; equals in the corpus's order."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.chunks = chunks
        self.words = [set(_WORD.findall(chunk.text.lower())) for chunk in chunks]
        frequency = Counter(word for own in self.words for word in own)
        self.weight = {word: math.log(1 + len(chunks) / count) for word, count in frequency.items()}

    def retrieve(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        rankings = []
        for question in questions:
            asked = set(_WORD.findall(question.lower()))
            scores = [sum(self.weight[word] for word in sorted(asked & own)) for own in self.words]
            top = sorted(range(len(scores)), key=lambda at: (-scores[at], at))[:k]
            rankings.append([Hit(self.chunks[at], scores[at], rank) for rank, at in enumerate(top, start=1)])
        return rankings


@dataclass
class Corpus:
    documents: dict[str, Document]
    chunks: dict[str, list[Chunk]]
    questions: list[Question]

    @property
    def retriever(self) -> WordRetriever:
        return WordRetriever([chunk for own in self.chunks.values() for chunk in own])


def passage_of(chunk: Chunk) -> Passage:
    span = Span(chunk.document, chunk.start, chunk.end)
    return Passage(chunk.id, chunk.document, chunk.title, chunk.prefix, chunk.text, (span,), (chunk.id,))


def chunk_paragraphs(document: Document) -> list[Chunk]:
    chunks, heading = [], ""
    for number, match in enumerate(re.finditer(r"(?s)\S.*?(?=\n\n|\Z)", document.text)):
        if match.group().startswith("#"):
            heading = match.group().split("\n")[0].lstrip("# ")
        chunks.append(
            Chunk(
                id=f"{document.source}/{number}",
                document=document.source,
                start=match.start(),
                end=match.end(),
                text=match.group(),
                title=document.title,
                headings=(heading,) if heading else (),
            )
        )
    return chunks


def make_corpus(documents: int = 30, paragraphs: int = 6, questions: int = 3, unanswerable: int = 20, seed: int = 0) -> Corpus:
    """Each paragraph states ``questions`` facts about one invented place; every fourth document repeats a fact of the one before it."""
    rng = random.Random(seed)
    names = [f"{a}{b}{c}" for a in ("Bran", "Kes", "Thu", "Mar", "Quel") for b in ("do", "li", "ra", "wen") for c in ("mere", "vik", "tor")]
    things = ["bridge", "mill", "chapel", "quarry", "orchard", "ferry", "tower", "granary"]
    made: dict[str, Document] = {}
    asked: list[tuple[str, str, str, str]] = []
    last = ""
    for d in range(documents):
        source, blocks = f"valley/place-{d:02d}.md", []
        for p in range(paragraphs):
            place, sentences = f"{rng.choice(names)} {d}", []
            for q, thing in enumerate(rng.sample(things, questions)):
                builder = f"{rng.choice(names).title()} {rng.choice('ABCDEFGH')}. {rng.choice(names).title()}son"
                sentence = f"The {thing} of {place} in part {p} was built by {builder} with {rng.randint(10, 999)} helpers."
                sentences.append(sentence)
                asked.append((f"q{d:02d}-{p}-{q}", f"Who built the {thing} of {place} in part {p}?", builder, f"{source}\n{sentence}"))
            if d % 4 == 3 and p == 0:
                sentences.append(f"The family of {last} lived here.")
            last = builder
            blocks.append(f"## Part {p}\n\n" * (p % 2 == 0) + " ".join(sentences))
        made[source] = Document(source, f"Place {d}", "\n\n".join(blocks))
    chunks = {source: chunk_paragraphs(document) for source, document in made.items()}
    anchored = []
    for id_, question, answer, place in asked:
        source, sentence = place.split("\n")
        start = made[source].text.index(sentence)
        anchored.append(Question(id_, question, (answer,), (Evidence(source, start, start + len(sentence), sentence),)))
    anchored += [Question(f"u{n:02d}", f"Who painted the {rng.choice(things)} of {rng.choice(names)}?", ()) for n in range(unanswerable)]
    return Corpus(made, chunks, anchored)
