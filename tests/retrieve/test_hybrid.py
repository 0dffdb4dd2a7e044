"""The retriever that serves, over a real corpus and store; vectors are of word counts, so that what is near is known."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ragtune.corpus import Corpus
from ragtune.index.exact import ExactStore
from ragtune.passages import to_passage
from ragtune.protocols import Float32, Retriever
from ragtune.quotes import check_quote
from ragtune.retrieve.hybrid import HybridRetriever
from ragtune.types import Chunk, Document, Span

TEXTS = [
    "the cabin leaves at eight",
    "the cabin leaves at nine",
    "wind stops the cabin",
    "tickets cost four crowns",
    "wind stops the cabin",
    "zebra",
]


class WordCounts:
    """An embedder of hashed words; a few letters of each, so that near words are near."""

    name = fingerprint = "word-counts"
    dimension = 256
    max_tokens = 256

    def embed_documents(self, texts: Sequence[str]) -> Float32:
        vectors_nd = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors_nd[row, zlib.crc32(word[:4].encode()) % self.dimension] += 1
        vectors_nd /= np.maximum(np.linalg.norm(vectors_nd, axis=1, keepdims=True), 1e-9)
        return vectors_nd

    embed_queries = embed_documents

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Corpus]:
    opened = Corpus(tmp_path / "corpus.db")
    for i, text in enumerate(TEXTS):
        name = f"{i}.md"
        chunk = Chunk(f"c{i}", name, 2, 2 + len(text), text, f"Title {i}", ("Lift", "Times"), "Lift > Times")
        opened.put_file(name, "h", "k", [(Document(name, f"Title {i}", f"# {text}"), [chunk])])
    yield opened
    opened.close()


@pytest.fixture
def store(corpus: Corpus) -> ExactStore:
    embedder = WordCounts()
    missing = corpus.embedding_texts(corpus.missing_rows(embedder.fingerprint))
    corpus.put_vectors(embedder.fingerprint, [key for key, _ in missing], embedder.embed_documents([text for _, text in missing]))
    made = ExactStore(embedder.dimension)
    made.add(*corpus.vectors(embedder.fingerprint))
    return made


def found(retriever: Retriever, question: str, k: int = 3) -> list[str]:
    return [hit.chunk.text for hit in retriever.retrieve([question], k)[0]]


@pytest.mark.parametrize("fusion", ["zscore", "rrf"])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_it_finds_the_chunk_and_ranks_from_one(corpus: Corpus, store: ExactStore, fusion: str, weight: float) -> None:
    retriever = HybridRetriever(corpus, WordCounts(), store, fusion=fusion, dense_weight=weight)  # type: ignore[arg-type]
    (hits,) = retriever.retrieve(["tickets crowns"], 4)
    assert hits[0].chunk.text == "tickets cost four crowns"
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_each_side_finds_what_the_other_misses(corpus: Corpus, store: ExactStore) -> None:
    dense = HybridRetriever(corpus, WordCounts(), store, dense_weight=1.0)
    lexical = HybridRetriever(corpus, WordCounts(), store, dense_weight=0.0)
    both = HybridRetriever(corpus, WordCounts(), store, dense_weight=0.5)
    assert found(dense, "ticketing", 1) == ["tickets cost four crowns"]  # four letters are enough for these vectors
    assert (
        found(lexical, "(zebra!)", 1) == found(both, "(zebra!)", 1) == ["zebra"]
    )  # their words have punctuation, the full text's have not
    assert found(dense, "(zebra!)", 1) != ["zebra"]


def test_questions_together_are_answered_as_alone_and_equal_chunks_come_by_row(corpus: Corpus, store: ExactStore) -> None:
    retriever = HybridRetriever(corpus, WordCounts(), store)
    questions = ["wind cabin", "tickets", "zebra at nine"]
    together = retriever.retrieve(questions, 5)
    assert together == [retriever.retrieve([question], 5)[0] for question in questions]
    assert [hit.chunk.row for hit in together[0][:2]] == [3, 5]
    assert retriever.retrieve([], 5) == []


@pytest.mark.parametrize("candidates", [2, 50])
def test_more_ranks_asked_for_change_none_of_the_first(corpus: Corpus, store: ExactStore, candidates: int) -> None:
    retriever = HybridRetriever(corpus, WordCounts(), store, candidates=candidates)
    assert found(retriever, "when does the cabin leave", 2) == found(retriever, "when does the cabin leave", 5)[:2]


def test_what_a_document_says_many_times_takes_one_place(tmp_path: Path) -> None:
    texts = [*["the ferry sails at noon"] * 30, "the ferry is blue", "the ferry sails seldom"]
    chunks = [Chunk(f"c{at}", "a.md", 100 * at, 100 * at + len(text), text, "A", (), "A") for at, text in enumerate(texts)]
    other = Chunk("other", "b.md", 0, len(texts[0]), texts[0], "A", (), "A")
    corpus = Corpus(tmp_path / "corpus.db")
    corpus.put_file("a.md", "h", "k", [(Document("a.md", "A", " ".join(text.ljust(99) for text in texts)), chunks)])
    corpus.put_file("b.md", "h", "k", [(Document("b.md", "A", texts[0]), [other])])
    retriever = HybridRetriever(corpus, WordCounts(), ExactStore(WordCounts.dimension), dense_weight=0.0)
    (found,) = retriever.retrieve(["When does the ferry sail at noon?"], 4)
    assert [hit.rank for hit in found] == [1, 2, 3, 4]
    assert {(hit.chunk.document, hit.chunk.text) for hit in found} == {("a.md", text) for text in texts} | {("b.md", texts[0])}
    corpus.close()


def test_a_chunk_that_went_after_the_store_was_made_is_passed_over(corpus: Corpus, store: ExactStore) -> None:
    retriever = HybridRetriever(corpus, WordCounts(), store)
    corpus.remove_files(["2.md"])
    (hits,) = retriever.retrieve(["wind stops the cabin"], 3)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].chunk.document == "4.md"


@pytest.mark.parametrize("question", ["", '"', "AND OR NOT", "?" * 500, "ünïcode 🚠"])
def test_any_question_gives_a_ranking(corpus: Corpus, store: ExactStore, question: str) -> None:
    assert len(HybridRetriever(corpus, WordCounts(), store).retrieve([question], 3)[0]) == 3


def test_an_empty_corpus_finds_nothing(tmp_path: Path) -> None:
    empty = Corpus(tmp_path / "corpus.db")
    assert HybridRetriever(empty, WordCounts(), ExactStore(256)).retrieve(["anything"], 3) == [[]]
    empty.close()


def test_a_passage_shows_the_chunk_and_its_quotes_are_found_in_the_document(corpus: Corpus) -> None:
    chunk = corpus.all_chunks()[3]
    passage = to_passage(chunk)
    assert (passage.id, passage.prefix, passage.chunk_ids) == (chunk.id, "Lift > Times", (chunk.id,))
    assert passage.spans == (Span("3.md", 2, 26),)
    quote = check_quote("four crowns", [passage])
    assert quote.start is not None
    assert corpus.document("3.md").text[quote.start : quote.end] == "four crowns"
